//! What is refused at the door, with Kafka's codes, and that nothing of it is appended.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use ottla_rules::batch::Codec;
use ottla_rules::batch::build::{BatchBuilder, BuildRecord, seal};
use ottla_wire::messages::produce::ProduceResponse;
use ottla_wire::produce::PartitionProduceData;

use crate::broker::{Broker, data_dir};
use crate::client::{Client, PRODUCE, TIME, batch, fetch_request, produce_request};

const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_REQUIRED_ACKS: i16 = 21;
const INVALID_TIMESTAMP: i16 = 32;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const INVALID_RECORD: i16 = 87;
const UNKNOWN_TOPIC_ID: i16 = 100;

/// A good batch of two records, with `change` done to its bytes and the CRC made right again.
fn changed(change: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut bytes = batch(&["one", "two"]);
    change(&mut bytes);
    seal(&mut bytes);
    bytes
}

fn put_i32(bytes: &mut BytesMut, at: usize, number: i32) {
    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
}

#[test]
fn what_is_no_batch_is_refused_and_not_kept() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let length = i32::try_from(batch(&["one", "two"]).len()).unwrap() - 12;
    let mut wrong_crc = batch(&["x"]);
    wrong_crc[17] ^= 1;
    let mut two = batch(&["x"]);
    two.extend_from_slice(&batch(&["y"]));
    for (what, records, code) in [
        ("nothing", BytesMut::new(), INVALID_RECORD),
        ("three bytes", BytesMut::from(&[1, 2, 3][..]), INVALID_RECORD),
        ("a wrong CRC", wrong_crc, CORRUPT_MESSAGE),
        ("magic 0", changed(|bytes| bytes[16] = 0), INVALID_RECORD),
        ("magic 1", changed(|bytes| bytes[16] = 1), INVALID_RECORD),
        ("magic 3", changed(|bytes| bytes[16] = 3), CORRUPT_MESSAGE),
        ("a count too large", changed(|bytes| put_i32(bytes, 57, 5)), INVALID_RECORD),
        ("a count of the most", changed(|bytes| put_i32(bytes, 57, i32::MAX)), INVALID_RECORD),
        ("a count of zero", changed(|bytes| put_i32(bytes, 57, 0)), INVALID_RECORD),
        ("a negative count", changed(|bytes| put_i32(bytes, 57, -1)), INVALID_RECORD),
        ("a wrong last delta", changed(|bytes| put_i32(bytes, 23, 7)), INVALID_RECORD),
        ("a length too large", changed(|bytes| put_i32(bytes, 8, length + 10)), INVALID_RECORD),
        ("a length too small", changed(|bytes| put_i32(bytes, 8, 10)), CORRUPT_MESSAGE),
        ("a negative length", changed(|bytes| put_i32(bytes, 8, -5)), CORRUPT_MESSAGE),
        ("two batches", two, INVALID_RECORD),
        ("a control batch", BatchBuilder::new().value("x", TIME).control().build(), INVALID_RECORD),
        ("a codec that is none", changed(|bytes| bytes[22] = 5), UNSUPPORTED_COMPRESSION_TYPE),
        ("the far future", BatchBuilder::new().value("x", TIME * 2).build(), INVALID_TIMESTAMP),
    ] {
        let answer = client.produce("t", 0, records);
        assert_eq!(answer.error_code, code, "{what}: {:?}", answer.error_message);
        assert_eq!(answer.base_offset, -1, "{what}");
    }
    assert_eq!(client.produce("t", 0, batch(&["good"])).base_offset, 0);
}

#[test]
fn what_goes_nowhere_is_refused() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["message.max.bytes=1000", "auto.create.topics.enable=false"]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let long = "x".repeat(2000);
    for (topic, partition, records, code) in [
        ("nowhere", 0, batch(&["x"]), UNKNOWN_TOPIC_OR_PARTITION),
        ("t", 1, batch(&["x"]), UNKNOWN_TOPIC_OR_PARTITION),
        ("t", -1, batch(&["x"]), UNKNOWN_TOPIC_OR_PARTITION),
        ("t", i32::MAX, batch(&["x"]), UNKNOWN_TOPIC_OR_PARTITION),
        ("t", 0, batch(&[&long]), MESSAGE_TOO_LARGE),
    ] {
        assert_eq!(client.produce(topic, partition, records).error_code, code, "{topic}-{partition}");
    }
    for acks in [5, -2, 2] {
        let id = client.send(PRODUCE, &produce_request("t", 0, acks, Some(batch(&["x"]))));
        assert_eq!(client.produced(id).error_code, INVALID_REQUIRED_ACKS);
    }
    let mut by_id = produce_request("", 0, -1, Some(batch(&["x"])));
    by_id.topic_data[0].topic_id.0[0] = 7;
    let answer: ProduceResponse = client.ask(13, &by_id);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, UNKNOWN_TOPIC_ID);
    assert!(client.values("t", 0, 0).is_empty());
}

