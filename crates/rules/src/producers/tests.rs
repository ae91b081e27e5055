//! Stories of idempotent producers, and a naive model beside the real one.

use proptest::prelude::*;

use super::*;
use crate::batch::build::BatchBuilder;

const ALICE: i64 = 1;
const BOB: i64 = 2;

/// The header of a batch of `n` records.
fn batch(id: i64, epoch: i16, sequence: i32, n: usize) -> Header {
    let builder = BatchBuilder::new().producer(id, epoch, sequence);
    (0..n).fold(builder, |builder, _| builder.value("v", 7)).parsed().header().clone()
}

fn at(wall_ms: i64) -> Now {
    Now { mono_ms: 0, wall_ms }
}

/// A log of one partition with its producers, as the leader keeps them.
struct World {
    producers: Producers,
    end: Offset,
}

impl World {
    fn new() -> Self {
        Self { producers: Producers::new(1000), end: Offset::ZERO }
    }

    fn append(&mut self, header: &Header) -> Result<Verdict, SequenceError> {
        let verdict = self.producers.check(header)?;
        if verdict == Verdict::New {
            self.producers.update(header, self.end, 100 + self.end.0, at(0));
            self.end = self.end.plus(i64::from(header.last_offset_delta) + 1);
        }
        Ok(verdict)
    }
}

/// Offsets of a transaction, as the coordinator of a group writes them.
fn offsets(id: i64, epoch: i16) -> Header {
    let builder = BatchBuilder::new().transactional().producer(id, epoch, -1);
    builder.value("v", 7).parsed().header().clone()
}

fn duplicate_of(base: i64) -> Result<Verdict, SequenceError> {
    Ok(Verdict::Duplicate { base: Offset(base), timestamp: 100 + base })
}

fn out_of_order(expected: i32, got: i32) -> Result<Verdict, SequenceError> {
    Err(SequenceError::OutOfOrder { expected: Sequence(expected), got: Sequence(got) })
}

#[test]
fn what_a_coordinator_writes_for_a_producer_has_an_epoch_and_no_sequence() {
    let mut world = World::new();
    for _ in 0..3 {
        assert_eq!(world.append(&offsets(ALICE, 1)), Ok(Verdict::New), "never a duplicate");
    }
    assert_eq!(world.producers.transactions().open_since(ProducerId(ALICE)), Some(Offset(0)));
    let fenced = SequenceError::Fenced { by: ProducerEpoch(1), got: ProducerEpoch(0) };
    assert_eq!(world.append(&offsets(ALICE, 0)), Err(fenced));
    let again = Producers::from_snapshot(world.producers.snapshot(), 10);
    assert_eq!(again.snapshot(), world.producers.snapshot());
    assert_eq!(again.transactions().open_since(ProducerId(ALICE)), Some(Offset(0)));
    world.producers.rollback(Offset(0));
    assert_eq!(world.producers.transactions().open_since(ProducerId(ALICE)), None);
}

#[test]
fn a_retry_is_answered_with_the_place_of_the_first_try() {
    let mut world = World::new();
    assert_eq!(world.append(&batch(ALICE, 0, 0, 3)), Ok(Verdict::New));
    assert_eq!(world.append(&batch(BOB, 0, 0, 1)), Ok(Verdict::New));
    assert_eq!(world.append(&batch(ALICE, 0, 3, 2)), Ok(Verdict::New));

    assert_eq!(world.append(&batch(ALICE, 0, 0, 3)), duplicate_of(0));
    assert_eq!(world.append(&batch(ALICE, 0, 3, 2)), duplicate_of(4));
    assert_eq!(world.end, Offset(6));
}

#[test]
fn only_the_same_batch_is_a_retry() {
    let mut world = World::new();
    world.append(&batch(ALICE, 0, 0, 3)).unwrap();
    assert_eq!(world.append(&batch(ALICE, 0, 0, 2)), out_of_order(3, 0), "a part of it");
    assert_eq!(world.append(&batch(ALICE, 0, 1, 2)), out_of_order(3, 1));
    assert_eq!(world.append(&batch(ALICE, 0, 4, 1)), out_of_order(3, 4), "a gap");
}

