//! The log of one partition, on a real disk.

mod common;

use std::{
    fs,
    io::ErrorKind,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use common::{NOTHING, batch, batches, bytes_of, config, open, place, read_all, sync};
use ottla_rules::{
    batch::{Codec, Stamped, build::BatchBuilder},
    ids::{LeaderEpoch, Offset, PartitionId, TopicId},
    planted,
};
use ottla_store::{
    Log, LogConfig, LogError, MemoryFacts, Place, Store,
    journal::entry::{EntryKind, JournalEntry},
};
use tempfile::TempDir;

struct World {
    dir: TempDir,
    facts: MemoryFacts,
    store: Store,
    log: Log,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let facts = MemoryFacts::new();
        let store = open(dir.path(), &facts);
        let log = Log::create(&store, place(), config());
        Self { dir, facts, store, log }
    }

    fn with(batches: &[Stamped]) -> Self {
        let mut world = Self::new();
        world.log.append(batches).unwrap();
        world
    }

    /// The process dies and starts again; nothing else is lost.
    fn restart(self) -> (Self, ottla_store::Recovered) {
        self.restart_with(vec![]).unwrap()
    }

    fn restart_with(self, journal: Vec<JournalEntry>) -> Result<(Self, ottla_store::Recovered), LogError> {
        let Self { dir, facts, store, log } = self;
        drop((store, log));
        let store = open(dir.path(), &facts);
        let (log, recovered) = Log::recover(&store, place(), config(), journal)?;
        Ok((Self { dir, facts, store, log }, recovered))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("payments-3").join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.dir.path().join("payments-3"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "partition.metadata")
            .collect();
        names.sort();
        names
    }

    fn last_log(&self) -> PathBuf {
        self.file(self.names().iter().rfind(|name| name.ends_with(".log")).unwrap())
    }
}

fn journaled(kind: EntryKind) -> JournalEntry {
    let partition = place().id;
    JournalEntry { partition, epoch: LeaderEpoch(0), kind, lap: 1, sequence: 1, file: 0, at: 0 }
}

fn append_of(batch: &Stamped) -> JournalEntry {
    journaled(EntryKind::Append { base: batch.base, bytes: batch.bytes.clone() })
}

#[test]
fn a_bit_flipped_in_a_header_costs_the_batch_it_is_in_and_no_other() {
    let all = batches(0, 60, 40);
    let size = all[0].bytes.len();
    // Every bit of the offset and the length of a batch in the middle of a closed segment: outside of its CRC.
    for bit in 0..12 * 8 {
        let world = World::with(&all);
        let (second, path) = (world.log.segments()[1].base, world.file(&world.names()[4]));
        let mut bytes = fs::read(&path).unwrap();
        bytes[2 * size + bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let read = |from: i64| {
            let slice = world.log.locate(Offset(second.0 + from), world.log.end(), 100_000).unwrap();
            slice.read(true).and_then(|range| range.read())
        };
        let of = |from: i64| ((second.0 + from) / 2) as usize;

        assert_eq!(read(0).unwrap(), bytes_of(&all[of(0)..of(4)]), "bit {bit}: what is before it");
        for damaged in [4, 5] {
            assert_eq!(read(damaged).unwrap_err().kind(), ErrorKind::InvalidData, "bit {bit}: itself");
        }
        assert_eq!(read(6).unwrap()[..size], all[of(6)].bytes[..], "bit {bit}: what is behind it");
    }
}

#[test]
fn records_without_timestamps_are_as_old_as_their_file() {
    let untimed: Vec<_> = (0..60).map(|base| batch(base, 1, 100, -1)).collect();
    let world = World::with(&untimed);
    let bases: Vec<_> = world.log.segments().iter().map(|segment| segment.base).collect();
    assert!(bases.len() > 2, "{bases:?}");
    for (age, base) in bases.iter().enumerate() {
        let file = fs::File::options().write(true).open(world.file(&format!("{:020}.log", base.0))).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000 + age as u64)).unwrap();
    }

    let (mut world, _) = world.restart();
    let expected: Vec<_> = (0..bases.len() as i64).map(|age| 1_000_000 + age * 1_000).collect();
    let modified = |world: &World| world.log.segments().iter().map(|s| s.modified_ms).collect::<Vec<_>>();
    assert_eq!(modified(&world), expected);

    // The segment that is written to becomes young again, the others stay as old as they are.
    world.log.append(&[batch(60, 1, 10, -1)]).unwrap();
    let after = modified(&world);
    assert_eq!(after[..bases.len() - 1], expected[..bases.len() - 1]);
    assert!(after.last().unwrap() > expected.last().unwrap());
}

