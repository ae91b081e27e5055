//! The replica that leads a partition.
//!
//! ```text
//!   log start                      high watermark        written         end
//!      |  readable, never changes        |   in the segment  |   staged   |
//!      +---------------------------------+-------------------+------------+
//!                                        persisted (durable mode)
//! ```
//!
//! This file has what a leader is asked and what it answers; [`leader::Leader`] decides.

use std::sync::Arc;

pub use self::transactional::{Mark, Patience};
use self::transactions::Aborted;
use crate::{
    batch::Stamped,
    ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence},
    producers::SequenceError,
    transaction::TransactionError,
};

pub mod early;
pub mod epochs;
mod held;
pub mod leader;
mod moment;
mod parked;
mod read;
mod transactional;
pub mod transactions;
mod watchers;

pub use self::moment::Moment;
pub use self::watchers::Heard;

/// What a producer waits for (`acks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nothing (0): the answer is not sent, a refusal closes the connection.
    None,
    /// The leader (1).
    Leader,
    /// Every in-sync replica (-1).
    All,
}

/// What a leader wants done. Effects are carried out in the order in which they are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<R, B> {
    /// Append this batch to the log. Reported by `written` or `write_failed`; batches that follow each other are
    /// written together.
    Write {
        /// The batch with its place.
        batch: Stamped,
    },
    /// Durable mode: put every batch written since the last `Harden` or `Sync`, up to here, into the journal. Reported by `persisted`.
    Harden {
        /// Everything below is to be safe.
        upto: Offset,
    },
    /// Page-cache mode, or the step into durable mode: sync the segments up to here. Reported by `persisted`. The
    /// journal is not involved: batches below are not in it.
    Sync {
        /// Everything below is to be safe.
        upto: Offset,
    },
    /// Answer a producer.
    Answer {
        /// Whom.
        to: R,
        /// With what.
        with: Result<Appended, AppendError>,
    },
    /// Wake a reader: it looks again.
    Ring {
        /// Its bell.
        bell: B,
    },
    /// A marker aborted this: into the index of aborted transactions, before the marker's batch is readable.
    RememberAborted {
        /// What was aborted.
        aborted: Aborted,
    },
    /// Ask the transaction's coordinator whether this partition is part of it, or have it join. Reported by `joined`.
    Join {
        /// Told again in the report.
        ask: u64,
        /// The transaction.
        transaction: Joining,
        /// Who writes it.
        producer: ProducerId,
        /// Under which epoch.
        epoch: ProducerEpoch,
    },
    /// The log begins here from now on: into the journal and the facts, before the next append is hardened.
    MoveStart {
        /// The new log start.
        to: Offset,
    },
    /// A reign begins: into the facts, before its first batch is written.
    RememberEpoch {
        /// The reign.
        epoch: LeaderEpoch,
        /// Its first offset.
        start: Offset,
    },
}

/// How a transactional batch comes: its transaction, and how the partition gets to be part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joining {
    /// The transactional id.
    pub id: Arc<str>,
    /// The first write makes the partition part of the transaction (KIP-890 part 2, Produce from version 12); before, the
    /// client said so to the coordinator, and it is only verified (part 1).
    pub implicit: bool,
}

/// A batch is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record.
    pub base: Offset,
    /// The time every record got, Unix milliseconds; -1 on topics with CreateTime. A duplicate is answered with the
    /// timestamp that the first one was stored with, as Kafka does.
    pub append_time: i64,
    /// Where the log begins.
    pub log_start: Offset,
}

