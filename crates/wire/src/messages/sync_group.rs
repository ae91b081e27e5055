//! SyncGroup (key 14), versions 0 to 5.
//!
//! Versions: 3 static members. 4 flexible. 5 protocol type and name.

use bytes::Bytes;

use crate::message::message;

message! {
    SyncGroup request, versions 0-5, flexible 4+;
    /// Asks for the member's assignment; the leader brings those of all.
    SyncGroupRequest {
        /// The group.
        group_id: String [0+],
        /// The generation that the member believes in.
        generation_id: i32 [0+],
        /// The member's id.
        member_id: String [0+],
        /// The name of a static member; null for a dynamic one.
        group_instance_id: Option<String> [3+, nullable 3+, default None],
        /// What the member believes the group is for; null when it does not say.
        protocol_type: Option<String> [5+, nullable 5+, default None],
        /// The way of assigning that the member believes was chosen; null when it does not say.
        protocol_name: Option<String> [5+, nullable 5+, default None],
        /// The assignments; empty but from the leader.
        assignments: Vec<SyncGroupRequestAssignment> [0+],
    }

    /// One member's assignment.
    SyncGroupRequestAssignment {
        /// The member.
        member_id: String [0+],
        /// What it is given, in the words of the way of assigning.
        assignment: Bytes [0+],
    }
}

message! {
    SyncGroup response, versions 0-5, flexible 4+;
    /// The member's assignment.
    SyncGroupResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [1+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// What the group is for.
        protocol_type: Option<String> [5+, nullable 5+, default None],
        /// The way of assigning that was chosen.
        protocol_name: Option<String> [5+, nullable 5+, default None],
        /// What the member is given; no bytes when that is nothing.
        assignment: Bytes [0+],
    }
}
