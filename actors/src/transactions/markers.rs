//! Markers on their way to partitions. A partition that cannot take one now is told again, until it has it or is gone.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

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
    sent: BTreeMap<(String, TopicPartition), Due>,
    refused: Refused,
}

/// Markers that were refused, and when they are sent again. All wait as long, so that the first is due first: there may be very many.
#[derive(Default)]
struct Refused(VecDeque<(Deadline, Due)>);

impl Refused {
    fn push(&mut self, due: Due, now: Now) {
        self.0.push_back((now.after(AGAIN_MS), due));
    }

    fn take_due(&mut self, now: Now) -> Vec<Due> {
        let next = || self.0.pop_front_if(|(deadline, _)| deadline.is_due(now)).map(|(_, due)| due);
        std::iter::from_fn(next).collect()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        self.0.front().map(|(deadline, _)| *deadline)
    }
}

impl Markers {
    pub(super) fn new(shared: Arc<Shared>, epoch: LeaderEpoch) -> Self {
        Self { shared, epoch, sent: BTreeMap::new(), refused: Refused::default() }
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
            self.sent.insert((id.clone(), partition.clone()), due);
            return me.do_send(Marked { id, partition, result: None });
        };
        let (reply, answer) = Reply::once();
        self.shared.directory.mark(there, WriteMarker { mark: due.mark, reply });
        self.sent.insert((id.clone(), partition.clone()), due);
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
        let Some(due) = self.sent.remove(&(id.to_owned(), partition.clone())) else { return false };
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
                self.refused.push(due, now);
                false
            }
        }
    }

    /// Sends again what is due.
    pub(super) fn again(&mut self, now: Now, ctx: &Context<TransactionActor>) {
        self.refused.take_due(now).into_iter().for_each(|due| self.send(due, ctx));
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.refused.next_deadline()
    }
}

#[cfg(test)]
mod tests {
    use ottla_rules::ids::{ProducerEpoch, ProducerId};

    use super::*;

    #[test]
    fn what_was_refused_first_is_sent_again_first_and_when_it_is_due() {
        let at = |mono_ms| Now { mono_ms, ..Now::default() };
        let due = |index| Due {
            id: "orders".into(),
            mark: Mark {
                producer: ProducerId(1),
                epoch: ProducerEpoch(0),
                marker: Marker { commit: true, coordinator_epoch: 0 },
                protocol: Protocol::V2,
            },
            partition: TopicPartition { topic: "t".into(), index },
        };
        let taken = |refused: &mut Refused, ms| {
            refused.take_due(at(ms)).into_iter().map(|due| due.partition.index).collect::<Vec<_>>()
        };
        let mut refused = Refused::default();
        for (index, ms) in [(3, 0), (1, 0), (2, 50)] {
            refused.push(due(index), at(ms));
        }
        assert_eq!(refused.next_deadline(), Some(Deadline(AGAIN_MS)));
        assert_eq!(taken(&mut refused, AGAIN_MS - 1), []);
        assert_eq!(taken(&mut refused, AGAIN_MS), [3, 1]);
        assert_eq!(refused.next_deadline(), Some(Deadline(AGAIN_MS + 50)));
        // Very many of one outage: each is looked at once, and not all of them for each.
        (0..100_000).for_each(|index| refused.push(due(index), at(60)));
        assert_eq!(taken(&mut refused, 1_000).len(), 100_001);
        assert_eq!(refused.next_deadline(), None);
    }
}
