//! IncrementalAlterConfigs (key 44), versions 0 to 1.
//!
//! Versions: 1 flexible.

use crate::message::message;

message! {
    IncrementalAlterConfigs request, versions 0-1, flexible 1+;
    /// Changes single settings.
    IncrementalAlterConfigsRequest {
        /// The things to look at or change.
        resources: Vec<AlterConfigsResource> [0+],
        /// Whether to check only and change nothing.
        validate_only: bool [0+],
    }

    /// A thing to configure.
    AlterConfigsResource {
        /// What is configured: 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
        resource_type: i8 [0+],
        /// Its name: a topic's name, a broker's id.
        resource_name: String [0+],
        /// The settings.
        configs: Vec<AlterableConfig> [0+],
    }

    /// One setting to change.
    AlterableConfig {
        /// The name.
        name: String [0+],
        /// 0 set, 1 delete, 2 append, 3 subtract.
        config_operation: i8 [0+],
        /// The value; null when it has none or must not be seen.
        value: Option<String> [0+, nullable 0+],
    }
}

message! {
    IncrementalAlterConfigs response, versions 0-1, flexible 1+;
    /// What became of the things.
    IncrementalAlterConfigsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// The answers, one for each thing that was asked for.
        responses: Vec<AlterConfigsResourceResponse> [0+],
    }

    /// What became of one thing.
    AlterConfigsResourceResponse {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [0+, nullable 0+],
        /// What is configured: 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
        resource_type: i8 [0+],
        /// Its name: a topic's name, a broker's id.
        resource_name: String [0+],
    }
}
