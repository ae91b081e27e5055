//! What a leader does for transactions: batches wait until the coordinator has let the partition in, markers end them.
//!
//! ```text
//!   transactional batch --open here?--yes--> appended like any other
//!                             | no
//!                             '--> held --Join--> coordinator --joined--> appended, in the order of sequences
//! ```
//!
//! A marker makes an end of what is held for its producer: a late word of the coordinator about a transaction that has
//! ended would else open one that nobody ends (KIP-890's verification guard). What is held for the producer's next session
//! waits on: under version 2 a client begins its next transaction while the markers of the last one are on their way.

use std::collections::VecDeque;

use super::{
    Acks, AppendError, Appended, Effect, Joining,
    held::Held,
    leader::{DISK_PATIENCE_MS, Leader, State},
};
use crate::{
    batch::{Batch, Header, marker::Marker},
    ids::{ProducerEpoch, ProducerId, Sequence},
    planted,
    time::Now,
    transaction::{Protocol, TransactionError},
};

/// How long a batch of a transaction may wait, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the word of the coordinator. Then it is refused.
    pub held_ms: u64,
    /// Until it is safe. Then it stays, and its producer does not know.
    pub safe_ms: u64,
}

impl Patience {
    /// Of a producer that says `timeout_ms`, which is meant for replicas: the coordinator has no less time than the disk.
    #[must_use]
    pub fn of_producer(timeout_ms: u64) -> Self {
        Self { held_ms: timeout_ms.max(DISK_PATIENCE_MS), safe_ms: timeout_ms }
    }
}

/// A marker to be written (WriteTxnMarkers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose transaction ends.
    pub producer: ProducerId,
    /// Under which epoch.
    pub epoch: ProducerEpoch,
    /// How, and who says so.
    pub marker: Marker,
    /// The rules of the transaction.
    pub protocol: Protocol,
}

impl<R, B> Leader<R, B> {
    /// [`Leader::append`] for a batch of a transaction. Where the transaction is not open in this partition the
    /// coordinator is asked first, and later batches of the same session wait behind this one; not longer than `patience` says.
    #[expect(clippy::too_many_arguments, reason = "as `append`, and the transaction")]
    pub fn append_in(
        &mut self,
        transaction: &Joining,
        batch: Batch,
        acks: Acks,
        patience: Patience,
        to: R,
        now: Now,
        out: &mut Vec<Effect<R, B>>,
    ) {
        let safe_by = now.after(self.patience(acks, patience.safe_ms));
        let header = batch.header();
        let (producer, epoch) = (header.producer_id, header.producer_epoch);
        let waiting = self.held.epoch_of(producer);
        if let Some(by) = waiting.filter(|waiting| epoch < *waiting) {
            return out.push(Effect::Answer { to, with: Err(AppendError::Fenced { by, got: epoch }) });
        }
        if waiting != Some(epoch) {
            if waiting.is_none() && (!header.attributes.is_transactional() || self.is_known_here(header)) {
                return self.take(batch, acks, safe_by, to, now, out);
            }
            // Fenced, out of order, too many: refused now, before anyone is asked.
            let admitted = self.admit(&batch, acks).and_then(|_| self.admit_beginning(transaction, header));
            if let Err(error) = admitted {
                return out.push(Effect::Answer { to, with: Err(error) });
            }
            self.fence_held(producer, epoch, out);
        } else if let Err(error) = self.admit_held() {
            return out.push(Effect::Answer { to, with: Err(error) });
        }
        self.held.note(batch.header(), now, self.limits.producers_max);
        let held = Held { batch, acks, deadline: now.after(patience.held_ms), safe_by, to };
        if let Some(ask) = self.held.push(transaction, held) {
            out.push(Effect::Join { ask, transaction: transaction.clone(), producer, epoch });
        }
    }

    /// What waits in an older session goes: the coordinator's word about a zombie is none about its successor (Kafka's
    /// `AddPartitionsToTxnManager.addTxnData`). An answer that comes late has the number of another question.
    fn fence_held(&mut self, producer: ProducerId, by: ProducerEpoch, out: &mut Vec<Effect<R, B>>) {
        for held in self.held.take(producer) {
            let got = held.batch.header().producer_epoch;
            out.push(Effect::Answer { to: held.to, with: Err(AppendError::Fenced { by, got }) });
        }
    }

    /// Under version 2 each transaction of a producer is a session of its own, whose first batch in a partition has sequence 0:
    /// of a producer that nothing is known of, another batch is one behind a batch that is missing. As Kafka's
    /// `ProducerAppendInfo.checkSequence`; who has no transaction, or one of version 1, may begin anywhere.
    fn admit_beginning(&self, transaction: &Joining, header: &Header) -> Result<(), AppendError> {
        let got = header.base_sequence;
        if !transaction.implicit || got.0 <= 0 || self.producers.epochs_of(header.producer_id).is_some() {
            return Ok(());
        }
        Err(AppendError::OutOfOrder { expected: Sequence(0), got })
    }

