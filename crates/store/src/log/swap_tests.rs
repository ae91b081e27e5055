//! The power goes at every point of a swap.

use std::path::PathBuf;

use ottla_host::{Fault, Host, SimWorld};
use ottla_rules::{
    batch::{Stamped, Walk, build::BatchBuilder, records::Records},
    compaction::{Policy, filter::Horizon},
    ids::{LeaderEpoch, TopicId},
    time::Now,
};

use super::*;
use crate::{
    FactsKind, MemoryFacts, Place,
    journal::entry::JournalEntry,
    log::{
        compact::{Progress, Tuning},
        config::LogConfig,
        replay::Replay,
    },
};

const KEYS: i64 = 5;
const BATCHES: i64 = 60;

struct Node {
    world: SimWorld,
    facts: MemoryFacts,
    store: Store,
    log: Log,
}

fn place() -> Place {
    Place { id: PartitionId { topic: TopicId([7; 16]), index: 3 }, topic: "payments".into() }
}

fn config() -> LogConfig {
    LogConfig::small(1_000)
}

fn batches() -> Vec<Stamped> {
    let batch = |n: i64| {
        let builder = BatchBuilder::new().record([(n % KEYS) as u8], n.to_be_bytes(), 1_000 + n);
        let builder = builder.record([(n * n % KEYS) as u8], (-n).to_be_bytes(), 1_000 + n);
        builder.stamped(Offset(2 * n), LeaderEpoch(0))
    };
    (0..BATCHES).map(batch).collect()
}

fn open(world: &SimWorld, facts: &MemoryFacts) -> Store {
    let host = Host::simulated(world);
    Store::open(host.disk, PathBuf::from("/data"), FactsKind::Memory(facts.clone()), host.chance).unwrap()
}

/// Everything that was ever appended: the journal's space is recycled late.
fn journal() -> Vec<Replay> {
    batches().into_iter().map(|batch| Replay::Append { bytes: batch.bytes }).collect()
}

impl Node {
    fn new(seed: u64) -> Self {
        let (world, facts) = (SimWorld::new(seed), MemoryFacts::new());
        let store = open(&world, &facts);
        let mut log = Log::create(&store, place(), config());
        log.append(&batches()).unwrap();
        let point = log.sync_point().unwrap();
        point.sync().unwrap();
        point.checkpoint(&[], &[(LeaderEpoch(0), Offset(0))]).unwrap();
        store.facts().flush().unwrap();
        log.synced(point.end());
        log.checkpointed(point.end());
        Self { world, facts, store, log }
    }

    fn crash(self, draw: u64, with_journal: bool) -> Self {
        let Self { world, facts, store, log } = self;
        drop((store, log));
        world.disk().crash();
        facts.crash(draw);
        let store = open(&world, &facts);
        let log = match with_journal {
            true => Log::recover(&store, place(), config(), journal()),
            false => Log::recover(&store, place(), config(), Vec::<JournalEntry>::new()),
        };
        let (log, found) = log.unwrap();
        assert_eq!(found.missing, [], "what compaction has taken out is not missed");
        Self { world, facts, log, store }
    }

    fn begin(&self) -> crate::Compaction {
        let policy = Policy { dirty_ratio_min: 0.0, lag_ms_min: 0, lag_ms_max: u64::MAX };
        let now = Now { mono_ms: 0, wall_ms: 5_000 };
        let round = self.log.wants_compaction(&policy, self.log.end(), now).unwrap();
        let horizon = Horizon { now_ms: now.wall_ms, tombstones_ms: 100, markers_ms: 100 };
        let tuning = Tuning {
            map_bytes_max: 1 << 20,
            map_load_factor: 0.9,
            buffer_bytes: 300,
            unpacked_bytes_max: 1 << 20,
        };
        self.log.compact(round, &[], horizon, tuning).unwrap()
    }

