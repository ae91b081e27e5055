//! BrokerActor: turns metadata changes into starts and retirements of partitions.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use actix::{Actor, AsyncContext, Context, Handler};
use ottla_rules::{
    cluster::{Image, Step, diff},
    ids::PartitionId,
    topic::{CONSUMER_OFFSETS, TRANSACTION_STATE},
};
use ottla_store::Place;

use crate::{
    coordinator::Applied,
    journal::Forgotten,
    offsets::{OffsetsActor, OffsetsCharge, Resign, TopicsGone},
    partition::{Charge, Configure, LimitsChanged, PartitionActor, Retire},
    shared::Shared,
    stage::{
        To,
        directory::Seat,
        messages,
        reply::Reply,
        shards::Shard,
        watched::{ChildDown, ChildName, spawn_watched},
    },
    transactions::{self, TransactionActor, TransactionCharge},
};

/// The cluster has decided; this is what it knows now.
pub(crate) struct ImageChanged {
    pub(crate) image: Arc<Image>,
}

/// Who coordinated the groups, or the transactional ids, of this partition fell: somebody else takes over.
pub(crate) struct CoordinateAgain {
    pub(crate) partition: PartitionId,
}

/// A partition has left its files.
struct Left {
    dir_name: String,
    partition: PartitionId,
    deleted: bool,
}

messages!(ImageChanged, CoordinateAgain, Left);

/// The actor that carries out what an image means for this node.
pub struct BrokerActor {
    shared: Arc<Shared>,
    shards: Vec<Shard>,
    parent: To<ChildDown>,
    coordinator: To<Applied>,
    /// What has been carried out.
    image: Arc<Image>,
    generation: u64,
    /// Directories that an earlier partition still holds, and who waits for each: a directory has one owner.
    leaving: BTreeMap<String, VecDeque<Charge>>,
}

impl BrokerActor {
    /// A broker that takes what it finds in the directory as carried out: an empty image on the first start.
    pub(crate) fn new(
        shared: Arc<Shared>,
        shards: Vec<Shard>,
        parent: To<ChildDown>,
        coordinator: To<Applied>,
        image: Arc<Image>,
    ) -> Self {
        // Later than any generation of a broker before this one: a clock that never goes back.
        let generation = shared.now().mono_ms << 20;
        Self { shared, shards, parent, coordinator, image, generation, leaving: BTreeMap::new() }
    }

    fn carry_out(&mut self, step: Step, image: &Image, ctx: &mut Context<Self>) {
        match step {
            Step::Retire { partition, name, delete } => {
                if let Some(offsets) = self.shared.directory.vacate_offsets(partition) {
                    offsets.do_send(Resign);
                }
                if let Some(transactions) = self.shared.directory.vacate_transactions(partition) {
                    transactions.do_send(transactions::Resign);
                }
                if !self.shared.directory.has(partition) && !delete {
                    return; // Its actor died: there is nobody to retire, and its files are free.
                }
                let place = Place { id: partition, topic: name };
                let dir_name = place.dir_name();
                self.leaving.entry(dir_name.clone()).or_default();
                let (reply, left) = Reply::once();
                self.shared.directory.tell(partition, Retire { delete, reply });
                self.shared.directory.vacate(partition);
                let me = ctx.address();
                actix_rt::spawn(async move {
                    // Whether it left in order is in the log; either way its actor is gone.
                    let _ = left.await;
                    me.do_send(Left { dir_name, partition, deleted: delete });
                });
            }
            Step::Start { partition, name, epoch, replicas, config } => {
                let place = Place { id: partition, topic: name };
                // The first image of a node tells what was there before; what a later one adds is new.
                let is_new = self.image.version() > 0 && self.image.partition(partition).is_none();
                let charge = Charge { place, epoch, replicas, config, shared: self.shared.clone(), is_new };
                match self.leaving.get_mut(&charge.place.dir_name()) {
                    Some(queue) => queue.push_back(charge),
                    None => self.start(charge, image),
                }
            }
            Step::Configure { partition, config } => {
                self.shared.directory.tell(partition, Configure { config });
            }
        }
        debug_assert!(image.version() >= self.image.version(), "images come in order");
    }

    fn start(&mut self, charge: Charge, image: &Image) {
        self.generation += 1;
        let (partition, generation) = (charge.place.id, self.generation);
        let shard = self.shard_of(partition);
        let is_new = charge.is_new;
        let child = ChildName::Partition(partition, generation);
        let make = move |_: &mut Context<PartitionActor>| PartitionActor::new(charge);
        let addr = spawn_watched(&self.shards[shard], child, self.parent.clone(), make);
        self.shared.directory.seat(partition, Seat { addr, shard, generation });
        self.coordinate(partition, is_new, image);
    }