#[test]
fn a_partition_that_stands_twice_in_a_request_is_appended_once() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let mut request = produce_request("t", 0, -1, Some(batch(&["first"])));
    let again = PartitionProduceData { index: 0, records: Some(batch(&["second"])) };
    request.topic_data[0].partition_data.push(again);
    let answer: ProduceResponse = client.ask(PRODUCE, &request);
    assert_eq!(answer.responses[0].partition_responses.len(), 1);
    assert_eq!(client.values("t", 0, 0), ["second"]);
}

#[test]
fn compacted_topics_want_keys_and_are_not_blown_up() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("c", 1, &[("cleanup.policy", "compact")]);
    let answer = client.produce("c", 0, batch(&["no key"]));
    assert_eq!((answer.error_code, answer.record_errors.len()), (INVALID_RECORD, 1));
    assert_eq!(answer.record_errors[0].batch_index, 0);

    // A bomb: a few kilobytes that unpack to as many as are never allowed.
    let record = BuildRecord {
        timestamp: TIME,
        key: Some(b"k".to_vec()),
        value: Some(vec![0; 300 << 20]),
        ..BuildRecord::default()
    };
    let bomb = BatchBuilder::new().codec(Codec::Zstd).push(record).build();
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let answer = client.produce("c", 0, bomb);
    assert_ne!(answer.error_code, 0);
    assert_eq!(client.produce("c", 0, keyed("k", "v")).base_offset, 0);
}

fn keyed(key: &str, value: &str) -> BytesMut {
    BatchBuilder::new().record(key, value, TIME).build()
}

#[test]
fn acks_0_is_not_answered_and_closes_when_it_fails() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["auto.create.topics.enable=false"]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    client.send(PRODUCE, &produce_request("t", 0, 0, Some(batch(&["quiet"]))));
    // The next answer is that of the next request.
    assert_eq!(client.produce("t", 0, batch(&["loud"])).base_offset, 1);
    assert_eq!(client.values("t", 0, 0), ["quiet", "loud"]);

    client.send(PRODUCE, &produce_request("nowhere", 0, 0, Some(batch(&["x"]))));
    client.assert_closed();
}

#[test]
fn an_idempotent_producer_that_repeats_itself_is_appended_once() {
    let (_around, dir) = data_dir();
    let mut broker = Broker::start(&dir, &[]);
    broker.client().create("t", 1, &[]);
    // A producer is forgotten a day after its last record, by the record's own time.
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let from = |epoch, sequence: i32| {
        BatchBuilder::new().value(format!("{epoch}/{sequence}"), time).producer(9, epoch, sequence).build()
    };
    let told = |client: &mut Client, epoch, sequence| {
        let answer = client.produce("t", 0, from(epoch, sequence));
        (answer.error_code, answer.base_offset)
    };
    let mut client = broker.client();
    assert_eq!(told(&mut client, 0, 0), (0, 0));
    assert_eq!(told(&mut client, 0, 0), (0, 0));
    assert_eq!(told(&mut client, 0, 1), (0, 1));
    assert_eq!(told(&mut client, 0, 5), (OUT_OF_ORDER_SEQUENCE_NUMBER, -1));
    // It is known after a kill, too.
    broker.kill();
    broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.wait_for_leader("t", 0);
    assert_eq!(told(&mut client, 0, 1), (0, 1));
    assert_eq!(told(&mut client, 1, 0), (0, 2));
    assert_eq!(told(&mut client, 0, 2), (INVALID_PRODUCER_EPOCH, -1));
    assert_eq!(client.values("t", 0, 0), ["0/0", "0/1", "1/0"]);
}

#[test]
fn a_long_poll_is_woken_by_an_append() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut reader = broker.client();
    reader.create("t", 1, &[]);
    // Far longer than the test waits: only the append can answer it.
    let id = reader.send(crate::client::FETCH, &fetch_request("t", 0, 0, 600_000));
    let mut writer = broker.client();
    assert_eq!(writer.produce("t", 0, batch(&["news"])).error_code, 0);
    let data = reader.fetched(id);
    assert_eq!(crate::client::records_in(&data), [(0, "news".to_owned())]);
}
