//! Metadata (key 3), versions 0 to 13.
//!
//! Versions: 1 null is all topics. 4 auto-creation can be refused. 5 offline replicas. 7 leader epochs. 8 authorized operations.
//! 9 flexible. 10 topic ids. 11 no authorized operations of the cluster. 12 topics by id alone. 13 an error at the top.

use ottla_rules::ids::TopicId;

use crate::message::message;

message! {
    Metadata request, versions 0-13, flexible 9+;
    /// Asks who is in the cluster and where topics live.
    MetadataRequest {
        /// The topics asked for; null is all of them. (In version 0, empty is all.)
        topics: Option<Vec<MetadataRequestTopic>> [0+, nullable 1+],
        /// Whether a topic that does not exist may be created by asking for it.
        allow_auto_topic_creation: bool [4+, default true],
        /// Whether to say what the caller may do with the cluster.
        include_cluster_authorized_operations: bool [8-10],
        /// Whether to say what the caller may do with the topics.
        include_topic_authorized_operations: bool [8+],
    }

    /// A topic asked for.
    MetadataRequestTopic {
        /// The topic's id.
        topic_id: TopicId [10+],
        /// The topic's name; null when it is asked for by id.
        name: Option<String> [0+, nullable 10+],
    }
}

message! {
    Metadata response, versions 0-13, flexible 9+;
    /// Who is in the cluster and where topics live.
    MetadataResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [3+],
        /// The brokers of the cluster.
        brokers: Vec<MetadataResponseBroker> [0+],
        /// The cluster's id.
        cluster_id: Option<String> [2+, nullable 2+, default None],
        /// The node to send administration to.
        controller_id: i32 [1+, default -1],
        /// The topics.
        topics: Vec<MetadataResponseTopic> [0+],
        /// What the caller may do with the cluster, one bit an operation; the lowest number when it was not asked for.
        cluster_authorized_operations: i32 [8-10, default i32::MIN],
        /// An error of the request as a whole; 129 tells the client to bootstrap anew (KIP-1102).
        error_code: i16 [13+],
    }

    /// One broker.
    MetadataResponseBroker {
        /// The node's id.
        node_id: i32 [0+],
        /// Where the node listens.
        host: String [0+],
        /// The port it listens on.
        port: i32 [0+],
        /// Its rack; null when it has none.
        rack: Option<String> [1+, nullable 1+, default None],
    }

    /// One topic.
    MetadataResponseTopic {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The topic's name; null when an unknown id was asked for.
        name: Option<String> [0+, nullable 12+],
        /// The topic's id.
        topic_id: TopicId [10+],
        /// Whether it is one of the cluster's own topics.
        is_internal: bool [1+],
        /// The partitions.
        partitions: Vec<MetadataResponsePartition> [0+],
        /// What the caller may do with the topic, one bit an operation; the lowest number when it was not asked for.
        topic_authorized_operations: i32 [8+, default i32::MIN],
    }

    /// One partition.
    MetadataResponsePartition {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// The leader's node id; -1 when there is none.
        leader_id: i32 [0+],
        /// The epoch of the leader; -1 when not known.
        leader_epoch: i32 [7+, default -1],
        /// All nodes that hold the partition.
        replica_nodes: Vec<i32> [0+],
        /// Those that are in sync with the leader.
        isr_nodes: Vec<i32> [0+],
        /// Those that cannot be reached.
        offline_replicas: Vec<i32> [5+],
    }
}
