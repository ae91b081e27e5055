//! Small requests that name one thing many times, or a long name for many things: what they cost is a small multiple of them.

use ottla_rules::batch::build::BatchBuilder;
use ottla_wire::Message;
use ottla_wire::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
};
use ottla_wire::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use ottla_wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ottla_wire::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, TopicRequest,
};
use ottla_wire::messages::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse,
};
use ottla_wire::messages::fetch::{FetchRequest, FetchResponse, FetchTopic};
use ottla_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use ottla_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ottla_wire::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use ottla_wire::messages::produce::ProduceResponse;
use ottla_wire::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

use crate::broker::{Broker, data_dir};
use crate::client::{FETCH, TIME, batch, fetch_request, produce_request, records_in};
use crate::groups::found;
use crate::transactions::{Writer, until_done};

/// As long as a name can be on the wire.
const LONG: usize = 32_767;
const MANY: i32 = 20_000;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;

#[cfg(target_os = "linux")]
fn assert_takes_little<Q: Message, A: Message>(version: i16, request: &Q) {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let before = broker.peak_mib();
    let _: A = broker.client().ask(version, request);
    // The name for each of them would be 625 MiB.
    let more = broker.peak_mib() - before;
    assert!(more < 100, "{more} MiB");
}

#[test]
#[cfg(target_os = "linux")]
fn a_long_name_is_not_copied_for_each_partition_of_list_offsets() {
    let partition = |partition_index| ListOffsetsPartition { partition_index, ..Default::default() };
    let topic = ListOffsetsTopic { name: "x".repeat(LONG), partitions: (0..MANY).map(partition).collect() };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    assert_takes_little::<_, ListOffsetsResponse>(6, &request);
}

#[test]
#[cfg(target_os = "linux")]
fn a_long_name_is_not_copied_for_each_partition_of_add_partitions_to_txn() {
    let topic = AddPartitionsToTxnTopic { name: "x".repeat(LONG), partitions: (0..MANY).collect() };
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "orders".into(),
        v3_and_below_topics: vec![topic],
        ..Default::default()
    };
    assert_takes_little::<_, AddPartitionsToTxnResponse>(3, &request);
}

#[test]
#[cfg(target_os = "linux")]
fn a_partition_that_is_verified_many_times_is_asked_for_once() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    let name = "x".repeat(249);
    client.create(&name, 2, &[]);
    let mut writer = Writer::begin(&broker, "orders");
    assert_eq!(writer.add(&name, &[0]), [0]);
    let many = 300_000;
    let partitions = std::iter::once(1).chain(std::iter::repeat_n(0, many)).collect();
    let transaction = AddPartitionsToTxnTransaction {
        transactional_id: writer.id.into(),
        producer_id: writer.producer,
        producer_epoch: writer.epoch,
        verify_only: true,
        topics: vec![AddPartitionsToTxnTopic { name, partitions }],
    };
    let request = AddPartitionsToTxnRequest { transactions: vec![transaction], ..Default::default() };
    let before = broker.peak_mib();
    let answer: AddPartitionsToTxnResponse = client.ask(4, &request);
    let told = &answer.results_by_transaction[0].topic_results[0].results_by_partition;
    assert_eq!((told[0].partition_index, told.len()), (1, many + 1));
    assert_ne!(told[0].partition_error_code, 0, "it is not part of the transaction");
    assert!(told[1..].iter().all(|it| (it.partition_index, it.partition_error_code) == (0, 0)));
    let more = broker.peak_mib() - before;
    assert!(more < 100, "{more} MiB");
}

#[test]
fn whose_producers_are_asked_for_twice_is_described_once() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    let topic = |partition_indexes| TopicRequest { name: "t".into(), partition_indexes };
    let request = DescribeProducersRequest { topics: vec![topic(vec![0; 1_000]), topic(vec![1, 0])] };
    let answer: DescribeProducersResponse = client.ask(0, &request);
    let told: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).collect();
    let told: Vec<_> = told.iter().map(|it| (it.partition_index, it.error_code)).collect();
    assert_eq!(told, [(0, 0), (1, 0)], "or a small request would be an answer without bound");
}

#[test]
fn a_transactional_id_that_is_asked_for_twice_is_described_once() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let request = DescribeTransactionsRequest { transactional_ids: vec!["orders".into(); 1_000] };
    let answer: DescribeTransactionsResponse = broker.client().ask(0, &request);
    assert_eq!(answer.transaction_states.len(), 1);
}

#[test]
fn a_group_that_is_named_many_times_is_deleted_once() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    let partition = OffsetCommitRequestPartition { committed_offset: 7, ..Default::default() };
    let topic =
        OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() };
    let committed =
        |answer: &OffsetCommitResponse| answer.topics.first().map_or(-1, |it| it.partitions[0].error_code);
    until_done(|| client.ask::<_, OffsetCommitResponse>(8, &request), committed);
    let request = DeleteGroupsRequest { groups_names: vec!["g".into(); 1_000] };
    let answer: DeleteGroupsResponse = client.ask(2, &request);
    let told: Vec<_> = answer.results.iter().map(|it| (&*it.group_id, it.error_code)).collect();
    assert_eq!(told, [("g", 0)], "or each of them would write what takes all of its offsets back");
}