#[test]
fn records_that_came_after_a_roll_that_failed_are_as_young_as_they_are() {
    let mut world = World::with(&[batch(0, 1, 100, -1)]);
    let log = fs::File::options().write(true).open(world.file("00000000000000000000.log")).unwrap();
    log.set_modified(UNIX_EPOCH + Duration::from_secs(1_000)).unwrap();
    let in_its_way = world.file("00000000000000000001.index");
    fs::create_dir(&in_its_way).unwrap();
    world.log.roll(Offset(1)).unwrap_err();
    assert_eq!(world.log.segments()[0].modified_ms, 1_000_000);

    world.log.append(&[batch(1, 1, 100, -1)]).unwrap();

    let young = 1_700_000_000_000;
    assert!(world.log.segments()[0].modified_ms > young);
    fs::remove_dir(&in_its_way).unwrap();
    world.log.roll(Offset(2)).unwrap();
    assert!(world.log.segments()[0].modified_ms > young, "closed now");
}

#[test]
fn a_closed_segment_whose_time_index_ends_too_early_is_read() {
    // The third batch has an index entry, the fourth is told of by the last entry alone.
    let small = [0, 2, 4, 6].map(|base| batch(base, 2, 5, 10 * base));
    let mut world = World::with(&small);
    sync(&world.store, &mut world.log);
    world.log.roll(Offset(8)).unwrap();
    world.log.append(&[batch(8, 2, 5, 80)]).unwrap();
    sync(&world.store, &mut world.log);
    // A power cut took what was written when the segment was closed, and left the name of the next one.
    let times = fs::File::options().write(true).open(world.file("00000000000000000000.timeindex")).unwrap();
    assert_eq!(times.metadata().unwrap().len(), 2 * 12);
    times.set_len(12).unwrap();

    let (world, _) = world.restart();

    assert_eq!(world.log.segments()[0].max_timestamp, 61);
    let found = world.log.lookup(60, Offset(10), 1 << 20).run().unwrap();
    assert_eq!(found.map(|found| found.offset), Some(Offset(6)));
}

#[test]
fn a_preallocated_segment_has_its_blocks_from_the_start_and_nothing_else_in_it() {
    use std::os::unix::fs::MetadataExt;
    let mut world = World::new();
    let segment_bytes = 200_000;
    world.log.configure(LogConfig { preallocate: true, segment_bytes, ..config() });
    world.log.append(&[batch(0, 1, 100, 5)]).unwrap();
    let taken = |world: &World, name: &str| {
        let metadata = fs::metadata(world.file(name)).unwrap();
        (metadata.len() < 1_000, metadata.blocks() * 512 >= segment_bytes)
    };
    let first = format!("{:020}.log", 0);
    assert_eq!(taken(&world, &first), (true, true));
    // What it does not need it gives back when the next one begins.
    world.log.roll(Offset(1)).unwrap();
    assert_eq!(taken(&world, &first), (true, false));
    assert_eq!(taken(&world, &format!("{:020}.log", 1)), (true, true));
    let (world, recovered) = world.restart();
    assert_eq!((recovered.end, recovered.cut), (Offset(1), None));
    drop(world);
}

#[test]
fn a_partition_touches_nothing_before_its_first_append() {
    let mut world = World::new();
    assert!(!world.dir.path().join("payments-3").exists());
    assert!(world.log.locate(Offset(0), Offset(0), 100).is_none());

    world.log.append(&batches(0, 1, 10)).unwrap();
    let zero = "00000000000000000000";
    assert_eq!(world.names(), ["index", "log", "timeindex"].map(|part| format!("{zero}.{part}")));
    let metadata = fs::read_to_string(world.file("partition.metadata")).unwrap();
    assert_eq!(metadata, format!("version: 0\ntopic_id: {}", place().id.topic));
}

