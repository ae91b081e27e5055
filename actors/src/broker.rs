//! BrokerActor: turns metadata changes into starts and retirements of partitions.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, Handler};
use ottla_rules::{
    cluster::{Image, Step, diff},
    ids::PartitionId,
    topic::{CONSUMER_OFFSETS, TRANSACTION_STATE},
};
use ottla_store::{LogError, Place};

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

/// How long a removal waits that found the files being renamed by what an actor before had begun, and how often.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
const BUSY_TRIES: usize = 500;

/// A directory that an earlier partition still holds: a directory has one owner.
struct Leaving {
    /// Who holds it, until it says that it has left.
    holder: PartitionId,
    /// Who gets it then.
    next: Option<Charge>,
}

/// The actor that carries out what an image means for this node.
pub struct BrokerActor {
    shared: Arc<Shared>,
    shards: Vec<Shard>,
    parent: To<ChildDown>,
    coordinator: To<Applied>,
    /// What has been carried out.
    image: Arc<Image>,
    generation: u64,
    /// By the name of the directory.
    leaving: BTreeMap<String, Leaving>,
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
                self.retire(Place { id: partition, topic: name }, delete, ctx);
            }
            Step::Start { partition, name, epoch, replicas, config } => {
                let place = Place { id: partition, topic: name };
                // The first image of a node tells what was there before; what a later one adds is new.
                let is_new = self.image.version() > 0 && self.image.partition(partition).is_none();
                let charge = Charge { place, epoch, replicas, config, shared: self.shared.clone(), is_new };
                match self.leaving.get_mut(&charge.place.dir_name()) {
                    // Created, deleted and created again while it waited: the last one counts.
                    Some(leaving) => leaving.next = Some(charge),
                    None => self.start(charge, image),
                }
            }
            Step::Configure { partition, config } => {
                // Who waits for its directory has no actor yet that could be told.
                let mut waiting = self.leaving.values_mut().filter_map(|leaving| leaving.next.as_mut());
                if let Some(charge) = waiting.find(|charge| charge.place.id == partition) {
                    charge.config = config.clone();
                }
                self.shared.directory.tell(partition, Configure { config });
            }
        }
        debug_assert!(image.version() >= self.image.version(), "images come in order");
    }

    fn retire(&mut self, place: Place, delete: bool, ctx: &mut Context<Self>) {
        let (partition, dir_name) = (place.id, place.dir_name());
        if let Some(leaving) = self.leaving.get_mut(&dir_name)
            && leaving.next.take_if(|next| next.place.id == partition).is_some()
            && leaving.holder != partition
        {
            return; // It never began, and nothing in the directory is its own.
        }
        if !self.shared.directory.has(partition) && !delete {
            return; // Its actor died: there is nobody to retire, and its files are free.
        }
        self.leaving.insert(dir_name.clone(), Leaving { holder: partition, next: None });
        let (reply, left) = Reply::once();
        self.shared.directory.tell(partition, Retire { delete, reply });
        self.shared.directory.vacate(partition);
        let (me, shared) = (ctx.address(), self.shared.clone());
        actix_rt::spawn(async move {
            // Whether it left in order is in the log; either way its actor is gone.
            let has_left = left.await.is_ok();
            if delete && !has_left {
                remove_left_behind(&shared, place).await;
            }
            me.do_send(Left { dir_name, partition, deleted: delete });
        });
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

/// The partition is deleted, and no actor had its files: it was offline, or nobody was there.
async fn remove_left_behind(shared: &Arc<Shared>, place: Place) {
    for _ in 0..BUSY_TRIES {
        let (store, gone) = (shared.store.clone(), place.clone());
        match shared.in_pool(move || store.remove(&gone)).await {
            Some(Err(LogError::Busy)) => {
                let now = shared.host.clock.now().mono_ms;
                shared.host.clock.sleep_until(now + BUSY_PAUSE.as_millis() as u64).await;
            }
            Some(Err(error)) => {
                if error.is_failed_sync() {
                    shared.lose(&error);
                }
                return log::error!(
                    partition:% = place.dir_name(), error:% = error;
                    "the files of a deleted partition are still there; they go when the node starts again"
                );
            }
            Some(Ok(())) | None => return,
        }
    }
    log::error!(partition:% = place.dir_name(); "the files of a deleted partition are still being renamed; they go when the node starts again");
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
        let topics_gone = self.image.has_lost_topics(&image);
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
        if deleted {
            self.shared.forget_found(partition);
            if let Some(journal) = self.shared.directory.journal() {
                journal.do_send(Forgotten { partition });
            }
        }
        let next = self.leaving.remove(&dir_name).and_then(|leaving| leaving.next);
        if let Some(charge) = next.filter(|charge| self.image.partition(charge.place.id).is_some()) {
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
