//! AlterConfigs (key 33), versions 0 to 2.
//!
//! Promises: the resource has the settings that are named and no others: what is not named is reset.
//! Versions: 2 flexible.
//! Clients: gone from Java's Admin since 4.0; librdkafka, kafka-go and older tools still send it.

use std::collections::BTreeSet;
use std::future::Future;

use futures_util::future::join_all;
use ottla_rules::cluster::Command;
use ottla_rules::ids::NodeId;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse,
};

use super::{BROKER, CLUSTER, Call, GROUP, TOPIC, code_by_name};

/// The longest id of a group with settings of its own: it is part of a key among the facts, and a page of sled's index has up to 256 keys,
/// which together must stay below 128 KiB.
const GROUP_NAME_BYTES_MAX: usize = 448;

/// Whose settings are altered.
pub(super) enum Owner {
    Topic(ottla_rules::ids::TopicId),
    Broker(Option<NodeId>),
    /// It need not exist.
    Group(String),
}

/// Why they are not.
pub(super) struct Wrong(pub(super) Code, pub(super) String);

impl From<Code> for Wrong {
    fn from(code: Code) -> Wrong {
        Wrong(code, code.message().to_owned())
    }
}

/// Replaces settings. Every command is with the coordinator when this returns.
pub(crate) fn alter_configs(
    call: &Call,
    asked: AlterConfigsRequest,
) -> impl Future<Output = AlterConfigsResponse> + use<> {
    let twice = named_twice(asked.resources.iter().map(|one| (one.resource_type, &*one.resource_name)));
    let waiting: Vec<_> = asked
        .resources
        .into_iter()
        .map(|resource| {
            let key = (resource.resource_type, resource.resource_name);
            let is_once = !twice.contains(&key);
            let configs = resource.configs.into_iter().map(|config| (config.name, config.value)).collect();
            let answer = owner(call, key.0, &key.1, is_once).map(|owner| {
                let command = match owner {
                    Owner::Topic(id) => Command::SetTopicConfigs { id, configs },
                    Owner::Broker(node) => Command::SetBrokerConfigs { node, configs },
                    Owner::Group(group) => Command::SetGroupConfigs { group, configs },
                };
                call.server.submit_or_check(command, asked.validate_only)
            });
            (key, answer)
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
        AlterConfigsResponse { responses: join_all(responses).await, ..Default::default() }
    }
}

/// What is named more than once: which of them is meant nobody knows.
pub(super) fn named_twice<'a>(names: impl Iterator<Item = (i8, &'a str)>) -> BTreeSet<(i8, String)> {
    let mut seen = BTreeSet::new();
    names.filter(|one| !seen.insert(*one)).map(|(kind, name)| (kind, name.to_owned())).collect()
}

/// Who is meant, if the caller may alter its settings.
pub(super) fn owner(call: &Call, kind: i8, name: &str, is_once: bool) -> Result<Owner, Wrong> {
    if !is_once {
        return Err(Wrong(Code::InvalidRequest, "Each resource must appear at most once.".to_owned()));
    }
    match kind {
        TOPIC => {
            if !call.may(Operation::AlterConfigs, ResourceKind::Topic, name) {
                return Err(Code::TopicAuthorizationFailed.into());
            }
            let image = call.server.image();
            let topic = image.topic_named(name);
            let missing =
                || Wrong(Code::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."));
            topic.map(|topic| Owner::Topic(topic.id)).ok_or_else(missing)
        }
        BROKER => {
            if !call.may(Operation::AlterConfigs, ResourceKind::Cluster, CLUSTER) {
                return Err(Code::ClusterAuthorizationFailed.into());
            }
            if name.is_empty() {
                return Ok(Owner::Broker(None));
            }
            let id: i32 = name.parse().map_err(|_| {
                Wrong(Code::InvalidRequest, format!("Node id must be an integer, but it is: {name}"))
            })?;
            let node = call.server.node;
            if id != node.0 {
                let why = format!("Unexpected broker id, expected {node}, but received {name}");
                return Err(Wrong(Code::InvalidRequest, why));
            }
            Ok(Owner::Broker(Some(node)))
        }
        GROUP => {
            if !call.may(Operation::AlterConfigs, ResourceKind::Group, name) {
                return Err(Code::GroupAuthorizationFailed.into());
            }
            if name.is_empty() {
                return Err(Wrong(
                    Code::InvalidRequest,
                    "Default group resources are not allowed.".to_owned(),
                ));
            }
            if name.len() > GROUP_NAME_BYTES_MAX {
                return Err(Wrong(
                    Code::InvalidRequest,
                    format!(
                        "The id of a group with settings of its own has at most {GROUP_NAME_BYTES_MAX} bytes."
                    ),
                ));
            }
            Ok(Owner::Group(name.to_owned()))
        }
        other => Err(Wrong(Code::InvalidRequest, format!("Unknown resource type {other}"))),
    }
}
