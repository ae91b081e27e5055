//! The machine: every transactional id of one partition of `__transaction_state`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Effect, Facts, Protocol, Session, Status, TopicPartition, TransactionError,
    entry::{Doing, Entry, NO_EPOCH, Step},
    join::Early,
};
use crate::{
    ids::{ProducerEpoch, ProducerId},
    time::{Deadline, Now},
};

/// Producer ids that are kept at hand, so that a new id need not wait for one.
const SPARES: usize = 4;
/// How often ids are looked through for those to forget (Kafka's
/// `transaction.remove.expired.transaction.cleanup.interval.ms`).
const EXPIRE_EVERY_MS: u64 = 3_600_000;

/// The bounds of a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The longest timeout that a producer may ask for (`transaction.max.timeout.ms`).
    pub timeout_ms_max: i32,
    /// How long an unused id is remembered (`transactional.id.expiration.ms`).
    pub id_idle_ms_max: u64,
    /// Ids that one partition of `__transaction_state` holds. A further one is refused until others have expired.
    pub ids_max: usize,
}

/// The coordinator of the transactional ids in one partition of `__transaction_state`. `R` is a token to answer with.
///
/// Its life: `replay` each record in order, `lead` once, then requests and reports in any order, `retire` at the end.
#[derive(Debug)]
pub struct Coordinator<R> {
    bounds: Bounds,
    pub(super) entries: BTreeMap<String, Entry<R>>,
    spares: VecDeque<ProducerId>,
    /// Producer ids that are on their way.
    asked: usize,
    timeouts: BTreeSet<(Deadline, String)>,
    expire_at: Option<Deadline>,
    /// Partitions that want to join while their id is busy: in the order of their deadlines.
    pub(super) early: VecDeque<Early<R>>,
}

/// What a producer asks for with InitProducerId.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// How long its transactions may take, milliseconds.
    pub timeout_ms: i32,
    /// The session it had and wants to go on from (KIP-360).
    pub had: Option<Session>,
}

/// What a producer asks for with EndTxn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its session.
    pub session: Session,
    /// Commit, or abort.
    pub commit: bool,
    /// The rules it follows.
    pub protocol: Protocol,
}

/// What an end comes to.
enum Ended {
    /// It was made before; this is what was answered.
    Already(Session),
    /// These facts have to be written, with the epoch before them.
    Now(Facts, ProducerEpoch),
}

/// What a request comes to.
enum Way<R> {
    /// Nothing has to be written.
    Answer(R, Result<Session, TransactionError>),
    /// This step has to be.
    Step(Step<R>),
}

