//! ListOffsets (key 2), versions 1 to 11.
//!
//! Versions: 2 isolation level. 4 leader epochs. 6 flexible. 7 time -3. 8 time -4. 9 time -5. 10 timeout. 11 time -6.

use crate::message::message;

message! {
    ListOffsets request, versions 1-11, flexible 6+;
    /// Asks for offsets by time.
    ListOffsetsRequest {
        /// The node that asks; -1 for a client that is not a node.
        replica_id: i32 [0+],
        /// 0: read uncommitted, 1: read committed.
        isolation_level: i8 [2+],
        /// The topics.
        topics: Vec<ListOffsetsTopic> [0+],
        /// How long the client waits, in milliseconds.
        timeout_ms: i32 [10+],
    }

    /// A topic to look into.
    ListOffsetsTopic {
        /// The topic's name.
        name: String [0+],
        /// The partitions.
        partitions: Vec<ListOffsetsPartition> [0+],
    }

    /// A partition to look into.
    ListOffsetsPartition {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// The leader epoch that the client knows; -1 when it knows none.
        current_leader_epoch: i32 [4+, default -1],
        /// The time in milliseconds, or -1 latest, -2 earliest, -3 the record with the highest time, -4 earliest local, -5 latest
        /// tiered, -6 earliest that is not tiered yet.
        timestamp: i64 [0+],
    }
}

message! {
    ListOffsets response, versions 1-11, flexible 6+;
    /// The offsets that were found.
    ListOffsetsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [2+],
        /// The topics.
        topics: Vec<ListOffsetsTopicResponse> [0+],
    }

    /// The answers for one topic.
    ListOffsetsTopicResponse {
        /// The topic's name.
        name: String [0+],
        /// The partitions.
        partitions: Vec<ListOffsetsPartitionResponse> [0+],
    }

    /// The answer for one partition.
    ListOffsetsPartitionResponse {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The time of the record that was found; -1 for none.
        timestamp: i64 [1+, default -1],
        /// The offset that was found; -1 for none.
        offset: i64 [1+, default -1],
        /// The epoch of the leader; -1 when not known.
        leader_epoch: i32 [4+, default -1],
    }
}
