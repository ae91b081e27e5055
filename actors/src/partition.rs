//! PartitionActor: the replica that leads.
//!
//! ```text
//!   recovering --Opened--> leading --Retire--> gone
//!                             |
//!   Append -> machine -> staged --(mailbox drained)--> one pwritev -> written -> journal -> Persisted -> answers, bells
//!                                                      (of a large burst in pieces, with a look around between two)
//! ```
//!
//! The machine ([`Leader`]) decides; the log ([`Log`]) has the files, written here and nowhere else. Whatever may block
//! longer than a write to the page cache runs on the pool and comes back as a fact.

use std::{mem, sync::Arc};

use actix::{Actor, Addr, AsyncContext, Context, Handler};
use ottla_rules::{
    batch::{Batch, Stamped},
    floods::Manner,
    ids::{LeaderEpoch, Offset, PartitionId},
    limits::WRITE_BYTES_MAX,
    partition::{
        Acks, AppendError, Appended, DeleteError, Effect, Joining, ReadError,
        early::{self, Early},
        epochs::EpochHistory,
        leader::Leader,
        transactions::Aborted,
    },
    producers::Producers,
    time::{Now, Pauses},
    topic_config::TopicConfig,
    transaction::Session,
};
use ottla_store::{Log, LogConfig, LogError, Place, log::recover::Recovered};

use crate::{
    journal::Harden,
    shared::Shared,
    stage::{
        alarm::{Alarm, Wake},
        bell::Peal,
        breath::Breath,
        messages,
        reply::Reply,
    },
};

mod compaction;
mod hardening;
mod jobs;
mod observe;
mod reads;
mod recovery;
mod transactional;
mod upkeep;

pub use compaction::{Bid, Compact, OfferCompaction, Permit, PermitEnded};
use hardening::{Hardening, Lot};
use reads::Waiting;
pub use reads::{Ends, EpochEnds, LookUp, LookedUp, PlanRead, ReadPlan, SharedPlan, Wanted, Weigh};
pub(crate) use transactional::AppendOffsets;
pub use transactional::{DescribeProducers, WriteMarker};
pub use upkeep::{Checkpoint, CheckpointRound, Sweep};

/// Appends a batch.
#[derive(Debug)]
pub struct Append {
    /// The batch, checked.
    pub batch: Batch,
    /// Who must have it before the answer.
    pub acks: Acks,
    /// How long the producer waits for other replicas, milliseconds.
    pub patience_ms: u64,
    /// The transaction that the request belongs to.
    pub transaction: Option<Joining>,
    /// How its client appends.
    pub manner: Manner,
    /// Whom to answer.
    pub reply: Reply<Result<Appended, AppendError>>,
}

/// Deletes the records before an offset (DeleteRecords).
#[derive(Debug)]
pub struct DeleteBefore {
    /// Up to here; none is the high watermark.
    pub upto: Option<Offset>,
    /// Whom to answer, with the new log start, once it is safe.
    pub reply: Reply<Result<Offset, DeleteError>>,
}

/// Another configuration from now on.
#[derive(Debug)]
pub struct Configure {
    /// The configuration.
    pub config: Arc<TopicConfig>,
}

/// Other bounds from now on: those of [`Shared::limits`].
#[derive(Debug)]
pub struct LimitsChanged;

/// The end of this reign: everything is answered, synced and, if asked for, deleted.
#[derive(Debug)]
pub struct Retire {
    /// Whether the partition is gone for good.
    pub delete: bool,
    /// Told when the files are as they shall be; false when that failed.
    pub reply: Reply<Result<(), ReadError>>,
}

/// The journal, or a sync, made everything below `end` safe.
#[derive(Debug)]
pub struct Persisted {
    /// One past the last safe offset.
    pub end: Offset,
}

/// A sync failed: the data directory is lost until the process starts again.
#[derive(Debug)]
pub struct PersistFailed;

/// Panics. For tests of what happens then.
#[cfg(feature = "provoke")]
#[derive(Debug)]
pub struct Provoke;
#[cfg(feature = "provoke")]
messages!(Provoke);

/// The mailbox is drained: write what was staged.
struct Flush;

/// Recovery found no room on the disk before; there may be some now.
struct Recover;

/// Recovery takes longer than those who came meanwhile may be kept waiting.
struct TooLong;

/// Recovery is over.
struct Opened(Result<Box<(Log, Recovered)>, LogError>);

/// The log start is in the facts.
struct StartMoved {
    to: Offset,
    safe: bool,
}

/// Segments are synced up to `end`.
struct Synced {
    end: Offset,
    settle: Option<u64>,
    /// Whether the facts say so.
    result: Result<bool, LogError>,
}

