//! Stories of one leader. Tokens are names: producers are people, readers' bells are bells.

use super::*;
use crate::{
    batch::{Stamped, build::BatchBuilder},
    ids::{ProducerEpoch, Sequence},
    partition::{ReadAsk, ReadBounds, ReadError},
    topic_config::Cleanup,
};

type Alice = Leader<&'static str, &'static str>;

const EPOCH: LeaderEpoch = LeaderEpoch(5);

fn at(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: 1_000_000 + ms as i64 }
}

fn durable() -> TopicConfig {
    TopicConfig { flush_messages: 1, flush_ms: u64::MAX, min_insync_replicas: 1, ..TopicConfig::default() }
}

fn page_cache() -> TopicConfig {
    TopicConfig { flush_messages: u64::MAX, ..durable() }
}

fn leader_with(config: TopicConfig, limits: Limits) -> Alice {
    leader_of(1, config, limits)
}

fn leader_of(replicas: usize, config: TopicConfig, limits: Limits) -> Alice {
    let start = Start {
        epoch: EPOCH,
        log_start: Offset::ZERO,
        end: Offset::ZERO,
        producers: Producers::new(10),
        epochs: EpochHistory::new(),
    };
    Leader::new(start, Arc::new(config), Arc::new(limits), replicas)
}

fn leader() -> Alice {
    leader_with(durable(), Limits::default())
}

fn builder(n: usize) -> BatchBuilder {
    (0..n).fold(BatchBuilder::new(), |builder, n| builder.value(format!("record {n}"), 10))
}

fn batch(n: usize) -> Batch {
    builder(n).parsed()
}

fn stamped(n: usize, base: i64) -> Stamped {
    builder(n).stamped(Offset(base), EPOCH)
}

fn begins(start: i64) -> Effect<&'static str, &'static str> {
    Effect::RememberEpoch { epoch: EPOCH, start: Offset(start) }
}

fn write(n: usize, base: i64) -> Effect<&'static str, &'static str> {
    Effect::Write { batch: stamped(n, base) }
}

fn harden(upto: i64) -> Effect<&'static str, &'static str> {
    Effect::Harden { upto: Offset(upto) }
}

fn sync(upto: i64) -> Effect<&'static str, &'static str> {
    Effect::Sync { upto: Offset(upto) }
}

fn answer(to: &'static str, base: i64) -> Effect<&'static str, &'static str> {
    Effect::Answer { to, with: Ok(Appended { base: Offset(base), append_time: -1, log_start: Offset::ZERO }) }
}

fn refuse(to: &'static str, with: AppendError) -> Effect<&'static str, &'static str> {
    Effect::Answer { to, with: Err(with) }
}

fn ring(bell: &'static str) -> Effect<&'static str, &'static str> {
    Effect::Ring { bell }
}

/// Appends `n` records, written and, in durable mode, persisted.
/// A batch that is taken, written and safe, and what the leader wanted done for it.
fn settle(leader: &mut Alice, n: usize) -> Vec<Effect<&'static str, &'static str>> {
    let mut out = vec![];
    leader.append(batch(n), Acks::Leader, 1_000, "settler", at(0), &mut out);
    leader.written(leader.end(), at(0), &mut out);
    leader.persisted(leader.end(), at(0), &mut out);
    out
}

fn ask(from: i64) -> ReadAsk {
    ReadAsk { from: Offset(from), current_epoch: None, last_fetched_epoch: None, committed_only: false }
}

#[test]
fn a_durable_append_is_answered_once_it_is_persisted() {
    for acks in [Acks::None, Acks::Leader, Acks::All] {
        let (mut leader, mut out) = (leader(), vec![]);
        leader.append(batch(3), acks, 1_000, "alice", at(0), &mut out);
        leader.append(batch(2), acks, 1_000, "bob", at(0), &mut out);
        assert_eq!(out, [begins(0), write(3, 0), write(2, 3)]);
        out.clear();

        leader.written(Offset(5), at(1), &mut out);
        assert_eq!(out, [harden(5)]);
        out.clear();

        leader.persisted(Offset(3), at(2), &mut out);
        assert_eq!(out, [answer("alice", 0)]);
        out.clear();
        leader.persisted(Offset(5), at(3), &mut out);
        assert_eq!(out, [answer("bob", 3)]);
        assert_eq!(leader.next_deadline(), None);
    }
}

