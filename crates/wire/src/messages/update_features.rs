//! UpdateFeatures (key 57), versions 0 to 2 (KIP-584).
//!
//! Versions: 1 the kind of change in place of a yes to downgrades; only a check. 2 one answer for all (KIP-1022).

use crate::message::message;

message! {
    UpdateFeatures request, versions 0-2, flexible 0+;
    /// Changes which levels of features are in force.
    UpdateFeaturesRequest {
        /// How long the client waits, in milliseconds.
        timeout_ms: i32 [0+, default 60000],
        /// The changes.
        feature_updates: Vec<FeatureUpdateKey> [0+],
        /// Whether to check only and change nothing.
        validate_only: bool [1+],
    }

    /// The change of one feature.
    FeatureUpdateKey {
        /// The feature's name.
        feature: String [0+],
        /// The level that shall be in force.
        max_version_level: i16 [0+],
        /// Whether the level may be lower than the one in force.
        allow_downgrade: bool [0-0],
        /// 1 is an upgrade, 2 a safe downgrade, 3 an unsafe one.
        upgrade_type: i8 [1+, default 1],
    }
}

message! {
    UpdateFeatures response, versions 0-2, flexible 0+;
    /// What became of the changes.
    UpdateFeaturesResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [0+, nullable 0+],
        /// The answers, one for each feature.
        results: Vec<UpdatableFeatureResult> [0-1],
    }

    /// What became of one feature.
    UpdatableFeatureResult {
        /// The feature's name.
        feature: String [0-1],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0-1],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [0-1, nullable 0+],
    }
}
