//! The log against a naive one: a list of batches, and how many of them are synced.

mod common;

use std::{fs, mem};

use common::{NOTHING, batch, config, open, place, read_all, sync};
use ottla_rules::{batch::Stamped, ids::Offset};
use ottla_store::{Log, MemoryFacts, Store};
use proptest::{collection::vec, prelude::*};
use tempfile::TempDir;

#[derive(Clone, Debug)]
enum Op {
    /// One burst: per batch the number of records and their size.
    Append(Vec<(i64, usize)>),
    /// So many pieces, of so many bytes, of a burst that is appended later, or never when the process ends before.
    WriteAhead {
        burst: Vec<(i64, usize)>,
        bytes_max: usize,
        pieces: usize,
    },
    Roll,
    Sync,
    /// A new process.
    Reopen,
    /// A new process, after so many bytes at the end of the last segment were damaged or cut.
    Damage {
        bytes: u64,
        cut: bool,
    },
    /// Whole segments go, up to this share of the log (in tenths).
    Retain(i64),
    /// DeleteRecords, to this share of the log (in tenths).
    MoveStart(i64),
    /// Every index is lost, then a new process.
    LoseIndexes,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => vec((1..5i64, 0..200usize), 1..12).prop_map(Op::Append),
        3 => (vec((1..5i64, 0..200usize), 1..12), 1..500usize, 1..5usize)
            .prop_map(|(burst, bytes_max, pieces)| Op::WriteAhead { burst, bytes_max, pieces }),
        1 => Just(Op::Roll),
        2 => Just(Op::Sync),
        2 => Just(Op::Reopen),
        2 => (1..400u64, any::<bool>()).prop_map(|(bytes, cut)| Op::Damage { bytes, cut }),
        1 => (0..=10i64).prop_map(Op::Retain),
        1 => (0..=10i64).prop_map(Op::MoveStart),
        1 => Just(Op::LoseIndexes),
    ]
}

