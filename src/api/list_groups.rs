//! ListGroups (key 16), versions 0 to 5.
//!
//! Versions: 3 flexible. 4 states (KIP-518). 5 types (KIP-848).

use std::future::Future;

use futures_util::future::join_all;
use ottla_actors::offsets::ListGroups;
use ottla_actors::stage::reply::Reply;
use ottla_rules::group::{GroupError, Summary};
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

use super::{CLUSTER, Call};

/// Lists the groups that this node coordinates. All partitions are asked when this returns.
pub(crate) fn list_groups(
    call: &Call,
    asked: ListGroupsRequest,
) -> impl Future<Output = ListGroupsResponse> + use<> {
    let call = call.clone();
    let waiting: Vec<_> = call
        .server
        .directory
        .offsets()
        .into_iter()
        .map(|addr| {
            let (reply, answer) = Reply::once();
            addr.do_send(ListGroups { reply });
            answer
        })
        .collect();
    async move {
        let mut response = ListGroupsResponse::default();
        let all = call.may(Operation::Describe, ResourceKind::Cluster, CLUSTER);
        for listed in join_all(waiting).await {
            let listed = match listed {
                Ok(listed) => listed,
                // The partition has just gone elsewhere, and its groups with it.
                Err(GroupError::NotCoordinator) => continue,
                Err(error) => {
                    return ListGroupsResponse {
                        error_code: Code::from(&error).into(),
                        ..Default::default()
                    };
                }
            };
            for (id, summary) in listed {
                let seen = all || call.may(Operation::Describe, ResourceKind::Group, &id);
                if seen && is_wanted(&asked, &summary) {
                    response.groups.push(ListedGroup {
                        group_id: id.to_string(),
                        protocol_type: summary.protocol_type,
                        group_state: summary.state.to_owned(),
                        group_type: summary.kind.to_owned(),
                    });
                }
            }
        }
        response
    }
}

fn is_wanted(asked: &ListGroupsRequest, summary: &Summary) -> bool {
    let names = |filter: &[String], name: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    names(&asked.states_filter, summary.state) && names(&asked.types_filter, summary.kind)
}
