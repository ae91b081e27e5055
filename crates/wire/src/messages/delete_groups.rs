//! DeleteGroups (key 42), versions 0 to 2.
//!
//! Versions: 2 flexible.

use crate::message::message;

message! {
    DeleteGroups request, versions 0-2, flexible 2+;
    /// Deletes groups with all that they committed.
    DeleteGroupsRequest {
        /// The groups.
        groups_names: Vec<String> [0+],
    }
}

message! {
    DeleteGroups response, versions 0-2, flexible 2+;
    /// Which groups are deleted.
    DeleteGroupsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// The answers, one for each group.
        results: Vec<DeletableGroupResult> [0+],
    }

    /// What became of one group.
    DeletableGroupResult {
        /// The group.
        group_id: String [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
    }
}
