//! IncrementalAlterConfigs (key 44), versions 0 to 1 (KIP-339).
//!
//! Promises: only what is named changes; all changes of a resource or none; topics and groups follow at once.
//! Versions: 1 flexible.
//! Clients: the only way of Java's Admin since 4.0.

use std::future::Future;

use futures_util::future::join_all;
use ottla_rules::cluster::Command;
use ottla_rules::settings::{Alter, Op};
use ottla_wire::codes::Code;
use ottla_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::alter_configs::{Owner, Wrong, named_twice, owner};
use super::{Call, code_by_name};

/// Changes single settings. Every command is with the coordinator when this returns.
pub(crate) fn incremental_alter_configs(
    call: &Call,
    asked: IncrementalAlterConfigsRequest,
) -> impl Future<Output = IncrementalAlterConfigsResponse> + use<> {
    let twice = named_twice(asked.resources.iter().map(|one| (one.resource_type, &*one.resource_name)));
    let waiting: Vec<_> = asked
        .resources
        .into_iter()
        .map(|resource| {
            let key = (resource.resource_type, resource.resource_name.clone());
            let command = command(call, resource, !twice.contains(&key));
            (key, command.map(|command| call.server.submit_or_check(command, asked.validate_only)))
        })
        .collect();
    async move {
        let responses = waiting.into_iter().map(|((resource_type, resource_name), answer)| async move {
            let altered = match answer {
                Ok(answer) => answer.await.map_err(|error| Wrong(code_by_name(&error), error.to_string())),
                Err(wrong) => Err(wrong),
            };
            let (code, error_message) = match altered {
                Ok(_) => (Code::None, None),
                Err(Wrong(code, message)) => (code, Some(message)),
            };
            AlterConfigsResourceResponse {
                error_code: code.into(),
                error_message,
                resource_type,
                resource_name,
            }
        });
        IncrementalAlterConfigsResponse { responses: join_all(responses).await, ..Default::default() }
    }
}

fn command(call: &Call, resource: AlterConfigsResource, is_once: bool) -> Result<Command, Wrong> {
    let owner = owner(call, resource.resource_type, &resource.resource_name, is_once)?;
    let mut alters = Vec::with_capacity(resource.configs.len());
    for config in resource.configs {
        let number = config.config_operation;
        let op = Op::of(number)
            .ok_or_else(|| Wrong(Code::InvalidRequest, format!("Unknown operation type {number}")))?;
        alters.push(Alter { name: config.name, op, value: config.value });
    }
    Ok(match owner {
        Owner::Topic(id) => Command::AlterTopicConfigs { id, alters },
        Owner::Broker(node) => Command::AlterBrokerConfigs { node, alters },
        Owner::Group(group) => Command::AlterGroupConfigs { group, alters },
    })
}