#[test]
fn a_page_cache_append_is_answered_once_it_is_written() {
    let (mut leader, mut out) = (leader_with(page_cache(), Limits::default()), vec![]);
    leader.append(batch(3), Acks::All, 1_000, "alice", at(0), &mut out);
    out.clear();

    leader.written(Offset(3), at(1), &mut out);

    assert_eq!(out, [answer("alice", 0)]);
    assert_eq!(leader.high_watermark(), Offset(3));
}

#[test]
fn after_so_many_records_the_segment_is_synced() {
    let (mut leader, mut out) =
        (leader_with(TopicConfig { flush_messages: 4, ..durable() }, Limits::default()), vec![]);
    leader.append(batch(3), Acks::Leader, 1_000, "alice", at(0), &mut out);
    leader.append(batch(1), Acks::Leader, 1_000, "bob", at(0), &mut out);
    out.clear();

    leader.written(Offset(3), at(1), &mut out);
    leader.written(Offset(4), at(1), &mut out);

    assert_eq!(out, [answer("alice", 0), sync(4), answer("bob", 3)]);
}

#[test]
fn after_some_time_the_segment_is_synced() {
    let (mut leader, mut out) =
        (leader_with(TopicConfig { flush_ms: 50, ..page_cache() }, Limits::default()), vec![]);
    leader.append(batch(3), Acks::Leader, 1_000, "alice", at(0), &mut out);
    leader.written(Offset(3), at(10), &mut out);
    assert_eq!(leader.next_deadline(), Some(Deadline(60)));
    out.clear();

    leader.tick(at(59), &mut out);
    assert_eq!(out, []);
    leader.tick(at(60), &mut out);
    assert_eq!(out, [sync(3)]);
    assert_eq!(leader.next_deadline(), None);
}

#[test]
fn a_topic_that_becomes_durable_syncs_its_segment_before_the_journal_goes_on() {
    let (mut leader, mut out) = (leader_with(page_cache(), Limits::default()), vec![]);
    leader.append(batch(3), Acks::Leader, 1_000, "alice", at(0), &mut out);
    leader.written(Offset(3), at(0), &mut out);
    leader.append(batch(1), Acks::Leader, 1_000, "bob", at(0), &mut out);
    out.clear();

    leader.configure(Arc::new(durable()), at(1), &mut out);
    leader.append(batch(1), Acks::Leader, 1_000, "carol", at(1), &mut out);
    assert_eq!(out, [write(1, 4)], "bob's batch was staged for the page cache: it is synced, not journaled");
    out.clear();
    leader.written(Offset(5), at(2), &mut out);
    assert_eq!(out, [sync(4)]);
    out.clear();

    leader.persisted(Offset(4), at(3), &mut out);
    assert_eq!(out, [harden(5), answer("bob", 3)]);
    out.clear();
    leader.persisted(Offset(5), at(4), &mut out);
    assert_eq!(out, [answer("carol", 4)]);
}

#[test]
fn a_topic_that_stops_being_durable_answers_those_who_wait() {
    let (mut leader, mut out) = (leader(), vec![]);
    leader.append(batch(3), Acks::Leader, 1_000, "alice", at(0), &mut out);
    leader.written(Offset(3), at(0), &mut out);
    out.clear();

    leader.configure(Arc::new(page_cache()), at(1), &mut out);
    leader.persisted(Offset(3), at(2), &mut out);

    assert_eq!(out, [answer("alice", 0)]);
}

#[test]
fn a_duplicate_is_answered_like_the_first_and_not_before_it() {
    let (mut leader, mut out) = (leader(), vec![]);
    let sent = || builder(2).producer(7, 0, 0).parsed();
    leader.append(batch(3), Acks::Leader, 1_000, "alice", at(0), &mut out);
    leader.append(sent(), Acks::All, 1_000, "bob", at(0), &mut out);
    leader.written(Offset(5), at(0), &mut out);
    out.clear();

    leader.append(sent(), Acks::All, 1_000, "bob again", at(1), &mut out);
    assert_eq!(out, []);
    leader.persisted(Offset(5), at(2), &mut out);
    let as_stored = |to| Effect::Answer {
        to,
        with: Ok(Appended { base: Offset(3), append_time: 10, log_start: Offset::ZERO }),
    };
    assert_eq!(out, [answer("alice", 0), answer("bob", 3), as_stored("bob again")]);
    out.clear();

    leader.append(sent(), Acks::All, 1_000, "bob at last", at(3), &mut out);
    assert_eq!(out, [as_stored("bob at last")]);
    assert_eq!(leader.end(), Offset(5));
}

