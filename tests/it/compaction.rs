//! Compaction, told from outside: of every key the last record stays, at its offset, over restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ottla_rules::batch::build::{BatchBuilder, BuildRecord};
use ottla_rules::batch::records::Records;
use ottla_rules::batch::{Codec, Walk, check_stored};
use ottla_wire::fetch;
use ottla_wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ottla_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ottla_wire::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse};

use crate::broker::{Broker, PATIENCE, data_dir, eventually};
use crate::client::{Client, TIME};

/// A cleaner that hardly rests, and facts that follow the log at once.
const EAGER: &[&str] = &["log.cleaner.backoff.ms=20", "log.flush.offset.checkpoint.interval.ms=20"];
const COMPACTED: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("internal.segment.bytes", "4000"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("file.delete.delay.ms", "50"),
];

/// Offset, key and value of every record, asked for batch by batch, gaps or not; and how many bytes they came in.
fn read(client: &mut Client, topic: &str, from: i64) -> Vec<(i64, String, Option<String>)> {
    let (mut found, mut next) = (Vec::new(), from);
    loop {
        let data = client.fetch(topic, 0, next);
        assert_eq!(data.error_code, 0);
        if next >= data.high_watermark {
            return found;
        }
        let Some(fetch::Records::Bytes(bytes)) = &data.records else { panic!("nothing at {next}") };
        let before = next;
        for at in Walk::over(bytes) {
            let (position, header) = at.unwrap();
            let batch = &bytes[position..position + header.size()];
            check_stored(batch).unwrap();
            let mut records = Records::of(batch, 1 << 24).unwrap();
            while let Some(record) = records.next().unwrap() {
                let offset = header.base_offset.0 + i64::from(record.offset_delta);
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                if offset >= from {
                    found.push((offset, text(record.key.unwrap()), record.value.map(text)));
                }
            }
            next = next.max(header.end().0);
        }
        assert!(next > before, "nothing from {next} to {}", data.high_watermark);
    }
}

/// What stays when everything is compacted.
#[derive(Default)]
struct Written {
    last: BTreeMap<String, (i64, Option<String>)>,
    count: i64,
}

impl Written {
    /// Writes so many records over ten keys, in batches of three, in every codec.
    fn write(&mut self, client: &mut Client, topic: &str, batches: i64) {
        let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
        for batch in 0..batches {
            let mut builder = BatchBuilder::new().codec(codecs[batch as usize % 5]);
            for offset in self.count..self.count + 3 {
                let (key, value) =
                    (format!("key-{}", offset * 7 % 10), format!("value {offset} {:060}", offset));
                builder = builder.record(&key, &value, TIME + offset);
                self.last.insert(key, (offset, Some(value)));
            }
            let answer = client.produce(topic, 0, builder.build());
            assert_eq!((answer.error_code, answer.base_offset), (0, self.count));
            self.count += 3;
        }
    }

    fn delete(&mut self, client: &mut Client, topic: &str, key: &str) {
        let record = BuildRecord { timestamp: TIME, key: Some(key.into()), ..BuildRecord::default() };
        let answer = client.produce(topic, 0, BatchBuilder::new().push(record).build());
        assert_eq!((answer.error_code, answer.base_offset), (0, self.count));
        self.last.insert(key.to_owned(), (self.count, None));
        self.count += 1;
    }

    /// Nothing is there that was not written, and of every key the last record is.
    fn check(&self, found: &[(i64, String, Option<String>)]) {
        assert!(found.is_sorted_by_key(|record| record.0));
        for (key, (offset, value)) in &self.last {
            let is_there = found.contains(&(*offset, key.clone(), value.clone()));
            assert!(is_there || value.is_none(), "{key} at {offset} is missing");
        }
        for (offset, key, value) in found {
            assert!(*offset < self.count);
            if let Some(value) = value {
                assert!(
                    value.starts_with(&format!("value {offset} "))
                        && *key == format!("key-{}", offset * 7 % 10)
                );
            }
        }
    }
}

/// Bytes of a partition's segments, the one that is written to last not counted.
fn closed_bytes(dir: &Path, partition: &str) -> u64 {
    let files = std::fs::read_dir(dir.join(partition)).unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        // One that is renamed meanwhile counts when it is looked at again.
        name.ends_with(".log").then(|| Some((name, entry.metadata().ok()?.len()))).flatten()
    });
    let mut files: Vec<_> = files.collect();
    files.sort();
    files.pop();
    files.into_iter().map(|(_, bytes)| bytes).sum()
}

