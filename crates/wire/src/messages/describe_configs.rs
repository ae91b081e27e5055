//! DescribeConfigs (key 32), versions 1 to 4.
//!
//! Versions: 1 synonyms and sources. 3 types and documentation. 4 flexible.

use crate::message::message;

message! {
    DescribeConfigs request, versions 1-4, flexible 4+;
    /// Asks for settings.
    DescribeConfigsRequest {
        /// The things to look at or change.
        resources: Vec<DescribeConfigsResource> [0+],
        /// Whether to tell all places that a value could come from.
        include_synonyms: bool [1+],
        /// Whether to tell what the settings mean.
        include_documentation: bool [3+],
    }

    /// A thing whose settings are asked for.
    DescribeConfigsResource {
        /// What is configured: 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
        resource_type: i8 [0+],
        /// Its name: a topic's name, a broker's id.
        resource_name: String [0+],
        /// The names of the settings; null is all of them.
        configuration_keys: Option<Vec<String>> [0+, nullable 0+],
    }
}

message! {
    DescribeConfigs response, versions 1-4, flexible 4+;
    /// The settings.
    DescribeConfigsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// The answers, one for each thing that was asked for.
        results: Vec<DescribeConfigsResult> [0+],
    }

    /// The settings of one thing.
    DescribeConfigsResult {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [0+, nullable 0+],
        /// What is configured: 2 a topic, 4 a broker, 8 a broker's loggers, 16 client metrics, 32 a group.
        resource_type: i8 [0+],
        /// Its name: a topic's name, a broker's id.
        resource_name: String [0+],
        /// The settings.
        configs: Vec<DescribeConfigsResourceResult> [0+],
    }

    /// One setting.
    DescribeConfigsResourceResult {
        /// The name.
        name: String [0+],
        /// The value; null when it has none or must not be seen.
        value: Option<String> [0+, nullable 0+],
        /// Whether it cannot be changed.
        read_only: bool [0+],
        /// Where the value comes from: 1 topic, 2 dynamic broker, 3 dynamic default broker, 4 static broker, 5 default, 6 broker logger.
        config_source: i8 [1+, default -1],
        /// Whether the value is a secret, and therefore null.
        is_sensitive: bool [0+],
        /// All places that the value could come from, the one that counts first.
        synonyms: Vec<DescribeConfigsSynonym> [1+],
        /// 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8 class, 9 password; 0 unknown.
        config_type: i8 [3+],
        /// What the setting means.
        documentation: Option<String> [3+, nullable 0+],
    }

    /// One place that the value could come from.
    DescribeConfigsSynonym {
        /// The name.
        name: String [1+],
        /// The value; null when it has none or must not be seen.
        value: Option<String> [1+, nullable 0+],
        /// Where the value comes from, numbered as `config_source`.
        source: i8 [1+],
    }
}
