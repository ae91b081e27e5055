//! One node as its APIs see it: what it is called, what it allows, and the way to those who know.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ottla_actors::coordinator::{Submit, TakeProducerId};
use ottla_actors::offsets::AskGroup;
use ottla_actors::shared::Shared;
use ottla_actors::stage::directory::Directory;
use ottla_actors::stage::reply::Reply;
use ottla_actors::transactions::{SessionReply, TransactionActor};
use ottla_config::Endpoint;
use ottla_host::Host;
use ottla_rules::batch::BatchRules;
use ottla_rules::cluster::{Change, Command, CommandError, Image, Partition, Topic};
use ottla_rules::fetch_sessions::FetchSessions;
use ottla_rules::group::{Ask, Outcome};
use ottla_rules::ids::{LeaderEpoch, NodeId, PartitionId, ProducerId, TopicId};
use ottla_rules::limits::Limits;
use ottla_rules::settings::BrokerSettings;
use ottla_rules::time::Now;
use ottla_rules::topic::CONSUMER_OFFSETS;
use ottla_rules::transaction::{Session, TopicPartition, TransactionError};
use ottla_wire::api::ApiKey;
use ottla_wire::codes::Code;

use crate::door::Credit;

/// What every connection of a node shares.
pub(crate) struct Server {
    /// What its actors are given.
    pub(crate) shared: Arc<Shared>,
    /// The outside world.
    pub(crate) host: Host,
    /// Where those are who know. What is told to somebody who is not there is dropped, and its `Reply` answers by
    /// itself, with an error that every client tries again. So no API has to look first.
    pub(crate) directory: Directory,
    /// This node.
    pub(crate) node: NodeId,
    /// What clients are told about its address; `None`: the address by which they came.
    pub(crate) advertise: Option<Endpoint>,
    /// Its zone.
    pub(crate) rack: Option<String>,
    /// What it was started with.
    pub(crate) given: BrokerSettings,
    /// What all listeners share.
    pub(crate) common: Arc<Common>,
    rules: Mutex<RulesOfTopics>,
}

/// A node that clients can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broker {
    /// Its number.
    pub(crate) node: NodeId,
    /// Its host, as the client should say it.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: i32,
    /// Its zone.
    pub(crate) rack: Option<String>,
}

/// What a topic asks of those who produce to it.
#[derive(Clone)]
pub(crate) struct TopicRules {
    /// What it allows in a batch.
    pub(crate) batch: Arc<BatchRules>,
    /// A batch is answered when it is synced.
    pub(crate) is_durable: bool,
}

/// The rules of the topics that were produced to under one image.
#[derive(Default)]
struct RulesOfTopics {
    version: u64,
    topics: BTreeMap<TopicId, TopicRules>,
}

/// What the servers of one node share, whichever listener they belong to.
pub(crate) struct Common {
    /// The fetch sessions.
    pub(crate) fetch_sessions: Mutex<FetchSessions>,
    /// What all connections may hold in memory, by `queued.max.request.bytes`: a bound of the node, as in Kafka, not of one listener.
    pub(crate) credit: Arc<Credit>,
    /// How often each error was the answer.
    pub(crate) errors: Mutex<BTreeMap<(ApiKey, Code), u64>>,
}

impl Common {
    /// Nothing has happened yet.
    pub(crate) fn new(limits: &Limits) -> Arc<Common> {
        let fetch_sessions = Mutex::new(FetchSessions::new(limits.fetch_sessions_max));
        let credit = Credit::new(limits.queued_bytes_max);
        Arc::new(Common { fetch_sessions, credit, errors: Mutex::default() })
    }

    /// A partition was refused for this. The only count that takes a lock: nobody is in a hurry to be refused.
    pub(crate) fn refused(&self, key: ApiKey, code: Code) {
        *self.errors.lock().unwrap_or_else(PoisonError::into_inner).entry((key, code)).or_default() += 1;
    }
}

