//! Heartbeat (key 12), versions 0 to 4.
//!
//! Versions: 3 static members (KIP-345). 4 flexible.

use std::future::Future;

use ottla_rules::group::{Ask, GroupError, Outcome, ask};
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
            Ok(answer) => code_of(answer.await),
            Err(code) => code,
        };
        HeartbeatResponse { error_code: code.into(), ..Default::default() }
    }
}

fn code_of(outcome: Outcome) -> Code {
    match outcome {
        Ok(_) => Code::None,
        // Whether it is a member still nobody knows yet, and a client that is told so may end its session: sarama does. It is asked
        // again soon enough. Kafka responds "blindly", as it says, too.
        Err(GroupError::Loading) => Code::None,
        Err(error) => Code::from(&error),
    }
}

#[cfg(test)]
mod tests {
    use ottla_rules::group::Answer;

    use super::*;

    #[test]
    fn a_group_that_is_being_read_is_no_reason_to_leave_it() {
        let check = |outcome, code: Code| assert_eq!(code_of(outcome), code);
        check(Ok(Answer::Alive), Code::None);
        check(Err(GroupError::Loading), Code::None);
        check(Err(GroupError::RebalanceInProgress), Code::RebalanceInProgress);
        check(Err(GroupError::NotCoordinator), Code::NotCoordinator);
    }
}
