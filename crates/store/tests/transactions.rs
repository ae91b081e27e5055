//! Transactions of one partition, through stops, crashes and lost facts: who has one open, and what was aborted.

mod common;

use common::{NOTHING, config, journal_of, open, place};
use ottla_rules::{
    batch::{Stamped, Walk, build::BatchBuilder, marker::Marker},
    ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId},
    partition::transactions::Aborted,
    producers::Producers,
    time::Now,
};
use ottla_store::{Log, MemoryFacts, Recovered, Store, facts::checkpoint, journal::entry::JournalEntry};
use tempfile::TempDir;

const ALICE: i64 = 1;
const BOB: i64 = 2;

/// A log and the producers that its owner knows of.
struct World {
    dir: TempDir,
    facts: MemoryFacts,
    store: Store,
    log: Log,
    producers: Producers,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let facts = MemoryFacts::new();
        let store = open(dir.path(), &facts);
        let log = Log::create(&store, place(), config());
        Self { dir, facts, store, log, producers: Producers::new(100) }
    }

    /// A record of a transaction.
    fn write(&mut self, producer: i64, sequence: i32) {
        self.write_in(producer, 0, sequence);
    }

    fn write_in(&mut self, producer: i64, epoch: i16, sequence: i32) -> Stamped {
        let builder = BatchBuilder::new().transactional().producer(producer, epoch, sequence).value("x", 1);
        let base = self.log.end();
        self.producers.update(builder.parsed().header(), base, 1, Now::default());
        let batch = builder.stamped(base, LeaderEpoch(0));
        self.log.append(std::slice::from_ref(&batch)).unwrap();
        batch
    }

    fn end(&mut self, producer: i64, commit: bool) {
        self.end_in(producer, 0, commit);
    }

    fn end_in(&mut self, producer: i64, epoch: i16, commit: bool) -> Stamped {
        let marker = Marker { commit, coordinator_epoch: 4 };
        let batch = marker.batch(ProducerId(producer), ProducerEpoch(epoch), Now { mono_ms: 0, wall_ms: 2 });
        let base = self.log.end();
        self.producers.update(batch.header(), base, 2, Now::default());
        let batch = batch.stamp(base, LeaderEpoch(0), None);
        self.log.append(std::slice::from_ref(&batch)).unwrap();
        if let Some(row) = self.producers.marked(ProducerId(producer), base, marker) {
            self.log.remember_aborted(row);
        }
        batch
    }

    /// A sync, and what it allows to forget.
    fn sync(&mut self) {
        let Some(point) = self.log.sync_point() else { return };
        point.sync().unwrap();
        point.checkpoint(&self.producers.snapshot(), &[(LeaderEpoch(0), Offset(0))]).unwrap();
        self.store.facts().flush().unwrap();
        self.log.synced(point.end());
        self.log.checkpointed(point.end());
    }

    /// The process dies and starts again. `power`: and what was not flushed of the facts is gone.
    fn restart(self, power: bool) -> Self {
        self.restart_with(power, NOTHING)
    }

    fn restart_with(self, power: bool, journal: Vec<JournalEntry>) -> Self {
        let Self { dir, facts, store, log, .. } = self;
        drop((store, log));
        if power {
            facts.crash(0);
        }
        let store = open(dir.path(), &facts);
        let (log, Recovered { producers, .. }) = Log::recover(&store, place(), config(), journal).unwrap();
        Self { dir, facts, store, log, producers }
    }

    /// First offset and marker of each aborted transaction that a reader of the range has to skip.
    fn aborted(&self, from: i64, upto: i64) -> Vec<(i64, i64)> {
        let rows = self.log.aborted().within(Offset(from), Offset(upto)).unwrap();
        rows.iter().map(|Aborted { first, last, .. }| (first.0, last.0)).collect()
    }

    fn open(&self) -> Vec<(i64, i64)> {
        self.producers.transactions().snapshot().map(|(producer, first)| (producer.0, first.0)).collect()
    }
}

/// Offsets 0 to 7: alice aborts 0..=3, bob commits 1..=4, alice begins at 5, bob aborts 6..=7.
fn story(world: &mut World, sync_at: i64) {
    type Step = fn(&mut World);
    let steps: [Step; 8] = [
        |world| world.write(ALICE, 0),
        |world| world.write(BOB, 0),
        |world| world.write(ALICE, 1),
        |world| world.end(ALICE, false),
        |world| world.end(BOB, true),
        |world| world.write(ALICE, 2),
        |world| world.write(BOB, 1),
        |world| world.end(BOB, false),
    ];
    for step in steps {
        if world.log.end() == Offset(sync_at) {
            world.sync();
        }
        step(world);
    }
}

