//! What a partition does beside serving: syncing its segments, forgetting old ones, leaving.

use std::mem;

use actix::{ActorContext, AsyncContext, Context, Handler};
use ottla_rules::{
    ids::Offset,
    partition::{DeleteError, ReadError},
    planted,
    retention::{Keep, sweep},
    rounds,
    time::Pauses,
};
use ottla_store::{Doomed, FactsError, Log, LogError};

use super::{DeleteBefore, PartitionActor, Retire, StartMoved, State, Synced};
use crate::{shared::Shared, stage::messages};

/// Page-cache mode: so many written bytes start a sync in the background, so that the kernel never has to throttle.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;

/// Moves the recovery point: what was written is synced in the background, and the facts say so.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint {
    /// The journal's mark, when it is the journal that asks.
    pub settle: Option<u64>,
}

/// The housekeeper's round: a [`Checkpoint`], unless there is little to sync, the journal has it too, and others have their turn
/// ([`ottla_rules::rounds`]).
#[derive(Clone, Copy, Debug)]
pub struct CheckpointRound {
    pub(crate) is_its_turn: bool,
}

/// Deletes the segments that the topic's retention no longer asks for.
#[derive(Clone, Copy, Debug)]
pub struct Sweep;

messages!(Checkpoint, CheckpointRound, Sweep);

impl PartitionActor {
    /// Syncs the segments in the background; `settle` is the journal's mark. One sync at a time: what is asked for
    /// meanwhile begins when that one is over.
    pub(super) fn sync(&mut self, settle: Option<u64>, ctx: &mut Context<Self>) {
        if self.syncing {
            self.settle_next = self.settle_next.max(Some(settle.unwrap_or(0)));
            return;
        }
        if self.charge.shared.is_lost() {
            return; // Never tried again.
        }
        let State::Leading { leader, log } = &mut self.state else { return };
        let end = log.end();
        let point = log.sync_point();
        self.syncing = true;
        let Some(point) = point else {
            return ctx.notify(Synced { end, settle, result: Ok(false) });
        };
        self.bytes_since_sync = 0;
        // The machine knows batches that are only staged; a snapshot must not be ahead of the segment.
        let snapshot =
            (leader.end() == end).then(|| (leader.producers().snapshot(), leader.epochs().rows().to_vec()));
        let shared = self.charge.shared.clone();
        let under_way = shared.sync_under_way();
        let job = move || {
            let _under_way = under_way;
            let kept = |(producers, epochs): (Vec<_>, Vec<_>)| {
                point.checkpoint(&producers, &epochs)?;
                Ok(shared.store.facts().flush()?)
            };
            let result = point.sync().and_then(|()| match snapshot {
                Some(snapshot) => super::recovery::unless_full(kept(snapshot), &point),
                None => Ok(false),
            });
            // Not when it is heard of: whoever asked may have fallen, or left with the process, and another log would believe its pages.
            // That log may have taken the files away, too.
            if let Err(error) = &result
                && error.is_failed_sync()
                && !error.is_gone()
            {
                shared.lose(error);
            }
            Synced { end, settle, result }
        };
        self.have_done(job, ctx);
    }

    /// Page-cache mode: keeps the bytes bounded that only the page cache has.
    pub(super) fn pace(&mut self, durable: bool, ctx: &mut Context<Self>) {
        if !durable && self.bytes_since_sync > UNSYNCED_BYTES_MAX && !self.syncing {
            self.sync(None, ctx);
        }
    }

    /// Puts the log start into the facts.
    pub(super) fn keep_start(&mut self, to: Offset, ctx: &mut Context<Self>) {
        let State::Leading { log, .. } = &mut self.state else { return };
        log.set_start(to);
        // One at a time: of two on the pool, the earlier start might be written last.
        if mem::replace(&mut self.moving, true) {
            return;
        }
        let (to, checkpoint, id) = (log.start(), log.checkpoint(), self.charge.place.id);
        let shared = self.charge.shared.clone();
        let under_way = shared.sync_under_way();
        let job = move || {
            let _under_way = under_way;
            let facts = shared.store.facts();
            let kept = match planted::is(planted::Bug::StartForgotten) {
                true => Ok(()),
                false => ottla_store::facts::checkpoint::advance(facts, id, checkpoint)
                    .and_then(|()| facts.flush()),
            };
            if let Err(error) = &kept {
                log::error!(partition:% = id, error:% = error; "the log start is not kept");
                // Without room nothing is lost: who asked is told, and a sweep comes again.
                if !matches!(error, FactsError::Full(_)) {
                    shared.lose(error);
                }
            }
            StartMoved { to, safe: kept.is_ok() }
        };
        self.have_done(job, ctx);
    }

