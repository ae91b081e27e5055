//! Stories of groups that go over to the other protocol, and back, with their members.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    ask::{Heartbeat, Join, Leaver, Sync},
    consumer_tests::{beat, id_of, image, joining},
    member_tests::very_many,
    tests::{World, config},
    *,
};
use crate::{
    ids::TopicId,
    records::{TopicPartitions, protocol::Assignment},
};

/// What a consumer says that subscribes to `t1`, version 1, with what it still owns of it.
pub(super) fn subscription(owned: &[i32]) -> Bytes {
    let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 2, b't', b'1', 0xff, 0xff, 0xff, 0xff];
    bytes.extend(i32::from(!owned.is_empty()).to_be_bytes());
    if !owned.is_empty() {
        bytes.extend([0, 2, b't', b'1']);
        bytes.extend((owned.len() as i32).to_be_bytes());
        owned.iter().for_each(|index| bytes.extend(index.to_be_bytes()));
    }
    bytes.into()
}

pub(super) fn join(member: &str, owned: &[i32]) -> Join {
    Join {
        member_id: member.to_owned(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), subscription(owned))],
        id_first: false,
        can_skip: true,
        chance: [9; 16],
    }
}

fn static_join(instance: &str) -> Join {
    let chance = [instance.len() as u8; 16];
    Join { instance_id: Some(instance.to_owned()), chance, ..join("", &[]) }
}

pub(super) fn sync(member: &str, generation: i32, assignments: Vec<(String, Bytes)>) -> Sync {
    Sync {
        member_id: member.to_owned(),
        instance_id: None,
        generation,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        assignments,
    }
}

pub(super) fn given(partitions: &[i32]) -> Bytes {
    let partitions = vec![("t1".to_owned(), partitions.to_vec())];
    Assignment { partitions, has_user_data: false }.encode(1)
}

pub(super) fn heartbeat(member: &str, generation: i32) -> Ask {
    Ask::Heartbeat(Heartbeat { member_id: member.to_owned(), instance_id: None, generation })
}

fn parts(partitions: &[i32]) -> Vec<TopicPartitions> {
    vec![TopicPartitions { topic_id: id_of(1), partitions: partitions.to_vec() }]
}

/// What `who` is given by SyncGroup, partitions of `t1`.
#[track_caller]
fn synced(world: &mut World, who: &'static str, member: &str, generation: i32) -> Vec<i32> {
    world.ask(who, Ask::Sync(sync(member, generation, vec![])));
    match world.heard(who) {
        Ok(Answer::Synced { assignment, .. }) => {
            let read = Assignment::decode(&assignment).expect("an assignment");
            read.partitions.into_iter().flat_map(|(_, indexes)| indexes).collect()
        }
        other => panic!("{who} heard {other:?}"),
    }
}

#[track_caller]
pub(super) fn says(world: &mut World, who: &'static str, ask: Ask, with: Outcome) {
    world.ask(who, ask);
    assert_eq!(world.heard(who), with);
}

pub(super) fn kind(world: &World) -> (&'static str, &'static str) {
    let summary = world.group.summary().expect("a group");
    (summary.kind, summary.state)
}

/// A classic group of two who share the four partitions of `t1`; their ids.
pub(super) fn two_classic(config: GroupConfig, topics: &Arc<Image>) -> (World, String, String) {
    let mut world = World::with(config);
    world.group.follow(topics.clone());
    world.ask("a", Ask::Join(join("", &[])));
    let a = world.joined("a").member_id;
    world.ask("b", Ask::Join(Join { chance: [8; 16], ..join("", &[]) }));
    world.ask("a", Ask::Join(join(&a, &[])));
    let (first, b) = (world.joined("a"), world.joined("b").member_id);
    assert_eq!(first.generation, 2);
    let assignments = vec![(a.clone(), given(&[0, 1])), (b.clone(), given(&[2, 3]))];
    world.ask("a", Ask::Sync(sync(&a, 2, assignments)));
    world.ask("b", Ask::Sync(sync(&b, 2, vec![])));
    assert!(world.heard("a").is_ok() && world.heard("b").is_ok());
    (world, a, b)
}

