//! The machine of a partition that leads: what is appended, when it is safe, who is told.
//!
//! Four ends, from the right: `end` (offsets given out), `written` (in the segment, so that it can be read), `persisted`
//! (survives a power cut), and the high watermark (readers and producers may rely on it). In durable mode
//! (`flush.messages=1`, the default) the high watermark follows `persisted`; otherwise `written`, as in Kafka.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Acks, AppendError, Appended, DeleteError, Effect,
    epochs::EpochHistory,
    held::AllHeld,
    parked::{Parked, Wait},
    watchers::Watchers,
};
use crate::{
    batch::{Batch, TimestampType},
    ids::{LeaderEpoch, Offset},
    limits::Limits,
    planted,
    producers::{Producers, Verdict},
    time::{Deadline, Now},
    topic_config::TopicConfig,
};

/// How often producers are looked through for those to forget (Kafka's `producer.id.expiration.check.interval.ms`).
const EXPIRE_EVERY_MS: u64 = 600_000;

/// How long a producer waits at least that waits for nobody but our own disk (clients' usual `request.timeout.ms`). What
/// `timeout.ms` bounds in Kafka is the wait for other replicas: who were refused sooner for a sync that takes long would
/// send again what is in the log already.
pub(super) const DISK_PATIENCE_MS: u64 = 30_000;

/// What recovery found: where a reign begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// The reign: larger than any before, also after a restart on the same node.
    pub epoch: LeaderEpoch,
    /// Where the log begins.
    pub log_start: Offset,
    /// Where it ends. Everything below is synced: recovery has seen to it.
    pub end: Offset,
    /// The producers, rebuilt from the log.
    pub producers: Producers,
    /// Earlier reigns.
    pub epochs: EpochHistory,
}

/// The leader of one partition. `R` is a token to answer a producer with, `B` one to wake a reader with.
///
/// The owner carries out effects in order and reports `written` or `write_failed` for each burst of writes before it
/// steps the machine with anything else that depends on them.
#[derive(Debug)]
pub struct Leader<R, B> {
    pub(super) state: State,
    pub(super) epoch: LeaderEpoch,
    pub(super) config: Arc<TopicConfig>,
    pub(super) limits: Arc<Limits>,
    replicas: u32,
    in_sync: u32,
    pub(super) log_start: Offset,
    pub(super) high_watermark: Offset,
    end: Offset,
    pub(super) written: Offset,
    persisted: Offset,
    /// Everything below is safe, or has been asked to be made safe.
    asked: Offset,
    /// On the step into durable mode: nothing beyond is journaled before everything below is in synced segments. A
    /// journal entry that does not go on where the synced segment ends would be a gap to recovery.
    sync_first: Option<Offset>,
    /// Page-cache mode: when the oldest batch that nobody has asked to be synced has waited for `flush.ms`.
    flush_at: Option<Deadline>,
    pub(super) producers: Producers,
    pub(super) epochs: EpochHistory,
    /// Batches beyond the high watermark: their bytes are still held for the disk.
    unsafe_yet: VecDeque<Unsafe>,
    unsafe_bytes: usize,
    parked: Parked<R>,
    /// Transactional batches that wait for the word of a coordinator.
    pub(super) held: AllHeld<R>,
    pub(super) watchers: Watchers<B>,
    /// When silent producers are forgotten next: not at once. Those that a recovery found may seem silent for years, because their
    /// records are old, and whoever's answer was lost with the broker sends again.
    expire_at: Option<Deadline>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Leading,
    /// Another replica leads, or the partition goes.
    Retired,
    /// A sync failed: what is on the disk is not known any more.
    Lost,
}

#[derive(Debug)]
struct Unsafe {
    end: Offset,
    bytes: usize,
}

