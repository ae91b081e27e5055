//! The transactions that were aborted: readers of committed records get their batches and have to be told to skip them.
//!
//! Kafka keeps them in `.txnindex` files; here they are facts. What came since the last checkpoint is in memory, and is
//! put into the facts before the recovery point moves past it: recovery finds the rest in the log itself.

use std::sync::Arc;

use ottla_rules::{
    ids::{Offset, PartitionId},
    partition::transactions::{Aborted, aborted_within},
};

use super::{Log, LogError};
use crate::facts::{self, Facts, FactsError};

/// What a log knows of them.
#[derive(Debug, Default)]
pub(crate) struct AbortedRows {
    /// Whether the facts have any.
    pub(crate) saved: bool,
    /// Those that the facts do not have yet, in the order of their markers.
    recent: Arc<Vec<Aborted>>,
}

/// Where a reader finds those that concern it. Looking may wait for the disk when [`AbortedLook::may_wait`] says so.
#[derive(Clone, Debug)]
pub struct AbortedLook {
    facts: Option<Facts>,
    partition: PartitionId,
    recent: Arc<Vec<Aborted>>,
}

impl Log {
    /// A marker that was appended has aborted this.
    pub fn remember_aborted(&mut self, row: Aborted) {
        Arc::make_mut(&mut self.aborted.recent).push(row);
    }

    /// For one reader, who is about to read from here.
    #[must_use]
    pub fn aborted(&self) -> AbortedLook {
        AbortedLook {
            facts: self.aborted.saved.then(|| self.store.facts().clone()),
            partition: self.place.id,
            recent: self.aborted.recent.clone(),
        }
    }
}

impl AbortedRows {
    /// Those that a checkpoint at `end` has to put into the facts.
    pub(super) fn below(&self, end: Offset) -> Vec<Aborted> {
        self.recent.iter().take_while(|row| row.last < end).copied().collect()
    }

    /// The facts have everything below `end`.
    pub(super) fn saved_below(&mut self, end: Offset) {
        let n = self.recent.partition_point(|row| row.last < end);
        if n > 0 {
            self.saved = true;
            Arc::make_mut(&mut self.recent).drain(..n);
        }
    }
}

impl AbortedLook {
    /// Whether the facts have to be asked, which is not for a shard's thread.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        self.facts.is_some()
    }

    /// Whose they are.
    pub(crate) fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The transactions that a reader of `from..upto` has to skip, in the order of their first offsets.
    ///
    /// # Errors
    /// The facts cannot be read: the reader must not be given the records then.
    pub fn within(&self, from: Offset, upto: Offset) -> Result<Vec<Aborted>, FactsError> {
        let saved = match &self.facts {
            Some(facts) => facts::aborted::within(facts, self.partition, from, upto)?,
            None => Vec::new(),
        };
        // Between the checkpoint and the word that it is done a row is in both.
        let last = saved.last().map_or(Offset(-1), |row| row.last);
        let recent = self.recent.iter().filter(|row| row.last > last).copied();
        Ok(aborted_within(saved.iter().copied().chain(recent), from, upto))
    }
}

/// Puts rows into the facts, where the next checkpoint finds them.
pub(super) fn save(facts: &Facts, partition: PartitionId, rows: &[Aborted]) -> Result<(), LogError> {
    rows.iter().try_for_each(|row| facts::aborted::put(facts, partition, *row))?;
    Ok(())
}
