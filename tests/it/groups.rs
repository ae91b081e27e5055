//! Consumer groups over sockets: joined, committed, restarted, killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use ottla_wire::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use ottla_wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use ottla_wire::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use ottla_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ottla_wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ottla_wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use ottla_wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use ottla_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ottla_wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
};
use ottla_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};
use ottla_wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

use crate::broker::{Broker, PATIENCE, data_dir};
use crate::client::{Client, batch};

pub(crate) const AT_ONCE: &[&str] = &["group.initial.rebalance.delay.ms=0"];
pub(crate) const LOADING: i16 = 14;

/// A client that has found the coordinator of its group.
pub(crate) fn found(broker: &Broker) -> Client {
    let mut client = broker.client();
    let request = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    let answer: FindCoordinatorResponse = client.ask(4, &request);
    let coordinator = &answer.coordinators[0];
    assert_eq!((coordinator.error_code, coordinator.port), (0, i32::from(broker.address.port())));
    client
}

pub(crate) fn join_request(member_id: &str, instance: Option<&str>) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member_id.into(),
        group_instance_id: instance.map(Into::into),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"),
        }],
        ..Default::default()
    }
}

fn join(client: &mut Client, member_id: &str, instance: Option<&str>) -> JoinGroupResponse {
    client.ask(9, &join_request(member_id, instance))
}

pub(crate) fn sync_request(member: &str, generation: i32, assigned: &[&str]) -> SyncGroupRequest {
    let assignments = assigned.iter().map(|id| SyncGroupRequestAssignment {
        member_id: (*id).into(),
        assignment: Bytes::from(format!("for {id}")),
    });
    SyncGroupRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: member.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments.collect(),
        ..Default::default()
    }
}

fn sync(client: &mut Client, member: &str, generation: i32, assigned: &[&str]) -> SyncGroupResponse {
    client.ask(5, &sync_request(member, generation, assigned))
}

pub(crate) fn heartbeat(client: &mut Client, member: &str, generation: i32) -> i16 {
    let (group_id, member_id) = ("g".into(), member.into());
    let request = HeartbeatRequest { group_id, generation_id: generation, member_id, ..Default::default() };
    client.ask::<_, HeartbeatResponse>(4, &request).error_code
}

/// A stable group of one member; its id.
pub(crate) fn alone(client: &mut Client) -> String {
    let id = join(client, "", None);
    assert_eq!(id.error_code, 79, "MEMBER_ID_REQUIRED");
    let joined = join(client, &id.member_id, None);
    assert_eq!((joined.error_code, joined.generation_id, joined.members.len()), (0, 1, 1));
    let synced = sync(client, &id.member_id, 1, &[&id.member_id]);
    assert_eq!(synced.assignment, format!("for {}", id.member_id));
    id.member_id
}

pub(crate) fn commit_request(member: &str, generation: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        committed_leader_epoch: 7,
        committed_metadata: Some("note".into()),
    };
    let topic =
        OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        topics: vec![topic],
        ..Default::default()
    }
}

fn commit(client: &mut Client, member: &str, generation: i32, offset: i64) -> i16 {
    let answer: OffsetCommitResponse = client.ask(8, &commit_request(member, generation, offset));
    answer.topics[0].partitions[0].error_code
}

/// The committed offset of the only partition; asks again while the coordinator still loads.
pub(crate) fn committed(client: &mut Client) -> (i64, i32, String) {
    committed_of(client, "g")
}

/// The same of another group.
fn committed_of(client: &mut Client, group: &str) -> (i64, i32, String) {
    let topic =
        OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
    let group =
        OffsetFetchRequestGroup { group_id: group.into(), topics: Some(vec![topic]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    loop {
        let answer: OffsetFetchResponse = client.ask(8, &request);
        let group = &answer.groups[0];
        if group.error_code == LOADING {
            continue;
        }
        assert_eq!(group.error_code, 0);
        let it = &group.topics[0].partitions[0];
        assert_eq!(it.error_code, 0);
        return (it.committed_offset, it.committed_leader_epoch, it.metadata.clone().unwrap());
    }
}

#[test]
fn whoever_asks_first_has_the_offsets_topic_made() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["offsets.topic.num.partitions=7"]);
    let mut client = found(&broker);
    let topic = client.describe("__consumer_offsets");
    assert_eq!((topic.error_code, topic.is_internal, topic.partitions.len()), (0, true, 7));
    let both =
        FindCoordinatorRequest { coordinator_keys: vec!["g".into(), "h".into()], ..Default::default() };
    let answer: FindCoordinatorResponse = client.ask(4, &both);
    let found: Vec<_> =
        answer.coordinators.iter().map(|found| (found.key.as_str(), found.error_code)).collect();
    assert_eq!(found, [("g", 0), ("h", 0)]);
    let refused = FindCoordinatorRequest { key: "id".into(), key_type: 2, ..Default::default() };
    let answer: FindCoordinatorResponse = client.ask(3, &refused);
    assert_eq!((answer.error_code, answer.node_id), (42, -1), "share groups are not served yet");
    let id =
        client.send(9, &crate::client::produce_request("__consumer_offsets", 0, 1, Some(batch(&["no"]))));
    assert_eq!(client.produced(id).error_code, 17, "clients do not write to it");
}