impl<R, B> Leader<R, B> {
    /// A leader at the beginning of its reign. `replicas` are in sync, this one included.
    #[must_use]
    pub fn new(mut start: Start, config: Arc<TopicConfig>, limits: Arc<Limits>, replicas: usize) -> Self {
        // What ended before this reign is stable: recovery has synced it.
        start.producers.settle(start.end);
        assert!(start.log_start <= start.end, "a log from {} to {}", start.log_start, start.end);
        let replicas = u32::try_from(replicas).unwrap_or(u32::MAX);
        Self {
            state: State::Leading,
            epoch: start.epoch,
            config,
            limits,
            replicas,
            in_sync: replicas,
            log_start: start.log_start,
            high_watermark: start.end,
            end: start.end,
            written: start.end,
            persisted: start.end,
            asked: start.end,
            sync_first: None,
            flush_at: None,
            producers: start.producers,
            epochs: start.epochs,
            unsafe_yet: VecDeque::new(),
            unsafe_bytes: 0,
            parked: Parked::new(),
            held: AllHeld::new(),
            watchers: Watchers::new(),
            expire_at: None,
        }
    }

    /// Takes a batch and gives it its place, or refuses it at once. The answer comes when the batch is as safe as
    /// `acks` and the topic ask for, or after `patience_ms` (longer where only the disk is waited for); acks=0 goes the
    /// same way. A duplicate is answered like the first one, and not before it.
    pub fn append(
        &mut self,
        batch: Batch,
        acks: Acks,
        patience_ms: u64,
        to: R,
        now: Now,
        out: &mut Vec<Effect<R, B>>,
    ) {
        let header = batch.header();
        if header.attributes.is_transactional() && !self.is_known_here(header) {
            let why = "a batch of a transaction that has not been joined";
            return out.push(Effect::Answer { to, with: Err(AppendError::InvalidTransaction(why)) });
        }
        self.take(batch, acks, now.after(self.patience(acks, patience_ms)), to, now, out);
    }

    /// How long a producer waits that says `patience_ms`: only who waits for other replicas has a say in it, as in Kafka
    /// (`delayedProduceRequestRequired`).
    pub(super) fn patience(&self, acks: Acks, patience_ms: u64) -> u64 {
        if acks == Acks::All && self.in_sync > 1 { patience_ms } else { patience_ms.max(DISK_PATIENCE_MS) }
    }

    /// Takes a batch whose transaction, if it is part of one, is this partition's too.
    pub(super) fn take(
        &mut self,
        batch: Batch,
        acks: Acks,
        deadline: Deadline,
        to: R,
        now: Now,
        out: &mut Vec<Effect<R, B>>,
    ) {
        let verdict = match self.admit(&batch, acks) {
            Ok(verdict) => verdict,
            Err(error) => return out.push(Effect::Answer { to, with: Err(error) }),
        };
        let n_records = batch.n_records();
        let (base, append_time) = match verdict {
            Verdict::Duplicate { base, timestamp } => (base, timestamp),
            Verdict::New => self.stage(batch, now, out),
        };
        let until = base.plus(n_records);
        let appended = Appended { base, append_time, log_start: self.log_start };
        self.park(until, appended, acks, deadline, to);
        if until <= self.high_watermark {
            self.settle(out);
        }
    }

    pub(super) fn park(&mut self, until: Offset, told: Appended, acks: Acks, deadline: Deadline, to: R) {
        let Appended { base, append_time, .. } = told;
        self.parked.push(Wait { until, base, append_time, quiet: acks == Acks::None, deadline, to });
    }

    pub(super) fn admit(&self, batch: &Batch, acks: Acks) -> Result<Verdict, AppendError> {
        match self.state {
            State::Leading => (),
            State::Retired => return Err(AppendError::NotHere),
            State::Lost => return Err(AppendError::Storage),
        }
        let header = batch.header();
        if !header.attributes.is_transactional()
            && self.producers.transactions().open_since(header.producer_id).is_some()
        {
            return Err(AppendError::InvalidTransaction(
                "the producer has a transaction open in this partition",
            ));
        }
        // A topic cannot ask for more replicas than it has (KIP-966).
        let need = self.config.min_insync_replicas.min(self.replicas);
        if acks == Acks::All && need > self.in_sync {
            return Err(AppendError::NotEnoughReplicas { need, have: self.in_sync });
        }
        let verdict = self.producers.check(header)?;
        self.admit_held()?;
        Ok(verdict)
    }