    pub(super) fn delete_segments(&mut self, log_start: Offset) {
        if self.compacting.holds_deletions() {
            return;
        }
        let State::Leading { log, .. } = &mut self.state else { return };
        let Some(doomed) = log.delete_segments(log_start) else { return };
        let (name, shared) = (self.charge.place.dir_name(), self.charge.shared.clone());
        let after_ms = self.charge.config.file_delete_delay_ms;
        log::info!(partition:% = name, below:% = log_start; "old segments are deleted");
        // Who reads from them can finish: the files go later, by a task that needs no actor.
        actix_rt::spawn(async move {
            let marked = mark(&shared, doomed).await;
            let later = shared.host.clock.now().mono_ms.saturating_add(after_ms);
            shared.host.clock.sleep_until(later).await;
            let gone = match marked {
                Ok(Some(doomed)) => shared.in_pool(move || doomed.unlink()).await,
                Ok(None) => None,
                Err(error) => Some(Err(error)),
            };
            if let Some(Err(error)) = gone {
                if error.is_failed_sync() {
                    shared.lose(&error);
                }
                log::warn!(partition:% = name, error:% = error; "old segments are not deleted");
            }
        });
    }
}

/// Marks segments as dead, again and again while there is no room to say so: theirs is what a full disk needs. None when it is not for us
/// any more.
async fn mark(shared: &Shared, mut doomed: Doomed) -> Result<Option<Doomed>, LogError> {
    let mut pauses = Pauses::default();
    loop {
        let marking = move || {
            let marked = doomed.mark();
            (doomed, marked)
        };
        let Some((back, marked)) = shared.in_pool(marking).await else { return Ok(None) };
        doomed = back;
        match marked {
            Ok(is_marked) => return Ok(is_marked.then_some(doomed)),
            Err(error) if error.is_full() || matches!(error, LogError::Busy) => {
                let until = pauses.failed(shared.now());
                shared.host.clock.sleep_until(until.0).await;
            }
            Err(error) => return Err(error),
        }
    }
}

impl Handler<Synced> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Synced { end, settle, result }: Synced, ctx: &mut Context<Self>) {
        self.syncing = false;
        let kept = match result {
            Ok(kept) => kept,
            Err(error) => {
                self.charge.shared.lose(&error);
                self.step(ctx, |leader, now, out| leader.persist_failed(now, out));
                return self.retire_now(ctx);
            }
        };
        if let State::Leading { log, .. } = &mut self.state {
            log.synced(end);
            if kept {
                log.checkpointed(end);
            }
            // As safe as the journal would have made it, and perhaps earlier.
            self.persisted(end, ctx);
            self.settled(settle.unwrap_or(0), end);
        }
        if self.retiring.is_some() {
            return self.retire_now(ctx);
        }
        if let Some(next) = self.settle_next.take() {
            self.flush(ctx);
            self.sync((next > 0).then_some(next), ctx);
        }
    }
}

impl Handler<Checkpoint> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Checkpoint { settle }: Checkpoint, ctx: &mut Context<Self>) {
        // What is staged may be what the journal's mark covers, and the snapshot must match the segment.
        self.flush(ctx);
        self.sync(settle, ctx);
    }
}

impl Handler<CheckpointRound> for PartitionActor {
    type Result = ();

    fn handle(&mut self, CheckpointRound { is_its_turn }: CheckpointRound, ctx: &mut Context<Self>) {
        self.flush(ctx);
        let State::Leading { leader, .. } = &self.state else { return };
        let has_little = leader.is_durable() && self.bytes_since_sync < rounds::LITTLE_BYTES;
        if is_its_turn || !has_little {
            self.sync(None, ctx);
        }
    }
}

impl Handler<StartMoved> for PartitionActor {
    type Result = ();

    fn handle(&mut self, StartMoved { to, safe }: StartMoved, ctx: &mut Context<Self>) {
        self.moving = false;
        self.is_start_unsafe = !safe;
        let is_told = safe || planted::is(planted::Bug::UnkeptStartTold);
        for (start, reply) in self.deleting.extract_if(.., |(start, _)| *start <= to) {
            reply.send(if is_told { Ok(start) } else { Err(DeleteError::Storage) });
        }
        if safe {
            self.delete_segments(to);
        }
        match &self.state {
            State::Leading { log, .. } if log.start() > to => {
                self.keep_start(log.start(), ctx);
            }
            State::Leading { .. } | State::Recovering { .. } | State::Offline => (),
        }
    }
}

impl Handler<DeleteBefore> for PartitionActor {
    type Result = ();

