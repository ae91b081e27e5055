//! Damage that the journal can mend: what is lost in the files and still in the journal is there again after a start.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{NOTHING, batches, bytes_of, config, flip, journal_of, open, place, read_all, sync, written};
use ottla_host::{Fault, Host, OpenMode, SimWorld};
use ottla_rules::{batch::Stamped, ids::Offset};
use ottla_store::{FactsKind, Log, LogConfig, LogError, MemoryFacts, Store, journal::entry::JournalEntry};

/// Four of these batches in a segment: 0, 8, 16, and two in the last.
fn all() -> Vec<Stamped> {
    batches(0, 14, 40)
}

fn size() -> usize {
    all()[0].bytes.len()
}

fn four_each() -> LogConfig {
    LogConfig { segment_bytes: 4 * size() as u64, ..config() }
}

fn file(dir: &Path, base: i64, kind: &str) -> PathBuf {
    dir.join("payments-3").join(format!("{base:020}.{kind}"))
}

fn zero(dir: &Path, base: i64, from: usize, upto: usize) {
    let path = file(dir, base, "log");
    let mut bytes = fs::read(&path).unwrap();
    bytes[from..upto].fill(0);
    fs::write(&path, bytes).unwrap();
}

fn shorten(dir: &Path, base: i64, to: usize) {
    fs::File::options().write(true).open(file(dir, base, "log")).unwrap().set_len(to as u64).unwrap();
}

/// Starts with the journal, and once more without it: what was mended is on the disk. All of the log is there each time, for
/// who reads it and for who looks for a time.
fn comes_back(dir: &Path, facts: &MemoryFacts, config: &LogConfig, journal: &[Stamped], what: &str) {
    for journal in [journal_of(journal), NOTHING] {
        let store = open(dir, facts);
        let recovered = Log::recover(&store, place(), config.clone(), journal);
        let (mut log, found) = recovered.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((found.end, found.cut), (Offset(28), None), "{what}");
        assert_eq!(read_all(&log, Offset(0), 500), bytes_of(&all()), "{what}");
        for batch in all() {
            let time = batch.max_timestamp;
            let found = log.lookup(time, Offset(28), 1 << 20).run().unwrap().unwrap();
            assert_eq!((found.offset, found.timestamp), (batch.end.plus(-1), time), "{what}");
        }
        sync(&store, &mut log);
    }
}

/// All of it is synced, damaged, and in the journal from the batch `from` on.
fn is_mended(from: usize, what: &str, damage: impl FnOnce(&Path)) {
    let all = all();
    let (dir, facts) = written(&all, all.len(), &four_each());
    damage(dir.path());
    comes_back(dir.path(), &facts, &four_each(), &all[from..], what);
}

#[test]
fn a_flipped_bit_is_mended_in_every_segment() {
    for which in [0, 4, 5, 7, 13] {
        let (segment, at) = (which / 4 * 8, which % 4 * size() * 8);
        for bit in (0..16 * 8).chain((16 * 8..size() * 8).step_by(23)) {
            let flip = |dir: &Path| flip(dir, segment as i64, at + bit);
            is_mended(which, &format!("bit {bit} of batch {which}"), flip);
        }
    }
}

#[test]
fn a_page_is_mended_wherever_it_begins_and_ends() {
    for from in (0..4 * size()).step_by(31) {
        for upto in (from + 1..4 * size()).step_by(97).chain([4 * size()]) {
            is_mended(4, &format!("{from}..{upto}"), |dir| zero(dir, 8, from, upto));
        }
    }
}

#[test]
fn what_only_the_segment_had_is_lost_alone() {
    let all = all();
    let (dir, facts) = written(&all, all.len(), &four_each());
    // Of the batches 4, 5 and 6 the journal has the last two: they are put where the whole one behind them begins.
    zero(dir.path(), 8, 10, 2 * size() + 10);
    let (log, found) = {
        let store = open(dir.path(), &facts);
        Log::recover(&store, place(), four_each(), journal_of(&all[5..])).unwrap()
    };
    assert_eq!(found.end, Offset(28));
    assert_eq!(read_all(&log, Offset(10), 500), bytes_of(&all[5..]));
    assert!(
        log.locate(Offset(8), Offset(28), 500).unwrap().read(true).is_err(),
        "it is told that it is damaged"
    );
}

#[test]
fn a_segment_that_is_gone_comes_back() {
    for which in [0, 4, 8, 12] {
        let base = 2 * which as i64;
        let what = format!("segment {base}");
        is_mended(which, &what, |dir| fs::remove_file(file(dir, base, "log")).unwrap());
        is_mended(which, &format!("{what}, with its indexes"), |dir| {
            for kind in ["log", "index", "timeindex"] {
                fs::remove_file(file(dir, base, kind)).unwrap();
            }
        });
    }
    is_mended(4, "two of them", |dir| {
        fs::remove_file(file(dir, 8, "log")).unwrap();
        fs::remove_file(file(dir, 16, "log")).unwrap();
    });
}

