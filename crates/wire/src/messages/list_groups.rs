//! ListGroups (key 16), versions 0 to 5.
//!
//! Versions: 3 flexible. 4 states. 5 types.

use crate::message::message;

message! {
    ListGroups request, versions 0-5, flexible 3+;
    /// Asks which groups this node coordinates.
    ListGroupsRequest {
        /// Only groups in one of these states; empty is any.
        states_filter: Vec<String> [4+],
        /// Only groups of one of these types; empty is any.
        types_filter: Vec<String> [5+],
    }
}

message! {
    ListGroups response, versions 0-5, flexible 3+;
    /// The groups.
    ListGroupsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [1+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The groups.
        groups: Vec<ListedGroup> [0+],
    }

    /// One group.
    ListedGroup {
        /// The group.
        group_id: String [0+],
        /// What it is for.
        protocol_type: String [0+],
        /// Its state, by Kafka's name.
        group_state: String [4+],
        /// Its type, by Kafka's name.
        group_type: String [5+],
    }
}
