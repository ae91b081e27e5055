//! One life of the node: from its start until somebody ends it.

use std::cell::{Cell, RefCell};
use std::fmt::Arguments;
use std::rc::Rc;
use std::sync::Arc;

use ottla_actors::coordinator::Submit;
use ottla_actors::crew::Crew;
use ottla_actors::stage::directory::Directory;
use ottla_actors::stage::reply::Reply;
use ottla_actors::stage::shards::Shards;
use ottla_config::Endpoint;
use ottla_host::{Chance, Host, SimWorld};
use ottla_rules::cluster::Command;
use ottla_rules::ids::{PartitionId, TopicId};
use ottla_rules::partition::ReadError;
use ottla_store::{FactsKind, MemoryFacts, Store};
use tokio::task::spawn_local;

use crate::ledger::{Anomaly, Ledger};
use crate::plan::Plan;
use crate::producer::{Lane, produce};
use crate::reader::{Unread, fetch, read_all};
use crate::trace::Trace;

const TOPIC: &str = "payments";
/// No recovery here takes longer.
const READY_MS_MAX: u64 = 60_000;
/// Nor does the rest of all lanes.
const DRAIN_MS_MAX: u64 = 600_000;
/// How long a node has for leaving.
const STOP_MS_MAX: u64 = 60_000;

/// What outlives the node.
pub(crate) struct Scene {
    pub(crate) plan: Plan,
    pub(crate) world: SimWorld,
    pub(crate) facts: MemoryFacts,
    /// The node's outside world; also the clock of those who use the node.
    pub(crate) host: Host,
    /// The luck of those who use the node.
    pub(crate) luck: Chance,
    pub(crate) lanes: RefCell<Vec<Lane>>,
    pub(crate) ledger: RefCell<Ledger>,
    pub(crate) trace: RefCell<Trace>,
    pub(crate) anomaly: RefCell<Option<Anomaly>>,
    /// The topic was acknowledged.
    has_topic: Cell<bool>,
    /// In this life every partition was read.
    is_ready: Cell<bool>,
}

impl Scene {
    pub(crate) fn new(plan: Plan) -> Self {
        let world = SimWorld::new(plan.seed);
        let partitions: Vec<usize> = plan.lanes.iter().map(|lane| lane.partition).collect();
        let lanes = plan.lanes.iter().enumerate().map(|(index, plan)| Lane::new(index, *plan)).collect();
        Self {
            host: Host::simulated(&world),
            luck: Host::simulated(&SimWorld::new(plan.seed ^ 0x6c75_636b)).chance,
            world,
            facts: MemoryFacts::new(),
            lanes: RefCell::new(lanes),
            ledger: RefCell::new(Ledger::new(plan.partitions, &partitions)),
            trace: RefCell::default(),
            anomaly: RefCell::default(),
            has_topic: Cell::new(false),
            is_ready: Cell::new(false),
            plan,
        }
    }

    /// Something happened.
    pub(crate) fn note(&self, what: Arguments<'_>) {
        self.trace.borrow_mut().note(self.host.clock.now().mono_ms, what);
    }

    /// Keeps the first anomaly.
    pub(crate) fn report(&self, told: Result<(), Anomaly>) {
        let Err(anomaly) = told else { return };
        self.note(format_args!("{anomaly}"));
        self.anomaly.borrow_mut().get_or_insert(anomaly);
    }

    fn start(&self) -> Result<Crew, Anomaly> {
        let unavailable = |error: &dyn std::fmt::Display| Anomaly::Unavailable(format!("no start: {error}"));
        let (host, config) = (Host::simulated(&self.world), &self.plan.config);
        let kind = FactsKind::Memory(self.facts.clone());
        let store = Store::open(host.disk.clone(), config.data_dir.clone(), kind, host.chance.clone())
            .map_err(|error| unavailable(&error))?;
        store.claim(config.node_id).map_err(|error| unavailable(&error))?;
        let reached = Endpoint { name: "PLAINTEXT".into(), host: "node".into(), port: 9092 };
        Crew::start(host, config, store, Shards::local(), &reached).map_err(|error| unavailable(&error))
    }
}

