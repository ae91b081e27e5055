//! DescribeConfigs (key 32), versions 1 to 4.
//!
//! Promises: every setting of a topic, broker or group, with its type, its source and what would count without it.
//! Versions: 1 synonyms and sources. 3 types and documentation. 4 flexible.
//! Clients: Connect and Schema Registry look for cleanup.policy, Debezium for default.replication.factor.

use std::collections::{BTreeMap, BTreeSet};

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

use super::{BROKER, CLUSTER, Call, GROUP, TOPIC};

/// Why a resource is not described.
struct Wrong(Code, String);

impl From<Code> for Wrong {
    fn from(code: Code) -> Wrong {
        Wrong(code, code.message().to_owned())
    }
}

/// A group that nobody knows has settings too: so many of them are described at once.
const GROUPS_MAX: usize = 10_000;

/// Each resource once, with all the settings that are asked for anywhere in the request.
fn each_once(asked: Vec<DescribeConfigsResource>) -> impl Iterator<Item = DescribeConfigsResource> {
    let mut places = BTreeMap::new();
    let mut merged: Vec<DescribeConfigsResource> = Vec::new();
    for one in asked {
        let place = *places.entry((one.resource_type, one.resource_name.clone())).or_insert(merged.len());
        match merged.get_mut(place) {
            None => merged.push(one),
            Some(known) => {
                // No names ask for all settings, as null does.
                let named = |keys: Option<Vec<String>>| keys.filter(|names| !names.is_empty());
                let both = named(known.configuration_keys.take()).zip(named(one.configuration_keys));
                known.configuration_keys = both.map(|(known, more)| known.into_iter().chain(more).collect());
            }
        }
    }
    merged.into_iter()
}

/// The settings of topics, brokers and groups.
pub(crate) fn describe_configs(call: &Call, asked: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let image = call.server.image();
    let mut groups = 0;
    let results = each_once(asked.resources).map(|resource| {
        groups += usize::from(resource.resource_type == GROUP);
        let found = match groups > GROUPS_MAX {
            true => Err(Wrong(
                Code::InvalidRequest,
                format!("at most {GROUPS_MAX} groups may be described at once, ask again for the others"),
            )),
            false => describe(call, &image, &resource),
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_again_and_again_is_described_once() {
        let one = |name: &str, keys: &[&str]| DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: name.into(),
            configuration_keys: Some(keys.iter().map(|key| (*key).into()).collect()),
        };
        let asked = vec![one("t", &["a"]), one("u", &["a"]), one("t", &["b"]), one("u", &[])];
        let merged: Vec<_> =
            each_once(asked).map(|one| (one.resource_name, one.configuration_keys)).collect();
        let both = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(merged, [("t".to_owned(), both), ("u".to_owned(), None)]);
    }
}