#[test]
fn five_batches_are_remembered() {
    let mut world = World::new();
    for sequence in 0..6 {
        world.append(&batch(ALICE, 0, sequence, 1)).unwrap();
    }
    assert_eq!(world.append(&batch(ALICE, 0, 1, 1)), duplicate_of(1));
    assert_eq!(world.append(&batch(ALICE, 0, 0, 1)), out_of_order(6, 0), "the sixth last is too old");
}

#[test]
fn sequences_wrap_to_zero() {
    let mut world = World::new();
    world.append(&batch(ALICE, 0, i32::MAX - 1, 2)).unwrap();
    assert_eq!(world.append(&batch(ALICE, 0, 0, 1)), Ok(Verdict::New));

    let mut world = World::new();
    world.append(&batch(BOB, 0, i32::MAX, 3)).unwrap();
    assert_eq!(world.append(&batch(BOB, 0, 2, 1)), Ok(Verdict::New), "a batch may lie across the wrap");
    assert_eq!(world.append(&batch(BOB, 0, i32::MAX, 3)), duplicate_of(0));
}

#[test]
fn a_newer_epoch_begins_at_zero_and_fences_the_older() {
    let mut world = World::new();
    world.append(&batch(ALICE, 3, 0, 2)).unwrap();
    assert_eq!(world.append(&batch(ALICE, 4, 2, 1)), out_of_order(0, 2));
    assert_eq!(world.append(&batch(ALICE, 4, 0, 1)), Ok(Verdict::New));
    let fenced = SequenceError::Fenced { by: ProducerEpoch(4), got: ProducerEpoch(3) };
    assert_eq!(world.append(&batch(ALICE, 3, 0, 2)), Err(fenced), "also a retry of what the old epoch wrote");
}

#[test]
fn an_unknown_producer_goes_on_where_it_was() {
    let mut world = World::new();
    assert_eq!(world.append(&batch(ALICE, 9, 77, 1)), Ok(Verdict::New));
    assert_eq!(world.append(&batch(ALICE, 9, 79, 1)), out_of_order(78, 79));
}

#[test]
fn a_producer_that_is_silent_for_long_is_forgotten() {
    let mut producers = Producers::new(10);
    producers.update(&batch(ALICE, 0, 0, 1), Offset(0), 0, at(1_000));
    producers.update(&batch(BOB, 0, 0, 1), Offset(1), 0, at(1_500));
    producers.expire(at(1_999), 1_000);
    assert_eq!(producers.len(), 2);
    producers.expire(at(2_000), 1_000);
    assert_eq!(producers.snapshot().iter().map(|entry| entry.id.0).collect::<Vec<_>>(), [BOB]);
    assert_eq!(producers.check(&batch(ALICE, 0, 5, 1)), Ok(Verdict::New));
    producers.expire(at(-5), 1_000);
    assert_eq!(producers.len(), 1, "a clock that was set back expires nobody");
}

#[test]
fn when_there_is_no_room_the_longest_silent_one_goes() {
    let mut producers = Producers::new(2);
    producers.update(&batch(ALICE, 0, 0, 1), Offset(0), 0, at(0));
    producers.update(&batch(BOB, 0, 0, 1), Offset(1), 0, at(0));
    producers.update(&batch(ALICE, 0, 1, 1), Offset(2), 0, at(0));
    producers.update(&batch(3, 0, 0, 1), Offset(3), 0, at(0));
    assert_eq!(producers.snapshot().iter().map(|entry| entry.id.0).collect::<Vec<_>>(), [ALICE, 3]);
}

#[test]
fn what_could_not_be_written_is_expected_again() {
    let mut world = World::new();
    world.append(&batch(ALICE, 0, 0, 2)).unwrap();
    world.append(&batch(ALICE, 0, 2, 1)).unwrap();
    world.append(&batch(ALICE, 0, 3, 1)).unwrap();

    world.producers.rollback(Offset(2));
    world.end = Offset(2);

    assert_eq!(
        world.append(&batch(ALICE, 0, 3, 1)),
        out_of_order(2, 3),
        "the first of them has to come first"
    );
    assert_eq!(world.append(&batch(ALICE, 0, 2, 1)), Ok(Verdict::New));
    assert_eq!(world.append(&batch(ALICE, 0, 0, 2)), duplicate_of(0));
}

