//! From the files to a partition that leads; and what comes before the files have been looked through.

use std::{mem, ops::Range, time::Duration};

use actix::{AsyncContext, Context, Handler};
use ottla_rules::{
    ids::Offset,
    partition::{
        AppendError, Patience,
        leader::{Leader, Start},
    },
};
use ottla_store::{Log, LogConfig, LogError, Place, SyncPoint, log::recover::Recovered};

use super::{Append, Charge, Opened, PartitionActor, Recover, State, TooLong};
use crate::{journal::Settled, shared::Shared};

/// How long a recovery waits that found the files being renamed by what an actor before had begun.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// How long a recovery that found no room on the disk waits before it tries again.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// How long batches wait for a recovery: well below what clients wait for an answer.
pub(super) const EARLY_MAX: Duration = Duration::from_secs(5);

/// Recovers a partition. What a killed process left in the page cache counts only once it is synced: else a reader sees
/// it, or a producer that sends it again is told that it is there, and the next power cut takes it.
fn open(shared: &Shared, place: Place, config: LogConfig) -> Result<(Log, Recovered), LogError> {
    let id = place.id;
    if shared.is_lost() {
        return Err(LogError::Lost);
    }
    // To the end: who finds its actor dead and deletes the directory waits until nothing is synced there any more.
    let Some(hold) = shared.store.hold(id) else { return Err(LogError::Busy) };
    let (mut log, found) = Log::recover_held(&shared.store, place, config, shared.found(id), &hold)?;
    let _under_way = shared.sync_under_way();
    if let Some(point) = log.sync_point() {
        if let Err(error) = point.sync() {
            shared.lose(&error);
            return Err(error);
        }
        let kept = point.checkpoint(&found.producers.snapshot(), found.epochs.rows());
        let kept = kept.and_then(|()| Ok(shared.store.facts().flush()?));
        log.synced(point.end());
        // The journal is about to forget what no file tells: without room for that it is tried again later.
        let is_kept = match found.producers_from_journal {
            true => kept.map(|()| true),
            false => unless_full(kept, &point),
        };
        if is_kept? {
            log.checkpointed(point.end());
        }
    } else if found.producers_from_journal {
        // No file is left that could tell, and the journal is about to forget.
        let facts = shared.store.facts();
        ottla_store::facts::producers::put(facts, id, found.end, &found.producers.snapshot())?;
        ottla_store::facts::epochs::replace(facts, id, found.epochs.rows())?;
        facts.flush()?;
    }
    shared.forget_found(id);
    Ok((log, found))
}

/// Facts that only save time later on may be missing: the next recovery reads from an older point. Whether they are kept.
pub(super) fn unless_full(kept: Result<(), LogError>, point: &SyncPoint) -> Result<bool, LogError> {
    match kept {
        Err(error) if error.is_full() => {
            log::warn!(end:% = point.end(), error:% = error; "no checkpoint, the next recovery reads from an older one");
            Ok(false)
        }
        kept => kept.map(|()| true),
    }
}

impl PartitionActor {
    pub(super) fn recover(&mut self, ctx: &mut Context<Self>) {
        let Charge { place, config, shared, .. } = self.charge.clone();
        let config = LogConfig::of(&place.topic, &config, &shared.limits());
        self.recovering = true;
        self.have_done(move || Opened(open(&shared, place, config).map(Box::new)), ctx);
    }

    pub(super) fn lead(&mut self, mut log: Log, found: Recovered, ctx: &mut Context<Self>) {
        let Charge { epoch, config, replicas, shared, .. } = self.charge.clone();
        let Recovered { log_start, end, producers, epochs, .. } = found;
        // It may have changed since the recovery began.
        log.configure(LogConfig::of(&self.charge.place.topic, &config, &shared.limits()));
        let start = Start { epoch, log_start, end, producers, epochs };
        let leader = Leader::new(start, config, shared.limits(), replicas);
        let before = mem::replace(&mut self.state, State::Leading { leader, log });
        // What was recovered is synced: the journal may forget what it knew.
        self.settled(shared.found_upto, end);
        if shared.is_lost() {
            self.step(ctx, |leader, now, out| leader.persist_failed(now, out));
        }
        if let State::Recovering { early } = before {
            early.into_line().into_iter().for_each(|append| self.append(append, ctx));
        }
    }

    pub(super) fn settled(&self, upto: u64, end: Offset) {
        if self.charge.shared.is_lost() {
            return; // The next start needs all that the journal has.
        }
        if let Some(journal) = self.charge.shared.directory.journal() {
            journal.do_send(Settled { partition: self.id(), upto, end });
        }
    }

    /// A batch, and a log to put it in.
    pub(super) fn append(&mut self, append: Append, ctx: &mut Context<Self>) {
        let Append { batch, acks, patience_ms, transaction, manner, reply } = append;
        self.hardening.came(manner);
        if self.charge.shared.is_full() {
            return reply.send(Err(AppendError::Storage));
        }
        self.step(ctx, |leader, now, out| match transaction {
            None => leader.append(batch, acks, patience_ms, reply, now, out),
            Some(joining) => {
                let patience = Patience::of_producer(patience_ms);
                leader.append_in(&joining, batch, acks, patience, reply, now, out);
            }
        });
    }
}

impl Handler<Opened> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Opened(opened): Opened, ctx: &mut Context<Self>) {
        self.recovering = false;
        let (log, found) = match opened {
            Ok(opened) => *opened,
            Err(LogError::Busy) if self.retiring.is_none() => {
                ctx.notify_later(Recover, BUSY_PAUSE);
                return;
            }
            Err(error) => {
                if error.is_failed_sync() {
                    self.charge.shared.lose(&error);
                }
                self.go_offline(&error);
                if error.is_full() {
                    ctx.notify_later(Recover, FULL_PAUSE);
                }
                return self.retire_now(ctx);
            }
        };
        if let Some(cut) = &found.cut {
            log::warn!(file:% = cut.file.display(), at = cut.at, why:% = cut.why; "the log was cut where it broke off");
        }
        for Range { start, end } in &found.missing {
            log::error!(
                partition:% = self.charge.place.dir_name(), from:% = start, upto:% = end;
                "records are missing, a segment is gone or too short: readers go on behind them"
            );
        }
        self.lead(log, found, ctx);
        self.retire_now(ctx);
    }
}

impl Handler<Recover> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Recover: Recover, ctx: &mut Context<Self>) {
        self.recover(ctx);
    }
}

impl Handler<TooLong> for PartitionActor {
    type Result = ();

    fn handle(&mut self, TooLong: TooLong, _: &mut Context<Self>) {
        if let State::Recovering { early } = &mut self.state {
            early.close();
        }
    }
}
