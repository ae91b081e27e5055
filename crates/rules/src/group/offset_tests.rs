//! Stories of committed offsets, and of groups that go.

use bytes::Bytes;

use super::{
    ask::{CommitOffset, CommitOffsets, Join},
    offsets::Lookup,
    tests::{World, commit, config, heartbeat, join, join_as, leave},
    *,
};
use crate::{ids::TopicId, records::OffsetValue};

pub(super) fn committed(group: &Group<&str>, partition: i32) -> Option<i64> {
    group.offsets.get("t", partition).map(|committed| committed.offset)
}

#[test]
fn commits_follow_the_rebalance() {
    let mut world = World::new();
    let ids = world.stable(&["alice"]);
    world.ask("bob", join("bob"));
    world.ask("alice", commit(&ids[0], 1, 0, 5));
    assert_eq!(world.heard("alice"), Ok(Answer::Committed(vec![None])), "while members are waited for");
    world.ask("alice", join_as("alice", &ids[0]));
    drop(world.joined("alice"));
    world.ask("alice", commit(&ids[0], 2, 0, 6));
    assert_eq!(world.heard("alice"), Err(GroupError::RebalanceInProgress), "while the leader assigns");
    assert_eq!(committed(&world.group, 0), Some(5));
}

#[test]
fn a_commit_is_seen_and_answered_once_it_is_safe() {
    let mut world = World::new();
    world.slow = true;
    world.ask("tool", commit("", -1, 0, 5));
    world.ask("tool", commit("", -1, 0, 6));
    assert!(world.waits("tool"));
    assert_eq!(committed(&world.group, 0), None);
    world.settle(Ok(()));
    assert_eq!(world.heard("tool"), Ok(Answer::Committed(vec![None])));
    assert_eq!(committed(&world.group, 0), Some(6));
    world.ask("tool", commit("", -1, 0, 7));
    drop(world.heard("tool"));
    world.settle(Err(WriteError::NotAvailable));
    assert_eq!(world.heard("tool"), Err(GroupError::NotAvailable));
    assert_eq!(committed(&world.group, 0), Some(6), "what is not in the log was never committed");
}

#[test]
fn too_much_text_with_an_offset_is_refused_for_that_offset() {
    let mut world = World::with(GroupConfig { metadata_bytes_max: 1, ..config() });
    let Ask::Commit(mut both) = commit("", -1, 0, 5) else { panic!() };
    both.offsets.push(CommitOffset { partition: 1, metadata: "mm".into(), ..both.offsets[0].clone() });
    world.ask("tool", Ask::Commit(both));
    let answer = vec![None, Some(GroupError::MetadataTooLarge)];
    assert_eq!(world.heard("tool"), Ok(Answer::Committed(answer)));
    assert_eq!((committed(&world.group, 0), committed(&world.group, 1)), (Some(5), None));
}

#[test]
fn the_text_with_an_offset_is_measured_as_java_does() {
    let mut world = World::with(GroupConfig { metadata_bytes_max: 2, ..config() });
    let mut check = |metadata: &str, refused| {
        let Ask::Commit(mut one) = commit("", -1, 0, 5) else { panic!() };
        one.offsets[0].metadata = metadata.into();
        world.ask("tool", Ask::Commit(one));
        assert_eq!(world.heard("tool"), Ok(Answer::Committed(vec![refused])), "{metadata}");
    };
    let too_large = || Some(GroupError::MetadataTooLarge);
    check("mm", None);
    check("mmm", too_large());
    check("水水", None);
    check("水水水", too_large());
    // Two units of UTF-16, for which four bytes are not too many; then four.
    check("𝄞", None);
    check("𝄞𝄞", too_large());
}

#[test]
fn offsets_of_an_empty_group_expire_and_the_group_with_them() {
    let mut world = World::with(GroupConfig { retention_ms: 1_000, ..config() });
    let ids = world.stable(&["alice"]);
    world.ask("alice", commit(&ids[0], 1, 0, 5));
    world.pass(5_000);
    world.step(|group, now, out| group.expire(now, out));
    assert_eq!(committed(&world.group, 0), Some(5), "the group reads the topic");
    world.ask("alice", leave(&ids[0]));
    world.pass(999);
    world.step(|group, now, out| group.expire(now, out));
    assert_eq!(committed(&world.group, 0), Some(5));
    world.pass(1);
    world.step(|group, now, out| group.expire(now, out));
    assert!(world.group.is_blank());
    assert!(world.rebuilt().is_blank(), "and it does not come back");
}

