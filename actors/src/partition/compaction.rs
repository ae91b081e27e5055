//! Compaction of a partition's log: the housekeeper says when, the pool does the work, the owner puts each new segment in its
//! place.
//!
//! ```text
//!   OfferCompaction -> Bid -> Compact { permit }
//!     a task: step, rest, step ... on the pool --PutInPlace--> here --(pool)--> InPlace -> the task goes on
//!                                              --Finished----> here --(pool)--> RoundOver -> the permit goes back
//! ```
//!
//! While a segment is put in its place no other one is taken out of the log; what retention wants is done afterwards.

use std::{
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use actix::{AsyncContext, Context, Handler};
use ottla_rules::{
    compaction::{Policy, cleaner::Cleaner, filter::Horizon, rest_ms},
    ids::{Offset, PartitionId},
    time::{Deadline, Now},
    topic_config::TopicConfig,
};
use ottla_store::{
    Compaction, LogError, Placing, Progress, Replaced, Rewritten, Swap, Swapped, Tuning, facts,
};
use tokio::sync::oneshot;

use super::{PartitionActor, State};
use crate::{
    shared::Shared,
    stage::{To, messages},
};

/// Bytes of one step: then somebody else gets the pool's thread.
const STEP_BYTES: u64 = 1 << 20;
/// A rest is taken in pieces of so long at most, so that who has to leave need not wait for its end.
const REST_MS_MAX: u64 = 100;
/// A swap for which the facts have no room is tried again so often.
const ROOM_MS: u64 = 1_000;
/// A partition whose round found no room is not worth another for so long: what it would write is thrown away each time.
const NO_ROOM_MS: u64 = 300_000;

/// Asks whether the partition is worth a round of compaction. Who is not says nothing.
#[derive(Debug)]
pub struct OfferCompaction {
    /// Whom to tell.
    pub to: To<Bid>,
}

/// A partition is worth a round.
#[derive(Clone, Copy, Debug)]
pub struct Bid {
    /// Which.
    pub partition: PartitionId,
    /// How much of it is dirty, from 0 to 1.
    pub ratio: f64,
}

/// Begin a round.
#[derive(Debug)]
pub struct Compact {
    /// What the settings of the node say.
    pub cleaner: Cleaner,
    /// Given back when the round is over.
    pub permit: Permit,
}

/// The right to compact. Whoever drops it, in whatever way, gives it back.
#[derive(Debug)]
pub struct Permit {
    partition: PartitionId,
    was_used: bool,
    to: To<PermitEnded>,
}

/// A permit is given back.
#[derive(Clone, Copy, Debug)]
pub struct PermitEnded {
    /// By whom.
    pub partition: PartitionId,
    /// Whether a round came to its end.
    pub was_used: bool,
}

/// A segment is written: put it in its place, and say whether the round goes on.
struct PutInPlace {
    rewritten: Rewritten,
    go_on: oneshot::Sender<bool>,
}

/// The pool has put it there; none when it has become pointless.
struct InPlace {
    swapped: Result<Option<Swapped>, LogError>,
    go_on: oneshot::Sender<bool>,
}

/// Every segment of the round is in its place, or it was given up.
struct Finished {
    upto: Result<Option<Offset>, LogError>,
    permit: Permit,
}

/// The facts know how far the log is compacted.
struct RoundOver {
    kept: Result<(), LogError>,
    permit: Permit,
}

messages!(OfferCompaction, Bid, Compact, PermitEnded, PutInPlace, InPlace, Finished, RoundOver);

impl Permit {
    /// For this partition; `to` is told when it comes back.
    #[must_use]
    pub fn new(partition: PartitionId, to: To<PermitEnded>) -> Self {
        Self { partition, was_used: false, to }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.to.do_send(PermitEnded { partition: self.partition, was_used: self.was_used });
    }
}

/// Where the owner of a log stands with its compaction.
#[derive(Default)]
pub(super) struct Compacting {
    stage: Stage,
    /// Segments were to be deleted meanwhile.
    deletes: bool,
    /// Tells the task of the round to end early.
    stop: Arc<AtomicBool>,
    /// The last round found no room, or could not make safe what it wrote: none until then.
    rests_until: Option<Deadline>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// A task reads and writes, away from the log.
    Working,
    /// The pool renames files.
    Placing,
    /// It failed, and what is on the disk is for the next recovery to find out; or a batch is damaged.
    Barred,
}

impl Compacting {
    /// Whether a segment is being put in its place, so that none is to be taken out; it is remembered that somebody wanted to.
    pub(super) fn holds_deletions(&mut self) -> bool {
        let holds = self.stage == Stage::Placing;
        self.deletes |= holds;
        holds
    }

    /// Tells a round that the owner wants to leave; whether there is one.
    pub(super) fn has_to_stop(&mut self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        matches!(self.stage, Stage::Working | Stage::Placing)
    }

    fn may_begin(&self, now: Now) -> bool {
        let rests = self.rests_until.is_some_and(|until| !until.is_due(now));
        self.stage == Stage::Idle && !rests && !self.stop.load(Ordering::Relaxed)
    }
}

fn policy(config: &TopicConfig) -> Policy {
    Policy {
        dirty_ratio_min: config.min_cleanable_dirty_ratio,
        lag_ms_min: config.compaction_lag_ms_min,
        lag_ms_max: config.compaction_lag_ms_max,
    }
}

impl Handler<OfferCompaction> for PartitionActor {
    type Result = ();

    fn handle(&mut self, OfferCompaction { to }: OfferCompaction, _: &mut Context<Self>) {
        let State::Leading { leader, log } = &self.state else { return };
        let config = leader.config();
        let now = self.charge.shared.now();
        if !config.cleanup.compact || !self.compacting.may_begin(now) {
            return;
        }
        if let Some(round) = log.wants_compaction(&policy(config), leader.stable(), now) {
            to.do_send(Bid { partition: self.id(), ratio: round.ratio });
        }
    }
}

impl Handler<Compact> for PartitionActor {
    type Result = ();

    fn handle(&mut self, compact: Compact, ctx: &mut Context<Self>) {
        let Compact { cleaner, permit } = compact;
        self.flush(ctx);
        let shared = self.charge.shared.clone();
        let State::Leading { leader, log } = &self.state else { return };
        let config = leader.config();
        let now = shared.now();
        // What is written anew needs room before what it replaces is gone.
        let may = config.cleanup.compact
            && self.compacting.may_begin(now)
            && !shared.is_tight()
            && !shared.is_lost();
        let round = may.then(|| log.wants_compaction(&policy(config), leader.stable(), now)).flatten();
        let Some(round) = round else { return };
        let horizon = Horizon {
            now_ms: now.wall_ms,
            tombstones_ms: config.delete_retention_ms,
            markers_ms: config.delete_retention_ms.max(config.file_delete_delay_ms),
        };
        let tuning = Tuning {
            map_bytes_max: cleaner.map_bytes,
            map_load_factor: cleaner.load_factor,
            buffer_bytes: cleaner.buffer_bytes,
            unpacked_bytes_max: shared.limits().records_unpacked_bytes_max,
        };
        let Some(compaction) = log.compact(round, &leader.producers().snapshot(), horizon, tuning) else {
            return;
        };
        self.compacting.stage = Stage::Working;
        let (place, finish) = (ctx.address().recipient(), ctx.address().recipient());
        let task = Task { shared, place, finish, stop: self.compacting.stop.clone(), cleaner };
        actix_rt::spawn(task.run(compaction, permit));
    }
}

/// Takes a round from step to step.
struct Task {
    shared: Arc<Shared>,
    place: To<PutInPlace>,
    finish: To<Finished>,
    stop: Arc<AtomicBool>,
    cleaner: Cleaner,
}

impl Task {
    async fn run(self, mut compaction: Compaction, permit: Permit) {
        let upto = loop {
            if self.stop.load(Ordering::Relaxed) {
                break Ok(None);
            }
            let step = move || {
                let progress = compaction.step(STEP_BYTES);
                (compaction, progress)
            };
            let Some((back, progress)) = self.shared.in_pool(step).await else {
                return self.finish.do_send(Finished { upto: Err(panicked(&self.shared)), permit });
            };
            compaction = back;
            match progress {
                // What appends need is not for it: it ends before they are refused, and what it has written goes.
                Ok(Progress::More(bytes)) if self.is_tight_after(bytes) => {
                    break Err(no_room(&self.shared));
                }
                Ok(Progress::More(bytes)) => self.rest(bytes).await,
                Ok(Progress::Written(rewritten)) => {
                    if !self.put_in_place(rewritten).await {
                        break Ok(None);
                    }
                }
                Ok(Progress::Over(upto)) => break Ok(upto),
                Err(error) => {
                    // At once: what was begun is taken away first, and meanwhile nobody is to be answered.
                    if error.is_failed_sync() {
                        self.shared.lose(&error);
                    }
                    break Err(error);
                }
            }
        };
        if !matches!(upto, Ok(Some(_))) {
            self.shared.in_pool(move || compaction.abandon()).await;
        } else {
            // Its claim ends before the next round asks for one.
            drop(compaction);
        }
        self.finish.do_send(Finished { upto, permit });
    }

    async fn put_in_place(&self, rewritten: Rewritten) -> bool {
        let (go_on, goes_on) = oneshot::channel();
        self.place.do_send(PutInPlace { rewritten, go_on });
        goes_on.await.unwrap_or(false)
    }

    fn is_tight_after(&self, bytes: u64) -> bool {
        if self.shared.spend(bytes) {
            self.shared.look_soon();
        }
        self.shared.is_tight()
    }

    async fn rest(&self, bytes: u64) {
        let mut left_ms = rest_ms(bytes, self.cleaner.bytes_per_second);
        while left_ms > 0 && !self.stop.load(Ordering::Relaxed) {
            let clock = &self.shared.host.clock;
            let ms = left_ms.min(REST_MS_MAX);
            clock.sleep_until(clock.now().mono_ms.saturating_add(ms)).await;
            left_ms -= ms;
        }
    }
}

impl Handler<PutInPlace> for PartitionActor {
    type Result = ();

    fn handle(&mut self, PutInPlace { rewritten, go_on }: PutInPlace, ctx: &mut Context<Self>) {
        let State::Leading { log, .. } = &self.state else { return };
        let shared = self.charge.shared.clone();
        if shared.is_lost() {
            // Dropping the sender ends the round.
            return;
        }
        let (before, after) = rewritten.bytes();
        let n_gone = rewritten.n_gone();
        match log.swap(rewritten) {
            Ok(swap) => {
                self.compacting.stage = Stage::Placing;
                shared.compacted.count(before, after, n_gone);
                let me = ctx.address();
                let stop = self.compacting.stop.clone();
                actix_rt::spawn(async move {
                    let swapped = place(&shared, swap, &stop).await;
                    me.do_send(InPlace { swapped, go_on });
                });
            }
            // Segments that it was made of are gone. What follows counts on all that comes before: the round ends here.
            Err(rewritten) => shared.on_pool(move || {
                rewritten.abandon();
                drop(go_on);
            }),
        }
    }
}

/// Takes a swap from step to step. For room it waits until the owner has to leave: recovery finds out then how far it has come.
async fn place(shared: &Shared, mut swap: Swap, stop: &AtomicBool) -> Result<Option<Swapped>, LogError> {
    loop {
        let under_way = shared.sync_under_way();
        let step = move || {
            let _under_way = under_way;
            swap.step()
        };
        let step = shared.in_pool(step).await.ok_or_else(|| panicked(shared))?;
        // Here, and not when it is heard of: whoever waits for it may have fallen meanwhile.
        if let Err(error) = &step
            && error.is_failed_sync()
        {
            shared.lose(error);
        }
        match step? {
            Placing::More(next) => swap = next,
            Placing::NoRoom(_, error) if stop.load(Ordering::Relaxed) => return Err(error),
            Placing::NoRoom(same, _) => {
                swap = same;
                let clock = &shared.host.clock;
                clock.sleep_until(clock.now().mono_ms.saturating_add(ROOM_MS)).await;
            }
            Placing::Done(swapped) => return Ok(Some(swapped)),
            Placing::Void => return Ok(None),
        }
    }
}

/// What is free is for appends.
fn no_room(shared: &Shared) -> LogError {
    let error = io::Error::new(io::ErrorKind::StorageFull, "what is free is left to appends");
    LogError::Io { what: "compact in", file: shared.store.path().to_owned(), error }
}

/// A step panicked. The log goes on without compaction: its owner would fall again with the next round, and the next.
fn panicked(shared: &Shared) -> LogError {
    let error = io::Error::other("a job of the pool panicked");
    LogError::Io { what: "compact in", file: shared.store.path().to_owned(), error }
}

impl Handler<InPlace> for PartitionActor {
    type Result = ();

    fn handle(&mut self, InPlace { swapped, go_on }: InPlace, _: &mut Context<Self>) {
        let State::Leading { leader, log } = &mut self.state else { return };
        self.compacting.stage = Stage::Working;
        match swapped {
            Ok(Some(swapped)) => {
                let replaced = log.swapped(swapped);
                let log_start = leader.log_start();
                self.remove_later(replaced);
                // Whether anybody waits for it is the task's affair.
                let _ = go_on.send(true);
                if mem::take(&mut self.compacting.deletes) {
                    self.delete_segments(log_start);
                }
            }
            Ok(None) => (),
            Err(error) => self.bar(&error),
        }
    }
}

impl Handler<Finished> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Finished { upto, permit }: Finished, ctx: &mut Context<Self>) {
        match upto {
            Ok(Some(upto)) if self.compacting.stage == Stage::Working => {
                self.keep_clean_upto(upto, permit, ctx)
            }
            Ok(_) => self.over(),
            // There may be room when it is tried again, or the disk take it; and what retention took needs no compaction.
            Err(error) if error.is_full() || error.is_gone() || error.is_failed_copy() => {
                log::warn!(partition:% = self.charge.place.dir_name(), error:% = error; "a round of compaction is given up");
                if error.is_full() || error.is_failed_copy() {
                    self.compacting.rests_until = Some(self.charge.shared.now().after(NO_ROOM_MS));
                }
                self.over();
            }
            Err(error) => self.bar(&error),
        }
        if self.retiring.is_some() {
            self.retire_now(ctx);
        }
    }
}

