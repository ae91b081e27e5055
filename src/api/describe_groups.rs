//! DescribeGroups (key 15), versions 0 to 6.
//!
//! Versions: 3 authorized operations. 4 static members. 5 flexible. 6 a group that does not exist is an error (before: a group in
//! state Dead).

use std::future::Future;

use futures_util::future::join_all;
use ottla_rules::group::classic::Description;
use ottla_rules::group::{Answer, Ask, GroupError};
use ottla_rules::rights::{Operation, ResourceKind, authorized_operations};
use ottla_wire::codes::Code;
use ottla_wire::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};

use super::consumer_group_heartbeat::sentence;
use super::{Call, once};

/// The version from which a group that does not exist is an error.
const NOT_FOUND_FROM: i16 = 6;

/// Describes groups. Every group is asked when this returns.
pub(crate) fn describe_groups(
    call: &Call,
    version: i16,
    asked: DescribeGroupsRequest,
) -> impl Future<Output = DescribeGroupsResponse> + use<> {
    let call = call.clone();
    let operations = asked.include_authorized_operations;
    let waiting: Vec<_> = once(asked.groups, String::clone)
        .map(|id| {
            let answer = allowed(&call, &id).map(|()| call.server.ask_group(&id, Ask::Describe));
            (id, answer)
        })
        .collect();
    async move {
        let groups = waiting.into_iter().map(|(id, answer)| async {
            let outcome = match answer {
                Ok(answer) => answer.await,
                Err(code) => return refused(id, code, None),
            };
            let mut group = match outcome {
                Ok(Answer::Described(description)) => described(id, description),
                Ok(_) => refused(id, Code::UnknownServerError, None),
                Err(GroupError::NotFound | GroupError::WrongType(_)) if version < NOT_FOUND_FROM => {
                    DescribedGroup { group_id: id, group_state: "Dead".to_owned(), ..Default::default() }
                }
                Err(error @ (GroupError::NotFound | GroupError::WrongType(_))) => {
                    let message = sentence(&id, &error);
                    let dead = refused(id, Code::GroupIdNotFound, Some(message));
                    DescribedGroup { group_state: "Dead".to_owned(), ..dead }
                }
                Err(error) => refused(id, Code::from(&error), None),
            };
            if operations && group.error_code == 0 {
                let name = &group.group_id;
                group.authorized_operations = authorized_operations(&call.caller, ResourceKind::Group, name);
            }
            group
        });
        let groups: Vec<_> = groups.collect();
        DescribeGroupsResponse { groups: join_all(groups).await, ..Default::default() }
    }
}

fn described(group_id: String, description: Description) -> DescribedGroup {
    let members = description.members.into_iter().map(|member| DescribedGroupMember {
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: member.subscription,
        member_assignment: member.assignment,
    });
    DescribedGroup {
        group_id,
        group_state: description.state.to_owned(),
        protocol_type: description.protocol_type,
        protocol_data: description.protocol,
        members: members.collect(),
        ..Default::default()
    }
}

fn refused(group_id: String, code: Code, error_message: Option<String>) -> DescribedGroup {
    DescribedGroup { error_code: code.into(), error_message, group_id, ..Default::default() }
}

/// A group without a name is one that nobody has made: old tools ask for it.
fn allowed(call: &Call, group: &str) -> Result<(), Code> {
    if call.may(Operation::Describe, ResourceKind::Group, group) {
        Ok(())
    } else {
        Err(Code::GroupAuthorizationFailed)
    }
}
