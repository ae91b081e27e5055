//! ConsumerGroupDescribe (key 69), versions 0 and 1 (KIP-848).
//!
//! Versions: 1 which protocol a member speaks.

use ottla_rules::ids::TopicId;

use crate::message::message;

message! {
    ConsumerGroupDescribe request, versions 0-1, flexible 0+;
    /// Asks about groups of the consumer protocol.
    ConsumerGroupDescribeRequest {
        /// The groups.
        group_ids: Vec<String> [0+],
        /// Whether to say what the caller may do with the groups.
        include_authorized_operations: bool [0+],
    }
}

message! {
    ConsumerGroupDescribe response, versions 0-1, flexible 0+;
    /// What is known of the groups.
    ConsumerGroupDescribeResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// The groups.
        groups: Vec<DescribedGroup> [0+],
    }

    /// One group.
    DescribedGroup {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [0+, nullable 0+, default None],
        /// The group.
        group_id: String [0+],
        /// Its state, by Kafka's name.
        group_state: String [0+],
        /// The epoch of the group.
        group_epoch: i32 [0+],
        /// The epoch of its target assignment.
        assignment_epoch: i32 [0+],
        /// The assignor that made it.
        assignor_name: String [0+],
        /// The members.
        members: Vec<Member> [0+],
        /// What the caller may do with the group, one bit an operation; the lowest number when it was not asked for.
        authorized_operations: i32 [0+, default i32::MIN],
    }

    /// One member.
    Member {
        /// Its id.
        member_id: String [0+],
        /// The name of a static member; null for a dynamic one.
        instance_id: Option<String> [0+, nullable 0+, default None],
        /// Its rack; null when it has none.
        rack_id: Option<String> [0+, nullable 0+, default None],
        /// Its epoch.
        member_epoch: i32 [0+],
        /// What its client calls itself.
        client_id: String [0+],
        /// Where it connects from.
        client_host: String [0+],
        /// The topics it subscribed to by name.
        subscribed_topic_names: Vec<String> [0+],
        /// The pattern it subscribed to; null for none.
        subscribed_topic_regex: Option<String> [0+, nullable 0+, default None],
        /// What it owns.
        assignment: Assignment [0+],
        /// What it should own.
        target_assignment: Assignment [0+],
        /// 0: it speaks the classic protocol, 1: the consumer protocol, -1: not known.
        member_type: i8 [1+, default -1],
    }

    /// Partitions that a member has.
    Assignment {
        /// The partitions, by topic.
        topic_partitions: Vec<TopicPartitions> [0+],
    }

    /// Partitions of one topic.
    TopicPartitions {
        /// The topic's id.
        topic_id: TopicId [0+],
        /// The topic's name.
        topic_name: String [0+],
        /// The partitions' numbers.
        partitions: Vec<i32> [0+],
    }
}
