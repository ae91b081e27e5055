//! What one seed asks for.

mod members;
mod shortages;

use ottla_config::{Config, Endpoint};
use ottla_host::{Chance, Host, SimWorld};
use ottla_rules::limits::Limits;
use ottla_rules::settings::BrokerSettings;

pub(crate) use members::BEAT_MS;
pub use members::{GroupPlan, Protocol};
pub use shortages::{Shortage, Want};

/// How a life of the node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The power goes: what was not synced may vanish, and nobody is told that the connections are gone.
    Cut,
    /// The process is killed: nothing vanishes that was written.
    Kill,
    /// The node leaves in order.
    Stop,
}

/// What happens to the network for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing arrives, and all of it does later.
    Hold,
    /// What is sent is lost.
    Partition,
}

/// One spell of trouble between the node and some of its clients.
#[derive(Clone, Copy, Debug)]
pub struct Spell {
    /// Milliseconds after the start of the life.
    pub from_ms: u64,
    /// How long, milliseconds.
    pub ms: u64,
    /// What.
    pub trouble: Trouble,
    /// Who is cut off: the producers, else the consumers.
    pub producers: bool,
}

/// One life: when it ends, and how.
#[derive(Clone, Debug)]
pub struct Life {
    /// Milliseconds after its start.
    pub ms: u64,
    /// How.
    pub end: End,
    /// The network's troubles in it.
    pub spells: Vec<Spell>,
    /// The disk fails a sync after so many milliseconds, once.
    pub fail_sync_at_ms: Option<u64>,
    /// It ends before its time when a compacted segment has been given its name and no sync has covered that.
    pub within_swap: bool,
    /// What the disk lacks in it.
    pub wants: Vec<Want>,
}

/// One idempotent producer writing to one partition.
#[derive(Clone, Copy, Debug)]
pub struct LanePlan {
    /// The partition, counted over all topics.
    pub partition: usize,
    /// Batches that may be unanswered at once; five is what the broker remembers.
    pub window: usize,
    /// Records that it will write.
    pub records: u32,
    /// Records of a batch at most.
    pub batch_records_max: u32,
    /// Bytes of each record.
    pub record_bytes: usize,
    /// The same for every third batch, where it differs.
    pub third_bytes: usize,
    /// Rests up to so long between batches, now and then.
    pub rest_ms_max: u64,
}

/// What happens in one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all of it comes from.
    pub seed: u64,
    /// Partitions of a topic.
    pub partitions: usize,
    /// Topics of one name, each made when the one before it was deleted: how long each is kept, milliseconds. One more follows,
    /// which stays.
    pub deleted_after_ms: Vec<u64>,
    /// Who writes.
    pub lanes: Vec<LanePlan>,
    /// How many copy in transactions, in place of those who write.
    pub copiers: usize,
    /// The groups whose members share the topic's partitions, in place of those who write.
    pub groups: Vec<GroupPlan>,
    /// The lives before the last one, which ends when everything is acknowledged and checked.
    pub lives: Vec<Life>,
    /// What the disk lacks in the last life, which has to go on by itself when it is there again.
    pub last_wants: Vec<Want>,
    /// The topics' settings of their own.
    pub topic: Vec<(String, String)>,
    /// Settings with which the topics of the coordinators are made by hand; they make them themselves when there are none.
    pub coordinators: Vec<(String, String)>,
    /// Acknowledgements come from the page cache: a power cut may take the end of a log.
    pub page_cache: bool,
    /// The topics are compacted: of every key the last record stays.
    pub compacted: bool,
    /// Some of the records delete their key.
    pub deletes_keys: bool,
    /// How long what deletes a key stays at least.
    pub delete_retention_ms: u64,
    /// Somebody deletes records now and then.
    pub deletes_records: bool,
    /// Producers drop a connection in the middle of a request, once in so many sends.
    pub drops_one_in: u64,
    /// Messages take up to so long, milliseconds.
    pub latency_ms_max: u64,
    /// How the node is configured.
    pub config: Config,
}

/// The next number of `from..=to`.
pub(crate) fn between(luck: &Chance, from: u64, to: u64) -> u64 {
    from + luck.below(to - from + 1)
}

