//! What outlives the node and its clients: the disk, what everybody was told, what happened.

use std::cell::{Cell, RefCell};
use std::fmt::Arguments;

use ottla_host::{Chance, Host, SimWorld};
use ottla_rules::ids::TopicId;
use ottla_store::MemoryFacts;
use tokio::sync::Notify;

use crate::anomaly::Anomaly;
use crate::copier::Copies;
use crate::ledger::Ledger;
use crate::members::Roster;
use crate::plan::Plan;
use crate::producer::Lane;
use crate::trace::Trace;

/// The node's name in the simulated network.
pub(crate) const NODE: &str = "node";
/// The host of all producers.
pub(crate) const PRODUCERS: &str = "producers";
/// The host of all consumers and of whoever makes and deletes topics.
pub(crate) const CONSUMERS: &str = "consumers";
/// The name of the topic, and of those that take its place.
pub(crate) const TOPIC: &str = "payments";
/// How the names of segments end that are being compacted.
pub(crate) const CLEANED: &str = ".cleaned";

/// One of the topics that bear the name one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Topic {
    /// Its id, once somebody was told.
    pub(crate) id: Option<TopicId>,
    /// Somebody has asked for its end.
    pub(crate) is_leaving: bool,
    /// Somebody was told that it is gone.
    pub(crate) is_gone: bool,
}

/// The world of one run, shared by all that happens in it.
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
    /// What is known of those who copy.
    pub(crate) copies: RefCell<Copies>,
    /// What is known of the members of groups.
    pub(crate) roster: RefCell<Roster>,
    pub(crate) trace: RefCell<Trace>,
    pub(crate) anomaly: RefCell<Option<Anomaly>>,
    pub(crate) topics: RefCell<Vec<Topic>>,
    /// Counts the lives of the node: each partition is read from its beginning in each of them.
    pub(crate) life: Cell<u64>,
    /// Of each partition, the life in which it was last read and checked.
    pub(crate) checked: RefCell<Vec<u64>>,
    /// When a sync failed in this life.
    pub(crate) failed_at_ms: Cell<Option<u64>>,
    /// Syncs that had failed when this life began.
    pub(crate) failed_before: Cell<u64>,
    /// Until then the node may say that it lacks something.
    pub(crate) short_until_ms: Cell<u64>,
    /// The node is asked to leave in order.
    pub(crate) leave: Notify,
    /// The time for what happens between two steps of the simulation.
    pub(crate) outside_ms: Cell<u64>,
}

impl Scene {
    pub(crate) fn new(plan: Plan) -> Self {
        let world = SimWorld::new(plan.seed);
        let partitions: Vec<usize> = plan.lanes.iter().map(|lane| lane.partition).collect();
        let lanes = plan.lanes.iter().map(|plan| Lane::new(*plan)).collect();
        let count = plan.partitions_of(plan.topics() - 1).end;
        let ledger = Ledger::new(count, &partitions, plan.page_cache)
            .keyed(plan.compacted)
            .with_tombstones(plan.deletes_keys.then_some(plan.delete_retention_ms));
        Self {
            host: Host::simulated(&world),
            luck: Host::simulated(&SimWorld::new(plan.seed ^ 0x6c75_636b)).chance,
            world,
            facts: MemoryFacts::new(),
            lanes: RefCell::new(lanes),
            ledger: RefCell::new(ledger),
            copies: RefCell::new(Copies::new(plan.copiers, plan.partitions)),
            roster: RefCell::new(Roster::new(&plan.groups, plan.partitions)),
            trace: RefCell::default(),
            anomaly: RefCell::default(),
            topics: RefCell::new(vec![Topic::default(); plan.topics()]),
            life: Cell::new(0),
            checked: RefCell::new(vec![0; count]),
            failed_at_ms: Cell::new(None),
            failed_before: Cell::new(0),
            short_until_ms: Cell::new(0),
            leave: Notify::new(),
            outside_ms: Cell::new(0),
            plan,
        }
    }

    /// Milliseconds of simulated time.
    pub(crate) fn now_ms(&self) -> u64 {
        if turmoil::in_simulation() { self.host.clock.now().mono_ms } else { self.outside_ms.get() }
    }

    /// A sync has failed in this life.
    pub(crate) fn sync_failed(&self) -> bool {
        self.failed_syncs() > self.failed_before.get()
    }

    /// How many syncs have failed so far. Of what compaction is about to write nothing is in the log yet: that costs a round and no more.
    pub(crate) fn failed_syncs(&self) -> u64 {
        self.world.disk().failed_syncs_but(CLEANED)
    }

    /// The node lacks something on its disk, or did a moment ago.
    pub(crate) fn is_short(&self) -> bool {
        self.now_ms() < self.short_until_ms.get()
    }

    /// Something happened.
    pub(crate) fn note(&self, what: Arguments<'_>) {
        self.trace.borrow_mut().note(self.now_ms(), what);
    }

    /// Keeps the first anomaly.
    pub(crate) fn report(&self, told: Result<(), Anomaly>) {
        let Err(anomaly) = told else { return };
        self.note(format_args!("{anomaly}"));
        self.anomaly.borrow_mut().get_or_insert(anomaly);
    }

    /// A pause of a client: up to `ms_max`, at least one millisecond.
    pub(crate) async fn rest(&self, ms_max: u64) {
        self.sleep(1 + self.luck.below(ms_max)).await;
    }

    pub(crate) async fn sleep(&self, ms: u64) {
        let clock = &self.host.clock;
        clock.sleep_until(clock.now().mono_ms + ms).await;
    }

    pub(crate) fn topic(&self, index: usize) -> Topic {
        self.topics.borrow()[index]
    }

    /// The id of a topic, once it has one.
    pub(crate) async fn wait_for_topic(&self, index: usize) -> TopicId {
        loop {
            if let Some(id) = self.topic(index).id {
                return id;
            }
            self.sleep(5).await;
        }
    }

    /// Everything of the topic that stays is acknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        if self.plan.copiers > 0 {
            return self.copies.borrow().is_done();
        }
        if !self.plan.groups.is_empty() {
            return self.roster.borrow().is_settled(self.now_ms(), self.life.get());
        }
        let last = self.plan.partitions_of(self.plan.topics() - 1);
        self.topic(self.plan.topics() - 1).id.is_some()
            && self
                .lanes
                .borrow()
                .iter()
                .filter(|lane| last.contains(&lane.plan.partition))
                .all(Lane::is_done)
    }

    /// In this life every partition that is there was read from its beginning.
    pub(crate) fn is_checked(&self) -> bool {
        if self.plan.copiers > 0 {
            return self.copies.borrow().is_checked(self.life.get());
        }
        if !self.plan.groups.is_empty() {
            return self.roster.borrow().is_checked(self.life.get());
        }
        let checked = self.checked.borrow();
        (0..self.plan.topics()).all(|index| {
            let topic = self.topic(index);
            let is_here = topic.id.is_some() && !topic.is_leaving;
            !is_here || checked[self.plan.partitions_of(index)].iter().all(|life| *life == self.life.get())
        })
    }
}
