//! Facts: everything that says where and who, one small value per fact.
//!
//! On a machine they live in sled, in memory for the simulation: both behave alike (the same tests run over both), and
//! in neither a fact is safe before [`Facts::flush`] has returned. A crash keeps the order: when a fact survived, so
//! did everything put before it.
//!
//! | key | what | module |
//! |---|---|---|
//! | `i/...` | identity of this data directory | [`identity`] |
//! | `m/...` | the metadata image, one value per fact | [`image`] |
//! | `l/...<number>` | a part of such a fact, where it is large | [`image`] |
//! | `c/<partition>` | recovery point and log start | [`checkpoint`] |
//! | `e/<partition><epoch>` | where each leader epoch starts | [`epochs`] |
//! | `p/<partition>` | snapshot of the idempotent producers | [`producers`] |
//! | `o/<partition><number>` | a part of such a snapshot, where it is large | [`producers`] |
//! | `a/<partition><offset>` | the transaction that the marker there aborted | [`aborted`] |
//! | `k/<partition>` | up to where the log is compacted, and which segment is being put in place | [`compaction`] |
//!
//! Values begin with a version byte; one that cannot be read is reported as [`FactsError::Damaged`], and what it said
//! is rebuilt where that is possible.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use ottla_host::Disk;

use crate::{
    ballast::Ballast,
    facts::{memory::MemoryFacts, seal::Seal, tree::Tree},
};

pub mod aborted;
pub mod checkpoint;
pub mod compaction;
pub mod epochs;
pub mod identity;
pub mod image;
pub mod key;
pub mod memory;
pub mod producers;
mod seal;
mod tree;
pub mod value;

/// Where the facts of a data directory are kept.
#[derive(Clone, Debug)]
pub enum FactsKind {
    /// In sled, inside the data directory.
    Sled,
    /// In memory, for the simulation: the handle outlives the node, as a disk does.
    Memory(MemoryFacts),
}

/// A fact could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FactsError {
    /// The value is not one that we wrote: rebuild it, or go without.
    #[error("the stored fact {key} is damaged: {why}")]
    Damaged {
        /// The key, with unprintable bytes escaped.
        key: String,
        /// What is wrong with the value.
        why: String,
    },
    /// The disk has no room for them. Nothing is lost: what was put is kept, and ask again when space has returned.
    #[error("there is no room for the facts of this data directory: {0}")]
    Full(String),
    /// The store below failed. Nothing that was not flushed before can be trusted to be there.
    #[error("the facts of this data directory cannot be used: {0}")]
    Failed(String),
    /// A sync of them failed, now or before: what the disk has of them is not known.
    #[error("the facts of this data directory cannot be made safe: {0}")]
    Unsynced(String),
}

/// The facts of one data directory. Cheap to clone; every call may touch the disk, so not for a shard's thread.
#[derive(Clone, Debug)]
pub struct Facts {
    kind: Arc<Kind>,
    /// Held by who puts what depends on what is there.
    one_by_one: Arc<Mutex<()>>,
}

#[derive(Debug)]
enum Kind {
    Sled(Box<(Tree, Seal)>),
    Memory(MemoryFacts),
}

/// One key and its value, as [`Facts::scan_prefix`] lists them.
pub type Pair = (Vec<u8>, Vec<u8>);

/// One change: a key, and its value or its end.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

impl Facts {
    /// Opens the facts in the directory `own` (created when missing), or those of the given memory.
    ///
    /// # Errors
    /// Those that exist nowhere else must be as they were put last; they are never guessed at.
    pub fn open(kind: FactsKind, disk: &Disk, own: &Path) -> Result<Self, FactsError> {
        let kind = match kind {
            FactsKind::Memory(memory) => Kind::Memory(memory),
            FactsKind::Sled => {
                let ballast = Ballast::new(disk.clone(), own.join("ballast"));
                let tree = Tree::open(disk.clone(), &own.join("facts"), ballast)?;
                let seal = Seal::open(disk.clone(), own.join("seal"), &tree)?;
                Kind::Sled(Box::new((tree, seal)))
            }
        };
        Ok(Self { kind: Arc::new(kind), one_by_one: Arc::default() })
    }

    /// For a change that depends on what is there: nobody else makes one meanwhile.
    pub(crate) fn one_by_one(&self) -> MutexGuard<'_, ()> {
        crate::files::lock(&self.one_by_one)
    }

    /// The value under `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, FactsError> {
        match &*self.kind {
            Kind::Sled(sled) => sled.0.get(key),
            Kind::Memory(memory) => Ok(memory.get(key)),
        }
    }

    /// Puts `value` under `key`, in place of what was there. Safe after the next [`Self::flush`].
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), FactsError> {
        match &*self.kind {
            Kind::Sled(sled) => sled.0.change(key, Some(value)),
            Kind::Memory(memory) => memory.put(key, value),
        }
    }

    /// Forgets `key`; no error when it is not there. Safe after the next [`Self::flush`].
    pub fn remove(&self, key: &[u8]) -> Result<(), FactsError> {
        match &*self.kind {
            Kind::Sled(sled) => sled.0.change(key, None),
            Kind::Memory(memory) => memory.remove(key),
        }
    }

    /// Every fact whose key begins with `prefix`, in the order of the keys.
    pub fn scan_prefix(&self, prefix: &[u8]) -> Result<Vec<Pair>, FactsError> {
        match &*self.kind {
            Kind::Sled(sled) => sled.0.scan_prefix(prefix),
            Kind::Memory(memory) => Ok(memory.scan_prefix(prefix)),
        }
    }

    /// Puts and removes facts in this order, and returns once that is safe from a power cut. For the facts that are the only
    /// copy of what they say (identity and metadata): from then on they are missed when they are gone.
    ///
    /// # Errors
    /// Nobody knows then how many of the changes are there.
    pub fn commit(&self, changes: &[Change]) -> Result<(), FactsError> {
        match &*self.kind {
            Kind::Sled(sled) => sled.1.commit(&sled.0, changes),
            Kind::Memory(memory) => {
                for (key, value) in changes {
                    match value {
                        Some(value) => memory.put(key, value)?,
                        None => memory.remove(key)?,
                    }
                }
                memory.flush();
                Ok(())
            }
        }
    }

    /// Shows every fact whose key begins with `prefix` and is not below `from`, in the order of the keys, until `visit` says
    /// no.
    pub fn visit_from(
        &self,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), FactsError> {
        match &*self.kind {
            Kind::Sled(sled) => sled.0.visit_from(prefix, from, visit),
            Kind::Memory(memory) => {
                memory.visit_from(prefix, from, visit);
                Ok(())
            }
        }
    }

    /// Sees to it that a full disk later on still has room for the facts. Blocks; does nothing when that is seen to.
    pub fn take_on_ballast(&self) {
        match &*self.kind {
            Kind::Sled(sled) => sled.0.take_on_ballast(),
            Kind::Memory(_) => (),
        }
    }

    /// Forgets every fact whose key begins with `prefix`.
    pub fn remove_prefix(&self, prefix: &[u8]) -> Result<(), FactsError> {
        for (key, _) in self.scan_prefix(prefix)? {
            self.remove(&key)?;
        }
        Ok(())
    }

    /// Returns once everything put or removed before is safe from a power cut.
    pub fn flush(&self) -> Result<(), FactsError> {
        match &*self.kind {
            Kind::Sled(sled) => sled.0.flush(),
            Kind::Memory(memory) => {
                memory.flush();
                Ok(())
            }
        }
    }
}
