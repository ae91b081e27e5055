//! What an actor says about itself: for metrics, readiness, the console and tests.
//!
//! Each actor answers [`Observe`] with a small snapshot of what it counts anyway. Nothing is gathered before somebody asks,
//! so being observable costs nothing. The journal alone is not asked: a disk that does not answer has its thread.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use ottla_rules::{
    ids::{LeaderEpoch, Offset, PartitionId},
    time::Now,
};

use crate::{
    shared::Shared,
    stage::reply::{Abandoned, Reply},
};

/// Asks an actor what it is. An actor that is not there, or is dying, answers by [`Seen`]'s none.
#[derive(Debug)]
pub struct Observe<T>(pub Reply<Seen<T>>);

impl<T: Send + 'static> actix::Message for Observe<T> {
    type Result = ();
}

/// What was seen, or that nobody was there.
pub type Seen<T> = Result<T, Nobody>;

/// Nobody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody is there")]
pub struct Nobody;

impl Abandoned for Nobody {
    fn abandoned() -> Self {
        Self
    }
}

/// How a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartitionState {
    /// It serves.
    Leading,
    /// Its log is being read.
    Recovering,
    /// Its log cannot be used; the log of the process says why.
    Offline,
    /// It has no actor: given up after dying again and again, resting before the next try, or about to start.
    Absent,
}

/// One partition of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSeen {
    /// How it is.
    pub state: PartitionState,
    /// The reign.
    pub leader_epoch: LeaderEpoch,
    /// The first offset.
    pub log_start: Offset,
    /// What consumers may read up to.
    pub high_watermark: Offset,
    /// One past the last offset.
    pub end: Offset,
    /// Bytes of its segments.
    pub log_bytes: u64,
    /// Appends that wait for the disk.
    pub parked: usize,
    /// Fetches that wait for records.
    pub watchers: usize,
}

impl PartitionSeen {
    /// One of which nothing is known but that it is so.
    #[must_use]
    pub fn bare(state: PartitionState, leader_epoch: LeaderEpoch) -> Self {
        let zero = Offset::ZERO;
        Self {
            state,
            leader_epoch,
            log_start: zero,
            high_watermark: zero,
            end: zero,
            log_bytes: 0,
            parked: 0,
            watchers: 0,
        }
    }
}

/// The journal of the data directory. Counts since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalSeen {
    /// Bytes of its files.
    pub bytes: u64,
    /// Syncs that came back.
    pub syncs: u64,
    /// Batches that those syncs made safe.
    pub batches: u64,
    /// Bytes of those batches.
    pub batch_bytes: u64,
    /// Batches that wait for their write.
    pub waiting: usize,
    /// How long the sync under way has taken so far, in milliseconds; 0 where none is.
    pub sync_ms: u64,
}

/// What the journal says of itself as it goes along: its thread may be in a sync that does not come back, and then most of all
/// somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Journaled {
    bytes: AtomicU64,
    syncs: AtomicU64,
    batches: AtomicU64,
    batch_bytes: AtomicU64,
    waiting: AtomicUsize,
    /// When the sync under way began, by the monotonic clock; 0 where none is.
    sync_began_ms: AtomicU64,
}

