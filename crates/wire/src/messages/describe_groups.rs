//! DescribeGroups (key 15), versions 0 to 6.
//!
//! Versions: 3 authorized operations. 4 static members. 5 flexible. 6 a group that does not exist is an error, with a message.

use bytes::Bytes;

use crate::message::message;

message! {
    DescribeGroups request, versions 0-6, flexible 5+;
    /// Asks about groups of the classic protocol.
    DescribeGroupsRequest {
        /// The groups.
        groups: Vec<String> [0+],
        /// Whether to say what the caller may do with the groups.
        include_authorized_operations: bool [3+],
    }
}

message! {
    DescribeGroups response, versions 0-6, flexible 5+;
    /// What is known of the groups.
    DescribeGroupsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [1+],
        /// The groups.
        groups: Vec<DescribedGroup> [0+],
    }

    /// One group.
    DescribedGroup {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [6+, nullable 6+, default None],
        /// The group.
        group_id: String [0+],
        /// Its state, by Kafka's name.
        group_state: String [0+],
        /// What it is for.
        protocol_type: String [0+],
        /// The way of assigning that was chosen.
        protocol_data: String [0+],
        /// The members.
        members: Vec<DescribedGroupMember> [0+],
        /// What the caller may do with the group, one bit an operation; the lowest number when it was not asked for.
        authorized_operations: i32 [3+, default i32::MIN],
    }

    /// One member.
    DescribedGroupMember {
        /// Its id.
        member_id: String [0+],
        /// The name of a static member; null for a dynamic one.
        group_instance_id: Option<String> [4+, nullable 4+, default None],
        /// What its client calls itself.
        client_id: String [0+],
        /// Where it connects from.
        client_host: String [0+],
        /// What it says to the leader.
        member_metadata: Bytes [0+],
        /// What it is given.
        member_assignment: Bytes [0+],
    }
}