#[test]
fn a_rolling_upgrade_moves_partitions_one_owner_at_a_time() {
    let topics = image(&[4]);
    let (mut world, a, b) = two_classic(config(), &topics);
    assert_eq!(kind(&world), ("classic", "Stable"));
    let c = world.beats(joining("c", &["t1"], &topics));
    assert_eq!((c.member_epoch, c.assignment), (3, Some(vec![])), "all is owned by a and b");
    assert_eq!(kind(&world), ("consumer", "Reconciling"));
    says(&mut world, "a", heartbeat(&a, 2), Err(GroupError::RebalanceInProgress));
    // Cooperative: it joins with what it has, hears what it keeps, lets go, and joins again.
    world.ask("a", Ask::Join(join(&a, &[0, 1])));
    let joined = world.joined("a");
    assert_eq!((joined.generation, joined.leader.as_str(), joined.members.len()), (2, "", 0));
    assert_eq!(synced(&mut world, "a", &a, 2), [0]);
    assert_eq!(world.beats(beat("c", 3, &topics)).assignment, None, "a has not let go yet");
    world.ask("a", Ask::Join(join(&a, &[0])));
    assert_eq!(world.joined("a").generation, 3);
    assert_eq!(synced(&mut world, "a", &a, 3), [0]);
    assert_eq!(world.beats(beat("c", 3, &topics)).assignment, Some(parts(&[1])));
    // Eager: it lets go of everything before it joins.
    says(&mut world, "b", heartbeat(&b, 2), Err(GroupError::RebalanceInProgress));
    world.ask("b", Ask::Join(join(&b, &[])));
    assert_eq!(world.joined("b").generation, 3);
    assert_eq!(synced(&mut world, "b", &b, 3), [2, 3]);
    says(&mut world, "a", heartbeat(&a, 3), Ok(Answer::Alive));
    assert_eq!(kind(&world), ("consumer", "Stable"));
    let Ok(Answer::ConsumerDescribed(described)) = world.group.describe_consumer() else { panic!() };
    let classic: Vec<_> = described.members.iter().map(|it| it.described.classic.is_some()).collect();
    assert_eq!(classic.iter().filter(|is| **is).count(), 2);
}

#[test]
fn whoever_waits_for_a_rebalance_joins_the_group_that_it_becomes() {
    let topics = image(&[4]);
    let (mut world, a, b) = two_classic(config(), &topics);
    world.ask("a", Ask::Join(join(&a, &[0, 1])));
    assert!(world.waits("a"), "b has not joined yet");
    world.beats(joining("c", &["t1"], &topics));
    assert_eq!(world.heard("a"), Err(GroupError::RebalanceInProgress));
    says(&mut world, "b", heartbeat(&b, 1), Err(GroupError::IllegalGeneration));
    says(&mut world, "b", heartbeat(&b, 2), Err(GroupError::RebalanceInProgress));
}

#[test]
fn what_members_still_own_in_a_rebalance_nobody_else_gets() {
    let topics = image(&[4]);
    let (mut world, a, b) = two_classic(config(), &topics);
    for (who, id, owned) in [("a", &a, [0, 1]), ("b", &b, [2, 3])] {
        world.ask(who, Ask::Join(join(id, &owned)));
    }
    let (a_joined, _) = (world.joined("a"), world.joined("b"));
    // The leader takes 1 from a, and while that is on its way into the log somebody comes by the other protocol.
    world.slow = true;
    let assignments = vec![(a.clone(), given(&[0])), (b.clone(), given(&[2, 3]))];
    let leads = a_joined.leader == a;
    let (leader, who) = if leads { (&a, "a") } else { (&b, "b") };
    world.ask(who, Ask::Sync(sync(leader, 3, assignments)));
    world.ask("c", Ask::ConsumerHeartbeat(joining("c", &["t1"], &topics)));
    world.settle(Ok(()));
    world.slow = false;
    let Ok(Answer::Beat(c)) = world.heard("c") else { panic!() };
    assert_eq!(c.assignment, Some(vec![]), "a still reads 1");
    assert_eq!(world.heard(who), Err(GroupError::RebalanceInProgress));
}

