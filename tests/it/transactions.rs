//! Transactions of producers: what readers of committed records see, who is fenced, and what a restart keeps.

use std::collections::BTreeMap;
use std::time::Instant;

use ottla_rules::batch::Walk;
use ottla_rules::batch::build::BatchBuilder;
use ottla_wire::fetch::Records;
use ottla_wire::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use ottla_wire::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, TopicRequest,
};
use ottla_wire::messages::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse,
};
use ottla_wire::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use ottla_wire::messages::fetch::PartitionData;
use ottla_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ottla_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use ottla_wire::messages::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
use ottla_wire::messages::produce::ProduceResponse;
use ottla_wire::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

use crate::broker::{Broker, PATIENCE, data_dir, eventually};
use crate::client::{Client, FETCH, TIME, fetch_request, produce_request, records_in};

pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(crate) const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const NOT_ENOUGH_REPLICAS: i16 = 19;
pub(crate) const INVALID_PRODUCER_EPOCH: i16 = 47;
pub(crate) const INVALID_TXN_STATE: i16 = 48;
pub(crate) const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
const INVALID_TRANSACTION_TIMEOUT: i16 = 50;
pub(crate) const CONCURRENT_TRANSACTIONS: i16 = 51;
const TRANSACTION_COORDINATOR_FENCED: i16 = 52;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;
const OPERATION_NOT_ATTEMPTED: i16 = 55;
pub(crate) const PRODUCER_FENCED: i16 = 90;
pub(crate) const TRANSACTION_ABORTABLE: i16 = 120;

/// What a client tries again.
const NOT_YET: [i16; 5] = [
    COORDINATOR_LOAD_IN_PROGRESS,
    COORDINATOR_NOT_AVAILABLE,
    NOT_COORDINATOR,
    NOT_ENOUGH_REPLICAS,
    CONCURRENT_TRANSACTIONS,
];

/// The version in which partitions join by being written to, the one before, and one that does not know TRANSACTION_ABORTABLE.
const PRODUCE_V2: i16 = 12;
const PRODUCE_V1: i16 = 11;
const PRODUCE_OLD: i16 = 10;

/// A transactional producer, by hand.
pub(crate) struct Writer {
    pub(crate) client: Client,
    pub(crate) id: &'static str,
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    /// Of each partition the next one.
    sequences: BTreeMap<(String, i32), i32>,
}

impl Writer {
    /// Finds the coordinator and begins a session.
    pub(crate) fn begin(broker: &Broker, id: &'static str) -> Writer {
        let mut writer =
            Writer { client: broker.client(), id, producer: -1, epoch: -1, sequences: BTreeMap::new() };
        let find = FindCoordinatorRequest {
            key_type: 1,
            coordinator_keys: vec![id.to_owned()],
            ..Default::default()
        };
        let found: FindCoordinatorResponse = writer.client.ask(6, &find);
        assert_eq!(found.coordinators[0].error_code, 0);
        writer.session(60_000);
        writer
    }

    /// Another session.
    pub(crate) fn session(&mut self, transaction_timeout_ms: i32) {
        let request = InitProducerIdRequest {
            transactional_id: Some(self.id.to_owned()),
            transaction_timeout_ms,
            producer_id: -1,
            producer_epoch: -1,
        };
        let answer: InitProducerIdResponse =
            until_done(|| self.client.ask(5, &request), |answer: &InitProducerIdResponse| answer.error_code);
        assert_eq!(answer.error_code, 0);
        self.goes_on_as(answer.producer_id, answer.producer_epoch);
    }

    fn goes_on_as(&mut self, producer: i64, epoch: i16) {
        (self.producer, self.epoch) = (producer, epoch);
        self.sequences.clear();
    }