impl<R> Coordinator<R> {
    /// A coordinator that knows nothing yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            entries: BTreeMap::new(),
            spares: VecDeque::new(),
            asked: 0,
            timeouts: BTreeSet::new(),
            expire_at: None,
            early: VecDeque::new(),
        }
    }

    /// A record of the log, in its order; none is a tombstone.
    pub fn replay(&mut self, id: String, facts: Option<Facts>) {
        match facts.filter(|facts| facts.status != Status::Dead) {
            Some(facts) => drop(self.entries.insert(id, Entry::new(facts))),
            None => drop(self.entries.remove(&id)),
        }
    }

    /// The reign begins: what was decided and not told goes on, what is under way gets its deadline.
    pub fn lead(&mut self, now: Now, out: &mut Vec<Effect<R>>) {
        self.expire_at = Some(now.after(EXPIRE_EVERY_MS));
        self.want_spares(out);
        let ids: Vec<String> = self.entries.keys().cloned().collect();
        for id in ids {
            self.settle(&id, now, out);
        }
    }

    /// InitProducerId with a transactional id: a new session. A transaction of the session before is aborted first, and the
    /// producer told to come again.
    pub fn begin(&mut self, id: &str, begin: Begin, to: R, now: Now, out: &mut Vec<Effect<R>>) {
        let way = self.begin_way(id, begin, to, now, out);
        self.go(id, way, now, out);
    }

    fn begin_way(&mut self, id: &str, begin: Begin, to: R, now: Now, out: &mut Vec<Effect<R>>) -> Way<R> {
        if let Err(error) = self.admit(id, begin.timeout_ms) {
            return Way::Answer(to, Err(error));
        }
        if !self.entries.contains_key(id) {
            let Some(producer) = self.take_spare(out) else {
                return Way::Answer(to, Err(TransactionError::Loading));
            };
            self.entries.insert(id.to_owned(), Entry::new(Facts::new(producer, begin.timeout_ms, now)));
        }
        let Some(entry) = self.entries.get(id) else {
            return Way::Answer(to, Err(TransactionError::NotAvailable));
        };
        if entry.is_busy() {
            return Way::Answer(to, Err(TransactionError::Concurrent));
        }
        if begin.had.is_some_and(|had| !entry.may_resume(had)) {
            return Way::Answer(to, Err(TransactionError::Fenced));
        }
        if entry.facts.status == Status::Ongoing {
            let Some(facts) = self.fence(id, now, out) else {
                return Way::Answer(to, Err(TransactionError::Loading));
            };
            let answers = vec![(to, Err(TransactionError::Concurrent))];
            return Way::Step(Step { facts, last_epoch: NO_EPOCH, answers });
        }
        self.raise_way(id, begin, to, now, out)
    }

    /// Another epoch for a producer that has no transaction under way, or another id when its epochs have run out.
    fn raise_way(&mut self, id: &str, begin: Begin, to: R, now: Now, out: &mut Vec<Effect<R>>) -> Way<R> {
        let Some(entry) = self.entries.get(id) else {
            return Way::Answer(to, Err(TransactionError::InvalidMapping));
        };
        let (epoch, last, is_exhausted) = (entry.facts.epoch, entry.last_epoch, entry.facts.is_exhausted());
        let facts = entry.facts.clone();
        let is_current = begin.had.is_none_or(|had| had.epoch == epoch || epoch == NO_EPOCH);
        let is_retry = begin.had.is_some_and(|had| had.epoch == last && last != NO_EPOCH);
        let (next, last_epoch) = if is_current && is_exhausted {
            let Some(producer) = self.take_spare(out) else {
                return Way::Answer(to, Err(TransactionError::Loading));
            };
            let last_epoch = if begin.had.is_some() { epoch } else { NO_EPOCH };
            (facts.rotated(producer, begin.timeout_ms, now), last_epoch)
        } else if is_current {
            let last_epoch = if begin.had.is_some() { epoch } else { NO_EPOCH };
            (facts.begun(ProducerEpoch(epoch.0 + 1), begin.timeout_ms, now), last_epoch)
        } else if is_retry {
            (facts.begun(epoch, begin.timeout_ms, now), last)
        } else {
            return Way::Answer(to, Err(TransactionError::Fenced));
        };
        let answers = vec![(to, Ok(next.session()))];
        Way::Step(Step { facts: next, last_epoch, answers })
    }

    fn admit(&self, id: &str, timeout_ms: i32) -> Result<(), TransactionError> {
        let max_ms = self.bounds.timeout_ms_max;
        if id.is_empty() {
            return Err(TransactionError::InvalidRequest("a transactional id is not empty"));
        }
        if timeout_ms <= 0 || timeout_ms > max_ms {
            return Err(TransactionError::InvalidTimeout { got_ms: timeout_ms, max_ms });
        }
        if self.entries.len() >= self.bounds.ids_max && !self.entries.contains_key(id) {
            return Err(TransactionError::NotAvailable);
        }
        Ok(())
    }

    /// Whether a partition is part of the producer's transaction (AddPartitionsToTxn with `verifyOnly`). A step under way
    /// does not matter: a partition looks again when it has the answer, and a marker makes an end of what waits for it.
    ///
    /// # Errors
    /// [`TransactionError::NotInTransaction`] when it is not.
    pub fn verify(
        &self,
        id: &str,
        session: Session,
        partition: &TopicPartition,
    ) -> Result<(), TransactionError> {
        let entry = self.known(id)?;
        entry.check_session(session)?;
        let facts = &entry.facts;
        if facts.status == Status::Ongoing && facts.partitions.contains(partition) {
            return Ok(());
        }
        if facts.status.is_prepared() {
            Err(TransactionError::Concurrent)
        } else {
            Err(TransactionError::NotInTransaction)
        }
    }

    /// EndTxn. Answered once the outcome is safe; the markers follow. Under version 2 the answer is the session of the next
    /// transaction. A retry of an end is answered as the end was.
    pub fn end(&mut self, id: &str, end: End, to: R, now: Now, out: &mut Vec<Effect<R>>) {
        let way = match self.end_way(id, end, now, out) {
            Ok(Ended::Already(session)) => Way::Answer(to, Ok(session)),
            Ok(Ended::Now(facts, last_epoch)) => {
                let with = match end.protocol {
                    Protocol::V1 => end.session,
                    Protocol::V2 => facts.session_after(),
                };
                Way::Step(Step { facts, last_epoch, answers: vec![(to, Ok(with))] })
            }
            Err(error) => Way::Answer(to, Err(error)),
        };
        self.go(id, way, now, out);
    }

    fn end_way(
        &mut self,
        id: &str,
        end: End,
        now: Now,
        out: &mut Vec<Effect<R>>,
    ) -> Result<Ended, TransactionError> {
        let entry = self.known(id)?;
        let is_retry = end.protocol == Protocol::V2 && is_retried_end(&entry.facts, end.session);
        if entry.is_fenced(end.session) && !is_retry {
            return Err(TransactionError::Fenced);
        }
        if entry.is_busy() {
            return Err(TransactionError::Concurrent);
        }
        let facts = entry.facts.clone();
        if facts.producer != end.session.producer && !is_retry {
            return Err(TransactionError::InvalidMapping);
        }
        let is_complete = matches!(facts.status, Status::CompleteCommit | Status::CompleteAbort);
        if facts.epoch != end.session.epoch && !(is_retry && is_complete) {
            return Err(TransactionError::Fenced);
        }
        let wanted = if end.commit { "committed" } else { "aborted" };
        let invalid = TransactionError::InvalidState { from: facts.status, wanted };
        let same = facts.status == if end.commit { Status::CompleteCommit } else { Status::CompleteAbort };
        match (facts.status, end.protocol) {
            (Status::Ongoing, _) => (),
            (Status::CompleteCommit | Status::CompleteAbort, Protocol::V1) if same => {
                return Ok(Ended::Already(end.session));
            }
            (Status::CompleteCommit | Status::CompleteAbort, Protocol::V2) if is_retry && same => {
                return Ok(Ended::Already(facts.session()));
            }
            // The transaction timed out and was aborted: its producer must not think that it can go on.
            (Status::CompleteAbort, Protocol::V2) if is_retry => return Err(TransactionError::Fenced),
            // The client cannot know whether one of its writes has come here: it aborts to be sure.
            (Status::Empty | Status::CompleteCommit | Status::CompleteAbort, Protocol::V2)
                if !end.commit && !is_retry => {}
            _ => return Err(invalid),
        }
        let last_epoch = if end.protocol == Protocol::V2 { facts.epoch } else { entry.last_epoch };
        let raise = end.protocol == Protocol::V2;
        let next = if raise && facts.is_exhausted() {
            Some(self.take_spare(out).ok_or(TransactionError::Loading)?)
        } else {
            None
        };
        let facts = Facts { protocol: end.protocol, ..facts };
        Ok(Ended::Now(facts.prepared(end.commit, raise, next, now), last_epoch))
    }

    /// The record of an id is safe, or is not. This comes however long it takes: who waits for it is answered after a while, with
    /// [`TransactionError::NotAvailable`].
    pub fn written(
        &mut self,
        id: &str,
        result: Result<(), TransactionError>,
        now: Now,
        out: &mut Vec<Effect<R>>,
    ) {
        self.take_alarm(id);
        let Some(entry) = self.entries.get_mut(id) else { return };
        match std::mem::replace(&mut entry.doing, Doing::Nothing) {
            Doing::Writing(step) => {
                let Step { facts, last_epoch, answers } = *step;
                if result.is_ok() {
                    (entry.facts, entry.last_epoch) = (facts, last_epoch);
                } else if entry.facts.status.is_prepared() {
                    // Every partition has been told, only the record of that is missing: nobody asks for it again.
                    entry.doing = Doing::Marking(BTreeSet::new());
                }
                for (to, with) in answers {
                    out.push(Effect::Answer { to, with: result.and(with) });
                }
                let is_new = entry.facts.epoch == NO_EPOCH && !entry.is_busy();
                if is_new {
                    // Its first session was not stored: as if nobody had asked.
                    self.entries.remove(id);
                } else {
                    self.settle(id, now, out);
                    if result.is_err() {
                        self.pause(id, now);
                    }
                }
            }
            Doing::Forgetting if result.is_ok() => drop(self.entries.remove(id)),
            Doing::Forgetting | Doing::Nothing => (),
            marking @ Doing::Marking(_) => entry.doing = marking,
        }
    }

    /// A partition has its marker, or is gone.
    pub fn marked(&mut self, id: &str, partition: &TopicPartition, now: Now, out: &mut Vec<Effect<R>>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let Doing::Marking(left) = &mut entry.doing else { return };
        if left.remove(partition) && left.is_empty() {
            self.complete(id, now, out);
        }
    }

    /// A producer id from the cluster, or none: then it is asked for again at the next need.
    pub fn producer_id_taken(&mut self, producer: Option<ProducerId>) {
        self.asked = self.asked.saturating_sub(1);
        self.spares.extend(producer);
    }

    /// Time has passed: transactions that took too long are aborted, ids that nobody used are forgotten, records that could
    /// not be written are tried again, and whoever waits for one that takes long is told to come again.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Effect<R>>) {
        while let Some((deadline, id)) = self.timeouts.first().cloned() {
            if !deadline.is_due(now) {
                break;
            }
            self.timeouts.pop_first();
            self.time_out(&id, now, out);
        }
        while self.early.front().is_some_and(|early| early.deadline.is_due(now)) {
            let Some(early) = self.early.pop_front() else { break };
            out.push(Effect::Answer { to: early.to, with: Err(TransactionError::Concurrent) });
        }
        if self.expire_at.is_some_and(|at| at.is_due(now)) {
            self.expire_at = Some(now.after(EXPIRE_EVERY_MS));
            self.expire(now, out);
        }
    }

    /// When `tick` has something to do at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        let timeout = self.timeouts.first().map(|(deadline, _)| *deadline);
        let early = self.early.front().map(|early| early.deadline);
        timeout.into_iter().chain(early).chain(self.expire_at).min()
    }

    /// The reign ends: everyone who waits is sent elsewhere.
    pub fn retire(&mut self, out: &mut Vec<Effect<R>>) {
        for entry in self.entries.values_mut() {
            if let Doing::Writing(step) = std::mem::replace(&mut entry.doing, Doing::Nothing) {
                let told = step.answers.into_iter();
                out.extend(told.map(|(to, _)| Effect::Answer { to, with: Err(TransactionError::NotHere) }));
            }
        }
        for early in self.early.drain(..) {
            out.push(Effect::Answer { to: early.to, with: Err(TransactionError::NotHere) });
        }
        self.entries.clear();
        self.timeouts.clear();
        self.expire_at = None;
    }

    /// What is known of an id (DescribeTransactions).
    #[must_use]
    pub fn describe(&self, id: &str) -> Option<&Facts> {
        self.entries.get(id).map(|entry| &entry.facts).filter(|facts| facts.epoch != NO_EPOCH)
    }

    /// Every id, in order (ListTransactions).
    pub fn list(&self) -> impl Iterator<Item = (&str, &Facts)> {
        let known = self.entries.iter().map(|(id, entry)| (id.as_str(), &entry.facts));
        known.filter(|(_, facts)| facts.epoch != NO_EPOCH)
    }
}

