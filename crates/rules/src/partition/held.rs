//! Batches that wait until their transaction's coordinator has spoken, in the order of their sequences.

use std::collections::{BTreeMap, VecDeque};

use super::{Acks, Joining};
use crate::{
    batch::{Batch, Header},
    ids::{ProducerEpoch, ProducerId, Sequence},
    time::{Deadline, Now},
};

/// A batch that is not appended yet.
#[derive(Debug)]
pub(super) struct Held<R> {
    pub(super) batch: Batch,
    pub(super) acks: Acks,
    /// It waits for the coordinator no longer.
    pub(super) deadline: Deadline,
    /// Its producer waits for its being safe no longer.
    pub(super) safe_by: Deadline,
    pub(super) to: R,
}

/// The batches of one producer, all of one session.
#[derive(Debug)]
struct Line<R> {
    ask: u64,
    transaction: Joining,
    waiting: VecDeque<Held<R>>,
}

/// All batches that wait, by producer.
#[derive(Debug)]
pub(super) struct AllHeld<R> {
    lines: BTreeMap<ProducerId, Line<R>>,
    bytes: usize,
    asks: u64,
    /// The first batch of each producer that has waited since it last wrote.
    lowest: BTreeMap<ProducerId, Lowest>,
}

/// What must not be passed by: were a later batch taken after the first was refused, that one would be out of order whenever it came
/// again (Kafka's `VerificationStateEntry`).
#[derive(Clone, Copy, Debug)]
struct Lowest {
    epoch: ProducerEpoch,
    sequence: Sequence,
    /// When it was last sent, Unix milliseconds.
    sent_ms: i64,
}

impl<R> AllHeld<R> {
    pub(super) fn new() -> Self {
        Self { lines: BTreeMap::new(), bytes: 0, asks: 0, lowest: BTreeMap::new() }
    }

    /// Bytes of batches that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many batches wait.
    pub(super) fn len(&self) -> usize {
        self.lines.values().map(|line| line.waiting.len()).sum()
    }

    /// The session that the batches of this producer wait in, if there are any: the coordinator was asked about that one.
    pub(super) fn epoch_of(&self, producer: ProducerId) -> Option<ProducerEpoch> {
        self.lines.get(&producer)?.waiting.front().map(|held| held.batch.header().producer_epoch)
    }

    /// Puts a batch behind those of its producer that wait already. The number of the question when it is the first.
    pub(super) fn push(&mut self, transaction: &Joining, held: Held<R>) -> Option<u64> {
        self.bytes += held.batch.len();
        let producer = held.batch.header().producer_id;
        if let Some(line) = self.lines.get_mut(&producer) {
            line.waiting.push_back(held);
            return None;
        }
        self.asks += 1;
        let line = Line { ask: self.asks, transaction: transaction.clone(), waiting: VecDeque::from([held]) };
        self.lines.insert(producer, line);
        Some(self.asks)
    }

    /// Notes a batch that is about to wait, of `max` producers at most: what is not noted is not guarded.
    pub(super) fn note(&mut self, header: &Header, now: Now, max: usize) {
        let (epoch, sequence) = (header.producer_epoch, header.base_sequence);
        let known = self.lowest.get(&header.producer_id).filter(|known| known.epoch >= epoch);
        let is_first = known.is_none_or(|known| known.epoch == epoch && is_behind(known.sequence, sequence));
        let sequence = if is_first { sequence } else { known.map_or(sequence, |known| known.sequence) };
        let epoch = known.map_or(epoch, |known| known.epoch);
        if self.lowest.len() < max || self.lowest.contains_key(&header.producer_id) {
            self.lowest.insert(header.producer_id, Lowest { epoch, sequence, sent_ms: now.wall_ms });
        }
    }

    /// The batch that has to come before this one.
    pub(super) fn missing_before(&self, header: &Header) -> Option<Sequence> {
        let lowest = self.lowest.get(&header.producer_id)?;
        let is_missing =
            lowest.epoch == header.producer_epoch && is_behind(header.base_sequence, lowest.sequence);
        is_missing.then_some(lowest.sequence)
    }

    /// The producer has written, or its transaction has ended: what follows is judged by what is in the log.
    pub(super) fn wrote(&mut self, producer: ProducerId) {
        self.lowest.remove(&producer);
    }

    /// Forgets what was sent longer than `ms` milliseconds ago, as producers are.
    pub(super) fn expire(&mut self, now: Now, ms: u64) {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        self.lowest.retain(|_, lowest| now.wall_ms.saturating_sub(lowest.sent_ms) < ms);
    }

    /// The batches that waited for the answer to this question, unless a marker has made an end of them meanwhile.
    pub(super) fn take_answered(
        &mut self,
        producer: ProducerId,
        ask: u64,
    ) -> Option<(Joining, VecDeque<Held<R>>)> {
        self.lines.get(&producer).filter(|line| line.ask == ask)?;
        let line = self.lines.remove(&producer)?;
        self.bytes -= line.waiting.iter().map(|held| held.batch.len()).sum::<usize>();
        Some((line.transaction, line.waiting))
    }

    /// Everything of one producer, whatever is answered later.
    pub(super) fn take(&mut self, producer: ProducerId) -> VecDeque<Held<R>> {
        let ask = self.lines.get(&producer).map_or(0, |line| line.ask);
        self.take_answered(producer, ask).map(|(_, waiting)| waiting).unwrap_or_default()
    }

    /// Everything.
    pub(super) fn take_all(&mut self) -> Vec<Held<R>> {
        self.bytes = 0;
        std::mem::take(&mut self.lines).into_values().flat_map(|line| line.waiting).collect()
    }

    /// Those whose time is over. When the first of a producer goes, all behind it go: they could not be appended without it.
    pub(super) fn take_due(&mut self, now: Now) -> Vec<Held<R>> {
        let is_due = |line: &Line<R>| line.waiting.iter().any(|held| held.deadline.is_due(now));
        let due: Vec<_> =
            self.lines.iter().filter(|(_, line)| is_due(line)).map(|(producer, _)| *producer).collect();
        due.into_iter().flat_map(|producer| self.take(producer)).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.lines.values().flat_map(|line| &line.waiting).map(|held| held.deadline).min()
    }
}

/// Whether a sequence comes after another: behind the largest they begin anew.
fn is_behind(sequence: Sequence, other: Sequence) -> bool {
    (1..1 << 30).contains(&(sequence.0.wrapping_sub(other.0) & i32::MAX))
}
