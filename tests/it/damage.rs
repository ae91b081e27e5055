//! Damage in the logs that the coordinators keep, and in closed segments of users: what cannot be read is lost, with a word about
//! it, and nothing else is.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::BytesMut;
use ottla_host::{Chance, Disk};
use ottla_rules::batch::build::BatchBuilder;
use ottla_rules::batch::{Walk, check_stored};
use ottla_rules::ids::PartitionId;
use ottla_store::facts::checkpoint;
use ottla_store::{FactsKind, Store};
use ottla_wire::fetch::Records;
use ottla_wire::frame;
use ottla_wire::header::RequestHeader;
use ottla_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ottla_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use ottla_wire::messages::produce::ProduceResponse;
use ottla_wire::{Message, produce::ProduceRequest};

use crate::broker::{Broker, PATIENCE, data_dir};
use crate::client::{Client, PRODUCE, TIME, produce_request};
use crate::transactions::{Writer, until_done};

const SETTINGS: &[&str] = &["offsets.topic.num.partitions=1", "transaction.state.log.num.partitions=1"];
const GROUPS: [&str; 3] = ["first", "second", "third"];
const OFFSETS: &str = "__consumer_offsets";
const TRANSACTIONS: &str = "__transaction_state";
const CORRUPT_MESSAGE: i16 = 2;
/// Bytes that stand nowhere else in a log.
const AT: i64 = 0x11_2233_4455;
const LOST: &str = "a batch of a coordinator's records cannot be read, its keys are lost";

fn find(client: &mut Client) {
    let request = FindCoordinatorRequest { coordinator_keys: vec!["first".into()], ..Default::default() };
    let answer: FindCoordinatorResponse = client.ask(4, &request);
    assert_eq!(answer.coordinators[0].error_code, 0);
}

fn commit(client: &mut Client, group: &str, offset: i64) {
    let answer = until_done(
        || try_commit(client, group, offset),
        |answer: &OffsetCommitResponse| answer.topics[0].partitions[0].error_code,
    );
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

fn try_commit(client: &mut Client, group: &str, offset: i64) -> OffsetCommitResponse {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let topic =
        OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    client.ask(8, &request)
}

/// Where the groups stand; asks again while the coordinator still loads.
fn committed(client: &mut Client) -> Vec<i64> {
    let topic =
        OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
    let group = |group: &str| OffsetFetchRequestGroup {
        group_id: group.into(),
        topics: Some(vec![topic.clone()]),
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: GROUPS.map(group).into(), ..Default::default() };
    let begun = Instant::now();
    loop {
        let answer: OffsetFetchResponse = client.ask(8, &request);
        if answer.groups.iter().all(|group| group.error_code == 0) {
            return answer.groups.iter().map(|it| it.topics[0].partitions[0].committed_offset).collect();
        }
        assert!(begun.elapsed() < PATIENCE, "the groups are still loading");
    }
}

/// Every batch in a segment of its own: all but the last are closed, and not looked at when a broker starts.
fn create(client: &mut Client, topic: &str) {
    let dirty = ("min.cleanable.dirty.ratio", "0.01");
    client.create(topic, 1, &[("cleanup.policy", "compact"), ("internal.segment.bytes", "100"), dirty]);
}

/// The segment of an internal topic in which these bytes stand, what is in it, and where they begin.
fn segment(dir: &Path, topic: &str, wanted: &[u8]) -> (PathBuf, Vec<u8>, usize) {
    let mut open = vec![dir.to_path_buf()];
    while let Some(place) = open.pop() {
        if place.is_dir() {
            open.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        } else if place.to_string_lossy().contains(&format!("{topic}-0"))
            && place.extension().is_some_and(|kind| kind == "log")
        {
            let bytes = fs::read(&place).unwrap();
            if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
                return (place, bytes, at);
            }
        }
    }
    panic!("no segment of {topic} has it");
}