    /// Writes one record; the error.
    fn try_write(&mut self, version: i16, topic: &str, partition: i32, value: &str) -> i16 {
        let sequence = self.sequences.entry((topic.to_owned(), partition)).or_default();
        let batch = BatchBuilder::new().transactional().producer(self.producer, self.epoch, *sequence);
        let mut request = produce_request(topic, partition, -1, Some(batch.value(value, TIME).build()));
        request.transactional_id = Some(self.id.to_owned());
        let mut answer: ProduceResponse = self.client.ask(version, &request);
        let code = answer.responses.remove(0).partition_responses.remove(0).error_code;
        *sequence += i32::from(code == 0);
        code
    }

    pub(crate) fn write(&mut self, topic: &str, partition: i32, value: &str) {
        let code = until_done(|| self.try_write(PRODUCE_V2, topic, partition, value), |code| *code);
        assert_eq!(code, 0, "{value}");
    }

    pub(crate) fn add(&mut self, topic: &str, partitions: &[i32]) -> Vec<i16> {
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.id.to_owned(),
            v3_and_below_producer_id: self.producer,
            v3_and_below_producer_epoch: self.epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: topic.to_owned(),
                partitions: partitions.to_vec(),
            }],
            ..Default::default()
        };
        let mut answer: AddPartitionsToTxnResponse = self.client.ask(3, &request);
        let results = answer.results_by_topic_v3_and_below.remove(0).results_by_partition;
        results.iter().map(|result| result.partition_error_code).collect()
    }

    pub(crate) fn try_end(&mut self, version: i16, committed: bool) -> EndTxnResponse {
        let request = EndTxnRequest {
            transactional_id: self.id.to_owned(),
            producer_id: self.producer,
            producer_epoch: self.epoch,
            committed,
        };
        until_done(|| self.client.ask(version, &request), |answer: &EndTxnResponse| answer.error_code)
    }

    /// Ends the transaction under the rules of version 2, and takes the session that follows.
    pub(crate) fn end(&mut self, committed: bool) {
        let answer = self.try_end(5, committed);
        assert_eq!(answer.error_code, 0);
        assert!(answer.producer_epoch > self.epoch, "the epoch is raised by every end");
        self.goes_on_as(answer.producer_id, answer.producer_epoch);
    }

    pub(crate) fn state(&mut self) -> String {
        let request = DescribeTransactionsRequest { transactional_ids: vec![self.id.to_owned()] };
        let mut answer: DescribeTransactionsResponse = self.client.ask(0, &request);
        answer.transaction_states.remove(0).transaction_state
    }
}

/// Asks again as long as a client would.
pub(crate) fn until_done<T>(mut ask: impl FnMut() -> T, code: impl Fn(&T) -> i16) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if !NOT_YET.contains(&code(&answer)) {
            return answer;
        }
        assert!(Instant::now() < deadline, "error {} again and again", code(&answer));
    }
}

/// What a reader of committed records is sent from an offset on.
fn fetch_committed(client: &mut Client, topic: &str, partition: i32, offset: i64) -> PartitionData {
    let mut request = fetch_request(topic, partition, offset, 0);
    request.isolation_level = 1;
    let id = client.send(FETCH, &request);
    client.fetched(id)
}

/// The values that a reader of committed records keeps: it drops the batches of aborted transactions, and markers.
fn committed(client: &mut Client, topic: &str, partition: i32) -> Vec<String> {
    let (mut kept, mut from) = (Vec::new(), 0);
    loop {
        let data = fetch_committed(client, topic, partition, from);
        assert_eq!(data.error_code, 0);
        let end = keep(&data, &mut kept);
        let Some(end) = end.filter(|end| *end > from) else { return kept };
        from = end;
    }
}

