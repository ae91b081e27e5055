//! Stories of members that wait, and of static ones that come back as somebody else.

use bytes::Bytes;

use super::{
    ask::{Join, Leaver},
    tests::{World, commit, config, heartbeat, join, join_as, leave, plain_join, static_join, sync},
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

/// So many ways of assigning that nobody would wait for all of them to be compared with each other, and `range` as the last.
pub(super) fn very_many(prefix: &str, metadata: &Bytes) -> Vec<(String, Bytes)> {
    let names = (0..200_000).map(|at| format!("{prefix}{at}")).chain(["range".to_owned()]);
    names.map(|name| (name, metadata.clone())).collect()
}

#[test]
fn members_that_name_very_many_protocols_hold_nobody_up() {
    let mut world = World::new();
    let named = |prefix, name| Join { protocols: very_many(prefix, &Bytes::new()), ..plain_join(name) };
    world.ask("alice", Ask::Join(named("a", "alice")));
    let alice = world.joined("alice");
    assert_eq!(alice.protocol.as_deref(), Some("a0"), "what it likes best");
    world.ask("bob", Ask::Join(named("b", "bob")));
    world.ask("alice", Ask::Join(Join { member_id: alice.member_id, ..named("a", "alice") }));
    assert_eq!(world.joined("bob").protocol.as_deref(), Some("range"), "the only one that both support");
}

#[test]
fn who_asks_again_before_its_first_generation_waits_as_long_as_before() {
    let mut world = World::new();
    world.ask("alice", join("alice"));
    let alice = world.joined("alice").member_id;
    let patient = Join { id_first: true, ..plain_join("bob") };
    world.ask("bob", Ask::Join(patient));
    let Err(GroupError::MemberIdRequired(bob)) = world.heard("bob") else { panic!("an id first") };
    for _ in 0..2 {
        world.ask("bob", join_as("bob", &bob));
    }
    assert_eq!(
        world.heard("bob"),
        Err(GroupError::RebalanceInProgress),
        "the second is the one it waits for"
    );

    // Alice takes longer than bob's session of 10 s to come, and sends heartbeats meanwhile.
    for _ in 0..3 {
        world.pass(7_000);
        world.ask("alice", heartbeat(&alice, 1));
        assert_eq!(world.heard("alice"), Err(GroupError::RebalanceInProgress));
    }
    world.ask("alice", join_as("alice", &alice));

    assert_eq!((world.joined("bob").generation, world.joined("alice").members.len()), (2, 2));
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

#[test]
fn what_members_are_told_of_a_generation_is_safe_before() {
    let mut world = World::new();
    world.slow = true;
    world.ask("alice", join("alice"));
    assert!(world.waits("alice"));
    world.settle(Ok(()));
    assert_eq!(world.joined("alice").generation, 1);

    world.ask("bob", join("bob"));
    world.ask("alice", join_as("alice", "nobody"));
    assert_eq!(world.heard("alice"), Err(GroupError::UnknownMember), "a refusal waits for nothing");
    world.pass(60_000);
    world.settle(Err(WriteError::NotHere));
    assert_eq!(world.heard("bob"), Err(GroupError::NotCoordinator));
}

#[test]
fn a_generation_that_has_no_assignments_yet_is_known_to_a_new_coordinator() {
    let mut world = World::new();
    let ids = world.stable(&["alice", "bob"]);
    world.ask("carol", join("carol"));
    world.ask("alice", join_as("alice", &ids[0]));
    world.ask("bob", join_as("bob", &ids[1]));
    let carol = world.joined("carol").member_id;
    assert_eq!((world.joined("alice").generation, world.joined("bob").generation), (3, 3));

    // The leader has not said yet who gets what.
    world.group = world.rebuilt();

    world.ask("bob", heartbeat(&ids[1], 3));
    assert_eq!(
        world.heard("bob"),
        Err(GroupError::RebalanceInProgress),
        "and not that there was no such generation"
    );
    world.ask("bob", commit(&ids[1], 3, 0, 7));
    assert_eq!(
        world.heard("bob"),
        Ok(Answer::Committed(vec![None])),
        "what it kept over the rebalance is its own"
    );
    world.ask("alice", sync(&ids[0], 3, vec![]));
    assert_eq!(world.heard("alice"), Err(GroupError::RebalanceInProgress));
    for (name, id) in [("alice", &ids[0]), ("bob", &ids[1]), ("carol", &carol)] {
        world.ask(name, join_as(name, id));
    }
    assert_eq!((world.joined("carol").generation, world.joined("alice").members.len()), (4, 3));
}

#[test]
fn a_member_that_asks_once_more_is_not_told_of_a_generation_before_it_is_safe() {
    let mut world = World::new();
    let ids = world.stable(&["alice"]);
    world.slow = true;
    world.ask("alice", join_as("alice", &ids[0]));
    world.ask("alice again", join_as("alice", &ids[0]));
    assert!(world.waits("alice again"));

    world.settle(Ok(()));

    assert_eq!((world.joined("alice").generation, world.joined("alice again").generation), (2, 2));
    world.ask("alice", join_as("alice", &ids[0]));
    assert_eq!(world.joined("alice").generation, 2, "from then on it is told at once");
}

#[test]
fn a_generation_that_could_not_be_written_is_nobodys() {
    let mut world = World::new();
    let ids = world.stable(&["alice"]);
    world.slow = true;
    world.ask("alice", join_as("alice", &ids[0]));
    world.settle(Err(WriteError::NotAvailable));
    assert!(world.heard("alice").is_err());

    world.ask("alice", join_as("alice", &ids[0]));
    assert!(world.waits("alice"), "it begins anew, and is written");
    world.settle(Ok(()));

    assert_eq!(world.joined("alice").generation, 3);
}

#[test]
fn who_leaves_before_the_first_protocol_is_agreed_on_poisons_no_group_for_a_new_coordinator() {
    let mut world = World::with(GroupConfig { initial_delay_ms: 3_000, ..config() });
    world.ask("alice", join("alice"));
    world.pass(3_000);
    let id = world.joined("alice").member_id;
    world.ask("alice", leave(&id));
    assert_eq!((world.heard("alice"), world.state()), (Ok(Answer::Left(vec![Ok(())])), "Empty"));

    // A generation was there, and the next has no protocol yet when one of those who join leaves again.
    world.ask("bob", join("bob"));
    world.ask("carol", static_join("carol"));
    world.ask("admin", Ask::Leave(vec![Leaver { member_id: String::new(), instance_id: Some("i".into()) }]));
    assert_eq!(world.heard("admin"), Ok(Answer::Left(vec![Ok(())])));
    world.group = world.rebuilt();
    world.answers.clear();

    world.ask("bob", join("bob"));
    world.pass(3_000);
    assert_eq!(world.joined("bob").generation, 3, "or whom nobody can go with is waited for");
}
