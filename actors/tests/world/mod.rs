//! One node in a simulated world, which may be started again with what is left.

#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::time::Duration;

use ottla_actors::{crew::Crew, stage::shards::Shards};
use ottla_config::{Config, Endpoint, Sources};
use ottla_host::{Host, SimWorld};
use ottla_store::{FactsKind, MemoryFacts, Store};

/// Its disk and its facts.
pub struct World {
    world: SimWorld,
    facts: MemoryFacts,
}

impl World {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        Self { world: SimWorld::new(seed), facts: MemoryFacts::new() }
    }

    /// Everyone begins on what is there.
    pub fn start(&self) -> Crew {
        let host = Host::simulated(&self.world);
        let config = Config::load(&Sources { file: None, env: vec![], set: vec![] }).unwrap();
        let kind = FactsKind::Memory(self.facts.clone());
        let store = Store::open(host.disk.clone(), "/data".into(), kind, host.chance.clone()).unwrap();
        let reached = Endpoint { name: "PLAINTEXT".into(), host: "localhost".into(), port: 9092 };
        Crew::start(host, &config, store, Shards::local(), &reached).unwrap()
    }

    /// The wall clock is so much ahead from now on.
    pub fn wind_ms(&self, ms: i64) {
        self.world.set_wall_offset_ms(ms);
    }

    /// So long takes every sync that begins from now on.
    pub fn sync_takes_ms(&self, ms: u64) {
        self.world.disk().set_sync_delay_ms(ms..ms + 1);
    }

    /// So much can still be written.
    pub fn free_bytes(&self, bytes: u64) {
        self.world.disk().set_free_bytes(bytes);
    }

    /// What was not synced is gone, or not, by the seed.
    pub fn lose_power(&self, seed: u64) {
        self.world.disk().crash();
        self.facts.crash(seed);
    }
}

/// Runs a story on one thread whose clock is wound by hand.
pub fn run<F: Future<Output = ()>>(story: F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, story);
}

/// Simulated time passes only while everybody waits.
pub async fn a_moment() {
    tokio::time::advance(Duration::from_millis(1)).await;
}
