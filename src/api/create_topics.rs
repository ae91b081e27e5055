//! CreateTopics (key 19), versions 2 to 7.
//!
//! Promises: a result for each topic, after `timeout_ms` at the latest; `validate_only` makes every check and changes nothing;
//! a request that asks for too many partitions in all makes no topic.
//! Versions: 4 -1 partitions or replicas are the broker's defaults (KIP-464). 5 flexible, the answer has the settings
//! (KIP-525). 7 topic ids.

use std::collections::BTreeMap;
use std::future::Future;

use futures_util::future::join_all;
use ottla_rules::cluster::{Command, ReplicaAssignment};
use ottla_rules::ids::NodeId;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::settings::describe_topic;
use ottla_wire::codes::Code;
use ottla_wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

use super::{CLUSTER, Call};
use crate::server::{Done, Made, Server, Submitted};

/// Creates topics. Every command is with the coordinator when this returns.
pub(crate) fn create_topics(
    call: &Call,
    asked: CreateTopicsRequest,
) -> impl Future<Output = CreateTopicsResponse> + use<> {
    let server = call.server.clone();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    asked.topics.iter().for_each(|topic| *times.entry(topic.name.clone()).or_default() += 1);
    let mut refused = Vec::new();
    let mut wanted = Vec::new();
    for topic in asked.topics {
        let name = topic.name.clone();
        match times.get(&name).copied() {
            // A name that stands there twice is refused once, as in Kafka.
            None => continue,
            Some(2..) => {
                times.remove(&name);
                refused.push(wrong(name, Code::InvalidRequest, Some("Duplicate topic name.".to_owned())));
                continue;
            }
            Some(_) => (),
        }
        let may = call.may(Operation::Create, ResourceKind::Cluster, CLUSTER)
            || call.may(Operation::Create, ResourceKind::Topic, &name);
        if !may {
            refused.push(wrong(name, Code::TopicAuthorizationFailed, None));
            continue;
        }
        wanted.push((name, command(&server, topic)));
    }
    let image = server.image();
    let volume = image.check_volume(wanted.iter().map(|(_, command)| command), &server.settings(&image));
    let mut waiting = Vec::new();
    match volume {
        Ok(()) => waiting.extend(wanted.into_iter().map(|(name, command)| {
            (name, server.submit_within(asked.timeout_ms, command, asked.validate_only))
        })),
        // As in Kafka, whatever else is wrong with some of them.
        Err(error) => {
            let names =
                refused.into_iter().map(|topic| topic.name).chain(wanted.into_iter().map(|(name, _)| name));
            refused = names.map(|name| wrong(name, Code::from(&error), Some(error.to_string()))).collect();
        }
    }
    async move {
        let created = waiting.into_iter().map(|(name, answer)| {
            let server = server.clone();
            async move { result(&server, name, answer.await) }
        });
        let mut topics = refused;
        topics.extend(join_all(created).await);
        CreateTopicsResponse { topics, ..Default::default() }
    }
}

fn command(server: &Server, topic: CreatableTopic) -> Command {
    let assignments = topic.assignments.into_iter().map(|assignment| ReplicaAssignment {
        index: assignment.partition_index,
        replicas: assignment.broker_ids.into_iter().map(NodeId).collect(),
    });
    Command::CreateTopic {
        name: topic.name,
        id: server.draw_topic_id(),
        partitions: topic.num_partitions,
        replication: topic.replication_factor,
        assignments: assignments.collect(),
        configs: topic.configs.into_iter().map(|config| (config.name, config.value)).collect(),
    }
}

fn wrong(name: String, code: Code, message: Option<String>) -> CreatableTopicResult {
    CreatableTopicResult { name, error_code: code.into(), error_message: message, ..Default::default() }
}

fn result(server: &Server, name: String, created: Submitted) -> CreatableTopicResult {
    let (image, made) = match created {
        Ok(Done::CarriedOut(image)) => {
            let topic = image.topic_named(&name);
            let made = topic.map(|topic| Made::of(topic.id, &topic.partitions, topic.configs.clone()));
            (image, made)
        }
        Ok(Done::Checked(made)) => (server.image(), made),
        Err(error) => return wrong(name, Code::from(&error), Some(error.to_string())),
    };
    // Another client may have deleted it since.
    let Some(made) = made else {
        return CreatableTopicResult { name, ..Default::default() };
    };
    let described = describe_topic(&made.configs, &server.settings(&image));
    let configs = described.into_iter().map(|config| CreatableTopicConfigs {
        name: config.name.to_owned(),
        value: config.value,
        read_only: config.read_only,
        config_source: config.source as i8,
        is_sensitive: config.sensitive,
    });
    CreatableTopicResult {
        topic_id: made.id,
        error_code: Code::None.into(),
        error_message: None,
        num_partitions: i32::try_from(made.n_partitions).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(made.n_replicas).unwrap_or(i16::MAX),
        configs: Some(configs.collect()),
        name,
        ..Default::default()
    }
}