    /// Of a producer that nothing is known of any batch would do, but not one behind a batch that has waited here and was refused:
    /// that one comes again.
    fn admit_behind(&self, header: &Header) -> Result<(), AppendError> {
        let got = header.base_sequence;
        self.held
            .missing_before(header)
            .map_or(Ok(()), |expected| Err(AppendError::OutOfOrder { expected, got }))
    }

    /// Whether the coordinator need not be asked: the batch's transaction is open here, or the batch is in the log already. What
    /// is open under an older epoch is another transaction, whose marker has not come yet (Kafka's `hasOngoingTransaction`).
    pub(super) fn is_known_here(&self, header: &Header) -> bool {
        let is_open = self.producers.transactions().open_since(header.producer_id).is_some();
        let epoch = self.producers.epochs_of(header.producer_id).map(|(epoch, _)| epoch);
        let is_same = epoch == Some(header.producer_epoch) || planted::is(planted::Bug::LateMarkerIgnored);
        is_open && is_same || self.producers.is_duplicate(header)
    }

    /// What the coordinator says to the question `ask` of [`Effect::Join`]: the batches that waited for it are appended,
    /// or refused.
    pub fn joined(
        &mut self,
        producer: ProducerId,
        ask: u64,
        result: Result<(), TransactionError>,
        now: Now,
        out: &mut Vec<Effect<R, B>>,
    ) {
        let Some((transaction, waiting)) = self.held.take_answered(producer, ask) else { return };
        for Held { batch, acks, deadline: _, safe_by, to } in waiting {
            let joined = match &result {
                Ok(()) => self
                    .admit_beginning(&transaction, batch.header())
                    .and_then(|()| self.admit_behind(batch.header())),
                Err(error) => Err(AppendError::NotJoined(*error)),
            };
            match joined {
                Ok(()) => self.take(batch, acks, safe_by, to, now, out),
                Err(error) => out.push(Effect::Answer { to, with: Err(error) }),
            }
        }
    }

    /// Writes a marker: the producer's transaction here, if it has one, is over. Answered once the marker is as safe as
    /// acks=all makes it, however long that takes: what takes long is on its way, and would be there twice if it were sent again.
    pub fn mark(&mut self, mark: Mark, to: R, now: Now, out: &mut Vec<Effect<R, B>>) {
        if let Err(error) = self.admit_marker(&mark) {
            return out.push(Effect::Answer { to, with: Err(error) });
        }
        let waits_on = mark.protocol == Protocol::V2
            && self.held.epoch_of(mark.producer).is_some_and(|epoch| epoch >= mark.epoch);
        let ended = if waits_on { VecDeque::new() } else { self.held.take(mark.producer) };
        for held in ended {
            let with = Err(AppendError::InvalidTransaction("the transaction has ended before this batch"));
            out.push(Effect::Answer { to: held.to, with });
        }
        let batch = mark.marker.batch(mark.producer, mark.epoch, now);
        let (base, append_time) = self.stage(batch, now, out);
        if let Some(aborted) = self.producers.marked(mark.producer, base, mark.marker)
            && !planted::is(planted::Bug::AbortedForgotten)
        {
            out.push(Effect::RememberAborted { aborted });
        }
        self.park(
            base.plus(1),
            Appended { base, append_time, log_start: self.log_start },
            Acks::All,
            now.after(u64::MAX),
            to,
        );
    }

    /// A coordinator that was replaced is refused, and a marker of an epoch that is over: under version 2 every end raises
    /// the epoch, so that only a marker that was written before may come again with the same one.
    fn admit_marker(&self, mark: &Mark) -> Result<(), AppendError> {
        match self.state {
            State::Leading => (),
            State::Retired => return Err(AppendError::NotHere),
            State::Lost => return Err(AppendError::Storage),
        }
        let Some((epoch, coordinator)) = self.producers.epochs_of(mark.producer) else { return Ok(()) };
        let got = mark.marker.coordinator_epoch;
        if got < coordinator {
            return Err(AppendError::CoordinatorFenced { by: coordinator, got });
        }
        let is_open = self.producers.transactions().open_since(mark.producer).is_some();
        let is_new = mark.protocol == Protocol::V1 || mark.epoch > epoch || !is_open;
        if mark.epoch < epoch || !is_new {
            return Err(AppendError::Fenced { by: epoch, got: mark.epoch });
        }
        Ok(())
    }

    /// A reign that ends, or loses its disk, appends nothing of what waits.
    pub(super) fn refuse_held(&mut self, error: &AppendError, out: &mut Vec<Effect<R, B>>) {
        for held in self.held.take_all() {
            out.push(Effect::Answer { to: held.to, with: Err(error.clone()) });
        }
    }

    /// Patience has ended for batches that wait for the coordinator. Whoever sent one with acks=0 is told, too: it is not
    /// in the log.
    pub(super) fn tick_held(&mut self, now: Now, out: &mut Vec<Effect<R, B>>) {
        for held in self.held.take_due(now) {
            let with = Err(AppendError::NotJoined(TransactionError::Concurrent));
            out.push(Effect::Answer { to: held.to, with });
        }
    }
}

#[cfg(test)]
#[path = "transactional_tests.rs"]
mod tests;
