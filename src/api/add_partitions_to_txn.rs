//! AddPartitionsToTxn (key 24), versions 0 to 5.
//!
//! Promises: all partitions of a transaction join, or none: when one is not there the others are OPERATION_NOT_ATTEMPTED.
//! Versions: 2 PRODUCER_FENCED. 3 flexible. From 4 brokers talk to each other: many transactions, and `verify_only` (KIP-890);
//! our own partitions ask their coordinator without this.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use futures_util::future::join_all;
use ottla_actors::transactions::{JoinTransaction, VerifyTransaction};
use ottla_rules::ids::{ProducerEpoch, ProducerId};
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::topic::is_internal;
use ottla_rules::transaction::{Protocol, Session, TopicPartition, join::Join};
use ottla_wire::codes::Code;
use ottla_wire::messages::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult, AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
    AddPartitionsToTxnTransaction,
};

use super::{CLUSTER, Call, fenced_code};

/// The version from which clients know PRODUCER_FENCED.
const FENCED_FROM: i16 = 2;
/// The version from which it is for brokers, about many transactions.
const BATCH_FROM: i16 = 4;

/// Makes partitions part of transactions.
pub(crate) fn add_partitions_to_txn(
    call: &Call,
    version: i16,
    asked: AddPartitionsToTxnRequest,
) -> impl Future<Output = AddPartitionsToTxnResponse> + use<> {
    let transactions = if version >= BATCH_FROM {
        asked.transactions
    } else {
        vec![AddPartitionsToTxnTransaction {
            transactional_id: asked.v3_and_below_transactional_id,
            producer_id: asked.v3_and_below_producer_id,
            producer_epoch: asked.v3_and_below_producer_epoch,
            verify_only: false,
            topics: asked.v3_and_below_topics,
        }]
    };
    let is_broker =
        version < BATCH_FROM || call.may(Operation::ClusterAction, ResourceKind::Cluster, CLUSTER);
    let answers: Vec<_> = if is_broker {
        transactions.into_iter().map(|asked| one(call, version, asked)).collect()
    } else {
        Vec::new()
    };
    async move {
        let mut results = join_all(answers).await;
        if version >= BATCH_FROM {
            let code = if is_broker { Code::None } else { Code::ClusterAuthorizationFailed };
            return AddPartitionsToTxnResponse {
                error_code: code.into(),
                results_by_transaction: results,
                ..Default::default()
            };
        }
        let topics = results.pop().map(|result| result.topic_results).unwrap_or_default();
        AddPartitionsToTxnResponse { results_by_topic_v3_and_below: topics, ..Default::default() }
    }
}

/// What is asked of the coordinator, if anything is.
fn one(
    call: &Call,
    version: i16,
    asked: AddPartitionsToTxnTransaction,
) -> impl Future<Output = AddPartitionsToTxnResult> + use<> {
    let id = asked.transactional_id.clone();
    let session =
        Session { producer: ProducerId(asked.producer_id), epoch: ProducerEpoch(asked.producer_epoch) };
    let refusal = (version < BATCH_FROM && !call.may(Operation::Write, ResourceKind::TransactionalId, &id))
        .then_some(Code::TransactionalIdAuthorizationFailed)
        .or_else(|| id.is_empty().then_some(Code::InvalidRequest));
    let looked: Vec<_> = each(&asked.topics).map(|(topic, index)| look(call, topic, index)).collect();
    let is_whole = looked.iter().all(|code| *code == Code::None);
    let asks = refusal.is_none() && is_whole;
    // Only now: a name of 32 KiB, which no topic has, may stand for a partition in every four bytes.
    let of = |(topic, index): (&str, i32)| TopicPartition { topic: topic.to_owned(), index };
    let verified: Vec<_> = if asks && asked.verify_only {
        let ask = |partition: TopicPartition| {
            let make = move |id, reply| VerifyTransaction { id, session, partition, reply };
            call.server.ask_transaction(&id, make)
        };
        each_once(&asked.topics).into_iter().map(of).map(ask).collect()
    } else {
        Vec::new()
    };
    let joined = (asks && !asked.verify_only).then(|| {
        let partitions = each_once(&asked.topics).into_iter().map(of).collect();
        let join = Join { session, partitions, protocol: Protocol::V1 };
        call.server.ask_transaction(&id, move |id, reply| JoinTransaction { id, join, reply })
    });
    async move {
        let knows_fenced = version >= FENCED_FROM;
        let mut codes = match (refusal, joined) {
            (Some(code), _) => vec![code; looked.len()],
            (None, Some(joined)) => {
                let code =
                    joined.await.map_or_else(|error| fenced_code(&error, knows_fenced), |_| Code::None);
                vec![code; looked.len()]
            }
            (None, None) if !is_whole => looked
                .into_iter()
                .map(|code| if code == Code::None { Code::OperationNotAttempted } else { code })
                .collect(),
            (None, None) => {
                let told = join_all(verified).await.into_iter();
                let told =
                    told.map(|told| told.map_or_else(|error| fenced_code(&error, true), |_| Code::None));
                let told: BTreeMap<_, _> = each_once(&asked.topics).into_iter().zip(told).collect();
                each(&asked.topics).filter_map(|one| told.get(&one).copied()).collect()
            }
        }
        .into_iter();
        let topic_results = asked.topics.iter().map(|topic| AddPartitionsToTxnTopicResult {
            name: topic.name.clone(),
            results_by_partition: topic
                .partitions
                .iter()
                .map(|index| AddPartitionsToTxnPartitionResult {
                    partition_index: *index,
                    partition_error_code: codes.next().unwrap_or(Code::UnknownServerError).into(),
                })
                .collect(),
        });
        let topic_results = topic_results.collect();
        AddPartitionsToTxnResult { transactional_id: id, topic_results }
    }
}

fn each(topics: &[AddPartitionsToTxnTopic]) -> impl Iterator<Item = (&str, i32)> {
    topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| (topic.name.as_str(), *index)))
}

/// Each of them once, however often it is named: of those the coordinator is asked.
fn each_once(topics: &[AddPartitionsToTxnTopic]) -> BTreeSet<(&str, i32)> {
    each(topics).collect()
}

/// Whether a client may have this partition in its transaction.
fn look(call: &Call, topic: &str, index: i32) -> Code {
    let may = !is_internal(topic) && call.may(Operation::Write, ResourceKind::Topic, topic);
    if !may {
        return Code::TopicAuthorizationFailed;
    }
    call.partition(topic, index).err().unwrap_or(Code::None)
}