/// Where the clients of two kinds of coordinators all come at once, on connections of their own, nobody has made the topics.
#[test]
fn many_who_ask_first_have_each_topic_made_once() {
    let (_around, dir) = data_dir();
    let settings = ["offsets.topic.num.partitions=3", "transaction.state.log.num.partitions=3"];
    let broker = Broker::start(&dir, &settings);
    let topics = ["__consumer_offsets", "__transaction_state"];
    let start = Barrier::new(12);
    let ask = &|number: usize| {
        let mut client = broker.client();
        let kind = number % 2;
        let request = FindCoordinatorRequest {
            key_type: i8::try_from(kind).unwrap(),
            coordinator_keys: vec![format!("id-{number}")],
            ..Default::default()
        };
        start.wait();
        let deadline = Instant::now() + PATIENCE;
        while client.ask::<_, FindCoordinatorResponse>(4, &request).coordinators[0].error_code != 0 {
            assert!(Instant::now() < deadline, "nobody coordinates");
        }
        let topic = client.describe(topics[kind]);
        assert_eq!((topic.error_code, topic.partitions.len()), (0, 3));
        (kind, topic.topic_id)
    };
    let found: BTreeSet<_> = thread::scope(|scope| {
        let all: Vec<_> = (0..12).map(|number| scope.spawn(move || ask(number))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(found.len(), 2, "one topic of each name, whoever looks: {found:?}");
    broker.kill();

    let broker = Broker::start(&dir, &settings);
    let mut client = broker.client();
    let again = topics.iter().enumerate().map(|(kind, name)| (kind, client.describe(name).topic_id));
    assert_eq!(again.collect::<BTreeSet<_>>(), found);
}

#[test]
fn members_share_a_group_and_rebalance_when_one_leaves() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, AT_ONCE);
    let (mut a, mut b) = (found(&broker), found(&broker));
    let first = alone(&mut a);
    let second = join(&mut b, "", None).member_id;
    let waiting = b.send(9, &join_request(&second, None));
    while heartbeat(&mut a, &first, 1) != 27 {}
    let mine = join(&mut a, &first, None);
    let theirs: JoinGroupResponse = b.receive(9, waiting);
    assert_eq!((mine.generation_id, mine.members.len(), theirs.members.len()), (2, 2, 0));
    let id = b.send(5, &sync_request(&second, 2, &[]));
    assert_eq!(sync(&mut a, &first, 2, &[&second]).assignment, "");
    assert_eq!(b.receive::<SyncGroupResponse>(5, id).assignment, format!("for {second}"));

    let leaver = MemberIdentity { member_id: second, ..Default::default() };
    let unknown = MemberIdentity { member_id: "nobody".into(), ..Default::default() };
    let request =
        LeaveGroupRequest { group_id: "g".into(), members: vec![leaver, unknown], ..Default::default() };
    let left: LeaveGroupResponse = b.ask(5, &request);
    let codes: Vec<_> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!((left.error_code, codes), (0, vec![0, 25]));
    assert_eq!(heartbeat(&mut a, &first, 2), 27);
    assert_eq!(join(&mut a, &first, None).generation_id, 3);
}

#[test]
fn committed_offsets_and_generations_survive_kill_9() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    let member = alone(&mut client);
    assert_eq!(committed(&mut client), (-1, -1, String::new()));
    for offset in 1..=40 {
        assert_eq!(commit(&mut client, &member, 1, offset), 0);
    }
    broker.kill();

    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = broker.client();
    assert_eq!(committed(&mut client), (40, 7, "note".into()));
    assert_eq!(heartbeat(&mut client, &member, 1), 0, "the member goes on as if nothing had been");
    assert_eq!(commit(&mut client, &member, 1, 41), 0);
    broker.stop();

    let broker = Broker::start(&dir, AT_ONCE);
    assert_eq!(committed(&mut broker.client()).0, 41);
}