fn check(world: &World, when: &str) {
    assert_eq!(world.open(), [(ALICE, 5)], "{when}");
    assert_eq!(world.aborted(0, 8), [(0, 3), (6, 7)], "{when}");
    assert_eq!(world.aborted(4, 8), [(6, 7)], "{when}");
    assert_eq!(world.aborted(0, 6), [(0, 3)], "{when}");
    assert_eq!(world.aborted(4, 6), [], "{when}");
    let coordinator = world.producers.epochs_of(ProducerId(BOB)).map(|(_, coordinator)| coordinator);
    assert_eq!(coordinator, Some(4), "{when}");
}

#[test]
fn what_was_aborted_is_known_whenever_the_sync_was_and_whatever_a_crash_takes() {
    for sync_at in 0..=9 {
        for power in [false, true] {
            let mut world = World::new();
            story(&mut world, sync_at);
            let when = format!("synced at {sync_at}, power cut: {power}");
            check(&world, &when);
            let mut world = world.restart(power);
            check(&world, &when);
            world.sync();
            check(&world.restart(true), &when);
        }
    }
}

#[test]
fn what_was_aborted_is_known_after_a_sync_that_brought_no_checkpoint() {
    let mut world = World::new();
    story(&mut world, 99);
    // As while later batches are staged, or where the facts find no room.
    let point = world.log.sync_point().unwrap();
    point.sync().unwrap();
    world.log.synced(point.end());
    check(&world, "synced only");
    world.write(ALICE, 3);
    world.sync();
    check(&world, "with the next checkpoint");
    let world = world.restart(true);
    check(&world, "after a power cut");
}

#[test]
fn what_ended_in_segments_that_are_dead_has_ended() {
    let mut world = World::new();
    world.write(ALICE, 0);
    world.sync();
    world.end(ALICE, true);
    world.write(BOB, 0);
    world.end(BOB, false);
    world.write(BOB, 1);
    world.log.roll(Offset(5)).unwrap();
    world.write(ALICE, 1);
    // The start is safe, and the process dies before the segments have gone, or a checkpoint has come.
    world.log.set_start(Offset(5));
    checkpoint::advance(world.store.facts(), place().id, world.log.checkpoint()).unwrap();

    let mut world = world.restart(false);
    assert_eq!(world.log.start(), Offset(5));
    assert_eq!(world.open(), [(ALICE, 5), (BOB, 4)], "alice has begun again, and bob had");
    world.end(BOB, false);
    assert_eq!(world.aborted(5, 7), [(4, 6)]);
    assert_eq!(
        world.restart(true).open(),
        [(ALICE, 5)],
        "the segments have gone, and what they said has not"
    );
}

#[test]
fn a_transaction_that_was_deleted_with_its_marker_is_over_after_a_power_cut() {
    // The journal has all of it, or only the marker: what was written before it was synced.
    for from in [0, 2] {
        let mut world = World::new();
        // Of version 2: the marker raises the epoch.
        let batches =
            [world.write_in(ALICE, 1, 0), world.write_in(ALICE, 1, 1), world.end_in(ALICE, 2, true)];
        world.log.set_start(Offset(3));
        checkpoint::advance(world.store.facts(), place().id, world.log.checkpoint()).unwrap();
        world.store.facts().flush().unwrap();
        // The power cut left the data in the segment, and no marker.
        let file = world.dir.path().join("payments-3/00000000000000000000.log");
        let marker = batches[2].bytes.len() as u64;
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_len(file.metadata().unwrap().len() - marker).unwrap();

        let world = world.restart_with(true, journal_of(&batches[from..]));

        assert_eq!((world.log.start(), world.log.end()), (Offset(3), Offset(3)));
        assert_eq!(world.open(), [], "the journal has it from {from}");
        let epochs = world.producers.epochs_of(ProducerId(ALICE));
        assert_eq!(epochs, Some((ProducerEpoch(2), 4)), "the journal has it from {from}");
    }
}

#[test]
fn a_dead_batch_with_a_flipped_offset_hides_nothing_behind_it() {
    let mut world = World::new();
    world.write(ALICE, 0);
    world.sync();
    world.end(ALICE, true);
    world.write(BOB, 0);
    world.log.roll(Offset(3)).unwrap();
    world.write(ALICE, 1);
    world.log.set_start(Offset(3));
    checkpoint::advance(world.store.facts(), place().id, world.log.checkpoint()).unwrap();
    let file = world.dir.path().join("payments-3/00000000000000000000.log");
    let mut bytes = std::fs::read(&file).unwrap();
    let size_at = |at: usize| 12 + u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    let last = size_at(0) + size_at(size_at(0));
    // The CRC does not cover it.
    bytes[last + 2] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    let world = world.restart(false);

    assert_eq!(
        world.open(),
        [(ALICE, 3)],
        "what bob wrote is lost, and alice's marker and next batch are not"
    );
    assert_eq!(world.restart(true).open(), [(ALICE, 3)]);
}

