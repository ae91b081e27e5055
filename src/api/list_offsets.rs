//! ListOffsets (key 2), versions 1 to 11.
//!
//! Promises: a time is looked up record by record, inside compressed batches too; nothing found is offset -1 and
//! no error.
//! Versions: 2 isolation level. 4 leader epochs. 6 flexible. 7 time -3, the record with the largest timestamp. 8 time -4,
//! the earliest on this disk. 9 time -5, the latest that was tiered (nothing is). 10 timeout. 11 time -6, the
//! earliest that is still to be tiered (nothing is).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use futures_util::future::join_all;
use ottla_actors::partition::{LookUp, LookedUp, Wanted};
use ottla_actors::stage::reply::Reply;
use ottla_rules::ids::LeaderEpoch;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use super::Call;

const READ_COMMITTED: i8 = 1;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// Offsets by time. Every partition is asked when this returns.
pub(crate) fn list_offsets(
    call: &Call,
    version: i16,
    asked: ListOffsetsRequest,
) -> impl Future<Output = ListOffsetsResponse> + use<> {
    let mut names = BTreeMap::new();
    let twice = twice(&asked, &mut names);
    let committed_only = asked.isolation_level == READ_COMMITTED;
    let answers: Vec<Vec<_>> = asked
        .topics
        .iter()
        .map(|topic| {
            let number = names[topic.name.as_str()];
            let partitions = topic.partitions.iter().map(|partition| {
                let is_twice = twice.contains(&(number, partition.partition_index));
                let code = if is_twice { Some(Code::InvalidRequest) } else { None };
                ask(call, version, &topic.name, partition, committed_only, code)
            });
            partitions.collect()
        })
        .collect();
    async move {
        let topics = asked.topics.into_iter().zip(answers).map(|(topic, answers)| async move {
            let name = topic.name;
            let answered = topic.partitions.into_iter().zip(answers);
            let partitions = join_all(answered.map(|(asked, answer)| async move {
                let found = match answer {
                    Ok(answer) => answer.await.map_err(|error| Code::from(&error)),
                    Err(code) => Err(code),
                };
                respond(version, &asked, found)
            }));
            ListOffsetsTopicResponse { name, partitions: partitions.await }
        });
        ListOffsetsResponse { topics: join_all(topics).await, ..Default::default() }
    }
}

/// Partitions that stand twice in a request, by the number of their topic's name among all names: each of them is refused
/// (INVALID_REQUEST), as in Kafka. A name of 32 KiB may have a partition in every four bytes, so it is neither copied nor compared for each.
fn twice<'a>(asked: &'a ListOffsetsRequest, names: &mut BTreeMap<&'a str, usize>) -> BTreeSet<(usize, i32)> {
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for topic in &asked.topics {
        let next = names.len();
        let number = *names.entry(&topic.name).or_insert(next);
        for partition in &topic.partitions {
            let key = (number, partition.partition_index);
            if !seen.insert(key) {
                twice.insert(key);
            }
        }
    }
    twice
}

type Answer = Result<Option<LookedUp>, ottla_rules::partition::ReadError>;

/// Asks one partition; answered with `None` where there is no such offset.
fn ask(
    call: &Call,
    version: i16,
    name: &str,
    asked: &ListOffsetsPartition,
    committed_only: bool,
    refused: Option<Code>,
) -> Result<impl Future<Output = Answer> + use<>, Code> {
    if !call.may(Operation::Describe, ResourceKind::Topic, name) {
        return Err(Code::TopicAuthorizationFailed);
    }
    if let Some(code) = refused {
        return Err(code);
    }
    let wanted = match asked.timestamp {
        LATEST => Wanted::Latest,
        EARLIEST => Wanted::Earliest,
        MAX_TIMESTAMP if version >= 7 => Wanted::MaxTimestamp,
        EARLIEST_LOCAL if version >= 8 => Wanted::Earliest,
        // Nothing is tiered; but the partition must be there, and be led as the client believes.
        LATEST_TIERED if version >= 9 => Wanted::Earliest,
        EARLIEST_PENDING_UPLOAD if version >= 11 => Wanted::Earliest,
        time if time >= 0 => Wanted::At(time),
        _ => return Err(Code::UnsupportedVersion),
    };
    let partition = call.partition(name, asked.partition_index)?;
    let current_epoch = (asked.current_leader_epoch >= 0).then_some(LeaderEpoch(asked.current_leader_epoch));
    let (reply, answer) = Reply::once();
    call.server.directory.tell(partition, LookUp { wanted, committed_only, current_epoch, reply });
    Ok(answer)
}

fn respond(
    version: i16,
    asked: &ListOffsetsPartition,
    found: Result<Option<LookedUp>, Code>,
) -> ListOffsetsPartitionResponse {
    let mut response =
        ListOffsetsPartitionResponse { partition_index: asked.partition_index, ..Default::default() };
    match found {
        Err(code) => response.error_code = code.into(),
        Ok(_) if matches!(asked.timestamp, LATEST_TIERED | EARLIEST_PENDING_UPLOAD) => (),
        Ok(None) => (),
        Ok(Some(found)) => {
            // Only a record has a timestamp; the ends of the log have none.
            let is_end = matches!(asked.timestamp, LATEST | EARLIEST | EARLIEST_LOCAL);
            response.timestamp = if is_end { -1 } else { found.timestamp };
            response.offset = found.offset.0;
            response.leader_epoch = if version >= 4 { found.epoch.0 } else { -1 };
        }
    }
    response
}
