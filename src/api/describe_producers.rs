//! DescribeProducers (key 61), version 0 (KIP-664).
//!
//! Promises: each partition is asked and told once, however often it is named.

use std::collections::BTreeMap;
use std::future::Future;

use futures_util::future::join_all;
use ottla_actors::partition;
use ottla_actors::stage::reply::Reply;
use ottla_rules::producers::ProducerEntry;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicRequest,
    TopicResponse,
};

use super::{Call, once, outcome_of};

/// Says who writes to partitions.
pub(crate) fn describe_producers(
    call: &Call,
    asked: DescribeProducersRequest,
) -> impl Future<Output = DescribeProducersResponse> + use<> {
    let topics: Vec<_> = each_once(asked.topics).map(|topic| in_topic(call, topic)).collect();
    async move { DescribeProducersResponse { topics: join_all(topics).await, ..Default::default() } }
}

/// Each topic once, with all the partitions that are asked for anywhere in the request.
fn each_once(asked: Vec<TopicRequest>) -> impl Iterator<Item = TopicRequest> {
    let mut places = BTreeMap::new();
    let mut merged: Vec<TopicRequest> = Vec::new();
    for one in asked {
        let place = *places.entry(one.name.clone()).or_insert(merged.len());
        match merged.get_mut(place) {
            None => merged.push(one),
            Some(known) => known.partition_indexes.extend(one.partition_indexes),
        }
    }
    merged.into_iter()
}

fn in_topic(call: &Call, asked: TopicRequest) -> impl Future<Output = TopicResponse> + use<> {
    let may = call.may(Operation::Read, ResourceKind::Topic, &asked.name);
    let sent = once(asked.partition_indexes, |index| *index).map(|index| {
        let there =
            if may { call.partition(&asked.name, index) } else { Err(Code::TopicAuthorizationFailed) };
        let answer = there.map(|there| {
            let (reply, answer) = Reply::once();
            call.server.directory.tell(there, partition::DescribeProducers { reply });
            answer
        });
        async move {
            let told = outcome_of(answer).await;
            match told {
                Ok(producers) => PartitionResponse {
                    partition_index: index,
                    active_producers: producers.into_iter().map(state).collect(),
                    ..Default::default()
                },
                Err(code) => PartitionResponse {
                    partition_index: index,
                    error_code: code.into(),
                    error_message: Some(code.message().to_owned()),
                    active_producers: Vec::new(),
                },
            }
        }
    });
    let sent: Vec<_> = sent.collect();
    async move { TopicResponse { name: asked.name, partitions: join_all(sent).await } }
}

fn state(entry: ProducerEntry) -> ProducerState {
    let last_sequence =
        entry.batches.last().map_or(-1, |last| last.base_sequence.plus(last.last_offset_delta).0);
    ProducerState {
        producer_id: entry.id.0,
        producer_epoch: entry.epoch.0.into(),
        last_sequence,
        last_timestamp: entry.last_write_ms,
        coordinator_epoch: entry.coordinator_epoch,
        current_txn_start_offset: entry.open_since.map_or(-1, |first| first.0),
    }
}
