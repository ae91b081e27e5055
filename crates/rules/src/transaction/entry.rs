//! One transactional id: its facts, and the facts that follow from each step.

use std::collections::BTreeSet;

use super::{Facts, Protocol, Session, Status, TopicPartition, TransactionError};
use crate::{
    ids::{ProducerEpoch, ProducerId},
    time::{Deadline, Now},
};

/// The epoch of a producer that has had no session.
pub(super) const NO_EPOCH: ProducerEpoch = ProducerEpoch(-1);
/// From here on a session gets no further epoch: the last number is kept for fencing (Kafka's `isEpochExhausted`).
const EPOCH_EXHAUSTED: i16 = i16::MAX - 1;

/// What the coordinator knows of one id.
#[derive(Debug)]
pub(super) struct Entry<R> {
    pub(super) facts: Facts,
    /// The epoch before the last raise, so that a retry of it is recognised (KIP-360). Not kept on the disk.
    pub(super) last_epoch: ProducerEpoch,
    pub(super) doing: Doing<R>,
    /// When the transaction under way is aborted; of a step under way, when whoever waits for it is told that it takes long.
    pub(super) expires: Option<Deadline>,
}

/// What an id is busy with. One step at a time.
#[derive(Debug)]
pub(super) enum Doing<R> {
    Nothing,
    /// The record of the next facts is on its way.
    Writing(Box<Step<R>>),
    /// The outcome is safe; these partitions have not been told.
    Marking(BTreeSet<TopicPartition>),
    /// The tombstone is on its way.
    Forgetting,
}

/// A step whose record is being written.
#[derive(Debug)]
pub(super) struct Step<R> {
    pub(super) facts: Facts,
    pub(super) last_epoch: ProducerEpoch,
    /// Who is answered, and with what, once it is safe; nobody any more when that takes long.
    pub(super) answers: Vec<(R, Result<Session, TransactionError>)>,
}

impl Facts {
    /// An id that nobody has used.
    pub(super) fn new(producer: ProducerId, timeout_ms: i32, now: Now) -> Self {
        Self {
            producer,
            previous: ProducerId::NONE,
            next: ProducerId::NONE,
            epoch: NO_EPOCH,
            timeout_ms,
            status: Status::Empty,
            partitions: BTreeSet::new(),
            updated_ms: now.wall_ms,
            started_ms: -1,
            protocol: Protocol::V1,
        }
    }

    /// The session that the producer has now.
    pub(super) fn session(&self) -> Session {
        Session { producer: self.producer, epoch: self.epoch }
    }

    /// Whether the next session needs a new producer id.
    pub(super) fn is_exhausted(&self) -> bool {
        self.epoch.0 >= EPOCH_EXHAUSTED
    }

    /// A new session with this epoch.
    pub(super) fn begun(&self, epoch: ProducerEpoch, timeout_ms: i32, now: Now) -> Self {
        Self {
            epoch,
            timeout_ms,
            status: Status::Empty,
            partitions: BTreeSet::new(),
            updated_ms: now.wall_ms,
            started_ms: -1,
            next: ProducerId::NONE,
            ..self.clone()
        }
    }

    /// A new session with a new producer id.
    pub(super) fn rotated(&self, producer: ProducerId, timeout_ms: i32, now: Now) -> Self {
        Self { producer, previous: self.producer, ..self.begun(ProducerEpoch(0), timeout_ms, now) }
    }

    /// These partitions are part of the transaction too.
    pub(super) fn joined(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        protocol: Protocol,
        now: Now,
    ) -> Self {
        let mut joined = Self { status: Status::Ongoing, updated_ms: now.wall_ms, protocol, ..self.clone() };
        joined.partitions.extend(partitions);
        if self.status != Status::Ongoing {
            joined.started_ms = now.wall_ms;
        }
        joined
    }

    /// The outcome is decided. The epoch is raised by whoever fences the producer, and by every end under the rules of
    /// version 2; the markers have the raised one. `next` takes over when the epochs have run out.
    pub(super) fn prepared(&self, commit: bool, raise: bool, next: Option<ProducerId>, now: Now) -> Self {
        let mut prepared = Self {
            status: if commit { Status::PrepareCommit } else { Status::PrepareAbort },
            updated_ms: now.wall_ms,
            next: next.unwrap_or(ProducerId::NONE),
            ..self.clone()
        };
        if raise {
            // Not beyond the last number: only markers have that, and `next` comes with them.
            prepared.epoch = ProducerEpoch(self.epoch.0.saturating_add(1));
        }
        if self.status != Status::Ongoing {
            prepared.started_ms = now.wall_ms;
        }
        prepared
    }

    /// Every partition has been told.
    pub(super) fn completed(&self, now: Now) -> Self {
        let commit = self.status == Status::PrepareCommit;
        let mut completed = Self {
            status: if commit { Status::CompleteCommit } else { Status::CompleteAbort },
            partitions: BTreeSet::new(),
            updated_ms: now.wall_ms,
            ..self.clone()
        };
        if self.next != ProducerId::NONE {
            completed.previous = self.producer;
            completed.producer = self.next;
            completed.next = ProducerId::NONE;
            completed.epoch = ProducerEpoch(0);
        }
        completed
    }

    /// The session that follows once the transaction has ended.
    pub(super) fn session_after(&self) -> Session {
        if self.next == ProducerId::NONE {
            return self.session();
        }
        Session { producer: self.next, epoch: ProducerEpoch(0) }
    }
}

impl<R> Entry<R> {
    pub(super) fn new(facts: Facts) -> Self {
        Self { facts, last_epoch: NO_EPOCH, doing: Doing::Nothing, expires: None }
    }

    /// Whether a step is under way.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.doing, Doing::Nothing)
    }

    /// Whether a request says the producer id and epoch that this id has now.
    pub(super) fn check(&self, session: Session) -> Result<(), TransactionError> {
        if self.is_busy() {
            return Err(TransactionError::Concurrent);
        }
        self.check_session(session)
    }

    /// The same, whatever the id is busy with.
    pub(super) fn check_session(&self, session: Session) -> Result<(), TransactionError> {
        if session.producer != self.facts.producer {
            return Err(TransactionError::InvalidMapping);
        }
        if session.epoch != self.facts.epoch {
            return Err(TransactionError::Fenced);
        }
        Ok(())
    }

    /// Whether a session is over for good, whatever becomes of the step under way: the outcome of its transaction is safe, and the
    /// markers that are on their way have a later epoch. Of an end Kafka compares epochs first too; who joins it tells to come again.
    pub(super) fn is_fenced(&self, session: Session) -> bool {
        matches!(self.doing, Doing::Marking(_))
            && session.producer == self.facts.producer
            && session.epoch < self.facts.epoch
    }

    /// Whether a producer that says which session it had may have another (KIP-360): it has the current id, or the one
    /// before whose epochs ran out.
    pub(super) fn may_resume(&self, had: Session) -> bool {
        self.facts.epoch == NO_EPOCH
            || had.producer == self.facts.producer
            || had.producer == self.facts.previous && had.epoch.0 >= EPOCH_EXHAUSTED
    }
}