/// Flips a bit of the byte that stands `behind` the first place of these bytes.
fn flip(dir: &Path, topic: &str, wanted: &[u8], behind: usize) {
    let (file, mut bytes, at) = segment(dir, topic, wanted);
    bytes[at + behind] ^= 0x10;
    fs::write(&file, bytes).unwrap();
}

/// Where in a batch a bit flips: in each field of its header, under the CRC and outside of it.
const FLIPS: [(&str, usize, u8); 9] = [
    ("base offset, upwards", 7, 0x20),
    ("base offset, out of sight", 1, 0x10),
    ("length, longer", 11, 0x40),
    ("length, out of sight", 8, 0x40),
    ("length, negative", 8, 0x80),
    ("magic", 16, 0x04),
    ("crc", 18, 0x10),
    ("last offset delta", 26, 0x10),
    ("count", 60, 0x10),
];

/// Flips a bit in the header of the batch in which these bytes stand for the first time.
fn flip_header(dir: &Path, topic: &str, wanted: &[u8], byte: usize, bit: u8) {
    let (file, mut bytes, at) = segment(dir, topic, wanted);
    let batch = Walk::over(&bytes).map(|found| found.unwrap().0).take_while(|start| *start < at).last();
    bytes[batch.unwrap() + byte] ^= bit;
    fs::write(&file, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    try_copy(from, to).unwrap();
}

fn try_copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let there = to.join(entry.file_name());
        if entry.path().is_dir() {
            try_copy(&entry.path(), &there)?;
        } else {
            fs::copy(entry.path(), there)?;
        }
    }
    Ok(())
}

/// Flips one bit after another in the header of the batch that has these bytes, each in a copy of the directory; what then.
fn each_flip(dir: &Path, topic: &str, wanted: &[u8], then: impl Fn(&Path, &str)) {
    for (what, byte, bit) in FLIPS {
        let (_around, spoiled) = data_dir();
        copy(dir, &spoiled);
        flip_header(&spoiled, topic, wanted, byte, bit);
        then(&spoiled, what);
    }
}

/// The groups are where they are expected to be, the log has a word about what is not, and all can commit again.
fn groups_go_on(dir: &Path, expected: [i64; 3], what: &str) {
    let broker = Broker::start(dir, SETTINGS);
    let mut client = broker.client();
    assert_eq!(committed(&mut client), expected, "{what}: {}", broker.log());
    let is_lost = expected.contains(&-1);
    assert_eq!(broker.log().contains(LOST), is_lost, "{what}: {}", broker.log());
    assert!(!is_lost || broker.log().contains("__consumer_offsets-0"), "{what}: {}", broker.log());
    for (group, more) in GROUPS.into_iter().zip(10..) {
        commit(&mut client, group, AT + more);
    }
    broker.kill();
    let broker = Broker::start(dir, SETTINGS);
    assert_eq!(committed(&mut broker.client()), [AT + 10, AT + 11, AT + 12], "{what}: {}", broker.log());
    broker.stop();
    let broker = Broker::start(dir, SETTINGS);
    assert_eq!(committed(&mut broker.client()), [AT + 10, AT + 11, AT + 12], "{what}: {}", broker.log());
}

#[test]
fn a_flip_in_the_last_segment_after_a_clean_stop_costs_one_group_its_offset() {
    let (_around, dir) = data_dir();
    groups_that_committed(&dir, false);
    let second = (AT + 1).to_be_bytes();
    each_flip(&dir, OFFSETS, &second, |dir, what| groups_go_on(dir, [AT, -1, AT + 2], what));
    flip(&dir, OFFSETS, &second, 6);
    groups_go_on(&dir, [AT, -1, AT + 2], "record");
}

#[test]
fn a_flip_in_a_closed_segment_costs_one_group_its_offset() {
    let (_around, dir) = data_dir();
    groups_that_committed(&dir, true);
    let second = (AT + 1).to_be_bytes();
    each_flip(&dir, OFFSETS, &second, |dir, what| groups_go_on(dir, [AT, -1, AT + 2], what));
}

