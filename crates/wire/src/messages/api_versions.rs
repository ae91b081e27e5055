//! ApiVersions (key 18), versions 0 to 4.
//!
//! Versions: 1 throttling. 3 flexible, the client's name and version, features. 4 features with a lowest version of 0.
//! Quirks: the answer's header is never flexible; an unknown version is answered in version 0 with error 35.

use crate::message::message;

message! {
    ApiVersions request, versions 0-4, flexible 3+;
    /// Asks what the broker can do.
    ApiVersionsRequest {
        /// What the client is.
        client_software_name: String [3+],
        /// Which release of it.
        client_software_version: String [3+],
    }
}

message! {
    ApiVersions response, versions 0-4, flexible 3+;
    /// What the broker can do.
    ApiVersionsResponse {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The APIs that are served.
        api_keys: Vec<ApiVersion> [0+],
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [1+],
        /// The features this node knows; those with a lowest version of 0 are left out before version 4.
        supported_features: Vec<SupportedFeatureKey> [3+, tag 0],
        /// Grows with each change of the finalized features; -1 when not known.
        finalized_features_epoch: i64 [3+, tag 1, default -1],
        /// The levels that the cluster has agreed on; clients act on them.
        finalized_features: Vec<FinalizedFeatureKey> [3+, tag 2],
        /// A leftover of ZooKeeper; false.
        zk_migration_ready: bool [3+, tag 3],
    }

    /// One API.
    ApiVersion {
        /// The API's key.
        api_key: i16 [0+],
        /// The lowest version.
        min_version: i16 [0+],
        /// The highest version.
        max_version: i16 [0+],
    }

    /// A feature that this node knows.
    SupportedFeatureKey {
        /// The name.
        name: String [3+],
        /// The lowest version.
        min_version: i16 [3+],
        /// The highest version.
        max_version: i16 [3+],
    }

    /// A feature that the cluster has agreed on.
    FinalizedFeatureKey {
        /// The name.
        name: String [3+],
        /// The agreed level.
        max_version_level: i16 [3+],
        /// The lowest agreed level.
        min_version_level: i16 [3+],
    }
}
