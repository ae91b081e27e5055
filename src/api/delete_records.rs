//! DeleteRecords (key 21), versions 0 to 2 (KIP-107).
//!
//! Promises: after the answer nobody reads below the new log start, not even after a crash; -1 means "up to the high
//! watermark"; topics of the broker itself are left alone. A partition that is named more than once is asked and answered once,
//! for what is said last, as in Kafka.
//! Versions: 2 flexible.

use std::collections::BTreeMap;
use std::future::Future;

use futures_util::future::join_all;
use ottla_actors::partition::DeleteBefore;
use ottla_actors::stage::reply::Reply;
use ottla_rules::ids::Offset;
use ottla_rules::partition::DeleteError;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::topic::is_internal;
use ottla_wire::codes::Code;
use ottla_wire::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

use super::{Call, outcome_of};

/// Up to the high watermark.
const ALL: i64 = -1;

/// Deletes records. Every partition is asked when this returns.
pub(crate) fn delete_records(
    call: &Call,
    asked: DeleteRecordsRequest,
) -> impl Future<Output = DeleteRecordsResponse> + use<> {
    let mut wanted: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    for topic in asked.topics {
        let partitions = topic.partitions.iter().map(|asked| (asked.partition_index, asked.offset));
        wanted.entry(topic.name).or_default().extend(partitions);
    }
    let topics: Vec<_> = wanted
        .into_iter()
        .map(|(name, partitions)| {
            let answers: Vec<_> =
                partitions.into_iter().map(|(index, upto)| (index, ask(call, &name, index, upto))).collect();
            (name, answers)
        })
        .collect();
    async move {
        let topics = topics.into_iter().map(|(name, partitions)| async move {
            let partitions = join_all(partitions.into_iter().map(|(index, answer)| async move {
                let low = outcome_of(answer).await;
                DeleteRecordsPartitionResult {
                    partition_index: index,
                    low_watermark: low.map_or(-1, |offset| offset.0),
                    error_code: low.err().unwrap_or(Code::None).into(),
                }
            }));
            DeleteRecordsTopicResult { name, partitions: partitions.await }
        });
        DeleteRecordsResponse { topics: join_all(topics).await, ..Default::default() }
    }
}

fn ask(
    call: &Call,
    name: &str,
    index: i32,
    upto: i64,
) -> Result<impl Future<Output = Result<Offset, DeleteError>> + use<>, Code> {
    if !call.may(Operation::Delete, ResourceKind::Topic, name) {
        return Err(Code::TopicAuthorizationFailed);
    }
    let partition = call.partition(name, index)?;
    // What the broker itself wrote last of a group or a transaction may stand anywhere in there.
    if is_internal(name) {
        return Err(Code::InvalidTopicException);
    }
    let (reply, answer) = Reply::once();
    let upto = (upto != ALL).then_some(Offset(upto));
    call.server.directory.tell(partition, DeleteBefore { upto, reply });
    Ok(answer)
}
