//! ListTransactions (key 66), versions 0 to 2 (KIP-664).
//!
//! Promises: the ids that this node coordinates and the caller may describe; while one of its coordinators is loading the
//! whole answer is an error, because a list that lacks some would be taken for complete.
//! Versions: 1 by how long a transaction has run (KIP-994). 2 by a pattern (KIP-1152, RE2 syntax).

use std::collections::BTreeSet;
use std::future::Future;

use futures_util::future::join_all;
use ottla_actors::stage::reply::Reply;
use ottla_actors::transactions;
use ottla_rules::pattern;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::transaction::{Facts, Status};
use ottla_wire::codes::Code;
use ottla_wire::messages::list_transactions::{
    ListTransactionsRequest, ListTransactionsResponse, TransactionState,
};
use regex::Regex;

use super::Call;

/// Lists transactional ids.
pub(crate) fn list_transactions(
    call: &Call,
    asked: ListTransactionsRequest,
) -> impl Future<Output = ListTransactionsResponse> + use<> {
    let wanted = Wanted::of(asked);
    let answers: Vec<_> = call
        .server
        .directory
        .transactions()
        .into_iter()
        .map(|coordinator| {
            let (reply, answer) = Reply::once();
            coordinator.do_send(transactions::ListTransactions { reply });
            answer
        })
        .collect();
    let call = call.clone();
    async move {
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(code) => return ListTransactionsResponse { error_code: code.into(), ..Default::default() },
        };
        let mut listed = Vec::new();
        for answer in join_all(answers).await {
            match answer {
                Ok(some) => listed.extend(some),
                Err(error) => {
                    let error_code = Code::from(&error).into();
                    return ListTransactionsResponse { error_code, ..Default::default() };
                }
            }
        }
        let now_ms = call.server.now().wall_ms;
        let listed = listed.into_iter().filter(|(id, facts)| {
            wanted.has(id, facts, now_ms) && call.may(Operation::Describe, ResourceKind::TransactionalId, id)
        });
        let listed = listed.map(|(transactional_id, facts)| TransactionState {
            transactional_id,
            producer_id: facts.producer.0,
            transaction_state: facts.status.name().to_owned(),
        });
        ListTransactionsResponse {
            transaction_states: listed.collect(),
            unknown_state_filters: wanted.unknown.into_iter().collect(),
            ..Default::default()
        }
    }
}

/// Which are asked for. In sets: a request may name a million of each, and all ids are held against it.
struct Wanted {
    has_states: bool,
    states: BTreeSet<Status>,
    unknown: BTreeSet<String>,
    producers: BTreeSet<i64>,
    age_ms_min: i64,
    pattern: Option<Regex>,
}

impl Wanted {
    fn of(asked: ListTransactionsRequest) -> Result<Self, Code> {
        let find = |name: &String| Status::ALL.into_iter().find(|status| status.name() == name);
        let pattern = asked.transactional_id_pattern.filter(|pattern| !pattern.is_empty());
        let pattern = pattern.map(|pattern| pattern::compile(&pattern)).transpose();
        Ok(Self {
            has_states: !asked.state_filters.is_empty(),
            states: asked.state_filters.iter().filter_map(find).collect(),
            unknown: asked.state_filters.iter().filter(|name| find(name).is_none()).cloned().collect(),
            producers: asked.producer_id_filters.into_iter().collect(),
            age_ms_min: asked.duration_filter,
            pattern: pattern.map_err(|_| Code::InvalidRegularExpression)?,
        })
    }

    fn has(&self, id: &str, facts: &Facts, now_ms: i64) -> bool {
        // As in Kafka: an id that never had a transaction has one since -1, and so for longer than anybody asks.
        let age_ms = now_ms.saturating_sub(facts.started_ms);
        (!self.has_states || self.states.contains(&facts.status))
            && (self.producers.is_empty() || self.producers.contains(&facts.producer.0))
            && (self.age_ms_min < 0 || age_ms > self.age_ms_min)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(id))
    }
}

#[cfg(test)]
mod tests {
    use ottla_rules::ids::{ProducerEpoch, ProducerId};
    use ottla_rules::transaction::Protocol;

    use super::*;

    #[test]
    fn an_id_that_never_had_a_transaction_is_older_than_anybody_asks() {
        let check = |started_ms, age_ms_min, is_wanted| {
            let asked = ListTransactionsRequest { duration_filter: age_ms_min, ..Default::default() };
            let wanted = Wanted::of(asked).unwrap_or_else(|code| panic!("{code:?}"));
            assert_eq!(
                wanted.has("orders", &facts(started_ms), 10_000),
                is_wanted,
                "{started_ms} {age_ms_min}"
            );
        };
        check(9_000, -1, true);
        check(9_000, 999, true);
        check(9_000, 1_000, false);
        check(-1, 1_000, true);
    }

    fn facts(started_ms: i64) -> Facts {
        Facts {
            producer: ProducerId(7),
            previous: ProducerId(-1),
            next: ProducerId(-1),
            epoch: ProducerEpoch(0),
            timeout_ms: 1_000,
            status: Status::Empty,
            partitions: BTreeSet::new(),
            updated_ms: 0,
            started_ms,
            protocol: Protocol::V2,
        }
    }
}
