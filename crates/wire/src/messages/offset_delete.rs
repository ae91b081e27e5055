//! OffsetDelete (key 47), version 0.

use crate::message::message;

message! {
    OffsetDelete request, versions 0-0, flexible never;
    /// Deletes committed offsets of topics that the group no longer reads.
    OffsetDeleteRequest {
        /// The group.
        group_id: String [0+],
        /// The topics.
        topics: Vec<OffsetDeleteRequestTopic> [0+],
    }

    /// A topic to forget.
    OffsetDeleteRequestTopic {
        /// The topic's name.
        name: String [0+],
        /// The partitions.
        partitions: Vec<OffsetDeleteRequestPartition> [0+],
    }

    /// A partition to forget.
    OffsetDeleteRequestPartition {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
    }
}

message! {
    OffsetDelete response, versions 0-0, flexible never;
    /// Which offsets are deleted.
    OffsetDeleteResponse {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// The topics.
        topics: Vec<OffsetDeleteResponseTopic> [0+],
    }

    /// The answers for one topic.
    OffsetDeleteResponseTopic {
        /// The topic's name.
        name: String [0+],
        /// The partitions.
        partitions: Vec<OffsetDeleteResponsePartition> [0+],
    }

    /// The answer for one partition.
    OffsetDeleteResponsePartition {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
    }
}
