//! DeleteTopics (key 20), versions 1 to 6.
//!
//! Promises: a result for each topic, after `timeout_ms` at the latest; after it the name is free and the id never comes back.
//! Versions: 4 flexible. 5 messages. 6 topics by name or id, one of the two.

use std::collections::BTreeSet;
use std::future::Future;

use futures_util::future::join_all;
use ottla_rules::cluster::{Command, Image};
use ottla_rules::ids::TopicId;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::{Call, code_by_name};

/// Why one topic is not deleted.
struct Wrong(Code, Option<&'static str>);

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
    let mut seen = BTreeSet::new();
    let waiting: Vec<_> = states
        .into_iter()
        .map(|state| {
            let is_new = seen.insert((state.name.clone(), state.topic_id));
            let found = if !enabled {
                Err(Wrong(
                    if version >= 3 { Code::TopicDeletionDisabled } else { Code::InvalidRequest },
                    None,
                ))
            } else if is_new {
                find(call, &image, &state)
            } else {
                Err(Wrong(Code::InvalidRequest, Some("Duplicate topic name or id.")))
            };
            let delete = |id| server.submit_within(asked.timeout_ms, Command::DeleteTopic { id }, false);
            (state, found.map(|(id, name)| (id, name, delete(id))))
        })
        .collect();
    async move {
        let responses = join_all(waiting.into_iter().map(|(state, found)| async move {
            let by_name = state.name.is_some();
            let (id, name, answer) = match found {
                Ok(found) => found,
                Err(Wrong(code, message)) => return result(state.name, state.topic_id, code, message),
            };
            let code = match answer.await {
                Ok(_) => Code::None,
                Err(error) if by_name => code_by_name(&error),
                Err(error) => Code::from(&error),
            };
            result(Some(name), id, code, None)
        }));
        DeleteTopicsResponse { responses: responses.await, ..Default::default() }
    }
}

fn find(call: &Call, image: &Image, state: &DeleteTopicState) -> Result<(TopicId, String), Wrong> {
    let topic = match (&state.name, state.topic_id) {
        (Some(name), TopicId::ZERO) => {
            image.topic_named(name).ok_or(Wrong(Code::UnknownTopicOrPartition, None))?
        }
        (None, id) if id != TopicId::ZERO => image.topic(id).ok_or(Wrong(Code::UnknownTopicId, None))?,
        (Some(_), _) => {
            return Err(Wrong(
                Code::InvalidRequest,
                Some("You may not specify both topic name and topic id."),
            ));
        }
        (None, _) => {
            return Err(Wrong(Code::InvalidRequest, Some("Neither topic name nor id were specified.")));
        }
    };
    if !call.may(Operation::Delete, ResourceKind::Topic, &topic.name) {
        return Err(Wrong(Code::TopicAuthorizationFailed, None));
    }
    Ok((topic.id, topic.name.to_string()))
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
