//! Stories of offsets that are part of transactions.

use super::{
    ask::CommitOffsets,
    consumer_tests::{image, joining},
    offset_tests::committed,
    offsets::Lookup,
    tests::{World, commit, config, join, join_as, leave},
    *,
};
use crate::{ids::ProducerEpoch, partition::Joining, transaction::Session};

const ALICE: ProducerId = ProducerId(1);
const BOB: ProducerId = ProducerId(2);

/// A commit as part of a producer's transaction, by nobody of the group.
pub(super) fn commit_in(producer: ProducerId, partition: i32, offset: i64) -> Ask {
    as_member(producer, "", -1, partition, offset)
}

fn as_member(producer: ProducerId, id: &str, generation: i32, partition: i32, offset: i64) -> Ask {
    let Ask::Commit(asked) = commit(id, generation, partition, offset) else { panic!() };
    let joining = Joining { id: "orders".into(), implicit: true };
    let session = Session { producer, epoch: ProducerEpoch(0) };
    Ask::Commit(CommitOffsets { transaction: Some(InTransaction { joining, session }), ..asked })
}

/// What somebody sees who wants nothing that may still change.
#[track_caller]
fn stable(world: &mut World, partition: i32) -> Lookup {
    let topics = Some(vec![("t".to_owned(), vec![partition])]);
    world.ask("reader", Ask::FetchOffsets { topics, reader: None, stable: true });
    match world.heard("reader") {
        Ok(Answer::Offsets(mut fetched)) => fetched.remove(0).partitions.remove(0).1,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn well(world: &mut World, who: &'static str, ask: Ask) {
    world.ask(who, ask);
    assert_eq!(world.heard(who), Ok(Answer::Committed(vec![None])));
}

#[test]
fn offsets_of_a_transaction_count_once_it_is_committed() {
    let mut world = World::new();
    well(&mut world, "tool", commit("", -1, 0, 5));
    well(&mut world, "alice", commit_in(ALICE, 0, 7));
    assert_eq!(committed(&world.group, 0), Some(5));
    assert_eq!(stable(&mut world, 0), Lookup::Unstable);
    assert_eq!(stable(&mut world, 1), Lookup::Nothing, "nobody has committed for this one");

    world.mark(ALICE, true);

    assert_eq!(committed(&world.group, 0), Some(7));
    assert!(matches!(stable(&mut world, 0), Lookup::Offset(committed) if committed.offset == 7));
    assert_eq!(committed(&world.rebuilt(), 0), Some(7));
}

#[test]
fn offsets_of_an_aborted_transaction_never_were() {
    let mut world = World::new();
    well(&mut world, "alice", commit_in(ALICE, 0, 7));
    world.mark(ALICE, false);
    assert_eq!(committed(&world.group, 0), None);
    assert_eq!(world.state(), "Empty", "the group is there until the next look for old offsets");
    world.step(|group, now, out| group.expire(now, out));
    assert!(world.group.is_blank() && world.rebuilt().is_blank());
}

#[test]
fn of_two_commits_the_one_that_was_written_later_counts() {
    let mut world = World::new();
    well(&mut world, "alice", commit_in(ALICE, 0, 7));
    well(&mut world, "tool", commit("", -1, 0, 5));
    world.mark(ALICE, true);
    assert_eq!(committed(&world.group, 0), Some(5), "the marker does not make it newer");

    well(&mut world, "alice", commit_in(ALICE, 0, 8));
    well(&mut world, "bob", commit_in(BOB, 0, 9));
    world.mark(BOB, true);
    world.mark(ALICE, true);
    assert_eq!(committed(&world.group, 0), Some(9));
    assert_eq!(committed(&world.rebuilt(), 0), Some(9));
}

#[test]
fn a_transaction_may_commit_again_and_again() {
    let mut world = World::new();
    well(&mut world, "alice", commit_in(ALICE, 0, 7));
    well(&mut world, "alice", commit_in(ALICE, 0, 6));
    well(&mut world, "alice", commit_in(ALICE, 1, 1));
    world.group = world.rebuilt();
    world.mark(ALICE, true);
    assert_eq!((committed(&world.group, 0), committed(&world.group, 1)), (Some(6), Some(1)));
}

#[test]
fn what_is_on_its_way_is_unstable_already() {
    let mut world = World::new();
    world.slow = true;
    world.ask("alice", commit_in(ALICE, 0, 7));
    assert_eq!(stable(&mut world, 0), Lookup::Unstable, "its owner may be another one by now");
    world.ask("reader", Ask::FetchOffsets { topics: None, reader: None, stable: false });
    assert_eq!(world.heard("reader"), Ok(Answer::Offsets(vec![])));
    world.settle(Err(WriteError::Refused(TransactionError::Fenced)));
    assert_eq!(world.heard("alice"), Err(GroupError::Transaction(TransactionError::Fenced)));
    assert!(world.group.is_blank());
}

#[test]
fn a_transaction_may_overtake_and_be_overtaken() {
    let mut world = World::new();
    world.slow = true;
    world.ask("tool", commit("", -1, 0, 5));
    world.ask("alice", commit_in(ALICE, 0, 7));
    world.ask("tool", commit("", -1, 1, 6));
    world.settle_one(1, Ok(()));
    world.settle_one(1, Ok(()));
    world.settle_one(0, Ok(()));
    world.mark(ALICE, true);
    assert_eq!((committed(&world.group, 0), committed(&world.group, 1)), (Some(5), Some(6)));
    assert_eq!(committed(&world.rebuilt(), 0), Some(5));
}

#[test]
fn who_commits_for_a_member_has_to_be_one() {
    let mut world = World::new();
    let ids = world.stable(&["alice"]);
    let mut refused = |id: &str, generation| {
        world.ask("alice", as_member(ALICE, id, generation, 0, 5));
        world.heard("alice").unwrap_err()
    };
    assert_eq!(refused("stranger", 1), GroupError::UnknownMember);
    assert_eq!(refused(&ids[0], 0), GroupError::IllegalGeneration);
    assert_eq!(refused(&ids[0], -1), GroupError::IllegalGeneration);
    assert_eq!(
        Group::<&str>::absent(&as_member(ALICE, "x", 1, 0, 5)),
        Some(Err(GroupError::IllegalGeneration))
    );
    assert_eq!(Group::<&str>::absent(&commit_in(ALICE, 0, 5)), None, "a group without members is made");

    well(&mut world, "alice", as_member(ALICE, &ids[0], 1, 0, 5));
    well(&mut world, "old", commit_in(BOB, 0, 6));
    world.ask("bob", join("bob"));
    world.ask("alice", join_as("alice", &ids[0]));
    drop(world.joined("alice"));
    well(&mut world, "alice", as_member(ALICE, &ids[0], 2, 0, 6));
}

#[test]
fn a_member_of_the_consumer_protocol_commits_in_its_epoch() {
    let mut world = World::new();
    world.ask("ann", Ask::ConsumerHeartbeat(joining("ann", &["t1"], &image(&[1]))));
    drop(world.heard("ann"));
    world.ask("alice", as_member(ALICE, "ann", 7, 0, 5));
    assert_eq!(world.heard("alice"), Err(GroupError::IllegalGeneration), "a stale epoch, in older words");
    world.ask("alice", as_member(ALICE, "ben", 1, 0, 5));
    assert_eq!(world.heard("alice"), Err(GroupError::UnknownMember));
    well(&mut world, "alice", as_member(ALICE, "ann", 1, 0, 5));
}

#[test]
fn a_transactional_commit_is_no_sign_of_life() {
    let mut world = World::new();
    let ids = world.stable(&["alice"]);
    world.pass(9_999);
    well(&mut world, "alice", as_member(ALICE, &ids[0], 1, 0, 5));
    world.pass(1);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn pending_offsets_keep_what_would_expire() {
    let mut world = World::with(GroupConfig { retention_ms: 1_000, ..config() });
    for partition in [0, 1] {
        well(&mut world, "tool", commit("", -1, partition, 5));
    }
    well(&mut world, "alice", commit_in(ALICE, 0, 7));
    world.pass(5_000);
    world.step(|group, now, out| group.expire(now, out));
    assert_eq!((committed(&world.group, 0), committed(&world.group, 1)), (Some(5), None));
    world.mark(ALICE, false);
    world.step(|group, now, out| group.expire(now, out));
    assert!(world.group.is_blank() && world.rebuilt().is_blank());
}

#[test]
fn a_group_is_deleted_with_what_is_pending() {
    let mut world = World::new();
    let ids = world.stable(&["ann"]);
    world.ask("ann", leave(&ids[0]));
    well(&mut world, "alice", commit_in(ALICE, 0, 7));
    well(&mut world, "bob", commit_in(BOB, 0, 8));
    world.slow = true;
    world.ask("alice", commit_in(ALICE, 1, 1));
    world.ask("admin", Ask::Delete);
    world.ask("late", commit_in(BOB, 2, 3));
    // The one that was asked for last stands first in the log.
    world.settle_one(2, Ok(()));
    world.settle(Ok(()));
    assert_eq!(world.heard("admin"), Ok(Answer::Deleted));
    for producer in [ALICE, BOB] {
        world.mark(producer, true);
    }
    for group in [&world.group, &world.rebuilt()] {
        let all = [0, 1, 2].map(|partition| committed(group, partition));
        assert_eq!(all, [None, None, Some(3)], "what came after the deletion begins a new group");
    }
}

#[test]
fn offsets_are_deleted_with_what_is_pending() {
    let mut world = World::new();
    well(&mut world, "alice", commit_in(ALICE, 0, 7));
    world.ask("admin", Ask::DeleteOffsets { topics: vec![("t".into(), 0), ("t".into(), 1)] });
    assert_eq!(world.heard("admin"), Ok(Answer::OffsetsDeleted(vec![None, None])));
    world.mark(ALICE, true);
    assert_eq!((committed(&world.group, 0), committed(&world.rebuilt(), 0)), (None, None));

    well(&mut world, "alice", commit_in(ALICE, 0, 7));
    world.step(|group, _, out| group.forget_topics(&Image::new("cluster"), out));
    world.mark(ALICE, true);
    assert_eq!(
        (committed(&world.group, 0), committed(&world.rebuilt(), 0)),
        (None, None),
        "the topic is gone"
    );
}