/// A broker at which each group has committed, and nothing else has come after that.
fn everyone_commits(dir: &Path) -> Broker {
    let broker = Broker::start(dir, SETTINGS);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    find(&mut client);
    for (group, more) in GROUPS.into_iter().zip(0..) {
        commit(&mut client, group, AT + more);
    }
    broker
}

#[test]
fn a_flip_in_the_last_batch_of_all_costs_one_group_its_offset() {
    let (_around, dir) = data_dir();
    everyone_commits(&dir).stop();
    let third = (AT + 2).to_be_bytes();
    each_flip(&dir, OFFSETS, &third, |dir, what| groups_go_on(dir, [AT, AT + 1, -1], what));
}

#[test]
fn after_kill_9_a_flip_costs_what_the_journal_does_not_have_any_more() {
    let (_around, dir) = data_dir();
    everyone_commits(&dir).kill();
    // All of it is in the journal.
    let second = (AT + 1).to_be_bytes();
    each_flip(&dir, OFFSETS, &second, |dir, what| groups_go_on(dir, [AT, AT + 1, AT + 2], what));
    // And no more of it, once it is known to be in the log.
    Broker::start(&dir, SETTINGS).stop();
    let broker = Broker::start(&dir, SETTINGS);
    let mut client = broker.client();
    committed(&mut client);
    commit(&mut client, "third", AT + 5);
    broker.kill();
    each_flip(&dir, OFFSETS, &second, |dir, what| groups_go_on(dir, [AT, -1, AT + 5], what));
    let third = (AT + 5).to_be_bytes();
    each_flip(&dir, OFFSETS, &third, |dir, what| groups_go_on(dir, [AT, AT + 1, AT + 5], what));
}

/// The transactional ids are who they were, but for the second if it is lost; and a second time.
fn ids_go_on(dir: &Path, before: [i64; 3], is_lost: bool, what: &str) {
    let broker = Broker::start(dir, SETTINGS);
    let after = GROUPS.map(|id| Writer::begin(&broker, id).producer);
    assert_eq!((after[0], after[2]), (before[0], before[2]), "{what}: {}", broker.log());
    assert_eq!(before.contains(&after[1]), !is_lost, "{what}: {before:?} {after:?}");
    assert_eq!(broker.log().contains(LOST), is_lost, "{what}: {}", broker.log());
    broker.kill();
    let broker = Broker::start(dir, SETTINGS);
    assert_eq!(GROUPS.map(|id| Writer::begin(&broker, id).producer), after, "{what}: {}", broker.log());
    broker.stop();
}

#[test]
fn a_flip_in_the_log_of_transactions_costs_one_id_its_producer() {
    for apart in [false, true] {
        let (_around, dir) = data_dir();
        let broker = Broker::start(&dir, SETTINGS);
        if apart {
            create(&mut broker.client(), TRANSACTIONS);
        }
        let before = GROUPS.map(|id| Writer::begin(&broker, id).producer);
        broker.stop();
        each_flip(&dir, TRANSACTIONS, b"second", |dir, what| ids_go_on(dir, before, true, what));
    }
}

#[test]
fn after_kill_9_the_journal_knows_every_transactional_id() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, SETTINGS);
    let before = GROUPS.map(|id| Writer::begin(&broker, id).producer);
    broker.kill();
    each_flip(&dir, TRANSACTIONS, b"second", |dir, what| ids_go_on(dir, before, false, what));
}