    fn handle(&mut self, delete: DeleteBefore, ctx: &mut Context<Self>) {
        let DeleteBefore { upto, reply } = delete;
        let before = match &self.state {
            State::Recovering { .. } => return,
            State::Offline => return reply.send(Err(DeleteError::Storage)),
            State::Leading { leader, .. } => leader.log_start(),
        };
        let mut moved = Err(DeleteError::NotHere);
        self.step(ctx, |leader, now, out| moved = leader.delete_before(upto, now, out));
        match moved {
            // Nothing moves: what is there is safe already, unless an earlier move still is under way.
            Ok(start)
                if start == before && self.deleting.is_empty() && !self.moving && !self.is_start_unsafe =>
            {
                reply.send(Ok(start));
            }
            Ok(start) => {
                self.deleting.push((start, reply));
                if self.is_start_unsafe {
                    self.keep_start(start, ctx);
                }
            }
            Err(error) => reply.send(Err(error)),
        }
    }
}

impl Handler<Sweep> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Sweep: Sweep, ctx: &mut Context<Self>) {
        self.flush(ctx);
        if self.rests() {
            return;
        }
        let now = self.charge.shared.now();
        let State::Leading { leader, log } = &mut self.state else { return };
        let config = leader.config();
        let keep =
            Keep { delete: config.cleanup.delete, ms: config.retention_ms, bytes: config.retention_bytes };
        let swept = sweep(&log.segments(), leader.log_start(), leader.high_watermark(), keep, now);
        let Some(mut log_start) = swept.log_start else { return };
        if swept.roll_first
            && let Err(error) = log.roll(log.end())
        {
            log::warn!(partition:% = self.charge.place.dir_name(), error:% = error; "no new segment, the last one stays");
            if error.is_failed_sync() {
                return self.charge.shared.lose(&error);
            }
            // All before it goes: there may be room then.
            let last = log.segments().last().map_or(log_start, |last| last.base);
            log_start = log_start.min(last);
        }
        let moves = log_start > leader.log_start();
        self.step(ctx, |leader, _, out| leader.move_start(log_start, out));
        let State::Leading { leader, .. } = &self.state else { return };
        if self.is_start_unsafe {
            // A move before found no room: the files go once the start is kept, which is the one that the leader tells.
            let start = leader.log_start();
            self.keep_start(start, ctx);
        } else if !moves {
            self.delete_segments(log_start);
        }
    }
}

impl Handler<Retire> for PartitionActor {
    type Result = ();

    fn handle(&mut self, retire: Retire, ctx: &mut Context<Self>) {
        self.flush(ctx);
        self.step(ctx, |leader, _, out| leader.retire(out));
        self.retiring = Some(retire);
        self.retire_now(ctx);
    }
}

impl PartitionActor {
    /// Leaves, if told to and if nobody else has the files: not in the middle of a recovery, a sync or a round of compaction,
    /// whose end is not known yet. The next owner of the directory waits for the reply.
    pub(super) fn retire_now(&mut self, ctx: &mut Context<Self>) {
        if self.retiring.is_some() && self.compacting.has_to_stop() {
            return;
        }
        if self.syncing || self.recovering || matches!(self.state, State::Recovering { .. }) {
            return;
        }
        let Some(Retire { delete, reply }) = self.retiring.take() else { return };
        self.step(ctx, |leader, _, out| leader.retire(out));
        let State::Leading { leader, mut log } = mem::replace(&mut self.state, State::Offline) else {
            reply.send(Err(ReadError::Storage));
            return ctx.stop();
        };
        if self.charge.shared.is_lost() && !delete {
            reply.send(Err(ReadError::Storage));
            return ctx.stop();
        }
        let snapshot = (leader.producers().snapshot(), leader.epochs().rows().to_vec());
        let (shared, name) = (self.charge.shared.clone(), self.charge.place.dir_name());
        let under_way = shared.sync_under_way();
        self.charge.shared.on_pool(move || {
            let _under_way = under_way;
            let done = if delete { remove(log) } else { rest(&mut log, &shared, &snapshot.0, &snapshot.1) };
            if let Err(error) = &done {
                log::error!(partition:% = name, error:% = error; "the partition could not leave in order");
                if !delete || error.is_failed_sync() {
                    shared.lose(error);
                }
            }
            reply.send(done.map_err(|_| ReadError::Storage));
        });
        ctx.stop();
    }
}

fn remove(log: Log) -> Result<(), LogError> {
    log.remove()?.unlink()
}

/// Syncs everything and says so in the facts, which the caller flushes once for all partitions.
fn rest(
    log: &mut Log,
    shared: &Shared,
    producers: &[ottla_rules::producers::ProducerEntry],
    epochs: &[(ottla_rules::ids::LeaderEpoch, Offset)],
) -> Result<(), LogError> {
    log.remove_refused()?;
    if let Some(point) = log.sync_point() {
        point.sync()?;
        log.synced(point.end());
        point.checkpoint(producers, epochs)?;
    }
    Ok(ottla_store::facts::checkpoint::advance(shared.store.facts(), log.partition(), log.checkpoint())?)
}
