//! DescribeLogDirs (key 35), versions 1 to 5.
//!
//! Versions: 2 flexible. 3 an error at the top. 4 the size of the volume. 5 cordoned directories.

use crate::message::message;

message! {
    DescribeLogDirs request, versions 1-5, flexible 2+;
    /// Asks how much is where.
    DescribeLogDirsRequest {
        /// The topics; null is all.
        topics: Option<Vec<DescribableLogDirTopic>> [0+, nullable 0+],
    }

    /// A topic to look for.
    DescribableLogDirTopic {
        /// The topic's name.
        topic: String [0+],
        /// The partitions.
        partitions: Vec<i32> [0+],
    }
}

message! {
    DescribeLogDirs response, versions 1-5, flexible 2+;
    /// How much is where.
    DescribeLogDirsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [3+],
        /// The data directories of this node.
        results: Vec<DescribeLogDirsResult> [0+],
    }

    /// One data directory.
    DescribeLogDirsResult {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// Its path, from the root.
        log_dir: String [0+],
        /// The topics in it.
        topics: Vec<DescribeLogDirsTopic> [0+],
        /// How large the volume is that it is in, in bytes; -1 when not known.
        total_bytes: i64 [4+, default -1],
        /// How much of that can still be used, in bytes; -1 when not known.
        usable_bytes: i64 [4+, default -1],
        /// Whether no new partition is put there.
        is_cordoned: bool [5+],
    }

    /// One topic in a directory.
    DescribeLogDirsTopic {
        /// The topic's name.
        name: String [0+],
        /// The partitions.
        partitions: Vec<DescribeLogDirsPartition> [0+],
    }

    /// One partition in a directory.
    DescribeLogDirsPartition {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// The bytes of its segments.
        partition_size: i64 [0+],
        /// How many records its end is ahead of its high watermark.
        offset_lag: i64 [0+],
        /// Whether it will replace the partition once it has caught up.
        is_future_key: bool [0+],
    }
}
