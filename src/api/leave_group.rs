//! LeaveGroup (key 13), versions 0 to 5.
//!
//! Promises: an answer for each member that is to leave; the others rebalance once for all of them.
//! Versions: 3 many members, static ones by their name (KIP-345). 4 flexible. 5 reasons.

use std::future::Future;

use ottla_rules::group::ask::Leaver;
use ottla_rules::group::{Answer, Ask, GroupError};
use ottla_rules::rights::Operation;
use ottla_wire::codes::Code;
use ottla_wire::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
};

use super::{Call, group_right, outcome_of};

/// The version from which many members may leave at a time.
const BATCH_FROM: i16 = 3;

/// Takes members out of their group.
pub(crate) fn leave_group(
    call: &Call,
    version: i16,
    asked: LeaveGroupRequest,
) -> impl Future<Output = LeaveGroupResponse> + use<> {
    let alone = MemberIdentity { member_id: asked.member_id, ..Default::default() };
    let members = if version >= BATCH_FROM { asked.members } else { vec![alone] };
    let leavers = members
        .iter()
        .map(|it| Leaver { member_id: it.member_id.clone(), instance_id: it.group_instance_id.clone() });
    let answer = group_right(call, Operation::Read, &asked.group_id)
        .map(|()| call.server.ask_group(&asked.group_id, Ask::Leave(leavers.collect())));
    async move {
        let outcome = outcome_of(answer).await;
        let left = match outcome {
            Ok(Answer::Left(left)) => left,
            Ok(_) => return refused(Code::UnknownServerError),
            Err(code) => return refused(code),
        };
        let code = |left: &Result<(), GroupError>| left.as_ref().err().map_or(Code::None, Code::from);
        if version < BATCH_FROM {
            return refused(left.first().map_or(Code::None, code));
        }
        let members = members.into_iter().zip(&left).map(|(member, left)| MemberResponse {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            error_code: code(left).into(),
        });
        LeaveGroupResponse { members: members.collect(), ..Default::default() }
    }
}

fn refused(code: Code) -> LeaveGroupResponse {
    LeaveGroupResponse { error_code: code.into(), ..Default::default() }
}