#[test]
fn sequences_are_checked() {
    let (mut leader, mut out) = (leader(), vec![]);
    leader.append(builder(2).producer(7, 1, 0).parsed(), Acks::All, 1_000, "alice", at(0), &mut out);
    out.clear();

    leader.append(builder(1).producer(7, 1, 5).parsed(), Acks::All, 1_000, "gap", at(0), &mut out);
    leader.append(builder(1).producer(7, 0, 0).parsed(), Acks::All, 1_000, "zombie", at(0), &mut out);

    let gap = AppendError::OutOfOrder { expected: Sequence(2), got: Sequence(5) };
    let zombie = AppendError::Fenced { by: ProducerEpoch(1), got: ProducerEpoch(0) };
    assert_eq!(out, [refuse("gap", gap), refuse("zombie", zombie)]);
}

#[test]
fn a_failed_write_gives_offsets_and_sequences_back() {
    let (mut leader, mut out) = (leader(), vec![]);
    let sent = || builder(2).producer(7, 0, 0).parsed();
    settle(&mut leader, 1);
    leader.append(sent(), Acks::All, 1_000, "alice", at(0), &mut out);
    leader.append(batch(1), Acks::None, 1_000, "bob", at(0), &mut out);
    leader.append(sent(), Acks::All, 1_000, "alice again", at(0), &mut out);
    out.clear();

    leader.write_failed(Offset(1), at(1), &mut out);
    let refused = |to| refuse(to, AppendError::Storage);
    assert_eq!(out, [refused("alice"), refused("alice again"), refused("bob")]);
    out.clear();

    leader.append(sent(), Acks::All, 1_000, "alice once more", at(2), &mut out);
    let again = builder(2).producer(7, 0, 0).stamped(Offset(1), EPOCH);
    assert_eq!(out, [Effect::Write { batch: again }]);
}

#[test]
fn a_failed_sync_refuses_everyone_from_then_on() {
    let (mut leader, mut out) = (leader(), vec![]);
    leader.append(batch(1), Acks::All, 1_000, "alice", at(0), &mut out);
    leader.watch("doorbell", Offset(0), false, &mut out).unwrap();
    leader.written(Offset(1), at(0), &mut out);
    out.clear();

    leader.persist_failed(at(1), &mut out);
    assert_eq!(out, [refuse("alice", AppendError::Storage), ring("doorbell")]);
    out.clear();

    leader.append(batch(1), Acks::None, 1_000, "bob", at(2), &mut out);
    leader.persisted(Offset(1), at(3), &mut out);
    assert_eq!(out, [refuse("bob", AppendError::Storage)]);
    assert_eq!(leader.plan_read(ask(0)), Err(ReadError::Storage));
    assert_eq!(leader.delete_before(None, at(3), &mut out), Err(DeleteError::Storage));
}

#[test]
fn patience_with_other_replicas_ends_and_the_batch_stays() {
    let (mut leader, mut out) = (leader_of(2, durable(), Limits::default()), vec![]);
    leader.append(batch(1), Acks::All, 100, "alice", at(0), &mut out);
    leader.append(batch(2), Acks::All, 50, "bob", at(0), &mut out);
    leader.written(Offset(3), at(1), &mut out);
    assert_eq!(leader.next_deadline(), Some(Deadline(50)));
    out.clear();

    leader.tick(at(50), &mut out);
    assert_eq!(out, [refuse("bob", AppendError::TimedOut)]);
    assert_eq!(leader.next_deadline(), Some(Deadline(100)));
    out.clear();

    leader.persisted(Offset(3), at(60), &mut out);
    assert_eq!(out, [answer("alice", 0)]);
    assert_eq!(leader.plan_read(ask(0)).unwrap().upto, Offset(3));
}