/// The same for counts.
pub(crate) fn count(luck: &Chance, from: usize, to: usize) -> usize {
    // A `usize` on every platform that this runs on has the bits of what it is made from here.
    usize::try_from(between(luck, from as u64, to as u64)).unwrap_or(to)
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        // Its own stream: a change of the plan's draws changes nothing in the world, and the other way round.
        let luck = Host::simulated(&SimWorld::new(seed ^ 0x706c_616e)).chance;
        let partitions = count(&luck, 1, 3);
        // Large records of one size make the journal go round, so that entries of earlier laps lie where the next one would
        // be; small ones make many batches.
        let large = luck.below(3) == 0;
        let page_cache = !large && luck.below(4) == 0;
        let replaced = if luck.below(4) == 0 { count(&luck, 1, 2) } else { 0 };
        let deleted_after_ms: Vec<u64> = (0..replaced).map(|_| between(&luck, 100, 900)).collect();
        let lanes = (0..=replaced).flat_map(|topic| lanes(&luck, topic, partitions, large)).collect();
        let lives = if large { long_and_short(&luck) } else { any_lives(&luck) };
        let mut plan = Self {
            seed,
            partitions,
            deleted_after_ms,
            lanes,
            copiers: 0,
            groups: vec![],
            coordinators: vec![],
            lives,
            last_wants: vec![],
            topic: topic(&luck, page_cache),
            page_cache,
            compacted: false,
            deletes_keys: false,
            delete_retention_ms: 0,
            deletes_records: luck.below(3) == 0,
            drops_one_in: if luck.below(2) == 0 { 25 } else { u64::MAX },
            latency_ms_max: between(&luck, 1, 6),
            config: config(&luck, large),
        };
        if !page_cache && luck.below(2) == 0 {
            plan.compact(&luck, large);
            plan.delete_keys();
        }
        plan.run_short();
        plan
    }

    /// Small segments, and a cleaner that hardly rests.
    fn compact(&mut self, luck: &Chance, large: bool) {
        self.compacted = true;
        let policy = if self.deletes_records { "compact,delete" } else { "compact" };
        let bytes = if large { between(luck, 70_000, 200_000) } else { between(luck, 6_000, 30_000) };
        for (name, value) in [
            ("cleanup.policy", policy.to_owned()),
            ("internal.segment.bytes", bytes.to_string()),
            ("min.cleanable.dirty.ratio", format!("0.{}", luck.below(8))),
        ] {
            self.topic.push((name.to_owned(), value));
        }
        let mut given = self.config.settings.given().clone();
        for (name, value) in [
            ("log.cleaner.backoff.ms", between(luck, 5, 80).to_string()),
            // Sometimes there is no room for all keys at once.
            ("log.cleaner.dedupe.buffer.size", [0, 1 << 20][count(luck, 0, 1)].to_string()),
            ("log.cleaner.io.buffer.load.factor", if luck.below(2) == 0 { "0.9" } else { "0.02" }.to_owned()),
            ("log.cleaner.threads", between(luck, 1, 2).to_string()),
            // A round takes a while, so that lives end in the middle of one.
            ("log.cleaner.io.max.bytes.per.second", (1_u64 << between(luck, 18, 30)).to_string()),
        ] {
            given.insert(name.to_owned(), value);
        }
        self.config.settings = BrokerSettings::new(given).unwrap_or_default();
        for life in &mut self.lives {
            if luck.below(2) == 0 {
                (life.within_swap, life.end) = (true, End::Cut);
            }
        }
    }

    /// The plan of a seed in which everybody copies in transactions.
    #[must_use]
    pub fn of_copiers(seed: u64) -> Self {
        let luck = Host::simulated(&SimWorld::new(seed ^ 0x636f_7079)).chance;
        let (partitions, copiers) = (2, count(&luck, 1, 3));
        let mut plan = Self {
            partitions,
            copiers,
            deleted_after_ms: vec![],
            lanes: vec![],
            lives: any_lives(&luck),
            topic: topic(&luck, false),
            page_cache: false,
            last_wants: vec![],
            deletes_records: false,
            ..Self::of(seed)
        };
        plan.compact_internal_topics(&luck);
        plan
    }

    /// Topics that there will be, one after the other.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.deleted_after_ms.len() + 1
    }

    /// The partitions of a topic, counted over all topics.
    #[must_use]
    pub fn partitions_of(&self, topic: usize) -> std::ops::Range<usize> {
        topic * self.partitions..(topic + 1) * self.partitions
    }
}

