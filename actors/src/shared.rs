//! What every actor of a node is given: the outside world, the data directory, the bounds, the directory.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
};

use crate::{
    observe::{Compacted, Falls, Journaled},
    partition::PersistFailed,
    stage::directory::Directory,
};
use ottla_host::Host;
use ottla_rules::{
    cluster::Image,
    group::crowd::Crowd,
    ids::{NodeId, PartitionId},
    limits::Limits,
    settings::BrokerSettings,
    time::Now,
};
use ottla_store::{Store, journal::entry::JournalEntry};

/// One node's common ground. Shared by reference.
pub struct Shared {
    /// The outside world.
    pub host: Host,
    /// The data directory.
    pub store: Store,
    /// Every bound, as the settings are now.
    limits: RwLock<Arc<Limits>>,
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
    /// What the journal has done and is about.
    pub(crate) journaled: Journaled,
    /// What compaction has done.
    pub(crate) compacted: Compacted,
    /// How often actors fell.
    pub(crate) falls: Falls,
    /// The groups that commit, on all shards.
    crowd: Mutex<Crowd>,
    full: AtomicBool,
    /// Bytes that may still be appended before space must be looked at again.
    room: AtomicI64,
    lost: AtomicBool,
    syncs_under_way: Arc<AtomicUsize>,
    /// What the last look at the volume found.
    space: Mutex<Option<Space>>,
}

/// A sync that is under way, or waits for its turn, as long as this is there.
#[derive(Debug)]
pub(crate) struct SyncUnderWay(Arc<AtomicUsize>);

impl Drop for SyncUnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The share of a small disk that the reserve takes at most: `disk.free.bytes.min` is meant for a large one.
const RESERVE_SHARE: u64 = 8;

/// A volume.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Its size.
    pub total_bytes: u64,
    /// What can still be written there.
    pub free_bytes: u64,
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
            limits: RwLock::new(Arc::new(config.limits.clone())),
            given: config.settings.clone(),
            node: config.node_id,
            directory: Directory::default(),
            found: Mutex::new(found),
            found_upto,
            journaled: Journaled::default(),
            compacted: Compacted::default(),
            falls: Falls::default(),
            crowd: Mutex::default(),
            full: AtomicBool::new(false),
            room: AtomicI64::new(0),
            lost: AtomicBool::new(false),
            syncs_under_way: Arc::default(),
            space: Mutex::default(),
        })
    }

    /// Every bound at this moment: settings that can be changed while the node runs are followed.
    #[must_use]
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes in the bounds that the settings of an image ask for; whether they are others than before.
    pub(crate) fn follow(&self, image: &Image) -> bool {
        let mut now = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        let asked = Limits::of(&image.settings(self.node, &self.given));
        let limits = asked.within_open_files(now.open_files_max);
        let changed = **now != limits;
        if changed {
            *now = Arc::new(limits);
        }
        changed
    }

    /// One reading of the clock.
    #[must_use]
    pub fn now(&self) -> Now {
        let now = self.host.clock.now();
        Now { mono_ms: now.mono_ms, wall_ms: now.wall_ms }
    }

    /// The groups that commit.
    pub(crate) fn crowd(&self) -> MutexGuard<'_, Crowd> {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the journal knew of a partition at start, until its recovery has come to an end.
    pub(crate) fn found(&self, partition: PartitionId) -> Vec<JournalEntry> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(&partition).cloned().unwrap_or_default()
    }

    /// What the journal knew of this partition is in its segments.
    pub(crate) fn forget_found(&self, partition: PartitionId) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }

    /// Runs work that may block. When the pool is full it runs here: late is better than never, and the pool is
    /// full only when thousands of partitions want it at once.
    pub(crate) fn on_pool(&self, job: impl FnOnce() + Send + 'static) {
        if let Err(full) = self.host.pool.run(job) {
            (full.0)();
        }
    }

    /// Runs work that may block and waits for it; none when it panicked.
    pub(crate) async fn in_pool<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.on_pool(move || drop(sender.send(job())));
        receiver.await.ok()
    }

    /// Whether the data directory has no more space than the reserve (`disk.free.bytes.min`).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether less than twice the reserve is free: too little for work that can be done later.
    pub(crate) fn is_tight(&self) -> bool {
        let space = *self.space.lock().unwrap_or_else(PoisonError::into_inner);
        let is_tight = |space: Space| space.free_bytes < self.reserve(space) * 2;
        self.is_full() || space.is_some_and(is_tight)
    }

    /// What is kept free of appends.
    fn reserve(&self, space: Space) -> u64 {
        self.limits().disk_free_bytes_min.min(space.total_bytes / RESERVE_SHARE)
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
        log::error!(error:% = why; "the data directory is lost: appends are refused until the node is restarted");
        // The next process must not believe what this one has seen fail.
        self.store.mark_suspect();
        for partition in self.directory.partitions() {
            self.directory.tell(partition, PersistFailed);
        }
    }

    /// A job begins, or waits for its turn, that syncs what the journal is about to forget. It ends with the value.
    pub(crate) fn sync_under_way(&self) -> SyncUnderWay {
        self.syncs_under_way.fetch_add(1, Ordering::Relaxed);
        SyncUnderWay(Arc::clone(&self.syncs_under_way))
    }

    /// Whether there is such a job.
    pub(crate) fn has_syncs_under_way(&self) -> bool {
        self.syncs_under_way.load(Ordering::Relaxed) > 0
    }

    /// So many bytes are appended; whether it is time to look at space again. The schedule alone would be too late for a
    /// disk that is written to as fast as it goes.
    pub(crate) fn spend(&self, bytes: u64) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.room.fetch_sub(bytes, Ordering::Relaxed);
        before >= 0 && before < bytes
    }

    /// How large the volume of the data directory was when somebody last looked; nothing when it does not say. Has it looked at
    /// anew, and does not wait for that: how a node is gets asked when its disk is slow.
    pub fn space(self: &Arc<Self>) -> Option<Space> {
        self.look_soon();
        *self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has somebody look how much space there is, behind nobody's recovery or sync.
    pub(crate) fn look_soon(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        // Full: a look that has not begun yet will see what this one would.
        let _ = self.host.watch.run(move || shared.look_at_space());
    }

    /// How large the volume is, noted for whoever asks. Blocks.
    pub(crate) fn measure(&self) -> Option<Space> {
        let (disk, dir) = (self.store.disk(), self.store.path());
        let found = disk.total_bytes(dir).ok().zip(disk.free_bytes(dir).ok());
        let space = found.map(|(total_bytes, free_bytes)| Space { total_bytes, free_bytes });
        *self.space.lock().unwrap_or_else(PoisonError::into_inner) = space;
        space
    }

    /// Looks how much space there is. Blocks.
    fn look_at_space(&self) {
        let Some(space) = self.measure() else { return };
        let (free, reserve) = (space.free_bytes, self.reserve(space));
        let full = free < reserve;
        // Half of it: what is appended while somebody looks counts as well.
        let room = i64::try_from(free.saturating_sub(reserve) / 2).unwrap_or(i64::MAX);
        self.room.store(room, Ordering::Relaxed);
        if !full {
            self.store.facts().take_on_ballast();
        }
        if full != self.full.swap(full, Ordering::Relaxed) {
            if full {
                log::error!(free_bytes = free, reserve_bytes = reserve; "the disk is full: appends are refused until space returns");
            } else {
                log::info!(free_bytes = free; "space has returned: appends are taken again");
            }
        }
    }
}
