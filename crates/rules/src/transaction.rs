//! The transaction coordinator's part for one partition of `__transaction_state` (KIP-98, KIP-360, KIP-890; Kafka's
//! `TransactionCoordinator` and `TransactionMetadata`).
//!
//! ```text
//!            add partitions             end                    all marked
//!   Empty ------------------> Ongoing -------> PrepareCommit --------------> CompleteCommit
//!     ^  \                       |    \                                          |
//!     |   '--- end (abort, v2) ---+-----+----> PrepareAbort ---------------> CompleteAbort
//!     '------------------- init producer id -------------------------------------'
//! ```
//!
//! Every arrow is a record: it is written first, and the answer, or the next step, comes when it is safe. Meanwhile the
//! id is busy, and whoever asks is told to come again; so is who waits for the answer, when that takes long. This file has
//! what is asked and answered; [`coordinator::Coordinator`] decides.

use std::collections::BTreeSet;

use crate::ids::{ProducerEpoch, ProducerId};

pub mod coordinator;
mod entry;
pub mod join;

#[cfg(test)]
mod tests;

/// One partition by the name of its topic, as records of transactions and groups have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub index: i32,
}

/// Where a transactional id stands. The numbers are those in Kafka's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// No transaction since the producer's session began.
    Empty = 0,
    /// A transaction has partitions.
    Ongoing = 1,
    /// It will be committed, whatever happens; markers are on their way.
    PrepareCommit = 2,
    /// It will be aborted, whatever happens; markers are on their way.
    PrepareAbort = 3,
    /// The last one was committed.
    CompleteCommit = 4,
    /// The last one was aborted.
    CompleteAbort = 5,
    /// The id has expired; a tombstone follows.
    Dead = 6,
}

impl Status {
    /// Every status that a record may have.
    pub const ALL: [Self; 7] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
        Self::Dead,
    ];

    /// The number in records (Kafka's `TransactionState.id`).
    #[must_use]
    pub fn number(self) -> i8 {
        self as i8
    }

    /// The name that tools show.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::Dead => "Dead",
        }
    }

    /// Whether a transaction's outcome is decided and not yet told to every partition.
    #[must_use]
    pub fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }
}

/// Which rules a producer follows (Kafka's `TransactionVersion`): the level of the feature `transaction.version` that its
/// client knew when its transaction began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Transactions as they were before KIP-890 (levels 0 and 1).
    V1 = 1,
    /// The epoch is raised with every transaction, and partitions join by being written to (KIP-890 part 2).
    V2 = 2,
}

/// Everything that is kept of one transactional id: the value of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The producer id.
    pub producer: ProducerId,
    /// The one before, when its epochs ran out; else -1.
    pub previous: ProducerId,
    /// The one that follows when the transaction under way has ended; else -1.
    pub next: ProducerId,
    /// The epoch of the producer's session; -1 before the first.
    pub epoch: ProducerEpoch,
    /// How long a transaction may take, milliseconds.
    pub timeout_ms: i32,
    /// Where it stands.
    pub status: Status,
    /// The partitions of the transaction under way.
    pub partitions: BTreeSet<TopicPartition>,
    /// When this was written, Unix milliseconds.
    pub updated_ms: i64,
    /// When the transaction under way, or the last one of the session, began, Unix milliseconds; -1 without one.
    pub started_ms: i64,
    /// The rules of the transaction under way, or of the last one.
    pub protocol: Protocol,
}

/// A producer's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The producer id.
    pub producer: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
}

/// What the coordinator wants done. Effects are carried out in the order in which they are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<R> {
    /// Append a record of this id; none is a tombstone. Reported by `written`, however long that takes. One at a time for each id.
    Write {
        /// The transactional id.
        id: String,
        /// The record's value.
        facts: Option<Facts>,
    },
    /// Answer whoever asked.
    Answer {
        /// Whom.
        to: R,
        /// With what.
        with: Result<Session, TransactionError>,
    },
    /// Write a marker into every partition, again and again until it is there or the partition is gone. Each is reported
    /// by `marked`.
    Mark {
        /// The transactional id.
        id: String,
        /// The producer, with the epoch of the marker.
        session: Session,
        /// The rules of the transaction: they say which epochs a partition takes a marker with.
        protocol: Protocol,
        /// Commit, or abort.
        commit: bool,
        /// The partitions.
        partitions: Vec<TopicPartition>,
    },
    /// Take a producer id from the cluster. Reported by `producer_id_taken`.
    TakeProducerId,
}

/// Why a request about a transaction is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// The request makes no sense (INVALID_REQUEST).
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The timeout is not positive, or above `transaction.max.timeout.ms` (INVALID_TRANSACTION_TIMEOUT).
    #[error("a transaction timeout is between 1 and {max_ms} ms (transaction.max.timeout.ms), not {got_ms}")]
    InvalidTimeout {
        /// The timeout asked for.
        got_ms: i32,
        /// The largest one allowed.
        max_ms: i32,
    },
    /// The id is not known, or belongs to another producer id (INVALID_PRODUCER_ID_MAPPING).
    #[error("the producer id is not that of the transactional id")]
    InvalidMapping,
    /// A newer session of the producer has begun (PRODUCER_FENCED).
    #[error("a newer session of this producer has begun")]
    Fenced,
    /// The id is busy with the step before (CONCURRENT_TRANSACTIONS): try again.
    #[error("another step of this transactional id is under way")]
    Concurrent,
    /// The transaction cannot go there from where it is (INVALID_TXN_STATE).
    #[error("the transaction is {}: it cannot be {wanted}", .from.name())]
    InvalidState {
        /// Where it stands.
        from: Status,
        /// What was asked for, as a participle.
        wanted: &'static str,
    },
    /// The partition is not part of the transaction (TRANSACTION_ABORTABLE).
    #[error("the partition is not part of an ongoing transaction")]
    NotInTransaction,
    /// Another node coordinates this id, or will (NOT_COORDINATOR).
    #[error("this node does not coordinate the transactional id")]
    NotHere,
    /// The coordinator is reading its records (COORDINATOR_LOAD_IN_PROGRESS).
    #[error("the coordinator is loading")]
    Loading,
    /// The record could not be made safe, or takes long to be, or there is no room for another id (COORDINATOR_NOT_AVAILABLE).
    #[error("the coordinator cannot store the transaction now")]
    NotAvailable,
}
