//! LeaveGroup (key 13), versions 0 to 5.
//!
//! Versions: 3 many members at a time, static ones by their name. 4 flexible. 5 reasons.

use crate::message::message;

message! {
    LeaveGroup request, versions 0-5, flexible 4+;
    /// Takes members out of their group.
    LeaveGroupRequest {
        /// The group.
        group_id: String [0+],
        /// The member that leaves.
        member_id: String [0-2],
        /// The members that leave.
        members: Vec<MemberIdentity> [3+],
    }

    /// A member that leaves.
    MemberIdentity {
        /// Its id; empty when a static member is meant by its name.
        member_id: String [3+],
        /// The name of a static member; null for a dynamic one.
        group_instance_id: Option<String> [3+, nullable 3+, default None],
        /// Why it leaves, for people; null when it does not say.
        reason: Option<String> [5+, nullable 5+, default None],
    }
}

message! {
    LeaveGroup response, versions 0-5, flexible 4+;
    /// Who has left.
    LeaveGroupResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [1+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The answers, one for each member.
        members: Vec<MemberResponse> [3+],
    }

    /// What became of one member.
    MemberResponse {
        /// Its id.
        member_id: String [3+],
        /// The name of a static member; null for a dynamic one.
        group_instance_id: Option<String> [3+, nullable 3+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [3+],
    }
}