#[test]
fn what_was_appended_is_read_back_from_every_offset_in_any_portion() {
    let all = batches(0, 60, 40);
    let world = World::with(&all);
    assert!(world.log.segments().len() > 3);
    for from in 0..120 {
        let expected = bytes_of(&all[from / 2..]);
        for bytes_max in [1, 100, 300, 5_000] {
            assert_eq!(
                read_all(&world.log, Offset(from as i64), bytes_max),
                expected,
                "from {from} by {bytes_max}"
            );
        }
    }
    let (world, recovered) = world.restart();
    assert_eq!((recovered.log_start, recovered.end, recovered.cut), (Offset(0), Offset(120), None));
    for from in 0..120 {
        assert_eq!(read_all(&world.log, Offset(from as i64), 300), bytes_of(&all[from / 2..]), "from {from}");
    }
}

#[test]
fn a_slice_takes_whole_batches_up_to_its_bounds() {
    let all = batches(0, 5, 40);
    let len = all[0].bytes.len();
    let world = World::with(&all);
    let check = |from, upto, bytes_max, at_least_one, expected: &[Stamped]| {
        let slice = world.log.locate(Offset(from), Offset(upto), bytes_max).unwrap();
        assert_eq!(
            slice.read(at_least_one).unwrap().read().unwrap(),
            bytes_of(expected),
            "{from}..{upto}, {bytes_max}"
        );
    };
    check(0, 10, len - 1, true, &all[..1]);
    check(0, 10, len - 1, false, &[]);
    check(3, 10, 2 * len, false, &all[1..3]);
    check(3, 10, 3 * len - 1, false, &all[1..3]);
    check(0, 4, 10 * len, false, &all[..2]);
    check(0, 5, 10 * len, false, &all[..2]);
    assert!(world.log.locate(Offset(10), Offset(10), 100).is_none());
    assert!(world.log.locate(Offset(11), Offset(10), 100).is_none());
}

#[test]
fn a_slice_can_be_read_after_its_segment_was_deleted() {
    let all = batches(0, 60, 40);
    let mut world = World::with(&all);
    sync(&world.store, &mut world.log);
    let slice = world.log.locate(Offset(0), Offset(120), 200).unwrap();

    let second = world.log.segments()[1].base;
    let doomed = world.log.delete_segments(second).unwrap();
    doomed.mark().unwrap();
    assert_eq!(world.log.start(), second);
    assert!(world.names().iter().any(|name| name.ends_with(".log.deleted")));
    assert_eq!(slice.clone().read(true).unwrap().read().unwrap()[..50], all[0].bytes[..50]);

    let range = slice.read(true).unwrap();
    doomed.unlink().unwrap();
    assert!(!world.names().iter().any(|name| name.ends_with(".deleted")));
    assert_eq!(range.read().unwrap()[..50], all[0].bytes[..50]);
    let (_, recovered) = world.restart();
    assert_eq!(recovered.log_start, second);
}

#[test]
fn a_torn_tail_is_cut_and_reported() {
    let all = batches(0, 10, 40);
    let world = World::with(&all);
    let path = world.last_log();
    let whole = fs::metadata(&path).unwrap().len();
    fs::File::options().write(true).open(&path).unwrap().set_len(whole - 7).unwrap();

    let (mut world, recovered) = world.restart();
    let cut = recovered.cut.unwrap();
    assert_eq!(
        (recovered.end, cut.file, cut.at),
        (Offset(18), path.clone(), whole - all[9].bytes.len() as u64)
    );
    world.log.append(&all[9..]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), whole);
    assert_eq!(read_all(&world.log, Offset(0), 10_000), bytes_of(&all));
}

#[test]
fn a_batch_with_flipped_bits_ends_the_log_and_takes_later_segments_with_it() {
    let all = batches(0, 60, 40);
    let world = World::with(&all);
    let path = world.file("00000000000000000000.log");
    let mut bytes = fs::read(&path).unwrap();
    let at = 3 * all[0].bytes.len() + 80;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();

    let (world, recovered) = world.restart();
    assert_eq!(recovered.end, Offset(6));
    assert_eq!(world.names().len(), 3);
    assert_eq!(read_all(&world.log, Offset(0), 10_000), bytes_of(&all[..3]));
}

