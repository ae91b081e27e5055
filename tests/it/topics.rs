//! Topics: made, refused, grown, deleted, made by asking for them.

use std::collections::BTreeMap;
use std::time::Instant;

use ottla_wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use ottla_wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use ottla_wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use ottla_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use ottla_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use ottla_wire::messages::offset_commit::OffsetCommitResponse;

use crate::broker::{Broker, PATIENCE, data_dir, eventually};
use crate::client::{Client, batch};
use crate::groups::{commit_request, committed, found};

const REQUEST_TIMED_OUT: i16 = 7;
const INVALID_REQUEST: i16 = 42;
const POLICY_VIOLATION: i16 = 44;
const TOO_MANY: &str = "Excessively large number of partitions per request.";

#[test]
fn names_and_numbers_that_are_not_allowed_are_refused() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("with.dot", 1, &[]);
    let long = "x".repeat(250);
    let none: &[(&str, &str)] = &[];
    for (name, partitions, configs, code) in [
        ("", 1, none, 17),
        (".", 1, none, 17),
        ("..", 1, none, 17),
        ("a b", 1, none, 17),
        ("a/b", 1, none, 17),
        ("../../etc", 1, none, 17),
        (&long, 1, none, 17),
        ("with_dot", 1, none, 17),
        ("with.dot", 1, none, 36),
        ("x", 0, none, 37),
        ("x", -2, none, 37),
        ("x", 10_001, none, 44),
        ("x", i32::MAX, none, 44),
        ("x", 1, &[("no.such", "1")], 40),
        ("x", 1, &[("retention.ms", "soon")], 40),
        ("x", 1, &[("cleanup.policy", "shred")], 40),
    ] {
        assert_eq!(client.try_create(name, partitions, configs).error_code, code, "{name:?} {partitions}");
    }
    assert_eq!(client.describe("x").error_code, 3);
    assert_eq!(client.describe("a b").error_code, 17);
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_is_free() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    let first = client.create("again", 1, &[]).topic_id;
    client.produce("again", 0, batch(&["old"]));
    let mut delete = |name: &str| {
        let topic = DeleteTopicState { name: Some(name.into()), ..Default::default() };
        let request = DeleteTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let answer: DeleteTopicsResponse = client.ask(6, &request);
        answer.responses[0].error_code
    };
    assert_eq!(delete("again"), 0);
    assert_eq!(delete("again"), 3);
    let mut client = broker.client();
    let second = client.create("again", 1, &[]).topic_id;
    assert_ne!(first, second);
    assert!(client.values("again", 0, 0).is_empty());
    broker.stop();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    assert!(client.values("again", 0, 0).is_empty());
}

#[test]
fn whoever_gives_no_time_is_refused_and_nothing_is_begun() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("kept", 2, &[]);
    for timeout_ms in [0, -1, i32::MIN] {
        let topic = CreatableTopic {
            name: "hasty".into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        };
        let create = CreateTopicsRequest { topics: vec![topic], timeout_ms, ..Default::default() };
        let created: CreateTopicsResponse = client.ask(7, &create);
        assert_eq!(created.topics[0].error_code, REQUEST_TIMED_OUT);

        let topic = CreatePartitionsTopic { name: "kept".into(), count: 5, ..Default::default() };
        let grow = CreatePartitionsRequest { topics: vec![topic], timeout_ms, ..Default::default() };
        let grown: CreatePartitionsResponse = client.ask(3, &grow);
        assert_eq!(grown.results[0].error_code, REQUEST_TIMED_OUT);

        let topic = DeleteTopicState { name: Some("kept".into()), ..Default::default() };
        let delete = DeleteTopicsRequest { topics: vec![topic], timeout_ms, ..Default::default() };
        let deleted: DeleteTopicsResponse = client.ask(6, &delete);
        assert_eq!(deleted.responses[0].error_code, REQUEST_TIMED_OUT);
    }
    assert_eq!(client.describe("hasty").error_code, 3);
    assert_eq!(client.describe("kept").partitions.len(), 2);
}

#[test]
fn a_request_for_too_many_partitions_in_all_makes_none_of_them() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["num.partitions=4"]);
    let mut client = broker.client();
    let mut create = |counts: &[i32], validate_only| {
        let topics = counts.iter().enumerate().map(|(at, count)| CreatableTopic {
            name: format!("t{at}"),
            num_partitions: *count,
            replication_factor: 1,
            ..Default::default()
        });
        let request = CreateTopicsRequest { topics: topics.collect(), validate_only, ..Default::default() };
        let answer: CreateTopicsResponse = client.ask(7, &request);
        let said = answer.topics.iter().map(|topic| topic.error_message.clone().unwrap_or_default());
        (answer.topics.iter().map(|topic| topic.error_code).collect::<Vec<_>>(), said.collect::<Vec<_>>())
    };
    let said = vec![TOO_MANY.to_owned(); 3];
    assert_eq!(create(&[5000, 5000, 1], false), (vec![POLICY_VIOLATION; 3], said.clone()));
    assert_eq!(create(&[5000, 5000, 1], true), (vec![POLICY_VIOLATION; 3], said.clone()));
    assert_eq!(create(&[5000, 4997, -1], true), (vec![POLICY_VIOLATION; 3], said));
    assert_eq!(create(&[5000, 4996, -1], true).0, [0; 3]);
    for name in ["t0", "t1", "t2"] {
        assert_eq!(client.describe(name).error_code, 3);
    }
}