impl Handler<RoundOver> for PartitionActor {
    type Result = ();

    fn handle(&mut self, RoundOver { kept, mut permit }: RoundOver, ctx: &mut Context<Self>) {
        match kept {
            Ok(()) => {
                permit.was_used = true;
                self.over();
            }
            // It is known in memory; at worst a round is done again.
            Err(error) if error.is_full() => {
                log::warn!(partition:% = self.charge.place.dir_name(), error:% = error; "how far it is compacted is not kept");
                self.over();
            }
            Err(error) => self.bar(&error),
        }
        if self.retiring.is_some() {
            self.retire_now(ctx);
        }
    }
}

impl PartitionActor {
    fn over(&mut self) {
        if self.compacting.stage != Stage::Barred {
            self.compacting.stage = Stage::Idle;
        }
    }

    /// Not compacted any more, until the partition is recovered.
    fn bar(&mut self, why: &LogError) {
        log::error!(partition:% = self.charge.place.dir_name(), error:% = why; "the partition is not compacted any more");
        self.compacting.stage = Stage::Barred;
        self.charge.shared.compacted.failed();
        if why.is_failed_sync() {
            self.charge.shared.lose(why);
        }
    }

    fn keep_clean_upto(&mut self, upto: Offset, permit: Permit, ctx: &mut Context<Self>) {
        let State::Leading { log, .. } = &mut self.state else { return };
        log::info!(partition:% = self.charge.place.dir_name(), upto:% = upto; "compacted");
        log.set_clean_upto(upto);
        let (compacted, partition) = (log.compacted(), log.partition());
        let shared = self.charge.shared.clone();
        let job = move || {
            // Not flushed: at worst a round is done again.
            let kept = facts::compaction::put(shared.store.facts(), partition, compacted);
            RoundOver { kept: kept.map_err(LogError::from), permit }
        };
        self.have_done(job, ctx);
    }

    /// Who reads from the segments before can finish: their files go later, by a task that needs no actor.
    fn remove_later(&self, replaced: Replaced) {
        let (name, shared) = (self.charge.place.dir_name(), self.charge.shared.clone());
        let after_ms = self.charge.config.file_delete_delay_ms;
        actix_rt::spawn(async move {
            let later = shared.host.clock.now().mono_ms.saturating_add(after_ms);
            shared.host.clock.sleep_until(later).await;
            if let Some(Err(error)) = shared.in_pool(move || replaced.unlink()).await {
                log::warn!(partition:% = name, error:% = error; "segments from before compaction are not removed");
            }
        });
    }
}
