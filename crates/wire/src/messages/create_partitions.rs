//! CreatePartitions (key 37), versions 0 to 3.
//!
//! Versions: 2 flexible.

use crate::message::message;

message! {
    CreatePartitions request, versions 0-3, flexible 2+;
    /// Adds partitions to topics.
    CreatePartitionsRequest {
        /// The topics.
        topics: Vec<CreatePartitionsTopic> [0+],
        /// How long the client waits, in milliseconds.
        timeout_ms: i32 [0+],
        /// Whether to check only and change nothing.
        validate_only: bool [0+],
    }

    /// A topic to enlarge.
    CreatePartitionsTopic {
        /// The topic's name.
        name: String [0+],
        /// How many partitions the topic shall have in all.
        count: i32 [0+],
        /// Which brokers take which partition; empty (or null) when the cluster chooses.
        assignments: Option<Vec<CreatePartitionsAssignment>> [0+, nullable 0+],
    }

    /// Which brokers take one new partition.
    CreatePartitionsAssignment {
        /// The brokers, the preferred leader first.
        broker_ids: Vec<i32> [0+],
    }
}

message! {
    CreatePartitions response, versions 0-3, flexible 2+;
    /// What became of the topics.
    CreatePartitionsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// The answers, one for each thing that was asked for.
        results: Vec<CreatePartitionsTopicResult> [0+],
    }

    /// What became of one topic.
    CreatePartitionsTopicResult {
        /// The topic's name.
        name: String [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [0+, nullable 0+, default None],
    }
}