    /// Whether there is room for one more batch that waits, for the disk or for a coordinator.
    pub(super) fn admit_held(&self) -> Result<(), AppendError> {
        let waiting = self.parked.len().max(self.unsafe_yet.len()) + self.held.len();
        let bytes = self.unsafe_bytes + self.held.bytes();
        if waiting >= self.limits.parked_max || bytes >= self.limits.queued_bytes_max {
            return Err(AppendError::TooManyParked);
        }
        Ok(())
    }

    /// Gives a batch its place; what its producer is told of it.
    pub(super) fn stage(&mut self, batch: Batch, now: Now, out: &mut Vec<Effect<R, B>>) -> (Offset, i64) {
        if self.epochs.latest() != Some(self.epoch) && self.epochs.remember(self.epoch, self.end) {
            out.push(Effect::RememberEpoch { epoch: self.epoch, start: self.end });
        }
        let append_time = match self.config.timestamp_type {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(now.wall_ms),
        };
        let header = batch.header().clone();
        if header.attributes.is_transactional() {
            self.held.wrote(header.producer_id);
        }
        let batch = batch.stamp(self.end, self.epoch, append_time);
        self.producers.update(&header, batch.base, batch.max_timestamp, now);
        self.end = batch.end;
        self.unsafe_bytes += batch.bytes.len();
        self.unsafe_yet.push_back(Unsafe { end: batch.end, bytes: batch.bytes.len() });
        let base = batch.base;
        out.push(Effect::Write { batch });
        (base, append_time.unwrap_or(-1))
    }

    /// Everything below `end` is in the segment.
    pub fn written(&mut self, end: Offset, now: Now, out: &mut Vec<Effect<R, B>>) {
        assert!(self.written <= end, "written up to {end}, but {} was written before", self.written);
        assert!(end <= self.end, "written up to {end}, beyond {}", self.end);
        self.written = end;
        if self.state == State::Leading {
            self.ask(now, out);
            self.settle(out);
        }
    }

    /// The burst that began at `from` is not in the segment: what was written of it has been cut back. Its producers
    /// are refused, their sequences and the offsets are free again. Batches staged after it are void too.
    pub fn write_failed(&mut self, from: Offset, now: Now, out: &mut Vec<Effect<R, B>>) {
        assert!(self.written <= from, "the write from {from} failed, but {} was written", self.written);
        assert!(from <= self.end, "the write from {from} failed, beyond {}", self.end);
        self.end = from;
        if !planted::is(planted::Bug::RefusedRemembered) {
            self.producers.rollback(from);
        }
        while self.unsafe_yet.back().is_some_and(|last| last.end > from) {
            let last = self.unsafe_yet.pop_back();
            self.unsafe_bytes -= last.map_or(0, |last| last.bytes);
        }
        for wait in self.parked.take_beyond(from) {
            out.push(Effect::Answer { to: wait.to, with: Err(AppendError::Storage) });
        }
        if self.state == State::Leading {
            self.sync_first = self.sync_first.map(|mark| mark.min(from));
            self.ask(now, out);
        }
    }

    /// Everything below `end` survives a power cut.
    pub fn persisted(&mut self, end: Offset, now: Now, out: &mut Vec<Effect<R, B>>) {
        assert!(end <= self.written, "persisted up to {end}, but only {} is written", self.written);
        // A sync and the journal may report out of order where a topic changes its mode.
        self.persisted = self.persisted.max(end);
        if self.state != State::Leading {
            return;
        }
        if self.sync_first.is_some_and(|mark| mark <= self.persisted) {
            self.sync_first = None;
            self.ask(now, out);
        }
        self.settle(out);
    }

