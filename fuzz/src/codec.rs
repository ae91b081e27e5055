//! The codec: a request is refused, or what was read is written and read again as the same.

use bytes::{Bytes, BytesMut};
use ottla_wire::{
    Message, Reader, Writer,
    api::{ApiKey, SERVED},
    messages as m,
    produce::ProduceRequest,
};

fn again<M: Message + PartialEq + std::fmt::Debug>(body: &Bytes, version: i16) {
    let Ok(message) = M::decode(&mut Reader::new(body), version) else { return };
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    let written = writer.into_bytes();
    let mut reader = Reader::new(&written);
    assert_eq!(M::decode(&mut reader, version).as_ref(), Ok(&message), "{} v{version}", M::NAME);
    assert_eq!(reader.remaining(), 0, "{} v{version}", M::NAME);
}

/// Reads a body as a request of this API; false when this table lacks the API.
pub fn read(key: ApiKey, version: i16, body: &Bytes) -> bool {
    match key {
        ApiKey::Produce => {
            again::<ProduceRequest>(body, version);
            let _ = ProduceRequest::decode(BytesMut::from(&body[..]), version);
        }
        ApiKey::Fetch => again::<m::fetch::FetchRequest>(body, version),
        ApiKey::ListOffsets => again::<m::list_offsets::ListOffsetsRequest>(body, version),
        ApiKey::Metadata => again::<m::metadata::MetadataRequest>(body, version),
        ApiKey::ApiVersions => again::<m::api_versions::ApiVersionsRequest>(body, version),
        ApiKey::CreateTopics => again::<m::create_topics::CreateTopicsRequest>(body, version),
        ApiKey::DeleteTopics => again::<m::delete_topics::DeleteTopicsRequest>(body, version),
        ApiKey::DeleteRecords => again::<m::delete_records::DeleteRecordsRequest>(body, version),
        ApiKey::InitProducerId => again::<m::init_producer_id::InitProducerIdRequest>(body, version),
        ApiKey::OffsetForLeaderEpoch => {
            again::<m::offset_for_leader_epoch::OffsetForLeaderEpochRequest>(body, version)
        }
        ApiKey::DescribeConfigs => again::<m::describe_configs::DescribeConfigsRequest>(body, version),
        ApiKey::AlterConfigs => again::<m::alter_configs::AlterConfigsRequest>(body, version),
        ApiKey::DescribeLogDirs => again::<m::describe_log_dirs::DescribeLogDirsRequest>(body, version),
        ApiKey::UpdateFeatures => again::<m::update_features::UpdateFeaturesRequest>(body, version),
        ApiKey::CreatePartitions => again::<m::create_partitions::CreatePartitionsRequest>(body, version),
        ApiKey::IncrementalAlterConfigs => {
            again::<m::incremental_alter_configs::IncrementalAlterConfigsRequest>(body, version)
        }
        ApiKey::DescribeCluster => again::<m::describe_cluster::DescribeClusterRequest>(body, version),
        ApiKey::ListConfigResources => {
            again::<m::list_config_resources::ListConfigResourcesRequest>(body, version)
        }
        ApiKey::DescribeTopicPartitions => {
            again::<m::describe_topic_partitions::DescribeTopicPartitionsRequest>(body, version)
        }
        ApiKey::OffsetCommit => again::<m::offset_commit::OffsetCommitRequest>(body, version),
        ApiKey::OffsetFetch => again::<m::offset_fetch::OffsetFetchRequest>(body, version),
        ApiKey::FindCoordinator => again::<m::find_coordinator::FindCoordinatorRequest>(body, version),
        ApiKey::AddPartitionsToTxn => {
            again::<m::add_partitions_to_txn::AddPartitionsToTxnRequest>(body, version)
        }
        ApiKey::AddOffsetsToTxn => again::<m::add_offsets_to_txn::AddOffsetsToTxnRequest>(body, version),
        ApiKey::TxnOffsetCommit => again::<m::txn_offset_commit::TxnOffsetCommitRequest>(body, version),
        ApiKey::EndTxn => again::<m::end_txn::EndTxnRequest>(body, version),
        ApiKey::WriteTxnMarkers => again::<m::write_txn_markers::WriteTxnMarkersRequest>(body, version),
        ApiKey::DescribeProducers => again::<m::describe_producers::DescribeProducersRequest>(body, version),
        ApiKey::DescribeTransactions => {
            again::<m::describe_transactions::DescribeTransactionsRequest>(body, version)
        }
        ApiKey::ListTransactions => again::<m::list_transactions::ListTransactionsRequest>(body, version),
        ApiKey::JoinGroup => again::<m::join_group::JoinGroupRequest>(body, version),
        ApiKey::SyncGroup => again::<m::sync_group::SyncGroupRequest>(body, version),
        ApiKey::Heartbeat => again::<m::heartbeat::HeartbeatRequest>(body, version),
        ApiKey::LeaveGroup => again::<m::leave_group::LeaveGroupRequest>(body, version),
        ApiKey::ConsumerGroupHeartbeat => {
            again::<m::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest>(body, version)
        }
        ApiKey::ConsumerGroupDescribe => {
            again::<m::consumer_group_describe::ConsumerGroupDescribeRequest>(body, version)
        }
        ApiKey::DescribeGroups => again::<m::describe_groups::DescribeGroupsRequest>(body, version),
        ApiKey::ListGroups => again::<m::list_groups::ListGroupsRequest>(body, version),
        ApiKey::DeleteGroups => again::<m::delete_groups::DeleteGroupsRequest>(body, version),
        ApiKey::OffsetDelete => again::<m::offset_delete::OffsetDeleteRequest>(body, version),
        _ => return false,
    }
    true
}

/// The first two bytes choose an API that is served, and a version.
pub fn check(bytes: &[u8]) {
    let [api, version, body @ ..] = bytes else { return };
    let served = SERVED[usize::from(*api) % SERVED.len()];
    let versions = i16::from(u8::try_from(served.max - served.min).unwrap_or(u8::MAX)) + 1;
    read(served.key, served.min + i16::from(*version) % versions, &Bytes::copy_from_slice(body));
}
