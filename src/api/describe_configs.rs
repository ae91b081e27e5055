//! DescribeConfigs (key 32), versions 1 to 4.
//!
//! Promises: every setting of a topic, broker or group, with its type, its source and what would count without it.
//! Versions: 1 synonyms and sources. 3 types and documentation. 4 flexible.
//! Clients: Connect and Schema Registry look for cleanup.policy, Debezium for default.replication.factor.

use std::collections::BTreeSet;

use ottla_rules::cluster::Image;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::settings::{
    Described, describe_broker, describe_cluster_default, describe_group, describe_topic,
};
use ottla_rules::topic::check_name;
use ottla_wire::codes::Code;
use ottla_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::{BROKER, CLUSTER, Call, GROUP, TOPIC, once};

/// Why a resource is not described.
struct Wrong(Code, String);

impl From<Code> for Wrong {
    fn from(code: Code) -> Wrong {
        Wrong(code, code.message().to_owned())
    }
}

/// The settings of topics, brokers and groups.
pub(crate) fn describe_configs(call: &Call, asked: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let image = call.server.image();
    let key = |one: &DescribeConfigsResource| {
        (one.resource_type, one.resource_name.clone(), one.configuration_keys.clone())
    };
    let results = once(asked.resources, key).map(|resource| {
        let found = describe(call, &image, &resource);
        // No names ask for all settings, as null does.
        let wanted = resource.configuration_keys.filter(|names| !names.is_empty());
        let wanted: Option<BTreeSet<String>> = wanted.map(BTreeSet::from_iter);
        let (error_code, error_message, configs) = match found {
            Ok(configs) => (Code::None, Some(String::new()), configs),
            Err(Wrong(code, message)) => (code, Some(message), Vec::new()),
        };
        let configs = configs
            .into_iter()
            .filter(|config| wanted.as_ref().is_none_or(|names| names.contains(config.name)))
            .map(|config| show(config, asked.include_synonyms, asked.include_documentation));
        DescribeConfigsResult {
            error_code: error_code.into(),
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs: configs.collect(),
        }
    });
    DescribeConfigsResponse { results: results.collect(), ..Default::default() }
}

fn describe(call: &Call, image: &Image, asked: &DescribeConfigsResource) -> Result<Vec<Described>, Wrong> {
    let settings = call.server.settings(image);
    let name = &asked.resource_name;
    match asked.resource_type {
        TOPIC => {
            if !call.may(Operation::DescribeConfigs, ResourceKind::Topic, name) {
                return Err(Code::TopicAuthorizationFailed.into());
            }
            check_name(name).map_err(|error| Wrong(Code::InvalidTopicException, error.to_string()))?;
            let topic = image.topic_named(name).ok_or(Code::UnknownTopicOrPartition)?;
            Ok(describe_topic(&topic.configs, &settings))
        }
        BROKER => {
            if !call.may(Operation::DescribeConfigs, ResourceKind::Cluster, CLUSTER) {
                return Err(Code::ClusterAuthorizationFailed.into());
            }
            let node = call.server.node;
            match name.parse::<i32>() {
                Ok(id) if id == node.0 => Ok(describe_broker(&settings)),
                Err(_) if name.is_empty() => Ok(describe_cluster_default(&settings)),
                Err(_) => Err(Wrong(
                    Code::InvalidRequest,
                    format!("Broker id must be an integer, but it is: {name}"),
                )),
                Ok(_) => Err(Wrong(
                    Code::InvalidRequest,
                    format!("Unexpected broker id, expected {node} or empty string, but received {name}"),
                )),
            }
        }
        GROUP => {
            if !call.may(Operation::DescribeConfigs, ResourceKind::Group, name) {
                return Err(Code::GroupAuthorizationFailed.into());
            }
            if name.is_empty() {
                return Err(Wrong(Code::InvalidRequest, "Group name must not be empty".to_owned()));
            }
            Ok(describe_group(&image.group_configs(name), &settings))
        }
        other => Err(Wrong(Code::InvalidRequest, format!("Unknown resource type {other}"))),
    }
}

fn show(config: Described, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
    let synonyms = config.synonyms.into_iter().filter(|_| synonyms).map(|synonym| DescribeConfigsSynonym {
        name: synonym.name.to_owned(),
        value: synonym.value,
        source: synonym.source as i8,
    });
    DescribeConfigsResourceResult {
        name: config.name.to_owned(),
        value: config.value,
        read_only: config.read_only,
        config_source: config.source as i8,
        is_sensitive: config.sensitive,
        synonyms: synonyms.collect(),
        config_type: config.kind.number(),
        documentation: documentation.then(|| config.doc.to_owned()),
    }
}
