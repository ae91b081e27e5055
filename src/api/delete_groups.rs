//! DeleteGroups (key 42), versions 0 to 2 (KIP-229).
//!
//! Promises: a deleted group does not come back, and neither do its offsets. Who is named twice is deleted and answered once.
//! Versions: 2 flexible.

use std::future::Future;

use futures_util::future::join_all;
use ottla_rules::group::Ask;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

use super::{Call, once};

/// Deletes groups. Every group is asked when this returns.
pub(crate) fn delete_groups(
    call: &Call,
    asked: DeleteGroupsRequest,
) -> impl Future<Output = DeleteGroupsResponse> + use<> {
    let waiting: Vec<_> = once(asked.groups_names, String::clone)
        .map(|id| {
            let answer = allowed(call, &id).map(|()| call.server.ask_group(&id, Ask::Delete));
            (id, answer)
        })
        .collect();
    async move {
        let results = waiting.into_iter().map(|(group_id, answer)| async {
            let code = match answer {
                Ok(answer) => answer.await.map_or_else(|error| Code::from(&error), |_| Code::None),
                Err(code) => code,
            };
            DeletableGroupResult { group_id, error_code: code.into() }
        });
        let results: Vec<_> = results.collect();
        DeleteGroupsResponse { results: join_all(results).await, ..Default::default() }
    }
}

/// A group without a name is one that nobody has made: old tools ask for it.
fn allowed(call: &Call, group: &str) -> Result<(), Code> {
    if call.may(Operation::Delete, ResourceKind::Group, group) {
        Ok(())
    } else {
        Err(Code::GroupAuthorizationFailed)
    }
}