    /// Key, offset and value of every record.
    fn read(&self) -> Vec<(u8, i64, i64)> {
        let (mut next, mut found) = (self.log.start(), vec![]);
        while let Some(slice) = self.log.locate(next, self.log.end(), 500) {
            let bytes = slice.read(true).unwrap().read().unwrap();
            assert!(!bytes.is_empty(), "nothing at {next}");
            for batch in Walk::over(&bytes) {
                let (at, header) = batch.unwrap();
                assert!(header.base_offset >= next || header.end() > next);
                next = header.end();
                let mut records = Records::of(&bytes[at..], 1 << 20).unwrap();
                while let Some(record) = records.next().unwrap() {
                    let value = i64::from_be_bytes(record.value.unwrap().try_into().unwrap());
                    let offset = header.base_offset.0 + i64::from(record.offset_delta);
                    found.push((record.key.unwrap()[0], offset, value));
                }
            }
        }
        assert_eq!(next, self.log.end());
        found
    }

    /// Nothing that was appended is missing but what a later record of its key makes up for; nothing else is there.
    fn check(&self, what: &str) -> usize {
        let all: Vec<_> = (0..BATCHES)
            .flat_map(|n| [((n % KEYS) as u8, 2 * n, n), ((n * n % KEYS) as u8, 2 * n + 1, -n)])
            .collect();
        let found = self.read();
        assert!(found.is_sorted_by_key(|record| record.1), "{what}: in order, once");
        for record in &found {
            assert!(all.contains(record), "{what}: {record:?} was written there");
        }
        for record in all.iter().filter(|record| !found.contains(record)) {
            let later = found.iter().any(|other| other.0 == record.0 && other.1 > record.1);
            assert!(later, "{what}: {record:?} is lost");
        }
        assert_eq!(self.log.end(), Offset(2 * BATCHES), "{what}");
        found.len()
    }
}

fn finish(mut swap: Swap) -> Swapped {
    loop {
        match swap.step().unwrap() {
            Placing::More(next) => swap = next,
            Placing::Done(swapped) => return swapped,
            Placing::Void | Placing::NoRoom(..) => panic!("the owner is here, and there is room"),
        }
    }
}

/// Goes on with a round until so many segments were put in their place, the last of them only so far.
fn compact(node: &mut Node, whole: usize, steps: usize) -> bool {
    let mut compaction = node.begin();
    let mut done = 0;
    loop {
        match compaction.step(400).unwrap() {
            Progress::More(_) => (),
            Progress::Over(upto) => {
                node.log.set_clean_upto(upto.unwrap());
                return true;
            }
            Progress::Written(rewritten) => {
                let mut swap = node.log.swap(rewritten).ok().unwrap();
                if done == whole {
                    for _ in 0..steps {
                        match swap.step().unwrap() {
                            Placing::More(next) => swap = next,
                            Placing::Done(_) => return false,
                            Placing::Void | Placing::NoRoom(..) => {
                                panic!("the owner is here, and there is room")
                            }
                        }
                    }
                    return false;
                }
                let swapped = finish(swap);
                let replaced = node.log.swapped(swapped);
                if done % 2 == 0 {
                    replaced.unlink().unwrap();
                }
                done += 1;
            }
        }
    }
}

#[test]
fn a_crash_leaves_the_old_or_the_new_segment_and_the_journal_revives_nothing() {
    let full = BATCHES as usize * 2;
    for seed in 0..300u64 {
        let mut node = Node::new(seed);
        let before = node.check("before");
        assert_eq!(before, full);
        let (whole, steps) = (seed as usize % 3, seed as usize / 3 % 5);
        compact(&mut node, whole, steps);
        let what = format!("seed {seed}: {whole} segments and {steps} steps of the next");
        let node = node.crash(seed / 5, seed % 2 == 0);
        let left = node.check(&what);
        assert!(whole + steps == 0 || left < full, "{what}: what had been put in place has gone back");

        // And again, in the middle of what the first crash left behind.
        let mut node = node.crash(seed / 7, seed % 3 == 0);
        assert_eq!(node.check(&what), left, "{what}, a second crash");
        assert!(compact(&mut node, usize::MAX, 0));
        let last = node.check(&what);
        let node = node.crash(seed, true);
        assert_eq!(node.check(&what), last, "{what}, compacted to its end");
    }
}