#[test]
fn the_last_to_leave_takes_the_protocol_with_it() {
    let topics = image(&[4]);
    let (mut world, a, b) = two_classic(config(), &topics);
    world.beats(joining("c", &["t1"], &topics));
    for (who, id) in [("a", &a), ("b", &b)] {
        world.ask(who, Ask::Join(join(id, &[])));
        assert_eq!(world.joined(who).generation, 3);
        synced(&mut world, who, id, 3);
    }
    world.beats(beat("c", 3, &topics));
    assert_eq!(world.beats(beat("c", -1, &topics)).member_epoch, -1);
    assert_eq!(kind(&world), ("classic", "PreparingRebalance"));
    says(&mut world, "a", heartbeat(&a, 3), Err(GroupError::RebalanceInProgress));
    // A new coordinator goes on with the rebalance: nobody reads what c had.
    world.group = world.rebuilt();
    world.group.follow(topics);
    assert_eq!(kind(&world), ("classic", "PreparingRebalance"));
    for (who, id) in [("a", &a), ("b", &b)] {
        world.ask(who, Ask::Join(join(id, &[])));
    }
    assert_eq!((world.joined("a").generation, world.joined("b").generation), (4, 4));
}

#[test]
fn an_expired_member_takes_the_protocol_with_it_too() {
    let topics = image(&[4]);
    let (mut world, a, b) = two_classic(config(), &topics);
    world.beats(joining("c", &["t1"], &topics));
    world.pass(23_000);
    for (who, id) in [("a", &a), ("b", &b)] {
        world.ask(who, Ask::Join(join(id, &[])));
        assert_eq!(world.joined(who).generation, 3);
        synced(&mut world, who, id, 3);
    }
    world.pass(23_000);
    assert_eq!(kind(&world), ("classic", "PreparingRebalance"));
}

#[test]
fn a_static_member_changes_its_protocol_without_a_rebalance() {
    let topics = image(&[4]);
    let mut world = World::with(config());
    world.group.follow(topics.clone());
    for (who, instance) in [("a", "i"), ("b", "ii")] {
        world.ask(who, Ask::Join(static_join(instance)));
    }
    let a = world.joined("a").member_id;
    world.ask("a", Ask::Join(Join { member_id: a.clone(), ..static_join("i") }));
    let (a, b) = (world.joined("a").member_id, world.joined("b").member_id);
    let assignments = vec![(a.clone(), given(&[0, 1])), (b.clone(), given(&[2, 3]))];
    world.ask("a", Ask::Sync(Sync { instance_id: Some("i".into()), ..sync(&a, 2, assignments) }));
    world.ask("b", Ask::Sync(Sync { instance_id: Some("ii".into()), ..sync(&b, 2, vec![]) }));
    world.answers.clear();
    // Up: the new process takes over what the old one had.
    let up = joining("n", &["t1"], &topics);
    let up = world.beats(ask::ConsumerHeartbeat { instance_id: Some("i".into()), ..up });
    assert_eq!(up.assignment, Some(parts(&[0, 1])));
    assert_eq!(kind(&world).0, "consumer");
    // Down again: it is the last of its kind, and nothing moves.
    world.ask("a", Ask::Join(static_join("i")));
    let down = world.joined("a");
    assert_eq!(kind(&world).0, "classic");
    world.ask(
        "a",
        Ask::Sync(Sync { instance_id: Some("i".into()), ..sync(&down.member_id, down.generation, vec![]) }),
    );
    let Ok(Answer::Synced { assignment, .. }) = world.heard("a") else { panic!() };
    assert_eq!(assignment, given(&[0, 1]));
}

