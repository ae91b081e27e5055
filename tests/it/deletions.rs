//! What is deleted, and what is left alone: topics that are named twice, records of the broker itself.

use ottla_rules::ids::TopicId;
use ottla_wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ottla_wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};

use crate::broker::{Broker, data_dir};
use crate::client::{Client, batch};

const INVALID_REQUEST: i16 = 42;
const NAMED_AGAIN: &str = "The provided topic name maps to an ID that was already supplied.";

fn by_name(name: &str) -> DeleteTopicState {
    DeleteTopicState { name: Some(name.into()), topic_id: TopicId::ZERO }
}

fn by_id(topic_id: TopicId) -> DeleteTopicState {
    DeleteTopicState { name: None, topic_id }
}

/// Rows of an answer: name, id, code and what is said.
type Row = (Option<String>, TopicId, i16, Option<String>);

fn delete(client: &mut Client, topics: &[DeleteTopicState]) -> Vec<Row> {
    let request = DeleteTopicsRequest { topics: topics.to_vec(), timeout_ms: 10_000, ..Default::default() };
    let answer: DeleteTopicsResponse = client.ask(6, &request);
    let mut rows: Vec<_> = answer
        .responses
        .into_iter()
        .map(|row| (row.name, row.topic_id, row.error_code, row.error_message))
        .collect();
    rows.sort();
    rows
}

fn refused(name: Option<&str>, id: TopicId, message: &str) -> Row {
    (name.map(str::to_owned), id, INVALID_REQUEST, Some(message.to_owned()))
}

#[test]
fn a_topic_that_is_named_twice_is_not_deleted() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    let id = client.create("kept", 1, &[]).topic_id;
    let twice = delete(&mut client, &[by_name("kept"), by_name("kept"), by_name("kept")]);
    assert_eq!(twice, [refused(Some("kept"), TopicId::ZERO, "Duplicate topic name.")]);
    let twice = delete(&mut client, &[by_id(id), by_id(id)]);
    assert_eq!(twice, [refused(None, id, "Duplicate topic id.")]);
    for both in [[by_id(id), by_name("kept")], [by_name("kept"), by_id(id)]] {
        assert_eq!(delete(&mut client, &both), [refused(Some("kept"), id, NAMED_AGAIN)]);
    }
    let thrice = delete(&mut client, &[by_id(id), by_name("kept"), by_id(id)]);
    assert_eq!(thrice, [refused(None, id, "Duplicate topic id."), refused(Some("kept"), id, NAMED_AGAIN)]);
    assert_eq!(client.describe("kept").error_code, 0);

    let old = DeleteTopicsRequest {
        topic_names: vec!["kept".into(), "kept".into()],
        timeout_ms: 10_000,
        ..Default::default()
    };
    let answer: DeleteTopicsResponse = client.ask(5, &old);
    let codes: Vec<_> = answer.responses.iter().map(|row| row.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST]);
    assert_eq!(client.describe("kept").error_code, 0);
}

#[test]
fn what_stands_beside_a_topic_that_is_named_twice_is_deleted() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("twice", 1, &[]);
    let a = client.create("a", 1, &[]).topic_id;
    let b = client.create("b", 1, &[]).topic_id;
    let asked = [by_name("twice"), by_name("a"), by_name("twice"), by_id(b), by_name("missing")];
    let rows = delete(&mut client, &asked);
    let mut codes: Vec<_> = rows.into_iter().map(|(name, id, code, _)| (name.unwrap(), id, code)).collect();
    codes.sort();
    let missing = ("missing".into(), TopicId::ZERO, 3);
    let twice = ("twice".into(), TopicId::ZERO, INVALID_REQUEST);
    assert_eq!(codes, [("a".into(), a, 0), ("b".into(), b, 0), missing, twice]);
    assert_eq!(client.describe("twice").error_code, 0);

    let unknown = TopicId([9; 16]);
    let both = DeleteTopicState { name: Some("twice".into()), topic_id: unknown };
    let rows = delete(&mut client, &[both, by_id(TopicId::ZERO), by_id(unknown)]);
    let codes: Vec<_> = rows.into_iter().map(|(name, _, code, _)| (name, code)).collect();
    assert_eq!(codes, [(None, INVALID_REQUEST), (None, 100), (Some("twice".into()), INVALID_REQUEST)]);
}

#[test]
fn records_of_the_broker_itself_are_not_deleted() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    client.produce("t", 0, batch(&["one", "two"]));
    let policy = [("cleanup.policy", "delete")];
    for internal in ["__consumer_offsets", "__transaction_state"] {
        assert_eq!(client.try_create(internal, 2, &policy).error_code, 0);
    }
    let mut delete = |topic: &str, partition_index| {
        let partition = DeleteRecordsPartition { partition_index, offset: -1 };
        let topic = DeleteRecordsTopic { name: topic.into(), partitions: vec![partition] };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 10_000 };
        let mut answer: DeleteRecordsResponse = client.ask(2, &request);
        let row = answer.topics.remove(0).partitions.remove(0);
        (row.error_code, row.low_watermark)
    };
    assert_eq!(delete("__consumer_offsets", 0), (17, -1));
    assert_eq!(delete("__transaction_state", 1), (17, -1));
    assert_eq!(delete("__transaction_state", 2), (3, -1));
    assert_eq!(delete("t", 0), (0, 2));
}
