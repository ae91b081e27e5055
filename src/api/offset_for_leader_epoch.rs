//! OffsetForLeaderEpoch (key 23), versions 2 to 4 (KIP-101, KIP-320).
//!
//! Promises: the largest epoch at or below the one asked for, and where it ended; -1 and -1 when there is none.
//! Versions: 3 the replica's id. 4 flexible.

use std::future::Future;

use futures_util::future::join_all;
use ottla_actors::partition::EpochEnd;
use ottla_actors::stage::reply::Reply;
use ottla_rules::ids::{LeaderEpoch, Offset};
use ottla_rules::partition::ReadError;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

use super::{Call, outcome_of};

/// Where epochs ended. Every partition is asked when this returns.
pub(crate) fn offset_for_leader_epoch(
    call: &Call,
    asked: OffsetForLeaderEpochRequest,
) -> impl Future<Output = OffsetForLeaderEpochResponse> + use<> {
    let topics: Vec<_> = asked
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic.partitions.iter();
            let answers: Vec<_> =
                partitions.map(|asked| (asked.partition, ask(call, &topic.topic, asked))).collect();
            (topic.topic, answers)
        })
        .collect();
    async move {
        let topics = topics.into_iter().map(|(topic, partitions)| async move {
            let partitions = join_all(partitions.into_iter().map(|(partition, answer)| async move {
                let end = outcome_of(answer).await;
                match end {
                    Ok((epoch, end)) => EpochEndOffset {
                        error_code: Code::None.into(),
                        partition,
                        leader_epoch: epoch.0,
                        end_offset: end.0,
                    },
                    Err(code) => EpochEndOffset { error_code: code.into(), partition, ..Default::default() },
                }
            }));
            OffsetForLeaderTopicResult { topic, partitions: partitions.await }
        });
        OffsetForLeaderEpochResponse { topics: join_all(topics).await, ..Default::default() }
    }
}

fn ask(
    call: &Call,
    name: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<impl Future<Output = Result<(LeaderEpoch, Offset), ReadError>> + use<>, Code> {
    if !call.may(Operation::Describe, ResourceKind::Topic, name) {
        return Err(Code::TopicAuthorizationFailed);
    }
    let partition = call.partition(name, asked.partition)?;
    let (reply, answer) = Reply::once();
    let current = (asked.current_leader_epoch >= 0).then_some(LeaderEpoch(asked.current_leader_epoch));
    call.server
        .directory
        .tell(partition, EpochEnd { epoch: LeaderEpoch(asked.leader_epoch), current, reply });
    Ok(answer)
}
