//! Idempotent producers of one partition: which of their batches are already in the log, and which one comes next
//! (KIP-98; Kafka's `ProducerStateManager`, `ProducerAppendInfo`, `ProducerStateEntry`).

use std::collections::{BTreeMap, VecDeque};

use crate::{
    batch::{Header, marker::Marker},
    ids::{Offset, ProducerEpoch, ProducerId, Sequence},
    partition::transactions::{Aborted, Transactions},
    planted::{self, Bug},
    time::Now,
};

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
    /// The reign of the transaction coordinator that ended its last transaction; -1 before the first.
    pub coordinator_epoch: i32,
    /// Where the transaction begins that it has open.
    pub open_since: Option<Offset>,
}

/// The producers of one partition.
///
/// | batch of the newest epoch | verdict |
/// |---|---|
/// | same first and last sequence as one of the last five | duplicate; asked before the order is |
/// | begins where the last one ended (0 after 2^31 - 1) | new |
/// | anything else | out of order |
///
/// An older epoch is fenced, a newer one has to begin at 0, and a producer that is not known (never seen, expired,
/// forgotten for want of room) may begin anywhere: its client goes on where it was.
#[derive(Clone, Debug)]
pub struct Producers {
    by_id: BTreeMap<ProducerId, Producer>,
    /// Who wrote when, in the order of writing: the first is forgotten first.
    by_age: BTreeMap<u64, ProducerId>,
    transactions: Transactions,
    /// Markers that raised an epoch and may still fail to be written, in the order of the log.
    raised: VecDeque<Raised>,
    writes: u64,
    max: usize,
}

/// A marker of a later epoch than its producer had (version 2: each has).
#[derive(Clone, Copy, Debug)]
struct Raised {
    base: Offset,
    producer: ProducerId,
    before: ProducerEpoch,
}

/// So many are remembered while a log is replayed, of which only the end may be cut.
const RAISED_MAX: usize = 1_024;

/// About 150 bytes: a partition may have very many producers, most of them gone for good.
#[derive(Clone, Debug)]
struct Producer {
    epoch: ProducerEpoch,
    next_sequence: Sequence,
    last_write_ms: i64,
    /// Its place in `by_age`.
    age: u64,
    coordinator_epoch: i32,
    window: [RememberedBatch; WINDOW],
    n_window: u8,
}

