//! Stories of members that wait, and of static ones that come back as somebody else.

use bytes::Bytes;

use super::{
    ask::Join,
    tests::{World, heartbeat, join, join_as, plain_join, sync},
    *,
};

#[test]
fn who_waits_for_its_assignment_is_not_silent() {
    let mut world = World::new();
    world.ask("alice", join("alice"));
    let alice = world.joined("alice").member_id;
    world.ask("bob", join("bob"));
    world.ask("alice", join_as("alice", &alice));
    drop(world.joined("alice"));
    let bob = world.joined("bob").member_id;
    world.ask("bob", sync(&bob, 2, vec![]));

    // The leader takes longer than bob's session of 10 s to say who gets what, and sends heartbeats meanwhile.
    for _ in 0..3 {
        world.pass(7_000);
        world.ask("alice", heartbeat(&alice, 2));
        assert_eq!(world.heard("alice"), Ok(Answer::Alive));
    }
    assert!(world.waits("bob"));
    world.ask("alice", sync(&alice, 2, vec![(bob.clone(), Bytes::from_static(b"all"))]));

    assert!(matches!(world.heard("bob"), Ok(Answer::Synced { assignment, .. }) if assignment == "all"));
    world.ask("bob", heartbeat(&bob, 2));
    assert_eq!(world.heard("bob"), Ok(Answer::Alive));
}

/// The static member `i`, and its ways of assigning, the one it likes best first.
fn named(client: &str, protocols: &[&str]) -> Ask {
    let protocols = protocols.iter().map(|name| ((*name).into(), Bytes::from_static(b"opaque"))).collect();
    Ask::Join(Join { instance_id: Some("i".into()), protocols, ..plain_join(client) })
}

#[test]
fn a_static_member_that_assigns_in_another_way_begins_a_rebalance() {
    let mut world = World::new();
    world.ask("alice", named("alice", &["range", "sticky"]));
    let alice = world.joined("alice").member_id;
    world.ask("alice", sync(&alice, 1, vec![]));
    drop(world.heard("alice"));

    world.ask("again", named("again", &["sticky", "range"]));

    let again = world.joined("again");
    assert_eq!((again.generation, again.skip_assignment), (2, false));
    assert_eq!((again.leader, world.state()), (again.member_id, "CompletingRebalance"));
}

#[test]
fn a_static_member_that_comes_back_before_the_assignment_begins_anew() {
    let mut world = World::new();
    world.ask("alice", named("alice", &["range"]));
    assert_eq!(world.joined("alice").generation, 1);

    world.ask("again", named("again", &["range"]));

    assert_eq!(world.joined("again").generation, 2);
}
