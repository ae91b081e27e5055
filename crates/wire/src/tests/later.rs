//! Frames of Kafka 4.3.1's own Java client, for the versions that the other Rust codec does not have.

use bytes::Bytes;
use ottla_rules::ids::TopicId;

use super::{decoded, encoded};
use crate::messages::{
    offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics},
};

/// `new Uuid(1, 2)`.
const TOPIC: TopicId = TopicId([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);

fn bytes(hex: &str) -> Bytes {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn offsets_are_committed_by_topic_id_from_version_10() {
    let partition = OffsetCommitRequestPartition {
        partition_index: 4,
        committed_offset: 5,
        committed_leader_epoch: 6,
        committed_metadata: Some("x".into()),
    };
    let topic =
        OffsetCommitRequestTopic { topic_id: TOPIC, partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: 3,
        member_id: "m".into(),
        group_instance_id: Some("i".into()),
        topics: vec![topic],
        ..Default::default()
    };
    let theirs = bytes(concat!(
        "026700000003026d02690200000000000000010000000000000002",
        "02000000040000000000000005000000060278000000"
    ));
    assert_eq!(encoded(&request, 10), theirs);
    assert_eq!(decoded::<OffsetCommitRequest>(&theirs, 10), request);
}

#[test]
fn offsets_are_fetched_by_topic_id_from_version_10() {
    let topic =
        OffsetFetchRequestTopics { topic_id: TOPIC, partition_indexes: vec![4, 5], ..Default::default() };
    let some = OffsetFetchRequestGroup {
        group_id: "g".into(),
        member_id: Some("m".into()),
        member_epoch: 3,
        topics: Some(vec![topic]),
    };
    let all = OffsetFetchRequestGroup { group_id: "h".into(), topics: None, ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![some, all], require_stable: true, ..Default::default() };
    let theirs = bytes(concat!(
        "030267026d0000000302000000000000000100000000000000020300000004000000050000",
        "026800ffffffff00000100"
    ));
    assert_eq!(encoded(&request, 10), theirs);
    assert_eq!(decoded::<OffsetFetchRequest>(&theirs, 10), request);
}