#[test]
fn patience_is_for_other_replicas_and_not_for_the_disk() {
    let check = |replicas, acks| {
        let (mut leader, mut out) = (leader_of(replicas, durable(), Limits::default()), vec![]);
        leader.append(batch(1), acks, 0, "alice", at(0), &mut out);
        leader.written(Offset(1), at(0), &mut out);
        out.clear();
        leader.tick(at(29_999), &mut out);
        assert_eq!((&out[..], leader.next_deadline()), (&[][..], Some(Deadline(30_000))));
        leader.persisted(Offset(1), at(29_999), &mut out);
        assert_eq!(out, [answer("alice", 0)]);
    };
    check(1, Acks::All);
    check(1, Acks::Leader);
    check(2, Acks::Leader);
}

#[test]
fn patience_with_the_disk_ends_as_well() {
    let (mut leader, mut out) = (leader(), vec![]);
    leader.append(batch(1), Acks::Leader, 0, "alice", at(0), &mut out);
    leader.append(batch(1), Acks::None, 0, "bob", at(0), &mut out);
    leader.append(batch(1), Acks::All, 40_000, "carol", at(0), &mut out);
    leader.written(Offset(3), at(1), &mut out);
    out.clear();

    leader.tick(at(30_000), &mut out);
    let alice = refuse("alice", AppendError::TimedOut);
    assert_eq!(out, [alice, answer("bob", 1)], "acks=0 did not ask how long");
    assert_eq!(leader.next_deadline(), Some(Deadline(40_000)));
}

#[test]
fn some_appends_are_refused_before_anything_happens() {
    let check = |config: TopicConfig, batch: Batch, acks: Acks, with: AppendError| {
        let (mut leader, mut out) = (leader_with(config, Limits::default()), vec![]);
        leader.append(batch, acks, 1_000, "alice", at(0), &mut out);
        assert_eq!(out, [refuse("alice", with)]);
        assert_eq!(leader.end(), Offset::ZERO);
    };
    let in_transaction = builder(1).producer(1, 0, 0).transactional().parsed();
    check(
        durable(),
        in_transaction,
        Acks::All,
        AppendError::InvalidTransaction("a batch of a transaction that has not been joined"),
    );
}

#[test]
fn a_topic_cannot_ask_for_more_replicas_than_it_has() {
    let (mut leader, mut out) =
        (leader_with(TopicConfig { min_insync_replicas: 2, ..durable() }, Limits::default()), vec![]);
    leader.append(batch(1), Acks::All, 1_000, "alice", at(0), &mut out);
    assert_eq!(out, [begins(0), write(1, 0)]);
}

#[test]
fn what_waits_is_bounded_in_number_and_in_bytes() {
    let check = |limits: Limits| {
        let (mut leader, mut out) = (leader_of(2, durable(), limits), vec![]);
        leader.append(batch(1), Acks::All, 10, "alice", at(0), &mut out);
        leader.tick(at(10), &mut out);
        out.clear();
        leader.append(batch(1), Acks::All, 10, "bob", at(20), &mut out);
        assert_eq!(out, [refuse("bob", AppendError::TooManyParked)], "alice has gone, her batch has not");
        out.clear();

        leader.written(Offset(1), at(30), &mut out);
        leader.persisted(Offset(1), at(30), &mut out);
        out.clear();
        leader.append(batch(1), Acks::All, 10, "carol", at(30), &mut out);
        assert_eq!(out, [write(1, 1)]);
    };
    check(Limits { parked_max: 1, ..Limits::default() });
    check(Limits { queued_bytes_max: 1, ..Limits::default() });
}

#[test]
fn with_log_append_time_every_record_gets_the_leaders_time() {
    let config = TopicConfig { timestamp_type: TimestampType::LogAppendTime, ..durable() };
    let (mut leader, mut out) = (leader_with(config, Limits::default()), vec![]);
    leader.append(batch(1), Acks::All, 1_000, "alice", at(7), &mut out);
    let [_, Effect::Write { batch }] = &out[..] else { panic!("{out:?}") };
    assert_eq!(batch.max_timestamp, 1_000_007);
    out.clear();

    leader.written(Offset(1), at(8), &mut out);
    leader.persisted(Offset(1), at(9), &mut out);

    let with = Ok(Appended { base: Offset(0), append_time: 1_000_007, log_start: Offset::ZERO });
    assert_eq!(out, [harden(1), Effect::Answer { to: "alice", with }]);
}