/// Two members, one of them static, while the coordinator is killed at every stage of a rebalance: whoever was told of a
/// generation belongs to it, so that nobody has to begin where it last committed.
#[test]
fn members_go_on_in_their_generation_whenever_the_coordinator_is_killed() {
    let (_around, dir) = data_dir();
    let mut broker = Broker::start(&dir, AT_ONCE);
    let (mut a, mut b) = (found(&broker), found(&broker));
    a.create("t", 1, &[]);
    let first = alone(&mut a);
    let waiting = b.send(9, &join_request("", Some("i")));
    while heartbeat(&mut a, &first, 1) != 27 {}
    assert_eq!(join(&mut a, &first, None).generation_id, 2);
    let second = b.receive::<JoinGroupResponse>(9, waiting).member_id;

    broker = killed(broker, &dir);
    let (mut a, mut b) = (broker.client(), broker.client());
    for (client, member) in [(&mut a, &first), (&mut b, &second)] {
        assert_eq!(settled_heartbeat(client, member, 2), 27, "the rebalance is on");
        assert_eq!(commit(client, member, 2, 5), 0, "what it has read counts");
    }
    let again = b.send(9, &join_request(&second, Some("i")));
    let joined = join(&mut a, &first, None);
    assert_eq!(b.receive::<JoinGroupResponse>(9, again).generation_id, 3);
    let leader = if joined.leader == first { &mut a } else { &mut b };
    assert_eq!(sync(leader, &joined.leader, 3, &[&first, &second]).error_code, 0);

    for offset in 6..9 {
        broker = killed(broker, &dir);
        let (mut a, mut b) = (broker.client(), broker.client());
        for (client, member) in [(&mut a, &first), (&mut b, &second)] {
            assert_eq!(settled_heartbeat(client, member, 3), 0, "no rebalance");
            assert_eq!(commit(client, member, 3, offset), 0);
            assert_eq!(sync(client, member, 3, &[]).assignment, format!("for {member}"));
        }
    }
}

/// Killed and started again.
fn killed(broker: Broker, dir: &Path) -> Broker {
    broker.kill();
    Broker::start(dir, AT_ONCE)
}

/// A heartbeat to a coordinator that has loaded the group.
fn settled_heartbeat(client: &mut Client, member: &str, generation: i32) -> i16 {
    committed(client);
    heartbeat(client, member, generation)
}

#[test]
fn a_static_member_comes_back_after_a_crash_of_the_broker_without_a_rebalance() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = found(&broker);
    let before = join(&mut client, "", Some("i")).member_id;
    assert_eq!(sync(&mut client, &before, 1, &[&before]).error_code, 0);
    broker.kill();
    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = broker.client();
    let again = loop {
        let again = join(&mut client, "", Some("i"));
        if again.error_code != LOADING {
            break again;
        }
    };
    assert_eq!((again.error_code, again.generation_id, again.skip_assignment), (0, 1, true));
    assert_eq!(sync(&mut client, &again.member_id, 1, &[]).assignment, format!("for {before}"));
}

#[test]
fn what_is_wrong_with_a_commit_is_said_for_each_partition() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["offset.metadata.max.bytes=3"]);
    let mut client = found(&broker);
    let id = client.create("t", 1, &[]).topic_id;
    let partition = |partition_index, metadata: &str| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 5,
        committed_metadata: Some(metadata.into()),
        ..Default::default()
    };
    let partitions = vec![partition(0, "abcd"), partition(0, "abc"), partition(1, "")];
    let topic = |name: &str, topic_id| OffsetCommitRequestTopic {
        name: name.into(),
        topic_id,
        partitions: partitions.clone(),
    };
    let unknown = ottla_rules::ids::TopicId([9; 16]);
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        topics: vec![topic("t", id), topic("none", unknown)],
        ..Default::default()
    };
    for (version, missing) in [(2, 3), (9, 3), (10, 100)] {
        let answer: OffsetCommitResponse = client.ask(version, &request);
        let codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.error_code);
        assert_eq!(codes.collect::<Vec<_>>(), [12, 0, 3, missing, missing, missing], "v{version}");
    }
    // Version 10 names the topic by its id, and finds what version 2 has committed by name.
    let topic =
        OffsetFetchRequestTopics { topic_id: id, partition_indexes: vec![0, 1], ..Default::default() };
    let group =
        OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
    let answer: OffsetFetchResponse =
        client.ask(10, &OffsetFetchRequest { groups: vec![group], ..Default::default() });
    let offsets: Vec<_> =
        answer.groups[0].topics[0].partitions.iter().map(|it| it.committed_offset).collect();
    assert_eq!(offsets, [5, -1]);
}