impl Server {
    /// A node that is about to open its door.
    pub(crate) fn new(
        shared: Arc<Shared>,
        config: &ottla_config::Config,
        advertise: Option<Endpoint>,
        common: Arc<Common>,
    ) -> Server {
        Server {
            host: shared.host.clone(),
            directory: shared.directory.clone(),
            shared,
            node: config.node_id,
            advertise,
            rack: config.rack.clone(),
            given: config.settings.clone(),
            common,
            rules: Mutex::default(),
        }
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Now {
        let now = self.host.clock.now();
        Now { mono_ms: now.mono_ms, wall_ms: now.wall_ms }
    }

    /// All facts at this moment.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.directory.image()
    }

    /// The bounds that count now.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.shared.limits()
    }

    /// The settings that count now: those of the start under those set since.
    pub(crate) fn settings(&self, image: &Image) -> BrokerSettings {
        image.settings(self.node, &self.given)
    }

    /// What a topic asks of those who produce to it. Kept until the image changes: it is asked for with every produce.
    pub(crate) fn topic_rules(&self, image: &Image, topic: &Topic) -> TopicRules {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if rules.version != image.version() {
            *rules = RulesOfTopics { version: image.version(), ..RulesOfTopics::default() };
        }
        let found = rules.topics.entry(topic.id).or_insert_with(|| {
            let config = image.topic_config(topic, &self.settings(image));
            TopicRules {
                batch: Arc::new(config.batch_rules(&self.limits())),
                is_durable: config.is_durable(),
            }
        });
        found.clone()
    }

    /// Every node of the cluster, as a client should reach it that reached us by `reached`.
    pub(crate) fn brokers(&self, image: &Image, reached: SocketAddr) -> Vec<Broker> {
        let brokers = image.nodes().map(|node| {
            if node.id == self.node {
                return self.myself(reached);
            }
            Broker {
                node: node.id,
                host: node.host.clone(),
                port: i32::from(node.port),
                rack: node.rack.clone(),
            }
        });
        brokers.collect()
    }

    fn myself(&self, reached: SocketAddr) -> Broker {
        let (host, port) = match &self.advertise {
            Some(endpoint) => (endpoint.host.clone(), endpoint.port),
            None => (reached.ip().to_canonical().to_string(), reached.port()),
        };
        Broker { node: self.node, host, port: i32::from(port), rack: self.rack.clone() }
    }

    /// Who leads a partition, and in which reign.
    pub(crate) fn leader_of(&self, partition: PartitionId) -> Option<(NodeId, LeaderEpoch)> {
        let image = self.image();
        let found = image.partition(partition)?;
        Some((found.leader, image.leader_epoch(found)))
    }

    /// An id for a new topic: random, version 4, never one that begins with a dash (Kafka's `Uuid.randomUuid`: tools
    /// would take it for an option).
    pub(crate) fn draw_topic_id(&self) -> TopicId {
        loop {
            let mut bytes = [0; 16];
            self.host.chance.fill(&mut bytes);
            bytes[6] = bytes[6] & 0x0f | 0x40;
            bytes[8] = bytes[8] & 0x3f | 0x80;
            let id = TopicId(bytes);
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// Has the cluster decide a command. Sent when this returns; the future only waits, for the facts after it.
    pub(crate) fn submit(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Arc<Image>, CommandError>> + use<> {
        let (reply, answer) = Reply::once();
        if let Some(coordinator) = self.directory.coordinator() {
            coordinator.do_send(Submit { command, reply });
        }
        answer
    }

    /// The same, or only its checks (`validate_only`).
    pub(crate) fn submit_or_check(
        &self,
        command: Command,
        check_only: bool,
    ) -> impl Future<Output = Submitted> + use<> {
        let way = if check_only { Err(self.check(&command)) } else { Ok(self.submit(command)) };
        async move {
            match way {
                Ok(answer) => answer.await.map(Done::CarriedOut),
                Err(checked) => checked,
            }
        }
    }

    /// The same on behalf of someone who waits for `timeout_ms`. As in Kafka's controller nothing is begun when that is no time
    /// at all, and what has begun goes on when nobody waits for it any more.
    pub(crate) fn submit_within(
        &self,
        timeout_ms: i32,
        command: Command,
        check_only: bool,
    ) -> impl Future<Output = Submitted> + use<> {
        let wait = u64::try_from(timeout_ms).ok().filter(|wait| *wait > 0).map(|wait| {
            let due_ms = self.host.clock.now().mono_ms + wait;
            (self.host.clock.clone(), due_ms, self.submit_or_check(command, check_only))
        });
        async move {
            let Some((clock, due_ms, answer)) = wait else { return Err(CommandError::TimedOut) };
            tokio::select! {
                biased;
                answer = answer => answer,
                () = clock.sleep_until(due_ms) => Err(CommandError::TimedOut),
            }
        }
    }

    /// What would come of a command. A request may bring many, whose answers are kept until all are there; so nothing is kept but
    /// what one of them tells.
    fn check(&self, command: &Command) -> Submitted {
        let image = self.image();
        let changes = image.decide(command, &self.settings(&image))?;
        let made = changes.into_iter().find_map(|change| match change {
            Change::TopicCreated { id, partitions, configs, .. } => Some(Made::of(id, &partitions, configs)),
            Change::NodeRegistered(_)
            | Change::TopicDeleted { .. }
            | Change::PartitionsAdded { .. }
            | Change::PartitionChanged { .. }
            | Change::TopicConfigured { .. }
            | Change::BrokerConfigured { .. }
            | Change::GroupConfigured { .. }
            | Change::ProducerIdsTaken { .. }
            | Change::FeatureSet { .. } => None,
        });
        Ok(Done::Checked(made))
    }

    /// Asks a group something. Sent when this returns; the future only waits.
    pub(crate) fn ask_group(&self, group: &str, ask: Ask) -> impl Future<Output = Outcome> + use<> {
        let (reply, answer) = Reply::once();
        self.directory.ask_group(AskGroup { group: group.into(), ask, reply });
        answer
    }

    /// The partition of `__consumer_offsets` that a group's offsets are in; none before that topic is there.
    pub(crate) fn partition_of_group(&self, group: &str) -> Option<TopicPartition> {
        let PartitionId { index, .. } = self.directory.partition_of(CONSUMER_OFFSETS, group)?;
        Some(TopicPartition { topic: CONSUMER_OFFSETS.to_owned(), index })
    }

    /// Asks the coordinator of a transactional id something that is answered with a session. Sent when this returns; the
    /// future only waits.
    pub(crate) fn ask_transaction<M, F>(
        &self,
        id: &str,
        make: F,
    ) -> impl Future<Output = Result<Session, TransactionError>> + use<M, F>
    where
        F: FnOnce(Arc<str>, SessionReply) -> M,
        M: actix::Message<Result = ()> + Send + 'static,
        TransactionActor: actix::Handler<M>,
    {
        let (reply, answer) = Reply::once();
        self.directory.ask_transaction(id, make(id.into(), reply));
        answer
    }

    /// Takes a producer id. Sent when this returns; the future only waits.
    pub(crate) fn take_producer_id(&self) -> impl Future<Output = Result<ProducerId, CommandError>> + use<> {
        let (reply, answer) = Reply::once();
        if let Some(coordinator) = self.directory.coordinator() {
            coordinator.do_send(TakeProducerId { reply });
        }
        answer
    }
}

/// What came of a command, or would.
pub(crate) enum Done {
    /// It was carried out: the facts after it.
    CarriedOut(Arc<Image>),
    /// It would be: the topic that it would make, if one.
    Checked(Option<Made>),
}

/// A topic as the answer to its making tells of it.
pub(crate) struct Made {
    /// Its id.
    pub(crate) id: TopicId,
    /// How many partitions it has.
    pub(crate) n_partitions: usize,
    /// How many replicas each of them has.
    pub(crate) n_replicas: usize,
    /// Its settings of its own.
    pub(crate) configs: BTreeMap<String, String>,
}

impl Made {
    /// What is told of a topic with these partitions and settings.
    pub(crate) fn of(id: TopicId, partitions: &[Partition], configs: BTreeMap<String, String>) -> Made {
        let n_replicas = partitions.first().map_or(0, |partition| partition.replicas.len());
        Made { id, n_partitions: partitions.len(), n_replicas, configs }
    }
}

/// What a command comes to.
pub(crate) type Submitted = Result<Done, CommandError>;
