//! Logs that go on behind damage: a flipped bit costs the batch that it is in, wherever that is.

mod common;

use std::{fs, path::Path};

use common::{NOTHING, batches, config, flip, journal_of, open, place, sync, written};
use ottla_rules::{batch::Stamped, ids::Offset};
use ottla_store::{
    Log, LogConfig, LogError, Lost, MemoryFacts, Piece, Recovered, journal::entry::JournalEntry,
};

/// All batches in one segment, or a few in each.
fn passing(segment_bytes: u64) -> LogConfig {
    LogConfig { passes_damage: true, segment_bytes, ..config() }
}

type Recovery = Result<(Log, Recovered), LogError>;

/// The process starts again, and does with its log what its owner does.
fn recover(dir: &Path, facts: &MemoryFacts, config: &LogConfig, journal: Vec<JournalEntry>) -> Recovery {
    let store = open(dir, facts);
    let (mut log, found) = Log::recover(&store, place(), config.clone(), journal)?;
    sync(&store, &mut log);
    Ok((log, found))
}

/// What a coordinator reads: the base offsets of batches, and the offsets that are lost.
fn show(log: &Log) -> (Vec<i64>, Vec<(i64, i64)>) {
    let (mut bases, mut lost) = (vec![], vec![]);
    let mut next = log.start();
    while let Some(slice) = log.locate(next, log.end(), 500) {
        let end = slice.show(|piece| match piece {
            Piece::Batch(header, _) => bases.push(header.base_offset.0),
            Piece::Lost(Lost { from, upto, .. }) => lost.push((from.0, upto.0)),
        });
        let end = end.unwrap();
        assert!(end > next, "nothing at {next}");
        next = end;
    }
    (bases, lost)
}

/// Flips a bit of one of ten batches that are all synced, starts, reads, goes on, and starts again.
fn costs_one_batch(all: &[Stamped], which: usize, bit: usize, config: LogConfig) {
    let (dir, facts) = written(all, all.len(), &config);
    let size = all[0].bytes.len();
    let per_segment = (config.segment_bytes as usize / size).min(all.len());
    let (segment, at) = (which / per_segment * per_segment, which % per_segment);
    flip(dir.path(), 2 * segment as i64, at * size * 8 + bit);

    let what = format!("bit {bit} of batch {which}, {per_segment} in a segment");
    let kept: Vec<i64> = (0..all.len()).filter(|n| *n != which).map(|n| 2 * n as i64).collect();
    let hole = vec![(2 * which as i64, 2 * which as i64 + 2)];
    let end = Offset(2 * all.len() as i64);
    let (mut log, found) = recover(dir.path(), &facts, &config, vec![]).unwrap();
    assert_eq!((found.end, found.cut), (end, None), "{what}");
    assert_eq!(show(&log), (kept.clone(), hole.clone()), "{what}");

    log.append(&batches(end.0, 2, 40)).unwrap();
    drop(log);
    let (log, found) = recover(dir.path(), &facts, &config, journal_of(&batches(end.0, 2, 40))).unwrap();
    assert_eq!(found.end, end.plus(4), "{what}");
    assert_eq!(show(&log), ([kept, vec![end.0, end.0 + 2]].concat(), hole), "{what}");
}

#[test]
fn a_flipped_bit_in_a_synced_log_costs_the_batch_that_it_is_in() {
    let all = batches(0, 10, 40);
    let bits = all[0].bytes.len() * 8;
    for (segment_bytes, step) in [(1 << 20, 1), (4 * all[0].bytes.len() as u64, 5)] {
        for which in [0, 5, 9] {
            // Offset and length bit by bit, and some of all others. The epoch (bytes 12 to 15) is no one's to check.
            let flipped = (0..12 * 8).step_by(step).chain((16 * 8..bits).step_by(23));
            flipped.for_each(|bit| costs_one_batch(&all, which, bit, passing(segment_bytes)));
        }
    }
}

#[test]
fn in_a_closed_segment_that_is_so_of_all_logs() {
    let all = batches(0, 10, 40);
    let size = all[0].bytes.len();
    let config = LogConfig { passes_damage: false, ..passing(4 * size as u64) };
    for which in [4, 7] {
        let flipped = (0..12 * 8).step_by(3).chain((16 * 8..size * 8).step_by(23));
        flipped.for_each(|bit| costs_one_batch(&all, which, bit, config.clone()));
    }
}

#[test]
fn what_the_journal_has_is_put_back() {
    let all = batches(0, 10, 40);
    let size = all[0].bytes.len();
    let config = passing(1 << 20);
    for bit in (0..size * 8).step_by(5) {
        // The journal still has all; some of it is known to be in the log.
        let (dir, facts) = written(&all, 6, &config);
        for which in [1, 2, 7] {
            flip(dir.path(), 0, which * size * 8 + bit);
        }
        let (log, found) = recover(dir.path(), &facts, &config, journal_of(&all)).unwrap();
        assert_eq!(found.end, Offset(20), "bit {bit}");
        assert_eq!(show(&log), ((0..10).map(|n| 2 * n).collect(), vec![]), "bit {bit}");
        drop(log);
        let (log, _) = recover(dir.path(), &facts, &config, vec![]).unwrap();
        assert_eq!(show(&log).1, [], "bit {bit}: it is on the disk");
    }
}