#[test]
fn a_damaged_segment_is_compacted_and_so_is_what_comes_after_it() {
    let (_around, dir) = data_dir();
    groups_that_committed(&dir, true);
    flip_header(&dir, OFFSETS, &(AT + 1).to_be_bytes(), 11, 0x40);
    let eager =
        [SETTINGS, &["log.cleaner.backoff.ms=20", "log.flush.offset.checkpoint.interval.ms=20"]].concat();
    let broker = Broker::start(&dir, &eager);
    let mut client = broker.client();
    assert_eq!(committed(&mut client), [AT, -1, AT + 2]);
    let until = |wanted: &dyn Fn(&str) -> bool, client: &mut Client| {
        let begun = Instant::now();
        while !wanted(&broker.log()) {
            commit(client, "third", AT + 3);
            assert!(begun.elapsed() < PATIENCE, "{}", broker.log());
        }
    };
    until(&|log| log.contains("compaction leaves it out"), &mut client);
    let rounds = |log: &str| log.matches(" compacted ").count();
    let before = rounds(&broker.log());
    until(&|log| rounds(log) > before + 2, &mut client);
    assert!(!broker.log().contains("not compacted any more"), "{}", broker.log());
    broker.stop();

    fs::remove_file(dir.with_extension("log")).unwrap();
    let broker = Broker::start(&dir, SETTINGS);
    assert_eq!(committed(&mut broker.client()), [AT, -1, AT + 3]);
    assert!(!broker.log().contains(LOST), "{}", broker.log());
}

/// Whether the batch at an offset is there as it was written, with this value.
fn holds(client: &mut Client, offset: i64, value: &str) -> bool {
    let data = client.fetch("u", 0, offset);
    if data.error_code == CORRUPT_MESSAGE {
        return false;
    }
    assert_eq!(data.error_code, 0);
    let Some(Records::Bytes(bytes)) = &data.records else { panic!("nothing at {offset}") };
    let (start, header) = Walk::over(bytes).next().unwrap().unwrap();
    let first = &bytes[start..start + header.size()];
    check_stored(first).is_ok() && first.windows(value.len()).any(|window| window == value.as_bytes())
}

/// Two batches in a segment; a flip in the last one of a closed segment, where a start looks, costs that batch and not the
/// partition.
#[test]
fn a_flip_at_the_end_of_a_closed_segment_of_a_user_costs_one_batch() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, SETTINGS);
    let mut client = broker.client();
    client.create("u", 1, &[("internal.segment.bytes", "170")]);
    let written: Vec<String> = (0..7).map(|n| format!("value-{n}")).collect();
    // A start looks for the newest record of each segment.
    let later = |value: &str, by: i64| BatchBuilder::new().value(value, TIME + by).build();
    for (value, by) in written[..6].iter().zip(0..) {
        assert_eq!(client.produce("u", 0, later(value, by)).error_code, 0);
    }
    broker.stop();
    let broker = Broker::start(&dir, SETTINGS);
    assert_eq!(broker.client().produce("u", 0, later(&written[6], 6)).error_code, 0);
    broker.kill();

    let told = Cell::new(0);
    each_flip(&dir, "u", b"value-3", |dir, what| {
        let broker = Broker::start(dir, SETTINGS);
        let mut client = broker.client();
        client.wait_for_leader("u", 0);
        for (value, offset) in written.iter().zip(0..) {
            let is_there = holds(&mut client, offset, value);
            assert_eq!(is_there, value != "value-3", "{value}, {what}: {}", broker.log());
        }
        assert_eq!(client.produce("u", 0, later("more", 7)).error_code, 0, "{what}");
        told.set(told.get() + usize::from(broker.log().contains("a closed segment is damaged")));
        broker.kill();
        let broker = Broker::start(dir, SETTINGS);
        let mut client = broker.client();
        client.wait_for_leader("u", 0);
        assert!(holds(&mut client, 7, "more"), "{what}: {}", broker.log());
    });
    assert!(told.get() > 0, "no start has looked there");
}