messages!(
    Append,
    DeleteBefore,
    Configure,
    LimitsChanged,
    Retire,
    Persisted,
    PersistFailed,
    Flush,
    Recover,
    TooLong,
    Opened,
    StartMoved,
    Synced
);

type Machine = Leader<Reply<Result<Appended, AppendError>>, Waiting>;
type Effects = Vec<Effect<Reply<Result<Appended, AppendError>>, Waiting>>;

/// What a partition's actor is started with.
#[derive(Clone)]
pub(crate) struct Charge {
    pub(crate) place: Place,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) replicas: usize,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) shared: Arc<Shared>,
    /// The topic, or this partition of it, was made while the node runs.
    pub(crate) is_new: bool,
}

/// The actor of one led partition.
pub struct PartitionActor {
    charge: Charge,
    state: State,
    alarm: Alarm,
    breath: Breath,
    out: Effects,
    /// Rung at the end of a step.
    rung: Vec<Waiting>,
    peal: Peal<Arc<SharedPlan>>,
    staged: Vec<Stamped>,
    /// So many of them are being written, in pieces.
    burst: Option<usize>,
    /// A message is under way that will have them written.
    is_flush_called: bool,
    /// What the markers among the staged batches abort.
    staged_aborted: Vec<Aborted>,
    hardening: Hardening,
    /// Between two tries to read a segment that could not be read: each reads all of it.
    reading: Pauses,
    /// DeleteRecords that wait until the log start is safe.
    deleting: Vec<(Offset, Reply<Result<Offset, DeleteError>>)>,
    /// The pool has the files, to recover them. Tried again while the partition is offline, too.
    recovering: bool,
    /// A segment sync is under way.
    syncing: bool,
    /// What the journal wants settled once the sync under way is over.
    settle_next: Option<u64>,
    bytes_since_sync: u64,
    /// A log start is on its way into the facts.
    moving: bool,
    /// The last one found no room there: after a crash the log would begin before it.
    is_start_unsafe: bool,
    /// Compaction of the log.
    compacting: compaction::Compacting,
    /// Told to leave while the pool had the files.
    retiring: Option<Retire>,
}

#[expect(clippy::large_enum_variant, reason = "there is one per actor, and it stays Leading")]
enum State {
    Recovering { early: Early<Append> },
    Leading { leader: Machine, log: Log },
    Offline,
}

impl Actor for PartitionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let Charge { place, config, shared, .. } = self.charge.clone();
        let config = LogConfig::of(&place.topic, &config, &shared.limits());
        let dir = shared.store.path().join(place.dir_name());
        if self.charge.is_new && !shared.store.disk().exists(dir) {
            // There is nothing to recover: usable at once, as those expect who have just created the topic.
            let found = Recovered {
                log_start: Offset::ZERO,
                end: Offset::ZERO,
                producers: Producers::new(shared.limits().producers_max),
                epochs: EpochHistory::new(),
                cut: None,
                missing: vec![],
                scanned_bytes: 0,
                replayed: 0,
                producers_from_journal: false,
            };
            return self.lead(Log::create(&shared.store, place, config), found, ctx);
        }
        self.recover(ctx);
    }
}

impl PartitionActor {
    pub(crate) fn new(charge: Charge) -> Self {
        Self {
            charge,
            state: State::Recovering { early: Early::default() },
            alarm: Alarm::default(),
            breath: Breath::default(),
            out: Vec::new(),
            rung: Vec::new(),
            peal: Peal::default(),
            staged: Vec::new(),
            burst: None,
            is_flush_called: false,
            staged_aborted: Vec::new(),
            hardening: Hardening::default(),
            reading: Pauses::default(),
            deleting: Vec::new(),
            recovering: false,
            syncing: false,
            settle_next: None,
            bytes_since_sync: 0,
            moving: false,
            is_start_unsafe: false,
            compacting: compaction::Compacting::default(),
            retiring: None,
        }
    }

    fn id(&self) -> PartitionId {
        self.charge.place.id
    }

    /// The only way into the machine: the clock is read once, what has happened counts before overdue deadlines (actix may
    /// have starved the alarm, but nobody is refused what is there), and what was decided is carried out in the order in
    /// which it was decided.
    fn step(&mut self, ctx: &mut Context<Self>, input: impl FnOnce(&mut Machine, Now, &mut Effects)) {
        let State::Leading { leader, .. } = &mut self.state else { return };
        let now = self.charge.shared.now();
        let mut out = mem::take(&mut self.out);
        input(leader, now, &mut out);
        leader.tick(now, &mut out);
        let deadline = leader.next_deadline();
        for effect in out.drain(..) {
            self.perform(effect, ctx);
        }
        // A step inside a step (a burst that was written) has left its own, empty, list here.
        self.out = out;
        self.ring();
        self.alarm.set(deadline, now, ctx);
        self.breath.take(ctx);
    }