#[test]
fn offsets_are_fetched_in_every_version() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    assert_eq!(commit(&mut client, "", -1, 3), 0);
    for version in 1..=7 {
        let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0, 5] };
        let request =
            OffsetFetchRequest { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
        let answer: OffsetFetchResponse = client.ask(version, &request);
        let got: Vec<_> =
            answer.topics[0].partitions.iter().map(|it| (it.committed_offset, it.error_code)).collect();
        assert_eq!((got, answer.error_code), (vec![(3, 0), (-1, 0)], 0), "v{version}");
    }
    for version in 8..=10 {
        let group =
            |id: &str| OffsetFetchRequestGroup { group_id: id.into(), topics: None, ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group("g"), group("nobody")], ..Default::default() };
        let answer: OffsetFetchResponse = client.ask(version, &request);
        let sizes: Vec<_> =
            answer.groups.iter().map(|group| (group.topics.len(), group.error_code)).collect();
        assert_eq!(sizes, [(1, 0), (0, 0)], "v{version}");
    }
}

#[test]
fn groups_are_listed_described_and_deleted() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    let member = alone(&mut client);
    assert_eq!(commit(&mut client, &member, 1, 5), 0);
    let listed = |client: &mut Client, states: &[&str], types: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let request = ListGroupsRequest { states_filter: owned(states), types_filter: owned(types) };
        let answer: ListGroupsResponse = client.ask(5, &request);
        let groups = answer.groups.into_iter();
        groups
            .map(|it| (it.group_id, (it.group_state, it.group_type, it.protocol_type)))
            .collect::<BTreeMap<_, _>>()
    };
    let row = ("Stable".to_owned(), "classic".to_owned(), "consumer".to_owned());
    assert_eq!(listed(&mut client, &[], &[]).get("g"), Some(&row));
    assert_eq!(listed(&mut client, &["stable"], &["Classic"]).len(), 1);
    assert!(
        listed(&mut client, &["Empty"], &[]).is_empty() && listed(&mut client, &[], &["consumer"]).is_empty()
    );

    let described = |client: &mut Client, version: i16, name: &str| {
        let request = DescribeGroupsRequest { groups: vec![name.into()], ..Default::default() };
        client.ask::<_, DescribeGroupsResponse>(version, &request).groups.remove(0)
    };
    let group = described(&mut client, 5, "g");
    assert_eq!((&*group.group_state, &*group.protocol_data), ("Stable", "range"));
    assert_eq!(group.members[0].member_assignment, format!("for {member}"));
    assert_eq!(group.members[0].client_host, "/127.0.0.1");
    let nobody = described(&mut client, 5, "nobody");
    assert_eq!((nobody.error_code, &*nobody.group_state), (0, "Dead"));
    assert_eq!(described(&mut client, 6, "nobody").error_code, 69);

    let delete = |client: &mut Client| {
        let groups_names = vec!["g".into(), "nobody".into(), String::new()];
        let answer: DeleteGroupsResponse = client.ask(2, &DeleteGroupsRequest { groups_names });
        answer.results.iter().map(|result| result.error_code).collect::<Vec<_>>()
    };
    assert_eq!(delete(&mut client), [68, 69, 69]);
    assert_eq!(forget(&mut client), 86, "the group reads the topic");
    let leaver = MemberIdentity { member_id: member, ..Default::default() };
    let request = LeaveGroupRequest { group_id: "g".into(), members: vec![leaver], ..Default::default() };
    assert_eq!(client.ask::<_, LeaveGroupResponse>(5, &request).error_code, 0);
    assert_eq!(forget(&mut client), 0);
    assert_eq!(committed(&mut client).0, -1);
    assert_eq!(delete(&mut client), [0, 69, 69]);
    assert!(listed(&mut client, &[], &[]).is_empty());
    broker.kill();
    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = broker.client();
    assert_eq!(committed(&mut client).0, -1);
    assert!(listed(&mut client, &[], &[]).is_empty(), "a deleted group does not come back");
}

#[test]
fn offsets_that_are_kept_for_a_moment_go_and_do_not_come_back() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["offsets.retention.check.interval.ms=20"]);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    let commit = |client: &mut Client, group: &str, retention_time_ms| {
        let asked =
            OffsetCommitRequest { group_id: group.into(), retention_time_ms, ..commit_request("", -1, 5) };
        // The last version in which a client says how long.
        let answer: OffsetCommitResponse = client.ask(4, &asked);
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    };
    commit(&mut client, "kept", -1);
    commit(&mut client, "g", 1);
    let deadline = Instant::now() + PATIENCE;
    while committed(&mut client).0 != -1 {
        assert!(Instant::now() < deadline, "the offset stays");
    }
    assert_eq!(names(&mut client), ["kept"], "with its last offset the group goes");
    broker.kill();

    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    assert_eq!(committed_of(&mut client, "kept").0, 5);
    assert_eq!(committed(&mut client).0, -1);
    assert_eq!(names(&mut client), ["kept"]);
}

