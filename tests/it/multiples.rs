//! Small requests that name a long name for many things: what they cost is a small multiple of them.

use ottla_wire::Message;
use ottla_wire::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use ottla_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};

use crate::broker::{Broker, data_dir};

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
