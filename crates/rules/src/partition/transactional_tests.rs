//! Stories of transactions in one partition. Batches are of one record; offsets count them.

use std::sync::Arc;

use super::*;
use crate::{
    batch::build::BatchBuilder,
    ids::{LeaderEpoch, Offset},
    limits::Limits,
    partition::{ReadAsk, epochs::EpochHistory, leader::Start, transactions::Aborted},
    producers::Producers,
    time::Deadline,
    topic_config::TopicConfig,
};

type Alice = Leader<&'static str, &'static str>;

const PRODUCER: ProducerId = ProducerId(9);
const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_000_000 };

/// A leader, and what it wants done.
struct Stage {
    leader: Alice,
    out: Vec<Effect<&'static str, &'static str>>,
}

impl Stage {
    fn new() -> Self {
        Self::with(Producers::new(10), 0)
    }

    fn with(producers: Producers, end: i64) -> Self {
        let start = Start {
            epoch: LeaderEpoch(0),
            log_start: Offset::ZERO,
            end: Offset(end),
            producers,
            epochs: EpochHistory::new(),
        };
        let config = TopicConfig { flush_messages: u64::MAX, flush_ms: u64::MAX, ..TopicConfig::default() };
        Self { leader: Leader::new(start, Arc::new(config), Arc::new(Limits::default()), 1), out: vec![] }
    }

    fn send(&mut self, to: &'static str, sequence: i32) {
        self.send_as(to, 0, sequence);
    }

    fn send_as(&mut self, to: &'static str, epoch: i16, sequence: i32) {
        self.send_under(true, to, epoch, sequence);
    }

    /// Under version 2 (`implicit`) or version 1.
    fn send_under(&mut self, implicit: bool, to: &'static str, epoch: i16, sequence: i32) {
        let batch =
            BatchBuilder::new().transactional().producer(PRODUCER.0, epoch, sequence).value("x", 1).parsed();
        let transaction = Joining { id: "orders".into(), implicit };
        let patience = Patience { held_ms: 30_000, safe_ms: 30_000 };
        self.leader.append_in(&transaction, batch, Acks::All, patience, to, NOW, &mut self.out);
    }

    fn joined(&mut self, ask: u64, result: Result<(), TransactionError>) {
        self.leader.joined(PRODUCER, ask, result, NOW, &mut self.out);
    }

    fn mark(&mut self, epoch: i16, commit: bool, coordinator_epoch: i32, protocol: Protocol) {
        let marker = Marker { commit, coordinator_epoch };
        let mark = Mark { producer: PRODUCER, epoch: ProducerEpoch(epoch), marker, protocol };
        self.leader.mark(mark, "marker", NOW, &mut self.out);
    }

    /// Everything given out is in the segment.
    fn settle(&mut self) {
        let end = self.leader.end();
        self.leader.written(end, NOW, &mut self.out);
    }

    /// The answers since the last look: who, and at which offset.
    fn answers(&mut self) -> Vec<(&'static str, Result<i64, AppendError>)> {
        let told = self.out.drain(..).filter_map(|effect| match effect {
            Effect::Answer { to, with } => Some((to, with.map(|appended| appended.base.0))),
            _ => None,
        });
        told.collect()
    }

    fn asks(&self) -> Vec<u64> {
        let asks = self.out.iter().filter_map(|effect| match effect {
            Effect::Join { ask, .. } => Some(*ask),
            _ => None,
        });
        asks.collect()
    }

    fn stable(&self, committed_only: bool) -> (i64, i64) {
        let ask = ReadAsk { from: Offset(0), current_epoch: None, last_fetched_epoch: None, committed_only };
        let bounds = self.leader.plan_read(ask).unwrap();
        (bounds.stable.0, bounds.upto.0)
    }
}

#[test]
fn batches_wait_for_the_coordinator_in_the_order_of_their_sequences() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.send("second", 1);
    assert_eq!(stage.asks(), [1], "one question for both");
    assert_eq!(stage.leader.end(), Offset(0));

    stage.joined(1, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("first", Ok(0)), ("second", Ok(1))]);
    stage.send("third", 2);
    stage.settle();
    assert_eq!((stage.asks(), stage.answers()), (vec![], vec![("third", Ok(2))]), "nobody is asked again");
}

