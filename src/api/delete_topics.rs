//! DeleteTopics (key 20), versions 1 to 6.
//!
//! Promises: a result for each topic, after `timeout_ms` at the latest; after it the name is free and the id never comes back;
//! what is named twice is not deleted.
//! Versions: 4 flexible. 5 messages. 6 topics by name or id, one of the two.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use futures_util::future::join_all;
use ottla_rules::cluster::{Command, Image};
use ottla_rules::ids::TopicId;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::{CLUSTER, Call, code_by_name};

/// Deletes topics. Every command is with the coordinator when this returns.
pub(crate) fn delete_topics(
    call: &Call,
    version: i16,
    asked: DeleteTopicsRequest,
) -> impl Future<Output = DeleteTopicsResponse> + use<> {
    let server = call.server.clone();
    let image = server.image();
    let named = asked.topic_names.into_iter();
    let named = named.map(|name| DeleteTopicState { name: Some(name), topic_id: TopicId::ZERO });
    let states: Vec<_> = if version >= 6 { asked.topics } else { named.collect() };
    let enabled = server.settings(&image).bool("delete.topic.enable");
    let mut responses = Vec::new();
    let mut chosen = BTreeMap::new();
    if enabled {
        chosen = sort_out(states, &mut responses).choose(call, &image, &mut responses);
    } else {
        let code = if version >= 3 { Code::TopicDeletionDisabled } else { Code::InvalidRequest };
        responses.extend(states.into_iter().map(|state| result(state.name, state.topic_id, code, None)));
    }
    let delete = |id| server.submit_within(asked.timeout_ms, Command::DeleteTopic { id }, false);
    let waiting: Vec<_> = chosen.into_iter().map(|(id, topic)| (id, topic, delete(id))).collect();
    async move {
        let deleted = waiting.into_iter().map(|(id, Chosen { name, by_name }, answer)| async move {
            let code = match answer.await {
                Ok(_) => Code::None,
                Err(error) if by_name => code_by_name(&error),
                Err(error) => Code::from(&error),
            };
            result(Some(name), id, code, None)
        });
        responses.extend(join_all(deleted).await);
        DeleteTopicsResponse { responses, ..Default::default() }
    }
}

/// A topic that may go.
struct Chosen {
    name: String,
    by_name: bool,
}

/// How often each topic is named.
#[derive(Default)]
struct Times {
    ids: BTreeMap<TopicId, usize>,
    names: BTreeMap<String, usize>,
}

/// Counts those that are named by one of the two, and refuses all others.
fn sort_out(states: Vec<DeleteTopicState>, refused: &mut Vec<DeletableTopicResult>) -> Times {
    let mut times = Times::default();
    let mut refuse = |name, id, message| refused.push(result(name, id, Code::InvalidRequest, Some(message)));
    for state in states {
        match (state.name, state.topic_id) {
            (None, TopicId::ZERO) => refuse(None, TopicId::ZERO, "Neither topic name nor id were specified."),
            (None, id) => *times.ids.entry(id).or_default() += 1,
            (Some(name), TopicId::ZERO) => *times.names.entry(name).or_default() += 1,
            (name, id) => refuse(name, id, "You may not specify both topic name and topic id."),
        }
    }
    times
}

impl Times {
    /// Which topics go. As in Kafka, one that is named twice, in whatever way, is not deleted at all: whoever sent that did not mean
    /// what it says.
    fn choose(
        self,
        call: &Call,
        image: &Image,
        refused: &mut Vec<DeletableTopicResult>,
    ) -> BTreeMap<TopicId, Chosen> {
        let mut chosen = BTreeMap::new();
        let mut twice = BTreeSet::new();
        let mut refuse = |name, id, code, message| refused.push(result(name, id, code, message));
        for (id, times) in self.ids {
            if times > 1 {
                twice.insert(id);
                refuse(None, id, Code::InvalidRequest, Some("Duplicate topic id."));
                continue;
            }
            let Some(topic) = image.topic(id) else {
                refuse(None, id, Code::UnknownTopicId, None);
                continue;
            };
            let name = topic.name.to_string();
            if may(call, Operation::Delete, &name) {
                chosen.insert(id, Chosen { name, by_name: false });
            } else {
                let known = may(call, Operation::Describe, &name).then_some(name);
                refuse(known, id, Code::TopicAuthorizationFailed, None);
            }
        }
        for (name, times) in self.names {
            let (id, code, message) = match by_name(call, image, &name, times) {
                Ok(id) if twice.contains(&id) || chosen.remove(&id).is_some() => {
                    twice.insert(id);
                    let message = "The provided topic name maps to an ID that was already supplied.";
                    (id, Code::InvalidRequest, Some(message))
                }
                Ok(id) => {
                    chosen.insert(id, Chosen { name, by_name: true });
                    continue;
                }
                Err((code, message)) => (TopicId::ZERO, code, message),
            };
            refuse(Some(name), id, code, message);
        }
        chosen
    }
}

/// The topic that is meant by a name, if it may go.
fn by_name(
    call: &Call,
    image: &Image,
    name: &str,
    times: usize,
) -> Result<TopicId, (Code, Option<&'static str>)> {
    if times > 1 {
        return Err((Code::InvalidRequest, Some("Duplicate topic name.")));
    }
    if !may(call, Operation::Describe, name) {
        return Err((Code::TopicAuthorizationFailed, None));
    }
    let topic = image.topic_named(name).ok_or((Code::UnknownTopicOrPartition, None))?;
    if !may(call, Operation::Delete, name) {
        return Err((Code::TopicAuthorizationFailed, None));
    }
    Ok(topic.id)
}

/// Whether the caller may do this to a topic: who may do it to the cluster may do it to all.
fn may(call: &Call, operation: Operation, topic: &str) -> bool {
    call.may(Operation::Delete, ResourceKind::Cluster, CLUSTER)
        || call.may(operation, ResourceKind::Topic, topic)
}

fn result(
    name: Option<String>,
    topic_id: TopicId,
    code: Code,
    message: Option<&'static str>,
) -> DeletableTopicResult {
    let message = message.or((code != Code::None).then(|| code.message()));
    DeletableTopicResult {
        name,
        topic_id,
        error_code: code.into(),
        error_message: message.map(str::to_owned),
    }
}
