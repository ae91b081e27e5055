//! DescribeConfigs (key 32), versions 1 to 4.
//!
//! Promises: every setting of a topic, broker or group, with its type, its source and what would count without it; of what this broker
//! logs, the finest level.
//! Versions: 1 synonyms and sources. 3 types and documentation. 4 flexible.
//! Clients: Connect and Schema Registry look for cleanup.policy, Debezium for default.replication.factor.

use std::collections::{BTreeMap, BTreeSet};

use log::LevelFilter;
use ottla_rules::cluster::Image;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::settings::{
    Described, describe_broker, describe_client_metrics, describe_cluster_default, describe_group,
    describe_topic,
};
use ottla_rules::topic::check_name;
use ottla_wire::codes::Code;
use ottla_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::{BROKER, BROKER_LOGGER, CLIENT_METRICS, CLUSTER, Call, GROUP, TOPIC};

/// Why a resource is not described.
struct Wrong(Code, String);

impl From<Code> for Wrong {
    fn from(code: Code) -> Wrong {
        Wrong(code, code.message().to_owned())
    }
}

/// The logger that all others follow, as Kafka calls it.
const ROOT: &str = "root";
/// The source of a logger's level (Kafka's `DYNAMIC_BROKER_LOGGER_CONFIG`).
const DYNAMIC_BROKER_LOGGER: i8 = 6;

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

/// The settings of topics, brokers, groups and what a broker logs.
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
        let (error_code, error_message, found) = match found {
            Ok(found) => (Code::None, Some(String::new()), found),
            Err(Wrong(code, message)) => (code, Some(message), Found::default()),
        };
        let is_wanted = |name: &str| wanted.as_ref().is_none_or(|names| names.contains(name));
        let settings = found.settings.into_iter().filter(|config| is_wanted(config.name));
        let configs =
            settings.map(|config| show(config, asked.include_synonyms, asked.include_documentation));
        let level = found.level.filter(|_| is_wanted(ROOT)).map(show_level);
        let configs = configs.chain(level);
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

/// What is known of one resource.
#[derive(Default)]
struct Found {
    settings: Vec<Described>,
    level: Option<LevelFilter>,
}

fn describe(call: &Call, image: &Image, asked: &DescribeConfigsResource) -> Result<Found, Wrong> {
    Ok(match asked.resource_type {
        BROKER_LOGGER => {
            let level = level(call, &asked.resource_name)?;
            Found { level: Some(level), ..Found::default() }
        }
        CLIENT_METRICS => {
            may_describe_cluster(call)?;
            if asked.resource_name.is_empty() {
                return Err(Wrong(
                    Code::InvalidRequest,
                    "Client metrics subscription name must not be empty".to_owned(),
                ));
            }
            Found { settings: describe_client_metrics(), ..Found::default() }
        }
        _ => Found { settings: describe_settings(call, image, asked)?, ..Found::default() },
    })
}

/// The finest level that this broker logs now.
fn level(call: &Call, name: &str) -> Result<LevelFilter, Wrong> {
    may_describe_cluster(call)?;
    if name.is_empty() {
        return Err(Wrong(Code::InvalidRequest, "Broker id must not be empty".to_owned()));
    }
    let node = call.server.node;
    if broker_id(name)? != node.0 {
        let message = format!("Unexpected broker id, expected {node} but received {name}");
        return Err(Wrong(Code::InvalidRequest, message));
    }
    Ok(log::max_level())
}

fn may_describe_cluster(call: &Call) -> Result<(), Wrong> {
    if call.may(Operation::DescribeConfigs, ResourceKind::Cluster, CLUSTER) {
        return Ok(());
    }
    Err(Code::ClusterAuthorizationFailed.into())
}

fn broker_id(name: &str) -> Result<i32, Wrong> {
    let wrong = |_| Wrong(Code::InvalidRequest, format!("Broker id must be an integer, but it is: {name}"));
    name.parse().map_err(wrong)
}

fn describe_settings(
    call: &Call,
    image: &Image,
    asked: &DescribeConfigsResource,
) -> Result<Vec<Described>, Wrong> {
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
            may_describe_cluster(call)?;
            let node = call.server.node;
            if name.is_empty() {
                return Ok(describe_cluster_default(&settings));
            }
            if broker_id(name)? == node.0 {
                return Ok(describe_broker(&settings));
            }
            let message =
                format!("Unexpected broker id, expected {node} or empty string, but received {name}");
            Err(Wrong(Code::InvalidRequest, message))
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

/// As Kafka shows a logger, which has no type; but ours cannot be set.
fn show_level(level: LevelFilter) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult {
        name: ROOT.to_owned(),
        value: Some(level.as_str().to_owned()),
        read_only: true,
        config_source: DYNAMIC_BROKER_LOGGER,
        ..Default::default()
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