/// How a life is left to whoever ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// So many milliseconds, then nothing more is run.
    Dropped(u64),
    /// So many milliseconds, then the node leaves in order.
    Stopped(u64),
    /// Every record is acknowledged and checked.
    Drained,
}

/// Lives one life. The caller drops the task set afterwards, which ends everything that still runs.
pub(crate) async fn live(scene: Rc<Scene>, until: Until) -> Result<(), Anomaly> {
    let begin = scene.host.clock.now().mono_ms;
    scene.note(format_args!("the node starts"));
    scene.is_ready.set(false);
    let crew = scene.start()?;
    let directory = crew.directory().clone();
    let story = work(scene.clone(), directory.clone());
    let clock = scene.host.clock.clone();
    match until {
        Until::Dropped(ms) => within(story, clock.sleep_until(begin + ms)).await,
        Until::Stopped(ms) => {
            within(story, clock.sleep_until(begin + ms)).await?;
            let in_order = crew.stop(STOP_MS_MAX).await;
            scene.note(format_args!("the node has left, in order: {in_order}"));
            // Who is still recovering cannot leave in order.
            if in_order || !scene.is_ready.get() {
                return Ok(());
            }
            Err(Anomaly::Unavailable("the node does not leave in order".into()))
        }
        Until::Drained => {
            let ids = within(drain(scene.clone(), story), clock.sleep_until(begin + DRAIN_MS_MAX));
            ids.await?;
            if !scene.lanes.borrow().iter().all(Lane::is_done) {
                return Err(Anomaly::Unavailable("a producer is never answered".into()));
            }
            check_all(&scene, &directory, scene.topic(&directory).await?).await
        }
    }
}

/// Runs a story until it is over or its time is.
async fn within(
    story: impl Future<Output = Result<(), Anomaly>>,
    time: impl Future<Output = ()>,
) -> Result<(), Anomaly> {
    tokio::select! {
        biased;
        told = story => told,
        () = time => Ok(()),
    }
}

/// Everyone works until the lanes are done.
async fn drain(scene: Rc<Scene>, story: impl Future<Output = Result<(), Anomaly>>) -> Result<(), Anomaly> {
    let done = async {
        while !scene.lanes.borrow().iter().all(Lane::is_done) {
            scene.host.clock.sleep_until(scene.host.clock.now().mono_ms + 50).await;
        }
    };
    within(story, done).await
}

/// What the users of the node do: check what is there, then write and read. Ends only when something is wrong.
async fn work(scene: Rc<Scene>, directory: Directory) -> Result<(), Anomaly> {
    let topic = scene.topic(&directory).await?;
    check_all(&scene, &directory, topic).await?;
    scene.is_ready.set(true);
    let lanes: Vec<(usize, usize)> =
        scene.lanes.borrow().iter().map(|lane| (lane.index, lane.plan.partition)).collect();
    for (lane, partition) in lanes {
        let id = partition_id(topic, partition);
        spawn_local(produce(scene.clone(), directory.clone(), id, lane));
    }
    for partition in 0..scene.plan.partitions {
        spawn_local(consume(scene.clone(), directory.clone(), topic, partition));
    }
    std::future::pending().await
}

fn partition_id(topic: TopicId, partition: usize) -> PartitionId {
    PartitionId { topic, index: i32::try_from(partition).unwrap_or(i32::MAX) }
}