    /// Neighbours on different shards, the topics not all beginning on the same one.
    fn shard_of(&self, partition: PartitionId) -> usize {
        (partition.topic.0[15] as usize + partition.index.unsigned_abs() as usize) % self.shards.len()
    }

    /// Whoever leads a partition of `__consumer_offsets` coordinates its groups, beside the partition; and whoever leads one of
    /// `__transaction_state` its transactional ids.
    fn coordinate(&mut self, partition: PartitionId, is_new: bool, image: &Image) {
        let Some(topic) = image.topic(partition.topic) else { return };
        let settings = image.settings(self.shared.node, &self.shared.given);
        let batch_bytes_max = image.topic_config(topic, &settings).max_message_bytes;
        match &*topic.name {
            CONSUMER_OFFSETS => {
                self.coordinate_groups(partition, is_new, image.version(), batch_bytes_max);
            }
            TRANSACTION_STATE => {
                let epoch = image.partition(partition).map_or_else(Default::default, |there| there.epoch);
                let charge = TransactionCharge {
                    partition,
                    epoch,
                    image_version: image.version(),
                    batch_bytes_max,
                    shared: self.shared.clone(),
                };
                self.coordinate_transactions(charge);
            }
            _ => (),
        }
    }

    fn coordinate_groups(
        &mut self,
        partition: PartitionId,
        is_new: bool,
        image_version: u64,
        batch_bytes_max: usize,
    ) {
        self.generation += 1;
        let (generation, shared) = (self.generation, self.shared.clone());
        let shard = self.shards[self.shard_of(partition)].clone();
        let charge =
            OffsetsCharge { partition, image_version, is_new, batch_bytes_max, shared, shard: shard.clone() };
        let make = move |_: &mut Context<OffsetsActor>| OffsetsActor::new(charge);
        let child = ChildName::Offsets(partition, generation);
        let addr = spawn_watched(&shard, child, self.parent.clone(), make);
        self.shared.directory.seat_offsets(partition, addr, generation);
    }

    fn coordinate_transactions(&mut self, charge: TransactionCharge) {
        self.generation += 1;
        let (generation, partition) = (self.generation, charge.partition);
        let make = move |_: &mut Context<TransactionActor>| TransactionActor::new(charge);
        let child = ChildName::Transactions(partition, generation);
        let shard = &self.shards[self.shard_of(partition)];
        let addr = spawn_watched(shard, child, self.parent.clone(), make);
        self.shared.directory.seat_transactions(partition, addr, generation);
    }
}

impl Actor for BrokerActor {
    type Context = Context<Self>;
}

impl Handler<ImageChanged> for BrokerActor {
    type Result = ();

    fn handle(&mut self, ImageChanged { image }: ImageChanged, ctx: &mut Context<Self>) {
        // First, so that who starts now starts within them.
        if self.shared.follow(&image) {
            let directory = &self.shared.directory;
            directory.partitions().into_iter().for_each(|partition| directory.tell(partition, LimitsChanged));
        }
        for step in diff(&self.image, &image, self.shared.node, &self.shared.given) {
            self.carry_out(step, &image, ctx);
        }
        let topics_gone = self.image.topics().any(|topic| image.topic(topic.id).is_none());
        self.image = image.clone();
        self.shared.directory.publish(image.clone());
        if topics_gone {
            for offsets in self.shared.directory.offsets() {
                offsets.do_send(TopicsGone { image: image.clone() });
            }
        }
        self.coordinator.do_send(Applied { version: image.version() });
    }
}

impl Handler<Left> for BrokerActor {
    type Result = ();

    fn handle(&mut self, Left { dir_name, partition, deleted }: Left, _: &mut Context<Self>) {
        if deleted && let Some(journal) = self.shared.directory.journal() {
            journal.do_send(Forgotten { partition });
        }
        // Created, deleted and created again while it waited: the last one counts, those before it never began.
        let last = self.leaving.remove(&dir_name).and_then(|mut queue| queue.pop_back());
        if let Some(charge) = last.filter(|charge| self.image.partition(charge.place.id).is_some()) {
            let image = self.image.clone();
            self.start(charge, &image);
        }
    }
}

impl Handler<CoordinateAgain> for BrokerActor {
    type Result = ();

    fn handle(&mut self, CoordinateAgain { partition }: CoordinateAgain, _: &mut Context<Self>) {
        // Without the partition's actor there is nothing to coordinate: whoever starts it sees to that.
        if self.shared.directory.has(partition) {
            let image = self.image.clone();
            self.coordinate(partition, false, &image);
        }
    }
}
