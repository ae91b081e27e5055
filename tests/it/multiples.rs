//! Small requests that name one thing many times, or a long name for many things: what they cost is a small multiple of them.

use ottla_wire::Message;
use ottla_wire::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
};
use ottla_wire::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, TopicRequest,
};
use ottla_wire::messages::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse,
};
use ottla_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};

use crate::broker::{Broker, data_dir};
use crate::transactions::Writer;

/// As long as a name can be on the wire.
const LONG: usize = 32_767;
const MANY: i32 = 20_000;

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