/// What a first batch of the transaction that does not begin with sequence 0 is told.
fn missing_before(got: i32) -> Result<i64, AppendError> {
    Err(AppendError::OutOfOrder { expected: Sequence(0), got: Sequence(got) })
}

#[test]
fn a_producer_of_version_2_that_is_not_known_begins_at_0() {
    let mut stage = Stage::new();
    stage.send("second", 5);
    assert_eq!((stage.asks(), stage.answers()), (vec![], vec![("second", missing_before(5))]));
    stage.send("first", 0);
    stage.joined(1, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("first", Ok(0))]);
    // Its next session begins at 0 too, and so does a transaction after the marker that raised the epoch.
    stage.send_as("next", 1, 7);
    assert_eq!(stage.answers(), [("next", missing_before(7))]);
    stage.mark(1, true, 0, Protocol::V2);
    stage.settle();
    stage.answers();
    stage.send_as("next", 1, 1);
    assert_eq!(stage.answers(), [("next", missing_before(1))]);
}

#[test]
fn a_producer_of_version_1_that_is_not_known_begins_anywhere() {
    let mut stage = Stage::new();
    stage.send_under(false, "somewhere", 0, 5);
    stage.joined(1, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("somewhere", Ok(0))]);
}

#[test]
fn what_comes_behind_a_batch_that_was_refused_waits_until_that_has_come_again() {
    let mut stage = Stage::new();
    stage.send_under(false, "first", 0, 0);
    stage.send_under(false, "second", 0, 1);
    stage.joined(1, Err(TransactionError::Loading));
    stage.answers();
    // Of the same five in flight: sent before its producer has heard of the first.
    stage.send_under(false, "third", 0, 2);
    stage.joined(2, Ok(()));
    let behind = Err(AppendError::OutOfOrder { expected: Sequence(0), got: Sequence(2) });
    assert_eq!(stage.answers(), [("third", behind)]);

    for (to, sequence) in [("first", 0), ("second", 1), ("third", 2)] {
        stage.send_under(false, to, 0, sequence);
    }
    stage.joined(3, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("first", Ok(0)), ("second", Ok(1)), ("third", Ok(2))]);
    // Its next transaction begins where it is, and so does its next session.
    stage.mark(0, true, 0, Protocol::V1);
    stage.send_under(false, "fourth", 0, 3);
    stage.joined(4, Ok(()));
    stage.settle();
    assert_eq!(stage.answers()[1..], [("fourth", Ok(4))]);
}

#[test]
fn what_comes_behind_a_batch_that_could_not_be_written_waits_until_that_has_come_again() {
    let mut stage = Stage::new();
    stage.send_under(false, "first", 0, 5);
    stage.joined(1, Ok(()));
    stage.leader.write_failed(Offset(0), NOW, &mut stage.out);
    assert_eq!(stage.answers(), [("first", Err(AppendError::Storage))]);
    stage.send_under(false, "second", 0, 6);
    assert_eq!((stage.asks(), stage.answers()), (vec![], vec![("second", missing_before_of(5, 6))]));
    stage.send_under(false, "first", 0, 5);
    stage.joined(2, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("first", Ok(0))]);
}

fn missing_before_of(expected: i32, got: i32) -> Result<i64, AppendError> {
    Err(AppendError::OutOfOrder { expected: Sequence(expected), got: Sequence(got) })
}

#[test]
fn a_refused_batch_holds_up_no_later_session_and_is_forgotten_in_time() {
    let mut stage = Stage::new();
    stage.send_under(false, "zombie", 0, 5);
    stage.joined(1, Err(TransactionError::Loading));
    stage.send_under(false, "next", 1, 7);
    stage.joined(2, Ok(()));
    stage.settle();
    assert_eq!(stage.answers()[1..], [("next", Ok(0))]);

    let mut stage = Stage::new();
    stage.send_under(false, "first", 0, 5);
    stage.joined(1, Err(TransactionError::Loading));
    stage.answers();
    for day in 1..3 {
        let now = Now { mono_ms: day * 90_000_000, wall_ms: day as i64 * 90_000_000 };
        stage.leader.tick(now, &mut stage.out);
    }
    stage.send_under(false, "much later", 0, 7);
    stage.joined(2, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("much later", Ok(0))]);
}