impl<R> Coordinator<R> {
    pub(super) fn known(&self, id: &str) -> Result<&Entry<R>, TransactionError> {
        if id.is_empty() {
            return Err(TransactionError::InvalidRequest("a transactional id is not empty"));
        }
        self.entries.get(id).ok_or(TransactionError::InvalidMapping)
    }

    fn go(&mut self, id: &str, way: Way<R>, now: Now, out: &mut Vec<Effect<R>>) {
        match way {
            Way::Answer(to, with) => out.push(Effect::Answer { to, with }),
            Way::Step(step) => self.write(id, step, now, out),
        }
    }

    /// Writes the next facts. The record has no deadline, for nothing times out between two steps and the end of somebody's patience
    /// is no outcome: it is in the log, or on its way there. Whoever waits for it has one.
    pub(super) fn write(&mut self, id: &str, step: Step<R>, now: Now, out: &mut Vec<Effect<R>>) {
        self.take_alarm(id);
        let Some(entry) = self.entries.get_mut(id) else { return };
        out.push(Effect::Write { id: id.to_owned(), facts: Some(step.facts.clone()) });
        let is_awaited = !step.answers.is_empty();
        entry.doing = Doing::Writing(Box::new(step));
        if is_awaited {
            self.alarm(id, now, WRITE_PATIENCE_MS);
        }
    }

