//! Stories of records that take longer than anybody waits.

use super::{
    consumer_tests::{beat, image, joining},
    offset_tests::committed,
    pending_tests::commit_in,
    tests::{World, commit, heartbeat, join, join_as, sync},
    *,
};

impl World {
    /// The records at this place of those on their way take too long.
    pub(super) fn late(&mut self, at: usize) {
        let ticket = self.writing[at].ticket;
        self.step(|group, now, out| group.late(ticket, now, out));
    }
}

#[test]
fn a_commit_that_takes_long_counts_once_it_is_safe() {
    let mut world = World::new();
    world.slow = true;
    world.ask("tool", commit("", -1, 0, 5));
    world.late(0);
    assert_eq!(world.heard("tool"), Err(GroupError::NotAvailable));
    assert_eq!(committed(&world.group, 0), None);

    world.settle(Ok(()));

    assert!(world.answers.is_empty(), "nobody is answered twice");
    assert_eq!(committed(&world.group, 0), Some(5));
    assert_eq!(committed(&world.rebuilt(), 0), Some(5));
}

#[test]
fn what_failed_after_it_was_late_never_was() {
    let mut world = World::new();
    world.slow = true;
    world.ask("tool", commit("", -1, 0, 5));
    world.late(0);
    drop(world.heard("tool"));
    world.settle(Err(WriteError::NotHere));
    assert!(world.answers.is_empty());
    assert_eq!(committed(&world.group, 0), None);
    assert!(world.group.is_blank());
}

#[test]
fn an_offset_of_a_transaction_that_is_late_stays_unstable() {
    let mut world = World::new();
    world.slow = true;
    world.ask("tool", commit_in(ProducerId(1), 0, 5));
    world.late(0);
    assert_eq!(world.heard("tool"), Err(GroupError::NotAvailable));
    assert!(world.group.unstable().contains(&("t", 0)));
    world.settle(Ok(()));
    world.mark(ProducerId(1), true);
    assert_eq!(committed(&world.group, 0), Some(5));
}

#[test]
fn a_generation_that_is_late_is_told_to_who_asks_again() {
    let mut world = World::new();
    world.slow = true;
    world.ask("alice", join("alice"));
    world.late(0);
    assert_eq!(world.heard("alice"), Err(GroupError::NotAvailable));
    world.settle(Ok(()));
    let Members::Classic(classic) = &world.group.members else { panic!() };
    let id = classic.describe().members.remove(0).member_id;
    world.ask("alice", join_as("alice", &id));
    assert_eq!(world.joined("alice").generation, 1);
    world.ask("alice", sync(&id, 1, vec![]));
    world.late(0);
    assert_eq!(world.heard("alice"), Err(GroupError::NotAvailable));
    world.settle(Ok(()));
    world.ask("alice", heartbeat(&id, 1));
    assert_eq!((world.heard("alice"), world.state()), (Ok(Answer::Alive), "Stable"));
}

#[test]
fn who_asks_behind_what_is_late_does_not_wait_either() {
    let mut world = World::new();
    let image = image(&[1]);
    world.slow = true;
    world.ask("alice", Ask::ConsumerHeartbeat(joining("alice", &["t1"], &image)));
    world.ask("alice again", Ask::ConsumerHeartbeat(beat("alice", 1, &image)));
    assert!(world.waits("alice again"));
    world.late(0);
    world.ask("alice at last", Ask::ConsumerHeartbeat(beat("alice", 1, &image)));
    for who in ["alice", "alice again", "alice at last"] {
        assert_eq!(world.heard(who), Err(GroupError::NotAvailable), "{who}");
    }
    world.settle(Ok(()));
    assert_eq!(world.group.describe_consumer(), world.rebuilt().describe_consumer());
    world.ask("alice", Ask::ConsumerHeartbeat(beat("alice", 1, &image)));
    assert!(world.heard("alice").is_ok());
}

#[test]
fn who_asks_for_assignments_that_are_late_waits_no_longer_than_those_before() {
    let mut world = World::new();
    world.ask("alice", join("alice"));
    let id = world.joined("alice").member_id;
    world.slow = true;
    let assignment = vec![(id.clone(), bytes::Bytes::from_static(b"all"))];
    world.ask("alice", sync(&id, 1, assignment.clone()));
    world.late(0);
    assert_eq!(world.heard("alice"), Err(GroupError::NotAvailable));
    // There may be no end of it: it is told so at once, and says nothing that is not under way already.
    for _ in 0..2 {
        world.ask("alice", sync(&id, 1, assignment.clone()));
        assert_eq!(world.heard("alice"), Err(GroupError::NotAvailable));
    }
    assert_eq!(world.writing.len(), 1);
    world.settle(Ok(()));
    assert!(world.answers.is_empty(), "nobody is answered twice");
    world.ask("alice", sync(&id, 1, vec![]));
    assert!(matches!(world.heard("alice"), Ok(Answer::Synced { assignment, .. }) if assignment == "all"));

    // The next generation has assignments of its own.
    world.ask("bob", join("bob"));
    world.ask("alice", join_as("alice", &id));
    world.settle(Ok(()));
    let (leader, bob) = (world.joined("alice"), world.joined("bob").member_id);
    assert_eq!((leader.generation, &leader.leader), (2, &id));
    world.ask("bob", sync(&bob, 2, vec![]));
    assert!(world.waits("bob"), "nothing is late");
}
