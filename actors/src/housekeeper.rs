//! HousekeeperActor: the schedule of what is done from time to time. One timer for all partitions.

use std::sync::Arc;

use actix::{Actor, Context, Handler};
use ottla_rules::time::{Deadline, Now};

use crate::{
    partition::{Checkpoint, Sweep},
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
}

impl HousekeeperActor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let now = shared.now();
        let (checkpoint, sweep) = (now.after(every(&shared, CHECKPOINT)), now.after(every(&shared, SWEEP)));
        Self { shared, alarm: Alarm::default(), space: now.after(0), checkpoint, sweep }
    }

    fn look(&mut self, now: Now) {
        if self.space.is_due(now) {
            self.space = now.after(if self.shared.is_full() { FULL_EVERY_MS } else { SPACE_EVERY_MS });
            let shared = self.shared.clone();
            self.shared.on_pool(move || shared.look_at_space());
        }
        let directory = &self.shared.directory;
        if self.checkpoint.is_due(now) {
            self.checkpoint = now.after(every(&self.shared, CHECKPOINT));
            directory.partitions().into_iter().for_each(|it| directory.tell(it, Checkpoint { settle: None }));
        }
        if self.sweep.is_due(now) {
            self.sweep = now.after(every(&self.shared, SWEEP));
            directory.partitions().into_iter().for_each(|it| directory.tell(it, Sweep));
        }
    }
}

const CHECKPOINT: &str = "log.flush.offset.checkpoint.interval.ms";
const SWEEP: &str = "log.retention.check.interval.ms";

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
        self.look(now);
        self.alarm.set(Some(self.space.min(self.checkpoint).min(self.sweep)), now, ctx);
    }
}
