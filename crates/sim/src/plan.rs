//! What one seed asks for.

use ottla_config::Config;
use ottla_host::{Chance, Host, SimWorld};
use ottla_rules::limits::Limits;
use ottla_rules::settings::BrokerSettings;

/// How a life of the node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The power goes: what was not synced may vanish.
    Cut,
    /// The process is killed: nothing vanishes that was written.
    Kill,
    /// The node leaves in order.
    Stop,
}

/// One life: when it ends, and how.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Milliseconds after its start.
    pub ms: u64,
    /// How.
    pub end: End,
}

/// One idempotent producer writing to one partition.
#[derive(Clone, Copy, Debug)]
pub struct LanePlan {
    /// The partition.
    pub partition: usize,
    /// Batches that may be unanswered at once; five is what the broker remembers.
    pub window: usize,
    /// Records that it will write.
    pub records: u32,
    /// Records of a batch at most.
    pub batch_records_max: u32,
    /// Bytes of each record.
    pub record_bytes: usize,
    /// Rests up to so long between batches, now and then.
    pub rest_ms_max: u64,
}

/// What happens in one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all of it comes from.
    pub seed: u64,
    /// Partitions of the topic.
    pub partitions: usize,
    /// Who writes.
    pub lanes: Vec<LanePlan>,
    /// The lives before the last one, which ends when everything is acknowledged and checked.
    pub lives: Vec<Life>,
    /// The topic's settings of its own.
    pub topic: Vec<(String, Option<String>)>,
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
        let lanes = (0..count(&luck, 1, 4)).map(|_| lane(&luck, partitions, large)).collect();
        let lives = if large { long_and_short(&luck) } else { any_lives(&luck) };
        let mut topic = vec![];
        if luck.below(3) == 0 {
            topic.push(("segment.ms".to_owned(), Some(between(&luck, 20, 200).to_string())));
        }
        if luck.below(3) == 0 {
            topic.push(("index.interval.bytes".to_owned(), Some("0".to_owned())));
        }
        Self { seed, partitions, lanes, lives, topic, config: config(&luck, large) }
    }
}

/// Record sizes of which one makes exactly twice the journal entry of the other (32,280 and 16,140 bytes): where a lap ends
/// because a large one found no room, an entry of an earlier lap begins.
const LARGE: [usize; 2] = [16_000, 32_140];

fn lane(luck: &Chance, partitions: usize, large: bool) -> LanePlan {
    let partition = count(luck, 0, partitions - 1);
    let window = count(luck, 1, 5);
    let rest_ms_max = luck.below(30);
    if large {
        return LanePlan {
            partition,
            window,
            records: 150,
            batch_records_max: 1,
            record_bytes: LARGE[count(luck, 0, 1)],
            rest_ms_max,
        };
    }
    let record_bytes = count(luck, 12, 1500);
    LanePlan { partition, window, records: 150, batch_records_max: 3, record_bytes, rest_ms_max }
}

fn any_lives(luck: &Chance) -> Vec<Life> {
    let life = |_| {
        // Some end while the node is still recovering.
        let ms = if luck.below(5) == 0 { luck.below(60) } else { between(luck, 60, 700) };
        Life { ms, end: end(luck) }
    };
    (0..count(luck, 1, 4)).map(life).collect()
}

/// Lives in which the journal goes round, each followed by some that end while it is being settled.
fn long_and_short(luck: &Chance) -> Vec<Life> {
    let mut lives = vec![];
    for _ in 0..2 {
        lives.push(Life { ms: between(luck, 300, 900), end: end(luck) });
        for _ in 0..count(luck, 1, 3) {
            lives.push(Life { ms: between(luck, 12, 60), end: end(luck) });
        }
    }
    lives
}

fn end(luck: &Chance) -> End {
    match luck.below(10) {
        0..7 => End::Cut,
        7..9 => End::Kill,
        _ => End::Stop,
    }
}

fn config(luck: &Chance, large: bool) -> Config {
    let checkpoint_ms = between(luck, 10, 2000).to_string();
    let journal_bytes = if large || luck.below(2) == 0 { "1048576" } else { "1073741824" };
    let given = [
        ("log.flush.offset.checkpoint.interval.ms", checkpoint_ms.as_str()),
        ("journal.bytes.max", journal_bytes),
    ];
    // Both values are within their ranges, so that the defaults stand for nothing here.
    let settings = BrokerSettings::new(given).unwrap_or_default();
    Config { limits: Limits::of(&settings), settings, data_dir: "/data".into(), ..Config::default() }
}