#[test]
fn sequences_begin_anew_behind_the_largest() {
    let mut stage = Stage::new();
    stage.send_under(false, "last", 0, i32::MAX);
    stage.send_under(false, "first", 0, 0);
    stage.joined(1, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("last", Ok(0)), ("first", Ok(1))]);
}

#[test]
fn a_producer_without_transactions_begins_anywhere() {
    let mut stage = Stage::new();
    let batch = BatchBuilder::new().producer(PRODUCER.0, 0, 5).value("x", 1).parsed();
    stage.leader.append(batch, Acks::All, 30_000, "somewhere", NOW, &mut stage.out);
    stage.settle();
    assert_eq!(stage.answers(), [("somewhere", Ok(0))]);
}

#[test]
fn what_the_coordinator_refuses_is_not_appended() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.send("second", 1);
    stage.joined(1, Err(TransactionError::NotInTransaction));

    let refused = || Err(AppendError::NotJoined(TransactionError::NotInTransaction));
    assert_eq!(stage.answers(), [("first", refused()), ("second", refused())]);
    assert_eq!(stage.leader.end(), Offset(0));
    stage.send("again", 0);
    assert_eq!(stage.asks(), [2]);
}

fn fenced(by: i16, got: i16) -> Result<i64, AppendError> {
    Err(AppendError::Fenced { by: ProducerEpoch(by), got: ProducerEpoch(got) })
}

#[test]
fn a_zombie_that_waits_goes_when_a_newer_session_comes() {
    let mut stage = Stage::new();
    stage.send_as("zombie", 0, 0);
    stage.send_as("its second", 0, 1);
    stage.send_as("next", 2, 0);
    stage.send_as("its second", 2, 1);
    assert_eq!(stage.asks(), [1, 2], "the next session has a question of its own");
    assert_eq!(stage.answers(), [("zombie", fenced(2, 0)), ("its second", fenced(2, 0))]);

    // The word about the zombie is none about who came after it, whatever it says.
    stage.joined(1, Err(TransactionError::Fenced));
    stage.joined(1, Ok(()));
    assert_eq!((stage.leader.end(), stage.answers()), (Offset(0), vec![]));
    stage.joined(2, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("next", Ok(0)), ("its second", Ok(1))]);
}

#[test]
fn a_zombie_that_comes_behind_a_newer_session_is_refused_at_once() {
    let mut stage = Stage::new();
    stage.send_as("next", 2, 0);
    stage.send_as("zombie", 0, 0);
    assert_eq!((stage.asks(), stage.answers()), (vec![1], vec![("zombie", fenced(2, 0))]));
    stage.joined(1, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("next", Ok(0))]);
}

#[test]
fn what_is_not_let_in_itself_fences_nobody() {
    let mut stage = Stage::new();
    stage.send_as("first", 0, 0);
    stage.send_as("gap", 2, 7);
    assert_eq!((stage.asks(), stage.answers()), (vec![1], vec![("gap", missing_before(7))]));
    stage.joined(1, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("first", Ok(0))]);
}

#[test]
fn patience_ends_while_the_coordinator_is_silent() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    assert_eq!(stage.leader.next_deadline(), Some(Deadline(31_000)));
    stage.leader.tick(Now { mono_ms: 31_000, wall_ms: 0 }, &mut stage.out);
    assert_eq!(stage.answers(), [("first", Err(AppendError::NotJoined(TransactionError::Concurrent)))]);
    stage.joined(1, Ok(()));
    assert_eq!((stage.leader.end(), stage.answers()), (Offset(0), vec![]));
}

#[test]
fn readers_of_committed_records_stop_where_a_transaction_is_open() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.joined(1, Ok(()));
    stage.settle();
    assert_eq!((stage.stable(true), stage.stable(false)), ((0, 0), (0, 1)));
    stage.leader.watch("committed", Offset(0), true, &mut stage.out).unwrap();
    stage.out.clear();

    stage.mark(1, true, 3, Protocol::V2);
    assert!(!stage.out.contains(&Effect::Ring { bell: "committed" }));
    stage.settle();

    assert!(stage.out.contains(&Effect::Ring { bell: "committed" }));
    assert_eq!(stage.answers(), [("marker", Ok(1))]);
    assert_eq!(stage.stable(true), (2, 2));
}