#[test]
fn what_was_synced_is_missed_also_where_the_rest_lies_below_the_start() {
    let mut world = World::with(&batches(0, 10, 40));
    world.log.roll(Offset(20)).unwrap();
    world.log.append(&batches(20, 10, 40)).unwrap();
    world.log.set_start(Offset(30));
    sync(&world.store, &mut world.log);
    fs::remove_file(world.file("00000000000000000020.log")).unwrap();
    let names = world.names();

    let World { dir: kept, facts, store, log } = world;
    drop((log, store));
    let store = open(kept.path(), &facts);
    let error = Log::recover(&store, place(), config(), NOTHING).err().unwrap();
    assert!(matches!(&error, LogError::Damaged { why, .. } if why.contains("synced up to 40")), "{error}");
    assert!(
        names.iter().all(|name| kept.path().join("payments-3").join(name).exists()),
        "nothing was touched"
    );
}

#[test]
fn a_segment_that_could_not_be_begun_leaves_nothing_behind() {
    let mut world = World::with(&batches(0, 2, 40));
    let in_its_way = world.file("00000000000000000004.index");
    fs::create_dir(&in_its_way).unwrap();
    world.log.roll(Offset(4)).unwrap_err();
    assert!(!world.file("00000000000000000004.log").exists(), "the segment before it goes on");
    world.log.append(&batches(4, 1, 40)).unwrap();
    fs::remove_dir(&in_its_way).unwrap();
    world.log.roll(Offset(6)).unwrap();
    world.log.append(&batches(6, 1, 40)).unwrap();

    let (world, recovered) = world.restart();
    assert_eq!((recovered.cut, recovered.end), (None, Offset(8)));
    assert_eq!(read_all(&world.log, Offset(0), 10_000), bytes_of(&batches(0, 4, 40)));
}

#[test]
fn segments_stay_until_the_facts_know_their_producers() {
    let mut world = World::with(&batches(0, 10, 40));
    world.log.roll(Offset(20)).unwrap();
    world.log.append(&batches(20, 1, 40)).unwrap();
    let point = world.log.sync_point().unwrap();
    point.sync().unwrap();
    world.log.synced(point.end());
    assert!(world.log.delete_segments(Offset(20)).is_none(), "synced, but without a checkpoint");
    // Nothing has to be synced any more, and the facts still have to be told.
    sync(&world.store, &mut world.log);
    assert!(world.log.delete_segments(Offset(20)).is_some());
    assert!(world.log.sync_point().is_some(), "of the names that are gone");
}

#[test]
fn what_was_synced_is_never_cut() {
    let all = batches(0, 10, 40);
    let mut world = World::with(&all);
    sync(&world.store, &mut world.log);
    let path = world.last_log();
    let whole = fs::metadata(&path).unwrap().len();
    fs::File::options().write(true).open(&path).unwrap().set_len(whole - 7).unwrap();

    let World { dir: kept, facts, store, log } = world;
    drop((log, store));
    let store = open(kept.path(), &facts);
    let error = Log::recover(&store, place(), config(), NOTHING).err().unwrap();
    assert!(matches!(&error, LogError::Damaged { file, .. } if *file == path), "{error}");
    assert_eq!(fs::metadata(&path).unwrap().len(), whole - 7, "nothing was touched");
}

#[test]
fn after_a_sync_recovery_reads_next_to_nothing() {
    let mut world = World::with(&batches(0, 60, 40));
    sync(&world.store, &mut world.log);
    let (_, recovered) = world.restart();
    assert_eq!(recovered.end, Offset(120));
    assert!(recovered.scanned_bytes < 600, "{}", recovered.scanned_bytes);
}

#[test]
fn indexes_that_are_missing_or_damaged_are_made_anew() {
    let all = batches(0, 60, 40);
    let spoil: [fn(&PathBuf); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, b"").unwrap(),
        |path| fs::write(path, [0xff; 24]).unwrap(),
        |path| fs::write(path, b"not an index").unwrap(),
    ];
    for (n, spoil) in spoil.iter().enumerate() {
        for end in [".index", ".timeindex"] {
            let mut world = World::with(&all);
            sync(&world.store, &mut world.log);
            world.names().iter().filter(|name| name.ends_with(end)).for_each(|name| spoil(&world.file(name)));
            let (world, recovered) = world.restart();
            assert_eq!((recovered.end, recovered.cut), (Offset(120), None), "{end} {n}");
            for from in [0, 1, 33, 70, 119] {
                assert_eq!(
                    read_all(&world.log, Offset(from), 300),
                    bytes_of(&all[from as usize / 2..]),
                    "{end} {n}"
                );
            }
            let found = world.log.lookup(805, Offset(120), 1 << 20).run().unwrap();
            assert_eq!(found.map(|found| found.offset), Some(Offset(82)), "{end} {n}");
        }
    }
}

