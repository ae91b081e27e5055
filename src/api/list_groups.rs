//! ListGroups (key 16), versions 0 to 5.
//!
//! Versions: 3 flexible. 4 states (KIP-518). 5 types (KIP-848).

use std::collections::BTreeSet;
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
    let wanted = Wanted::of(&asked);
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
                if seen && wanted.has(&summary) {
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

/// Which are asked for: names of states and types in small letters, however many a request has of them.
struct Wanted {
    states: BTreeSet<String>,
    types: BTreeSet<String>,
}

impl Wanted {
    fn of(asked: &ListGroupsRequest) -> Wanted {
        let small = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Wanted { states: small(&asked.states_filter), types: small(&asked.types_filter) }
    }

    fn has(&self, summary: &Summary) -> bool {
        let names = |filter: &BTreeSet<String>, name: &str| {
            filter.is_empty() || filter.contains(&name.to_ascii_lowercase())
        };
        names(&self.states, summary.state) && names(&self.types, summary.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_types_are_asked_for_in_any_spelling() {
        let check = |states: &[&str], types: &[&str], is_wanted| {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let asked = ListGroupsRequest { states_filter: names(states), types_filter: names(types) };
            let summary = Summary { state: "Stable", kind: "classic", protocol_type: String::new() };
            assert_eq!(Wanted::of(&asked).has(&summary), is_wanted, "{asked:?}");
        };
        check(&[], &[], true);
        check(&["Empty", "STABLE"], &["Classic"], true);
        check(&["Empty"], &[], false);
        check(&["stable"], &["consumer"], false);
    }
}
