//! DescribeCluster (key 60), versions 0 to 2.
//!
//! Promises: the same nodes, addresses and controller that Metadata names.
//! Versions: 1 endpoint type (KIP-919): we are brokers, never controllers, to a client. 2 fenced brokers (KIP-1073).

use ottla_rules::rights::{ResourceKind, authorized_operations};
use ottla_wire::codes::Code;
use ottla_wire::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::{CLUSTER, Call};

const BROKERS: i8 = 1;

/// Who is in the cluster.
pub(crate) fn describe_cluster(
    call: &Call,
    version: i16,
    asked: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if version >= 1 && asked.endpoint_type != BROKERS {
        let is_known = asked.endpoint_type == 2;
        return DescribeClusterResponse {
            error_code: if is_known { Code::MismatchedEndpointType } else { Code::UnsupportedEndpointType }
                .into(),
            error_message: Some(if is_known {
                let what = "The request was sent to an endpoint of type BROKER";
                format!("{what}, but we wanted an endpoint of type CONTROLLER")
            } else {
                format!("Unsupported endpoint type {}", asked.endpoint_type)
            }),
            endpoint_type: BROKERS,
            ..Default::default()
        };
    }
    let image = call.server.image();
    let brokers = call.server.brokers(&image, call.reached).into_iter().map(|broker| DescribeClusterBroker {
        broker_id: broker.node.0,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
        is_fenced: false,
    });
    DescribeClusterResponse {
        error_code: Code::None.into(),
        endpoint_type: BROKERS,
        cluster_id: image.cluster_id().to_owned(),
        controller_id: call.server.node.0,
        brokers: brokers.collect(),
        cluster_authorized_operations: if asked.include_cluster_authorized_operations {
            authorized_operations(&call.caller, ResourceKind::Cluster, CLUSTER)
        } else {
            i32::MIN
        },
        ..Default::default()
    }
}
