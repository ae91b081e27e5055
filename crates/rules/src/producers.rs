//! Idempotent producers of one partition: which of their batches are already in the log, and which one comes next
//! (KIP-98; Kafka's `ProducerStateManager`, `ProducerAppendInfo`, `ProducerStateEntry`).

use crate::batch::Header;
use crate::ids::{Offset, ProducerEpoch, ProducerId, Sequence};
use crate::time::Now;

/// How many of a producer's last batches are remembered: clients keep at most five in flight.
pub const WINDOW: usize = 5;

/// What the state says about a batch that wants to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    New,
    /// It is in the log already: answer what the first one was answered, append nothing.
    Duplicate {
        /// The offset that its first record got.
        base: Offset,
        /// The largest timestamp it was stored with (the append time, where the topic has LogAppendTime).
        timestamp: i64,
    },
}

/// Why a batch of an idempotent producer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// A newer session of this producer has written (INVALID_PRODUCER_EPOCH).
    #[error("producer epoch {got} is fenced by {by}")]
    Fenced {
        /// The epoch that has written.
        by: ProducerEpoch,
        /// The epoch of the batch.
        got: ProducerEpoch,
    },
    /// A batch before this one is missing, or this one is older than the five remembered (OUT_OF_ORDER_SEQUENCE_NUMBER).
    #[error("sequence {got} does not follow, {expected} is expected")]
    OutOfOrder {
        /// The sequence that comes next.
        expected: Sequence,
        /// The sequence of the batch's first record.
        got: Sequence,
    },
}

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedBatch {
    /// The offset of its first record.
    pub base: Offset,
    /// The sequence of its first record.
    pub base_sequence: Sequence,
    /// Its last offset, counted from the first.
    pub last_offset_delta: i32,
    /// The largest timestamp it was stored with.
    pub timestamp: i64,
}

/// One producer as plain data, for snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    /// The producer.
    pub id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// When it last wrote, Unix milliseconds.
    pub last_write_ms: i64,
    /// The sequence that comes next.
    pub next_sequence: Sequence,
    /// Its last batches, oldest first; at most [`WINDOW`].
    pub batches: Vec<RememberedBatch>,
}

/// The producers of one partition.
#[derive(Clone, Debug, Default)]
pub struct Producers {
    max: usize,
}

impl Producers {
    /// No producers yet; at most `max` are remembered (`limits.producers_max`), then the one that has not written for
    /// longest is forgotten: its next batch is taken with any sequence.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max }
    }

    /// Judges a batch before it is appended. Batches without a producer, and control batches, are always new.
    ///
    /// # Errors
    /// [`SequenceError::Fenced`] for an old epoch, [`SequenceError::OutOfOrder`] for any sequence but the next.
    pub fn check(&self, _header: &Header) -> Result<Verdict, SequenceError> {
        todo!()
    }

    /// Remembers a batch that has been given its place (`base`, and `timestamp`: [`crate::batch::Stamped::max_timestamp`]).
    pub fn update(&mut self, _header: &Header, _base: Offset, _timestamp: i64, _now: Now) {
        todo!()
    }

    /// Remembers a stored batch during recovery, without judging it. `now.wall_ms` counts as the time of its write.
    pub fn replay(&mut self, header: &Header, now: Now) {
        self.update(header, header.base_offset, header.max_timestamp, now);
    }

    /// Forgets the batches at and beyond `to`: their write failed, or the log was cut there. What they were sent with is
    /// expected again.
    pub fn rollback(&mut self, _to: Offset) {
        todo!()
    }

    /// Forgets producers that have not written for `ms` milliseconds (`producer.id.expiration.ms`).
    pub fn expire(&mut self, _now: Now, _ms: u64) {
        todo!()
    }

    /// All of them as plain data, the one that has not written for longest first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ProducerEntry> {
        todo!()
    }

    /// What [`Producers::snapshot`] gave, with the bound `max` of [`Producers::new`].
    #[must_use]
    pub fn from_snapshot(_entries: Vec<ProducerEntry>, _max: usize) -> Self {
        todo!()
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
