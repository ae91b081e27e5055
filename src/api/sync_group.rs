//! SyncGroup (key 14), versions 0 to 5.
//!
//! Promises: an assignment is given out once it is safe; who was forgotten by the leader gets a value of no bytes.
//! Versions: 3 static members (KIP-345). 4 flexible. 5 protocol type and name.

use std::future::Future;

use ottla_rules::group::ask::Sync;
use ottla_rules::group::{Answer, Ask};
use ottla_rules::rights::Operation;
use ottla_wire::codes::Code;
use ottla_wire::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::{Call, group_right, kept, outcome_of};

/// The version from which a member says of which protocol its assignment is.
const PROTOCOL_FROM: i16 = 5;

/// Brings and gets assignments.
pub(crate) fn sync_group(
    call: &Call,
    version: i16,
    asked: SyncGroupRequest,
) -> impl Future<Output = SyncGroupResponse> + use<> {
    let answer = allowed(call, version, &asked).map(|()| {
        let sync = Sync {
            member_id: asked.member_id,
            instance_id: asked.group_instance_id,
            generation: asked.generation_id,
            protocol_type: asked.protocol_type,
            protocol: asked.protocol_name,
            assignments: kept(asked.assignments.into_iter().map(|it| (it.member_id, it.assignment))),
        };
        call.server.ask_group(&asked.group_id, Ask::Sync(sync))
    });
    async move {
        let outcome = outcome_of(answer).await;
        match outcome {
            Ok(Answer::Synced { protocol_type, protocol, assignment }) => {
                SyncGroupResponse { protocol_type, protocol_name: protocol, assignment, ..Default::default() }
            }
            Ok(_) => refused(Code::UnknownServerError),
            // The rebalance that was under way is not known any more. Of all that says so, clients take this for what it is: Java's
            // consumer ends over "loading" in answer to a SyncGroup.
            Err(Code::CoordinatorLoadInProgress) => refused(Code::RebalanceInProgress),
            Err(code) => refused(code),
        }
    }
}

/// What is left out is said before who may not ask, as in Kafka.
fn allowed(call: &Call, version: i16, asked: &SyncGroupRequest) -> Result<(), Code> {
    let says_all = asked.protocol_type.is_some() && asked.protocol_name.is_some();
    if version >= PROTOCOL_FROM && !says_all {
        return Err(Code::InconsistentGroupProtocol);
    }
    group_right(call, Operation::Read, &asked.group_id)
}

fn refused(code: Code) -> SyncGroupResponse {
    SyncGroupResponse { error_code: code.into(), ..Default::default() }
}