/// Deletes what group `g` has committed for partition 0 of `t`.
fn forget(client: &mut Client) -> i16 {
    let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
    let topic = OffsetDeleteRequestTopic { name: "t".into(), partitions };
    let request = OffsetDeleteRequest { group_id: "g".into(), topics: vec![topic] };
    let answer: OffsetDeleteResponse = client.ask(0, &request);
    answer.topics.first().map_or(answer.error_code, |topic| topic.partitions[0].error_code)
}

fn names(client: &mut Client) -> Vec<String> {
    let answer: ListGroupsResponse = client.ask(5, &ListGroupsRequest::default());
    answer.groups.into_iter().map(|group| group.group_id).collect()
}

#[test]
fn a_group_outlives_its_last_offset_until_the_next_look_for_old_ones() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    assert_eq!(commit(&mut client, "", -1, 9), 0);
    assert_eq!(forget(&mut client), 0);
    assert_eq!((committed(&mut client).0, names(&mut client)), (-1, vec!["g".to_owned()]));
    broker.kill();

    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = broker.client();
    assert_eq!((committed(&mut client).0, names(&mut client)), (-1, vec!["g".to_owned()]));
    broker.kill();

    let broker = Broker::start(&dir, &["offsets.retention.check.interval.ms=20"]);
    let mut client = broker.client();
    committed(&mut client); // Of a coordinator that still loads no group is listed.
    let deadline = Instant::now() + PATIENCE;
    while !names(&mut client).is_empty() {
        assert!(Instant::now() < deadline, "the group stays");
    }
    assert_eq!(forget(&mut client), 69, "there is no such group");
}

#[test]
fn a_deleted_topic_takes_its_committed_offsets_with_it() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    assert_eq!(commit(&mut client, "", -1, 9), 0);
    let topic = DeleteTopicState { name: Some("t".into()), ..Default::default() };
    let request = DeleteTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    assert_eq!(client.ask::<_, DeleteTopicsResponse>(6, &request).responses[0].error_code, 0);
    while committed(&mut client).0 != -1 {}
    client.create("t", 1, &[]);
    broker.kill();
    let broker = Broker::start(&dir, AT_ONCE);
    assert_eq!(committed(&mut broker.client()).0, -1, "the new topic of that name begins anew");
}

#[test]
fn a_group_is_named() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = found(&broker);
    let request = JoinGroupRequest { group_id: String::new(), ..join_request("", None) };
    assert_eq!(client.ask::<_, JoinGroupResponse>(9, &request).error_code, 24);
    assert_eq!(heartbeat(&mut client, "nobody", 1), 25);
    assert_eq!(join(&mut client, "nobody", None).error_code, 25);
    assert_eq!(commit(&mut client, "nobody", 1, 1), 3, "there is no topic");
    let short = JoinGroupRequest { session_timeout_ms: 1, ..join_request("", None) };
    assert_eq!(client.ask::<_, JoinGroupResponse>(9, &short).error_code, 26);
}

#[test]
fn without_the_offsets_topic_nobody_coordinates() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = broker.client();
    assert_eq!(heartbeat(&mut client, "nobody", 1), 16);
    let answer: ListGroupsResponse = client.ask(5, &ListGroupsRequest::default());
    assert_eq!((answer.error_code, answer.groups.len()), (0, 0));
}

#[test]
fn commits_that_are_sent_at_once_are_answered_in_order_and_whoever_asks_behind_them_sees_the_last() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    let member = alone(&mut client);
    // More than may be under way; one of them is not allowed, and is answered in its place.
    let sent: Vec<_> = (0..1_200)
        .map(|offset| {
            let generation = if offset == 100 { 9 } else { 1 };
            let id = client.send(8, &commit_request(&member, generation, offset));
            (id, if generation == 1 { 0 } else { 22 })
        })
        .collect();
    let beat = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: member.clone(),
        ..Default::default()
    };
    let last = client.send(4, &beat);
    for (id, code) in sent {
        let answer: OffsetCommitResponse = client.receive(8, id);
        assert_eq!(answer.topics[0].partitions[0].error_code, code);
    }
    assert_eq!(client.receive::<HeartbeatResponse>(4, last).error_code, 0);
    assert_eq!(committed(&mut client).0, 1_199);
}
