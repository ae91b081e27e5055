//! Heartbeat (key 12), versions 0 to 4.
//!
//! Versions: 3 static members (KIP-345). 4 flexible.

use std::future::Future;

use ottla_rules::group::{Ask, ask};
use ottla_rules::rights::Operation;
use ottla_wire::codes::Code;
use ottla_wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::{Call, group_right};

/// A member says that it lives.
pub(crate) fn heartbeat(
    call: &Call,
    asked: HeartbeatRequest,
) -> impl Future<Output = HeartbeatResponse> + use<> {
    let answer = group_right(call, Operation::Read, &asked.group_id).map(|()| {
        let beat = ask::Heartbeat {
            member_id: asked.member_id,
            instance_id: asked.group_instance_id,
            generation: asked.generation_id,
        };
        call.server.ask_group(&asked.group_id, Ask::Heartbeat(beat))
    });
    async move {
        let code = match answer {
            Ok(answer) => answer.await.map_or_else(|error| Code::from(&error), |_| Code::None),
            Err(code) => code,
        };
        HeartbeatResponse { error_code: code.into(), ..Default::default() }
    }
}