#[test]
fn a_topic_with_few_keys_shrinks_and_keeps_the_last_value_of_each_over_restarts() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, EAGER);
    let mut client = broker.client();
    client.create("c", 1, COMPACTED);
    let mut written = Written::default();
    written.write(&mut client, "c", 200);
    // A round that ran while records still came leaves some for the next one.
    eventually("it does not shrink", || {
        closed_bytes(&dir, "c-0") < 6_000 && read(&mut client, "c", 0).len() < 100
    });
    written.check(&read(&mut client, "c", 0));
    assert_eq!(client.offset_at("c", 0, -2).offset, 0, "the log begins where it began");
    assert_eq!(client.offset_at("c", 0, -1).offset, written.count);
    for from in 0..written.count {
        // Which may be in a gap.
        let rest = read(&mut client, "c", from);
        let last = written.last.values().filter(|last| last.0 >= from);
        assert!(last.into_iter().all(|last| rest.iter().any(|record| record.0 == last.0)), "from {from}");
    }
    for (offset, _) in written.last.values() {
        assert_eq!(client.offset_at("c", 0, TIME + offset).offset, *offset, "by its time");
    }

    written.write(&mut client, "c", 40);
    broker.kill();
    let broker = Broker::start(&dir, EAGER);
    let mut client = broker.client();
    client.wait_for_leader("c", 0);
    written.check(&read(&mut client, "c", 0));
    written.write(&mut client, "c", 40);
    eventually("it does not shrink again", || closed_bytes(&dir, "c-0") < 6_000);
    broker.stop();
    let broker = Broker::start(&dir, EAGER);
    let mut client = broker.client();
    client.wait_for_leader("c", 0);
    written.check(&read(&mut client, "c", 0));
}

#[test]
fn a_kill_in_the_middle_of_rounds_loses_nothing() {
    let (_around, dir) = data_dir();
    let mut written = Written::default();
    for life in 0..6 {
        let broker = Broker::start(&dir, EAGER);
        let mut client = broker.client();
        if life == 0 {
            client.create("c", 1, COMPACTED);
        }
        client.wait_for_leader("c", 0);
        written.check(&read(&mut client, "c", 0));
        written.write(&mut client, "c", 60);
        broker.kill();
    }
    let broker = Broker::start(&dir, EAGER);
    let mut client = broker.client();
    client.wait_for_leader("c", 0);
    written.check(&read(&mut client, "c", 0));
    eventually("a round leaves files behind", || {
        let names = std::fs::read_dir(dir.join("c-0")).unwrap().map(|entry| entry.unwrap().file_name());
        !names.into_iter().any(|name| name.to_string_lossy().ends_with(".cleaned"))
    });
}

#[test]
fn a_producer_whose_records_are_gone_goes_on_where_it_was() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, EAGER);
    let mut client = broker.client();
    client.create("c", 1, COMPACTED);
    // A producer is forgotten a day after its last record, by the record's own time.
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let produce = |client: &mut Client, sequence: i32, count| {
        let add = |batch: BatchBuilder, _| batch.record("key-0", "mine", time);
        let batch = (0..count).fold(BatchBuilder::new(), add).producer(9, 0, sequence);
        let answer = client.produce("c", 0, batch.build());
        (answer.error_code, answer.base_offset)
    };
    assert_eq!(produce(&mut client, 0, 2), (0, 0));
    assert_eq!(produce(&mut client, 2, 3), (0, 2));
    let mut written = Written { count: 5, ..Written::default() };
    written.write(&mut client, "c", 200);
    eventually("the producer's records stay", || {
        read(&mut client, "c", 0).iter().all(|record| record.0 >= 5)
    });
    let is_known = |client: &mut Client| {
        assert_eq!(produce(client, 2, 3), (0, 2), "it is in the log, though its records are not");
        assert_eq!(produce(client, 6, 1), (45, -1), "OUT_OF_ORDER_SEQUENCE_NUMBER");
    };
    is_known(&mut client);
    broker.kill();
    let broker = Broker::start(&dir, EAGER);
    let mut client = broker.client();
    client.wait_for_leader("c", 0);
    is_known(&mut client);
    broker.stop();
    let broker = Broker::start(&dir, EAGER);
    let mut client = broker.client();
    client.wait_for_leader("c", 0);
    is_known(&mut client);
    assert_eq!(produce(&mut client, 5, 1), (0, written.count), "what comes next is taken, once");
    assert_eq!(produce(&mut client, 5, 1), (0, written.count));
    let found = read(&mut client, "c", 0);
    assert_eq!(found.last(), Some(&(written.count, "key-0".to_owned(), Some("mine".to_owned()))));
}

