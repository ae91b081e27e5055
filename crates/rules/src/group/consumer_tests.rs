//! Stories of groups that speak the consumer protocol.

use std::sync::Arc;

use super::{
    ask::{Beat, ConsumerHeartbeat, Leaver},
    offset_tests::committed,
    tests::{World, commit, config, join, leave},
    *,
};
use crate::{
    cluster::{Change, Image, Partition},
    ids::{LeaderEpoch, NodeId, TopicId},
    records::TopicPartitions,
};

pub(super) fn id_of(topic: u8) -> TopicId {
    TopicId([topic; 16])
}

/// Topics `t1`, `t2`, ... with so many partitions.
pub(super) fn image(partitions: &[i32]) -> Arc<Image> {
    let mut image = Image::new("cluster");
    for (topic, count) in (1..).zip(partitions) {
        let node = NodeId(1);
        let one = Partition {
            leader: node,
            epoch: LeaderEpoch(0),
            incarnation: 0,
            isr: vec![node],
            replicas: vec![node],
        };
        image.apply(&Change::TopicCreated {
            id: id_of(topic),
            name: format!("t{topic}"),
            partitions: vec![one; *count as usize],
            configs: Default::default(),
        });
    }
    // Two images of different partitions are different images.
    for _ in 0..partitions.iter().sum() {
        image.apply(&Change::ProducerIdsTaken { first: crate::ids::ProducerId(0), count: 0 });
    }
    Arc::new(image)
}

pub(super) fn beat(member: &str, epoch: i32, image: &Arc<Image>) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        member_id: member.to_owned(),
        makes_its_id: true,
        member_epoch: epoch,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: None,
        topic_names: None,
        topic_regex: None,
        server_assignor: None,
        owned: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        image: image.clone(),
        chance: [7; 16],
    }
}

pub(super) fn joining(member: &str, topics: &[&str], image: &Arc<Image>) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        rebalance_timeout_ms: Some(60_000),
        topic_names: Some(topics.iter().map(|topic| (*topic).to_owned()).collect()),
        owned: Some(vec![]),
        ..beat(member, 0, image)
    }
}

/// Partitions of `t1`.
fn parts(partitions: &[i32]) -> Vec<TopicPartitions> {
    if partitions.is_empty() {
        return vec![];
    }
    vec![TopicPartitions { topic_id: id_of(1), partitions: partitions.to_vec() }]
}

fn owning(member: &str, epoch: i32, partitions: &[i32], image: &Arc<Image>) -> ConsumerHeartbeat {
    ConsumerHeartbeat { owned: Some(parts(partitions)), ..beat(member, epoch, image) }
}

