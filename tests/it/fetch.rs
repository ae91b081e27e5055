//! Reading: offsets that are there and offsets that are not, epochs, limits, times.

use std::time::Instant;

use ottla_rules::batch::build::BatchBuilder;
use ottla_wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ottla_wire::messages::fetch::{FetchRequest, FetchResponse};
use ottla_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};

use crate::broker::{Broker, PATIENCE, data_dir};
use crate::client::{Client, FETCH, TIME, batch, fetch_request, records_in};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const UNSUPPORTED_VERSION: i16 = 35;
const UNKNOWN_TOPIC_ID: i16 = 100;

fn filled(broker: &Broker) -> Client {
    let mut client = broker.client();
    client.create("t", 2, &[]);
    for values in [["a", "b"], ["c", "d"], ["e", "f"]] {
        client.produce("t", 0, batch(&values));
    }
    client
}

#[test]
fn offsets_that_are_not_there_are_refused() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = filled(&broker);
    for (offset, code) in [
        (0, 0),
        (3, 0),
        (6, 0),
        (7, OFFSET_OUT_OF_RANGE),
        (-1, OFFSET_OUT_OF_RANGE),
        (i64::MAX, OFFSET_OUT_OF_RANGE),
        (i64::MIN, OFFSET_OUT_OF_RANGE),
    ] {
        let data = client.fetch("t", 0, offset);
        assert_eq!(data.error_code, code, "from {offset}");
        assert_eq!(data.high_watermark, if code == 0 { 6 } else { -1 }, "from {offset}");
    }
    // From inside of a batch the whole batch comes.
    assert_eq!(records_in(&client.fetch("t", 0, 3))[0], (2, "c".to_owned()));
    assert!(records_in(&client.fetch("t", 0, 6)).is_empty());
    assert!(records_in(&client.fetch("t", 1, 0)).is_empty());
}

#[test]
fn partitions_that_are_not_there_are_refused() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = filled(&broker);
    for (topic, partition) in [("nowhere", 0), ("t", 2), ("t", -1), ("", 0), ("a b", 0)] {
        assert_eq!(client.fetch(topic, partition, 0).error_code, UNKNOWN_TOPIC_OR_PARTITION, "{topic}");
    }
    let mut by_id = fetch_request("", 0, 0, 0);
    by_id.topics[0].topic_id.0[3] = 9;
    let answer: FetchResponse = client.ask(13, &by_id);
    assert_eq!(answer.responses[0].partitions[0].error_code, UNKNOWN_TOPIC_ID);
    by_id.topics[0].topic_id = client.describe("t").topic_id;
    let answer: FetchResponse = client.ask(13, &by_id);
    assert_eq!(answer.responses[0].partitions[0].high_watermark, 6);
}

#[test]
fn a_newer_epoch_is_not_known_here() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = filled(&broker);
    let mut request = fetch_request("t", 0, 0, 0);
    request.topics[0].partitions[0].current_leader_epoch = 1000;
    let id = client.send(FETCH, &request);
    assert_eq!(client.fetched(id).error_code, UNKNOWN_LEADER_EPOCH);
}

#[test]
fn a_small_limit_gives_one_whole_batch() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = filled(&broker);
    let mut request = fetch_request("t", 0, 0, 0);
    request.max_bytes = 1;
    request.topics[0].partitions[0].partition_max_bytes = 1;
    let id = client.send(FETCH, &request);
    let found = records_in(&client.fetched(id));
    assert_eq!(found, [(0, "a".to_owned()), (1, "b".to_owned())]);
}

#[test]
fn what_waiting_cannot_bring_is_not_waited_for() {
    /// Far longer than anybody waits for a test.
    const FOR_EVER_MS: i32 = 600_000;
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["log.segment.bytes=1048576"]);
    let mut client = filled(&broker);
    // A consumer that closes its session asks for nothing.
    let nothing = FetchRequest { topics: vec![], ..fetch_request("t", 0, 0, FOR_EVER_MS) };
    let answer: FetchResponse = client.ask(FETCH, &nothing);
    assert_eq!(answer.responses.len(), 0);

    let size = i32::try_from(batch(&["a", "b"]).len()).unwrap();
    let mut ask = |topic, partition_max, max, min| {
        let mut request = fetch_request(topic, 0, 0, FOR_EVER_MS);
        (request.max_bytes, request.min_bytes) = (max, min);
        request.topics[0].partitions[0].partition_max_bytes = partition_max;
        let id = client.send(FETCH, &request);
        records_in(&client.fetched(id)).len()
    };
    assert_eq!(ask("t", 3 * size - 1, 1 << 20, 3 * size - 1), 4, "two whole batches and a part of the third");
    assert_eq!(ask("t", 1 << 20, size, 1 << 20), 2, "more than there may be in an answer");
    assert_eq!(ask("t", 1 << 20, 3 * size, 3 * size), 6);

    let mut writer = broker.client();
    writer.create("rolled", 1, &[]);
    let large = "0123456789".repeat(60_000);
    for _ in 0..2 {
        assert_eq!(writer.produce("rolled", 0, batch(&[&large])).error_code, 0);
    }
    assert_eq!(ask("rolled", i32::MAX, i32::MAX, 50 << 20), 1, "the rest is in the next segment");
}