/// Goes on until a segment is written, and with its swap for so many steps.
fn halfway(node: &Node, compaction: &mut crate::Compaction, steps: usize) -> Swap {
    let rewritten = loop {
        if let Progress::Written(rewritten) = compaction.step(400).unwrap() {
            break rewritten;
        }
    };
    let swap = node.log.swap(rewritten).ok().unwrap();
    (0..steps).fold(swap, |swap, _| match swap.step().unwrap() {
        Placing::More(next) => next,
        Placing::Done(_) | Placing::Void | Placing::NoRoom(..) => panic!("there is more to do"),
    })
}

#[test]
fn a_swap_that_finds_no_room_is_gone_on_with_when_there_is_some() {
    // Before the first step, which notes what is pending, and before the last, which notes that nothing is.
    for steps in [0, 3] {
        let mut node = Node::new(1);
        let mut compaction = node.begin();
        let mut swap = halfway(&node, &mut compaction, steps);
        node.facts.set_full(true);
        for _ in 0..3 {
            swap = match swap.step().unwrap() {
                Placing::NoRoom(same, error) if error.is_full() => same,
                _ => panic!("there is no room"),
            };
        }
        node.facts.set_full(false);
        let swapped = finish(swap);
        node.log.swapped(swapped).unlink().unwrap();
        let left = node.check("in its place");
        drop(compaction);
        assert_eq!(node.crash(1, true).check("after a crash"), left, "{steps}");

        // Whoever does not wait for room leaves it to recovery.
        let node = Node::new(2);
        let mut compaction = node.begin();
        let swap = halfway(&node, &mut compaction, steps);
        node.facts.set_full(true);
        let Ok(Placing::NoRoom(same, _)) = swap.step() else { panic!("there is no room") };
        node.facts.set_full(false);
        drop((same, compaction));
        node.crash(1, true).check("left to recovery");
    }
}

#[test]
fn readers_of_the_segments_before_finish() {
    let mut node = Node::new(1);
    let whole = node.read();
    let slices: Vec<_> =
        (0..2 * BATCHES).filter_map(|at| node.log.locate(Offset(at), node.log.end(), 100)).collect();
    let bytes = |slices: &[crate::Slice]| -> Vec<Vec<u8>> {
        slices.iter().map(|slice| slice.clone().read(true).unwrap().read().unwrap()).collect()
    };
    let before = bytes(&slices);
    let mut compaction = node.begin();
    let mut replaced = vec![];
    loop {
        match compaction.step(400).unwrap() {
            Progress::More(_) => (),
            Progress::Over(_) => break,
            Progress::Written(rewritten) => {
                let swapped = finish(node.log.swap(rewritten).ok().unwrap());
                replaced.push(node.log.swapped(swapped));
            }
        }
    }
    assert!(!replaced.is_empty() && node.read().len() < whole.len());
    assert_eq!(bytes(&slices), before);
}

#[test]
fn whoever_is_gone_puts_nothing_in_its_place() {
    let node = Node::new(2);
    let mut compaction = node.begin();
    let rewritten = loop {
        if let Progress::Written(rewritten) = compaction.step(400).unwrap() {
            break rewritten;
        }
    };
    let swap = node.log.swap(rewritten).ok().unwrap();
    assert!(node.log.store.claim_compaction(place().id).is_none(), "one at a time");
    let Node { world, facts, store, log } = node;
    drop(log);
    assert!(matches!(swap.step().unwrap(), Placing::Void));
    assert!(matches!(compaction.step(400).unwrap(), Progress::Over(None)));
    drop(compaction);
    let (log, _) = Log::recover(&store, place(), config(), Vec::<JournalEntry>::new()).unwrap();
    let node = Node { world, facts, store, log };
    assert_eq!(node.check("after"), BATCHES as usize * 2);
    node.begin();
}