#[test]
fn a_partition_that_a_fetch_names_many_times_is_read_once_from_where_it_was_asked_for_last() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["watchers.max=2"]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    client.produce("t", 0, batch(&["zero"]));
    client.produce("t", 0, batch(&["one"]));
    let named = |index, fetch_offset| {
        let one = fetch_request("t", index, fetch_offset, 0).topics.remove(0).partitions.remove(0);
        FetchTopic { topic: "t".into(), partitions: vec![one], ..Default::default() }
    };
    let mut twice = named(0, 0);
    twice.partitions.extend(named(0, 0).partitions);
    let topics = vec![twice, named(1, 0), named(0, 1), FetchTopic::default()];
    let request = FetchRequest { topics, ..fetch_request("t", 0, 0, 0) };
    let answer: FetchResponse = client.ask(FETCH, &request);
    let told: Vec<_> = answer.responses.iter().flat_map(|topic| &topic.partitions).collect();
    let told: Vec<_> = told.into_iter().map(|it| (it.partition_index, records_in(it))).collect();
    assert_eq!(told, [(0, vec![(1, "one".to_owned())]), (1, vec![])]);

    // Two may wait for it: one that names it a hundred times, and somebody else.
    let mut greedy = broker.client();
    let topics = vec![named(0, 2); 100];
    let waits = greedy.send(FETCH, &FetchRequest { topics, ..fetch_request("t", 0, 2, 600_000) });
    let mut other = broker.client();
    let waits_too = other.send(FETCH, &fetch_request("t", 0, 2, 600_000));
    client.produce("t", 0, batch(&["two"]));
    for (client, id) in [(&mut greedy, waits), (&mut other, waits_too)] {
        assert_eq!(records_in(&client.fetched(id)), [(2, "two".to_owned())]);
    }
}

#[test]
fn transactional_records_without_a_transaction_refuse_the_whole_request() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    let marked = BatchBuilder::new().transactional().producer(9, 0, 0).value("marked", TIME).build();
    let mut request = produce_request("t", 0, -1, Some(batch(&["plain"])));
    let more = produce_request("t", 1, -1, Some(marked)).topic_data.remove(0).partition_data;
    request.topic_data[0].partition_data.extend(more);
    let answer: ProduceResponse = client.ask(9, &request);
    let told: Vec<_> = answer.responses[0].partition_responses.iter().map(|it| it.error_code).collect();
    assert_eq!(told, [TRANSACTIONAL_ID_AUTHORIZATION_FAILED; 2]);
    assert!(client.values("t", 0, 0).is_empty(), "as in Kafka nothing of it is written");
}

#[test]
fn records_are_deleted_once_however_often_a_partition_is_named() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    for _ in 0..4 {
        assert_eq!(client.produce("t", 0, batch(&["x"])).error_code, 0);
    }
    let topic = |asked: &[(i32, i64)]| DeleteRecordsTopic {
        name: "t".into(),
        partitions: asked
            .iter()
            .map(|(partition_index, offset)| DeleteRecordsPartition {
                partition_index: *partition_index,
                offset: *offset,
            })
            .collect(),
    };
    let topics = vec![topic(&[(0, 1); 1_000]), topic(&[(1, 0), (0, 3)])];
    let request = DeleteRecordsRequest { topics, timeout_ms: 30_000 };
    let answer: DeleteRecordsResponse = client.ask(2, &request);
    let told: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).collect();
    let told: Vec<_> = told.iter().map(|it| (it.partition_index, it.error_code, it.low_watermark)).collect();
    assert_eq!(told, [(0, 0, 3), (1, 0, 0)], "what is said last counts");
}

#[test]
fn a_marker_is_written_once_however_often_its_partition_is_named() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let topic = || WritableTxnMarkerTopic { name: "t".into(), partition_indexes: vec![0; 500] };
    let marker = WritableTxnMarker {
        producer_id: 7,
        producer_epoch: 0,
        transaction_result: false,
        topics: vec![topic(), topic()],
        coordinator_epoch: 0,
        ..Default::default()
    };
    let answer: WriteTxnMarkersResponse = client.ask(1, &WriteTxnMarkersRequest { markers: vec![marker] });
    let told: Vec<_> = answer.markers[0].topics.iter().flat_map(|topic| &topic.partitions).collect();
    assert_eq!(told.iter().map(|it| (it.partition_index, it.error_code)).collect::<Vec<_>>(), [(0, 0)]);
    assert_eq!(client.produce("t", 0, batch(&["x"])).base_offset, 1);
}

#[test]
#[cfg(target_os = "linux")]
fn ends_of_epochs_of_one_partition_are_asked_for_at_once() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    assert_eq!(client.produce("t", 0, batch(&["x"])).error_code, 0);
    let many = 300_000;
    let asked = |leader_epoch| OffsetForLeaderPartition {
        partition: leader_epoch % 2,
        current_leader_epoch: -1,
        leader_epoch,
    };
    let topic = OffsetForLeaderTopic { topic: "t".into(), partitions: (0..many).map(asked).collect() };
    let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic] };
    let before = broker.peak_mib();
    let answer: OffsetForLeaderEpochResponse = client.ask(4, &request);
    let told = &answer.topics[0].partitions;
    assert_eq!(told.len(), many as usize, "each is answered");
    let first = (told[0].error_code, told[0].leader_epoch, told[0].end_offset);
    assert_eq!(first, (0, 0, 1));
    assert!(told.iter().all(|it| it.error_code == if it.partition == 0 { 0 } else { 3 }));
    let more = broker.peak_mib() - before;
    assert!(more < 60, "{more} MiB");
}