/// Up to where the partition's facts say that it is synced, in a broker that runs. None while nobody can say.
fn synced(dir: &Path) -> Option<i64> {
    let place = fs::read_to_string(dir.join("u-0/partition.metadata")).ok()?;
    let topic = place.lines().find_map(|line| line.strip_prefix("topic_id:"))?.trim().parse().ok()?;
    let (_around, taken) = data_dir();
    try_copy(&dir.join(".ottla"), &taken.join(".ottla")).ok()?;
    let store = Store::open(Disk::machine(), taken, FactsKind::Sled, Chance::machine()).ok()?;
    let at = checkpoint::get(store.facts(), PartitionId { topic, index: 0 }).ok()??;
    Some(at.recovery_point.0)
}

/// The records of a user, of which everything is synced and the journal still has everything.
fn written_and_killed(dir: &Path) -> Vec<String> {
    let often = [SETTINGS, &["log.flush.offset.checkpoint.interval.ms=20"]].concat();
    let broker = Broker::start(dir, &often);
    let mut client = broker.client();
    client.create("u", 1, &[("internal.segment.bytes", "170")]);
    let written: Vec<String> = (0..7).map(|n| format!("value-{n}")).collect();
    for (value, by) in written.iter().zip(0..) {
        let batch = BatchBuilder::new().value(value, TIME + by).build();
        assert_eq!(client.produce("u", 0, batch).error_code, 0);
    }
    let begun = Instant::now();
    while synced(dir) != Some(7) {
        assert!(begun.elapsed() < PATIENCE, "{:?}: {}", synced(dir), broker.log());
    }
    broker.kill();
    written
}

/// All records are there, and the log says that some were put back.
fn is_mended(dir: &Path, written: &[String], said: &str, what: &str) {
    let broker = Broker::start(dir, SETTINGS);
    let mut client = broker.client();
    client.wait_for_leader("u", 0);
    for (value, offset) in written.iter().zip(0..) {
        assert!(holds(&mut client, offset, value), "{value}, {what}: {}", broker.log());
    }
    assert!(broker.log().contains(said), "{what}: {}", broker.log());
}

#[test]
fn what_the_journal_still_has_of_a_user_is_put_back() {
    let (_around, dir) = data_dir();
    let written = written_and_killed(&dir);
    for value in ["value-2", "value-3", "value-6"] {
        let said = "a damaged batch is put back, the journal has it";
        each_flip(&dir, "u", value.as_bytes(), |dir, what| is_mended(dir, &written, said, what));
    }
    for value in ["value-0", "value-2", "value-6"] {
        let (_around, spoiled) = data_dir();
        copy(&dir, &spoiled);
        fs::remove_file(segment(&spoiled, "u", value.as_bytes()).0).unwrap();
        is_mended(&spoiled, &written, "records that no segment has are put back", value);
    }
}

#[test]
fn a_segment_of_a_user_that_is_gone_for_good_is_told() {
    let (_around, dir) = data_dir();
    let written = written_and_killed(&dir);
    // A clean stop leaves the journal with nothing to say.
    let broker = Broker::start(&dir, SETTINGS);
    broker.client().wait_for_leader("u", 0);
    assert!(!broker.log().contains("records are missing"), "{}", broker.log());
    broker.stop();
    fs::remove_file(segment(&dir, "u", b"value-2").0).unwrap();

    let broker = Broker::start(&dir, SETTINGS);
    let mut client = broker.client();
    client.wait_for_leader("u", 0);
    let said = broker.log();
    assert!(said.contains("records are missing") && said.contains("partition=u-0 from=2 upto=4"), "{said}");
    for (value, offset) in written.iter().zip(0..).filter(|(_, offset)| !(2..4).contains(offset)) {
        assert!(holds(&mut client, offset, value), "{value}: {said}");
    }
    assert!(holds(&mut client, 2, "value-4"), "a reader goes on behind the hole");
}

/// Three groups, each with a segment of its own where `apart`, and one behind them.
fn groups_that_committed(dir: &Path, apart: bool) {
    let broker = Broker::start(dir, SETTINGS);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    if apart {
        create(&mut client, OFFSETS);
    }
    find(&mut client);
    for (group, more) in GROUPS.into_iter().zip(0..) {
        commit(&mut client, group, AT + more);
    }
    commit(&mut client, "last", 1);
    broker.stop();
}