impl Scene {
    /// The topic, made when it is not there; it may only be missing as long as nobody was told that it is there.
    async fn topic(&self, directory: &Directory) -> Result<TopicId, Anomaly> {
        // The first image is announced by a message: before that the directory knows nothing.
        let deadline = self.host.clock.now().mono_ms + READY_MS_MAX;
        while directory.image().nodes().next().is_none() {
            self.pause(deadline, "the node's image does not come").await?;
        }
        if let Some(topic) = directory.image().topic_named(TOPIC) {
            self.has_topic.set(true);
            return Ok(topic.id);
        }
        if self.has_topic.get() {
            return Err(Anomaly::Unavailable("the topic is gone".into()));
        }
        let mut id = [0; 16];
        self.luck.fill(&mut id);
        let command = Command::CreateTopic {
            name: TOPIC.into(),
            id: TopicId(id),
            partitions: i32::try_from(self.plan.partitions).unwrap_or(i32::MAX),
            replication: 1,
            assignments: vec![],
            configs: self.plan.topic.clone(),
        };
        let (reply, answer) = Reply::once();
        let Some(coordinator) = directory.coordinator() else {
            return Err(Anomaly::Unavailable("there is no coordinator".into()));
        };
        coordinator.do_send(Submit { command, reply });
        let image: Arc<_> =
            answer.await.map_err(|error| Anomaly::Unavailable(format!("no topic: {error}")))?;
        self.has_topic.set(true);
        self.note(format_args!("the topic is there"));
        match image.topic_named(TOPIC) {
            Some(topic) => Ok(topic.id),
            None => Err(Anomaly::Unavailable("the new topic is not there".into())),
        }
    }

    async fn pause(&self, deadline: u64, what: &str) -> Result<(), Anomaly> {
        let now = self.host.clock.now().mono_ms;
        if now > deadline {
            return Err(Anomaly::Unavailable(what.to_owned()));
        }
        self.host.clock.sleep_until(now + 1).await;
        Ok(())
    }
}

/// Waits until each partition is there, reads all of it, and has the ledger judge.
async fn check_all(scene: &Scene, directory: &Directory, topic: TopicId) -> Result<(), Anomaly> {
    let deadline = scene.host.clock.now().mono_ms + READY_MS_MAX;
    for partition in 0..scene.plan.partitions {
        let id = partition_id(topic, partition);
        let log = loop {
            match read_all(directory, id).await {
                Ok(log) => break log,
                Err(Unread::Refused(ReadError::NotHere)) => {
                    scene.pause(deadline, &format!("partition {partition} does not recover")).await?;
                }
                Err(Unread::Refused(error)) => {
                    return Err(Anomaly::Unavailable(format!("partition {partition}: {error}")));
                }
                Err(Unread::Wrong(anomaly)) => return Err(anomaly),
            }
        };
        scene.note(format_args!("partition {partition} has {} records", log.len()));
        scene.ledger.borrow_mut().check(partition, &log)?;
    }
    Ok(())
}

/// Reads along, from a place of its own.
async fn consume(scene: Rc<Scene>, directory: Directory, topic: TopicId, partition: usize) {
    let (id, mut from, mut highest) = (partition_id(topic, partition), 0, 0);
    loop {
        let now = scene.host.clock.now().mono_ms;
        scene.host.clock.sleep_until(now + 1 + scene.luck.below(40)).await;
        let fetched = match fetch(&directory, id, from).await {
            Ok(fetched) => fetched,
            // A lost data directory says so; what that means is judged after the restart.
            Err(Unread::Refused(_)) => continue,
            Err(Unread::Wrong(anomaly)) => {
                scene.report(Err(anomaly));
                continue;
            }
        };
        scene.note(format_args!("partition {partition} is read from {from} to {}", fetched.next));
        if fetched.high_watermark < highest {
            let text = format!("the high watermark of {partition} fell from {highest}");
            scene.report(Err(Anomaly::Unavailable(text)));
        }
        highest = fetched.high_watermark;
        from = fetched.next;
        for (offset, mark) in fetched.records {
            let told = scene.ledger.borrow_mut().tell(partition, offset, mark);
            scene.report(told);
        }
    }
}