    /// What follows from the facts of an id that waits for nothing.
    fn settle(&mut self, id: &str, now: Now, out: &mut Vec<Effect<R>>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.is_busy() {
            return;
        }
        let facts = &entry.facts;
        match facts.status {
            Status::Ongoing => {
                let age_ms = u64::try_from(now.wall_ms.saturating_sub(facts.started_ms)).unwrap_or(0);
                let left_ms = u64::try_from(facts.timeout_ms).unwrap_or(0).saturating_sub(age_ms);
                self.alarm(id, now, left_ms);
            }
            Status::PrepareCommit | Status::PrepareAbort if facts.partitions.is_empty() => {
                self.complete(id, now, out);
            }
            Status::PrepareCommit | Status::PrepareAbort => {
                out.push(Effect::Mark {
                    id: id.to_owned(),
                    session: facts.session(),
                    protocol: facts.protocol,
                    commit: facts.status == Status::PrepareCommit,
                    partitions: facts.partitions.iter().cloned().collect(),
                });
                entry.doing = Doing::Marking(facts.partitions.clone());
            }
            Status::Empty | Status::CompleteCommit | Status::CompleteAbort | Status::Dead => (),
        }
        self.let_in(id, now, out);
    }

    /// A record could not be written: what has to be tried again is tried a little later, not at once.
    fn pause(&mut self, id: &str, now: Now) {
        let Some(entry) = self.entries.get(id) else { return };
        let due_ms = entry.expires.map_or(0, |deadline| deadline.0.saturating_sub(now.mono_ms));
        if entry.is_busy() || entry.expires.is_some() {
            self.alarm(id, now, due_ms.max(RETRY_MS));
        }
    }