#[test]
fn a_flipped_bit_in_a_committed_offset_loses_that_offset_alone() {
    let (_around, dir) = data_dir();
    groups_that_committed(&dir, true);
    flip(&dir, OFFSETS, &(AT + 1).to_be_bytes(), 6);

    let broker = Broker::start(&dir, SETTINGS);
    let mut client = broker.client();
    assert_eq!(committed(&mut client), [AT, -1, AT + 2]);
    assert!(broker.log().contains(LOST), "{}", broker.log());
    for (group, more) in GROUPS.into_iter().zip(10..) {
        commit(&mut client, group, AT + more);
    }
    broker.stop();

    let broker = Broker::start(&dir, SETTINGS);
    assert_eq!(committed(&mut broker.client()), [AT + 10, AT + 11, AT + 12]);
}

#[test]
fn a_record_that_makes_no_sense_is_lost_alone() {
    let (_around, dir) = data_dir();
    groups_that_committed(&dir, false);
    let broker = Broker::start(&dir, SETTINGS);
    let mut client = broker.client();
    committed(&mut client);
    // An offset's key, with a value that ends in its middle; and a key that ends in its middle.
    let key = [b"\0\x01\0\x05third\0\x01t".as_slice(), &0_i32.to_be_bytes()].concat();
    let batch = BatchBuilder::new()
        .record(&key, b"\0\x03\0\0", TIME)
        .record(b"\0\x01\0\x40x", b"\0\x03", TIME)
        .record(b"", b"", TIME);
    assert_eq!(produce_inside(&mut client, OFFSETS, batch.build()), 0);
    broker.kill();

    let broker = Broker::start(&dir, SETTINGS);
    let mut client = broker.client();
    assert_eq!(committed(&mut client), [AT, AT + 1, AT + 2]);
    assert!(broker.log().contains("a record is lost"), "{}", broker.log());
    commit(&mut client, "third", 7);
    assert_eq!(committed(&mut client), [AT, AT + 1, 7]);
}

/// Produces to an internal topic, as only somebody of this name may; the error.
fn produce_inside(client: &mut Client, topic: &str, records: BytesMut) -> i16 {
    let header = RequestHeader {
        key: ProduceRequest::KEY,
        version: PRODUCE,
        correlation_id: 77,
        client_id: Some("__admin_client".into()),
    };
    client.send_bytes(&frame::request(&header, &produce_request(topic, 0, -1, Some(records))));
    let answer: ProduceResponse = client.receive(PRODUCE, 77);
    answer.responses[0].partition_responses[0].error_code
}

#[test]
fn damage_in_the_log_of_transactions_loses_the_id_that_it_hits_alone() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, SETTINGS);
    create(&mut broker.client(), TRANSACTIONS);
    let before = GROUPS.map(|id| Writer::begin(&broker, id).producer);
    broker.stop();
    flip(&dir, TRANSACTIONS, b"second", 6 + 8);

    let broker = Broker::start(&dir, SETTINGS);
    let after = GROUPS.map(|id| Writer::begin(&broker, id).producer);
    assert!(broker.log().contains(LOST), "{}", broker.log());
    assert_eq!((after[0], after[2]), (before[0], before[2]));
    assert!(!before.contains(&after[1]), "it is somebody new: {before:?} {after:?}");
    // A value that makes no sense: the broker serves on.
    let mut client = broker.client();
    let batch = BatchBuilder::new().record(b"\0\0\0\x05third", b"\0\x01\0\0", TIME);
    assert_eq!(produce_inside(&mut client, TRANSACTIONS, batch.build()), 0);
    broker.kill();

    let broker = Broker::start(&dir, SETTINGS);
    assert_eq!(GROUPS.map(|id| Writer::begin(&broker, id).producer), after);
    assert!(broker.log().contains("a record of a transaction is lost"), "{}", broker.log());
}