/// Takes the values of one answer; where its records end.
fn keep(data: &PartitionData, kept: &mut Vec<String>) -> Option<i64> {
    let mut aborted = data.aborted_transactions.clone().unwrap();
    assert!(aborted.is_sorted_by_key(|row| row.first_offset), "clients take them in this order");
    let Some(Records::Bytes(bytes)) = &data.records else { return None };
    let (mut skipping, mut end) = (Vec::new(), None);
    for found in Walk::over(bytes) {
        let (at, header) = found.unwrap();
        end = Some(header.end().0);
        while aborted.first().is_some_and(|row| row.first_offset < header.end().0) {
            skipping.push(aborted.remove(0).producer_id);
        }
        if header.attributes.is_control() {
            skipping.retain(|producer| *producer != header.producer_id.0);
            continue;
        }
        if skipping.contains(&header.producer_id.0) {
            continue;
        }
        let records = Some(Records::Bytes(bytes.slice(at..at + header.size())));
        let only = PartitionData { records, ..PartitionData::default() };
        kept.extend(records_in(&only).into_iter().map(|(_, value)| value));
    }
    end
}

/// Waits until a reader of committed records sees just these values.
pub(crate) fn see(client: &mut Client, topic: &str, partition: i32, wanted: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = committed(client, topic, partition);
        if seen == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{seen:?} instead of {wanted:?}");
    }
}

#[test]
fn committed_records_are_seen_and_aborted_ones_are_not() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut reader = broker.client();
    reader.create("t", 2, &[]);
    let mut writer = Writer::begin(&broker, "orders");

    writer.write("t", 0, "one");
    writer.write("t", 1, "two");
    assert_eq!(committed(&mut reader, "t", 0), Vec::<String>::new(), "nothing is decided yet");
    assert_eq!(reader.fetch("t", 0, 0).high_watermark, 1, "who reads everything sees it at once");
    writer.end(true);
    see(&mut reader, "t", 0, &["one"]);
    see(&mut reader, "t", 1, &["two"]);

    writer.write("t", 0, "never");
    writer.end(false);
    writer.write("t", 0, "three");
    writer.end(true);
    see(&mut reader, "t", 0, &["one", "three"]);
    // Markers have today's time and records another: each begins a segment, and a Fetch is answered from one.
    let data = fetch_committed(&mut reader, "t", 0, 0);
    assert_eq!(data.aborted_transactions, Some(vec![]), "only the first record is in the answer");
    let data = fetch_committed(&mut reader, "t", 0, 2);
    assert_eq!(data.aborted_transactions.unwrap().len(), 1);
    assert_eq!(reader.fetch("t", 0, 0).aborted_transactions, None);
}

#[test]
fn an_open_transaction_holds_the_stable_offset() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut reader = broker.client();
    reader.create("t", 1, &[]);
    let (mut slow, mut fast) = (Writer::begin(&broker, "slow"), Writer::begin(&broker, "fast"));
    slow.write("t", 0, "slow");
    fast.write("t", 0, "fast");
    fast.end(true);
    // Answered once it is decided; the marker follows.
    eventually("the marker of the fast one is in the log", || end_of(&mut reader, 0) == 3);
    see(&mut reader, "t", 0, &[]);
    let data = fetch_committed(&mut reader, "t", 0, 0);
    assert_eq!(data.last_stable_offset, 0);
    assert_eq!(end_of(&mut reader, 1), 0, "the end, too, is the stable offset to such readers");

    slow.end(true);

    see(&mut reader, "t", 0, &["slow", "fast"]);
}

#[test]
fn a_reader_is_told_to_skip_what_it_is_sent_and_not_all_that_follows() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut reader = broker.client();
    reader.create("t", 1, &[]);
    let mut writer = Writer::begin(&broker, "orders");
    for _ in 0..3 {
        writer.write("t", 0, "aborted");
        writer.end(false);
    }
    writer.write("t", 0, "committed");
    writer.end(true);
    see(&mut reader, "t", 0, &["committed"]);

    let mut request = fetch_request("t", 0, 0, 0);
    (request.isolation_level, request.topics[0].partitions[0].partition_max_bytes) = (1, 1);
    let id = reader.send(FETCH, &request);
    let data = reader.fetched(id);
    assert_eq!(records_in(&data).len(), 1, "one batch, whatever its size");
    let first: Vec<_> = data.aborted_transactions.unwrap().iter().map(|row| row.first_offset).collect();
    assert_eq!(first, [0]);
}