#[test]
fn a_failed_first_batch_of_an_epoch_may_come_again() {
    let mut world = World::new();
    world.append(&batch(ALICE, 0, 0, 1)).unwrap();
    world.append(&batch(ALICE, 1, 0, 1)).unwrap();
    world.producers.rollback(Offset(1));
    world.end = Offset(1);
    assert_eq!(world.append(&batch(ALICE, 1, 0, 1)), Ok(Verdict::New));
}

#[test]
fn batches_without_a_producer_and_markers_have_no_sequence() {
    let mut world = World::new();
    assert_eq!(world.append(&batch(-1, -1, -1, 1)), Ok(Verdict::New));
    assert!(world.producers.is_empty());

    world.append(&batch(ALICE, 0, 0, 1)).unwrap();
    let marker = BatchBuilder::new().control().transactional().producer(ALICE, 0, -1).value("", 0).parsed();
    for _ in 0..2 {
        assert_eq!(world.append(marker.header()), Ok(Verdict::New), "a marker is never a retry");
    }
    assert_eq!(world.append(&batch(ALICE, 0, 1, 1)), Ok(Verdict::New), "nor does it count");
}

#[test]
fn a_replay_over_the_end_of_a_snapshot_changes_nothing() {
    let mut producers = Producers::new(10);
    let header = Header { base_offset: Offset(5), ..batch(ALICE, 0, 0, 1) };
    producers.replay(&header);
    let before = producers.snapshot();
    producers.replay(&header);
    assert_eq!(producers.snapshot(), before);
    assert_eq!(before[0].batches[0].timestamp, 7);
}

#[test]
fn a_replayed_batch_of_old_records_makes_its_producer_no_older() {
    let mut producers = Producers::new(10);
    producers.update(&batch(ALICE, 0, 0, 1), Offset(0), 0, at(100_000));
    let old = Header { base_offset: Offset(1), ..batch(ALICE, 0, 1, 1) };
    assert!(old.max_timestamp < 100_000);
    producers.replay(&old);
    producers.expire(at(100_001), 10);
    assert!(producers.is_duplicate(&old));
}

#[test]
fn every_epoch_that_markers_in_flight_raised_is_taken_back_when_they_are_not_written() {
    let mut producers = Producers::new(5_000);
    for id in 1..=3_000 {
        producers.update(&batch(id, 0, 0, 1), Offset(id), 0, at(0));
        let marker = BatchBuilder::new().control().transactional().producer(id, 1, -1).value("", 0).parsed();
        producers.update(marker.header(), Offset(3_000 + id), 0, at(0));
    }
    producers.rollback(Offset(3_001));
    let epochs = (1..=3_000).map(|id| producers.epochs_of(ProducerId(id)).unwrap().0);
    assert!(epochs.into_iter().all(|epoch| epoch == ProducerEpoch(0)));
}

#[cfg(feature = "planted-bugs")]
#[test]
fn the_planted_bug_forgets_the_window() {
    let mut world = World::new();
    world.append(&batch(ALICE, 0, 0, 1)).unwrap();
    planted::plant(Some(Bug::DedupForgotten));
    let verdict = world.append(&batch(ALICE, 0, 0, 1));
    planted::plant(None);
    assert_eq!(verdict, Ok(Verdict::New));
}

/// A batch in the model's log, and whether it is still one of the five.
struct Stored {
    header: Header,
    base: Offset,
    remembered: bool,
}

/// The naive model: every batch that is in the log, and what a failed write made expected again.
#[derive(Default)]
struct Model {
    batches: Vec<Stored>,
    /// Of each producer: the epoch and the sequence that a rollback left behind, when no batch of that epoch is left.
    expected: BTreeMap<i64, (i16, Sequence)>,
}

impl Model {
    fn check(&self, header: &Header) -> Result<Verdict, SequenceError> {
        let id = header.producer_id;
        let own = || self.batches.iter().filter(|stored| stored.header.producer_id == id);
        let left = self.expected.get(&id.0);
        let newest =
            own().map(|stored| stored.header.producer_epoch.0).chain(left.map(|(epoch, _)| *epoch)).max();
        let Some(newest) = newest else { return Ok(Verdict::New) };
        let got = header.producer_epoch;
        if got.0 < newest {
            return Err(SequenceError::Fenced { by: ProducerEpoch(newest), got });
        }
        let same: Vec<_> = own().filter(|stored| stored.header.producer_epoch == got).collect();
        for Stored { header: other, base, .. } in same.iter().filter(|stored| stored.remembered) {
            if other.base_sequence == header.base_sequence && other.last_sequence() == header.last_sequence()
            {
                return Ok(Verdict::Duplicate { base: *base, timestamp: 100 + base.0 });
            }
        }
        let expected = match (same.last(), left) {
            (Some(last), _) => last.header.last_sequence().plus(1),
            (None, Some((epoch, sequence))) if *epoch == got.0 => *sequence,
            (None, _) => Sequence(0),
        };
        match header.base_sequence == expected {
            true => Ok(Verdict::New),
            false => Err(SequenceError::OutOfOrder { expected, got: header.base_sequence }),
        }
    }

