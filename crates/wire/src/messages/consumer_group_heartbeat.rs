//! ConsumerGroupHeartbeat (key 68), versions 0 and 1 (KIP-848).
//!
//! Versions: 1 subscription by pattern; the client makes its own member id (KIP-1082).

use ottla_rules::ids::TopicId;

use crate::message::message;

message! {
    ConsumerGroupHeartbeat request, versions 0-1, flexible 0+;
    /// Joins, stays in or leaves a group of the consumer protocol.
    ConsumerGroupHeartbeatRequest {
        /// The group.
        group_id: String [0+],
        /// The member's id.
        member_id: String [0+],
        /// The member's epoch; 0 joins, -1 leaves, -2 is a static member that will be back.
        member_epoch: i32 [0+],
        /// The name of a static member; null when dynamic or unchanged.
        instance_id: Option<String> [0+, nullable 0+, default None],
        /// The member's rack; null when it has none or it is unchanged.
        rack_id: Option<String> [0+, nullable 0+, default None],
        /// How long the member may take to give partitions up, in milliseconds; -1 when unchanged.
        rebalance_timeout_ms: i32 [0+, default -1],
        /// The topics subscribed to by name; null when unchanged.
        subscribed_topic_names: Option<Vec<String>> [0+, nullable 0+, default None],
        /// The pattern subscribed to; null when unchanged, empty for none.
        subscribed_topic_regex: Option<String> [1+, nullable 1+, default None],
        /// The assignor of the broker's that the member wants; null when unchanged or any.
        server_assignor: Option<String> [0+, nullable 0+, default None],
        /// The partitions that the member owns; null when unchanged.
        topic_partitions: Option<Vec<OwnedTopicPartitions>> [0+, nullable 0+, default None],
    }

    /// Partitions of one topic that a member owns.
    OwnedTopicPartitions {
        /// The topic's id.
        topic_id: TopicId [0+],
        /// The partitions' numbers.
        partitions: Vec<i32> [0+],
    }
}

message! {
    ConsumerGroupHeartbeat response, versions 0-1, flexible 0+;
    /// What the member is to do.
    ConsumerGroupHeartbeatResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [0+, nullable 0+, default None],
        /// The member's id; null after an error.
        member_id: Option<String> [0+, nullable 0+, default None],
        /// The member's epoch.
        member_epoch: i32 [0+],
        /// How often the member is to say that it lives, in milliseconds.
        heartbeat_interval_ms: i32 [0+],
        /// What the member should own; null when that has not changed.
        assignment: Option<MemberAssignment> [0+, nullable 0+, default None],
    }

    /// What a member should own.
    MemberAssignment {
        /// The partitions, by topic.
        topic_partitions: Vec<AssignedTopicPartitions> [0+],
    }

    /// Partitions of one topic that a member should own.
    AssignedTopicPartitions {
        /// The topic's id.
        topic_id: TopicId [0+],
        /// The partitions' numbers.
        partitions: Vec<i32> [0+],
    }
}