#[test]
fn producers_are_answered_before_bells_ring() {
    let (mut leader, mut out) = (leader(), vec![]);
    leader.watch("doorbell", Offset(0), false, &mut out).unwrap();
    leader.watch("later", Offset(1), false, &mut out).unwrap();
    leader.append(batch(1), Acks::All, 1_000, "alice", at(0), &mut out);
    leader.written(Offset(1), at(1), &mut out);
    out.clear();

    leader.persisted(Offset(1), at(2), &mut out);

    assert_eq!(out, [answer("alice", 0), ring("doorbell")]);
}

#[test]
fn a_bell_rings_once() {
    let (mut leader, mut out) = (leader(), vec![]);
    settle(&mut leader, 1);
    leader.watch("something there", Offset(0), false, &mut out).unwrap();
    assert_eq!(out, [ring("something there")]);
    out.clear();

    leader.watch("patient", Offset(1), false, &mut out).unwrap();
    assert_eq!((out.clone(), leader.next_deadline()), (vec![], None), "its time is the reader's own affair");
    out = [settle(&mut leader, 1), settle(&mut leader, 1)].concat();
    out.retain(|effect| matches!(effect, Effect::Ring { .. }));
    assert_eq!(out, [ring("patient")]);
}

#[test]
fn watchers_are_bounded() {
    let (mut leader, mut out) =
        (leader_with(durable(), Limits { watchers_max: 1, ..Limits::default() }), vec![]);
    leader.watch("first", Offset(0), false, &mut out).unwrap();
    let second = leader.watch("second", Offset(0), false, &mut out);
    assert_eq!((second, out), (Err(ReadError::TooManyWaiting), vec![]));
}

#[test]
fn a_reign_that_ends_sends_everyone_elsewhere() {
    let (mut leader, mut out) = (leader(), vec![]);
    leader.append(batch(1), Acks::All, 1_000, "alice", at(0), &mut out);
    leader.watch("doorbell", Offset(0), false, &mut out).unwrap();
    out.clear();

    leader.retire(&mut out);
    leader.retire(&mut out);
    assert_eq!(out, [refuse("alice", AppendError::NotHere), ring("doorbell")]);
    out.clear();

    leader.written(Offset(1), at(1), &mut out);
    leader.persisted(Offset(1), at(1), &mut out);
    leader.append(batch(1), Acks::All, 1_000, "bob", at(1), &mut out);
    leader.watch("late", Offset(0), false, &mut out).unwrap();
    assert_eq!(out, [refuse("bob", AppendError::NotHere), ring("late")]);
    assert_eq!(leader.plan_read(ask(0)), Err(ReadError::NotHere));
}

#[test]
fn readers_see_what_is_persisted_and_may_wait_for_what_is_written() {
    let (mut leader, mut out) = (leader(), vec![]);
    settle(&mut leader, 2);
    leader.append(batch(1), Acks::All, 1_000, "alice", at(0), &mut out);
    leader.written(Offset(3), at(0), &mut out);
    leader.append(batch(1), Acks::All, 1_000, "bob", at(0), &mut out);
    leader.delete_before(Some(Offset(1)), at(0), &mut out).unwrap();

    let bounds = |from, upto| ReadBounds {
        from: Offset(from),
        upto: Offset(upto),
        high_watermark: Offset(2),
        stable: Offset(2),
        log_start: Offset(1),
        diverging: None,
    };
    let outside = ReadError::OffsetOutOfRange { log_start: Offset(1), end: Offset(3) };
    assert_eq!(leader.plan_read(ask(0)), Err(outside));
    assert_eq!(leader.plan_read(ask(1)), Ok(bounds(1, 2)));
    assert_eq!(leader.plan_read(ask(2)), Ok(bounds(2, 2)));
    assert_eq!(leader.plan_read(ask(3)), Ok(bounds(3, 3)));
    assert_eq!(leader.plan_read(ask(4)), Err(outside), "offset 3 is given out, but not written");
    assert_eq!(leader.plan_read(ReadAsk { committed_only: true, ..ask(1) }), Ok(bounds(1, 2)));
}