#[test]
fn a_large_answer_arrives_whole() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("big", 1, &[]);
    let value = "0123456789".repeat(50_000);
    for _ in 0..6 {
        assert_eq!(client.produce("big", 0, batch(&[&value])).error_code, 0);
    }
    let values = client.values("big", 0, 0);
    assert_eq!(values.len(), 6);
    assert!(values.iter().all(|found| *found == value));
}

#[test]
fn what_has_left_the_page_cache_is_fetched_too() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["log.segment.bytes=1048576"]);
    let mut client = broker.client();
    client.create("cold", 1, &[]);
    // Small ones are read into memory, large ones leave by `sendfile`.
    let values = ["0123456789".repeat(50_000), "0123456789".repeat(500)];
    for _ in 0..6 {
        for value in &values {
            assert_eq!(client.produce("cold", 0, batch(&[value])).error_code, 0);
        }
    }
    let disk = ottla_host::Disk::machine();
    for entry in disk.list(dir.join("cold-0")).unwrap() {
        let file = disk.open(dir.join("cold-0").join(entry.name), ottla_host::OpenMode::Write).unwrap();
        file.sync_data().unwrap();
        file.forget(0..u64::MAX);
    }
    let found = client.values("cold", 0, 0);
    assert_eq!(found.len(), 12);
    assert!(found.iter().zip(values.iter().cycle()).all(|(found, value)| found == value));
}

#[test]
fn records_without_timestamps_grow_old_too() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["log.retention.check.interval.ms=20"]);
    let mut client = broker.client();
    client.create("untimed", 1, &[("retention.ms", "1")]);
    let untimed = BatchBuilder::new().value("x", -1).build();
    assert_eq!(client.produce("untimed", 0, untimed).error_code, 0);
    let deadline = Instant::now() + PATIENCE;
    while client.offset_at("untimed", 0, -2).offset != 1 {
        assert!(Instant::now() < deadline, "they stay");
    }
}

#[test]
fn times_are_looked_up() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = filled(&broker);
    for (timestamp, offset) in [(-1, 6), (-2, 0), (-4, 0), (0, 0), (TIME, 0), (TIME + 1, -1)] {
        let found = client.offset_at("t", 0, timestamp);
        assert_eq!((found.error_code, found.offset), (0, offset), "at {timestamp}");
    }
    assert_eq!(client.offset_at("t", 1, -1).offset, 0);
    assert_eq!(client.offset_at("t", 0, -99).error_code, UNSUPPORTED_VERSION);
    assert_eq!(client.offset_at("nowhere", 0, -1).error_code, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(client.offset_at("t", 9, -1).error_code, UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn special_times_are_known_from_their_version_on() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = filled(&broker);
    // Nothing is tiered here, and nothing waits to be.
    for (timestamp, known_from, offset) in [(-3, 7, 0), (-4, 8, 0), (-5, 9, -1), (-6, 11, -1)] {
        for version in 1..=11 {
            let found = client.offset_at_in(version, "t", 0, timestamp);
            let expected = if version < known_from { (UNSUPPORTED_VERSION, -1) } else { (0, offset) };
            assert_eq!((found.error_code, found.offset), expected, "{timestamp} v{version}");
        }
    }
}

#[test]
fn deleted_records_stay_deleted() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = filled(&broker);
    let delete = |client: &mut Client, offset| {
        let partition = DeleteRecordsPartition { partition_index: 0, offset };
        let topic = DeleteRecordsTopic { name: "t".into(), partitions: vec![partition] };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000 };
        let answer: DeleteRecordsResponse = client.ask(2, &request);
        let partition = &answer.topics[0].partitions[0];
        (partition.error_code, partition.low_watermark)
    };
    assert_eq!(delete(&mut client, 3), (0, 3));
    assert_eq!(delete(&mut client, 7), (OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete(&mut client, -2), (OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(client.fetch("t", 0, 2).error_code, OFFSET_OUT_OF_RANGE);
    assert_eq!(client.values("t", 0, 3), ["d", "e", "f"]);
    broker.kill();

    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.wait_for_leader("t", 0);
    assert_eq!(client.offset_at("t", 0, -2).offset, 3);
    assert_eq!(delete(&mut client, -1), (0, 6));
    assert_eq!(client.offset_at("t", 0, -2).offset, 6);
}

#[test]
fn what_is_not_tiered_is_nowhere_in_a_partition_that_is_there() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    broker.client().create("t", 1, &[]);
    broker.stop();
    // The second reign: a client may believe in the first.
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.wait_for_leader("t", 0);
    let reign = client.offset_at("t", 0, -1).leader_epoch;
    assert!(reign > 0);
    let mut ask = |partition_index, timestamp, current_leader_epoch| {
        let partition = ListOffsetsPartition { partition_index, timestamp, current_leader_epoch };
        let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let mut answer: ListOffsetsResponse = client.ask(11, &request);
        let row = answer.topics.remove(0).partitions.remove(0);
        (row.error_code, row.offset, row.timestamp, row.leader_epoch)
    };
    for timestamp in [-5, -6] {
        for epoch in [-1, reign] {
            assert_eq!(ask(0, timestamp, epoch), (0, -1, -1, -1));
        }
        assert_eq!(ask(1, timestamp, -1), (UNKNOWN_TOPIC_OR_PARTITION, -1, -1, -1));
        assert_eq!(ask(0, timestamp, reign - 1), (FENCED_LEADER_EPOCH, -1, -1, -1));
        assert_eq!(ask(0, timestamp, reign + 1), (UNKNOWN_LEADER_EPOCH, -1, -1, -1));
    }
}