    fn perform(
        &mut self,
        effect: Effect<Reply<Result<Appended, AppendError>>, Waiting>,
        ctx: &mut Context<Self>,
    ) {
        match effect {
            Effect::Write { batch } => {
                self.staged.push(batch);
                self.call_flush(ctx);
            }
            Effect::Harden { upto } => self.harden(upto, ctx),
            Effect::Sync { upto } => {
                self.hardening.skip(upto);
                self.sync(None, ctx);
            }
            Effect::Answer { to, with } => to.send(with),
            Effect::Ring { bell } => self.rung.push(bell),
            Effect::RememberAborted { aborted } => self.staged_aborted.push(aborted),
            Effect::Join { ask, transaction, producer, epoch } => {
                self.ask_coordinator(ask, &transaction, Session { producer, epoch }, ctx);
            }
            Effect::MoveStart { to } => self.keep_start(to, ctx),
            Effect::RememberEpoch { epoch, start } => {
                let (shared, id) = (self.charge.shared.clone(), self.id());
                self.charge.shared.on_pool(move || {
                    // Rebuilt from the log when it is missing, so a failure is only worth a line.
                    if let Err(error) =
                        ottla_store::facts::epochs::put(shared.store.facts(), id, epoch, start)
                    {
                        log::warn!(partition:% = id, error:% = error; "leader epoch not kept");
                    }
                });
            }
        }
    }

    fn harden(&mut self, upto: Offset, ctx: &mut Context<Self>) {
        let clock = &self.charge.shared.host.clock;
        let Lot { batches, is_flood, waited_us } = self.hardening.lot(upto, || clock.mono_us());
        let (partition, epoch) = (self.id(), self.charge.epoch);
        match self.charge.shared.directory.journal() {
            Some(journal) if !batches.is_empty() => {
                let to = ctx.address();
                journal.do_send(Harden { partition, epoch, batches, is_flood, waited_us, to });
            }
            Some(_) => ctx.notify(Persisted { end: upto }),
            None => ctx.notify(PersistFailed),
        }
    }

    /// Everything below `end` is safe.
    fn persisted(&mut self, end: Offset, ctx: &mut Context<Self>) {
        let clock = &self.charge.shared.host.clock;
        self.hardening.persisted(end, || clock.mono_us());
        self.step(ctx, |leader, now, out| leader.persisted(end, now, out));
    }

    /// What is staged is written once the mailbox is drained: one write for the burst.
    fn call_flush(&mut self, ctx: &mut Context<Self>) {
        if !mem::replace(&mut self.is_flush_called, true) {
            ctx.notify(Flush);
        }
    }

