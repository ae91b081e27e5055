//! A data directory and batches for it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::{fs, path::Path, sync::Arc};

use ottla_host::{Chance, Disk};
use ottla_rules::{
    batch::{Stamped, build::BatchBuilder},
    ids::{LeaderEpoch, Offset, PartitionId, TopicId},
};
use ottla_store::{
    FactsKind, Log, LogConfig, MemoryFacts, Place, Store,
    journal::entry::{EntryKind, JournalEntry},
};
use tempfile::TempDir;

pub const NOTHING: Vec<JournalEntry> = vec![];

pub fn place() -> Place {
    Place { id: PartitionId { topic: TopicId([7; 16]), index: 3 }, topic: Arc::from("payments") }
}

/// Small segments and dense indexes.
pub fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 2_000,
        segment_ms: u64::MAX,
        segment_jitter_ms: 0,
        segment_index_bytes: 10_000,
        index_interval_bytes: 150,
        preallocate: false,
        producers_max: 100,
        passes_damage: false,
    }
}

pub fn open(dir: &Path, facts: &MemoryFacts) -> Store {
    let kind = FactsKind::Memory(facts.clone());
    Store::open(Disk::machine(), dir.to_owned(), kind, Chance::machine()).unwrap()
}

/// `n` records of `size` bytes, the first with `timestamp`, each later one a millisecond later.
pub fn batch(base: i64, n: i64, size: usize, timestamp: i64) -> Stamped {
    let builder =
        (0..n).fold(BatchBuilder::new(), |builder, i| builder.value(vec![b'v'; size], timestamp + i));
    builder.stamped(Offset(base), LeaderEpoch(0))
}

/// `n` batches of two records each that follow one another from `base` on; timestamps are ten times the offset.
pub fn batches(base: i64, n: i64, size: usize) -> Vec<Stamped> {
    (0..n).map(|i| batch(base + 2 * i, 2, size, 10 * (base + 2 * i))).collect()
}

/// What a reader gets of the log, asking again and again.
pub fn read_all(log: &Log, from: Offset, bytes_max: usize) -> Vec<u8> {
    let mut bytes = vec![];
    let mut next = from;
    while let Some(slice) = log.locate(next, log.end(), bytes_max) {
        let read = slice.read(true).unwrap().read().unwrap();
        assert!(!read.is_empty(), "nothing at {next}, the log ends at {}", log.end());
        next = last_end(&read);
        bytes.extend(read);
    }
    assert_eq!(next.max(from), log.end().max(from));
    bytes
}

/// Syncs the log and remembers it, as the pool does.
pub fn sync(store: &Store, log: &mut Log) {
    let Some(point) = log.sync_point() else { return };
    point.sync().unwrap();
    point.checkpoint(&[], &[(LeaderEpoch(0), Offset(0))]).unwrap();
    store.facts().flush().unwrap();
    log.synced(point.end());
    log.checkpointed(point.end());
}

fn last_end(bytes: &[u8]) -> Offset {
    ottla_rules::batch::Walk::over(bytes).map(|found| found.unwrap().1.end()).last().unwrap()
}

pub fn bytes_of(batches: &[Stamped]) -> Vec<u8> {
    batches.iter().flat_map(|batch| batch.bytes.to_vec()).collect()
}

/// A directory with a log of these batches, of which the first so many are known to be synced.
pub fn written(all: &[Stamped], n_synced: usize, config: &LogConfig) -> (TempDir, MemoryFacts) {
    let (dir, facts) = (tempfile::tempdir().unwrap(), MemoryFacts::new());
    let store = open(dir.path(), &facts);
    let mut log = Log::create(&store, place(), config.clone());
    log.append(&all[..n_synced]).unwrap();
    sync(&store, &mut log);
    log.append(&all[n_synced..]).unwrap();
    (dir, facts)
}

/// Facts of a data directory that knew no partition when it was stopped.
pub fn facts_of_before() -> MemoryFacts {
    let (dir, facts) = (tempfile::tempdir().unwrap(), MemoryFacts::new());
    open(dir.path(), &facts).mark_clean().unwrap();
    facts
}

/// Flips a bit of the segment with this base offset.
pub fn flip(dir: &Path, segment: i64, bit: usize) {
    let path = dir.join("payments-3").join(format!("{segment:020}.log"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(&path, bytes).unwrap();
}

/// What the journal has of these batches.
pub fn journal_of(batches: &[Stamped]) -> Vec<JournalEntry> {
    let entry = |batch: &Stamped| JournalEntry {
        partition: place().id,
        epoch: LeaderEpoch(0),
        kind: EntryKind::Append { base: batch.base, bytes: batch.bytes.clone() },
        lap: 1,
        sequence: 1,
        file: 0,
        at: 0,
    };
    batches.iter().map(entry).collect()
}