#[test]
fn a_new_coordinator_counts_from_when_the_group_became_empty() {
    let mut world = World::with(GroupConfig { retention_ms: 1_000, ..config() });
    let ids = world.stable(&["alice"]);
    world.ask("alice", commit(&ids[0], 1, 0, 5));
    world.pass(5_000);
    world.ask("alice", leave(&ids[0]));
    world.pass(600);
    world.group = world.rebuilt();
    world.pass(399);
    world.step(|group, now, out| group.expire(now, out));
    assert_eq!(committed(&world.group, 0), Some(5), "not from the commit");
    world.pass(1);
    world.step(|group, now, out| group.expire(now, out));
    assert!(world.group.is_blank(), "nor from when it was read again");
    assert!(world.rebuilt().is_blank());
}

#[test]
fn offsets_of_topics_that_are_no_longer_read_expire_alone() {
    let mut world = World::with(GroupConfig { retention_ms: 1_000, ..config() });
    let ids = world.stable(&["alice"]);
    let Ask::Commit(mut both) = commit(&ids[0], 1, 0, 5) else { panic!() };
    both.offsets.push(CommitOffset { topic: "old".into(), ..both.offsets[0].clone() });
    world.ask("alice", Ask::Commit(both));
    world.pass(1_000);
    world.step(|group, now, out| group.expire(now, out));
    assert_eq!(committed(&world.group, 0), Some(5));
    assert!(world.group.offsets.get("old", 0).is_none());
}

#[test]
fn what_is_old_expires_while_somebody_commits_elsewhere() {
    let mut world = World::with(GroupConfig { retention_ms: 1_000, ..config() });
    for partition in [0, 1] {
        world.ask("tool", commit("", -1, partition, 5));
    }
    world.pass(1_000);
    world.slow = true;
    world.ask("tool", commit("", -1, 0, 6));
    world.step(|group, now, out| group.expire(now, out));
    world.settle(Ok(()));
    assert_eq!((committed(&world.group, 0), committed(&world.group, 1)), (Some(6), None));
    let rebuilt = world.rebuilt();
    assert_eq!((committed(&rebuilt, 0), committed(&rebuilt, 1)), (Some(6), None));
}

#[test]
fn an_old_client_says_itself_how_long_offsets_are_kept() {
    let mut world = World::new();
    let Ask::Commit(asked) = commit("", -1, 0, 5) else { panic!() };
    world.ask("old", Ask::Commit(CommitOffsets { retention_ms: 10, ..asked }));
    world.pass(9);
    world.step(|group, now, out| group.expire(now, out));
    assert_eq!(committed(&world.group, 0), Some(5));
    world.pass(1);
    world.step(|group, now, out| group.expire(now, out));
    assert!(world.group.is_blank());
}

#[test]
fn a_group_that_is_deleted_does_not_come_back() {
    let mut world = World::new();
    let ids = world.stable(&["alice"]);
    world.ask("alice", commit(&ids[0], 1, 0, 5));
    world.ask("alice", leave(&ids[0]));
    assert_eq!(world.state(), "Empty");
    world.ask("admin", Ask::Delete);
    assert_eq!(world.heard("admin"), Ok(Answer::Deleted));
    assert!(world.group.is_blank() && world.rebuilt().is_blank());
    world.ask("admin", Ask::Delete);
    assert_eq!(world.heard("admin"), Err(GroupError::NotFound));
    world.ask("admin", Ask::Describe);
    assert_eq!(world.heard("admin"), Err(GroupError::NotFound));
}

#[test]
fn a_deletion_takes_what_is_on_its_way_with_it() {
    let mut world = World::new();
    world.slow = true;
    world.ask("tool", commit("", -1, 0, 5));
    world.ask("admin", Ask::Delete);
    world.settle(Ok(()));
    assert!(world.group.is_blank() && world.rebuilt().is_blank());
}

