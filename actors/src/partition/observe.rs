//! What a partition says about itself.

use actix::{Context, Handler};

use super::{PartitionActor, State};
use crate::observe::{Observe, PartitionSeen, PartitionState};

impl Handler<Observe<PartitionSeen>> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Observe(reply): Observe<PartitionSeen>, _: &mut Context<Self>) {
        reply.send(Ok(self.seen()));
    }
}

impl PartitionActor {
    fn seen(&self) -> PartitionSeen {
        let epoch = self.charge.epoch;
        match &self.state {
            State::Recovering { .. } => PartitionSeen::bare(PartitionState::Recovering, epoch),
            State::Offline => PartitionSeen::bare(PartitionState::Offline, epoch),
            State::Leading { leader, log } => {
                let (parked, watchers) = leader.waiting();
                PartitionSeen {
                    state: PartitionState::Leading,
                    leader_epoch: epoch,
                    log_start: leader.log_start(),
                    high_watermark: leader.high_watermark(),
                    end: leader.end(),
                    log_bytes: log.size_bytes(),
                    parked,
                    watchers,
                }
            }
        }
    }
}