/// Where the log ends to readers of this isolation level: 1 for those of committed records.
fn end_of(client: &mut Client, isolation_level: i8) -> i64 {
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
    let request =
        ListOffsetsRequest { replica_id: -1, isolation_level, topics: vec![topic], ..Default::default() };
    let mut answer: ListOffsetsResponse = client.ask(7, &request);
    answer.topics.remove(0).partitions.remove(0).offset
}

#[test]
fn before_version_2_partitions_are_added_first_and_verified() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut reader = broker.client();
    reader.create("t", 2, &[]);
    let mut writer = Writer::begin(&broker, "orders");

    assert_eq!(writer.try_write(PRODUCE_V1, "t", 0, "early"), TRANSACTION_ABORTABLE);
    assert_eq!(writer.try_write(PRODUCE_OLD, "t", 0, "early"), INVALID_TXN_STATE);
    assert_eq!(writer.add("t", &[0, 7]), [OPERATION_NOT_ATTEMPTED, UNKNOWN_TOPIC_OR_PARTITION]);
    assert_eq!(writer.add("t", &[0, 1]), [0, 0]);
    let code = until_done(|| writer.try_write(PRODUCE_V1, "t", 0, "one"), |code| *code);
    assert_eq!(code, 0);
    let answer = writer.try_end(4, true);
    assert_eq!((answer.error_code, answer.producer_epoch), (0, -1), "the session goes on");
    see(&mut reader, "t", 0, &["one"]);

    assert_eq!(writer.try_end(4, true).error_code, 0, "the same end again");
    assert_eq!(writer.try_end(4, false).error_code, INVALID_TXN_STATE);
    assert_eq!(writer.try_write(PRODUCE_V1, "t", 0, "two"), TRANSACTION_ABORTABLE, "every transaction anew");
}

#[test]
fn a_new_session_ends_what_the_old_one_began_and_fences_it() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut reader = broker.client();
    reader.create("t", 1, &[]);
    let mut zombie = Writer::begin(&broker, "orders");
    zombie.write("t", 0, "zombie");
    let mut heir = Writer::begin(&broker, "orders");
    assert_eq!(heir.producer, zombie.producer);

    assert_eq!(zombie.try_write(PRODUCE_V2, "t", 0, "more"), INVALID_PRODUCER_EPOCH);
    assert_eq!(zombie.try_end(5, true).error_code, PRODUCER_FENCED);
    assert_eq!(zombie.try_end(1, true).error_code, INVALID_PRODUCER_EPOCH, "old clients know no other");
    heir.write("t", 0, "heir");
    heir.end(true);

    see(&mut reader, "t", 0, &["heir"]);
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut reader = broker.client();
    reader.create("t", 1, &[]);
    let mut writer = Writer::begin(&broker, "orders");
    // Time enough to write in on a busy machine, and then let pass.
    writer.session(3_000);
    writer.write("t", 0, "late");
    let mut other = Writer::begin(&broker, "other");
    other.write("t", 0, "other");
    other.end(true);

    see(&mut reader, "t", 0, &["other"]);

    let done = |state: &String| if state == "CompleteAbort" { 0 } else { NOT_YET[0] };
    until_done(|| writer.state(), done);
    assert_eq!(writer.try_end(5, true).error_code, PRODUCER_FENCED);
}