struct World {
    dir: TempDir,
    facts: MemoryFacts,
    store: Option<Store>,
    log: Option<Log>,
    /// What the log must hold.
    model: Vec<Stamped>,
    /// What is written ahead: the burst, and how many of its bytes a new process may find.
    ahead: (Vec<Stamped>, usize),
    /// What must not be read any more.
    start: Offset,
    synced: Offset,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let facts = MemoryFacts::new();
        let store = open(dir.path(), &facts);
        let log = Log::create(&store, place(), config());
        let (model, ahead, start, synced) = (vec![], (vec![], 0), Offset(0), Offset(0));
        Self { dir, facts, store: Some(store), log: Some(log), model, ahead, start, synced }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn end(&self) -> Offset {
        self.model.last().map_or(Offset(0), |batch| batch.end)
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Append(sizes) => {
                let (mut burst, _) = mem::take(&mut self.ahead);
                let next = burst.last().map_or(self.end(), |batch| batch.end);
                burst.extend(batches(next, &sizes));
                self.log().append(&burst).unwrap();
                self.model.extend(burst);
            }
            Op::WriteAhead { burst, bytes_max, pieces } => {
                let (mut ahead, mut bytes) = mem::take(&mut self.ahead);
                if ahead.is_empty() {
                    ahead = batches(self.end(), &burst);
                }
                for _ in 0..pieces {
                    let more = self.log().write_ahead(&ahead, bytes_max).unwrap();
                    bytes += if more { bytes_max } else { 0 };
                }
                self.ahead = (ahead, bytes);
            }
            Op::Roll => {
                let end = self.end();
                if self.log().segments().last().is_some_and(|segment| segment.bytes > 0) {
                    self.ahead.1 = 0;
                }
                self.log().roll(end).unwrap();
            }
            Op::Sync => {
                let store = self.store.clone().unwrap();
                sync(&store, self.log());
                self.synced = self.end();
                // The start is in the checkpoint only when there was something to sync.
                let checkpoint = self.log().checkpoint();
                ottla_store::facts::checkpoint::put(store.facts(), place().id, checkpoint).unwrap();
            }
            Op::Reopen => self.reopen(),
            Op::Damage { bytes, cut } => self.damage(bytes, cut),
            Op::Retain(tenths) => self.retain(tenths),
            Op::MoveStart(tenths) => {
                let to = Offset(self.end().0 * tenths / 10);
                self.log().set_start(to);
                self.start = self.start.max(to);
                self.apply(Op::Sync);
            }
            Op::LoseIndexes => {
                self.settle();
                self.close();
                for path in self.files() {
                    if path.extension().is_some_and(|end| end == "index" || end == "timeindex") {
                        fs::remove_file(path).unwrap();
                    }
                }
                self.open();
            }
        }
    }

    fn retain(&mut self, tenths: i64) {
        let below = Offset(self.end().0 * tenths / 10);
        let doomed = self.log().delete_segments(below);
        self.start = self.log().start().max(self.start);
        if let Some(doomed) = doomed {
            doomed.mark().unwrap();
            doomed.unlink().unwrap();
        }
    }

    /// Spoils bytes that were not synced; the log must end with the batch before them.
    fn damage(&mut self, bytes: u64, cut: bool) {
        self.settle();
        let last = self.log().segments().last().copied();
        self.close();
        let Some(last) = last.filter(|segment| segment.bytes > 0) else { return self.open() };
        let mut at = last.bytes;
        let reached = last.bytes.saturating_sub(bytes);
        while self.end() > self.synced && self.end() > last.base && at > reached {
            at -= self.model.pop().unwrap().bytes.len() as u64;
        }
        let path = self.dir.path().join("payments-3").join(format!("{:020}.log", last.base.0));
        let mut content = fs::read(&path).unwrap();
        let from = reached.max(at) as usize;
        if from < content.len() && cut {
            content.truncate(from);
        } else if from < content.len() {
            content[from..].iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        fs::write(&path, content).unwrap();
        self.open();
    }

    fn close(&mut self) {
        (self.log, self.store) = (None, None);
    }

    fn open(&mut self) {
        let store = open(self.dir.path(), &self.facts);
        let (log, recovered) = Log::recover(&store, place(), config(), NOTHING).unwrap();
        assert_eq!(recovered.end, self.end());
        // A start that was not in a checkpoint may come back; what was deleted does not.
        assert!(recovered.log_start <= self.start.max(self.end()));
        self.start = recovered.log_start;
        (self.store, self.log) = (Some(store), Some(log));
    }

    /// Appends what is written ahead.
    fn settle(&mut self) {
        self.apply(Op::Append(vec![]));
    }

    /// Whole batches that nobody was told of may be there afterwards.
    fn reopen(&mut self) {
        let (burst, mut bytes) = mem::take(&mut self.ahead);
        for batch in burst {
            let Some(left) = bytes.checked_sub(batch.bytes.len()) else { break };
            bytes = left;
            self.model.push(batch);
        }
        self.close();
        self.open();
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let dir = self.dir.path().join("payments-3");
        fs::read_dir(dir).map_or(vec![], |names| names.map(|entry| entry.unwrap().path()).collect())
    }

    fn check(&self, bytes_max: usize) {
        let log = self.log.as_ref().unwrap();
        assert_eq!((log.start(), log.end()), (self.start, self.end()));
        for from in (self.start.0..self.end().0).step_by(3) {
            let left =
                self.model.iter().filter(|batch| batch.end.0 > from).flat_map(|batch| batch.bytes.to_vec());
            let expected: Vec<u8> = left.collect();
            assert!(read_all(log, Offset(from), bytes_max) == expected, "from {from}, at most {bytes_max}");
            // Timestamps grow strictly: the first record as late as that of `from` is that of `from`, or the one a
            // batch further on that began later.
            let holder = self.model.iter().find(|batch| batch.end.0 > from).unwrap();
            let timestamp = 1_000 + holder.base.0 * 3 + (from - holder.base.0);
            let found = log.lookup(timestamp, log.end(), 1 << 20).run().unwrap().unwrap();
            assert_eq!((found.offset.0, found.timestamp), (from, timestamp));
        }
    }
}

/// Batches that follow one another from `base` on; per batch the number of records and their size.
fn batches(base: Offset, sizes: &[(i64, usize)]) -> Vec<Stamped> {
    let mut next = base.0;
    let mut of = |&(n, size): &(i64, usize)| {
        let batch = batch(next, n, size, 1_000 + next * 3);
        next += n;
        batch
    };
    sizes.iter().map(&mut of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_a_list_of_batches(ops in vec(op(), 1..25), bytes_max in 1..3_000usize) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
            world.check(bytes_max);
        }
    }
}