#[test]
fn a_deleted_key_goes_after_its_time() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, EAGER);
    let mut client = broker.client();
    let settings = [COMPACTED, &[("delete.retention.ms", "100")]].concat();
    client.create("c", 1, &settings);
    client.create("kept", 1, COMPACTED);
    for topic in ["c", "kept"] {
        let mut written = Written::default();
        written.write(&mut client, topic, 20);
        written.delete(&mut client, topic, "key-3");
        let tombstone = written.count - 1;
        let (mut rounds, mut is_there) = (0, true);
        let deadline = Instant::now() + PATIENCE;
        // Each round needs something new to be worth it.
        while (topic == "kept" && rounds < 40) || (topic == "c" && is_there) {
            assert!(Instant::now() < deadline, "the tombstone stays");
            let other = |builder: BatchBuilder, n| builder.record("other", format!("{n:0200}"), TIME);
            let answer = client.produce(topic, 0, (0..10).fold(BatchBuilder::new(), other).build());
            assert_eq!(answer.error_code, 0);
            let found = read(&mut client, topic, 0);
            is_there = found.iter().any(|record| record.0 == tombstone);
            let older = found.iter().any(|record| record.1 == "key-3" && record.2.is_some());
            assert!(is_there || !older, "the key is there again");
            rounds += 1;
        }
        assert!(is_there == (topic == "kept"), "{topic}");
    }
}

#[test]
fn compaction_and_deletion_go_together() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, EAGER);
    let mut client = broker.client();
    let settings =
        [&COMPACTED[1..], &[("cleanup.policy", "compact,delete"), ("retention.ms", "-1")]].concat();
    client.create("c", 1, &settings);
    let mut written = Written::default();
    written.write(&mut client, "c", 100);
    for upto in [10, 150, 299] {
        let partition = DeleteRecordsPartition { partition_index: 0, offset: upto };
        let topic = DeleteRecordsTopic { name: "c".into(), partitions: vec![partition] };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 10_000 };
        let answer: DeleteRecordsResponse = client.ask(2, &request);
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        written.write(&mut client, "c", 5);
        let found = read(&mut client, "c", upto);
        written.check(&found);
        assert_eq!(client.fetch("c", 0, upto - 1).error_code, 1, "nothing before the start is read");
    }
}

/// Commits one offset for each of so many partitions.
fn commit(client: &mut Client, partitions: i32, offset: i64) {
    let partition = |index| OffsetCommitRequestPartition {
        partition_index: index,
        committed_offset: offset,
        committed_leader_epoch: -1,
        committed_metadata: Some("x".repeat(500)),
    };
    let topic = OffsetCommitRequestTopic {
        name: "t".into(),
        partitions: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let answer: OffsetCommitResponse = client.ask(8, &request);
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

#[test]
fn committed_offsets_do_not_grow_for_ever_and_are_read_again() {
    let (_around, dir) = data_dir();
    let settings = [
        EAGER,
        &[
            "offsets.topic.num.partitions=1",
            "offsets.topic.segment.bytes=1048576",
            "log.cleaner.min.cleanable.ratio=0.1",
        ],
    ]
    .concat();
    let broker = Broker::start(&dir, &settings);
    let mut client = broker.client();
    client.create("t", 20, &[]);
    let find = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    let answer: FindCoordinatorResponse = client.ask(4, &find);
    assert_eq!(answer.coordinators[0].error_code, 0);
    // About 4 MiB of offsets, over and over the same.
    for offset in 1..=350 {
        commit(&mut client, 20, offset);
    }
    eventually("the offsets topic does not shrink", || closed_bytes(&dir, "__consumer_offsets-0") < 1 << 20);
    broker.kill();

    let broker = Broker::start(&dir, &settings);
    let mut client = broker.client();
    let group = OffsetFetchRequestGroup { group_id: "g".into(), topics: None, ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    eventually("the offsets are not as they were committed", || {
        let answer: OffsetFetchResponse = client.ask(8, &request);
        let group = &answer.groups[0];
        group.error_code == 0
            && group.topics[0].partitions.len() == 20
            && group.topics[0].partitions.iter().all(|partition| partition.committed_offset == 350)
    });
}