#[test]
fn transactions_outlive_a_kill() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    broker.client().create("t", 1, &[]);
    let mut writer = Writer::begin(&broker, "orders");
    writer.write("t", 0, "aborted");
    writer.end(false);
    writer.write("t", 0, "committed");
    writer.end(true);
    writer.write("t", 0, "open");
    broker.signal("-KILL");
    drop(broker);

    let broker = Broker::start(&dir, &[]);
    let mut reader = broker.client();
    reader.wait_for_leader("t", 0);
    see(&mut reader, "t", 0, &["committed"]);
    writer.client = broker.client();
    assert_eq!(
        until_done(|| writer.state(), |state| if state.is_empty() { NOT_YET[0] } else { 0 }),
        "Ongoing"
    );
    writer.write("t", 0, "and more");
    writer.end(true);

    see(&mut reader, "t", 0, &["committed", "open", "and more"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let mut writer = Writer::begin(&broker, "orders");

    let begin = |id: &str, timeout_ms, producer_id| InitProducerIdRequest {
        transactional_id: Some(id.to_owned()),
        transaction_timeout_ms: timeout_ms,
        producer_id,
        producer_epoch: if producer_id < 0 { -1 } else { 0 },
    };
    let mut code = |request: InitProducerIdRequest, version| {
        let answer: InitProducerIdResponse = client.ask(version, &request);
        answer.error_code
    };
    assert_eq!(code(begin("", 1_000, -1), 5), 42);
    assert_eq!(code(begin("orders", 0, -1), 5), INVALID_TRANSACTION_TIMEOUT);
    assert_eq!(code(begin("orders", 900_001, -1), 5), INVALID_TRANSACTION_TIMEOUT);
    assert_eq!(code(begin("orders", 1_000, 77), 5), PRODUCER_FENCED);
    assert_eq!(code(begin("orders", 1_000, 77), 3), INVALID_PRODUCER_EPOCH);
    assert_eq!(writer.try_end(5, true).error_code, INVALID_TXN_STATE, "nothing was begun");
    writer.producer += 1;
    assert_eq!(writer.try_end(5, true).error_code, INVALID_PRODUCER_ID_MAPPING);
    let batch = BatchBuilder::new().transactional().producer(9, 0, 0).value("x", TIME).build();
    let refused = client.produce("t", 0, batch);
    assert_eq!(refused.error_code, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "a batch without its transaction");
}

#[test]
fn tools_see_a_hanging_transaction_and_end_it() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let mut writer = Writer::begin(&broker, "orders");
    writer.write("t", 0, "hanging");

    let request = DescribeProducersRequest {
        topics: vec![TopicRequest { name: "t".into(), partition_indexes: vec![0] }],
    };
    let mut told: DescribeProducersResponse = client.ask(0, &request);
    let producer = told.topics.remove(0).partitions.remove(0).active_producers.remove(0);
    assert_eq!((producer.producer_id, producer.current_txn_start_offset), (writer.producer, 0));
    let list = |pattern: &str, state: &str| ListTransactionsRequest {
        state_filters: vec![state.to_owned()],
        transactional_id_pattern: Some(pattern.to_owned()),
        ..Default::default()
    };
    let listed: ListTransactionsResponse = client.ask(2, &list("ord.*", "Ongoing"));
    assert_eq!(listed.transaction_states[0].transactional_id, "orders");
    let listed: ListTransactionsResponse = client.ask(2, &list("rder", "Ongoing"));
    assert!(listed.transaction_states.is_empty(), "the whole id has to match");
    let listed: ListTransactionsResponse = client.ask(2, &list("", "NoSuchState"));
    assert_eq!(listed.unknown_state_filters, ["NoSuchState"]);

    let marker = |coordinator_epoch| WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: writer.producer,
            producer_epoch: writer.epoch,
            transaction_result: false,
            topics: vec![WritableTxnMarkerTopic { name: "t".into(), partition_indexes: vec![0] }],
            coordinator_epoch,
            transaction_version: 0,
        }],
    };
    let mut write = |request| {
        let mut answer: WriteTxnMarkersResponse = client.ask(1, &request);
        answer.markers.remove(0).topics.remove(0).partitions.remove(0).error_code
    };
    assert_eq!(write(marker(5)), 0);
    assert_eq!(write(marker(4)), TRANSACTION_COORDINATOR_FENCED);
    see(&mut client, "t", 0, &[]);
    assert_eq!(fetch_committed(&mut client, "t", 0, 0).last_stable_offset, 2);
}
