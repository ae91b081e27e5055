//! CreatePartitions (key 37), versions 0 to 3.
//!
//! Promises: a result for each topic, after `timeout_ms` at the latest; `validate_only` makes every check and changes nothing;
//! a request that asks for too many partitions in all adds none.
//! Versions: 2 flexible. 3 throttling (there is none).

use std::collections::BTreeMap;
use std::future::Future;

use futures_util::future::join_all;
use ottla_rules::cluster::Command;
use ottla_rules::ids::NodeId;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

use super::{Call, code_by_name};

/// Adds partitions to topics. Every command is with the coordinator when this returns.
pub(crate) fn create_partitions(
    call: &Call,
    asked: CreatePartitionsRequest,
) -> impl Future<Output = CreatePartitionsResponse> + use<> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    asked.topics.iter().for_each(|topic| *times.entry(topic.name.clone()).or_default() += 1);
    let mut results = Vec::new();
    let mut wanted = Vec::new();
    for topic in asked.topics {
        let name = topic.name.clone();
        match times.get(&name).copied() {
            None => continue,
            Some(2..) => {
                times.remove(&name);
                results.push(result(name, Code::InvalidRequest, Some("Duplicate topic name.".to_owned())));
                continue;
            }
            Some(_) => (),
        }
        match command(call, topic) {
            Ok(command) => wanted.push((name, command)),
            Err(code) => results.push(result(name, code, None)),
        }
    }
    let image = call.server.image();
    let commands = wanted.iter().map(|(_, command)| command);
    let volume = image.check_volume(commands, &call.server.settings(&image));
    let mut waiting = Vec::new();
    match volume {
        Ok(()) => waiting.extend(wanted.into_iter().map(|(name, command)| {
            (name, call.server.submit_within(asked.timeout_ms, command, asked.validate_only))
        })),
        Err(error) => results.extend(
            wanted.into_iter().map(|(name, _)| result(name, code_by_name(&error), Some(error.to_string()))),
        ),
    }
    async move {
        let added = waiting.into_iter().map(|(name, answer)| async move {
            match answer.await {
                Ok(_) => result(name, Code::None, None),
                Err(error) => result(name, code_by_name(&error), Some(error.to_string())),
            }
        });
        results.extend(join_all(added).await);
        CreatePartitionsResponse { results, ..Default::default() }
    }
}

fn command(call: &Call, topic: CreatePartitionsTopic) -> Result<Command, Code> {
    if !call.may(Operation::Alter, ResourceKind::Topic, &topic.name) {
        return Err(Code::TopicAuthorizationFailed);
    }
    let image = call.server.image();
    let id = image.topic_named(&topic.name).ok_or(Code::UnknownTopicOrPartition)?.id;
    let assignments = topic.assignments.map(|assignments| {
        let replicas = |ids: Vec<i32>| ids.into_iter().map(NodeId).collect();
        assignments.into_iter().map(|assignment| replicas(assignment.broker_ids)).collect()
    });
    Ok(Command::AddPartitions { id, total: topic.count, assignments })
}

fn result(name: String, code: Code, message: Option<String>) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult { name, error_code: code.into(), error_message: message }
}
