//! One node, with what outlives it, in a simulated world.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::{future::Future, sync::Arc, time::Duration};

use ottla_actors::{
    coordinator::Submit,
    crew::Crew,
    partition::{Append, PlanRead},
    stage::{reply::Reply, shards::Shards},
};
use ottla_config::{Config, Endpoint, Sources};
use ottla_host::{Host, SimWorld};
use ottla_rules::{
    batch::{Batch, build::BatchBuilder},
    cluster::{Command, CommandError, Image},
    floods::Manner,
    ids::{Offset, PartitionId, TopicId},
    partition::{Acks, AppendError, Appended, ReadAsk, ReadError},
};
use ottla_store::{FactsKind, MemoryFacts, Store};

/// What outlives a node.
pub(crate) struct Home {
    pub(crate) world: SimWorld,
    pub(crate) facts: MemoryFacts,
    pub(crate) journal_bytes_max: u64,
}

pub(crate) const TOPIC: TopicId = TopicId([7; 16]);

pub(crate) fn partition(index: i32) -> PartitionId {
    PartitionId { topic: TOPIC, index }
}

impl Home {
    pub(crate) fn new(seed: u64) -> Self {
        Self { world: SimWorld::new(seed), facts: MemoryFacts::new(), journal_bytes_max: 1 << 26 }
    }

    /// One life of the node, on a runtime of its own. At its end everything is dropped, as by `kill -9`.
    pub(crate) fn live<T>(&self, story: impl AsyncFnOnce(&mut Node) -> T) -> T {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        tokio::task::LocalSet::new()
            .block_on(&runtime, async { story(&mut Node { crew: Some(self.start()) }).await })
    }

    pub(crate) fn start(&self) -> Crew {
        let journal = format!("journal.bytes.max={}", self.journal_bytes_max);
        let set = ["node.id=1", "log.dirs=/data", "listeners=PLAINTEXT://127.0.0.1:9092", &journal];
        let config =
            Config::load(&Sources { set: set.map(Into::into).into(), ..Sources::default() }).unwrap();
        let host = Host::simulated(&self.world);
        let kind = FactsKind::Memory(self.facts.clone());
        let store =
            Store::open(host.disk.clone(), config.data_dir.clone(), kind, host.chance.clone()).unwrap();
        store.claim(config.node_id).unwrap();
        let reached = &Endpoint::list("PLAINTEXT://here:9092").unwrap()[0];
        Crew::start(host, &config, store, Shards::local(), reached).unwrap()
    }

    /// The power goes while the node is dead.
    pub(crate) fn lose_power(&self, draw: u64) {
        self.world.disk().crash();
        self.facts.crash(draw);
    }
}

pub(crate) struct Node {
    pub(crate) crew: Option<Crew>,
}

impl Node {
    pub(crate) fn crew(&self) -> &Crew {
        self.crew.as_ref().unwrap()
    }

    pub(crate) async fn stop(&mut self) -> bool {
        self.stop_within(10_000).await
    }

    /// Leaves with so little patience.
    pub(crate) async fn stop_within(&mut self, patience_ms: u64) -> bool {
        self.crew.take().unwrap().stop(patience_ms).await
    }

    pub(crate) async fn submit(&self, command: Command) -> Result<Arc<Image>, CommandError> {
        let coordinator = self.crew().directory().coordinator().unwrap();
        let (reply, answer) = Reply::once();
        coordinator.do_send(Submit { command, reply });
        answer.await
    }

    pub(crate) async fn create(&self, id: TopicId, partitions: i32, configs: &[(&str, &str)]) -> Arc<Image> {
        self.create_named("payments", id, partitions, configs).await
    }

    pub(crate) async fn create_named(
        &self,
        name: &str,
        id: TopicId,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Arc<Image> {
        let configs = configs.iter().map(|(name, value)| ((*name).into(), Some((*value).into())));
        let command = Command::CreateTopic {
            name: name.into(),
            id,
            partitions,
            replication: 1,
            assignments: vec![],
            configs: configs.collect(),
        };
        self.submit(command).await.unwrap()
    }

    pub(crate) fn append(
        &self,
        to: PartitionId,
        value: &str,
    ) -> impl Future<Output = Result<Appended, AppendError>> + use<> {
        self.append_batch(to, BatchBuilder::new().record("key", value, 1_750_000_000_000).parsed())
    }

    pub(crate) fn append_batch(
        &self,
        to: PartitionId,
        batch: Batch,
    ) -> impl Future<Output = Result<Appended, AppendError>> + use<> {
        let (reply, answer) = Reply::once();
        let append = Append {
            batch,
            acks: Acks::All,
            patience_ms: 30_000,
            transaction: None,
            manner: Manner::Other,
            reply,
        };
        self.crew().directory().tell(to, append);
        answer
    }

    /// Appends until the partition is there.
    pub(crate) async fn append_for_sure(&self, to: PartitionId, value: &str) -> Offset {
        loop {
            match self.append(to, value).await {
                Ok(appended) => return appended.base,
                // Time is simulated: it stands still until everyone waits.
                Err(AppendError::NotHere) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) async fn read(&self, from: PartitionId) -> Result<(Vec<u8>, Offset), ReadError> {
        self.read_from(from, Offset(0)).await
    }

    pub(crate) async fn read_from(
        &self,
        from: PartitionId,
        offset: Offset,
    ) -> Result<(Vec<u8>, Offset), ReadError> {
        let ask =
            ReadAsk { from: offset, current_epoch: None, last_fetched_epoch: None, committed_only: false };
        let (reply, answer) = Reply::once();
        self.crew()
            .directory()
            .tell(from, PlanRead { ask, bytes_max: 1 << 20, bell: None, is_alone: true, reply });
        let plan = answer.await?;
        let bytes = plan.slice.map(|slice| slice.read(true).unwrap().read().unwrap()).unwrap_or_default();
        Ok((bytes, plan.bounds.high_watermark))
    }
}

pub(crate) fn holds(bytes: &[u8], value: &str) -> bool {
    bytes.windows(value.len()).any(|window| window == value.as_bytes())
}
