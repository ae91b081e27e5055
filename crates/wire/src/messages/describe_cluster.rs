//! DescribeCluster (key 60), versions 0 to 2.
//!
//! Versions: all are flexible. 1 endpoint type. 2 fenced brokers.

use crate::message::message;

message! {
    DescribeCluster request, versions 0-2, flexible 0+;
    /// Asks who is in the cluster.
    DescribeClusterRequest {
        /// Whether to say what the caller may do with the cluster.
        include_cluster_authorized_operations: bool [0+],
        /// 1: brokers, 2: controllers.
        endpoint_type: i8 [1+, default 1],
        /// Whether to list brokers that are fenced.
        include_fenced_brokers: bool [2+],
    }
}

message! {
    DescribeCluster response, versions 0-2, flexible 0+;
    /// Who is in the cluster.
    DescribeClusterResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [0+, nullable 0+, default None],
        /// 1: brokers, 2: controllers.
        endpoint_type: i8 [1+, default 1],
        /// The cluster's id.
        cluster_id: String [0+],
        /// The node to send administration to.
        controller_id: i32 [0+, default -1],
        /// The brokers of the cluster.
        brokers: Vec<DescribeClusterBroker> [0+],
        /// What the caller may do with the cluster, one bit an operation; the lowest number when it was not asked for.
        cluster_authorized_operations: i32 [0+, default i32::MIN],
    }

    /// One broker.
    DescribeClusterBroker {
        /// The broker's id.
        broker_id: i32 [0+],
        /// Where the node listens.
        host: String [0+],
        /// The port it listens on.
        port: i32 [0+],
        /// Its rack; null when it has none.
        rack: Option<String> [0+, nullable 0+, default None],
        /// Whether it is fenced.
        is_fenced: bool [2+],
    }
}