#[test]
fn an_abort_is_remembered_for_readers() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.joined(1, Ok(()));
    stage.mark(1, false, 3, Protocol::V2);

    let aborted = Aborted { producer: PRODUCER, first: Offset(0), last: Offset(1), stable: Offset(2) };
    assert!(stage.out.contains(&Effect::RememberAborted { aborted }));
}

#[test]
fn a_marker_that_could_not_be_written_leaves_the_transaction_open() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.joined(1, Ok(()));
    stage.settle();
    stage.mark(1, true, 3, Protocol::V2);
    stage.answers();
    stage.leader.write_failed(Offset(1), NOW, &mut stage.out);

    assert_eq!(stage.answers(), [("marker", Err(AppendError::Storage))]);
    assert_eq!(stage.leader.producers().transactions().open_since(PRODUCER), Some(Offset(0)));

    // The client has been told that it has ended, and goes on: its next transaction is another one, and waits for the marker.
    stage.out.clear();
    stage.send_as("next", 1, 0);
    assert_eq!(stage.asks(), [2]);
    stage.mark(1, true, 3, Protocol::V2);
    stage.settle();
    assert_eq!(stage.answers(), [("marker", Ok(1))], "the coordinator sends the marker again");
    stage.joined(2, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("next", Ok(2))]);
    assert_eq!(stage.leader.producers().transactions().open_since(PRODUCER), Some(Offset(2)));
}

#[test]
fn the_last_stable_offset_is_never_below_the_log_start() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.joined(1, Ok(()));
    stage.send("second", 1);
    stage.settle();
    assert_eq!(stage.stable(true), (0, 0));
    stage.leader.delete_before(Some(Offset(1)), NOW, &mut stage.out).unwrap();
    assert_eq!(stage.leader.stable(), Offset(1), "a reader who is sent there finds the log");
}

#[test]
fn a_marker_makes_an_end_of_what_waits_and_a_late_word_opens_nothing() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.mark(1, false, 3, Protocol::V2);
    stage.joined(1, Ok(()));
    stage.settle();

    let ended = AppendError::InvalidTransaction("the transaction has ended before this batch");
    assert_eq!(stage.answers(), [("first", Err(ended)), ("marker", Ok(0))]);
    assert!(stage.leader.producers().transactions().is_empty());
    stage.send("late", 0);
    let fenced = AppendError::Fenced { by: ProducerEpoch(1), got: ProducerEpoch(0) };
    assert_eq!(stage.answers(), [("late", Err(fenced))], "the marker has raised the epoch");
}

#[test]
fn what_waits_in_the_next_session_is_not_ended_by_the_marker_of_the_last() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.joined(1, Ok(()));
    stage.settle();
    stage.mark(1, true, 0, Protocol::V2);
    stage.settle();
    stage.out.clear();

    // The marker was written, but its answer was lost: it comes again, and meanwhile the next transaction has begun.
    stage.send_as("next", 1, 0);
    assert_eq!(stage.asks(), [2]);
    stage.mark(1, true, 0, Protocol::V2);
    stage.joined(2, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("marker", Ok(2)), ("next", Ok(3))]);

    stage.mark(2, true, 0, Protocol::V2);
    stage.send_as("later", 2, 0);
    stage.mark(3, false, 0, Protocol::V2);
    stage.settle();
    let over = Err(AppendError::InvalidTransaction("the transaction has ended before this batch"));
    assert_eq!(
        stage.answers(),
        [("later", over), ("marker", Ok(4)), ("marker", Ok(5))],
        "its own marker does"
    );
}

#[test]
fn the_next_session_does_not_join_a_transaction_whose_marker_is_late() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.joined(1, Ok(()));
    stage.settle();
    stage.out.clear();

    // The coordinator has ended the transaction and told the client so; its marker is still on its way here.
    stage.send_as("next", 1, 0);
    assert_eq!(stage.asks(), [2], "it is not taken for a batch of the one that is open");
    stage.settle();
    assert_eq!(stage.answers(), []);
    stage.mark(1, true, 0, Protocol::V2);
    stage.joined(2, Ok(()));
    stage.settle();
    assert_eq!(stage.answers(), [("marker", Ok(1)), ("next", Ok(2))]);
    assert_eq!(stage.stable(true), (2, 2), "the first is decided, the next is open");
}