#[test]
fn offsets_of_topics_that_are_read_are_not_forgotten() {
    let mut world = World::new();
    let ids = world.stable(&["alice"]);
    world.ask("alice", commit(&ids[0], 1, 0, 5));
    drop(world.heard("alice"));
    let topics = vec![("t".to_owned(), 0), ("u".to_owned(), 0)];
    world.ask("admin", Ask::DeleteOffsets { topics: topics.clone() });
    let answer = vec![Some(GroupError::SubscribedToTopic), None];
    assert_eq!(world.heard("admin"), Ok(Answer::OffsetsDeleted(answer)));
    world.ask("alice", leave(&ids[0]));
    world.ask("admin", Ask::DeleteOffsets { topics });
    assert_eq!(world.heard("admin"), Ok(Answer::OffsetsDeleted(vec![None, None])));
    assert_eq!((committed(&world.group, 0), committed(&world.rebuilt(), 0)), (None, None));
}

#[test]
fn a_commit_on_its_way_is_forgotten_too() {
    let mut world = World::new();
    world.slow = true;
    world.ask("tool", commit("", -1, 0, 5));
    world.ask("admin", Ask::DeleteOffsets { topics: vec![("t".to_owned(), 0)] });
    assert!(world.waits("admin"), "it is in the log before what takes it back");
    world.settle(Ok(()));
    assert_eq!(world.heard("admin"), Ok(Answer::OffsetsDeleted(vec![None])));
    assert_eq!((committed(&world.group, 0), committed(&world.rebuilt(), 0)), (None, None));
}

#[test]
fn what_is_named_many_times_is_one_record() {
    let mut world = World::new();
    let Ask::Commit(mut many) = commit("", -1, 0, 5) else { panic!() };
    let first = many.offsets[0].clone();
    let said = |partition, offset| CommitOffset { partition, offset, ..first.clone() };
    many.offsets = vec![said(0, 1), said(1, 2), said(0, 3), said(1, 4), said(0, 5)];
    world.ask("tool", Ask::Commit(many));
    assert_eq!(world.heard("tool"), Ok(Answer::Committed(vec![None; 5])), "each has its answer");
    let both = |group: &Group<&str>| (committed(group, 0), committed(group, 1));
    assert_eq!((both(&world.group), both(&world.rebuilt())), ((Some(5), Some(4)), (Some(5), Some(4))));
    assert_eq!(world.log.len(), 2);
    world.ask("admin", Ask::DeleteOffsets { topics: vec![("t".to_owned(), 0); 3] });
    assert_eq!(world.heard("admin"), Ok(Answer::OffsetsDeleted(vec![None; 3])));
    assert_eq!((both(&world.rebuilt()), world.log.len()), ((None, Some(4)), 3));
}

#[test]
fn before_the_first_generation_topics_are_read_already() {
    let mut world = World::with(GroupConfig { initial_delay_ms: 3_000, ..config() });
    world.ask("tool", commit("", -1, 0, 1_000));
    drop(world.heard("tool"));
    world.ask("alice", join("alice"));
    assert!(forget(&mut world).iter().all(|told| *told == Some(GroupError::SubscribedToTopic)));
    assert_eq!(committed(&world.group, 0), Some(1_000));
}

#[test]
fn whoever_cannot_be_understood_may_read_anything() {
    let mut world = World::new();
    let Ask::Join(plain) = join("alice") else { panic!() };
    let protocols = vec![("range".to_owned(), Bytes::from_static(&[0xff]))];
    world.ask("alice", Ask::Join(Join { protocols, ..plain }));
    assert!(forget(&mut world).iter().all(|told| *told == Some(GroupError::SubscribedToTopic)));
}

/// Has the offsets of `t` and `u` forgotten; what is said to each.
fn forget(world: &mut World) -> Vec<Option<GroupError>> {
    let topics = ["t", "u"].map(|topic| (topic.to_owned(), 0)).into();
    world.ask("admin", Ask::DeleteOffsets { topics });
    let Ok(Answer::OffsetsDeleted(answer)) = world.heard("admin") else { panic!("refused") };
    answer
}

#[test]
fn a_deleted_topic_takes_its_offsets_with_it() {
    let mut world = World::new();
    world.ask("tool", commit("", -1, 0, 5));
    world.step(|group, _, out| group.forget_topics(&Image::new("cluster"), out));
    assert_eq!((committed(&world.group, 0), committed(&world.rebuilt(), 0)), (None, None));
    world.step(|group, now, out| group.expire(now, out));
    assert!(world.group.is_blank() && world.rebuilt().is_blank());
}