    /// Writes everything staged, at once.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        self.write(self.staged.len(), ctx);
    }

    /// Writes the first of what is staged, at once.
    fn write(&mut self, count: usize, ctx: &mut Context<Self>) {
        self.burst = None;
        let (Some(first), Some(last)) = (self.staged.first(), self.staged[..count].last()) else { return };
        let (from, end) = (first.base, last.end);
        if self.rests() {
            return self.refuse(from, ctx);
        }
        let State::Leading { log, leader } = &mut self.state else { return };
        let durable = leader.is_durable();
        if let Err(error) = log.append(&self.staged[..count]) {
            return self.write_failed(from, &error, ctx);
        }
        self.reading = Pauses::default();
        self.staged_aborted.drain(..).for_each(|row| log.remember_aborted(row));
        let written = self.staged.drain(..count);
        let bytes = written.as_slice().iter().map(|batch| batch.bytes.len() as u64).sum::<u64>();
        if durable {
            self.hardening.written(written);
        } else {
            drop(written);
        }
        if !self.staged.is_empty() {
            self.call_flush(ctx);
        }
        self.bytes_since_sync += bytes;
        if self.charge.shared.spend(bytes) {
            self.charge.shared.look_soon();
        }
        self.step(ctx, |leader, now, out| leader.written(end, now, out));
        self.pace(durable, ctx);
    }

    /// The log took nothing of what begins at `from`.
    fn write_failed(&mut self, from: Offset, error: &LogError, ctx: &mut Context<Self>) {
        log::error!(partition:% = self.charge.place.dir_name(), error:% = error; "append refused");
        if matches!(&self.state, State::Leading { log, .. } if log.is_unread()) {
            self.reading.failed(self.charge.shared.now());
        }
        if error.is_failed_sync() {
            self.charge.shared.lose(error);
        }
        self.charge.shared.look_soon();
        self.refuse(from, ctx);
    }

    /// Whether the segment that is written to could not be read, and it is too early to try again.
    fn rests(&self) -> bool {
        let State::Leading { log, .. } = &self.state else { return false };
        log.is_unread() && !self.reading.is_due(self.charge.shared.now())
    }

    /// Nothing of what is staged is in the log: all of it begins at `from`.
    fn refuse(&mut self, from: Offset, ctx: &mut Context<Self>) {
        self.burst = None;
        self.staged.clear();
        self.staged_aborted.clear();
        self.step(ctx, |leader, now, out| leader.write_failed(from, now, out));
    }

    /// Writes a piece of a large burst ahead: false when there is none to write.
    fn write_ahead(&mut self, ctx: &mut Context<Self>) -> bool {
        if self.rests() {
            return false;
        }
        let State::Leading { log, .. } = &mut self.state else { return false };
        let Some(from) = self.staged.first().map(|batch| batch.base) else { return false };
        // Who comes meanwhile is of the next burst, or a burst would never end.
        let burst = &self.staged[..*self.burst.get_or_insert(self.staged.len())];
        match log.write_ahead(burst, WRITE_BYTES_MAX) {
            Ok(is_more) => is_more,
            Err(error) => {
                self.write_failed(from, &error, ctx);
                false
            }
        }
    }

    fn go_offline(&mut self, why: &LogError) {
        log::error!(partition:% = self.charge.place.dir_name(), error:% = why; "the partition is offline");
        if let State::Recovering { early } = mem::replace(&mut self.state, State::Offline) {
            early.into_line().into_iter().for_each(|append| append.reply.send(Err(AppendError::Storage)));
        }
    }
}

impl Handler<Append> for PartitionActor {
    type Result = ();

    fn handle(&mut self, append: Append, ctx: &mut Context<Self>) {
        match &mut self.state {
            State::Recovering { early } => {
                let size = append.batch.len();
                match early.join(append, size) {
                    Ok(early::Place::First) => drop(ctx.notify_later(TooLong, recovery::EARLY_MAX)),
                    // Dropping the reply answers NOT_LEADER_OR_FOLLOWER, and the client comes again.
                    Ok(early::Place::Behind) | Err(_) => (),
                }
            }
            State::Offline => append.reply.send(Err(AppendError::Storage)),
            State::Leading { .. } => self.append(append, ctx),
        }
    }
}

impl Handler<Flush> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Flush: Flush, ctx: &mut Context<Self>) {
        self.is_flush_called = false;
        if self.write_ahead(ctx) {
            self.breath.pause(ctx);
            return self.call_flush(ctx);
        }
        // With a marker nothing is divided: what it aborts counts from when it is written.
        let count = self.burst.filter(|_| self.staged_aborted.is_empty());
        self.write(count.unwrap_or(self.staged.len()), ctx);
    }
}

impl Handler<Persisted> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Persisted { end }: Persisted, ctx: &mut Context<Self>) {
        self.persisted(end, ctx);
    }
}

impl Handler<PersistFailed> for PartitionActor {
    type Result = ();

    fn handle(&mut self, PersistFailed: PersistFailed, ctx: &mut Context<Self>) {
        self.step(ctx, |leader, now, out| leader.persist_failed(now, out));
    }
}

impl Handler<Wake> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Wake: Wake, ctx: &mut Context<Self>) {
        self.alarm.rang();
        self.step(ctx, |_, _, _| ());
    }
}

impl Handler<Configure> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Configure { config }: Configure, ctx: &mut Context<Self>) {
        self.charge.config = config.clone();
        self.flush(ctx);
        if let State::Leading { log, .. } = &mut self.state {
            let limits = self.charge.shared.limits();
            log.configure(LogConfig::of(&self.charge.place.topic, &config, &limits));
        }
        self.step(ctx, |leader, now, out| leader.configure(config, now, out));
    }
}

impl Handler<LimitsChanged> for PartitionActor {
    type Result = ();

    fn handle(&mut self, LimitsChanged: LimitsChanged, ctx: &mut Context<Self>) {
        let limits = self.charge.shared.limits();
        self.step(ctx, |leader, _, _| leader.limit(limits));
    }
}

/// The address type, for those who keep none but pass one on.
pub(crate) type PartitionAddr = Addr<PartitionActor>;

#[cfg(feature = "provoke")]
impl Handler<Provoke> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Provoke: Provoke, _: &mut Context<Self>) {
        panic!("provoked");
    }
}
