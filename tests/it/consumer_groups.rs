//! Groups of the consumer protocol (KIP-848) over sockets.

use ottla_rules::ids::TopicId;
use ottla_wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ottla_wire::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use ottla_wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, OwnedTopicPartitions,
};
use ottla_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};

use crate::broker::{Broker, data_dir};
use crate::client::Client;

const LOADING: i16 = 14;

fn found(broker: &Broker) -> Client {
    let mut client = broker.client();
    let request = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    let answer: FindCoordinatorResponse = client.ask(4, &request);
    assert_eq!(answer.coordinators[0].error_code, 0);
    client
}

fn beat(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: member.into(),
        member_epoch: epoch,
        ..Default::default()
    }
}

fn joining(member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(vec![]),
        ..beat(member, 0)
    }
}

fn owning(member: &str, epoch: i32, topic_id: TopicId, partitions: &[i32]) -> ConsumerGroupHeartbeatRequest {
    let owned = OwnedTopicPartitions { topic_id, partitions: partitions.to_vec() };
    ConsumerGroupHeartbeatRequest { topic_partitions: Some(vec![owned]), ..beat(member, epoch) }
}

fn ask(client: &mut Client, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
    loop {
        let answer: ConsumerGroupHeartbeatResponse = client.ask(1, request);
        if answer.error_code != LOADING {
            return answer;
        }
    }
}

fn given(answer: &ConsumerGroupHeartbeatResponse) -> Option<Vec<i32>> {
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    let topics = answer.assignment.as_ref()?.topic_partitions.iter();
    Some(topics.flat_map(|topic| topic.partitions.clone()).collect())
}

#[test]
fn members_move_one_by_one_and_a_killed_coordinator_changes_nothing() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = found(&broker);
    let topic = client.create("t", 4, &[]).topic_id;
    assert_eq!(given(&ask(&mut client, &joining("a"))), Some(vec![0, 1, 2, 3]));
    let b = ask(&mut client, &joining("b"));
    assert_eq!((given(&b), b.member_epoch), (Some(vec![]), 2));
    assert_eq!(given(&ask(&mut client, &beat("a", 1))), Some(vec![0, 1]));
    broker.kill();

    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    assert_eq!(given(&ask(&mut client, &beat("b", 2))), None, "a still owns what b should have");
    assert_eq!(ask(&mut client, &owning("a", 1, topic, &[0, 1])).member_epoch, 2);
    assert_eq!(given(&ask(&mut client, &beat("b", 2))), Some(vec![2, 3]));
    let request = ConsumerGroupDescribeRequest { group_ids: vec!["g".into()], ..Default::default() };
    let answer: ConsumerGroupDescribeResponse = client.ask(1, &request);
    let group = &answer.groups[0];
    assert_eq!((&*group.group_state, group.group_epoch, &*group.assignor_name), ("Stable", 2, "uniform"));
    let has: Vec<_> =
        group.members.iter().map(|member| &member.assignment.topic_partitions[0].partitions).collect();
    assert_eq!(has, [&[0, 1], &[2, 3]]);
    assert_eq!(group.members[0].assignment.topic_partitions[0].topic_name, "t");
    let listed: ListGroupsResponse =
        client.ask(5, &ListGroupsRequest { types_filter: vec!["consumer".into()], ..Default::default() });
    assert_eq!((listed.groups.len(), &*listed.groups[0].group_state), (1, "Stable"));
    assert_eq!(ask(&mut client, &beat("a", -1)).member_epoch, -1);
    assert_eq!(given(&ask(&mut client, &beat("b", 2))), Some(vec![0, 1, 2, 3]));
}

#[test]
fn what_is_wrong_has_its_code_and_a_sentence() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["group.consumer.max.size=1"]);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    let mut refused = |request: ConsumerGroupHeartbeatRequest| {
        let answer = ask(&mut client, &request);
        assert!(!answer.error_message.unwrap().is_empty());
        answer.error_code
    };
    let good = joining("a");
    assert_eq!(refused(ConsumerGroupHeartbeatRequest { group_id: String::new(), ..good.clone() }), 42);
    assert_eq!(refused(ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..good.clone() }), 42);
    let pattern = Some("(".to_owned());
    assert_eq!(
        refused(ConsumerGroupHeartbeatRequest { subscribed_topic_regex: pattern, ..good.clone() }),
        128
    );
    let assignor = Some("mine".to_owned());
    assert_eq!(refused(ConsumerGroupHeartbeatRequest { server_assignor: assignor, ..good.clone() }), 112);
    assert_eq!(refused(beat("a", 3)), 69);
    let mut client = broker.client();
    assert_eq!(ask(&mut client, &good).error_code, 0);
    assert_eq!(ask(&mut client, &joining("b")).error_code, 81);
    assert_eq!(ask(&mut client, &beat("b", 1)).error_code, 25);
    assert_eq!(ask(&mut client, &beat("a", 7)).error_code, 110);
}

#[test]
fn the_protocol_is_a_feature() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    let named = ApiVersionsRequest { client_software_name: "x".into(), client_software_version: "1".into() };
    let answer: ApiVersionsResponse = client.ask(4, &named);
    let level = answer.finalized_features.iter().find(|feature| feature.name == "group.version");
    assert_eq!(level.map(|feature| feature.max_version_level), Some(1));
    let old: ApiVersionsResponse = client.ask(3, &named);
    assert!(old.supported_features.iter().all(|feature| feature.min_version > 0));
}
