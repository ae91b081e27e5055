//! One seed, from the first start to the last check.

use std::any::Any;
use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ottla::Node;
use ottla_actors::stage::shards::Shards;
use ottla_host::{Fault, Host};
use ottla_store::FactsKind;
use turmoil::Sim;

use crate::admin::administer;
use crate::anomaly::Anomaly;
use crate::consumer::consume_all;
use crate::copier::{copy_all, watch_all};
use crate::members::{self, live_all};
use crate::plan::{End, Life, Plan, Spell, Trouble};
use crate::producer::produce_all;
use crate::scene::{CLEANED, CONSUMERS, NODE, PRODUCERS, Scene};

/// No seed needs so long for its last life.
const DRAIN_MS_MAX: u64 = 120_000;
/// How long a node has for leaving: its own limits are shorter.
const STOP_MS_MAX: u64 = 10_000;
/// How long the last recovery and the last reading may take.
const CHECK_MS_MAX: u64 = 60_000;
/// Segments on their way to one socket: more than any client here lets pile up.
const TCP_SEGMENTS: usize = 4096;

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// A hash over all events: the same for the same seed.
    pub trace: u64,
    /// How many events there were.
    pub events: u64,
    /// Records that were acknowledged.
    pub acked: u64,
    /// Milliseconds that passed in the simulation.
    pub simulated_ms: u64,
    /// The first broken promise.
    pub anomaly: Option<Anomaly>,
    /// The last events, one a line.
    pub last: String,
}

/// Lives the plan of a seed through.
///
/// # Panics
/// When the machine has no file descriptors for a runtime.
#[must_use]
pub fn run(seed: u64) -> Report {
    run_plan(Plan::of(seed))
}

/// Lives any plan through.
///
/// # Panics
/// As [`run`].
#[must_use]
pub fn run_plan(plan: Plan) -> Report {
    watch_panics();
    let seed = plan.seed;
    let scene = Rc::new(Scene::new(plan));
    let simulated = catch_unwind(AssertUnwindSafe(|| World::new(scene.clone()).live_all()));
    if let Err(panic) = simulated {
        scene.report(Err(Anomaly::Panicked(text_of(panic.as_ref()))));
    }
    scene.take_panics();
    let trace = scene.trace.borrow();
    Report {
        seed,
        trace: trace.hash(),
        events: trace.count(),
        acked: scene.ledger.borrow().acked(),
        simulated_ms: scene.outside_ms.get(),
        anomaly: scene.anomaly.borrow().clone(),
        last: trace.last(),
    }
}

/// Runs the plans of seeds on all cores, one world a thread, and gives each report to `judge`, in any order.
pub fn run_all(seeds: Range<u64>, plan: impl Fn(u64) -> Plan + Sync, judge: impl Fn(Report) + Sync) {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    judge(run_plan(plan(seed)));
                }
            });
        }
    });
}

/// The simulated network with everybody in it.
struct World {
    sim: Sim<'static>,
    scene: Rc<Scene>,
}

