//! OffsetForLeaderEpoch (key 23), versions 2 to 4 (KIP-101, KIP-320).
//!
//! Promises: the largest epoch at or below the one asked for, and where it ended; -1 and -1 when there is none. A partition is asked
//! once for all that is asked of it, and each of that is answered.
//! Versions: 3 the replica's id. 4 flexible.

use std::collections::BTreeMap;
use std::future::Future;

use futures_util::future::join_all;
use ottla_actors::partition::{Ends, EpochEnds};
use ottla_actors::stage::reply::Reply;
use ottla_rules::ids::{LeaderEpoch, Offset, PartitionId};
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

use super::Call;

/// What is asked of each partition: an epoch, and the reign that the client believes in.
type Questions = BTreeMap<PartitionId, Vec<(LeaderEpoch, Option<LeaderEpoch>)>>;
/// Where the answer to a question will stand.
type Place = (PartitionId, usize);

/// Where epochs ended. Every partition is asked when this returns.
pub(crate) fn offset_for_leader_epoch(
    call: &Call,
    asked: OffsetForLeaderEpochRequest,
) -> impl Future<Output = OffsetForLeaderEpochResponse> + use<> {
    let mut questions = Questions::new();
    let topics: Vec<_> = asked
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic.partitions.iter();
            let places: Vec<_> = partitions
                .map(|asked| (asked.partition, place(call, &topic.topic, asked, &mut questions)))
                .collect();
            (topic.topic, places)
        })
        .collect();
    let asked: Vec<_> = questions
        .into_iter()
        .map(|(partition, asked)| {
            let (reply, ends) = Reply::once();
            call.server.directory.tell(partition, EpochEnds { asked, reply });
            async move { (partition, ends.await) }
        })
        .collect();
    async move {
        let ends: BTreeMap<_, _> = join_all(asked).await.into_iter().collect();
        let topics = topics.into_iter().map(|(topic, places)| {
            let respond = |(partition, place): (i32, Result<Place, Code>)| {
                respond(partition, place.and_then(|place| end_at(&ends, place)))
            };
            OffsetForLeaderTopicResult { topic, partitions: places.into_iter().map(respond).collect() }
        });
        OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
    }
}

/// Puts a question to those of its partition.
fn place(
    call: &Call,
    name: &str,
    asked: &OffsetForLeaderPartition,
    questions: &mut Questions,
) -> Result<Place, Code> {
    if !call.may(Operation::Describe, ResourceKind::Topic, name) {
        return Err(Code::TopicAuthorizationFailed);
    }
    let partition = call.partition(name, asked.partition)?;
    let current = (asked.current_leader_epoch >= 0).then_some(LeaderEpoch(asked.current_leader_epoch));
    let of_it = questions.entry(partition).or_default();
    of_it.push((LeaderEpoch(asked.leader_epoch), current));
    Ok((partition, of_it.len() - 1))
}

fn end_at(ends: &BTreeMap<PartitionId, Ends>, (partition, at): Place) -> Result<(LeaderEpoch, Offset), Code> {
    let of_it = ends.get(&partition).ok_or(Code::UnknownServerError)?.as_ref().map_err(Code::from)?;
    let end = of_it.get(at).ok_or(Code::UnknownServerError)?;
    end.as_ref().copied().map_err(Code::from)
}

fn respond(partition: i32, end: Result<(LeaderEpoch, Offset), Code>) -> EpochEndOffset {
    match end {
        Ok((epoch, end)) => EpochEndOffset {
            error_code: Code::None.into(),
            partition,
            leader_epoch: epoch.0,
            end_offset: end.0,
        },
        Err(code) => EpochEndOffset { error_code: code.into(), partition, ..Default::default() },
    }
}