/// Why a batch is not appended, or (timed out) not known to be safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The partition is led elsewhere, or not yet recovered (NOT_LEADER_OR_FOLLOWER).
    #[error("this replica does not lead the partition")]
    NotHere,
    /// A batch of this producer is missing before this one (OUT_OF_ORDER_SEQUENCE_NUMBER).
    #[error("sequence {got} does not follow, {expected} is expected")]
    OutOfOrder {
        /// The sequence that comes next.
        expected: Sequence,
        /// The sequence of the batch's first record.
        got: Sequence,
    },
    /// A newer session of this producer has written (INVALID_PRODUCER_EPOCH).
    #[error("producer epoch {got} is fenced by {by}")]
    Fenced {
        /// The epoch that has written.
        by: ProducerEpoch,
        /// The epoch of the batch.
        got: ProducerEpoch,
    },
    /// Fewer replicas are in sync than `min.insync.replicas` asks for (NOT_ENOUGH_REPLICAS).
    #[error("min.insync.replicas is {need}, in sync are {have}: the batch is not appended")]
    NotEnoughReplicas {
        /// Replicas asked for.
        need: u32,
        /// Replicas in sync.
        have: u32,
    },
    /// The producer's patience ended before the batch was safe; the batch stays in the log (REQUEST_TIMED_OUT).
    #[error("the batch was not safe in time; it stays in the log")]
    TimedOut,
    /// The disk refused (KAFKA_STORAGE_ERROR).
    #[error("the data directory could not store the batch")]
    Storage,
    /// The batch breaks a rule (INVALID_RECORD).
    #[error("{0}")]
    Invalid(String),
    /// `limits.parked_max` appends of this partition wait already; nothing was appended (REQUEST_TIMED_OUT: the producer tries again).
    #[error("too many appends of this partition wait for the disk")]
    TooManyParked,
    /// The batch does not fit the producer's transaction (INVALID_TXN_STATE).
    #[error("{0}")]
    InvalidTransaction(&'static str),
    /// The coordinator does not let the partition into the transaction.
    #[error("{0}")]
    NotJoined(TransactionError),
    /// A marker of a coordinator whose reign is over (TRANSACTION_COORDINATOR_FENCED).
    #[error("the coordinator's epoch {got} is fenced by {by}")]
    CoordinatorFenced {
        /// The reign that has written a marker.
        by: i32,
        /// The reign of this one.
        got: i32,
    },
}

impl From<SequenceError> for AppendError {
    fn from(error: SequenceError) -> Self {
        match error {
            SequenceError::Fenced { by, got } => Self::Fenced { by, got },
            SequenceError::OutOfOrder { expected, got } => Self::OutOfOrder { expected, got },
        }
    }
}

/// A reader's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAsk {
    /// The first offset wanted.
    pub from: Offset,
    /// The reign the reader believes in (KIP-320).
    pub current_epoch: Option<LeaderEpoch>,
    /// The reign of the last record it has (KIP-595): whether the logs diverge is told from it.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// Only up to the last stable offset (`isolation.level=read_committed`).
    pub committed_only: bool,
}

/// What a reader may read. Everything in `from..upto` is immutable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBounds {
    /// The first offset wanted.
    pub from: Offset,
    /// One past the last offset that may be read; `from` when there is nothing (yet).
    pub upto: Offset,
    /// Below it everything is on every in-sync replica.
    pub high_watermark: Offset,
    /// Below it every transaction has ended.
    pub stable: Offset,
    /// Where the log begins.
    pub log_start: Offset,
    /// The reader's log is not a prefix of this one: the reign and the offset up to which they agree at most.
    pub diverging: Option<(LeaderEpoch, Offset)>,
}

/// Why nothing can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The partition is led elsewhere, or not yet recovered (NOT_LEADER_OR_FOLLOWER).
    #[error("this replica does not lead the partition")]
    NotHere,
    /// Outside of the log (OFFSET_OUT_OF_RANGE).
    #[error("the log holds {log_start} to {end}")]
    OffsetOutOfRange {
        /// Where the log begins.
        log_start: Offset,
        /// Where it ends.
        end: Offset,
    },
    /// The reader believes in an older reign (FENCED_LEADER_EPOCH).
    #[error("the leader epoch is {current} already")]
    FencedEpoch {
        /// The reign.
        current: LeaderEpoch,
    },
    /// The reader knows of a reign that has not come here (UNKNOWN_LEADER_EPOCH).
    #[error("the leader epoch is only {current} here")]
    UnknownEpoch {
        /// The reign.
        current: LeaderEpoch,
    },
    /// `limits.watchers_max` readers wait for this partition already: answer with what there is, do not wait.
    #[error("too many readers wait for this partition")]
    TooManyWaiting,
    /// The data directory is lost (KAFKA_STORAGE_ERROR).
    #[error("the data directory of the partition is offline")]
    Storage,
}

/// Why records are not deleted (DeleteRecords, KIP-107).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// The partition is led elsewhere, or not yet recovered (NOT_LEADER_OR_FOLLOWER).
    #[error("this replica does not lead the partition")]
    NotHere,
    /// Negative, or beyond the high watermark (OFFSET_OUT_OF_RANGE).
    #[error("records can be deleted up to the high watermark, {high_watermark}")]
    OffsetOutOfRange {
        /// The high watermark.
        high_watermark: Offset,
    },
    /// The topic is compacted only (POLICY_VIOLATION).
    #[error("records of a topic with cleanup.policy=compact cannot be deleted by offset")]
    Compacted,
    /// The data directory is lost (KAFKA_STORAGE_ERROR).
    #[error("the data directory of the partition is offline")]
    Storage,
}
