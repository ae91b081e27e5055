//! What is read is what was written, and both are what Kafka reads and writes.

/// Random numbers from a seed, and values made of them.
pub struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number of any size; small ones and -1 are frequent.
    pub(crate) fn number(&mut self) -> u64 {
        match self.next() % 4 {
            0 => self.next() % 4,
            1 => u64::MAX,
            _ => self.next(),
        }
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn text(&mut self) -> String {
        const LETTERS: [char; 6] = ['a', 'Z', '-', '.', 'ß', '水'];
        // Sometimes long enough for a length of two bytes.
        let length = if self.one_in(16) { 100 + self.below(100) } else { self.below(6) };
        (0..length).map(|_| LETTERS[self.below(LETTERS.len())]).collect()
    }

    pub(crate) fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let length = self.below(4);
        (0..length).map(|_| element(self)).collect()
    }
}

/// How often a test rolls the dice: as said in the environment (for a long run), else `unless_said`, which is what every
/// run can afford. CONTRIBUTING.md has the long run.
fn rolls(variable: &str, unless_said: u64) -> u64 {
    let Ok(said) = std::env::var(variable) else { return unless_said };
    said.parse().unwrap_or_else(|_| panic!("{variable}={said:?} is no count"))
}

mod differential;
mod golden;
mod hostile;
mod java;
mod spoiled;

use crate::{Field, Message, Reader, Shape, Writer};

/// The same value for the same seed, with what the version has.
fn arbitrary<M: Message + Field>(seed: u64, version: i16) -> M {
    let shape = Shape { version, flexible: version >= M::FLEXIBLE_FROM, nullable: false };
    M::arbitrary(&mut Dice::new(seed), shape)
}

fn encoded<M: Message>(message: &M, version: i16) -> bytes::Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    writer.into_bytes()
}

/// Reads a whole message and nothing behind it.
fn decoded<M: Message>(bytes: &bytes::Bytes, version: i16) -> M {
    let mut reader = Reader::new(bytes);
    let message =
        M::decode(&mut reader, version).unwrap_or_else(|error| panic!("{} v{version}: {error}", M::NAME));
    assert_eq!(reader.remaining(), 0, "{} v{version} leaves bytes behind", M::NAME);
    message
}

/// Hands the list of all messages that are made from tables to the macro `$visit`.
macro_rules! every_message {
    ($visit:ident) => {
        $visit! {
            api_versions::ApiVersionsRequest, api_versions::ApiVersionsResponse, metadata::MetadataRequest,
            metadata::MetadataResponse, produce::ProduceResponse, fetch::FetchRequest, fetch::FetchResponse,
            list_offsets::ListOffsetsRequest, list_offsets::ListOffsetsResponse, create_topics::CreateTopicsRequest,
            create_topics::CreateTopicsResponse, delete_topics::DeleteTopicsRequest,
            delete_topics::DeleteTopicsResponse, create_partitions::CreatePartitionsRequest,
            create_partitions::CreatePartitionsResponse, delete_records::DeleteRecordsRequest,
            delete_records::DeleteRecordsResponse, init_producer_id::InitProducerIdRequest,
            init_producer_id::InitProducerIdResponse, offset_for_leader_epoch::OffsetForLeaderEpochRequest,
            offset_for_leader_epoch::OffsetForLeaderEpochResponse, describe_configs::DescribeConfigsRequest,
            describe_configs::DescribeConfigsResponse, incremental_alter_configs::IncrementalAlterConfigsRequest,
            incremental_alter_configs::IncrementalAlterConfigsResponse, alter_configs::AlterConfigsRequest,
            alter_configs::AlterConfigsResponse, describe_cluster::DescribeClusterRequest,
            describe_cluster::DescribeClusterResponse,
            update_features::UpdateFeaturesRequest, update_features::UpdateFeaturesResponse,
            find_coordinator::FindCoordinatorRequest, find_coordinator::FindCoordinatorResponse,
            join_group::JoinGroupRequest, join_group::JoinGroupResponse,
            sync_group::SyncGroupRequest, sync_group::SyncGroupResponse,
            heartbeat::HeartbeatRequest, heartbeat::HeartbeatResponse,
            leave_group::LeaveGroupRequest, leave_group::LeaveGroupResponse,
            describe_groups::DescribeGroupsRequest, describe_groups::DescribeGroupsResponse,
            list_groups::ListGroupsRequest, list_groups::ListGroupsResponse,
            delete_groups::DeleteGroupsRequest, delete_groups::DeleteGroupsResponse,
            offset_commit::OffsetCommitRequest, offset_commit::OffsetCommitResponse,
            offset_fetch::OffsetFetchRequest, offset_fetch::OffsetFetchResponse,
            offset_delete::OffsetDeleteRequest, offset_delete::OffsetDeleteResponse,
            consumer_group_heartbeat::ConsumerGroupHeartbeatRequest, consumer_group_heartbeat::ConsumerGroupHeartbeatResponse,
            consumer_group_describe::ConsumerGroupDescribeRequest, consumer_group_describe::ConsumerGroupDescribeResponse,
            describe_log_dirs::DescribeLogDirsRequest,
            describe_log_dirs::DescribeLogDirsResponse, list_config_resources::ListConfigResourcesRequest,
            list_config_resources::ListConfigResourcesResponse,
            describe_topic_partitions::DescribeTopicPartitionsRequest,
            describe_topic_partitions::DescribeTopicPartitionsResponse,
            add_partitions_to_txn::AddPartitionsToTxnRequest, add_partitions_to_txn::AddPartitionsToTxnResponse,
            add_offsets_to_txn::AddOffsetsToTxnRequest, add_offsets_to_txn::AddOffsetsToTxnResponse,
            end_txn::EndTxnRequest, end_txn::EndTxnResponse,
            write_txn_markers::WriteTxnMarkersRequest, write_txn_markers::WriteTxnMarkersResponse,
            txn_offset_commit::TxnOffsetCommitRequest, txn_offset_commit::TxnOffsetCommitResponse,
            describe_producers::DescribeProducersRequest, describe_producers::DescribeProducersResponse,
            describe_transactions::DescribeTransactionsRequest, describe_transactions::DescribeTransactionsResponse,
            list_transactions::ListTransactionsRequest, list_transactions::ListTransactionsResponse
        }
    };
}
use every_message;
