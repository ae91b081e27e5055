//! CreateTopics (key 19), versions 2 to 7.
//!
//! Versions: 5 flexible, the answer has the settings. 7 topic ids.

use ottla_rules::ids::TopicId;

use crate::message::message;

message! {
    CreateTopics request, versions 2-7, flexible 5+;
    /// Creates topics.
    CreateTopicsRequest {
        /// The topics.
        topics: Vec<CreatableTopic> [0+],
        /// How long the client waits, in milliseconds.
        timeout_ms: i32 [0+, default 60000],
        /// Whether to check only and change nothing.
        validate_only: bool [1+],
    }

    /// A topic to create.
    CreatableTopic {
        /// The topic's name.
        name: String [0+],
        /// How many partitions; -1 for the default.
        num_partitions: i32 [0+],
        /// How many replicas of each partition; -1 for the default.
        replication_factor: i16 [0+],
        /// Which brokers take which partition; empty (or null) when the cluster chooses.
        assignments: Vec<CreatableReplicaAssignment> [0+],
        /// Settings of the topic's own.
        configs: Vec<CreatableTopicConfig> [0+],
    }

    /// Which brokers take one partition.
    CreatableReplicaAssignment {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// The brokers, the preferred leader first.
        broker_ids: Vec<i32> [0+],
    }

    /// A setting of the new topic.
    CreatableTopicConfig {
        /// The name.
        name: String [0+],
        /// The value; null when it has none or must not be seen.
        value: Option<String> [0+, nullable 0+],
    }
}

message! {
    CreateTopics response, versions 2-7, flexible 5+;
    /// What became of the topics.
    CreateTopicsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [2+],
        /// The topics.
        topics: Vec<CreatableTopicResult> [0+],
    }

    /// What became of one topic.
    CreatableTopicResult {
        /// The topic's name.
        name: String [0+],
        /// The topic's id.
        topic_id: TopicId [7+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [1+, nullable 0+],
        /// Why `configs` is null.
        topic_config_error_code: i16 [5+, tag 0],
        /// How many partitions; -1 for the default.
        num_partitions: i32 [5+, default -1],
        /// How many replicas of each partition; -1 for the default.
        replication_factor: i16 [5+, default -1],
        /// All settings of the new topic; null when the caller may not see them.
        configs: Option<Vec<CreatableTopicConfigs>> [5+, nullable 5+],
    }

    /// One setting of the new topic.
    CreatableTopicConfigs {
        /// The name.
        name: String [5+],
        /// The value; null when it has none or must not be seen.
        value: Option<String> [5+, nullable 5+],
        /// Whether it cannot be changed.
        read_only: bool [5+],
        /// Where the value comes from: 1 topic, 2 dynamic broker, 3 dynamic default broker, 4 static broker, 5 default, 6 broker logger.
        config_source: i8 [5+, default -1],
        /// Whether the value is a secret, and therefore null.
        is_sensitive: bool [5+],
    }
}
