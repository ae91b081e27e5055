//! One actor at a time: what its shell does with what its machine decides. A [`Probe`] stands for each neighbour that is
//! told something, and the clock is wound by hand.

mod coordinator;
mod journal;
mod replay;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Actor, Addr, Context, Handler, Message};
use ottla_config::{Config, Sources};
use ottla_host::{Host, SimWorld};
use ottla_rules::{
    batch::build::BatchBuilder,
    cluster::{Command, Image},
    floods::Manner,
    ids::{LeaderEpoch, Offset, PartitionId, TopicId},
    partition::{Acks, AppendError, Appended},
    supervision::Exit,
};
use ottla_store::{FactsKind, MemoryFacts, Place, Store};

use crate::{
    broker::{BrokerActor, ImageChanged},
    coordinator::Applied,
    housekeeper::HousekeeperActor,
    partition::{Append, Charge, CheckpointRound, PartitionActor, Provoke, Retire},
    shared::Shared,
    stage::{
        reply::Reply,
        shards::Shard,
        watched::{ChildDown, ChildName, spawn_watched},
    },
};

/// An actor that keeps what it is told.
struct Probe<M>(Arc<Mutex<Vec<M>>>);

impl<M: Unpin + 'static> Actor for Probe<M> {
    type Context = Context<Self>;
}

impl<M: Message<Result = ()> + Unpin + 'static> Handler<M> for Probe<M> {
    type Result = ();

    fn handle(&mut self, told: M, _: &mut Context<Self>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }
}

impl<M: Message<Result = ()> + Unpin + Send + 'static> Probe<M> {
    fn start() -> (Addr<Self>, Arc<Mutex<Vec<M>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        (Probe(told.clone()).start(), told)
    }
}