#[test]
fn a_deleted_topic_takes_with_it_what_is_on_its_way() {
    let mut world = World::new();
    world.slow = true;
    world.ask("tool", commit("", -1, 0, 5));
    world.step(|group, _, out| group.forget_topics(&Image::new("cluster"), out));
    world.settle(Ok(()));
    assert_eq!(world.heard("tool"), Ok(Answer::Committed(vec![None])));
    assert_eq!((committed(&world.group, 0), committed(&world.rebuilt(), 0)), (None, None));
}

#[test]
fn a_group_outlives_its_last_offset_until_the_next_look_for_old_ones() {
    let mut world = World::new();
    let forget = || Ask::DeleteOffsets { topics: vec![("t".to_owned(), 0)] };
    world.ask("tool", commit("", -1, 0, 5));
    for _ in 0..2 {
        world.ask("admin", forget());
        assert_eq!(world.heard("admin"), Ok(Answer::OffsetsDeleted(vec![None])), "gone, or gone already");
        assert_eq!((committed(&world.group, 0), world.state()), (None, "Empty"));
    }
    world.group = world.rebuilt();
    assert_eq!(world.state(), "Empty", "to a new coordinator too");
    world.step(|group, now, out| group.expire(now, out));
    assert!(world.group.is_blank() && world.rebuilt().is_blank());
    world.ask("admin", forget());
    assert_eq!(world.heard("admin"), Err(GroupError::NotFound));
}

#[test]
fn groups_that_are_not_there_say_so() {
    let absent = |ask: &Ask| Group::<&str>::absent(ask);
    assert_eq!(absent(&join("x")), None);
    assert_eq!(absent(&join_as("x", "id")), Some(Err(GroupError::UnknownMember)));
    assert_eq!(absent(&heartbeat("x", 1)), Some(Err(GroupError::UnknownMember)));
    assert_eq!(absent(&leave("x")), Some(Ok(Answer::Left(vec![Err(GroupError::UnknownMember)]))));
    assert_eq!(absent(&commit("", -1, 0, 0)), None);
    assert_eq!(absent(&commit("x", 1, 0, 0)), Some(Err(GroupError::IllegalGeneration)));
    assert_eq!(absent(&Ask::Describe), Some(Err(GroupError::NotFound)));
    for reader in [None, Some(("member".to_owned(), 3))] {
        let asked = Ask::FetchOffsets { topics: Some(vec![("t".into(), vec![0])]), reader, stable: true };
        let Some(Ok(Answer::Offsets(fetched))) = absent(&asked) else { panic!() };
        assert_eq!(fetched[0].partitions, [(0, Lookup::Nothing)]);
    }
}

#[test]
fn a_committed_offset_comes_back_with_all_that_was_said_with_it() {
    let mut world = World::new();
    world.ask("tool", commit("", -1, 4, 5));
    drop(world.heard("tool"));
    world.group = world.rebuilt();
    world.ask("tool", Ask::FetchOffsets { topics: None, reader: None, stable: true });
    let Ok(Answer::Offsets(fetched)) = world.heard("tool") else { panic!() };
    let (partition, Lookup::Offset(committed)) = &fetched[0].partitions[0] else { panic!() };
    assert_eq!((*partition, committed.offset, committed.leader_epoch, &*committed.metadata), (4, 5, 3, "m"));
    assert!(matches!(&fetched[0].partitions[0].1, Lookup::Offset(it) if it.topic_id == TopicId([1; 16])));
}

#[test]
fn an_offset_takes_little_memory() {
    assert!(size_of::<super::offsets::Committed>() <= 72, "{}", size_of::<super::offsets::Committed>());
    let mut offsets = Offsets::default();
    let value = OffsetValue {
        offset: 1,
        leader_epoch: 0,
        metadata: String::new(),
        commit_timestamp: 0,
        expire_timestamp: -1,
        topic_id: TopicId::ZERO,
    };
    (0..3).for_each(|index| offsets.put("t", index, value.clone(), Offset(0)));
    offsets.put("t", 1, value, Offset(1));
    assert_eq!(offsets.len(), 3);
    offsets.remove("t", 9);
    (0..3).for_each(|index| offsets.remove("t", index));
    assert!(offsets.is_empty());
}