#[test]
fn one_segment_in_the_place_of_two_gets_indexes_of_its_own() {
    let all = all();
    let (dir, facts) = written(&all, all.len(), &four_each());
    fs::remove_file(file(dir.path(), 8, "log")).unwrap();
    fs::remove_file(file(dir.path(), 16, "log")).unwrap();
    let larger = LogConfig { segment_bytes: 8 * size() as u64, ..config() };
    comes_back(dir.path(), &facts, &larger, &all[4..], "one for two");
}

#[test]
fn a_segment_that_is_too_short_is_made_whole() {
    for base in [8, 24] {
        let batches = if base == 24 { 2 } else { 4 };
        for to in (0..batches * size()).step_by(13).chain((0..batches).map(|n| n * size())) {
            is_mended(base / 2, &format!("{base} cut at {to}"), |dir| shorten(dir, base as i64, to));
        }
    }
}

#[test]
fn without_the_journal_the_last_segment_keeps_the_log_offline() {
    let all = all();
    let (dir, facts) = written(&all, all.len(), &four_each());
    zero(dir.path(), 24, 5, size() + 5);
    let store = open(dir.path(), &facts);
    // One of the two is nowhere.
    let refused = Log::recover(&store, place(), four_each(), journal_of(&all[13..]));
    assert!(matches!(refused, Err(LogError::Damaged { .. })));
}

#[test]
fn what_was_deleted_does_not_come_back() {
    let all = all();
    let (dir, facts) = written(&all, all.len(), &four_each());
    let store = open(dir.path(), &facts);
    let (mut log, _) = Log::recover(&store, place(), four_each(), NOTHING).unwrap();
    let doomed = log.delete_segments(Offset(16)).unwrap();
    doomed.mark().unwrap();
    doomed.unlink().unwrap();
    drop((log, store));
    let store = open(dir.path(), &facts);
    let (log, found) = Log::recover(&store, place(), four_each(), journal_of(&all)).unwrap();
    assert_eq!((found.log_start, found.end), (Offset(16), Offset(28)));
    assert_eq!(read_all(&log, Offset(16), 500), bytes_of(&all[8..]));
    assert!(!file(dir.path(), 8, "log").exists());
}

fn start(world: &SimWorld, facts: &MemoryFacts, journal: Vec<JournalEntry>) -> Result<Log, LogError> {
    let host = Host::simulated(world);
    let kind = FactsKind::Memory(facts.clone());
    let store = Store::open(host.disk, PathBuf::from("/data"), kind, host.chance).unwrap();
    let (mut log, _) = Log::recover(&store, place(), four_each(), journal)?;
    sync(&store, &mut log);
    Ok(log)
}

/// The power goes in the middle of a mend, again and again, or does not: the start after it mends the rest.
#[test]
fn a_power_cut_in_the_middle_of_a_mend_costs_nothing() {
    for seed in 0..150 {
        let (world, facts) = (SimWorld::new(seed), MemoryFacts::new());
        let host = Host::simulated(&world);
        let mut log = start(&world, &facts, NOTHING).unwrap();
        log.append(&all()).unwrap();
        drop(log);
        drop(start(&world, &facts, journal_of(&all())).unwrap());
        let path = |base: i64| file(Path::new("/data"), base, "log");
        let damaged = host.disk.open(path(8), OpenMode::Write).unwrap();
        damaged.pwrite_all(&vec![0; 2 * size()], 30 + seed).unwrap();
        damaged.sync_data().unwrap();
        host.disk.remove_file(path(16)).unwrap();
        host.disk.sync_dir("/data/payments-3").unwrap();
        for fault in [Fault::FailNextSync, Fault::NoSpaceAfter(seed * 5)].into_iter().take(seed as usize % 3)
        {
            world.disk().break_below("/data/payments-3", fault);
            let _ = start(&world, &facts, journal_of(&all()[4..]));
            world.disk().heal();
            world.disk().crash();
            facts.crash(seed);
        }
        let log = start(&world, &facts, journal_of(&all()[4..])).unwrap();
        assert_eq!(read_all(&log, Offset(0), 500), bytes_of(&all()), "seed {seed}");
        drop(log);
        world.disk().crash();
        let log = start(&world, &facts, NOTHING).unwrap();
        assert_eq!(read_all(&log, Offset(0), 500), bytes_of(&all()), "seed {seed}, once more");
    }
}