    fn append(&mut self, header: &Header, base: Offset) {
        self.expected.remove(&header.producer_id.0);
        let own = self.batches.iter_mut().filter(|stored| stored.header.producer_id == header.producer_id);
        for (newer, stored) in own.rev().filter(|stored| stored.remembered).enumerate() {
            stored.remembered = newer + 1 < WINDOW && stored.header.producer_epoch == header.producer_epoch;
        }
        self.batches.push(Stored { header: header.clone(), base, remembered: true });
    }

    /// What a failed write can take away: at most five of a producer's batches, as many as a client has in flight.
    fn may_fail(&self, to: Offset) -> bool {
        self.batches.iter().all(|stored| stored.base < to || stored.remembered)
    }

    fn rollback(&mut self, to: Offset) {
        while let Some(Stored { header, .. }) = self.batches.pop_if(|stored| stored.base >= to) {
            let left = (header.producer_epoch.0, header.base_sequence);
            let newer = self.expected.get(&header.producer_id.0).is_some_and(|(epoch, _)| *epoch > left.0);
            if !newer {
                self.expected.insert(header.producer_id.0, left);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A batch that is right, `skip` sequences too far, or sent again.
    Next {
        id: i64,
        n: usize,
        skip: i32,
    },
    Again {
        back: usize,
    },
    Bump {
        id: i64,
        sequence: i32,
    },
    Fail {
        batches: usize,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..4i64, 1..4usize, prop_oneof![8 => Just(0), 1 => -3..4]).prop_map(|(id, n, skip)| Step::Next { id, n, skip }),
        3 => (0..12usize).prop_map(|back| Step::Again { back }),
        1 => (1..4i64, prop_oneof![4 => Just(0), 1 => 0..3]).prop_map(|(id, sequence)| Step::Bump { id, sequence }),
        1 => (1..5usize).prop_map(|batches| Step::Fail { batches }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn producers_do_what_the_naive_model_does(
        steps in prop::collection::vec(step(), 1..80), first in prop_oneof![Just(0), Just(i32::MAX - 4)],
    ) {
        let mut world = World::new();
        let mut model = Model::default();
        let mut sent: Vec<Header> = vec![];
        let mut clients: BTreeMap<i64, (i16, Sequence)> = BTreeMap::new();
        for step in steps {
            let header = match step {
                Step::Next { id, n, skip } => {
                    let (epoch, next) = *clients.entry(id).or_insert((0, Sequence(first)));
                    batch(id, epoch, next.plus(skip).0, n)
                }
                Step::Again { back } => match sent.iter().rev().nth(back) {
                    Some(header) => header.clone(),
                    None => continue,
                },
                Step::Bump { id, sequence } => {
                    let (epoch, _) = *clients.entry(id).or_insert((0, Sequence(first)));
                    batch(id, epoch + 1, sequence, 1)
                }
                Step::Fail { batches } => {
                    let to = model.batches.iter().rev().nth(batches - 1).map_or(Offset::ZERO, |stored| stored.base);
                    if !model.may_fail(to) {
                        continue;
                    }
                    world.producers.rollback(to);
                    world.end = world.end.min(to);
                    model.rollback(to);
                    continue;
                }
                Step::Restart => {
                    world.producers = Producers::from_snapshot(world.producers.snapshot(), 1000);
                    continue;
                }
            };
            let base = world.end;
            let verdict = world.append(&header);
            prop_assert_eq!(&verdict, &model.check(&header), "{:?}", header);
            if verdict == Ok(Verdict::New) {
                let id = header.producer_id.0;
                clients.insert(id, (header.producer_epoch.0, header.last_sequence().plus(1)));
                model.append(&header, base);
            }
            sent.push(header);
        }
    }
}
