//! Markers on their way to partitions. A partition that cannot take one now is told again, until it has it or is gone.

use std::sync::Arc;

use actix::{AsyncContext, Context};
use ottla_rules::{
    batch::marker::Marker,
    ids::{LeaderEpoch, PartitionId},
    partition::{AppendError, Appended, Mark},
    planted,
    time::{Deadline, Now},
    transaction::{Protocol, Session, TopicPartition},
};

use super::TransactionActor;
use crate::{
    partition::WriteMarker,
    shared::Shared,
    stage::{messages, reply::Reply},
};

/// How long a partition has to make a marker safe, milliseconds.
const PATIENCE_MS: u64 = 30_000;
/// How long after a refusal it is told again.
const AGAIN_MS: u64 = 100;

/// A partition has answered; none: it is gone.
pub(super) struct Marked {
    pub(super) id: String,
    pub(super) partition: TopicPartition,
    pub(super) result: Option<Result<Appended, AppendError>>,
}

messages!(Marked);

/// One marker for one partition.
#[derive(Clone)]
struct Due {
    id: String,
    mark: Mark,
    partition: TopicPartition,
}

/// The markers that a coordinator has to write.
pub(super) struct Markers {
    shared: Arc<Shared>,
    epoch: LeaderEpoch,
    /// Under way.
    sent: Vec<Due>,
    /// Refused, and when they are sent again.
    refused: Vec<(Deadline, Due)>,
}

impl Markers {
    pub(super) fn new(shared: Arc<Shared>, epoch: LeaderEpoch) -> Self {
        Self { shared, epoch, sent: Vec::new(), refused: Vec::new() }
    }

    /// Sends a marker to each partition.
    pub(super) fn write(
        &mut self,
        id: &str,
        session: Session,
        protocol: Protocol,
        commit: bool,
        partitions: Vec<TopicPartition>,
        ctx: &Context<TransactionActor>,
    ) {
        let marker = Marker { commit, coordinator_epoch: self.epoch.0 };
        let mark = Mark { producer: session.producer, epoch: session.epoch, marker, protocol };
        for partition in partitions {
            let mut mark = mark;
            mark.marker.commit ^= planted::is(planted::Bug::MarkerTurned) && partition.index == 1;
            self.send(Due { id: id.to_owned(), mark, partition }, ctx);
        }
    }

    fn send(&mut self, due: Due, ctx: &Context<TransactionActor>) {
        let (me, id, partition) = (ctx.address(), due.id.clone(), due.partition.clone());
        let image = self.shared.directory.image();
        let there = image
            .topic_named(&partition.topic)
            .map(|topic| PartitionId { topic: topic.id, index: partition.index });
        let Some(there) = there.filter(|there| image.partition(*there).is_some()) else {
            self.sent.push(due);
            return me.do_send(Marked { id, partition, result: None });
        };
        let (reply, answer) = Reply::once();
        self.shared.directory.mark(there, WriteMarker { mark: due.mark, patience_ms: PATIENCE_MS, reply });
        self.sent.push(due);
        actix_rt::spawn(async move {
            me.do_send(Marked { id, partition, result: Some(answer.await) });
        });
    }

    /// Takes note of an answer; whether the partition needs no marker any more.
    pub(super) fn is_done(
        &mut self,
        id: &str,
        partition: &TopicPartition,
        result: Option<Result<Appended, AppendError>>,
        now: Now,
    ) -> bool {
        let at = self.sent.iter().position(|due| due.id == id && due.partition == *partition);
        let Some(due) = at.map(|at| self.sent.swap_remove(at)) else { return false };
        match result {
            None | Some(Ok(_)) => true,
            // A later session has written there already, so the transaction was ended before; or a later coordinator has
            // taken over, and sees to it.
            Some(Err(AppendError::Fenced { .. } | AppendError::CoordinatorFenced { .. })) => {
                log::warn!(id = id, topic = partition.topic, partition = partition.index; "a marker came too late and was not written");
                true
            }
            Some(Err(error)) => {
                log::debug!(id = id, topic = partition.topic, partition = partition.index, error:% = error; "marker not written yet");
                self.refused.push((now.after(AGAIN_MS), due));
                false
            }
        }
    }

    /// Sends again what is due.
    pub(super) fn again(&mut self, now: Now, ctx: &Context<TransactionActor>) {
        let due: Vec<_> = self.refused.extract_if(.., |(deadline, _)| deadline.is_due(now)).collect();
        due.into_iter().for_each(|(_, due)| self.send(due, ctx));
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.refused.iter().map(|(deadline, _)| *deadline).min()
    }
}