#[test]
fn two_damaged_batches_side_by_side_are_lost_together() {
    let all = batches(0, 10, 40);
    let size = all[0].bytes.len();
    let config = passing(1 << 20);
    let (dir, facts) = written(&all, 10, &config);
    flip(dir.path(), 0, (3 * size + 11) * 8 + 6);
    flip(dir.path(), 0, (4 * size + 70) * 8);
    let (log, _) = recover(dir.path(), &facts, &config, vec![]).unwrap();
    assert_eq!(show(&log), (vec![0, 2, 4, 10, 12, 14, 16, 18], vec![(6, 10)]));
}

#[test]
fn a_log_of_users_stays_offline_where_its_last_segment_is_damaged() {
    let all = batches(0, 10, 40);
    let config = LogConfig { passes_damage: false, ..passing(1 << 20) };
    let (dir, facts) = written(&all, 10, &config);
    flip(dir.path(), 0, all[0].bytes.len() * 8 * 9 + 16 * 8 + 2);
    let store = open(dir.path(), &facts);
    let refused = Log::recover(&store, place(), config, NOTHING);
    assert!(matches!(refused, Err(LogError::Damaged { .. })));
}

#[test]
fn a_segment_that_is_gone_is_not_passed_over() {
    let all = batches(0, 10, 40);
    let config = passing(4 * all[0].bytes.len() as u64);
    let (dir, facts) = written(&all, 10, &config);
    fs::remove_file(dir.path().join("payments-3").join(format!("{:020}.log", 16))).unwrap();
    assert!(matches!(recover(dir.path(), &facts, &config, vec![]), Err(LogError::Damaged { .. })));
}

/// What is said to be missing once the files of a log of ten batches, four in a segment, are spoiled; what is left is read.
fn missing(what: &str, journal: &[Stamped], spoil: impl FnOnce(&Path)) -> Vec<(i64, i64)> {
    let all = batches(0, 10, 40);
    let config = LogConfig { passes_damage: false, ..passing(4 * all[0].bytes.len() as u64) };
    let (dir, facts) = written(&all, 10, &config);
    spoil(&dir.path().join("payments-3"));
    let mut said = vec![];
    // It is said as long as it is so, and once more without the journal.
    for journal in [journal_of(journal), journal_of(&[])] {
        let (log, found) = recover(dir.path(), &facts, &config, journal).unwrap();
        assert_eq!(found.end, Offset(20), "{what}");
        let (bases, lost) = show(&log);
        let is_missing = |base: &i64| found.missing.iter().any(|range| range.contains(&Offset(*base)));
        let expected: Vec<i64> = (0..10).map(|n| 2 * n).filter(|base| !is_missing(base)).collect();
        assert_eq!((bases, lost), (expected, vec![]), "{what}");
        said.push(found.missing.iter().map(|range| (range.start.0, range.end.0)).collect::<Vec<_>>());
    }
    assert_eq!(said[0], said[1], "{what}");
    said.remove(0)
}

#[test]
fn a_hole_between_segments_is_told() {
    let log = |dir: &Path, base: i64| dir.join(format!("{base:020}.log"));
    let all = batches(0, 10, 40);
    let size = all[0].bytes.len() as u64;
    assert_eq!(missing("whole", &[], |_| ()), []);
    assert_eq!(missing("gone", &[], |dir| fs::remove_file(log(dir, 8)).unwrap()), [(8, 16)]);
    assert_eq!(missing("the first", &[], |dir| fs::remove_file(log(dir, 0)).unwrap()), [(0, 8)]);
    let journal = &all[6..];
    assert_eq!(missing("half", journal, |dir| fs::remove_file(log(dir, 8)).unwrap()), [(8, 12)]);
    for batches in 0..4 {
        let shorten = |dir: &Path| {
            let file = fs::File::options().write(true).open(log(dir, 8)).unwrap();
            file.set_len(batches * size).unwrap();
        };
        let from = 8 + 2 * batches as i64;
        assert_eq!(missing(&format!("{batches} left"), &[], shorten), [(from, 16)]);
    }
}

#[test]
fn facts_that_are_older_than_the_files_cost_no_record() {
    let all = batches(0, 40, 40);
    let (dir, _) = written(&all, all.len(), &config());
    let segments = || {
        let names = fs::read_dir(dir.path().join("payments-3")).unwrap().map(|entry| entry.unwrap().path());
        let mut logs: Vec<_> =
            names.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
        logs.sort();
        logs
    };
    // Retention took the first one after the copy of the facts was made that is put back now: of a time before the topic.
    fs::remove_file(&segments()[0]).unwrap();
    let left = segments();
    let first: i64 = left[0].file_stem().unwrap().to_str().unwrap().parse().unwrap();

    let old = common::facts_of_before();
    for turn in 0..2 {
        // Nothing is synced, and nothing kept but what a recovery keeps: the process is killed right after.
        let store = open(dir.path(), &old);
        store.mark_dirty().unwrap();
        if turn == 0 {
            // There is no room for that at first: it is still the first look at what a clean stop has left.
            old.set_full(true);
            assert!(Log::recover(&store, place(), config(), NOTHING).is_err_and(|error| error.is_full()));
            old.set_full(false);
        }
        let (log, found) = Log::recover(&store, place(), config(), NOTHING).unwrap();

        assert_eq!((found.log_start, found.end, found.cut), (Offset(first), Offset(80), None), "{turn}");
        if turn == 0 {
            assert_eq!(found.missing, [Offset(0)..Offset(first)], "it is said");
        }
        assert_eq!(show(&log).0.len() as i64, (80 - first) / 2);
        assert_eq!(segments(), left, "nothing is removed");
    }
}
