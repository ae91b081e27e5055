//! WriteTxnMarkers (key 27), versions 1 and 2.
//!
//! Promises: each marker is as safe as a record with acks=all before it is answered, and stands once in a partition, however often
//! that is named with it. Our own coordinators tell partitions without this; it is there for tools that end a transaction
//! nobody else ends (KIP-664).
//! Versions: 2 the rules of the transaction (KIP-1228).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use futures_util::future::join_all;
use ottla_actors::partition::WriteMarker;
use ottla_actors::stage::reply::Reply;
use ottla_rules::batch::marker::Marker;
use ottla_rules::ids::{PartitionId, ProducerEpoch, ProducerId};
use ottla_rules::partition::Mark;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::transaction::Protocol;
use ottla_wire::codes::Code;
use ottla_wire::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

use super::{CLUSTER, Call};

/// How long anybody waits for a marker to be safe, milliseconds (Kafka's `request.timeout.ms`). The marker itself has all the time it needs.
const PATIENCE_MS: u64 = 30_000;

/// Writes markers.
pub(crate) fn write_txn_markers(
    call: &Call,
    asked: WriteTxnMarkersRequest,
) -> impl Future<Output = WriteTxnMarkersResponse> + use<> {
    let may = call.may(Operation::Alter, ResourceKind::Cluster, CLUSTER)
        || call.may(Operation::ClusterAction, ResourceKind::Cluster, CLUSTER);
    let written: Vec<_> = asked.markers.into_iter().map(|marker| write(call, may, marker)).collect();
    async move { WriteTxnMarkersResponse { markers: join_all(written).await } }
}

fn write(
    call: &Call,
    may: bool,
    asked: WritableTxnMarker,
) -> impl Future<Output = WritableTxnMarkerResult> + use<> {
    let protocol = if asked.transaction_version >= 2 { Protocol::V2 } else { Protocol::V1 };
    let mark = Mark {
        producer: ProducerId(asked.producer_id),
        epoch: ProducerEpoch(asked.producer_epoch),
        marker: Marker { commit: asked.transaction_result, coordinator_epoch: asked.coordinator_epoch },
        protocol,
    };
    let mut named: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for topic in asked.topics {
        named.entry(topic.name).or_default().extend(topic.partition_indexes);
    }
    let topics: Vec<_> =
        named.into_iter().map(|(name, indexes)| in_topic(call, may, mark, name, indexes)).collect();
    async move { WritableTxnMarkerResult { producer_id: asked.producer_id, topics: join_all(topics).await } }
}

fn in_topic(
    call: &Call,
    may: bool,
    mark: Mark,
    name: String,
    indexes: BTreeSet<i32>,
) -> impl Future<Output = WritableTxnMarkerTopicResult> + use<> {
    let due_ms = call.server.now().after(PATIENCE_MS).0;
    let image = call.server.image();
    let topic = image.topic_named(&name).map(|topic| topic.id);
    let sent = indexes.into_iter().map(|index| {
        let there =
            topic.map(|topic| PartitionId { topic, index }).filter(|id| image.partition(*id).is_some());
        let answer = match there {
            _ if !may => Err(Code::ClusterAuthorizationFailed),
            None => Err(Code::UnknownTopicOrPartition),
            Some(there) => {
                let (reply, answer) = Reply::once();
                call.server.directory.mark(there, WriteMarker { mark, reply });
                Ok((answer, call.server.host.clock.clone()))
            }
        };
        async move {
            let code = match answer {
                Ok((answer, clock)) => tokio::select! {
                    biased;
                    answer = answer => answer.map_or_else(|error| Code::from(&error), |_| Code::None),
                    () = clock.sleep_until(due_ms) => Code::RequestTimedOut,
                },
                Err(code) => code,
            };
            WritableTxnMarkerPartitionResult { partition_index: index, error_code: code.into() }
        }
    });
    let sent: Vec<_> = sent.collect();
    async move { WritableTxnMarkerTopicResult { name, partitions: join_all(sent).await } }
}
