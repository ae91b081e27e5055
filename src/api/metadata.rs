//! Metadata (key 3), versions 0 to 13.
//!
//! Promises: leader epochs never go back for a topic id; a node is named by the address by which the client reached
//! it, unless another one is advertised.
//! Versions: 1 null is all topics (0: an empty list is). 4 auto-creation can be refused. 7 leader epochs. 8 authorized
//! operations. 9 flexible. 10 topic ids. 12 topics asked for by id alone. 13 an error at the top.
//! Clients: a missing topic is answered with UNKNOWN_TOPIC_OR_PARTITION and created meanwhile, as KRaft does; the next
//! question finds it. When one question would make too many partitions it makes none.

use ottla_rules::cluster::{Image, Topic};
use ottla_rules::ids::TopicId;
use ottla_rules::rights::{Operation, ResourceKind, authorized_operations};
use ottla_rules::topic::{check_name, is_internal};
use ottla_wire::codes::Code;
use ottla_wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};

use super::find_coordinator::creation_of;
use super::{CLUSTER, Call, once};

/// The version from which topics may be named by id alone.
const BY_ID_FROM: i16 = 12;

/// Where everything is.
pub(crate) fn metadata(call: &Call, version: i16, asked: MetadataRequest) -> MetadataResponse {
    let server = &call.server;
    let image = server.image();
    let brokers = server.brokers(&image, call.reached).into_iter().map(|broker| MetadataResponseBroker {
        node_id: broker.node.0,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
    });
    let mut response = MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(image.cluster_id().to_owned()),
        controller_id: server.node.0,
        ..Default::default()
    };
    if asked.include_cluster_authorized_operations {
        response.cluster_authorized_operations =
            authorized_operations(&call.caller, ResourceKind::Cluster, CLUSTER);
    }
    let desk = Desk {
        call,
        image: &image,
        version,
        may_create: asked.allow_auto_topic_creation,
        operations: asked.include_topic_authorized_operations,
    };
    response.topics = match asked.topics {
        None => desk.all(),
        Some(topics) if topics.is_empty() && version == 0 => desk.all(),
        Some(topics) => desk.named(topics),
    };
    response
}

struct Desk<'a> {
    call: &'a Call,
    image: &'a Image,
    version: i16,
    may_create: bool,
    operations: bool,
}

impl Desk<'_> {
    /// Every topic that the caller may see.
    fn all(&self) -> Vec<MetadataResponseTopic> {
        let seen = self.image.topics_by_name().filter(|topic| self.may_see(&topic.name));
        seen.map(|topic| self.describe(topic)).collect()
    }

    fn named(&self, topics: Vec<MetadataRequestTopic>) -> Vec<MetadataResponseTopic> {
        let mut missing = Vec::new();
        // As Kafka, which keeps them in a set.
        let each = once(topics, |topic| (topic.name.clone(), topic.topic_id));
        let answers = each.map(|topic| self.one(topic, &mut missing)).collect();
        self.create(&missing);
        answers
    }

    fn one(&self, asked: MetadataRequestTopic, missing: &mut Vec<String>) -> MetadataResponseTopic {
        let by_id = asked.topic_id != TopicId::ZERO;
        if self.version < BY_ID_FROM && (by_id || asked.name.is_none()) {
            return wrong(Code::InvalidRequest, Some(asked.name.unwrap_or_default()), asked.topic_id);
        }
        match asked.name {
            Some(name) if !by_id => self.by_name(name, missing),
            _ => match self.image.topic(asked.topic_id) {
                Some(topic) if self.may_see(&topic.name) => self.describe(topic),
                Some(_) => wrong(Code::TopicAuthorizationFailed, None, asked.topic_id),
                None => wrong(Code::UnknownTopicId, None, asked.topic_id),
            },
        }
    }

    fn by_name(&self, name: String, missing: &mut Vec<String>) -> MetadataResponseTopic {
        if !self.may_see(&name) {
            return wrong(Code::TopicAuthorizationFailed, Some(name), TopicId::ZERO);
        }
        if let Some(topic) = self.image.topic_named(&name) {
            return self.describe(topic);
        }
        let code = if check_name(&name).is_err() {
            Code::InvalidTopicException
        } else {
            missing.push(name.clone());
            Code::UnknownTopicOrPartition
        };
        wrong(code, Some(name), TopicId::ZERO)
    }

    /// Has missing topics created, where broker, client and rights allow it. Nobody waits for it, so nobody is told when it cannot
    /// be: as in Kafka they are missing still when they are asked for again.
    fn create(&self, missing: &[String]) {
        if missing.is_empty() || !self.may_create {
            return;
        }
        let server = &self.call.server;
        let settings = server.settings(self.image);
        if !settings.bool("auto.create.topics.enable") {
            return;
        }
        let may_all = self.call.may(Operation::Create, ResourceKind::Cluster, CLUSTER);
        let may = |name: &str| may_all || self.call.may(Operation::Create, ResourceKind::Topic, name);
        let wanted = missing.iter().filter(|name| may(name));
        let commands: Vec<_> = wanted.map(|name| creation_of(server, self.image, &settings, name)).collect();
        if let Err(error) = self.image.check_volume(&commands, &settings) {
            log::debug!(topics = commands.len(), error:% = error; "missing topics not created");
            return;
        }
        commands.into_iter().for_each(|command| drop(server.submit(command)));
    }

    fn may_see(&self, name: &str) -> bool {
        self.call.may(Operation::Describe, ResourceKind::Topic, name)
    }

    fn describe(&self, topic: &Topic) -> MetadataResponseTopic {
        let partitions =
            topic.partitions.iter().zip(0..).map(|(partition, index)| MetadataResponsePartition {
                error_code: Code::None.into(),
                partition_index: index,
                leader_id: partition.leader.0,
                leader_epoch: self.image.leader_epoch(partition).0,
                replica_nodes: partition.replicas.iter().map(|node| node.0).collect(),
                isr_nodes: partition.isr.iter().map(|node| node.0).collect(),
                offline_replicas: Vec::new(),
            });
        MetadataResponseTopic {
            error_code: Code::None.into(),
            name: Some(topic.name.to_string()),
            topic_id: topic.id,
            is_internal: is_internal(&topic.name),
            partitions: partitions.collect(),
            topic_authorized_operations: if self.operations {
                authorized_operations(&self.call.caller, ResourceKind::Topic, &topic.name)
            } else {
                i32::MIN
            },
        }
    }
}

fn wrong(code: Code, name: Option<String>, topic_id: TopicId) -> MetadataResponseTopic {
    let is_internal = name.as_deref().is_some_and(is_internal);
    MetadataResponseTopic { error_code: code.into(), name, topic_id, is_internal, ..Default::default() }
}