#[test]
fn a_request_to_grow_by_too_many_partitions_in_all_adds_none_of_them() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("a", 1, &[]);
    client.create("b", 2, &[]);
    let mut grow = |a, b, validate_only| {
        let topics = [("a", a), ("b", b)].map(|(name, count)| CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments: None,
        });
        let request = CreatePartitionsRequest { topics: topics.into(), timeout_ms: 10_000, validate_only };
        let answer: CreatePartitionsResponse = client.ask(3, &request);
        answer.results.into_iter().map(|it| (it.error_code, it.error_message)).collect::<Vec<_>>()
    };
    let too_many = vec![(POLICY_VIOLATION, Some(TOO_MANY.to_owned())); 2];
    assert_eq!(grow(5001, 5003, false), too_many);
    assert_eq!(grow(5001, 5003, true), too_many);
    assert_eq!(grow(5001, 5002, true), [(0, None), (0, None)]);
    assert_eq!(client.describe("a").partitions.len(), 1);
    assert_eq!(client.describe("b").partitions.len(), 2);
}

#[test]
fn missing_topics_are_not_made_when_one_question_would_make_too_many() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["num.partitions=5001"]);
    let mut client = broker.client();
    let answer = ask_for(&mut client, &["x", "y"]);
    assert_eq!(answer.topics.iter().map(|topic| topic.error_code).collect::<Vec<_>>(), [3, 3]);
    // What was sent before this was decided before it.
    client.create("later", 1, &[]);
    assert_eq!(client.describe("x").error_code, 3);
    assert_eq!(client.describe("y").error_code, 3);
}

/// Metadata of these, which are made where they are missing.
fn ask_for(client: &mut Client, names: &[&str]) -> MetadataResponse {
    let topic = |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..Default::default() };
    let topics = Some(names.iter().map(topic).collect());
    client.ask(12, &MetadataRequest { topics, allow_auto_topic_creation: true, ..Default::default() })
}

#[test]
fn topics_of_the_coordinators_are_made_as_they_need_them_whoever_asks_first() {
    let (_around, dir) = data_dir();
    let settings =
        ["num.partitions=3", "offsets.topic.num.partitions=5", "transaction.state.log.segment.bytes=1500000"];
    let broker = Broker::start(&dir, &settings);
    let mut client = broker.client();
    let names = ["__consumer_offsets", "__transaction_state"];
    eventually("they are made", || {
        let answer = ask_for(&mut client, &names);
        answer.topics.iter().all(|topic| topic.error_code == 0)
    });
    let mut shown = |name: &str, keys: &[&str]| {
        let resource = DescribeConfigsResource {
            resource_type: 2,
            resource_name: name.into(),
            configuration_keys: Some(keys.iter().map(|key| (*key).into()).collect()),
        };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        let mut answer: DescribeConfigsResponse = client.ask(4, &request);
        let configs = answer.results.remove(0).configs.into_iter();
        configs.map(|config| (config.name, config.value.unwrap_or_default())).collect::<BTreeMap<_, _>>()
    };
    let offsets = shown(names[0], &["cleanup.policy", "compression.type"]);
    assert_eq!(offsets["cleanup.policy"], "compact");
    assert_eq!(offsets["compression.type"], "producer");
    let transactions = shown(names[1], &["cleanup.policy", "segment.bytes"]);
    assert_eq!(transactions["cleanup.policy"], "compact");
    assert_eq!(transactions["segment.bytes"], "1500000");
    assert_eq!(names.map(|name| client.describe(name).partitions.len()), [5, 50]);
}

#[test]
fn groups_stay_where_they_are_while_the_node_runs_however_many_partitions_their_topic_gets() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["offsets.topic.num.partitions=1"]);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    let answer: OffsetCommitResponse = client.ask(8, &commit_request("", -1, 42));
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);

    let grown = CreatePartitionsTopic { name: "__consumer_offsets".into(), count: 7, assignments: None };
    let request = CreatePartitionsRequest { topics: vec![grown], timeout_ms: 10_000, validate_only: false };
    let answer: CreatePartitionsResponse = client.ask(3, &request);
    assert_eq!(answer.results[0].error_code, 0);

    assert_eq!(committed(&mut found(&broker)).0, 42);
    assert!(
        broker.log().contains("another number of partitions now"),
        "a person is told what the next start brings"
    );
    broker.stop();
    // As in Kafka: the group belongs to another partition now, which knows nothing of it.
    let broker = Broker::start(&dir, &[]);
    assert_eq!(committed(&mut found(&broker)).0, -1);
}

#[test]
fn the_topic_of_kafkas_own_metadata_is_not_made() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    let refused = client.try_create("__cluster_metadata", 1, &[]);
    assert_eq!(refused.error_code, INVALID_REQUEST);
    let said = "Creation of internal topic __cluster_metadata is prohibited.";
    assert_eq!(refused.error_message.as_deref(), Some(said));
    assert_eq!(ask_for(&mut client, &["__cluster_metadata"]).topics[0].error_code, 3);
    // What was sent before this was decided before it.
    client.create("later", 1, &[]);
    assert_eq!(client.describe("__cluster_metadata").error_code, 3);
}

#[test]
fn asking_for_a_topic_makes_it_where_that_is_allowed() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["num.partitions=3"]);
    let mut client = broker.client();
    let topic = MetadataRequestTopic { name: Some("wanted".into()), ..Default::default() };
    let request =
        MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: true, ..Default::default() };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer: MetadataResponse = client.ask(12, &request);
        match answer.topics[0].error_code {
            0 => break assert_eq!(answer.topics[0].partitions.len(), 3),
            3 => assert!(Instant::now() < deadline, "it was not made"),
            other => panic!("error {other}"),
        }
    }
    assert_eq!(client.describe("unwanted").error_code, 3);
}
