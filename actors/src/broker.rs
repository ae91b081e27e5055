//! BrokerActor: turns metadata changes into starts and retirements of partitions.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use actix::{Actor, AsyncContext, Context, Handler};
use ottla_rules::{
    cluster::{Image, Step, diff},
    ids::PartitionId,
};
use ottla_store::Place;

use crate::{
    coordinator::Applied,
    journal::Forgotten,
    partition::{Charge, Configure, PartitionActor, Retire},
    shared::Shared,
    stage::{
        To,
        directory::Seat,
        messages,
        reply::Reply,
        shards::Shard,
        watched::{ChildDown, ChildName, spawn_watched},
    },
};

/// The cluster has decided; this is what it knows now.
pub(crate) struct ImageChanged {
    pub(crate) image: Arc<Image>,
}

/// A partition has left its files.
struct Left {
    dir_name: String,
    partition: PartitionId,
    deleted: bool,
}

messages!(ImageChanged, Left);

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
                    None => self.start(charge),
                }
            }
            Step::Configure { partition, config } => {
                self.shared.directory.tell(partition, Configure { config });
            }
        }
        debug_assert!(image.version() >= self.image.version(), "images come in order");
    }

    fn start(&mut self, charge: Charge) {
        self.generation += 1;
        let (partition, generation) = (charge.place.id, self.generation);
        // Neighbours on different shards, the topics not all beginning on the same one.
        let shard =
            (partition.topic.0[15] as usize + partition.index.unsigned_abs() as usize) % self.shards.len();
        let child = ChildName::Partition(partition, generation);
        let make = move |_: &mut Context<PartitionActor>| PartitionActor::new(charge);
        let addr = spawn_watched(&self.shards[shard], child, self.parent.clone(), make);
        self.shared.directory.seat(partition, Seat { addr, shard, generation });
    }
}

impl Actor for BrokerActor {
    type Context = Context<Self>;
}

impl Handler<ImageChanged> for BrokerActor {
    type Result = ();

    fn handle(&mut self, ImageChanged { image }: ImageChanged, ctx: &mut Context<Self>) {
        for step in diff(&self.image, &image, self.shared.node, &self.shared.given) {
            self.carry_out(step, &image, ctx);
        }
        self.image = image.clone();
        self.shared.directory.publish(image.clone());
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
            self.start(charge);
        }
    }
}