#[test]
fn who_does_not_join_again_in_time_is_expelled() {
    let topics = image(&[4]);
    let (mut world, a, b) = two_classic(config(), &topics);
    world.beats(joining("c", &["t1"], &topics));
    says(&mut world, "a", heartbeat(&a, 2), Err(GroupError::RebalanceInProgress));
    world.ask("b", Ask::Join(join(&b, &[])));
    assert_eq!(world.joined("b").generation, 3);
    for _ in 0..3 {
        world.pass(20_000);
        // Both say that they live: a does not join, b does not ask for its assignment.
        world.ask("a", heartbeat(&a, 2));
        world.ask("b", heartbeat(&b, 3));
        world.answers.clear();
        world.beats(beat("c", 3, &topics));
    }
    says(&mut world, "a", heartbeat(&a, 2), Err(GroupError::UnknownMember));
    says(&mut world, "b", heartbeat(&b, 3), Err(GroupError::UnknownMember));
}

#[test]
fn a_replayed_group_is_the_group() {
    let topics = image(&[4]);
    let (mut world, a, b) = two_classic(config(), &topics);
    world.beats(joining("c", &["t1"], &topics));
    world.ask("a", Ask::Join(join(&a, &[0, 1])));
    world.answers.clear();
    world.group = world.rebuilt();
    world.group.follow(topics.clone());
    assert_eq!(kind(&world), ("consumer", "Reconciling"));
    assert_eq!(world.beats(beat("c", 3, &topics)).assignment, None, "a has not let go yet");
    says(&mut world, "b", heartbeat(&b, 2), Err(GroupError::RebalanceInProgress));
    assert_eq!(synced(&mut world, "a", &a, 2), [0]);
    world.pass(30_000);
    says(&mut world, "a", heartbeat(&a, 2), Err(GroupError::UnknownMember));
}

#[test]
fn the_policy_decides() {
    let topics = image(&[4]);
    let (mut world, ..) = two_classic(GroupConfig { upgrades: false, ..config() }, &topics);
    let why = |world: &mut World| match world.refuses(joining("c", &["t1"], &topics)) {
        GroupError::CannotUpgrade(why) => why,
        other => panic!("{other}"),
    };
    assert_eq!(why(&mut world), "online upgrade is disabled");
    let (mut world, a, b) = two_classic(GroupConfig { downgrades: false, ..config() }, &topics);
    world.beats(joining("c", &["t1"], &topics));
    world.beats(beat("c", -1, &topics));
    assert_eq!(kind(&world).0, "consumer", "who is left goes on as it is");
    says(&mut world, "a", heartbeat(&a, 2), Err(GroupError::RebalanceInProgress));
    let left = [&a, &b].map(|id| Leaver { member_id: id.clone(), instance_id: None });
    says(&mut world, "a", Ask::Leave(left.into()), Ok(Answer::Left(vec![Ok(()), Ok(())])));
    assert_eq!(kind(&world), ("consumer", "Empty"));
    let settled = GroupConfig { upgrades: false, downgrades: false, ..config() };
    let mut world = World::with(settled);
    world.beats(joining("c", &["t1"], &topics));
    says(&mut world, "a", Ask::Join(join("", &[])), Err(GroupError::InconsistentProtocol));
}

#[test]
fn classic_members_that_name_very_many_protocols_hold_nobody_up() {
    let (mut world, topics) = (World::with(config()), image(&[4]));
    world.beats(joining("c", &["t1"], &topics));
    for (who, chance) in [("a", [8; 16]), ("b", [9; 16])] {
        let protocols = very_many(who, &subscription(&[]));
        world.ask(who, Ask::Join(Join { protocols, chance, ..join("", &[]) }));
        assert_eq!(world.joined(who).protocol, Some(format!("{who}0")));
    }
    let protocols = vec![("roundrobin".to_owned(), subscription(&[]))];
    let stranger = Ask::Join(Join { protocols, chance: [7; 16], ..join("", &[]) });
    says(&mut world, "stranger", stranger, Err(GroupError::InconsistentProtocol));
}