    fn alarm(&mut self, id: &str, now: Now, ms: u64) {
        self.take_alarm(id);
        let Some(entry) = self.entries.get_mut(id) else { return };
        let deadline = now.after(ms);
        entry.expires = Some(deadline);
        self.timeouts.insert((deadline, id.to_owned()));
    }

    fn take_alarm(&mut self, id: &str) {
        if let Some(before) = self.entries.get_mut(id).and_then(|entry| entry.expires.take()) {
            self.timeouts.remove(&(before, id.to_owned()));
        }
    }

    fn complete(&mut self, id: &str, now: Now, out: &mut Vec<Effect<R>>) {
        let Some(entry) = self.entries.get(id) else { return };
        let step = Step { facts: entry.facts.completed(now), last_epoch: entry.last_epoch, answers: vec![] };
        self.write(id, step, now, out);
    }

    fn time_out(&mut self, id: &str, now: Now, out: &mut Vec<Effect<R>>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.expires = None;
        match (&mut entry.doing, entry.facts.status) {
            (Doing::Writing(step), _) => {
                let late = |(to, _)| Effect::Answer { to, with: Err(TransactionError::NotAvailable) };
                out.extend(step.answers.drain(..).map(late));
            }
            (Doing::Marking(left), _) if left.is_empty() => self.complete(id, now, out),
            (Doing::Nothing, Status::Ongoing) => match self.fence(id, now, out) {
                Some(facts) => {
                    let step = Step { facts, last_epoch: NO_EPOCH, answers: vec![] };
                    self.write(id, step, now, out);
                }
                None => self.alarm(id, now, RETRY_MS),
            },
            _ => (),
        }
    }