#[test]
fn a_gap_between_dead_segments_hides_nothing_that_the_journal_has() {
    // The second of three is gone, or damaged in its first batch.
    for is_gone in [true, false] {
        let mut world = World::new();
        let mut batches = vec![world.write_in(ALICE, 0, 0)];
        world.sync();
        world.log.roll(Offset(1)).unwrap();
        batches.push(world.end_in(ALICE, 0, true));
        batches.push(world.write_in(BOB, 0, 0));
        world.log.roll(Offset(3)).unwrap();
        batches.push(world.end_in(BOB, 0, true));
        batches.push(world.write_in(BOB, 0, 1));
        world.log.roll(Offset(5)).unwrap();
        world.write(ALICE, 1);
        world.log.set_start(Offset(5));
        checkpoint::advance(world.store.facts(), place().id, world.log.checkpoint()).unwrap();
        let file = world.dir.path().join("payments-3/00000000000000000001.log");
        if is_gone {
            std::fs::remove_file(&file).unwrap();
        } else {
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[40] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }

        let world = world.restart_with(false, journal_of(&batches[1..3]));

        assert_eq!(world.open(), [(ALICE, 5), (BOB, 4)], "gone: {is_gone}");
        assert_eq!(world.restart(true).open(), [(ALICE, 5), (BOB, 4)], "gone: {is_gone}");
    }
}

#[test]
fn damaged_rows_are_found_again_in_the_log() {
    let mut world = World::new();
    story(&mut world, 9);
    world.sync();
    let key = world.store.facts().scan_prefix(b"a/").unwrap()[0].0.clone();
    world.store.facts().put(&key, b"\x01nonsense").unwrap();
    world.store.facts().flush().unwrap();

    assert!(world.log.aborted().within(Offset(0), Offset(8)).is_err(), "a reader is refused, not misled");
    check(&world.restart(false), "after a damaged row");
}

#[test]
fn a_marker_that_a_crash_took_is_not_remembered() {
    let mut world = World::new();
    world.write(ALICE, 0);
    world.sync();
    world.end(ALICE, false);
    // Found again by a recovery, whose sync then does not happen.
    let world = world.restart(false);
    assert_eq!(world.aborted(0, 2), [(0, 1)]);
    let file = world.dir.path().join("payments-3/00000000000000000000.log");
    let len = std::fs::metadata(&file).unwrap().len();
    let file = std::fs::File::options().write(true).open(file).unwrap();
    file.set_len(len - 1).unwrap();

    let world = world.restart(false);

    assert_eq!((world.aborted(0, 2), world.open()), (vec![], vec![(ALICE, 0)]));
}

/// Of 1,000 transactions that were aborted, one behind the other, a reader of this much hears of those that it gets records of.
fn told_of_what_is_read(world: &World, from: i64, bytes_max: usize) {
    let range = world.log.locate(Offset(from), Offset(2_000), bytes_max).unwrap().read(true).unwrap();
    let bytes = range.read().unwrap();
    let end = Walk::over(&bytes).map(|found| found.unwrap().1.end().0).last().unwrap();
    let told = world.aborted(from, range.upto.0);
    let wanted: Vec<_> =
        (0..1_000).map(|n| (2 * n, 2 * n + 1)).filter(|row| row.1 >= from && row.0 < end).collect();
    assert!(range.upto.0 >= end, "{} ends before {end}", range.upto);
    assert!(told.starts_with(&wanted), "{wanted:?} are missing from {told:?}");
    // The index knows where about it ends, and an entry of it stands for two batches.
    assert!(told.len() <= wanted.len() + 2, "{told:?} for {from}..{end}");
}

#[test]
fn a_reader_hears_of_what_it_gets_and_not_of_all_that_follows() {
    let mut world = World::new();
    for n in 0..1_000 {
        world.write(ALICE, n);
        world.end(ALICE, false);
    }
    for is_saved in [false, true] {
        if is_saved {
            world.sync();
        }
        for from in (0..2_000).step_by(37).chain([1_998, 1_999]) {
            [1, 100, 700, 1_500].into_iter().for_each(|max| told_of_what_is_read(&world, from, max));
        }
    }
}

#[test]
fn what_was_aborted_before_the_log_start_is_forgotten() {
    let mut world = World::new();
    story(&mut world, 9);
    world.sync();
    world.log.set_start(Offset(5));
    ottla_store::facts::checkpoint::advance(world.store.facts(), place().id, world.log.checkpoint()).unwrap();
    let world = world.restart(false);

    assert_eq!(world.aborted(0, 8), [(6, 7)]);
    assert_eq!(world.store.facts().scan_prefix(b"a/").unwrap().len(), 1);
}
