//! Everyone on one node: the order of starting and of leaving.

use std::sync::Arc;

use actix::Context;
use futures_util::future::join_all;
use ottla_config::{Config, Endpoint};
use ottla_host::Host;
use ottla_rules::{
    cluster::{Command, CommandError, Image},
    ids::PartitionId,
    settings::check_broker,
    staging::StagingLimits,
};
use ottla_store::{
    FactsError, LogError, Store, facts,
    journal::{Journal, JournalError, by_partition, entry::JournalEntry},
};

use crate::{
    coordinator::CoordinatorActor,
    journal::JournalActor,
    partition::Retire,
    shared::Shared,
    stage::{
        directory::Directory,
        reply::Reply,
        shards::Shards,
        watched::{ChildName, spawn_root, spawn_watched},
    },
};

/// Why a node's actors cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The facts cannot be read or written.
    #[error("the metadata of this node cannot be used: {0}")]
    Facts(#[from] FactsError),
    /// The journal cannot be read or made.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What deleted topics left cannot be removed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// This node cannot be registered.
    #[error("this node cannot be registered: {0}")]
    Register(#[from] CommandError),
}

/// The actors of one node.
pub struct Crew {
    shared: Arc<Shared>,
    shards: Shards,
}

impl Crew {
    /// Reads what the node knows, replays nothing itself, and starts everyone. `reached` is where clients reach it.
    /// Blocks on the disk, so it belongs where nothing else waits: at start.
    ///
    /// # Errors
    /// One sentence for the operator: [`StartError`].
    pub fn start(
        host: Host,
        config: &Config,
        store: Store,
        shards: Shards,
        reached: &Endpoint,
    ) -> Result<Self, StartError> {
        Self::wake(host, config, store.clone(), shards, reached).inspect_err(|error| {
            // A sync that failed already now: the next start must not believe what it finds in memory.
            if matches!(error, StartError::Facts(FactsError::Unsynced(_)))
                || matches!(error, StartError::Log(error) if error.is_failed_sync())
            {
                store.mark_suspect();
            }
        })
    }

    fn wake(
        host: Host,
        config: &Config,
        store: Store,
        shards: Shards,
        reached: &Endpoint,
    ) -> Result<Self, StartError> {
        store.set_open_files_max(config.limits.segment_files_open_max);
        let limits = StagingLimits::of(config.limits.journal_bytes_max);
        let salt = host.chance.u64();
        let (mut journal, found) = open_journal(&store, limits, salt)?;
        let mut found = by_partition(found);
        let image = register(&store, config, reached)?;
        // What was set while it ran was right then; the file may have changed since.
        if let Err(why) = check_broker(&image.settings(config.node_id, &config.settings)) {
            log::warn!(why:% = why; "what is set for this broker does not go together, no topic can be created");
        }
        let unknown = store.remove_unknown(|_, partition| image.partition(partition).is_some())?;
        if !unknown.removed.is_empty() {
            log::info!(partitions:? = unknown.removed; "removed what deleted topics had left");
        }
        for dir in unknown.put_aside {
            log::error!(dir:%; "a partition that the metadata does not know is put aside; if nobody misses it, remove it");
        }
        store.forget_unknown(|partition| image.partition(partition).is_some())?;
        let mut needs = Vec::new();
        if store.was_clean() {
            // Every segment was synced: what the journal still holds is there already.
            found.keys().for_each(|partition| journal.forgotten(*partition, &mut needs));
            found.clear();
        } else if image.topics().next().is_some() {
            let entries: usize = found.values().map(Vec::len).sum();
            log::info!(journal_entries = entries; "the last process did not stop cleanly: logs are recovered from their checkpoints on");
        }
        found.retain(|partition, _| {
            let known = image.partition(*partition).is_some();
            if !known {
                journal.forgotten(*partition, &mut needs);
            }
            known
        });
        store.mark_dirty()?;
        let upto = journal.next_sequence();
        let shared = Shared::new(host, store, config, found, upto);
        // Whoever asks from now on is told something.
        shared.measure();
        let crew = Self { shared, shards };
        crew.set_to_work(journal, needs, image);
        Ok(crew)
    }

    fn set_to_work(&self, journal: Journal, needs: Vec<ottla_store::journal::Need>, image: Image) {
        let (shared, control) = (self.shared.clone(), self.shards.control().clone());
        let shards = self.shards.all().to_vec();
        let make =
            move |_: &mut Context<CoordinatorActor>| CoordinatorActor::new(shared, control, shards, image);
        // Whoever the root starts may ask the journal at once, and would give up for good where there is none.
        // The root has no parent: when it ends, the node has.
        spawn_root::<CoordinatorActor>(
            self.shards.control(),
            |root| {
                let shared = self.shared.clone();
                let make = move |_: &mut Context<JournalActor>| JournalActor::new(shared, journal, needs);
                let parent = root.clone().recipient();
                let journal = spawn_watched(self.shards.journal(), ChildName::Journal, parent, make);
                self.shared.directory.set_journal(journal);
                self.shared.directory.set_coordinator(root);
            },
            make,
        );
    }

    /// What everyone is given.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Who is where.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.shared.directory
    }

    /// The threads.
    #[must_use]
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// Everyone leaves in order: partitions answer, sync and say where they are; then the directory is marked clean, so
    /// that the next start needs no scan. False when not everybody managed within `patience_ms`: nothing is lost then,
    /// the next start only has to look. Blocks for a moment at the end, while the threads end.
    pub async fn stop(self, patience_ms: u64) -> bool {
        let clock = &self.shared.host.clock;
        let deadline = clock.now().mono_ms.saturating_add(patience_ms);
        let (image, directory) = (self.shared.directory.image(), &self.shared.directory);
        // Version 0: nobody has been started yet, and what the journal knew is not in the segments.
        let all_here = image.version() > 0
            && image.topics().all(|topic| {
                (0..).zip(&topic.partitions).all(|(index, partition)| {
                    partition.leader != self.shared.node
                        || directory.has(PartitionId { topic: topic.id, index })
                })
            });
        let waits = self.shared.directory.partitions().into_iter().map(|partition| {
            let (reply, left) = Reply::once();
            self.shared.directory.tell(partition, Retire { delete: false, reply });
            left
        });
        let all = join_all(waits.collect::<Vec<_>>());
        let left = tokio::select! {
            biased;
            left = all => left.iter().all(Result::is_ok),
            () = clock.sleep_until(deadline) => false,
        };
        // One that fails when nobody is here any more is heard of by nobody.
        if !left && self.shared.has_syncs_under_way() {
            self.shared.store.mark_suspect();
        }
        // The next start believes a clean mark and does not look at the journal: so not when somebody was missing (dead, and
        // not started again) or refused, nor after a failed sync.
        let clean = left && all_here && !self.shared.is_lost() && self.shared.store.mark_clean().is_ok();
        self.shards.join();
        self.shared.store.release();
        clean
    }
}

/// Opens the journal. When a sync fails already now, the next start must not believe what it finds in memory.
fn open_journal(
    store: &Store,
    limits: StagingLimits,
    salt: u64,
) -> Result<(Journal, Vec<JournalEntry>), JournalError> {
    Journal::open(store.disk().clone(), store.journal_dir(), limits, salt)
        .inspect_err(|_| store.mark_suspect())
}

/// What the cluster knew, and that this node has started once more.
fn register(store: &Store, config: &Config, reached: &Endpoint) -> Result<Image, StartError> {
    let cluster = store.identity().cluster;
    match facts::image::divide(store.facts()) {
        Err(error @ FactsError::Full(_)) => {
            log::warn!(error:% = error; "large metadata of an earlier version stays as it is");
        }
        divided => divided?,
    }
    let mut image = Image::rebuild(&cluster, facts::image::load(store.facts())?);
    let command = Command::RegisterNode {
        id: config.node_id,
        host: reached.host.clone(),
        port: reached.port,
        rack: config.rack.clone(),
    };
    let changes = image.decide(&command, &config.settings)?;
    facts::image::keep(store.facts(), &changes)?;
    changes.iter().for_each(|change| image.apply(change));
    Ok(image)
}