impl World {
    fn new(scene: Rc<Scene>) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(scene.plan.seed)
            .simulation_duration(Duration::MAX)
            .min_message_latency(Duration::ZERO)
            .max_message_latency(Duration::from_millis(scene.plan.latency_ms_max))
            .tcp_capacity(TCP_SEGMENTS)
            .build();
        let own = scene.clone();
        sim.host(NODE, move || live(own.clone()));
        let own = scene.clone();
        sim.host(PRODUCERS, move || write(own.clone()));
        let own = scene.clone();
        sim.host(CONSUMERS, move || {
            tokio::task::spawn_local(administer(own.clone()));
            read(own.clone())
        });
        Self { sim, scene }
    }

    fn live_all(mut self) {
        let lives = self.scene.plan.lives.clone();
        for (index, life) in lives.iter().enumerate() {
            self.begin(index > 0);
            self.live(life);
            self.end(life.end);
            if !self.goes_on() {
                return;
            }
        }
        self.begin(!lives.is_empty());
        let scene = self.scene.clone();
        // What is short in it comes to an end in it.
        let short_ms = scene.plan.last_wants.iter().map(|want| want.from_ms + want.ms + 1).max();
        for passed_ms in 0..short_ms.unwrap_or(0) {
            scene.run_short(&scene.plan.last_wants, passed_ms);
            if !self.step() {
                return;
            }
        }
        if !self.step_until(DRAIN_MS_MAX, || scene.is_drained() && scene.is_checked()) {
            return self.unavailable("a producer or a consumer is never answered");
        }
        // Once more, now that nothing changes any more.
        scene.life.set(scene.life.get() + 1);
        if !self.step_until(CHECK_MS_MAX, || scene.is_checked()) {
            self.unavailable("the last reading does not end");
        }
    }

    fn unavailable(&self, what: &str) {
        if self.scene.anomaly.borrow().is_none() {
            self.scene.report(Err(Anomaly::Unavailable(what.to_owned())));
        }
    }

    /// The node starts, with nothing wrong.
    fn begin(&mut self, again: bool) {
        self.scene.life.set(self.scene.life.get() + 1);
        self.scene.failed_at_ms.set(None);
        self.scene.failed_before.set(self.scene.failed_syncs());
        self.scene.heal();
        if again {
            self.sim.bounce(NODE);
        }
        self.scene.note(format_args!("life {} begins", self.scene.life.get()));
    }

    /// One life, up to its end.
    fn live(&mut self, life: &Life) {
        let begin_ms = self.scene.outside_ms.get();
        let disk = self.scene.world.disk().clone();
        let mut fail_at_ms = life.fail_sync_at_ms;
        for passed_ms in 0..life.ms {
            for spell in &life.spells {
                self.trouble(spell, passed_ms);
            }
            self.scene.run_short(&life.wants, passed_ms);
            if fail_at_ms.take_if(|at_ms| *at_ms == passed_ms).is_some() {
                disk.break_below("/data", Fault::FailNextSync);
            }
            if !self.step() {
                return;
            }
            if life.within_swap && disk.has_unsynced_rename(CLEANED) {
                return self.scene.note(format_args!("a compacted segment has its name"));
            }
        }
        debug_assert_eq!(self.scene.outside_ms.get(), begin_ms + life.ms);
    }

    fn trouble(&self, spell: &Spell, passed_ms: u64) {
        let client = if spell.producers { PRODUCERS } else { CONSUMERS };
        if passed_ms == spell.from_ms {
            self.scene.note(format_args!("{:?} between the {NODE} and the {client}", spell.trouble));
            match spell.trouble {
                Trouble::Hold => self.sim.hold(NODE, client),
                Trouble::Partition => self.sim.partition(NODE, client),
            }
        } else if passed_ms == spell.from_ms + spell.ms {
            self.mend(client);
        }
    }

    fn mend(&self, client: &str) {
        self.sim.release(NODE, client);
        self.sim.repair(NODE, client);
    }

    /// Ends a life, and all troubles with it.
    fn end(&mut self, end: End) {
        self.scene.note(format_args!("{end:?}"));
        match end {
            End::Kill => self.sim.crash(NODE),
            End::Stop => self.stop(),
            End::Cut => {
                // Nobody is told that the connections are gone.
                self.sim.partition(NODE, PRODUCERS);
                self.sim.partition(NODE, CONSUMERS);
                self.sim.crash(NODE);
            }
        }
        for client in [PRODUCERS, CONSUMERS] {
            self.mend(client);
        }
        // After an orderly stop too: what was promised to be safe then had better be.
        if end == End::Cut || (end == End::Stop && self.scene.luck.below(2) == 0) {
            self.scene.world.disk().crash();
            self.scene.facts.crash(self.scene.luck.u64());
            // What has left in order has synced everything.
            if end == End::Cut || self.scene.sync_failed() || self.scene.is_short() {
                self.scene.ledger.borrow_mut().power_cut();
            }
        }
    }

    fn stop(&mut self) {
        // Who is not there would be told in the next life.
        if self.sim.is_host_running(NODE) {
            self.scene.leave.notify_one();
        }
        let deadline_ms = self.scene.outside_ms.get() + STOP_MS_MAX;
        while self.sim.is_host_running(NODE) && self.scene.outside_ms.get() < deadline_ms {
            if !self.step() {
                return;
            }
        }
        if self.sim.is_host_running(NODE) {
            self.unavailable("the node does not leave");
        }
    }

    /// Steps until something holds; false when it does not within `ms_max`, or when something is wrong.
    fn step_until(&mut self, ms_max: u64, holds: impl Fn() -> bool) -> bool {
        for _ in 0..ms_max {
            if !self.step() {
                return false;
            }
            if holds() {
                return true;
            }
        }
        false
    }

    /// One millisecond for everybody; false when something is wrong.
    fn step(&mut self) -> bool {
        if let Err(error) = self.sim.step() {
            self.scene.report(Err(Anomaly::Panicked(error.to_string())));
        }
        self.scene.outside_ms.set(u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX));
        if self.scene.sync_failed() && self.scene.failed_at_ms.get().is_none() {
            self.scene.note(format_args!("a sync has failed"));
            self.scene.failed_at_ms.set(Some(self.scene.outside_ms.get()));
        }
        self.goes_on()
    }

    fn goes_on(&self) -> bool {
        self.scene.take_panics();
        self.scene.anomaly.borrow().is_none()
    }
}

async fn write(scene: Rc<Scene>) -> turmoil::Result {
    if !scene.plan.groups.is_empty() {
        return live_all(scene, 0).await;
    }
    if scene.plan.copiers > 0 { copy_all(scene).await } else { produce_all(scene).await }
}

async fn read(scene: Rc<Scene>) -> turmoil::Result {
    if !scene.plan.groups.is_empty() {
        return members::watch_all(scene).await;
    }
    if scene.plan.copiers > 0 { watch_all(scene).await } else { consume_all(scene).await }
}

/// The node's host: the whole node, until it is told to leave or its host is crashed.
async fn live(scene: Rc<Scene>) -> turmoil::Result {
    let node = loop {
        let (host, config) = (Host::simulated(&scene.world), scene.plan.config.clone());
        let facts = FactsKind::Memory(scene.facts.clone());
        scene.note(format_args!("the node starts"));
        match Node::start_in(host, config, facts, Shards::local()).await {
            Ok(node) => break node,
            // A sync that failed while it started is a reason not to.
            Err(_) if scene.sync_failed() => return Ok(()),
            // So is a disk that lacks something; whoever looks after the node starts it again.
            Err(error) if scene.is_short() => {
                scene.note(format_args!("no start: {error}"));
                scene.sleep(50).await;
            }
            Err(error) => {
                scene.report(Err(Anomaly::Unavailable(format!("no start: {error}"))));
                return Ok(());
            }
        }
    };
    scene.leave.notified().await;
    // Who is still recovering cannot leave in order, nor can who has lost the disk.
    let ready = scene.is_checked();
    let in_order = node.stop().await;
    scene.note(format_args!("the node has left, in order: {in_order}"));
    if !in_order && ready && !scene.sync_failed() && !scene.is_short() {
        scene.report(Err(Anomaly::Unavailable("the node does not leave in order".into())));
    }
    Ok(())
}

impl Scene {
    fn take_panics(&self) {
        for text in PANICS.take() {
            self.report(Err(Anomaly::Panicked(text)));
        }
    }
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// An actor that panics is restarted and nobody would notice; here every assertion counts.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
