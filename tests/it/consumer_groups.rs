//! Groups of the consumer protocol (KIP-848) over sockets.

use ottla_rules::ids::TopicId;
use ottla_wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ottla_wire::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use ottla_wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, OwnedTopicPartitions,
};
use ottla_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use ottla_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use ottla_wire::messages::list_config_resources::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use ottla_wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};

use crate::broker::{Broker, data_dir};
use crate::client::Client;

const LOADING: i16 = 14;
/// A group, as the resources of the configs APIs are numbered.
const GROUP: i8 = 32;

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
fn a_static_member_and_its_neighbour_go_on_in_their_epoch_after_every_kill() {
    let (_around, dir) = data_dir();
    let mut broker = Broker::start(&dir, &[]);
    let mut client = found(&broker);
    let topic = client.create("t", 4, &[]).topic_id;
    let named = |beat: ConsumerGroupHeartbeatRequest| ConsumerGroupHeartbeatRequest {
        instance_id: Some("i".into()),
        ..beat
    };
    assert_eq!(given(&ask(&mut client, &named(joining("a")))), Some(vec![0, 1, 2, 3]));
    assert_eq!(given(&ask(&mut client, &joining("b"))), Some(vec![]));
    assert_eq!(given(&ask(&mut client, &named(beat("a", 1)))), Some(vec![0, 1]));
    assert_eq!(ask(&mut client, &named(owning("a", 1, topic, &[0, 1]))).member_epoch, 2);
    assert_eq!(given(&ask(&mut client, &beat("b", 2))), Some(vec![2, 3]));
    let again = |before: Broker| {
        before.kill();
        let broker = Broker::start(&dir, &[]);
        let client = broker.client();
        (broker, client)
    };

    for _ in 0..3 {
        (broker, client) = again(broker);
        let a = ask(&mut client, &named(owning("a", 2, topic, &[0, 1])));
        let b = ask(&mut client, &owning("b", 2, topic, &[2, 3]));
        assert_eq!(
            (given(&a), a.member_epoch, given(&b), b.member_epoch),
            (None, 2, None, 2),
            "no rebalance"
        );
    }

    // It is away while the broker is killed once more, and another of its name comes back to what it had.
    assert_eq!(ask(&mut client, &named(beat("a", -2))).member_epoch, -2);
    (broker, client) = again(broker);
    let back = ask(&mut client, &named(joining("c")));
    assert_eq!((given(&back), back.member_epoch), (Some(vec![0, 1]), 2));
    assert_eq!(given(&ask(&mut client, &beat("b", 2))), None);

    // Taken out by its id alone, without its name, as an administrator does.
    assert_eq!(ask(&mut client, &beat("c", -1)).member_epoch, -1);
    (broker, client) = again(broker);
    assert_eq!(given(&ask(&mut client, &beat("b", 2))), Some(vec![0, 1, 2, 3]));
    broker.stop();
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

/// Sets (or, without a value, removes) a setting of the group.
fn set(client: &mut Client, name: &str, value: Option<&str>) -> (i16, Option<String>) {
    let config_operation = if value.is_some() { 0 } else { 1 };
    let config = AlterableConfig { name: name.into(), config_operation, value: value.map(str::to_owned) };
    let resource =
        AlterConfigsResource { resource_type: GROUP, resource_name: "g".into(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let mut answer: IncrementalAlterConfigsResponse = client.ask(1, &request);
    let answer = answer.responses.remove(0);
    (answer.error_code, answer.error_message)
}

fn configured(client: &mut Client) -> Vec<String> {
    let request = ListConfigResourcesRequest { resource_types: vec![GROUP] };
    let answer: ListConfigResourcesResponse = client.ask(1, &request);
    answer.config_resources.into_iter().map(|resource| resource.resource_name).collect()
}

#[test]
fn a_group_has_settings_of_its_own_that_count_at_once_and_outlive_a_kill() {
    let (_around, dir) = data_dir();
    let settings =
        ["group.consumer.min.session.timeout.ms=100", "group.consumer.min.heartbeat.interval.ms=50"];
    let broker = Broker::start(&dir, &settings);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    let interval = "consumer.heartbeat.interval.ms";
    let session = "consumer.session.timeout.ms";
    assert_eq!(ask(&mut client, &joining("a")).heartbeat_interval_ms, 5000);
    assert_eq!(configured(&mut client), Vec::<String>::new());
    assert_eq!(set(&mut client, interval, Some("7000")), (0, None));
    assert_eq!(ask(&mut client, &beat("a", 1)).heartbeat_interval_ms, 7000);
    let (code, why) = set(&mut client, session, Some("99"));
    assert_eq!(
        (code, why.as_deref()),
        (
            40,
            Some(
                "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms"
            )
        )
    );
    let (code, why) = set(&mut client, session, Some("6000"));
    assert_eq!(
        (code, why.as_deref()),
        (40, Some("consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms"))
    );
    broker.kill();

    let broker = Broker::start(&dir, &settings);
    let mut client = found(&broker);
    assert_eq!(ask(&mut client, &beat("a", 1)).heartbeat_interval_ms, 7000);
    assert_eq!(configured(&mut client), ["g"]);
    let resource = DescribeConfigsResource {
        resource_type: GROUP,
        resource_name: "g".into(),
        configuration_keys: Some(vec![interval.into()]),
    };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..Default::default() };
    let answer: DescribeConfigsResponse = client.ask(4, &request);
    let shown = &answer.results[0].configs[0];
    assert_eq!((shown.value.as_deref(), shown.config_source), (Some("7000"), 8));
    let synonyms: Vec<_> = shown.synonyms.iter().map(|it| (&*it.name, it.source)).collect();
    assert_eq!(synonyms, [(interval, 8), ("group.consumer.heartbeat.interval.ms", 5)]);
    assert_eq!(set(&mut client, interval, Some("60")), (0, None));
    assert_eq!(set(&mut client, session, Some("150")), (0, None));
    assert_eq!(ask(&mut client, &beat("a", 1)).heartbeat_interval_ms, 60, "and a shorter session begins");
    while ask(&mut client, &joining("b")).member_epoch < 3 {
        // b joins in epoch 2 while a has the partition; in epoch 3 a is gone.
    }
    assert_eq!(ask(&mut client, &beat("a", 1)).error_code, 25);
    // Not the other way round: the interval must stay shorter than the session.
    for name in [session, interval] {
        assert_eq!(set(&mut client, name, None), (0, None));
    }
    assert_eq!(configured(&mut client), Vec::<String>::new());
}