#[test]
fn who_cannot_be_understood_stays_what_it_is() {
    let topics = image(&[4]);
    let mut world = World::with(config());
    world.group.follow(topics.clone());
    world.ask("a", Ask::Join(Join { protocol_type: "connect".into(), ..join("", &[]) }));
    let refused = world.refuses(joining("c", &["t1"], &topics));
    assert_eq!(
        refused,
        GroupError::CannotUpgrade("the group does not use the consumer embedded protocol".into())
    );
    let mut world = World::with(config());
    world.group.follow(topics.clone());
    let protocols = vec![("range".to_owned(), Bytes::from_static(b"x"))];
    world.ask("a", Ask::Join(Join { protocols, ..join("", &[]) }));
    let refused = world.refuses(joining("c", &["t1"], &topics));
    assert_eq!(refused, GroupError::CannotUpgrade("the embedded consumer protocol is malformed".into()));
    let (mut world, a, b) = two_classic(GroupConfig { consumer_members_max: 2, ..config() }, &topics);
    assert_eq!(world.refuses(joining("c", &["t1"], &topics)), GroupError::MaxSizeReached);
    assert_eq!(kind(&world), ("classic", "Stable"), "nothing has changed");
    says(&mut world, "a", heartbeat(&a, 2), Ok(Answer::Alive));
    says(&mut world, "b", heartbeat(&b, 2), Ok(Answer::Alive));
}

/// As Kafka's `ConsumerGroup.fromClassicGroup`. librdkafka's `cooperative-sticky` adds bytes from its second assignment on.
#[test]
fn what_an_assignor_has_added_is_not_thrown_away() {
    let topics = image(&[4]);
    let (mut world, a, b) = two_classic(config(), &topics);
    world.ask("b", Ask::Join(join(&b, &[2, 3])));
    world.ask("a", Ask::Join(join(&a, &[0, 1])));
    assert_eq!((world.joined("a").generation, world.joined("b").generation), (3, 3));
    let given_more = given(&[2, 3]);
    let added = [&given_more[..given_more.len() - 4], &[0, 0, 0, 1, 7]].concat();
    let assignments = vec![(a.clone(), given(&[0, 1])), (b.clone(), added.into())];
    world.ask("a", Ask::Sync(sync(&a, 3, assignments)));
    world.ask("b", Ask::Sync(sync(&b, 3, vec![])));
    assert!(world.heard("a").is_ok() && world.heard("b").is_ok());

    let refused = world.refuses(joining("c", &["t1"], &topics));
    assert_eq!(refused, GroupError::CannotUpgrade("an unsupported custom assignor is in use".into()));
    assert_eq!(kind(&world), ("classic", "Stable"), "nothing has changed");
    says(&mut world, "a", heartbeat(&a, 3), Ok(Answer::Alive));
    says(&mut world, "b", heartbeat(&b, 3), Ok(Answer::Alive));
}

#[test]
fn members_of_both_kinds_commit() {
    let topics = image(&[4]);
    let (mut world, a, _) = two_classic(config(), &topics);
    world.beats(joining("c", &["t1"], &topics));
    let commit = |member: &str, generation: i32, knows_group_errors: bool| {
        Ask::Commit(ask::CommitOffsets {
            member_id: member.to_owned(),
            instance_id: None,
            generation,
            knows_group_errors,
            retention_ms: -1,
            offsets: vec![],
            transaction: None,
        })
    };
    says(&mut world, "a", commit(&a, 2, false), Ok(Answer::Committed(vec![])));
    says(&mut world, "a", commit(&a, 9, true), Err(GroupError::IllegalGeneration));
    says(&mut world, "c", commit("c", 3, true), Ok(Answer::Committed(vec![])));
    says(&mut world, "c", commit("c", 3, false), Err(GroupError::UnsupportedVersion));
    says(&mut world, "c", commit("c", 9, true), Err(GroupError::StaleMemberEpoch));
}

#[test]
fn a_topic_that_is_gone_is_left_out_of_assignments() {
    let topics = image(&[4]);
    let (mut world, a, _) = two_classic(config(), &topics);
    world.beats(joining("c", &["t1"], &topics));
    world.ask("a", Ask::Join(join(&a, &[])));
    assert_eq!(world.joined("a").generation, 3);
    let mut none = (*topics).clone();
    none.apply(&crate::cluster::Change::TopicDeleted { id: TopicId([1; 16]) });
    world.group.follow(Arc::new(none));
    assert_eq!(synced(&mut world, "a", &a, 3), Vec::<i32>::new());
}