impl Journaled {
    /// Its files have so many bytes, and so many batches wait.
    pub(crate) fn is(&self, bytes: u64, waiting: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// So many bytes of batches were written.
    pub(crate) fn wrote(&self, bytes: u64) {
        self.batch_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A sync begins.
    pub(crate) fn syncs(&self, now: Now) {
        self.sync_began_ms.store(now.mono_ms.max(1), Ordering::Relaxed);
    }

    /// It has made so many batches safe; none where it failed.
    pub(crate) fn synced(&self, batches: Option<usize>) {
        self.sync_began_ms.store(0, Ordering::Relaxed);
        if let Some(batches) = batches {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.batches.fetch_add(batches as u64, Ordering::Relaxed);
        }
    }

    /// The same at one moment.
    pub(crate) fn seen(&self, now: Now) -> JournalSeen {
        let began_ms = self.sync_began_ms.load(Ordering::Relaxed);
        JournalSeen {
            bytes: self.bytes.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            batch_bytes: self.batch_bytes.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
            sync_ms: if began_ms == 0 { 0 } else { now.mono_ms.saturating_sub(began_ms) },
        }
    }
}

/// What compaction has done. Counts since the process started.
#[derive(Debug, Default)]
pub(crate) struct Compacted {
    bytes_before: AtomicU64,
    bytes_after: AtomicU64,
    records: AtomicU64,
    failed: AtomicU64,
}

impl Compacted {
    /// Segments of so many bytes became one of so many, without so many records.
    pub(crate) fn count(&self, before: u64, after: u64, records: u64) {
        self.bytes_before.fetch_add(before, Ordering::Relaxed);
        self.bytes_after.fetch_add(after, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    /// A partition is not compacted any more.
    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn seen(&self) -> CompactionSeen {
        CompactionSeen {
            bytes_before: self.bytes_before.load(Ordering::Relaxed),
            bytes_after: self.bytes_after.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// The same at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionSeen {
    /// Bytes of segments that were written anew.
    pub bytes_before: u64,
    /// Bytes of what took their place.
    pub bytes_after: u64,
    /// Records that are gone.
    pub records: u64,
    /// Partitions that are not compacted any more, because it failed.
    pub failed: u64,
}

/// How often actors fell, whoever watches over them. Counts since the process started.
#[derive(Debug, Default)]
pub(crate) struct Falls {
    panics: AtomicU64,
    given_up: AtomicU64,
}

impl Falls {
    /// An actor panicked.
    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// One is not started again.
    pub(crate) fn gave_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// What the root of the node says of it.
    pub(crate) fn seen(&self) -> CoordinatorSeen {
        CoordinatorSeen {
            panics: self.panics.load(Ordering::Relaxed),
            given_up: self.given_up.load(Ordering::Relaxed),
        }
    }
}

/// The root of the node. Counts since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoordinatorSeen {
    /// Actors that panicked, those of groups among them.
    pub panics: u64,
    /// Actors that were given up.
    pub given_up: u64,
}

/// A partition with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub index: i32,
    /// What it says.
    pub seen: PartitionSeen,
}

/// A whole node at about one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeen {
    /// Every partition that this node should lead.
    pub partitions: Vec<Named>,
    /// The journal; none when it is gone.
    pub journal: Option<JournalSeen>,
    /// The coordinator; none when the node is leaving.
    pub coordinator: Option<CoordinatorSeen>,
    /// Compaction.
    pub compaction: CompactionSeen,
    /// Free bytes of the data directory's volume when somebody last looked; none when the system does not tell.
    pub free_bytes: Option<u64>,
    /// Appends are refused for want of space.
    pub is_full: bool,
    /// A sync has failed: appends are refused until the process starts again.
    pub is_lost: bool,
}

impl NodeSeen {
    /// Those that are in this state.
    pub fn in_state(&self, state: PartitionState) -> impl Iterator<Item = &Named> {
        self.partitions.iter().filter(move |named| named.seen.state == state)
    }

    /// Why clients should go elsewhere; none when everything is served.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        if self.coordinator.is_none() {
            return Some("the node is leaving".into());
        }
        if self.is_lost {
            return Some(
                "the data directory is lost, the log says why: the process has to be restarted".into(),
            );
        }
        let recovering = self.in_state(PartitionState::Recovering).count();
        (recovering > 0).then(|| format!("{recovering} partitions are being recovered"))
    }
}

/// Asks everyone on this node.
///
/// All are asked before the first answer is waited for; an actor that is busy answers when it comes to it.
pub async fn look(shared: &Arc<Shared>) -> NodeSeen {
    let image = shared.directory.image();
    let mut led = Vec::new();
    for topic in image.topics_by_name() {
        for (index, partition) in (0..).zip(&topic.partitions) {
            if partition.leader == shared.node {
                led.push((Arc::clone(&topic.name), PartitionId { topic: topic.id, index }));
            }
        }
    }
    let asked: Vec<_> = led
        .into_iter()
        .map(|(topic, id)| {
            let (reply, answer) = Reply::once();
            shared.directory.tell(id, Observe(reply));
            let absent = PartitionSeen::bare(PartitionState::Absent, LeaderEpoch(-1));
            async move { Named { topic, index: id.index, seen: answer.await.unwrap_or(absent) } }
        })
        .collect();
    let (reply, coordinator) = Reply::once();
    if let Some(addr) = shared.directory.coordinator() {
        addr.do_send(Observe(reply));
    }
    let journal = shared.journaled.seen(shared.now());
    NodeSeen {
        partitions: join_all(asked).await,
        journal: shared.directory.journal().filter(|journal| journal.connected()).map(|_| journal),
        coordinator: coordinator.await.ok(),
        compaction: shared.compacted.seen(),
        free_bytes: shared.space().map(|space| space.free_bytes),
        is_full: shared.is_full(),
        is_lost: shared.is_lost(),
    }
}
