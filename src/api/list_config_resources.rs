//! ListConfigResources (key 74), versions 0 to 1 (KIP-1142).
//!
//! Promises: everything whose settings DescribeConfigs would show, of the kinds that are asked for; of groups, those that something was set
//! for.
//! Versions: 0 lists client metrics alone; there are none here. 1 takes kinds; no kinds are all kinds.

use ottla_rules::cluster::Image;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use super::{BROKER, BROKER_LOGGER, CLIENT_METRICS, CLUSTER, Call, GROUP, TOPIC};

const BEFORE_KINDS: &[i8] = &[CLIENT_METRICS];
const ALL: &[i8] = &[TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

/// What has settings.
pub(crate) fn list_config_resources(
    call: &Call,
    version: i16,
    asked: &ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let refuse = |code: Code| ListConfigResourcesResponse { error_code: code.into(), ..Default::default() };
    if !call.may(Operation::DescribeConfigs, ResourceKind::Cluster, CLUSTER) {
        return refuse(Code::ClusterAuthorizationFailed);
    }
    let known = if version == 0 { BEFORE_KINDS } else { ALL };
    let kinds = if asked.resource_types.is_empty() { known } else { &asked.resource_types };
    if kinds.iter().any(|kind| !known.contains(kind)) {
        return refuse(Code::UnsupportedVersion);
    }
    let image = call.server.image();
    // In the order of Kafka's kinds, each kind once.
    let listed = ALL.iter().filter(|kind| kinds.contains(kind)).flat_map(|kind| {
        let named = |resource_name| ConfigResource { resource_name, resource_type: *kind };
        names(&image, *kind).into_iter().map(named)
    });
    ListConfigResourcesResponse { config_resources: listed.collect(), ..Default::default() }
}

fn names(image: &Image, kind: i8) -> Vec<String> {
    match kind {
        TOPIC => image.topics_by_name().map(|topic| topic.name.to_string()).collect(),
        BROKER | BROKER_LOGGER => image.nodes().map(|node| node.id.to_string()).collect(),
        // Only those that something was set for, as in Kafka.
        GROUP => image.configured_groups().map(str::to_owned).collect(),
        // Nothing can be set for clients' metrics.
        _ => Vec::new(),
    }
}
