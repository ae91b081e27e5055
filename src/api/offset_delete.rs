//! OffsetDelete (key 47), version 0 (KIP-496).
//!
//! Promises: offsets of topics that the group still reads stay, and say so.

use std::future::Future;

use ottla_rules::group::{Answer, Ask};
use ottla_rules::ids::PartitionId;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::{Call, group_right, outcome_of};

/// Forgets committed offsets.
pub(crate) fn offset_delete(
    call: &Call,
    asked: OffsetDeleteRequest,
) -> impl Future<Output = OffsetDeleteResponse> + use<> {
    let image = call.server.image();
    let (mut doomed, mut places) = (Vec::new(), Vec::new());
    let topics = asked.topics.into_iter().enumerate().map(|(at, topic)| {
        let may = call.may(Operation::Read, ResourceKind::Topic, &topic.name);
        let known = image.topic_named(&topic.name).map(|topic| topic.id);
        let partitions = topic.partitions.into_iter().enumerate().map(|(place, partition)| {
            let index = partition.partition_index;
            let code = match known.map(|topic| PartitionId { topic, index }) {
                _ if !may => Code::TopicAuthorizationFailed,
                Some(id) if image.partition(id).is_some() => {
                    places.push((at, place));
                    doomed.push((topic.name.clone(), index));
                    Code::None
                }
                Some(_) | None => Code::UnknownTopicOrPartition,
            };
            OffsetDeleteResponsePartition { partition_index: index, error_code: code.into() }
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic { name: topic.name.clone(), partitions }
    });
    let mut topics: Vec<_> = topics.collect();
    let answer = group_right(call, Operation::Delete, &asked.group_id)
        .map(|()| call.server.ask_group(&asked.group_id, Ask::DeleteOffsets { topics: doomed }));
    async move {
        let outcome = outcome_of(answer).await;
        match outcome {
            Ok(Answer::OffsetsDeleted(deleted)) => {
                for ((topic, partition), error) in places.into_iter().zip(&deleted) {
                    let code = error.as_ref().map_or(Code::None, Code::from);
                    topics[topic].partitions[partition].error_code = code.into();
                }
                OffsetDeleteResponse { topics, ..Default::default() }
            }
            Ok(_) => refused(Code::UnknownServerError),
            Err(code) => refused(code),
        }
    }
}

fn refused(code: Code) -> OffsetDeleteResponse {
    OffsetDeleteResponse { error_code: code.into(), ..Default::default() }
}
