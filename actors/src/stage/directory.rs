//! Who is where. Addresses of actors that can restart are looked up here when they are needed, not kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use actix::{Addr, Handler, Message};
use dashmap::DashMap;
use ottla_rules::{
    cluster::Image,
    group::partition_of,
    ids::{PartitionId, TopicId},
    topic::{CONSUMER_OFFSETS, TRANSACTION_STATE},
};
use rustc_hash::FxBuildHasher;

use crate::{
    broker::BrokerActor,
    coordinator::CoordinatorActor,
    journal::JournalActor,
    offsets::{AskGroup, OffsetsActor},
    partition::{PartitionActor, WriteMarker},
    transactions::TransactionActor,
};

/// Where a partition's actor is.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Its address.
    pub addr: Addr<PartitionActor>,
    /// The number of its shard.
    pub shard: usize,
    /// Which of the actors that this partition has had.
    pub generation: u64,
}

/// The addresses of one node. Cloning shares it.
#[derive(Clone, Default)]
pub struct Directory(Arc<Inner>);

/// Something for each partition, found for every batch and every request by a quick hash. A topic's id is drawn by this cluster, and
/// only ids that it has drawn are ever kept: nobody outside can choose keys that meet, which is what a slower hash would be for.
type ByPartition<T> = DashMap<PartitionId, T, FxBuildHasher>;

/// Over how many partitions of a coordinators' topic its groups, or transactional ids, are spread. That stays as it was when this
/// process first saw the topic, as in Kafka: with each partition more, nearly all of them would belong to another one, which
/// knows nothing of them.
#[derive(Clone, Copy)]
struct Spread {
    topic: TopicId,
    over: i32,
    /// How many it has now.
    partitions: usize,
}

#[derive(Default)]
struct Inner {
    partitions: ByPartition<Seat>,
    /// Who coordinates the groups of a partition of `__consumer_offsets`.
    offsets: ByPartition<(Addr<OffsetsActor>, u64)>,
    /// Who coordinates the transactional ids of a partition of `__transaction_state`.
    transactions: ByPartition<(Addr<TransactionActor>, u64)>,
    image: RwLock<Arc<Image>>,
    spreads: RwLock<BTreeMap<&'static str, Spread>>,
    coordinator: OnceLock<Addr<CoordinatorActor>>,
    broker: RwLock<Option<Addr<BrokerActor>>>,
    journal: OnceLock<Addr<JournalActor>>,
}

