//! ListConfigResources (key 74), versions 0 to 1.
//!
//! Versions: all are flexible. 0 knows client metrics alone. 1 kinds of resources (KIP-1142).

use crate::message::message;

message! {
    ListConfigResources request, versions 0-1, flexible 0+;
    /// Asks which things have settings of their own.
    ListConfigResourcesRequest {
        /// The kinds, numbered as in DescribeConfigs; none is all.
        resource_types: Vec<i8> [1+],
    }
}

message! {
    ListConfigResources response, versions 0-1, flexible 0+;
    /// The things that have settings of their own.
    ListConfigResourcesResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The things.
        config_resources: Vec<ConfigResource> [0+],
    }

    /// One thing.
    ConfigResource {
        /// Its name: a topic's name, a broker's id.
        resource_name: String [0+],
        /// What it is: 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
        resource_type: i8 [1+, default 16],
    }
}