    /// A sync failed. It is never tried again: the kernel may have dropped the pages and say nothing the second time.
    /// Everyone is refused from now on.
    pub fn persist_failed(&mut self, _now: Now, out: &mut Vec<Effect<R, B>>) {
        if self.state == State::Leading {
            self.leave(State::Lost, &AppendError::Storage, out);
        }
    }

    /// Other bounds from now on.
    pub fn limit(&mut self, limits: Arc<Limits>) {
        self.limits = limits;
    }

    /// Another configuration from the next batch on.
    pub fn configure(&mut self, config: Arc<TopicConfig>, now: Now, out: &mut Vec<Effect<R, B>>) {
        let was_durable = self.is_durable();
        self.config = config;
        if self.state != State::Leading {
            return;
        }
        match (was_durable, self.is_durable()) {
            (false, true) => {
                self.flush_at = None;
                self.sync_first = (self.persisted < self.end).then_some(self.end);
            }
            (true, false) => self.sync_first = None,
            (true, true) | (false, false) => self.flush_at = None,
        }
        self.ask(now, out);
        self.settle(out);
    }

    /// DeleteRecords: everything below `upto` (none: the high watermark) goes. Gives the log start; the client is
    /// answered once `Effect::MoveStart` is safe. A start that lies further ahead already stays.
    ///
    /// # Errors
    /// [`DeleteError`]; nothing is deleted then.
    pub fn delete_before(
        &mut self,
        upto: Option<Offset>,
        _now: Now,
        out: &mut Vec<Effect<R, B>>,
    ) -> Result<Offset, DeleteError> {
        match self.state {
            State::Leading => (),
            State::Retired => return Err(DeleteError::NotHere),
            State::Lost => return Err(DeleteError::Storage),
        }
        if self.config.cleanup.compact && !self.config.cleanup.delete {
            return Err(DeleteError::Compacted);
        }
        let to = upto.unwrap_or(self.high_watermark);
        if to < Offset::ZERO || to > self.high_watermark {
            return Err(DeleteError::OffsetOutOfRange { high_watermark: self.high_watermark });
        }
        self.move_start(to, out);
        Ok(self.log_start)
    }

    /// Retention: the log begins at `to` now, if it did not begin later already. Never beyond the high watermark.
    pub fn move_start(&mut self, to: Offset, out: &mut Vec<Effect<R, B>>) {
        let to = to.min(self.high_watermark);
        if self.state != State::Leading || to <= self.log_start {
            return;
        }
        self.log_start = to;
        self.epochs.move_start(to);
        out.push(Effect::MoveStart { to });
    }

