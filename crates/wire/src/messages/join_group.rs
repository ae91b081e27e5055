//! JoinGroup (key 11), versions 0 to 9.
//!
//! Versions: 1 rebalance timeout. 4 a new member is given its id first. 5 static members. 6 flexible. 7 protocol type in the answer.
//! 8 reasons. 9 a leader may be told not to assign.

use bytes::Bytes;

use crate::message::message;

message! {
    JoinGroup request, versions 0-9, flexible 6+;
    /// Joins a group of the classic protocol.
    JoinGroupRequest {
        /// The group.
        group_id: String [0+],
        /// After how long a silence the member is given up, in milliseconds.
        session_timeout_ms: i32 [0+],
        /// How long a rebalance may wait for the member, in milliseconds; -1 for the session timeout.
        rebalance_timeout_ms: i32 [1+, default -1],
        /// The member's id; empty before it has one.
        member_id: String [0+],
        /// The name of a static member; null for a dynamic one.
        group_instance_id: Option<String> [5+, nullable 5+, default None],
        /// What the group is for; clients say `consumer`.
        protocol_type: String [0+],
        /// The ways of assigning that the member supports, best first.
        protocols: Vec<JoinGroupRequestProtocol> [0+],
        /// Why the member joins, for people; null when it does not say.
        reason: Option<String> [8+, nullable 8+, default None],
    }

    /// A way of assigning.
    JoinGroupRequestProtocol {
        /// Its name.
        name: String [0+],
        /// What the member says to the leader about it.
        metadata: Bytes [0+],
    }
}

message! {
    JoinGroup response, versions 0-9, flexible 6+;
    /// The group as the member joined it.
    JoinGroupResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [2+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// Which generation of the group it is.
        generation_id: i32 [0+, default -1],
        /// What the group is for.
        protocol_type: Option<String> [7+, nullable 7+, default None],
        /// The way of assigning that was chosen.
        protocol_name: Option<String> [0+, nullable 7+],
        /// The member that assigns.
        leader: String [0+],
        /// Whether the leader keeps the assignment that there is.
        skip_assignment: bool [9+],
        /// The member's id.
        member_id: String [0+],
        /// All members, for the leader alone.
        members: Vec<JoinGroupResponseMember> [0+],
    }

    /// A member, as the leader sees it.
    JoinGroupResponseMember {
        /// Its id.
        member_id: String [0+],
        /// The name of a static member; null for a dynamic one.
        group_instance_id: Option<String> [5+, nullable 5+, default None],
        /// What it says to the leader.
        metadata: Bytes [0+],
    }
}
