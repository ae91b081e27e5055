//! ListTransactions (key 66), versions 0 to 2 (KIP-664).
//!
//! Promises: the ids that this node coordinates and the caller may describe; while one of its coordinators is loading the
//! whole answer is an error, because a list that lacks some would be taken for complete.
//! Versions: 1 by how long a transaction has run (KIP-994). 2 by a pattern (KIP-1152, RE2 syntax).

use std::future::Future;

use futures_util::future::join_all;
use ottla_actors::stage::reply::Reply;
use ottla_actors::transactions;
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
            unknown_state_filters: wanted.unknown,
            ..Default::default()
        }
    }
}

/// Which are asked for.
struct Wanted {
    has_states: bool,
    states: Vec<Status>,
    unknown: Vec<String>,
    producers: Vec<i64>,
    age_ms_min: i64,
    pattern: Option<Regex>,
}

impl Wanted {
    fn of(asked: ListTransactionsRequest) -> Result<Self, Code> {
        let find = |name: &String| Status::ALL.into_iter().find(|status| status.name() == name);
        let pattern = asked.transactional_id_pattern.filter(|pattern| !pattern.is_empty());
        // The whole id has to match, as Java's `matches`.
        let pattern = pattern.map(|pattern| Regex::new(&format!("^(?:{pattern})$"))).transpose();
        Ok(Self {
            has_states: !asked.state_filters.is_empty(),
            states: asked.state_filters.iter().filter_map(find).collect(),
            unknown: asked.state_filters.iter().filter(|name| find(name).is_none()).cloned().collect(),
            producers: asked.producer_id_filters,
            age_ms_min: asked.duration_filter,
            pattern: pattern.map_err(|_| Code::InvalidRegularExpression)?,
        })
    }

    fn has(&self, id: &str, facts: &Facts, now_ms: i64) -> bool {
        let age_ms = if facts.started_ms >= 0 { now_ms.saturating_sub(facts.started_ms) } else { -1 };
        (!self.has_states || self.states.contains(&facts.status))
            && (self.producers.is_empty() || self.producers.contains(&facts.producer.0))
            && (self.age_ms_min < 0 || age_ms > self.age_ms_min)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(id))
    }
}
