//! DescribeTransactions (key 65), version 0 (KIP-664).
//!
//! Promises: each id is told once, however often it is named.

use std::collections::BTreeMap;
use std::future::Future;

use futures_util::future::join_all;
use ottla_actors::stage::reply::Reply;
use ottla_actors::transactions::DescribeTransaction;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::transaction::Facts;
use ottla_wire::codes::Code;
use ottla_wire::messages::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TopicData, TransactionState,
};

use super::{Call, once, outcome_of};

/// Says where transactional ids stand.
pub(crate) fn describe_transactions(
    call: &Call,
    asked: DescribeTransactionsRequest,
) -> impl Future<Output = DescribeTransactionsResponse> + use<> {
    let told: Vec<_> = once(asked.transactional_ids, String::clone).map(|id| one(call, id)).collect();
    async move { DescribeTransactionsResponse { transaction_states: join_all(told).await, ..Default::default() } }
}

fn one(call: &Call, id: String) -> impl Future<Output = TransactionState> + use<> {
    let refusal = if id.is_empty() {
        Some(Code::InvalidRequest)
    } else if !call.may(Operation::Describe, ResourceKind::TransactionalId, &id) {
        Some(Code::TransactionalIdAuthorizationFailed)
    } else {
        None
    };
    let answer = refusal.map_or_else(
        || {
            let (reply, answer) = Reply::once();
            call.server.directory.ask_transaction(&id, DescribeTransaction { id: id.as_str().into(), reply });
            Ok(answer)
        },
        Err,
    );
    let call = call.clone();
    async move {
        let told = outcome_of(answer).await;
        match told.and_then(|facts| facts.ok_or(Code::TransactionalIdNotFound)) {
            Ok(facts) => state(&call, id, &facts),
            Err(code) => {
                TransactionState { transactional_id: id, error_code: code.into(), ..Default::default() }
            }
        }
    }
}

fn state(call: &Call, id: String, facts: &Facts) -> TransactionState {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &facts.partitions {
        if call.may(Operation::Describe, ResourceKind::Topic, &partition.topic) {
            topics.entry(&partition.topic).or_default().push(partition.index);
        }
    }
    let topics =
        topics.into_iter().map(|(topic, partitions)| TopicData { topic: topic.to_owned(), partitions });
    TransactionState {
        error_code: Code::None.into(),
        transactional_id: id,
        transaction_state: facts.status.name().to_owned(),
        transaction_timeout_ms: facts.timeout_ms,
        transaction_start_time_ms: facts.started_ms,
        producer_id: facts.producer.0,
        producer_epoch: facts.epoch.0,
        topics: topics.collect(),
    }
}
