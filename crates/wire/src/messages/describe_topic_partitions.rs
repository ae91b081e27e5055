//! DescribeTopicPartitions (key 75), version 0 (KIP-966).

use ottla_rules::ids::TopicId;

use crate::message::message;

message! {
    DescribeTopicPartitions request, versions 0-0, flexible 0+;
    /// Asks for topics page by page.
    DescribeTopicPartitionsRequest {
        /// The topics; none is all.
        topics: Vec<TopicRequest> [0+],
        /// How many partitions the client takes in one answer.
        response_partition_limit: i32 [0+, default 2000],
        /// Where to go on; null is from the beginning.
        cursor: Option<Cursor> [0+, nullable 0+, default None],
    }

    /// A topic to describe.
    TopicRequest {
        /// The topic's name.
        name: String [0+],
    }

    /// A place in the order of topics and partitions.
    Cursor {
        /// The topic's name.
        topic_name: String [0+],
        /// The partition's number within its topic.
        partition_index: i32 [0+],
    }
}

message! {
    DescribeTopicPartitions response, versions 0-0, flexible 0+;
    /// One page of topics.
    DescribeTopicPartitionsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// The topics.
        topics: Vec<DescribeTopicPartitionsResponseTopic> [0+],
        /// Where the next page begins; null when this is the last one.
        next_cursor: Option<Cursor> [0+, nullable 0+, default None],
    }

    /// One topic.
    DescribeTopicPartitionsResponseTopic {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The topic's name.
        name: Option<String> [0+, nullable 0+],
        /// The topic's id.
        topic_id: TopicId [0+],
        /// Whether the topic is the broker's own.
        is_internal: bool [0+],
        /// The partitions on this page.
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0+],
        /// What the caller may do with it, one bit an operation; the lowest number when it was not asked for.
        topic_authorized_operations: i32 [0+, default i32::MIN],
    }

    /// One partition.
    DescribeTopicPartitionsResponsePartition {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// The node that leads it; -1 when nobody does.
        leader_id: i32 [0+],
        /// The epoch of the leader; -1 when not known.
        leader_epoch: i32 [0+, default -1],
        /// The nodes that have a copy.
        replica_nodes: Vec<i32> [0+],
        /// Those of them that are in sync.
        isr_nodes: Vec<i32> [0+],
        /// Those that may lead although they left the in-sync set.
        eligible_leader_replicas: Option<Vec<i32>> [0+, nullable 0+, default None],
        /// Those that could when they were last heard of.
        last_known_elr: Option<Vec<i32>> [0+, nullable 0+, default None],
        /// Those of the nodes that are not there.
        offline_replicas: Vec<i32> [0+],
    }
}