impl Producers {
    /// No producers yet; at most `max` (at least one) are remembered (`limits.producers_max`), then the one that has not
    /// written for longest is forgotten: its next batch is taken with any sequence.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            by_id: BTreeMap::new(),
            by_age: BTreeMap::new(),
            transactions: Transactions::new(),
            raised: VecDeque::new(),
            writes: 0,
            max: max.max(1),
        }
    }

    /// Judges a batch before it is appended. Batches without a producer, and control batches, are always new; so is what a
    /// coordinator writes in the name of a producer, without a sequence, unless its epoch is over.
    ///
    /// # Errors
    /// [`SequenceError::Fenced`] for an old epoch, [`SequenceError::OutOfOrder`] for any sequence but the next.
    pub fn check(&self, header: &Header) -> Result<Verdict, SequenceError> {
        if !header.has_producer() || header.attributes.is_control() || planted::is(Bug::DedupForgotten) {
            return Ok(Verdict::New);
        }
        let Some(producer) = self.by_id.get(&header.producer_id) else { return Ok(Verdict::New) };
        let got = header.producer_epoch;
        if got < producer.epoch {
            return Err(SequenceError::Fenced { by: producer.epoch, got });
        }
        if !has_sequence(header) {
            return Ok(Verdict::New);
        }
        let expected = if got > producer.epoch { Sequence(0) } else { producer.next_sequence };
        if got == producer.epoch
            && let Some(twin) = producer.window().iter().find(|batch| batch.is_twin(header))
        {
            return Ok(Verdict::Duplicate { base: twin.base, timestamp: twin.timestamp });
        }
        if header.base_sequence != expected {
            return Err(SequenceError::OutOfOrder { expected, got: header.base_sequence });
        }
        Ok(Verdict::New)
    }

    /// Whether this very batch is in the log already.
    #[must_use]
    pub fn is_duplicate(&self, header: &Header) -> bool {
        matches!(self.check(header), Ok(Verdict::Duplicate { .. }))
    }

    /// Remembers a batch that has been given its place (`base`, and `timestamp`: [`crate::batch::Stamped::max_timestamp`]).
    pub fn update(&mut self, header: &Header, base: Offset, timestamp: i64, now: Now) {
        if !header.has_producer() {
            return;
        }
        let producer = self.touch(header, now);
        let before = producer.epoch;
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.next_sequence = Sequence(0);
            producer.n_window = 0;
        }
        if has_sequence(header) {
            producer.next_sequence = header.last_sequence().plus(1);
            let (base_sequence, last_offset_delta) = (header.base_sequence, header.last_offset_delta);
            producer.remember(RememberedBatch { base, base_sequence, last_offset_delta, timestamp });
        }
        if header.attributes.is_transactional() && !header.attributes.is_control() {
            self.transactions.wrote(header.producer_id, base);
        }
        if header.attributes.is_control() && before != header.producer_epoch {
            self.raised.push_back(Raised { base, producer: header.producer_id, before });
        }
    }

    /// Remembers a marker that has been given its place, after [`Producers::update`] has its header. What it aborted, if it
    /// aborted something.
    pub fn marked(&mut self, producer: ProducerId, base: Offset, marker: Marker) -> Option<Aborted> {
        if let Some(producer) = self.by_id.get_mut(&producer) {
            producer.coordinator_epoch = producer.coordinator_epoch.max(marker.coordinator_epoch);
        }
        self.transactions.ended(producer, base, marker.commit)
    }

    /// The epoch of a producer, and the reign of the coordinator that wrote its last marker.
    #[must_use]
    pub fn epochs_of(&self, producer: ProducerId) -> Option<(ProducerEpoch, i32)> {
        self.by_id.get(&producer).map(|producer| (producer.epoch, producer.coordinator_epoch))
    }

    /// The transactions.
    #[must_use]
    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// The high watermark has moved: transactions that ended below it are stable.
    pub fn settle(&mut self, high_watermark: Offset) {
        self.transactions.settle(high_watermark);
        while self.raised.front().is_some_and(|raised| raised.base < high_watermark) {
            self.raised.pop_front();
        }
    }

    /// Remembers a stored batch during recovery, without judging it. When it was written is not known any more: its own time counts,
    /// as in Kafka, unless its producer is known to have written later, for records may be of any age. A batch
    /// that is remembered already, because a snapshot reaches further than the place where the replay began, is passed over.
    pub fn replay(&mut self, header: &Header) {
        let known = self.by_id.get(&header.producer_id);
        if known.and_then(|known| known.window().last()).is_some_and(|last| header.base_offset <= last.base) {
            return;
        }
        let known_ms = known.map_or(header.max_timestamp, |known| known.last_write_ms);
        let now = Now { mono_ms: 0, wall_ms: header.max_timestamp.max(known_ms) };
        self.update(header, header.base_offset, header.max_timestamp, now);
        if self.raised.len() > RAISED_MAX {
            self.raised.pop_front();
        }
    }

    /// Forgets the batches at and beyond `to`: their write failed, or the log was cut there. The sequence they began with is
    /// expected again, so that a client's retry is taken; the epoch stays, because a client never goes back to an older one. Only
    /// what a marker raised is taken back: it comes again, and its transaction is open until then.
    ///
    /// Reaches back over at most [`WINDOW`] batches of each producer, as many as a client has in flight. After a deeper cut
    /// the state has to be made anew from the log, or the producer is told to begin a new epoch (out of order).
    pub fn rollback(&mut self, to: Offset) {
        self.transactions.rollback(to);
        while let Some(raised) = self.raised.pop_back_if(|raised| raised.base >= to) {
            if let Some(producer) = self.by_id.get_mut(&raised.producer) {
                producer.epoch = raised.before;
            }
        }
        for producer in self.by_id.values_mut() {
            let kept = producer.window().iter().take_while(|batch| batch.base < to).count();
            if let Some(first) = producer.window().get(kept) {
                producer.next_sequence = first.base_sequence;
                producer.n_window = kept as u8;
            }
        }
    }

    /// Forgets producers that have not written for `ms` milliseconds (`producer.id.expiration.ms`), but never one with an
    /// open transaction.
    pub fn expire(&mut self, now: Now, ms: u64) {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        let (by_age, transactions) = (&mut self.by_age, &self.transactions);
        self.by_id.retain(|id, producer| {
            let is_young = now.wall_ms.saturating_sub(producer.last_write_ms) < ms;
            let stays = is_young || transactions.open_since(*id).is_some();
            if !stays {
                by_age.remove(&producer.age);
            }
            stays
        });
    }

    /// All of them as plain data, the one that has not written for longest first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ProducerEntry> {
        let entry = |id: &ProducerId| {
            let producer = self.by_id.get(id)?;
            Some(ProducerEntry {
                id: *id,
                epoch: producer.epoch,
                last_write_ms: producer.last_write_ms,
                next_sequence: producer.next_sequence,
                batches: producer.window().to_vec(),
                coordinator_epoch: producer.coordinator_epoch,
                open_since: self.transactions.open_since(*id),
            })
        };
        self.by_age.values().filter_map(entry).collect()
    }

    /// What [`Producers::snapshot`] gave, with the bound `max` of [`Producers::new`].
    #[must_use]
    pub fn from_snapshot(entries: Vec<ProducerEntry>, max: usize) -> Self {
        let mut producers = Self::new(max);
        for entry in entries {
            let now = Now { mono_ms: 0, wall_ms: entry.last_write_ms };
            let producer = producers.touch_id(entry.id, entry.epoch, now);
            producer.next_sequence = entry.next_sequence;
            producer.n_window = 0;
            producer.coordinator_epoch = entry.coordinator_epoch;
            for batch in entry.batches {
                producer.remember(batch);
            }
            if let Some(first) = entry.open_since {
                producers.transactions.wrote(entry.id, first);
            }
        }
        producers
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn touch(&mut self, header: &Header, now: Now) -> &mut Producer {
        self.touch_id(header.producer_id, header.producer_epoch, now)
    }

    /// Who has not written for longest, and has no transaction open. When all have, there is room for one more: a producer
    /// that is forgotten in the middle of its transaction could not be fenced.
    fn first_to_forget(&self) -> Option<(u64, ProducerId)> {
        let mut oldest = self.by_age.iter().map(|(age, id)| (*age, *id));
        oldest.find(|(_, id)| self.transactions.open_since(*id).is_none())
    }

    /// The producer, made the youngest; a new one with this epoch when it is not known.
    fn touch_id(&mut self, id: ProducerId, epoch: ProducerEpoch, now: Now) -> &mut Producer {
        self.writes += 1;
        let age = self.writes;
        if self.by_id.len() >= self.max
            && !self.by_id.contains_key(&id)
            && let Some((age, oldest)) = self.first_to_forget()
        {
            self.by_age.remove(&age);
            self.by_id.remove(&oldest);
        }
        let producer = self.by_id.entry(id).or_insert_with(|| Producer::new(epoch, age));
        self.by_age.remove(&producer.age);
        self.by_age.insert(age, id);
        producer.age = age;
        producer.last_write_ms = now.wall_ms;
        producer
    }
}

