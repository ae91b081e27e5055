//! How partitions get to be part of a transaction.

use std::collections::VecDeque;

use super::{
    Effect, Protocol, Session, Status, TopicPartition, TransactionError,
    coordinator::Coordinator,
    entry::{Entry, Step},
};
use crate::time::{Deadline, Now};

/// How long somebody who came early waits (Kafka's brokers ask again for `add.partitions.to.txn.retry.backoff.max.ms`).
const EARLY_PATIENCE_MS: u64 = 500;
/// How many may wait so, for all ids together; a further one is told to come again.
const EARLY_MAX: usize = 1_000;

/// Partitions that are to be part of a producer's transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Its session.
    pub session: Session,
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
    /// The rules it follows.
    pub protocol: Protocol,
}

/// A join that came while its id was busy.
#[derive(Debug)]
pub(super) struct Early<R> {
    pub(super) id: String,
    pub(super) join: Join,
    pub(super) deadline: Deadline,
    pub(super) to: R,
}

impl<R> Coordinator<R> {
    /// Partitions join the transaction, which begins with the first (AddPartitionsToTxn, AddOffsetsToTxn, and under version
    /// 2 the first write of a transaction to a partition). Those that have joined already are answered at once.
    ///
    /// Several partitions often join at once, and a client may begin its next transaction as soon as the end of the last one
    /// is safe, which is before every partition has its marker. Whoever finds the id busy waits here for a moment, instead
    /// of being sent away to come again; all who waited join with one record.
    pub fn join(&mut self, id: &str, join: Join, to: R, now: Now, out: &mut Vec<Effect<R>>) {
        let entry = self.entries.get(id);
        if entry.is_some_and(|entry| entry.is_fenced(join.session)) {
            return out.push(Effect::Answer { to, with: Err(TransactionError::Fenced) });
        }
        let is_busy = entry.is_some_and(Entry::is_busy);
        if is_busy && self.early.len() < EARLY_MAX {
            let deadline = now.after(EARLY_PATIENCE_MS);
            return self.early.push_back(Early { id: id.to_owned(), join, deadline, to });
        }
        let early = Early { id: id.to_owned(), join, deadline: now.after(0), to };
        self.join_all(id, [early], now, out);
    }

    /// Joins all of one id that can join, with one record.
    fn join_all(
        &mut self,
        id: &str,
        all: impl IntoIterator<Item = Early<R>>,
        now: Now,
        out: &mut Vec<Effect<R>>,
    ) {
        let mut step: Option<Step<R>> = None;
        for Early { join, to, .. } in all {
            let entry = match self.known(id).and_then(|entry| entry.check(join.session).map(|()| entry)) {
                Ok(entry) => entry,
                Err(error) => {
                    out.push(Effect::Answer { to, with: Err(error) });
                    continue;
                }
            };
            let facts = step.as_ref().map_or(&entry.facts, |step| &step.facts);
            let has_all = join.partitions.iter().all(|partition| facts.partitions.contains(partition));
            if step.is_none() && facts.status == Status::Ongoing && has_all {
                out.push(Effect::Answer { to, with: Ok(join.session) });
                continue;
            }
            let facts = facts.joined(join.partitions, join.protocol, now);
            let mut answers = step.map(|step| step.answers).unwrap_or_default();
            answers.push((to, Ok(join.session)));
            step = Some(Step { facts, last_epoch: entry.last_epoch, answers });
        }
        if let Some(step) = step {
            self.write(id, step, now, out);
        }
    }

    /// Whoever came early is looked at again, when the id is not busy any more.
    pub(super) fn let_in(&mut self, id: &str, now: Now, out: &mut Vec<Effect<R>>) {
        if self.early.is_empty() || self.entries.get(id).is_some_and(Entry::is_busy) {
            return;
        }
        let (mine, others): (VecDeque<_>, _) = self.early.drain(..).partition(|early| early.id == id);
        self.early = others;
        self.join_all(id, mine, now, out);
    }
}