    /// Time has passed: patience ends, `flush.ms` is over, silent producers are forgotten.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Effect<R, B>>) {
        for wait in self.parked.take_due(now) {
            // The batch stays. Whoever sent it with acks=0 did not ask, and must not lose its connection over it.
            let with = if wait.quiet { Ok(self.appended(&wait)) } else { Err(AppendError::TimedOut) };
            out.push(Effect::Answer { to: wait.to, with });
        }
        self.tick_held(now, out);
        if self.state == State::Leading && self.flush_at.is_some_and(|at| at.is_due(now)) {
            self.sync_written(out);
        }
        // Looked at when something else happens anyway: an idle partition sets no alarm.
        let due = *self.expire_at.get_or_insert(now.after(EXPIRE_EVERY_MS));
        if due.is_due(now) {
            self.expire_at = Some(now.after(EXPIRE_EVERY_MS));
            self.producers.expire(now, self.limits.producer_idle_ms_max);
            self.held.expire(now, self.limits.producer_idle_ms_max);
        }
    }

    /// When to tick at the latest; none when nothing waits.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        [self.parked.next_deadline(), self.held.next_deadline(), self.flush_at].into_iter().flatten().min()
    }

    /// The reign is over: everyone is sent elsewhere.
    pub fn retire(&mut self, out: &mut Vec<Effect<R, B>>) {
        if self.state != State::Retired {
            self.leave(State::Retired, &AppendError::NotHere, out);
        }
    }

    /// The reign.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Where the log begins.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Below it everything is as safe as the topic asks for.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Below it everything survives a power cut.
    #[must_use]
    pub fn persisted_end(&self) -> Offset {
        self.persisted
    }

    /// The producers, batches not yet written included.
    #[must_use]
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// The reigns that wrote something.
    #[must_use]
    pub fn epochs(&self) -> &EpochHistory {
        &self.epochs
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Arc<TopicConfig> {
        &self.config
    }

    /// Producers that wait for an answer, and readers that wait for records.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.parked.len(), self.watchers.len())
    }

    /// Whether an acknowledgement waits for the disk (`flush.messages=1`).
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.config.flush_messages <= 1
    }

    /// Asks for what is written to be made safe, where it is time to.
    fn ask(&mut self, now: Now, out: &mut Vec<Effect<R, B>>) {
        if !self.is_durable() {
            return self.ask_by_count_or_time(now, out);
        }
        if let Some(mark) = self.sync_first {
            if self.asked < mark && mark <= self.written {
                self.asked = mark;
                out.push(Effect::Sync { upto: mark });
            }
            if mark <= self.persisted {
                self.sync_first = None;
            } else {
                return;
            }
        }
        if self.asked < self.written {
            self.asked = self.written;
            out.push(Effect::Harden { upto: self.written });
        }
    }

    fn ask_by_count_or_time(&mut self, now: Now, out: &mut Vec<Effect<R, B>>) {
        let unasked = u64::try_from(self.written.0 - self.asked.0).unwrap_or(0);
        if unasked >= self.config.flush_messages {
            self.sync_written(out);
        } else if unasked > 0 && self.flush_at.is_none() && self.config.flush_ms < i64::MAX as u64 {
            self.flush_at = Some(now.after(self.config.flush_ms));
        }
    }

    fn sync_written(&mut self, out: &mut Vec<Effect<R, B>>) {
        self.flush_at = None;
        if self.asked < self.written {
            self.asked = self.written;
            out.push(Effect::Sync { upto: self.written });
        }
    }

    /// Moves the high watermark and tells everyone who waited for it: producers first, so that no consumer sees a
    /// record before its producer could.
    fn settle(&mut self, out: &mut Vec<Effect<R, B>>) {
        let safe = if self.is_durable() && !planted::is(planted::Bug::AckBeforeSync) {
            self.persisted
        } else {
            self.written
        };
        // Never back: on the step into durable mode it stands above what is persisted.
        self.high_watermark = self.high_watermark.max(safe);
        while self.unsafe_yet.front().is_some_and(|first| first.end <= self.high_watermark) {
            let first = self.unsafe_yet.pop_front();
            self.unsafe_bytes -= first.map_or(0, |first| first.bytes);
        }
        while let Some(wait) = self.parked.pop_safe(self.high_watermark) {
            let with = Ok(self.appended(&wait));
            out.push(Effect::Answer { to: wait.to, with });
        }
        self.producers.settle(self.high_watermark);
        let ready = self.watchers.take_ready(self.high_watermark, self.stable());
        out.extend(ready.into_iter().map(|bell| Effect::Ring { bell }));
    }

    fn appended(&self, wait: &Wait<R>) -> Appended {
        Appended { base: wait.base, append_time: wait.append_time, log_start: self.log_start }
    }

    fn leave(&mut self, state: State, error: &AppendError, out: &mut Vec<Effect<R, B>>) {
        self.state = state;
        self.flush_at = None;
        self.refuse_held(error, out);
        for wait in self.parked.take_beyond(Offset(i64::MIN)) {
            out.push(Effect::Answer { to: wait.to, with: Err(error.clone()) });
        }
        out.extend(self.watchers.take_all().into_iter().map(|bell| Effect::Ring { bell }));
    }
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "leader_model.rs"]
mod model;
