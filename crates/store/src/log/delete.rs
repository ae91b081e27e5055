//! Taking away: old segments, everything before a start, the whole partition.
//!
//! Files are renamed first and removed later (`file.delete.delay.ms`), so that who is reading can finish.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Weak},
};

use ottla_host::patiently;
use ottla_rules::ids::{Offset, PartitionId};

use super::{Log, LogError, failed, segment::Segment};
use crate::{
    facts::{self, Facts, FactsError, checkpoint::Checkpoint},
    files::{Dir, SegmentFiles},
    layout::{self, Part},
    store::Store,
};

/// Segments that are no longer part of a log, and whose files are still there.
pub struct Doomed {
    store: Store,
    life: Weak<()>,
    partition: PartitionId,
    checkpoint: Checkpoint,
    segments: Vec<Arc<SegmentFiles>>,
}

/// A partition that is gone, and whose directory is still there under another name.
pub struct Removal {
    facts: Facts,
    partition: PartitionId,
    store: Store,
    dir: Option<PathBuf>,
}

impl Log {
    /// Moves the start: records before it are not read any more. Never moves back, nor beyond the end.
    pub fn set_start(&mut self, start: Offset) {
        self.start = self.start.max(start.min(self.end));
    }

    /// Takes out the segments that end at or below `below`, and of which the facts know all that is remembered of their producers,
    /// except the one that is written to. The start moves to the first segment kept.
    pub fn delete_segments(&mut self, below: Offset) -> Option<Doomed> {
        let below = below.min(self.recovery_point).min(self.checkpointed);
        let ends = self.all().skip(1).take_while(|segment| segment.base() <= below).count();
        let segments: Vec<_> =
            self.closed.drain(..ends.min(self.closed.len())).map(|segment| segment.files).collect();
        let first = self.all().next().map_or(self.end, Segment::base);
        self.set_start(first);
        if segments.is_empty() {
            return None;
        }
        self.dir_dirty = true;
        Some(Doomed {
            store: self.store.clone(),
            life: Arc::downgrade(&self.life),
            partition: self.place.id,
            checkpoint: self.checkpoint(),
            segments,
        })
    }

    /// The end of this partition: its directory is renamed, as Kafka does, and waits to be removed. A reader that still
    /// holds a slice can finish.
    pub fn remove(self) -> Result<Removal, LogError> {
        let dir = if self.exists {
            Some(rename_away(&self.store, &self.dir, &self.place.dir_name())?)
        } else {
            None
        };
        Ok(Removal { facts: self.store.facts().clone(), partition: self.place.id, store: self.store, dir })
    }
}

impl Doomed {
    /// Renames the files so that they are known to be dead, after the new start is safe. False when the log's owner is gone: they are for
    /// the next one to find, who may have begun already, and not to be touched any more.
    ///
    /// # Errors
    /// The facts have no room for the start, or somebody has the files ([`LogError::Busy`]): the same again, later.
    pub fn mark(&self) -> Result<bool, LogError> {
        let Some(_hold) = self.store.hold(self.partition) else { return Err(LogError::Busy) };
        if self.life.strong_count() == 0 {
            return Ok(false);
        }
        facts::checkpoint::advance(self.store.facts(), self.partition, self.checkpoint)?;
        self.store.facts().flush()?;
        for segment in &self.segments {
            segment.mark_deleted().map_err(failed("rename", segment, Part::Log))?;
        }
        Ok(true)
    }

    /// Removes the files, and what was aborted in them, which who has begun to read has to skip until then. Whoever reads from
    /// them keeps what is open.
    pub fn unlink(self) -> Result<(), LogError> {
        for segment in &self.segments {
            segment.unlink().map_err(failed("remove", segment, Part::Log))?;
        }
        // Last: on a full disk this may fail, and the next recovery forgets them too.
        Ok(facts::aborted::forget_before(self.store.facts(), self.partition, self.checkpoint.log_start)?)
    }
}

impl Removal {
    /// Removes the files and everything known of the partition.
    pub fn unlink(self) -> Result<(), LogError> {
        if let Some(dir) = self.dir
            && let Err(error) = self.store.disk().remove_dir_all(&dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(LogError::Io { what: "remove", file: dir, error });
        }
        forget_if_room(&self.facts, self.partition)
    }
}

/// Forgets what the facts know of a partition whose files are gone: they go first, for on a full disk their room is what this needs.
/// Where even that is not enough the next start does it ([`Store::forget_unknown`]).
pub(crate) fn forget_if_room(facts: &Facts, partition: PartitionId) -> Result<(), LogError> {
    match forget(facts, partition) {
        Err(error @ FactsError::Full(_)) => {
            log::warn!(partition:% = partition, error:% = error; "what is known of a deleted partition is not forgotten yet");
            Ok(())
        }
        forgotten => Ok(forgotten?),
    }
}

fn forget(facts: &Facts, partition: PartitionId) -> Result<(), FactsError> {
    facts::epochs::remove(facts, partition)?;
    facts::aborted::remove(facts, partition)?;
    facts::compaction::remove(facts, partition)?;
    facts::producers::remove(facts, partition)?;
    // Last: by it a start finds the others.
    facts::checkpoint::remove(facts, partition)
}

/// Renames a partition's directory so that it is known to be dead, and returns where it is.
pub(crate) fn rename_away(store: &Store, dir: &Arc<Dir>, name: &str) -> Result<PathBuf, LogError> {
    let mut path = crate::files::lock(&dir.path);
    let to = store.path().join(layout::deleted_dir(name, &store.unique()));
    let failed = |what, file: &PathBuf| {
        let file = file.clone();
        move |error| LogError::Io { what, file, error }
    };
    store.disk().rename(&*path, &to).map_err(failed("rename", &path))?;
    path.clone_from(&to);
    drop(path);
    patiently(|| store.disk().sync_dir(store.path())).map_err(failed(super::SYNC, &to))?;
    Ok(to)
}