/// A whole round, and what it replaced.
fn round(node: &mut Node) -> Vec<Replaced> {
    let mut compaction = node.begin();
    let mut replaced = vec![];
    loop {
        match compaction.step(400).unwrap() {
            Progress::More(_) => (),
            Progress::Over(upto) => {
                node.log.set_clean_upto(upto.unwrap());
                return replaced;
            }
            Progress::Written(rewritten) => {
                let swapped = finish(node.log.swap(rewritten).ok().unwrap());
                replaced.push(node.log.swapped(swapped));
            }
        }
    }
}

#[test]
fn two_rounds_within_the_delay_leave_each_reader_its_own_segments() {
    let mut node = Node::new(1);
    // Every file is opened when it is used: nothing but the names says which it is.
    node.store.set_open_files_max(16);
    let slices = |node: &Node| -> Vec<crate::Slice> {
        (0..2 * BATCHES).filter_map(|at| node.log.locate(Offset(at), node.log.end(), 100)).collect()
    };
    let bytes = |slices: &[crate::Slice]| -> Vec<Vec<u8>> {
        let read = |slice: &crate::Slice| {
            slice.files.close();
            slice.clone().read(true).unwrap().read().unwrap()
        };
        slices.iter().map(read).collect()
    };
    let of_first = slices(&node);
    let first = bytes(&of_first);
    let replaced_first = round(&mut node);
    let of_second = slices(&node);
    let second = bytes(&of_second);
    // More of the same keys: the next round rewrites what the first has written.
    let more = |n: i64| {
        let builder = BatchBuilder::new().record([(n % KEYS) as u8], n.to_be_bytes(), 2_000 + n);
        builder.stamped(node.log.end().plus(n), LeaderEpoch(0))
    };
    let more: Vec<_> = (0..30).map(more).collect();
    node.log.append(&more).unwrap();
    let point = node.log.sync_point().unwrap();
    point.sync().unwrap();
    node.log.synced(point.end());
    node.log.checkpointed(point.end());
    let replaced_second = round(&mut node);
    assert!(!replaced_first.is_empty() && !replaced_second.is_empty());

    assert_eq!(bytes(&of_first), first);
    assert_eq!(bytes(&of_second), second);
    replaced_first.into_iter().for_each(|replaced| replaced.unlink().unwrap());
    assert_eq!(bytes(&of_second), second, "their time is not over");
    replaced_second.into_iter().for_each(|replaced| replaced.unlink().unwrap());
    let names = Host::simulated(&node.world).disk.list("/data/payments-3").unwrap();
    assert!(!names.iter().any(|entry| entry.name.ends_with(".deleted")), "{names:?}");
}

#[test]
fn a_failed_sync_of_what_compaction_writes_is_the_end_of_that_round_and_of_nothing_else() {
    let mut node = Node::new(1);
    let mut compaction = node.begin();
    for part in ["log", "index", "timeindex"] {
        let cleaned = format!("/data/payments-3/00000000000000000000.{part}.cleaned");
        node.world.disk().break_below(cleaned, Fault::FailNextSync);
    }
    let failed = loop {
        match compaction.step(400) {
            Ok(Progress::More(_)) => (),
            Ok(Progress::Written(_) | Progress::Over(_)) => panic!("it cannot be made safe"),
            Err(error) => break error,
        }
    };
    assert!(!failed.is_failed_sync(), "nothing of the log is in doubt: {failed}");
    drop(compaction);
    node.world.disk().heal();
    let names = Host::simulated(&node.world).disk.list("/data/payments-3").unwrap();
    assert!(!names.iter().any(|entry| entry.name.ends_with(".cleaned")), "{names:?}");
    assert_eq!(node.check("after it"), BATCHES as usize * 2);
    let replaced = round(&mut node);
    assert!(!replaced.is_empty());
    let left = node.check("another round");
    assert_eq!(node.crash(1, true).check("after a power cut"), left);
}