impl World {
    #[track_caller]
    pub(super) fn beats(&mut self, beat: ConsumerHeartbeat) -> Beat {
        self.ask("member", Ask::ConsumerHeartbeat(beat));
        match self.heard("member") {
            Ok(Answer::Beat(beat)) => beat,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(super) fn refuses(&mut self, beat: ConsumerHeartbeat) -> GroupError {
        self.ask("member", Ask::ConsumerHeartbeat(beat));
        self.heard("member").unwrap_err()
    }
}

#[test]
fn a_lone_member_gets_everything_and_shares_it_with_the_next() {
    let (mut world, image) = (World::with(config()), image(&[4]));
    let a = world.beats(joining("a", &["t1"], &image));
    assert_eq!((a.member_epoch, a.assignment), (1, Some(parts(&[0, 1, 2, 3]))));
    assert_eq!(world.beats(owning("a", 1, &[0, 1, 2, 3], &image)).assignment, None);

    let b = world.beats(joining("b", &["t1"], &image));
    assert_eq!((b.member_epoch, b.assignment), (2, Some(vec![])), "what a owns is not given to b");
    assert_eq!(world.state(), "Reconciling");
    let a = world.beats(beat("a", 1, &image));
    assert_eq!((a.member_epoch, a.assignment), (1, Some(parts(&[0, 1]))), "a is told what to keep");
    assert_eq!(world.beats(beat("b", 2, &image)).assignment, None, "a has not let go yet");
    let a = world.beats(owning("a", 1, &[0, 1], &image));
    assert_eq!((a.member_epoch, a.assignment), (2, None));
    let b = world.beats(beat("b", 2, &image));
    assert_eq!((b.member_epoch, b.assignment), (2, Some(parts(&[2, 3]))));
    assert_eq!(world.state(), "Stable");
}

#[test]
fn what_a_member_is_told_is_safe_before() {
    let (mut world, image) = (World::with(config()), image(&[2]));
    world.slow = true;
    world.ask("a", Ask::ConsumerHeartbeat(joining("a", &["t1"], &image)));
    assert!(world.waits("a"));
    world.settle(Ok(()));
    assert!(matches!(world.heard("a"), Ok(Answer::Beat(_))));
    world.ask("a", Ask::ConsumerHeartbeat(owning("a", 1, &[0, 1], &image)));
    assert!(matches!(world.heard("a"), Ok(Answer::Beat(_))), "nothing was said that would have to be safe");
}

#[test]
fn a_new_coordinator_disturbs_nobody() {
    let (mut world, image) = (World::with(config()), image(&[4]));
    world.beats(joining("a", &["t1"], &image));
    world.beats(joining("b", &["t1"], &image));
    world.beats(beat("a", 1, &image));
    world.group = world.rebuilt();
    assert_eq!(world.state(), "Reconciling");
    assert_eq!(world.beats(beat("b", 2, &image)).assignment, None);
    assert_eq!(world.beats(owning("a", 1, &[0, 1], &image)).member_epoch, 2);
    assert_eq!(world.beats(beat("b", 2, &image)).assignment, Some(parts(&[2, 3])));
    world.group = world.rebuilt();
    let a = world.beats(owning("a", 2, &[0, 1], &image));
    assert_eq!((a.member_epoch, a.assignment, world.state()), (2, None, "Stable"));
}

#[test]
fn a_member_that_does_not_let_go_is_expelled() {
    let (mut world, image) = (World::with(config()), image(&[2]));
    world.beats(joining("a", &["t1"], &image));
    world.beats(joining("b", &["t1"], &image));
    world.beats(beat("a", 1, &image));
    for _ in 0..6 {
        world.pass(10_000);
        world.ask("a", Ask::ConsumerHeartbeat(owning("a", 1, &[0, 1], &image)));
        world.ask("b", Ask::ConsumerHeartbeat(beat("b", 2, &image)));
    }
    world.answers.clear();
    assert_eq!(world.refuses(owning("a", 1, &[0, 1], &image)), GroupError::UnknownMember);
    assert_eq!(world.beats(joining_again("b", &image)).assignment, Some(parts(&[0, 1])));
}

/// A full heartbeat of a member that stays.
fn joining_again(member: &str, image: &Arc<Image>) -> ConsumerHeartbeat {
    let epoch = 3;
    ConsumerHeartbeat { member_epoch: epoch, owned: Some(parts(&[0, 1])), ..joining(member, &["t1"], image) }
}

#[test]
fn a_silent_member_is_expelled_and_its_partitions_are_free() {
    let (mut world, image) = (World::with(config()), image(&[2]));
    world.beats(joining("a", &["t1"], &image));
    world.pass(44_999);
    world.beats(joining("b", &["t1"], &image));
    world.pass(1);
    assert_eq!(world.beats(beat("b", 2, &image)).assignment, Some(parts(&[0, 1])));
    assert_eq!(world.refuses(beat("a", 1, &image)), GroupError::UnknownMember);
}

#[test]
fn new_partitions_and_new_topics_are_given_out() {
    let mut world = World::with(config());
    world.beats(joining("a", &["t1", "t2"], &image(&[1])));
    let a = world.beats(beat("a", 1, &image(&[3])));
    assert_eq!((a.member_epoch, a.assignment), (2, Some(parts(&[0, 1, 2]))));
    let a = world.beats(beat("a", 2, &image(&[3, 1])));
    assert_eq!((a.member_epoch, a.assignment.map(|topics| topics.len())), (3, Some(2)));
}

#[test]
fn patterns_are_looked_up_by_the_broker_and_again_when_topics_come() {
    let mut world = World::with(config());
    let by_pattern = |pattern: &str, image: &Arc<Image>| ConsumerHeartbeat {
        topic_regex: Some(pattern.into()),
        topic_names: None,
        ..joining("a", &[], image)
    };
    assert!(matches!(world.refuses(by_pattern("(", &image(&[1]))), GroupError::InvalidRegex(_)));
    let a = world.beats(by_pattern("t.", &image(&[1])));
    assert_eq!(a.assignment, Some(parts(&[0])));
    let a = world.beats(beat("a", a.member_epoch, &image(&[1, 1])));
    assert_eq!(a.assignment.map(|topics| topics.len()), Some(2));
    let mut other = World::with(config());
    assert_eq!(other.beats(by_pattern("t", &image(&[1]))).assignment, Some(vec![]), "the whole name matches");
}

#[test]
fn who_says_in_full_that_it_subscribes_by_a_pattern_is_told_in_full_what_it_has() {
    let mut world = World::with(config());
    let image = image(&[2]);
    let full = |epoch| ConsumerHeartbeat {
        topic_regex: Some("t.".into()),
        topic_names: None,
        rebalance_timeout_ms: Some(60_000),
        owned: Some(vec![]),
        ..beat("a", epoch, &image)
    };
    let a = world.beats(full(0));
    assert_eq!(a.assignment, Some(parts(&[0, 1])));
    // The answer was lost: the member says again all that it knows.
    assert_eq!(world.beats(full(a.member_epoch)).assignment, Some(parts(&[0, 1])));
}

#[test]
fn a_pattern_finds_the_brokers_own_topics_too() {
    let mut image = Image::clone(&image(&[1]));
    let partitions = image.topic_named("t1").unwrap().partitions.clone();
    let name = crate::topic::CONSUMER_OFFSETS.to_owned();
    image.apply(&Change::TopicCreated { id: id_of(9), name, partitions, configs: Default::default() });
    let image = Arc::new(image);
    let mut world = World::with(config());
    let pattern = ConsumerHeartbeat {
        topic_regex: Some("__consumer_off.*".into()),
        topic_names: None,
        ..joining("a", &[], &image)
    };
    let told = world.beats(pattern).assignment;
    assert_eq!(told, Some(vec![TopicPartitions { topic_id: id_of(9), partitions: vec![0] }]));
}

#[test]
fn a_static_member_that_restarts_has_what_it_had() {
    let (mut world, image) = (World::with(config()), image(&[2]));
    let named = |beat: ConsumerHeartbeat| ConsumerHeartbeat { instance_id: Some("i".into()), ..beat };
    world.beats(named(joining("a", &["t1"], &image)));
    assert_eq!(world.refuses(named(joining("b", &["t1"], &image))), GroupError::UnreleasedInstance);
    assert_eq!(world.beats(named(beat("a", -2, &image))).member_epoch, -2);
    world.group = world.rebuilt();
    let b = world.beats(named(joining("b", &["t1"], &image)));
    assert_eq!((b.member_epoch, b.assignment), (1, Some(parts(&[0, 1]))), "no new epoch");
    assert_eq!(world.refuses(named(beat("a", 1, &image))), GroupError::FencedInstance);
    world.group = world.rebuilt();
    assert_eq!(world.beats(named(beat("b", 1, &image))).member_epoch, 1);
    let by_name = vec![Leaver { member_id: String::new(), instance_id: Some("i".into()) }];
    world.ask("admin", Ask::Leave(by_name));
    assert_eq!(world.heard("admin"), Ok(Answer::Left(vec![Ok(())])));
    assert_eq!(world.state(), "Empty");
}

#[test]
fn restarts_do_not_lengthen_how_long_a_static_member_may_be_away() {
    let (mut world, image) = (World::with(config()), image(&[2]));
    let named = |beat: ConsumerHeartbeat| ConsumerHeartbeat { instance_id: Some("i".into()), ..beat };
    world.beats(named(joining("a", &["t1"], &image)));
    world.beats(named(beat("a", -2, &image)));
    // A broker that is killed every ten seconds.
    for _ in 0..4 {
        world.pass(10_000);
        world.group = world.rebuilt();
        assert_eq!(world.state(), "Stable", "it may still be back");
    }
    world.pass(5_000);
    assert_eq!(world.state(), "Empty");

    // One that was down for longer than the session: whoever was away has the time of one heartbeat.
    world.beats(named(joining("b", &["t1"], &image)));
    world.beats(named(beat("b", -2, &image)));
    world.now.wall_ms += 3_600_000;
    world.group = world.rebuilt();
    world.pass(4_999);
    assert_eq!(world.state(), "Stable");
    let c = world.beats(named(joining("c", &["t1"], &image)));
    assert_eq!(c.assignment, Some(parts(&[0, 1])), "in time");
    world.pass(44_999);
    assert_eq!(world.state(), "Stable", "whoever is back has a whole session");
    world.pass(1);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn a_static_member_that_leaves_for_a_while_has_let_go_of_what_it_was_giving_up() {
    let (mut world, image) = (World::with(config()), image(&[4]));
    let named = |beat: ConsumerHeartbeat| ConsumerHeartbeat { instance_id: Some("i".into()), ..beat };
    world.beats(named(joining("a", &["t1"], &image)));
    world.beats(joining("b", &["t1"], &image));
    assert_eq!(world.beats(named(beat("a", 1, &image))).assignment, Some(parts(&[0, 1])));
    assert_eq!(world.beats(beat("b", 2, &image)).assignment, None, "a has not let go yet");

    world.beats(named(beat("a", -2, &image)));

    assert_eq!(world.beats(beat("b", 2, &image)).assignment, Some(parts(&[2, 3])));
    world.group = world.rebuilt();
    let a = world.beats(named(joining("a2", &["t1"], &image)));
    assert_eq!((a.member_epoch, a.assignment), (2, Some(parts(&[0, 1]))), "what it kept is there for it");
    assert_eq!(world.beats(owning("b", 2, &[2, 3], &image)).member_epoch, 2);
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    let (mut world, image) = (World::with(config()), image(&[2]));
    world.beats(joining("a", &["t1"], &image));
    let again = world.beats(joining("a", &["t1"], &image));
    assert_eq!((again.member_epoch, again.assignment), (1, Some(parts(&[0, 1]))));
    let ahead = world.refuses(beat("a", 9, &image));
    assert_eq!(ahead, GroupError::FencedMemberEpoch { is: 1, got: 9 });
}

#[test]
fn what_is_wrong_with_a_first_heartbeat_is_said() {
    let (mut world, image) = (World::with(config()), image(&[1]));
    let good = joining("a", &["t1"], &image);
    for bad in [
        ConsumerHeartbeat { rebalance_timeout_ms: None, ..good.clone() },
        ConsumerHeartbeat { topic_names: None, ..good.clone() },
        ConsumerHeartbeat { owned: None, ..good.clone() },
        ConsumerHeartbeat { owned: Some(parts(&[0])), ..good.clone() },
        ConsumerHeartbeat { member_id: String::new(), ..good.clone() },
        ConsumerHeartbeat { instance_id: Some(String::new()), ..good.clone() },
        ConsumerHeartbeat { member_epoch: -3, ..good.clone() },
    ] {
        assert!(matches!(world.refuses(bad.clone()), GroupError::InvalidRequest(_)), "{bad:?}");
    }
    let unknown = ConsumerHeartbeat { server_assignor: Some("best".into()), ..good.clone() };
    assert_eq!(world.refuses(unknown), GroupError::UnsupportedAssignor("uniform, range".into()));
    assert!(world.group.is_blank(), "none of them made a group");
    let old = ConsumerHeartbeat { member_id: String::new(), makes_its_id: false, ..good };
    assert_eq!(world.beats(old).member_id.len(), 22);
}

#[test]
fn commits_are_those_of_members_in_their_epoch() {
    let (mut world, image) = (World::with(config()), image(&[1]));
    world.beats(joining("a", &["t1"], &image));
    let new = |member: &str, epoch: i32, offset: i64| {
        let Ask::Commit(commit) = commit(member, epoch, 0, offset) else { panic!() };
        Ask::Commit(ask::CommitOffsets { knows_group_errors: true, ..commit })
    };
    for (ask, answer) in [
        (new("a", 1, 5), Ok(Answer::Committed(vec![None]))),
        (new("a", 0, 6), Err(GroupError::StaleMemberEpoch)),
        (new("b", 1, 6), Err(GroupError::UnknownMember)),
        (new("", -1, 6), Err(GroupError::UnknownMember)),
        (commit("a", 1, 0, 6), Err(GroupError::UnsupportedVersion)),
        (commit("a", 9, 0, 6), Err(GroupError::UnsupportedVersion)),
        (
            Ask::FetchOffsets { topics: None, reader: Some(("a".into(), 0)), stable: false },
            Err(GroupError::StaleMemberEpoch),
        ),
    ] {
        world.ask("a", ask);
        assert_eq!(world.heard("a"), answer);
    }
    assert_eq!(committed(&world.group, 0), Some(5));
    let forget = || Ask::DeleteOffsets { topics: vec![("t".into(), 0), ("t1".into(), 0)] };
    world.ask("admin", forget());
    let read = Some(GroupError::SubscribedToTopic);
    assert_eq!(world.heard("admin"), Ok(Answer::OffsetsDeleted(vec![None, read])));
    world.beats(beat("a", -1, &image));
    world.ask("admin", forget());
    assert_eq!(world.heard("admin"), Ok(Answer::OffsetsDeleted(vec![None, None])));
    world.ask("admin", new("", -1, 7));
    assert_eq!(world.heard("admin"), Ok(Answer::Committed(vec![None])), "of an empty group anybody may");
}

#[test]
fn an_empty_group_goes_over_to_the_other_protocol() {
    let no_migration = GroupConfig { upgrades: false, downgrades: false, ..config() };
    let (mut world, image) = (World::with(no_migration), image(&[1]));
    world.ask("alice", join("alice"));
    let id = world.joined("alice").member_id;
    assert_eq!(world.refuses(beat("a", 1, &image)), GroupError::WrongType("consumer"));
    world.ask("alice", leave(&id));
    world.answers.clear();
    world.beats(joining("a", &["t1"], &image));
    assert_eq!(world.group.summary().unwrap().kind, "consumer");
    world.ask("alice", join("alice"));
    assert_eq!(world.heard("alice"), Err(GroupError::InconsistentProtocol));
    world.group = world.rebuilt();
    world.ask("admin", Ask::Describe);
    assert_eq!(world.heard("admin"), Err(GroupError::WrongType("classic")));
    world.beats(beat("a", -1, &image));
    world.ask("alice", join("alice"));
    assert_eq!(world.joined("alice").generation, 1);
    let left = world.rebuilt().summary().unwrap();
    assert_eq!(left.kind, "classic", "nothing of the other protocol is left in the log");
}

#[test]
fn an_empty_consumer_group_is_deleted_or_expires() {
    let (mut world, image) = (World::with(config()), image(&[1]));
    world.beats(joining("a", &["t1"], &image));
    world.ask("admin", Ask::Delete);
    assert_eq!(world.heard("admin"), Err(GroupError::NonEmpty));
    world.step(|group, now, out| group.expire(now, out));
    assert_eq!(world.state(), "Stable");
    world.beats(beat("a", -1, &image));
    world.step(|group, now, out| group.expire(now, out));
    assert!(world.group.is_blank() && world.rebuilt().is_blank());
}

/// Of `t1`, `t2` and `t3`: whether the offsets are kept because somebody reads the topic.
fn subscribed(world: &mut World) -> Vec<bool> {
    let topics = ["t1", "t2", "t3"].map(|topic| (topic.to_owned(), 0)).into();
    world.ask("admin", Ask::DeleteOffsets { topics });
    let Ok(Answer::OffsetsDeleted(answer)) = world.heard("admin") else { panic!("refused") };
    answer.iter().map(|refused| *refused == Some(GroupError::SubscribedToTopic)).collect()
}

#[test]
fn what_only_those_read_who_have_left_is_read_no_more() {
    let (mut world, topics) = (World::with(config()), image(&[1, 1, 1]));
    let pattern = ConsumerHeartbeat {
        topic_regex: Some("t[23]".into()),
        topic_names: None,
        ..joining("c", &[], &topics)
    };
    world.beats(joining("a", &["t1"], &topics));
    world.beats(joining("b", &["t1", "t2"], &topics));
    world.beats(pattern);
    assert_eq!(subscribed(&mut world), [true, true, true]);
    world.beats(beat("c", -1, &topics));
    assert_eq!(subscribed(&mut world), [true, true, false]);
    world.ask("b", leave("b"));
    assert_eq!(subscribed(&mut world), [true, false, false]);

    // That is no change of the topics as well: one epoch per departure, and none for what comes later.
    assert_eq!(world.beats(beat("a", 1, &topics)).member_epoch, 5);
    assert_eq!(world.beats(beat("a", 5, &image(&[1, 1, 1, 1]))).member_epoch, 5);
}

#[test]
fn what_is_set_for_the_group_counts_from_the_next_heartbeat_on() {
    let (mut world, topics) = (World::with(config()), image(&[2]));
    assert_eq!(world.beats(joining("a", &["t1"], &topics)).interval_ms, 5000);
    let mut set = (*topics).clone();
    let configs = [("consumer.heartbeat.interval.ms", "6000"), ("consumer.session.timeout.ms", "50000")];
    let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    set.apply(&Change::GroupConfigured { group: "g".into(), configs });
    let set = Arc::new(set);
    assert_eq!(world.beats(beat("a", 1, &set)).interval_ms, 6000);
    world.pass(49_999);
    assert_eq!(world.group.summary().unwrap().state, "Stable");
    world.pass(1);
    assert_eq!(world.group.summary().unwrap().state, "Empty");
    let mut unset = (*set).clone();
    unset.apply(&Change::GroupConfigured { group: "g".into(), configs: Default::default() });
    let unset = Arc::new(unset);
    assert_eq!(world.beats(joining("a", &["t1"], &unset)).interval_ms, 5000, "taken back");
}

#[test]
fn what_a_member_has_had_since_then_it_commits_in_an_old_epoch_too() {
    let (mut world, topics) = (World::with(config()), image(&[4]));
    world.beats(joining("a", &["t1"], &topics));
    world.beats(joining("b", &["t1"], &topics));
    world.beats(beat("a", 1, &topics));
    assert_eq!(world.beats(owning("a", 1, &[0, 1], &topics)).member_epoch, 2);
    assert_eq!(world.beats(beat("b", 2, &topics)).assignment, Some(parts(&[2, 3])));
    world.group = world.rebuilt();
    world.group.follow(topics.clone());
    let stale = Err(GroupError::StaleMemberEpoch);
    for (who, epoch, partition, answer) in [
        ("a", 1, 0, Ok(Answer::Committed(vec![None]))),
        ("a", 1, 2, stale.clone()),
        ("a", 0, 0, stale.clone()),
        ("a", 3, 0, stale.clone()),
        ("b", 1, 2, stale),
        ("b", 2, 2, Ok(Answer::Committed(vec![None]))),
    ] {
        let Ask::Commit(commit) = commit(who, epoch, partition, 7) else { panic!() };
        world.ask(who, Ask::Commit(ask::CommitOffsets { knows_group_errors: true, ..commit }));
        assert_eq!(world.heard(who), answer, "{who} in {epoch}, partition {partition}");
    }
}

#[test]
fn the_racks_of_members_change_nothing() {
    let (mut world, topics) = (World::with(config()), image(&[4]));
    let in_rack = |member: &str, rack: &str| ConsumerHeartbeat {
        rack_id: Some(rack.to_owned()),
        ..joining(member, &["t1"], &topics)
    };
    world.beats(in_rack("a", "r1"));
    assert_eq!(world.beats(in_rack("b", "r2")).member_epoch, 2);
    assert_eq!(world.beats(beat("a", 1, &topics)).assignment, Some(parts(&[0, 1])));
    let moved = ConsumerHeartbeat { rack_id: Some("r2".to_owned()), ..owning("a", 1, &[0, 1], &topics) };
    assert_eq!(world.beats(moved).member_epoch, 2, "no new epoch for another rack");
}

#[test]
fn a_heartbeat_that_writes_nothing_is_answered_behind_what_was_said_before() {
    let (mut world, image) = (World::with(config()), image(&[2]));
    world.beats(joining("a", &["t1"], &image));
    world.slow = true;
    world.ask("b", Ask::ConsumerHeartbeat(joining("b", &["t1"], &image)));
    world.ask("a", Ask::ConsumerHeartbeat(beat("a", 1, &image)));
    world.ask("a again", Ask::ConsumerHeartbeat(beat("a", 1, &image)));
    world.ask("x", Ask::ConsumerHeartbeat(beat("x", 1, &image)));
    assert_eq!(world.heard("x"), Err(GroupError::UnknownMember), "a refusal waits for nothing");
    assert!(world.waits("a again"));

    world.settle_one(0, Ok(()));
    assert!(world.waits("a again"), "what it is told is in what was said last");
    world.settle_one(0, Ok(()));
    assert!(matches!(world.heard("a again"), Ok(Answer::Beat(_))));

    world.ask("a", Ask::ConsumerHeartbeat(owning("a", 1, &[0], &image)));
    world.ask("a again", Ask::ConsumerHeartbeat(beat("a", 2, &image)));
    world.settle(Err(WriteError::NotHere));
    assert_eq!(world.heard("a again"), Err(GroupError::NotCoordinator));
}
