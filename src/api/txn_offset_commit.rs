//! TxnOffsetCommit (key 28), versions 0 to 5.
//!
//! Promises: offsets whose commit was answered are in the log, and count when the transaction is committed: never before, and
//! never when it is aborted.
//! Versions: 2 leader epochs. 3 flexible; the member's generation (KIP-447). 4 TRANSACTION_ABORTABLE. 5 the group's partition of
//! `__consumer_offsets` joins the transaction by this, without AddOffsetsToTxn (KIP-890).

use std::future::Future;
use std::sync::Arc;

use ottla_actors::transactions::{JoinTransaction, VerifyTransaction};
use ottla_rules::group::ask::{CommitOffset, CommitOffsets, InTransaction};
use ottla_rules::group::{Answer, Ask, GroupError};
use ottla_rules::ids::{PartitionId, ProducerEpoch, ProducerId};
use ottla_rules::partition::Joining;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::transaction::{Protocol, Session, TopicPartition, TransactionError, join::Join};
use ottla_wire::codes::Code;
use ottla_wire::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

use super::Call;
use crate::server::Server;

/// The version from which clients know that a coordinator may be loading (KAFKA-7296).
const LOADING_FROM: i16 = 2;
/// The version from which clients know TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 4;
/// The version from which the partition joins by this.
const JOINS_FROM: i16 = 5;

/// Commits offsets as part of a transaction.
pub(crate) fn txn_offset_commit(
    call: &Call,
    version: i16,
    asked: TxnOffsetCommitRequest,
) -> impl Future<Output = TxnOffsetCommitResponse> + use<> {
    let refusal = refusal(call, &asked);
    let (mut offsets, mut places) = (Vec::new(), Vec::new());
    let topics = asked.topics.into_iter().enumerate().map(|(at, topic)| {
        let answered = sort(call, topic, refusal, &mut offsets);
        let good = answered.partitions.iter().enumerate().filter(|(_, it)| it.error_code == 0);
        places.extend(good.map(|(place, _)| (at, place)));
        answered
    });
    let mut topics: Vec<_> = topics.collect();
    let session =
        Session { producer: ProducerId(asked.producer_id), epoch: ProducerEpoch(asked.producer_epoch) };
    let joining = Joining { id: asked.transactional_id.into(), implicit: version >= JOINS_FROM };
    let commit = CommitOffsets {
        member_id: asked.member_id,
        instance_id: asked.group_instance_id,
        generation: asked.generation_id,
        knows_group_errors: false,
        retention_ms: -1,
        offsets,
        transaction: Some(InTransaction { joining, session }),
    };
    let wait = (!places.is_empty()).then(|| commit_in(&call.server, &asked.group_id, commit));
    async move {
        if let Some(wait) = wait {
            let codes = match wait.await {
                Ok(codes) => codes,
                Err(code) => vec![code; places.len()],
            };
            for ((topic, partition), code) in places.into_iter().zip(codes) {
                topics[topic].partitions[partition].error_code = known(code, version).into();
            }
        }
        topics.retain(|topic| !topic.partitions.is_empty());
        TxnOffsetCommitResponse { topics, ..Default::default() }
    }
}

/// What keeps the whole request from being looked at.
fn refusal(call: &Call, asked: &TxnOffsetCommitRequest) -> Option<Code> {
    if !call.may(Operation::Write, ResourceKind::TransactionalId, &asked.transactional_id) {
        return Some(Code::TransactionalIdAuthorizationFailed);
    }
    let may = call.may(Operation::Read, ResourceKind::Group, &asked.group_id);
    (!may).then_some(Code::GroupAuthorizationFailed)
}

/// What can be committed of a topic goes to `offsets`; the rest is answered.
fn sort(
    call: &Call,
    asked: TxnOffsetCommitRequestTopic,
    refusal: Option<Code>,
    offsets: &mut Vec<CommitOffset>,
) -> TxnOffsetCommitResponseTopic {
    let image = call.server.image();
    let topic = image.topic_named(&asked.name);
    let may_read = call.may(Operation::Read, ResourceKind::Topic, &asked.name);
    let partitions = asked.partitions.into_iter().map(|partition| {
        let index = partition.partition_index;
        let code = match topic.map(|topic| PartitionId { topic: topic.id, index }) {
            _ if refusal.is_some() => refusal.unwrap_or(Code::None),
            _ if !may_read => Code::TopicAuthorizationFailed,
            Some(id) if image.partition(id).is_some() => {
                offsets.push(CommitOffset {
                    topic: asked.name.clone(),
                    topic_id: id.topic,
                    partition: index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.unwrap_or_default(),
                });
                Code::None
            }
            Some(_) | None => Code::UnknownTopicOrPartition,
        };
        TxnOffsetCommitResponsePartition { partition_index: index, error_code: code.into() }
    });
    let partitions = partitions.collect();
    TxnOffsetCommitResponseTopic { name: asked.name, partitions }
}

/// The transaction's coordinator is asked first, as in Kafka: a producer that is fenced hears that, whatever the group says.
/// The partition asks it again when the offsets are appended, in case the transaction has ended meanwhile.
fn commit_in(
    server: &Arc<Server>,
    group: &str,
    commit: CommitOffsets,
) -> impl Future<Output = Result<Vec<Code>, Code>> + use<> {
    let (server, group) = (server.clone(), group.to_owned());
    let place = server.partition_of_group(&group);
    async move {
        if group.is_empty() {
            return Err(Code::InvalidGroupId);
        }
        let (Some(place), Some(transaction)) = (place, &commit.transaction) else {
            return Err(Code::NotCoordinator);
        };
        let entered = enter(&server, transaction, place).await;
        entered.map_err(|error| Code::from(&GroupError::Transaction(error)))?;
        match server.ask_group(&group, Ask::Commit(commit)).await {
            Ok(Answer::Committed(committed)) => {
                Ok(committed.iter().map(|error| error.as_ref().map_or(Code::None, Code::from)).collect())
            }
            Ok(_) => Err(Code::UnknownServerError),
            Err(error) => Err(Code::from(&error)),
        }
    }
}

async fn enter(
    server: &Server,
    transaction: &InTransaction,
    place: TopicPartition,
) -> Result<Session, TransactionError> {
    let InTransaction { joining, session } = transaction.clone();
    if joining.implicit {
        let join = Join { session, partitions: vec![place], protocol: Protocol::V2 };
        return server.ask_transaction(&joining.id, |id, reply| JoinTransaction { id, join, reply }).await;
    }
    let make = |id, reply| VerifyTransaction { id, session, partition: place, reply };
    server.ask_transaction(&joining.id, make).await
}

/// The code as clients of this version know it.
fn known(code: Code, version: i16) -> Code {
    match code {
        Code::CoordinatorLoadInProgress if version < LOADING_FROM => Code::CoordinatorNotAvailable,
        Code::TransactionAbortable if version < ABORTABLE_FROM => Code::InvalidTxnState,
        code => code,
    }
}
