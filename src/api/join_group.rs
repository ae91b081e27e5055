//! JoinGroup (key 11), versions 0 to 9.
//!
//! Promises: a member is answered when the rebalance is over, or told what to do instead.
//! Versions: 1 rebalance timeout (0: the session timeout). 4 a new member is given its id first (KIP-394). 5 static
//! members (KIP-345). 6 flexible. 7 protocol type. 8 reasons. 9 a leader may be told to keep the assignment.

use std::future::Future;

use ottla_rules::group::ask::{Join, Joined};
use ottla_rules::group::{Answer, Ask, GroupError};
use ottla_rules::rights::Operation;
use ottla_wire::codes::Code;
use ottla_wire::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};

use super::{Call, group_right, kept};

/// The version from which a new member has to come again with the id that it was given.
const ID_FIRST_FROM: i16 = 4;
/// The version from which a leader understands that it is to keep the assignment.
const CAN_SKIP_FROM: i16 = 9;

/// Joins a group.
pub(crate) fn join_group(
    call: &Call,
    version: i16,
    client_id: Option<String>,
    asked: JoinGroupRequest,
) -> impl Future<Output = JoinGroupResponse> + use<> {
    let member_id = asked.member_id.clone();
    let allowed = group_right(call, Operation::Read, &asked.group_id);
    let answer = allowed.map(|()| {
        let mut chance = [0; 16];
        call.server.host.chance.fill(&mut chance);
        let rebalance_timeout_ms =
            if version >= 1 { asked.rebalance_timeout_ms } else { asked.session_timeout_ms };
        let join = Join {
            member_id: asked.member_id,
            instance_id: asked.group_instance_id,
            client_id: client_id.unwrap_or_default(),
            client_host: String::from(&*call.client_host),
            session_timeout_ms: asked.session_timeout_ms,
            rebalance_timeout_ms,
            protocol_type: asked.protocol_type,
            protocols: kept(asked.protocols.into_iter().map(|it| (it.name, it.metadata))),
            id_first: version >= ID_FIRST_FROM,
            can_skip: version >= CAN_SKIP_FROM,
            chance,
        };
        call.server.ask_group(&asked.group_id, Ask::Join(join))
    });
    async move {
        let outcome = match answer {
            Ok(answer) => answer.await,
            Err(code) => return refused(member_id, code),
        };
        match outcome {
            Ok(Answer::Joined(joined)) => of_joined(joined),
            Ok(_) => refused(member_id, Code::UnknownServerError),
            Err(GroupError::MemberIdRequired(id)) => refused(id, Code::MemberIdRequired),
            Err(error) => refused(member_id, Code::from(&error)),
        }
    }
}

fn of_joined(joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|(member_id, group_instance_id, metadata)| {
        JoinGroupResponseMember { member_id, group_instance_id, metadata }
    });
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type,
        protocol_name: joined.protocol,
        leader: joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id,
        members: members.collect(),
        ..Default::default()
    }
}

fn refused(member_id: String, code: Code) -> JoinGroupResponse {
    JoinGroupResponse { error_code: code.into(), member_id, protocol_name: None, ..Default::default() }
}
