//! FindCoordinator (key 10), versions 0 to 6.
//!
//! Versions: 1 transactional ids too. 3 flexible. 4 many keys at a time. 6 share groups.

use crate::message::message;

message! {
    FindCoordinator request, versions 0-6, flexible 3+;
    /// Asks which broker coordinates groups or transactional ids.
    FindCoordinatorRequest {
        /// The group or transactional id.
        key: String [0-3],
        /// What the keys are: 0 groups, 1 transactional ids, 2 partitions of share groups.
        key_type: i8 [1+],
        /// The groups or transactional ids.
        coordinator_keys: Vec<String> [4+],
    }
}

message! {
    FindCoordinator response, versions 0-6, flexible 3+;
    /// Where the coordinators are.
    FindCoordinatorResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [1+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0-3],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [1-3, nullable 1+],
        /// The node's id.
        node_id: i32 [0-3],
        /// Where the node listens.
        host: String [0-3],
        /// The port it listens on.
        port: i32 [0-3],
        /// The answers, one for each key.
        coordinators: Vec<Coordinator> [4+],
    }

    /// Where one coordinator is.
    Coordinator {
        /// The group or transactional id.
        key: String [4+],
        /// The node's id.
        node_id: i32 [4+],
        /// Where the node listens.
        host: String [4+],
        /// The port it listens on.
        port: i32 [4+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [4+],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [4+, nullable 4+],
    }
}