/// Waits until something was told, and takes it.
async fn next<M>(told: &Mutex<Vec<M>>) -> M {
    loop {
        let first = told.lock().unwrap().pop();
        if let Some(first) = first {
            return first;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

const ID: PartitionId = PartitionId { topic: TopicId([7; 16]), index: 0 };

/// A story about one actor of a node of which nobody else is there.
fn tell(story: impl AsyncFnOnce(Arc<Shared>, SimWorld)) {
    let world = SimWorld::new(1);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let set = vec!["log.dirs=/data".to_owned()];
        let config = Config::load(&Sources { set, ..Sources::default() }).unwrap();
        let host = Host::simulated(&world);
        let kind = FactsKind::Memory(MemoryFacts::new());
        let store = Store::open(host.disk.clone(), "/data".into(), kind, host.chance.clone()).unwrap();
        let shared = Shared::new(host, store, &config, Default::default(), 0);
        story(shared, world).await;
    });
}

/// A cluster of this node, with one topic of so many partitions.
fn image(shared: &Shared, partitions: i32) -> Image {
    let mut image = Image::new("cluster");
    let register = Command::RegisterNode { id: shared.node, host: "here".into(), port: 9092, rack: None };
    let create = Command::CreateTopic {
        name: "payments".into(),
        id: ID.topic,
        partitions,
        replication: 1,
        assignments: vec![],
        configs: Default::default(),
    };
    for command in [register, create] {
        for change in image.decide(&command, &shared.given).unwrap() {
            image.apply(&change);
        }
    }
    image
}

/// The first partition, whose end is heard of.
fn partition(
    shared: &Arc<Shared>,
    flush_messages: u64,
) -> (Addr<PartitionActor>, Arc<Mutex<Vec<ChildDown>>>) {
    partition_at(shared, 0, flush_messages)
}

/// A partition that leads. One that need not flush acknowledges from the page cache and needs no journal.
fn partition_at(
    shared: &Arc<Shared>,
    index: i32,
    flush_messages: u64,
) -> (Addr<PartitionActor>, Arc<Mutex<Vec<ChildDown>>>) {
    let id = PartitionId { index, ..ID };
    let image = image(shared, index + 1);
    let topic = image.topic(ID.topic).unwrap();
    let mut config = image.topic_config(topic, &shared.given);
    config.flush_messages = flush_messages;
    let place = Place { id, topic: "payments".into() };
    let charge = Charge {
        place,
        epoch: LeaderEpoch(3),
        replicas: 1,
        config: Arc::new(config),
        shared: shared.clone(),
        is_new: true,
    };
    let (parent, told) = Probe::start();
    let make = move |_: &mut Context<PartitionActor>| PartitionActor::new(charge);
    let child = ChildName::Partition(id, 1);
    (spawn_watched(&Shard::local(), child, parent.recipient(), make), told)
}

fn append(to: &Addr<PartitionActor>) -> impl Future<Output = Result<Appended, AppendError>> + use<> {
    append_of(to, "v")
}

fn append_of(
    to: &Addr<PartitionActor>,
    value: &str,
) -> impl Future<Output = Result<Appended, AppendError>> + use<> {
    let (append, answer) = one(value);
    to.do_send(append);
    answer
}

/// A batch of one record to append, and its answer.
fn one(value: &str) -> (Append, impl Future<Output = Result<Appended, AppendError>> + use<>) {
    let (reply, answer) = Reply::once();
    let batch = BatchBuilder::new().value(value, 1).parsed();
    let (acks, transaction, manner) = (Acks::Leader, None, Manner::Other);
    (Append { batch, acks, patience_ms: 1_000, transaction, manner, reply }, answer)
}

#[test]
fn a_partition_answers_a_burst_in_its_order_and_leaves_when_it_is_told_to() {
    tell(async |shared, _| {
        let (partition, ended) = partition(&shared, 1_000);
        let burst: Vec<_> = (0..5).map(|_| append(&partition)).collect();
        for (base, answer) in (0..).zip(burst) {
            assert_eq!(answer.await.unwrap().base, Offset(base));
        }
        let (reply, left) = Reply::once();
        partition.do_send(Retire { delete: false, reply });
        assert_eq!(left.await, Ok(()));
        assert!(matches!(next(&ended).await.exit, Exit::Stopped));
        assert_eq!(append(&partition).await, Err(AppendError::NotHere), "nobody is there any more");
    });
}

#[test]
fn a_partition_without_a_journal_promises_nothing() {
    tell(async |shared, _| {
        let (partition, _ended) = partition(&shared, 1);
        assert_eq!(append(&partition).await, Err(AppendError::Storage));
        assert_eq!(append(&partition).await, Err(AppendError::Storage), "nor later");
    });
}

#[test]
fn a_batch_that_is_safe_is_acknowledged_however_little_patience_its_producer_has() {
    tell(async |shared, _| {
        let (partition, _ended) = partition(&shared, 1_000);
        let (append, answer) = one("v");
        partition.do_send(Append { patience_ms: 0, ..append });
        assert_eq!(answer.await.map(|appended| appended.base), Ok(Offset(0)));
    });
}

#[test]
fn a_durable_partition_with_little_to_sync_waits_for_its_turn_and_any_other_does_not() {
    tell(async |shared, _| {
        let after_a_round = async |partition: &Addr<PartitionActor>, index, is_its_turn| {
            partition.do_send(CheckpointRound { is_its_turn });
            // Simulated: by then the sync is over, if there was one.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let id = PartitionId { index, ..ID };
            ottla_store::facts::checkpoint::get(shared.store.facts(), id).unwrap().map(|it| it.recovery_point)
        };
        let (durable, _ended) = partition_at(&shared, 0, 1);
        // Nobody is there to make it durable; it is written all the same.
        append(&durable).await.unwrap_err();
        assert_eq!(after_a_round(&durable, 0, false).await, None);
        assert_eq!(after_a_round(&durable, 0, true).await, Some(Offset(1)));
        let (cached, _ended) = partition_at(&shared, 1, 1_000);
        append(&cached).await.unwrap();
        assert_eq!(after_a_round(&cached, 1, false).await, Some(Offset(1)), "only the page cache has it");
        let (much, _ended) = partition_at(&shared, 2, 1);
        append_of(&much, &"v".repeat(64 << 10)).await.unwrap_err();
        assert_eq!(after_a_round(&much, 2, false).await, Some(Offset(1)));
    });
}

#[test]
fn a_partition_that_panics_is_reported_and_answers_those_behind_it() {
    tell(async |shared, _| {
        let (partition, ended) = partition(&shared, 1_000);
        append(&partition).await.unwrap();
        partition.do_send(Provoke);
        assert_eq!(append(&partition).await, Err(AppendError::NotHere));
        let down = next(&ended).await;
        assert_eq!(down.child, ChildName::Partition(ID, 1));
        assert!(matches!(down.exit, Exit::Panicked(text) if text == "provoked"));
    });
}

#[test]
fn the_broker_seats_who_leads_then_publishes_and_then_reports() {
    tell(async |shared, _| {
        let ((parent, _), (coordinator, applied)) = (Probe::start(), Probe::<Applied>::start());
        let before = Arc::new(Image::new("cluster"));
        let shards = vec![Shard::local()];
        let broker =
            BrokerActor::new(shared.clone(), shards, parent.recipient(), coordinator.recipient(), before)
                .start();

        let three = Arc::new(image(&shared, 3));
        broker.do_send(ImageChanged { image: three.clone() });
        assert_eq!(next(&applied).await.version, three.version());
        assert_eq!(shared.directory.image().version(), three.version());
        let seated = shared.directory.partitions();
        assert_eq!(seated, [0, 1, 2].map(|index| PartitionId { index, ..ID }));

        let mut none = Image::clone(&three);
        for change in none.decide(&Command::DeleteTopic { id: ID.topic }, &shared.given).unwrap() {
            none.apply(&change);
        }
        broker.do_send(ImageChanged { image: Arc::new(none) });
        next(&applied).await;
        assert!(shared.directory.partitions().is_empty(), "who was told to leave is not found any more");
    });
}

#[test]
fn the_housekeeper_notices_a_full_disk_and_looks_more_often_until_space_returns() {
    tell(async |shared, world| {
        let _housekeeper = HousekeeperActor::new(shared.clone()).start();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!shared.is_full());

        world.disk().set_free_bytes(1);
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        assert!(shared.is_full());
        // It learns of that when it looks the next time.
        tokio::time::sleep(Duration::from_millis(2_100)).await;

        world.disk().set_free_bytes(1 << 40);
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert!(!shared.is_full());
    });
}