fn topic(luck: &Chance, page_cache: bool) -> Vec<(String, String)> {
    let mut settings = vec![];
    let mut set = |name: &str, value: String| settings.push((name.to_owned(), value));
    if luck.below(3) == 0 {
        set("segment.ms", between(luck, 20, 200).to_string());
    }
    if luck.below(3) == 0 {
        set("index.interval.bytes", "0".to_owned());
    }
    set("file.delete.delay.ms", luck.below(500).to_string());
    if page_cache {
        let many = if luck.below(2) == 0 { u64::from(u32::MAX) } else { between(luck, 2, 60) };
        set("flush.messages", many.to_string());
    }
    settings
}

/// Record sizes of which one makes exactly twice the journal entry of the other (64,560 and 32,280 bytes): where a lap ends
/// because a large one found no room, an entry of an earlier lap begins.
const LARGE: [usize; 2] = [32_140, 64_420];

/// The same with entries of 32,280 and 16,140 bytes, of which the larger rest at the journal while the smaller are about.
const LARGE_BESIDE_SMALL: [usize; 2] = [16_000, 32_140];

fn lanes(luck: &Chance, topic: usize, partitions: usize, large: bool) -> Vec<LanePlan> {
    let sizes = if large && luck.below(3) == 0 { LARGE_BESIDE_SMALL } else { LARGE };
    let lane = |_| {
        let partition = topic * partitions + count(luck, 0, partitions - 1);
        let window = count(luck, 1, 5);
        let rest_ms_max = luck.below(30);
        if large {
            let size = count(luck, 0, 1);
            let (record_bytes, third_bytes) = (sizes[size], sizes[1 - size]);
            return LanePlan {
                partition,
                window,
                records: 150,
                batch_records_max: 1,
                record_bytes,
                third_bytes,
                rest_ms_max,
            };
        }
        let record_bytes = count(luck, 12, 1500);
        LanePlan {
            partition,
            window,
            records: 150,
            batch_records_max: 3,
            record_bytes,
            third_bytes: record_bytes,
            rest_ms_max,
        }
    };
    (0..count(luck, 1, 4)).map(lane).collect()
}

fn any_lives(luck: &Chance) -> Vec<Life> {
    let one = |_| {
        // Some end while the node is still recovering.
        let ms = if luck.below(5) == 0 { luck.below(60) } else { between(luck, 60, 700) };
        life(luck, ms)
    };
    (0..count(luck, 1, 4)).map(one).collect()
}

/// Lives in which the journal goes round, each followed by some that end while it is being settled.
fn long_and_short(luck: &Chance) -> Vec<Life> {
    let mut lives = vec![];
    for _ in 0..2 {
        let ms = between(luck, 400, 1200);
        lives.push(life(luck, ms));
        for _ in 0..count(luck, 1, 3) {
            let ms = between(luck, 12, 60);
            lives.push(life(luck, ms));
        }
    }
    lives
}

fn life(luck: &Chance, ms: u64) -> Life {
    let end = match luck.below(10) {
        0..7 => End::Cut,
        7..9 => End::Kill,
        _ => End::Stop,
    };
    let spells = if luck.below(3) == 0 { vec![spell(luck, ms)] } else { vec![] };
    let fail_sync_at_ms = (luck.below(6) == 0).then(|| luck.below(ms + 1));
    Life { ms, end, spells, fail_sync_at_ms, within_swap: false, wants: vec![] }
}

fn spell(luck: &Chance, life_ms: u64) -> Spell {
    let trouble = if luck.below(2) == 0 { Trouble::Hold } else { Trouble::Partition };
    let (from_ms, ms) = (luck.below(life_ms + 1), between(luck, 5, 300));
    Spell { from_ms, ms, trouble, producers: luck.below(2) == 0 }
}

fn config(luck: &Chance, large: bool) -> Config {
    let checkpoint_ms = between(luck, 10, 2000).to_string();
    let journal_bytes = if large || luck.below(2) == 0 { "1048576" } else { "1073741824" };
    let given = [
        ("log.flush.offset.checkpoint.interval.ms", checkpoint_ms.as_str()),
        ("journal.bytes.max", journal_bytes),
        // Whoever asks for a topic that was deleted must not bring it back.
        ("auto.create.topics.enable", "false"),
    ];
    // All values are within their ranges, so that the defaults stand for nothing here.
    let settings = BrokerSettings::new(given).unwrap_or_default();
    let listen = vec![Endpoint { name: "PLAINTEXT".into(), host: "0.0.0.0".into(), port: PORT }];
    Config { limits: Limits::of(&settings), settings, listen, data_dir: "/data".into(), ..Config::default() }
}

/// Where the node listens.
pub(crate) const PORT: u16 = 9092;
