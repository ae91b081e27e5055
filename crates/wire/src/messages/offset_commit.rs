//! OffsetCommit (key 8), versions 2 to 10.
//!
//! Versions: 5 no retention time. 6 leader epochs. 7 static members. 8 flexible. 9 members of the consumer protocol. 10 topic ids.

use ottla_rules::ids::TopicId;

use crate::message::message;

message! {
    OffsetCommit request, versions 2-10, flexible 8+;
    /// Commits offsets of a group.
    OffsetCommitRequest {
        /// The group.
        group_id: String [0+],
        /// The member's generation, or its epoch in the consumer protocol; -1 outside of one.
        generation_id_or_member_epoch: i32 [1+, default -1],
        /// The member's id; empty outside of a group.
        member_id: String [1+],
        /// The name of a static member; null for a dynamic one.
        group_instance_id: Option<String> [7+, nullable 7+, default None],
        /// How long to keep the offsets, in milliseconds; -1 for as long as the broker keeps them.
        retention_time_ms: i64 [2-4, default -1],
        /// The topics.
        topics: Vec<OffsetCommitRequestTopic> [0+],
    }

    /// A topic to commit offsets of.
    OffsetCommitRequestTopic {
        /// The topic's name.
        name: String [0-9],
        /// The topic's id.
        topic_id: TopicId [10+],
        /// The partitions.
        partitions: Vec<OffsetCommitRequestPartition> [0+],
    }

    /// A partition to commit the offset of.
    OffsetCommitRequestPartition {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// The next offset to read.
        committed_offset: i64 [0+],
        /// The epoch of the leader that the last record was read from; -1 when not known.
        committed_leader_epoch: i32 [6+, default -1],
        /// Whatever the client wants to remember with it.
        committed_metadata: Option<String> [0+, nullable 0+],
    }
}

message! {
    OffsetCommit response, versions 2-10, flexible 8+;
    /// Which offsets are committed.
    OffsetCommitResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [3+],
        /// The topics.
        topics: Vec<OffsetCommitResponseTopic> [0+],
    }

    /// The answers for one topic.
    OffsetCommitResponseTopic {
        /// The topic's name.
        name: String [0-9],
        /// The topic's id.
        topic_id: TopicId [10+],
        /// The partitions.
        partitions: Vec<OffsetCommitResponsePartition> [0+],
    }

    /// The answer for one partition.
    OffsetCommitResponsePartition {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
    }
}