impl Directory {
    /// Tells a partition something. When nobody has it the message is dropped, and a reply in it answers by itself.
    pub fn tell<M>(&self, partition: PartitionId, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        PartitionActor: Handler<M>,
    {
        self.tell_where(partition, message);
    }

    /// As [`Directory::tell`], and says on which shard the partition lives.
    pub fn tell_where<M>(&self, partition: PartitionId, message: M) -> Option<usize>
    where
        M: Message<Result = ()> + Send + 'static,
        PartitionActor: Handler<M>,
    {
        // Borrowed, not cloned: a clone of an address costs more than the message.
        let seat = self.0.partitions.get(&partition)?;
        seat.addr.do_send(message);
        Some(seat.shard)
    }

    /// The shard a partition lives on.
    #[must_use]
    pub fn shard_of(&self, partition: PartitionId) -> Option<usize> {
        self.0.partitions.get(&partition).map(|seat| seat.shard)
    }

    /// Every partition that has an actor, in order.
    #[must_use]
    pub fn partitions(&self) -> Vec<PartitionId> {
        let mut all: Vec<_> = self.0.partitions.iter().map(|entry| *entry.key()).collect();
        all.sort_unstable();
        all
    }

    pub(crate) fn seat(&self, partition: PartitionId, seat: Seat) {
        self.0.partitions.insert(partition, seat);
    }

    /// Forgets a partition's actor, if it is still this one; whether it was.
    pub(crate) fn unseat(&self, partition: PartitionId, generation: u64) -> bool {
        self.0.partitions.remove_if(&partition, |_, seat| seat.generation == generation).is_some()
    }

    /// Forgets a partition's actor, which has been told to leave.
    pub(crate) fn vacate(&self, partition: PartitionId) {
        self.0.partitions.remove(&partition);
    }

    pub(crate) fn has(&self, partition: PartitionId) -> bool {
        self.0.partitions.contains_key(&partition)
    }

    /// Asks a group something. When this node does not coordinate it the message is dropped, and its reply answers by itself.
    pub fn ask_group(&self, ask: AskGroup) {
        let Some(partition) = self.partition_of(CONSUMER_OFFSETS, &ask.group) else { return };
        if let Some(seat) = self.0.offsets.get(&partition) {
            seat.0.do_send(ask);
        }
    }

    /// The partition of a coordinators' topic that a group, or a transactional id, belongs to; none before that topic is there.
    #[must_use]
    pub fn partition_of(&self, topic: &str, key: &str) -> Option<PartitionId> {
        let spreads = self.0.spreads.read().unwrap_or_else(PoisonError::into_inner);
        let Spread { topic, over, .. } = *spreads.get(topic)?;
        Some(PartitionId { topic, index: partition_of(key, over) })
    }

    /// Has a partition end a transaction. A partition of `__consumer_offsets` is told by whoever coordinates the groups in it,
    /// who has to know; when nobody does, the message is dropped, and its reply answers by itself.
    pub fn mark(&self, partition: PartitionId, marker: WriteMarker) {
        let image = self.image();
        let has_groups = image.topic(partition.topic).is_some_and(|topic| *topic.name == *CONSUMER_OFFSETS);
        if !has_groups {
            return self.tell(partition, marker);
        }
        if let Some(seat) = self.0.offsets.get(&partition) {
            seat.0.do_send(marker);
        }
    }

    /// Asks the coordinator of a transactional id something. When this node does not coordinate it the message is dropped, and
    /// its reply answers by itself.
    pub fn ask_transaction<M>(&self, id: &str, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        TransactionActor: Handler<M>,
    {
        let Some(partition) = self.partition_of(TRANSACTION_STATE, id) else { return };
        if let Some(seat) = self.0.transactions.get(&partition) {
            seat.0.do_send(message);
        }
    }

    /// Everyone who coordinates transactional ids here, in order of their partitions.
    #[must_use]
    pub fn transactions(&self) -> Vec<Addr<TransactionActor>> {
        let mut all: Vec<_> = self.0.transactions.iter().map(|seat| (*seat.key(), seat.0.clone())).collect();
        all.sort_unstable_by_key(|(partition, _)| *partition);
        all.into_iter().map(|(_, addr)| addr).collect()
    }

    pub(crate) fn seat_transactions(
        &self,
        partition: PartitionId,
        addr: Addr<TransactionActor>,
        generation: u64,
    ) {
        self.0.transactions.insert(partition, (addr, generation));
    }

    /// Forgets who coordinates the transactional ids of a partition, if it is still this one; whether it was.
    pub(crate) fn unseat_transactions(&self, partition: PartitionId, generation: u64) -> bool {
        self.0.transactions.remove_if(&partition, |_, seat| seat.1 == generation).is_some()
    }

    /// Forgets who coordinates the transactional ids of a partition; who it was.
    pub(crate) fn vacate_transactions(&self, partition: PartitionId) -> Option<Addr<TransactionActor>> {
        self.0.transactions.remove(&partition).map(|(_, (addr, _))| addr)
    }

    /// Everyone who coordinates groups here, in order of their partitions.
    #[must_use]
    pub fn offsets(&self) -> Vec<Addr<OffsetsActor>> {
        let mut all: Vec<_> = self.0.offsets.iter().map(|seat| (*seat.key(), seat.0.clone())).collect();
        all.sort_unstable_by_key(|(partition, _)| *partition);
        all.into_iter().map(|(_, addr)| addr).collect()
    }

    pub(crate) fn seat_offsets(&self, partition: PartitionId, addr: Addr<OffsetsActor>, generation: u64) {
        self.0.offsets.insert(partition, (addr, generation));
    }

    /// Forgets who coordinates the groups of a partition, if it is still this one; whether it was.
    pub(crate) fn unseat_offsets(&self, partition: PartitionId, generation: u64) -> bool {
        self.0.offsets.remove_if(&partition, |_, seat| seat.1 == generation).is_some()
    }

    /// Forgets who coordinates the groups of a partition; who it was.
    pub(crate) fn vacate_offsets(&self, partition: PartitionId) -> Option<Addr<OffsetsActor>> {
        self.0.offsets.remove(&partition).map(|(_, (addr, _))| addr)
    }

    /// What the cluster knows, as this node has applied it.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.0.image.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn publish(&self, image: Arc<Image>) {
        self.spread(&image);
        *self.0.image.write().unwrap_or_else(PoisonError::into_inner) = image;
    }

    /// What the coordinators' topics of this image are spread over.
    fn spread(&self, image: &Image) {
        let mut spreads = self.0.spreads.write().unwrap_or_else(PoisonError::into_inner);
        for name in [CONSUMER_OFFSETS, TRANSACTION_STATE] {
            let Some(topic) = image.topic_named(name) else {
                spreads.remove(name);
                continue;
            };
            let (id, partitions) = (topic.id, topic.partitions.len());
            let over = i32::try_from(partitions).unwrap_or(i32::MAX);
            let anew = Spread { topic: id, over, partitions };
            let spread = spreads.entry(name).or_insert(anew);
            if spread.topic != id {
                *spread = anew;
            } else if spread.partitions != partitions {
                spread.partitions = partitions;
                log::warn!(topic = name, spread_over = spread.over, partitions; "a topic of the coordinators has another number of partitions now: it counts from the next start on, and what is in the partitions of before is not found then");
            }
        }
    }

    pub(crate) fn set_coordinator(&self, addr: Addr<CoordinatorActor>) {
        // Set once, at start: the coordinator is the root and is not restarted.
        let _ = self.0.coordinator.set(addr);
    }

    pub(crate) fn set_journal(&self, addr: Addr<JournalActor>) {
        // Set once: a journal that ended takes its data directory with it until the process starts again.
        let _ = self.0.journal.set(addr);
    }

    pub(crate) fn set_broker(&self, addr: Addr<BrokerActor>) {
        *self.0.broker.write().unwrap_or_else(PoisonError::into_inner) = Some(addr);
    }

    /// The coordinator; none before the node has started.
    #[must_use]
    pub fn coordinator(&self) -> Option<&Addr<CoordinatorActor>> {
        self.0.coordinator.get()
    }

    pub(crate) fn journal(&self) -> Option<&Addr<JournalActor>> {
        self.0.journal.get()
    }

    pub(crate) fn broker(&self) -> Option<Addr<BrokerActor>> {
        self.0.broker.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