#[test]
fn records_are_found_by_time_also_in_packed_batches() {
    let mut world = World::with(&batches(0, 60, 40));
    let packed = [10_000, 12_000, 11_000].iter().fold(BatchBuilder::new(), |b, t| b.value("v", *t));
    world.log.append(&[packed.codec(Codec::Lz4).stamped(Offset(120), LeaderEpoch(4))]).unwrap();
    world.log.append(&[batch(123, 1, 5, 50)]).unwrap();
    let end = world.log.end();
    let at = |world: &World, timestamp, upto| {
        let found = world.log.lookup(timestamp, upto, 1 << 20).run().unwrap();
        found.map(|found| (found.offset.0, found.timestamp, found.epoch.0))
    };
    for _ in 0..2 {
        assert_eq!(at(&world, 0, end), Some((0, 0, 0)));
        assert_eq!(at(&world, 1, end), Some((1, 1, 0)));
        assert_eq!(at(&world, 1001, end), Some((101, 1001, 0)));
        assert_eq!(at(&world, 1002, end), Some((102, 1020, 0)));
        assert_eq!(at(&world, 10_500, end), Some((121, 12_000, 4)));
        assert_eq!(at(&world, 12_001, end), None);
        assert_eq!(at(&world, 10_500, Offset(120)), None);
        let largest = world.log.max_timestamp_lookup(end, 1 << 20).run().unwrap().unwrap();
        assert_eq!((largest.offset, largest.timestamp), (Offset(121), 12_000));
        let below = world.log.max_timestamp_lookup(Offset(100), 1 << 20).run().unwrap().unwrap();
        assert_eq!((below.offset, below.timestamp), (Offset(99), 981));
        world = world.restart().0;
    }
    world.log.set_start(Offset(122));
    assert_eq!(at(&world, 0, end), Some((122, 11_000, 4)), "records before the start are not there");
}

#[test]
fn producers_and_epochs_come_back_from_the_log() {
    let mut world = World::new();
    for (n, epoch) in [0, 0, 3].into_iter().enumerate() {
        let batch = BatchBuilder::new().value("v", 5).producer(9, 1, n as i32);
        world.log.append(&[batch.stamped(Offset(n as i64), LeaderEpoch(epoch))]).unwrap();
    }
    let (_, recovered) = world.restart();
    assert_eq!(recovered.epochs.rows(), [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(3), Offset(2))]);
    let [producer] = &recovered.producers.snapshot()[..] else { panic!("one producer") };
    assert_eq!((producer.id.0, producer.next_sequence.0, producer.batches.len()), (9, 3, 3));
}

#[test]
fn the_journal_fills_in_what_the_segments_lack() {
    let all = batches(0, 10, 40);
    let world = World::with(&all[..6]);
    let journal: Vec<_> = all[4..].iter().map(append_of).collect();
    let (world, recovered) = world.restart_with(journal.clone()).unwrap();
    assert_eq!((recovered.end, recovered.replayed), (Offset(20), 8));
    assert_eq!(read_all(&world.log, Offset(0), 10_000), bytes_of(&all));

    let (_, again) = world.restart_with(journal).unwrap();
    assert_eq!((again.end, again.replayed), (Offset(20), 0));
}

#[test]
fn a_gap_or_other_bytes_in_the_journal_are_an_error() {
    let all = batches(0, 10, 40);
    let gap = World::with(&all[..4]).restart_with(vec![append_of(&all[5])]).err().unwrap();
    assert!(gap.to_string().contains("goes on at offset 10, the log ends at 8"), "{gap}");
    let other = BatchBuilder::new().value("a", 1).value("b", 2).stamped(Offset(2), LeaderEpoch(0));
    let differs = World::with(&all[..4]).restart_with(vec![append_of(&other)]).err().unwrap();
    assert!(differs.to_string().contains("offset 2 is not the one that the journal has"), "{differs}");
}

