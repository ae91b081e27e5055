//! DeleteRecords (key 21), versions 0 to 2.
//!
//! Versions: 2 flexible.

use crate::message::message;

message! {
    DeleteRecords request, versions 0-2, flexible 2+;
    /// Deletes what lies before an offset.
    DeleteRecordsRequest {
        /// The topics.
        topics: Vec<DeleteRecordsTopic> [0+],
        /// How long the client waits, in milliseconds.
        timeout_ms: i32 [0+],
    }

    /// A topic to shorten.
    DeleteRecordsTopic {
        /// The topic's name.
        name: String [0+],
        /// The partitions.
        partitions: Vec<DeleteRecordsPartition> [0+],
    }

    /// A partition to shorten.
    DeleteRecordsPartition {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// The new first offset; -1 for the high watermark.
        offset: i64 [0+],
    }
}

message! {
    DeleteRecords response, versions 0-2, flexible 2+;
    /// What became of the partitions.
    DeleteRecordsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// The topics.
        topics: Vec<DeleteRecordsTopicResult> [0+],
    }

    /// The answers for one topic.
    DeleteRecordsTopicResult {
        /// The topic's name.
        name: String [0+],
        /// The partitions.
        partitions: Vec<DeleteRecordsPartitionResult> [0+],
    }

    /// What became of one partition.
    DeleteRecordsPartitionResult {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// The first offset that any replica still has; -1 after an error.
        low_watermark: i64 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
    }
}
