//! OffsetForLeaderEpoch (key 23), versions 2 to 4.
//!
//! Versions: 3 the replica's id. 4 flexible.

use crate::message::message;

message! {
    OffsetForLeaderEpoch request, versions 2-4, flexible 4+;
    /// Asks where leader epochs end.
    OffsetForLeaderEpochRequest {
        /// The node that asks; -1 for a client that is not a node.
        replica_id: i32 [3+, default -2],
        /// The topics.
        topics: Vec<OffsetForLeaderTopic> [0+],
    }

    /// A topic to look into.
    OffsetForLeaderTopic {
        /// The topic's name.
        topic: String [0+],
        /// The partitions.
        partitions: Vec<OffsetForLeaderPartition> [0+],
    }

    /// A partition to look into.
    OffsetForLeaderPartition {
        /// The partition's number within its topic.
        partition: i32 [0+],
        /// The leader epoch that the client knows; -1 when it knows none.
        current_leader_epoch: i32 [2+, default -1],
        /// The epoch whose end is asked for.
        leader_epoch: i32 [0+],
    }
}

message! {
    OffsetForLeaderEpoch response, versions 2-4, flexible 4+;
    /// Where leader epochs end.
    OffsetForLeaderEpochResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [2+],
        /// The topics.
        topics: Vec<OffsetForLeaderTopicResult> [0+],
    }

    /// The answers for one topic.
    OffsetForLeaderTopicResult {
        /// The topic's name.
        topic: String [0+],
        /// The partitions.
        partitions: Vec<EpochEndOffset> [0+],
    }

    /// Where an epoch ends in one partition.
    EpochEndOffset {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The partition's number within its topic.
        partition: i32 [0+],
        /// The largest epoch not above the one asked for; -1 when not known.
        leader_epoch: i32 [1+, default -1],
        /// One past the last offset of that epoch; -1 when not known.
        end_offset: i64 [0+, default -1],
    }
}