#[test]
fn old_coordinators_and_old_epochs_write_no_markers() {
    let mut stage = Stage::new();
    stage.send_as("first", 5, 0);
    stage.joined(1, Ok(()));
    stage.settle();
    stage.answers();

    let refused = |epoch, coordinator, protocol, stage: &mut Stage| {
        stage.mark(epoch, true, coordinator, protocol);
        stage.answers().pop()
    };
    let fenced =
        |got| Some(("marker", Err(AppendError::Fenced { by: ProducerEpoch(5), got: ProducerEpoch(got) })));
    assert_eq!(refused(4, 3, Protocol::V1, &mut stage), fenced(4));
    assert_eq!(refused(5, 3, Protocol::V2, &mut stage), fenced(5), "under version 2 an end raises the epoch");
    stage.mark(6, true, 3, Protocol::V2);
    stage.settle();
    assert_eq!(stage.answers(), [("marker", Ok(1))]);
    stage.mark(6, true, 3, Protocol::V2);
    stage.settle();
    assert_eq!(stage.answers(), [("marker", Ok(2))], "the same one again is taken");
    let by = AppendError::CoordinatorFenced { by: 3, got: 2 };
    assert_eq!(refused(7, 2, Protocol::V2, &mut stage), Some(("marker", Err(by))));
}

#[test]
fn a_batch_without_its_transaction_is_refused() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.joined(1, Ok(()));
    stage.settle();
    stage.answers();

    let plain = BatchBuilder::new().producer(PRODUCER.0, 0, 1).value("x", 1).parsed();
    stage.leader.append(plain, Acks::All, 1, "plain", NOW, &mut stage.out);
    let stranger = BatchBuilder::new().transactional().producer(77, 0, 0).value("x", 1).parsed();
    stage.leader.append(stranger, Acks::All, 1, "stranger", NOW, &mut stage.out);

    let refused = |why| Err(AppendError::InvalidTransaction(why));
    assert_eq!(
        stage.answers(),
        [
            ("plain", refused("the producer has a transaction open in this partition")),
            ("stranger", refused("a batch of a transaction that has not been joined")),
        ]
    );
}

#[test]
fn an_open_transaction_survives_a_snapshot_and_its_producer_does_not_expire() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.joined(1, Ok(()));
    stage.settle();
    let mut producers = Producers::from_snapshot(stage.leader.producers().snapshot(), 10);
    producers.expire(Now { mono_ms: 0, wall_ms: i64::MAX }, 1);
    let mut again = Stage::with(producers, 1);

    assert_eq!(again.stable(true), (0, 0));
    again.send("second", 1);
    again.settle();
    assert_eq!((again.asks(), again.answers()), (vec![], vec![("second", Ok(1))]));
}

#[test]
fn what_ended_before_a_reign_is_stable_in_it() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.joined(1, Ok(()));
    stage.mark(1, true, 3, Protocol::V2);
    let mut producers = Producers::new(10);
    let mut at = 0;
    for effect in &stage.out {
        let Effect::Write { batch } = effect else { continue };
        let header = Header::read(&batch.bytes).unwrap();
        producers.replay(&header);
        if let Some(marker) = Marker::read(&batch.bytes).ok().flatten() {
            producers.marked(header.producer_id, batch.base, marker);
        }
        at = batch.end.0;
    }

    assert_eq!(Stage::with(producers, at).stable(true), (2, 2));
}

#[test]
fn a_retry_of_what_is_in_the_log_needs_no_word_of_the_coordinator() {
    let mut stage = Stage::new();
    stage.send("first", 0);
    stage.joined(1, Ok(()));
    stage.mark(0, true, 3, Protocol::V1);
    stage.settle();
    stage.answers();

    stage.send("retry", 0);
    assert_eq!((stage.asks(), stage.answers()), (vec![], vec![("retry", Ok(0))]));
}