#[test]
fn a_reader_of_another_reign_is_told() {
    let leader = leader();
    let check = |epoch: i32, expected: Option<ReadError>| {
        let asked = ReadAsk { current_epoch: Some(LeaderEpoch(epoch)), ..ask(0) };
        assert_eq!(leader.plan_read(asked).err(), expected, "epoch {epoch}");
        assert_eq!(leader.epoch_end(EPOCH, Some(LeaderEpoch(epoch))).err(), expected, "epoch {epoch}");
    };
    check(4, Some(ReadError::FencedEpoch { current: EPOCH }));
    check(5, None);
    check(6, Some(ReadError::UnknownEpoch { current: EPOCH }));
    check(-1, None);
}

/// Reign 1 wrote 0 to 10, reign 3 wrote 10 to 20, reign 5 has just begun.
fn third_reign() -> Alice {
    let epochs = EpochHistory::from_rows(vec![(LeaderEpoch(1), Offset(0)), (LeaderEpoch(3), Offset(10))]);
    let start =
        Start { epoch: EPOCH, log_start: Offset(0), end: Offset(20), producers: Producers::new(10), epochs };
    Leader::new(start, Arc::new(durable()), Arc::new(Limits::default()), 1)
}

#[test]
fn epochs_end_where_the_next_begins_also_before_a_reign_has_written() {
    let leader = third_reign();
    let check = |epoch: i32, expected: (i32, i64)| {
        let end = leader.epoch_end(LeaderEpoch(epoch), None);
        assert_eq!(end, Ok((LeaderEpoch(expected.0), Offset(expected.1))), "epoch {epoch}");
    };
    check(0, (0, 0));
    check(1, (1, 10));
    check(2, (1, 10));
    check(3, (3, 20));
    check(4, (3, 20));
    check(5, (5, 20));
    check(6, (-1, -1));
}

#[test]
fn a_reader_whose_log_diverges_is_told_where() {
    let leader = third_reign();
    let check = |fetched: i32, from: i64, expected: Option<(i32, i64)>| {
        let asked = ReadAsk { last_fetched_epoch: Some(LeaderEpoch(fetched)), ..ask(from) };
        let bounds = leader.plan_read(asked).unwrap();
        assert_eq!(bounds.diverging, expected.map(|(epoch, end)| (LeaderEpoch(epoch), Offset(end))));
        assert_eq!(bounds.upto > bounds.from, expected.is_none());
    };
    check(1, 10, None);
    check(1, 12, Some((1, 10)));
    check(2, 8, Some((1, 10)));
    check(3, 15, None);
    check(3, 30, Some((3, 20)));
    let unknown = leader.plan_read(ReadAsk { last_fetched_epoch: Some(LeaderEpoch(6)), ..ask(5) });
    assert_eq!(unknown, Err(ReadError::OffsetOutOfRange { log_start: Offset(0), end: Offset(20) }));
}

#[test]
fn records_are_deleted_up_to_the_high_watermark() {
    let (mut leader, mut out) = (leader(), vec![]);
    settle(&mut leader, 4);
    let outside = Err(DeleteError::OffsetOutOfRange { high_watermark: Offset(4) });
    assert_eq!(leader.delete_before(Some(Offset(5)), at(0), &mut out), outside);
    assert_eq!(leader.delete_before(Some(Offset(-2)), at(0), &mut out), outside);
    assert_eq!(leader.delete_before(Some(Offset(2)), at(0), &mut out), Ok(Offset(2)));
    assert_eq!(
        leader.delete_before(Some(Offset(1)), at(0), &mut out),
        Ok(Offset(2)),
        "it does not move back"
    );
    assert_eq!(leader.delete_before(None, at(0), &mut out), Ok(Offset(4)));
    assert_eq!(out, [Effect::MoveStart { to: Offset(2) }, Effect::MoveStart { to: Offset(4) }]);
    assert_eq!(leader.epochs().rows(), [(EPOCH, Offset(4))]);
}

#[test]
fn what_is_only_compacted_is_not_deleted_by_offset() {
    let check = |delete, expected| {
        let config = TopicConfig { cleanup: Cleanup { delete, compact: true }, ..durable() };
        let mut leader = leader_with(config, Limits::default());
        settle(&mut leader, 1);
        assert_eq!(leader.delete_before(None, at(0), &mut vec![]), expected);
    };
    check(false, Err(DeleteError::Compacted));
    check(true, Ok(Offset(1)));
}
