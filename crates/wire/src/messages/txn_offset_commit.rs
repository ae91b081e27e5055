//! TxnOffsetCommit (key 28), versions 0 to 5.
//!
//! Versions: 2 leader epochs. 3 flexible, the member's generation (KIP-447). 4 the error TRANSACTION_ABORTABLE. 5 the
//! group's offsets join the transaction by being written (KIP-890).

use crate::message::message;

message! {
    TxnOffsetCommit request, versions 0-5, flexible 3+;
    /// Commits offsets of a group as part of a transaction.
    TxnOffsetCommitRequest {
        /// The transactional id.
        transactional_id: String [0+],
        /// The group.
        group_id: String [0+],
        /// The producer's id.
        producer_id: i64 [0+],
        /// The producer's epoch.
        producer_epoch: i16 [0+],
        /// The member's generation; -1 outside of one.
        generation_id: i32 [3+, default -1],
        /// The member's id; empty outside of a group.
        member_id: String [3+],
        /// The name of a static member; null for a dynamic one.
        group_instance_id: Option<String> [3+, nullable 3+, default None],
        /// The topics.
        topics: Vec<TxnOffsetCommitRequestTopic> [0+],
    }

    /// A topic to commit offsets of.
    TxnOffsetCommitRequestTopic {
        /// The topic's name.
        name: String [0+],
        /// The partitions.
        partitions: Vec<TxnOffsetCommitRequestPartition> [0+],
    }

    /// A partition to commit the offset of.
    TxnOffsetCommitRequestPartition {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// The next offset to read.
        committed_offset: i64 [0+],
        /// The epoch of the leader that the last record was read from; -1 when not known.
        committed_leader_epoch: i32 [2+, default -1],
        /// Whatever the client wants to remember with it.
        committed_metadata: Option<String> [0+, nullable 0+],
    }
}

message! {
    TxnOffsetCommit response, versions 0-5, flexible 3+;
    /// Which offsets are part of the transaction.
    TxnOffsetCommitResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// The topics.
        topics: Vec<TxnOffsetCommitResponseTopic> [0+],
    }

    /// The answers for one topic.
    TxnOffsetCommitResponseTopic {
        /// The topic's name.
        name: String [0+],
        /// The partitions.
        partitions: Vec<TxnOffsetCommitResponsePartition> [0+],
    }

    /// The answer for one partition.
    TxnOffsetCommitResponsePartition {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
    }
}