#[test]
fn a_truncation_in_the_journal_replaces_what_came_before_it() {
    let old = batches(0, 30, 40);
    let new = batch(40, 3, 9, 77);
    let journal = vec![
        append_of(&old[25]),
        journaled(EntryKind::Truncate { to: Offset(40) }),
        append_of(&new),
        journaled(EntryKind::MoveStart { to: Offset(30) }),
    ];
    let (world, recovered) = World::with(&old).restart_with(journal.clone()).unwrap();
    assert_eq!((recovered.log_start, recovered.end), (Offset(30), Offset(43)));
    let mut expected = bytes_of(&old[15..20]);
    expected.extend_from_slice(&new.bytes);
    assert_eq!(read_all(&world.log, Offset(30), 10_000), expected);
    let (world, again) = world.restart_with(journal).unwrap();
    assert_eq!((again.log_start, again.end), (Offset(30), Offset(43)));
    assert_eq!(read_all(&world.log, Offset(30), 10_000), expected);
}

/// Found by the simulation: a power cut took the segment's new name, the start that was moved into it was safe.
#[test]
fn a_log_without_files_begins_with_the_journaled_batch_that_holds_its_start() {
    let all = batches(0, 4, 40);
    let mut journal: Vec<_> = all.iter().map(append_of).collect();
    journal.push(journaled(EntryKind::MoveStart { to: Offset(3) }));

    let (world, recovered) = World::new().restart_with(journal).unwrap();

    assert_eq!((recovered.log_start, recovered.end), (Offset(3), Offset(8)));
    assert_eq!(read_all(&world.log, Offset(3), 10_000), bytes_of(&all[1..]));
}

/// Found by the simulation: whoever wrote the deleted records was told for ever that the next ones are out of order.
#[test]
fn deleted_records_in_the_journal_still_say_where_their_producer_was() {
    let written = |base: i64, sequence: i32| {
        let builder = BatchBuilder::new().producer(9, 0, sequence).value("v", 77);
        builder.stamped(Offset(base), LeaderEpoch(0))
    };
    let mut journal: Vec<_> = (0..3).map(|at| append_of(&written(i64::from(at), at))).collect();
    journal.push(journaled(EntryKind::MoveStart { to: Offset(3) }));

    let (_, recovered) = World::new().restart_with(journal).unwrap();

    assert_eq!((recovered.log_start, recovered.end), (Offset(3), Offset(3)));
    let known: Vec<_> =
        recovered.producers.snapshot().iter().map(|entry| (entry.id.0, entry.next_sequence.0)).collect();
    assert_eq!(known, [(9, 3)]);
    assert!(recovered.producers_from_journal, "whoever lets the journal forget must keep them");
}

#[test]
fn files_of_an_earlier_topic_of_the_same_name_are_not_read() {
    let World { dir, facts, store, log } = World::with(&batches(0, 10, 40));
    drop((log, store));
    let store = open(dir.path(), &facts);
    let other = Place { id: PartitionId { topic: TopicId([8; 16]), index: 3 }, ..place() };
    let (log, recovered) = Log::recover(&store, other, config(), NOTHING).unwrap();
    assert_eq!((recovered.end, log.end()), (Offset(0), Offset(0)));
    assert!(!dir.path().join("payments-3").exists());
}

#[test]
fn a_removed_partition_leaves_nothing() {
    let mut world = World::with(&batches(0, 10, 40));
    sync(&world.store, &mut world.log);
    let slice = world.log.locate(Offset(0), Offset(20), 100).unwrap();
    let removal = world.log.remove().unwrap();
    assert!(!world.dir.path().join("payments-3").exists());
    assert!(!slice.read(true).unwrap().read().unwrap().is_empty());
    removal.unlink().unwrap();
    let left: Vec<_> =
        fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".ottla"]);
    let (_, recovered) = Log::recover(&world.store, place(), config(), NOTHING).unwrap();
    assert_eq!(recovered.end, Offset(0));
}

#[test]
fn strays_are_swept_away_on_the_next_start() {
    let world = World::with(&batches(0, 2, 40));
    for stray in ["00000000000000000000.log.deleted", "00000000000000000007.index.swap", "x.cleaned"] {
        fs::write(world.file(stray), "x").unwrap();
    }
    fs::create_dir(world.dir.path().join("gone-0.0123-delete")).unwrap();
    let dir = world.dir.path().to_owned();
    let (world, _) = world.restart();
    assert_eq!(world.names().len(), 3);
    assert!(!dir.join("gone-0.0123-delete").exists());
}

#[test]
fn nothing_is_planted_by_default() {
    assert!(!planted::is(planted::Bug::TornTailAccepted));
}