/// What the broker writes in the name of a producer has its epoch and no sequence: markers, and offsets of a transaction.
fn has_sequence(header: &Header) -> bool {
    !header.attributes.is_control() && header.base_sequence.0 >= 0
}

impl Producer {
    fn new(epoch: ProducerEpoch, age: u64) -> Self {
        let nothing = RememberedBatch {
            base: Offset::ZERO,
            base_sequence: Sequence(0),
            last_offset_delta: 0,
            timestamp: -1,
        };
        let window = [nothing; WINDOW];
        Self {
            epoch,
            next_sequence: Sequence(0),
            last_write_ms: 0,
            age,
            coordinator_epoch: -1,
            window,
            n_window: 0,
        }
    }

    fn window(&self) -> &[RememberedBatch] {
        &self.window[..usize::from(self.n_window)]
    }

    fn remember(&mut self, batch: RememberedBatch) {
        if usize::from(self.n_window) == WINDOW {
            self.window.rotate_left(1);
            self.n_window -= 1;
        }
        self.window[usize::from(self.n_window)] = batch;
        self.n_window += 1;
    }
}

impl RememberedBatch {
    fn is_twin(&self, header: &Header) -> bool {
        self.base_sequence == header.base_sequence && self.last_offset_delta == header.last_offset_delta
    }
}

#[cfg(test)]
mod tests;
