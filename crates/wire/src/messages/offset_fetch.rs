//! OffsetFetch (key 9), versions 1 to 10.
//!
//! Versions: 2 null is all topics, an error at the top. 5 leader epochs. 6 flexible. 7 only stable offsets on demand. 8 many groups at
//! a time. 9 members of the consumer protocol. 10 topic ids.

use ottla_rules::ids::TopicId;

use crate::message::message;

message! {
    OffsetFetch request, versions 1-10, flexible 6+;
    /// Asks which offsets groups have committed.
    OffsetFetchRequest {
        /// The group.
        group_id: String [0-7],
        /// The topics; null is all of them.
        topics: Option<Vec<OffsetFetchRequestTopic>> [0-7, nullable 2+],
        /// The groups.
        groups: Vec<OffsetFetchRequestGroup> [8+],
        /// Whether offsets that an open transaction may still change are an error.
        require_stable: bool [7+],
    }

    /// A topic to look into.
    OffsetFetchRequestTopic {
        /// The topic's name.
        name: String [0-7],
        /// The partitions' numbers.
        partition_indexes: Vec<i32> [0-7],
    }

    /// A group to look into.
    OffsetFetchRequestGroup {
        /// The group.
        group_id: String [8+],
        /// The member's id; null outside of a group.
        member_id: Option<String> [9+, nullable 9+, default None],
        /// The member's epoch in the consumer protocol; -1 outside of a group.
        member_epoch: i32 [9+, default -1],
        /// The topics; null is all of them.
        topics: Option<Vec<OffsetFetchRequestTopics>> [8+, nullable 8+],
    }

    /// A topic of a group to look into.
    OffsetFetchRequestTopics {
        /// The topic's name.
        name: String [8-9],
        /// The topic's id.
        topic_id: TopicId [10+],
        /// The partitions' numbers.
        partition_indexes: Vec<i32> [8+],
    }
}

message! {
    OffsetFetch response, versions 1-10, flexible 6+;
    /// The offsets.
    OffsetFetchResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [3+],
        /// The topics.
        topics: Vec<OffsetFetchResponseTopic> [0-7],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [2-7],
        /// The groups.
        groups: Vec<OffsetFetchResponseGroup> [8+],
    }

    /// The answers for one topic.
    OffsetFetchResponseTopic {
        /// The topic's name.
        name: String [0-7],
        /// The partitions.
        partitions: Vec<OffsetFetchResponsePartition> [0-7],
    }

    /// The answer for one partition.
    OffsetFetchResponsePartition {
        /// The partition's number within its topic.
        partition_index: i32 [0-7],
        /// The next offset to read; -1 for none.
        committed_offset: i64 [0-7],
        /// The epoch of the leader that the last record was read from; -1 when not known.
        committed_leader_epoch: i32 [5-7, default -1],
        /// What the client wanted to remember with it.
        metadata: Option<String> [0-7, nullable 0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0-7],
    }

    /// The answers for one group.
    OffsetFetchResponseGroup {
        /// The group.
        group_id: String [8+],
        /// The topics.
        topics: Vec<OffsetFetchResponseTopics> [8+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [8+],
    }

    /// The answers for one topic of a group.
    OffsetFetchResponseTopics {
        /// The topic's name.
        name: String [8-9],
        /// The topic's id.
        topic_id: TopicId [10+],
        /// The partitions.
        partitions: Vec<OffsetFetchResponsePartitions> [8+],
    }

    /// The answer for one partition of a group.
    OffsetFetchResponsePartitions {
        /// The partition's number within its topic.
        partition_index: i32 [8+],
        /// The next offset to read; -1 for none.
        committed_offset: i64 [8+],
        /// The epoch of the leader that the last record was read from; -1 when not known.
        committed_leader_epoch: i32 [8+, default -1],
        /// What the client wanted to remember with it.
        metadata: Option<String> [8+, nullable 8+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [8+],
    }
}