    /// The transaction of a session that is over is aborted, under an epoch that the session does not have. When that is the
    /// last one, the producer gets a new id with it; none while there is no such id yet. Without one the producer would go
    /// on under the last epoch, and its next markers could not have a higher one.
    fn fence(&mut self, id: &str, now: Now, out: &mut Vec<Effect<R>>) -> Option<Facts> {
        let is_exhausted = self.entries.get(id)?.facts.is_exhausted();
        let next = if is_exhausted { Some(self.take_spare(out)?) } else { None };
        self.entries.get(id).map(|entry| entry.facts.prepared(false, true, next, now))
    }

    fn expire(&mut self, now: Now, out: &mut Vec<Effect<R>>) {
        let idle_ms_max = i64::try_from(self.bounds.id_idle_ms_max).unwrap_or(i64::MAX);
        for (id, entry) in &mut self.entries {
            let is_idle =
                matches!(entry.facts.status, Status::Empty | Status::CompleteCommit | Status::CompleteAbort);
            let is_old = now.wall_ms.saturating_sub(entry.facts.updated_ms) >= idle_ms_max;
            if is_idle && is_old && !entry.is_busy() {
                entry.doing = Doing::Forgetting;
                out.push(Effect::Write { id: id.clone(), facts: None });
            }
        }
    }

    fn take_spare(&mut self, out: &mut Vec<Effect<R>>) -> Option<ProducerId> {
        let taken = self.spares.pop_front();
        self.want_spares(out);
        taken
    }

    fn want_spares(&mut self, out: &mut Vec<Effect<R>>) {
        while self.spares.len() + self.asked < SPARES {
            self.asked += 1;
            out.push(Effect::TakeProducerId);
        }
    }
}

/// How long anybody waits for a record, milliseconds: as long as Kafka's `request.timeout.ms`.
const WRITE_PATIENCE_MS: u64 = 30_000;
/// How long after a record could not be written, or there was no producer id for it, it is tried again.
const RETRY_MS: u64 = 1_000;

/// Whether an end under version 2 has been made already: it raised the epoch, or brought a new producer id. To the last epoch
/// it does not raise it: only markers have that, and no session that could be answered.
fn is_retried_end(facts: &Facts, session: Session) -> bool {
    let raised = facts.producer == session.producer
        && facts.epoch.0 < i16::MAX
        && i32::from(facts.epoch.0) == i32::from(session.epoch.0) + 1;
    let rotated = facts.previous == session.producer && session.epoch.0 == i16::MAX - 1 && facts.epoch.0 == 0;
    raised || rotated
}
