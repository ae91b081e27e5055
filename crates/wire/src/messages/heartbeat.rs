//! Heartbeat (key 12), versions 0 to 4.
//!
//! Versions: 3 static members. 4 flexible.

use crate::message::message;

message! {
    Heartbeat request, versions 0-4, flexible 4+;
    /// Says that a member of a classic group lives.
    HeartbeatRequest {
        /// The group.
        group_id: String [0+],
        /// The generation that the member believes in.
        generation_id: i32 [0+],
        /// The member's id.
        member_id: String [0+],
        /// The name of a static member; null for a dynamic one.
        group_instance_id: Option<String> [3+, nullable 3+, default None],
    }
}

message! {
    Heartbeat response, versions 0-4, flexible 4+;
    /// Whether the member may go on.
    HeartbeatResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [1+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
    }
}
