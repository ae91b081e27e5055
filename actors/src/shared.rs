//! What every actor of a node is given: the outside world, the data directory, the bounds, the directory.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use ottla_host::Host;
use ottla_rules::{
    ids::{NodeId, PartitionId},
    limits::Limits,
    settings::BrokerSettings,
    time::Now,
};
use ottla_store::{Store, journal::entry::JournalEntry};

use crate::{partition::PersistFailed, stage::directory::Directory};

/// One node's common ground. Shared by reference.
pub struct Shared {
    /// The outside world.
    pub host: Host,
    /// The data directory.
    pub store: Store,
    /// Every bound.
    pub limits: Arc<Limits>,
    /// The settings this node was started with.
    pub given: BrokerSettings,
    /// This node.
    pub node: NodeId,
    /// Who is where.
    pub directory: Directory,
    /// What the journal knew at start, until the partitions have taken it.
    pub(crate) found: Mutex<BTreeMap<PartitionId, Vec<JournalEntry>>>,
    /// The sequence below which all of `found` lies.
    pub(crate) found_upto: u64,
    full: AtomicBool,
    lost: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        host: Host,
        store: Store,
        config: &ottla_config::Config,
        found: BTreeMap<PartitionId, Vec<JournalEntry>>,
        found_upto: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            host,
            store,
            limits: Arc::new(config.limits.clone()),
            given: config.settings.clone(),
            node: config.node_id,
            directory: Directory::default(),
            found: Mutex::new(found),
            found_upto,
            full: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        })
    }

    /// One reading of the clock.
    #[must_use]
    pub fn now(&self) -> Now {
        let now = self.host.clock.now();
        Now { mono_ms: now.mono_ms, wall_ms: now.wall_ms }
    }

    /// What the journal knew of a partition at start; the first one to ask gets it.
    pub(crate) fn take_found(&self, partition: PartitionId) -> Vec<JournalEntry> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.remove(&partition).unwrap_or_default()
    }

    /// Runs work that may block. When the pool is full it runs here: late is better than never, and the pool is
    /// full only when thousands of partitions want it at once.
    pub(crate) fn on_pool(&self, job: impl FnOnce() + Send + 'static) {
        if let Err(full) = self.host.pool.run(job) {
            (full.0)();
        }
    }

    /// Whether the data directory has no more space than the reserve (`disk.free.bytes.min`).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether a sync has failed in the data directory: nothing in it is made safe any more, until the process starts again.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// A sync failed. The kernel may have dropped the pages and say nothing the second time, so it is never tried again, and
    /// everyone in the directory hears of it: who syncs next would be told a lie.
    pub(crate) fn lose(&self, why: &dyn std::fmt::Display) {
        if self.lost.swap(true, Ordering::Relaxed) {
            return;
        }
        log::error!(error:% = why; "a sync failed, the data directory is lost: appends are refused until the node is restarted");
        for partition in self.directory.partitions() {
            self.directory.tell(partition, PersistFailed);
        }
    }

    /// Looks how much space there is. Blocks.
    pub(crate) fn look_at_space(&self) {
        let Ok(free) = self.store.disk().free_bytes(self.store.path()) else { return };
        let full = free < self.limits.disk_free_bytes_min;
        if full != self.full.swap(full, Ordering::Relaxed) {
            let reserve = self.limits.disk_free_bytes_min;
            if full {
                log::error!(free_bytes = free, reserve_bytes = reserve; "the disk is full: appends are refused until space returns");
            } else {
                log::info!(free_bytes = free; "space has returned: appends are taken again");
            }
        }
    }
}
