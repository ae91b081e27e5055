//! HousekeeperActor: the schedule of what is done from time to time. One timer for all partitions.

use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler};
use ottla_rules::{
    compaction::{bids::Bids, cleaner::Cleaner},
    ids::PartitionId,
    rounds::Rounds,
    time::{Deadline, Now},
};

use crate::{
    partition::{Bid, CheckpointRound, Compact, OfferCompaction, Permit, PermitEnded, Sweep},
    shared::Shared,
    stage::alarm::{Alarm, Wake},
};

/// How often the free space is looked at.
const SPACE_EVERY_MS: u64 = 2_000;
/// The same while the disk is full and appends are refused.
const FULL_EVERY_MS: u64 = 250;

/// The actor that keeps the schedule.
pub struct HousekeeperActor {
    shared: Arc<Shared>,
    alarm: Alarm,
    space: Deadline,
    checkpoint: Deadline,
    sweep: Deadline,
    compact: Deadline,
    rounds: Rounds,
    /// Who wants to be compacted, and who is.
    bids: Bids,
}

impl HousekeeperActor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let now = shared.now();
        let (checkpoint, sweep) = (now.after(every(&shared, CHECKPOINT)), now.after(every(&shared, SWEEP)));
        let compact = now.after(every(&shared, COMPACT));
        Self {
            shared,
            alarm: Alarm::default(),
            space: now.after(0),
            checkpoint,
            sweep,
            compact,
            rounds: Rounds::default(),
            bids: Bids::new(),
        }
    }

    fn look(&mut self, now: Now, ctx: &mut Context<Self>) {
        if self.space.is_due(now) {
            self.space = now.after(if self.shared.is_full() { FULL_EVERY_MS } else { SPACE_EVERY_MS });
            self.shared.look_soon();
        }
        let directory = &self.shared.directory;
        if self.checkpoint.is_due(now) {
            self.checkpoint = now.after(every(&self.shared, CHECKPOINT));
            for (it, is_its_turn) in self.rounds.next(&directory.partitions()) {
                directory.tell(it, CheckpointRound { is_its_turn });
            }
        }
        if self.sweep.is_due(now) {
            self.sweep = now.after(every(&self.shared, SWEEP));
            directory.partitions().into_iter().for_each(|it| directory.tell(it, Sweep));
        }
        if self.compact.is_due(now) {
            self.compact = now.after(every(&self.shared, COMPACT));
            if self.cleaner().rounds_max > 0 {
                directory.partitions().into_iter().for_each(|it| self.offer(it, ctx));
            }
        }
    }

    fn cleaner(&self) -> Cleaner {
        Cleaner::of(&self.shared.directory.image().settings(self.shared.node, &self.shared.given))
    }

    fn offer(&self, partition: PartitionId, ctx: &Context<Self>) {
        self.shared.directory.tell(partition, OfferCompaction { to: ctx.address().recipient() });
    }

    /// Lets those begin that there is room for.
    fn hand_out(&mut self, ctx: &Context<Self>) {
        let cleaner = self.cleaner();
        while let Some(partition) = self.bids.next(cleaner.rounds_max) {
            let permit = Permit::new(partition, ctx.address().recipient());
            self.shared.directory.tell(partition, Compact { cleaner, permit });
        }
    }
}

const CHECKPOINT: &str = "log.flush.offset.checkpoint.interval.ms";
const SWEEP: &str = "log.retention.check.interval.ms";
const COMPACT: &str = "log.cleaner.backoff.ms";

/// How often, by a setting in milliseconds; at least 1.
fn every(shared: &Shared, setting: &str) -> u64 {
    let settings = shared.directory.image().settings(shared.node, &shared.given);
    u64::try_from(settings.int(setting)).unwrap_or(u64::MAX).max(1)
}

impl Actor for HousekeeperActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let now = self.shared.now();
        self.alarm.set(Some(self.space), now, ctx);
    }
}

impl Handler<Wake> for HousekeeperActor {
    type Result = ();

    fn handle(&mut self, Wake: Wake, ctx: &mut Context<Self>) {
        self.alarm.rang();
        let now = self.shared.now();
        self.look(now, ctx);
        let next = self.space.min(self.checkpoint).min(self.sweep).min(self.compact);
        self.alarm.set(Some(next), now, ctx);
    }
}

impl Handler<Bid> for HousekeeperActor {
    type Result = ();

    fn handle(&mut self, Bid { partition, ratio }: Bid, ctx: &mut Context<Self>) {
        self.bids.bid(partition, ratio);
        self.hand_out(ctx);
    }
}

impl Handler<PermitEnded> for HousekeeperActor {
    type Result = ();

    fn handle(&mut self, PermitEnded { partition, was_used }: PermitEnded, ctx: &mut Context<Self>) {
        self.bids.ended(partition);
        if was_used {
            // There may be more to do than one round had memory for.
            self.offer(partition, ctx);
        }
        self.hand_out(ctx);
    }
}
