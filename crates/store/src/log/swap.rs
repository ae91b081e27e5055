//! Putting a compacted segment in the place of those it was made of, so that a crash at any point leaves either.
//!
//! ```text
//!   00…0.log.cleaned written and synced, its name too
//!   fact: pending { base, upto }, flushed          <- from here on the new one counts
//!   the old ones renamed to end with .deleted, the new one to its own name; the directory synced
//!   fact: nothing pending, flushed
//!   later: what ends with .deleted is removed
//! ```
//!
//! Recovery does again what a fact says is pending, before it looks at anything else: see
//! `docs/decisions/0010-a-compacted-segment-is-put-in-place-by-a-fact.md`.

use std::{
    path::Path,
    sync::{Arc, Weak},
};

use ottla_host::patiently;
use ottla_rules::{
    ids::{Offset, PartitionId},
    planted,
};

use super::{Log, LogError, SYNC, compact::Rewritten, failed, segment::Segment};
use crate::{
    claims::Hold,
    facts::{
        self, FactsError,
        compaction::{Compacted, Pending},
    },
    files::{Dir, SegmentFiles},
    layout::{self, Part},
    store::Store,
};

/// A segment on its way to its place. Runs away from the log's owner, who meanwhile takes no segment out.
pub struct Swap {
    store: Store,
    partition: PartitionId,
    dir: Arc<Dir>,
    life: Weak<()>,
    compacted: Compacted,
    rewritten: Rewritten,
    step: Step,
    /// From the first step on.
    hold: Option<Hold>,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Commit,
    Rename,
    Sync,
    Settle,
}

/// How far a swap has come.
pub enum Placing {
    /// Go on.
    More(Swap),
    /// The facts had no room for it. The same step again, later: nobody knows whether they have taken it in meanwhile.
    NoRoom(Swap, LogError),
    /// The segment is in its place.
    Done(Swapped),
    /// The log's owner is gone, and the next one knows nothing of this segment.
    Void,
}

/// It is in its place.
pub struct Swapped {
    compacted: Compacted,
    rewritten: Rewritten,
}

/// The segments that were there before; readers may still have them.
pub struct Replaced {
    segments: Vec<Arc<SegmentFiles>>,
}

impl Log {
    /// Prepares to put a rewritten segment in its place. None when the log has changed there since.
    pub fn swap(&self, rewritten: Rewritten) -> Result<Swap, Rewritten> {
        if self.place_of(&rewritten.old).is_none() {
            return Err(rewritten);
        }
        Ok(Swap {
            store: self.store.clone(),
            partition: self.place.id,
            dir: self.dir.clone(),
            life: Arc::downgrade(&self.life),
            compacted: self.compacted,
            rewritten,
            step: Step::Commit,
            hold: None,
        })
    }

    /// Takes note that a rewritten segment is in its place. What it replaced is to be removed once readers have finished.
    pub fn swapped(&mut self, swapped: Swapped) -> Replaced {
        let Swapped { compacted, rewritten: Rewritten { old, new, .. } } = swapped;
        self.compacted = compacted;
        if let Some(at) = self.place_of(&old) {
            self.closed.drain(at..at + old.len());
            self.closed.insert(at, new);
        }
        Replaced { segments: old.into_iter().map(|segment| segment.files).collect() }
    }

    /// Remembers up to where the log is compacted. Only in memory: [`Log::compacted`] is to be put into the facts.
    pub fn set_clean_upto(&mut self, upto: Offset) {
        self.compacted.clean_upto = Some(upto);
    }

    /// How far the log is compacted.
    #[must_use]
    pub fn compacted(&self) -> Compacted {
        self.compacted
    }

    fn place_of(&self, old: &[Segment]) -> Option<usize> {
        let first = old.first()?.base();
        let at = self.closed.partition_point(|segment| segment.base() < first);
        let same = |(ours, theirs): (&Segment, &Segment)| Arc::ptr_eq(&ours.files, &theirs.files);
        (self.closed.len() >= at + old.len() && self.closed.range(at..at + old.len()).zip(old).all(same))
            .then_some(at)
    }
}

impl Swap {
    /// The next step: at most one sync of the facts or of a directory each. Blocks. Once the first is done the others have to
    /// follow, whatever becomes of the owner: recovery does not begin before.
    ///
    /// # Errors
    /// What is on the disk is for recovery to find out: this log is not compacted any more until then.
    pub fn step(mut self) -> Result<Placing, LogError> {
        match self.step {
            Step::Commit => {
                self.hold = self.hold.take().or_else(|| self.store.hold(self.partition));
                if self.hold.is_none() || self.life.strong_count() == 0 {
                    return Ok(Placing::Void);
                }
                match self.commit() {
                    Err(error) if error.is_full() => return Ok(Placing::NoRoom(self, error)),
                    committed => committed?,
                }
                self.step = Step::Rename;
            }
            Step::Rename => {
                self.rename()?;
                self.step = Step::Sync;
            }
            Step::Sync => {
                sync_dir(&self.store, &self.dir.path())?;
                self.step = Step::Settle;
            }
            Step::Settle => {
                match self.settle() {
                    // Who comes next does the rest, and would wait for the hold.
                    Err(error) if error.is_full() && self.life.strong_count() == 0 => {
                        return Ok(Placing::Void);
                    }
                    Err(error) if error.is_full() => return Ok(Placing::NoRoom(self, error)),
                    settled => settled?,
                }
                return Ok(Placing::Done(Swapped { compacted: self.compacted, rewritten: self.rewritten }));
            }
        }
        Ok(Placing::More(self))
    }

    /// From here on the new segment counts.
    fn commit(&mut self) -> Result<(), LogError> {
        let rewritten = &self.rewritten;
        sync_dir(&self.store, &self.dir.path())?;
        self.compacted.touched = self.compacted.touched.max(rewritten.upto);
        let (base, upto, bytes) = (rewritten.new.base(), rewritten.upto, rewritten.new.size);
        self.put(Some(Pending { base, upto, bytes }))
    }

    fn rename(&self) -> Result<(), LogError> {
        let renamed = self.rename_all();
        if planted::is(planted::Bug::FailedRenameIgnored) { Ok(()) } else { renamed }
    }

    fn rename_all(&self) -> Result<(), LogError> {
        for segment in &self.rewritten.old {
            segment.files.mark_deleted().map_err(failed("rename", &segment.files, Part::Log))?;
        }
        let files = &self.rewritten.new.files;
        files.put_in_place().map_err(failed("rename", files, Part::Log))
    }

    /// Before another segment is written under such a name: what is pending must be whole.
    fn settle(&self) -> Result<(), LogError> {
        self.put(None)
    }

    fn put(&self, pending: Option<Pending>) -> Result<(), LogError> {
        let facts = self.store.facts();
        facts::compaction::put(facts, self.partition, Compacted { pending, ..self.compacted })?;
        Ok(facts.flush()?)
    }
}

impl Replaced {
    /// Removes the files. Whoever reads from them keeps what is open.
    pub fn unlink(self) -> Result<(), LogError> {
        for files in &self.segments {
            files.unlink().map_err(failed("remove", files, Part::Log))?;
        }
        Ok(())
    }
}

fn sync_dir(store: &Store, path: &Path) -> Result<(), LogError> {
    let synced = patiently(|| store.disk().sync_dir(path));
    synced.map_err(|error| LogError::Io { what: SYNC, file: path.to_owned(), error })
}

/// Does again what a crash interrupted; what is known of the partition's compaction then.
pub(crate) fn finish_pending(
    store: &Store,
    path: &Path,
    partition: PartitionId,
) -> Result<Compacted, LogError> {
    let list = || {
        let failed = |error| LogError::Io { what: "list", file: path.to_owned(), error };
        store.disk().list(path).map_err(failed)
    };
    let compacted = match facts::compaction::get(store.facts(), partition) {
        Ok(compacted) => compacted,
        // Without a segment that could be pending nothing is lost with it: all is dirty again.
        Err(error @ FactsError::Damaged { .. })
            if !list()?.iter().any(|entry| entry.name.ends_with(layout::CLEANED_FILE)) =>
        {
            log::warn!(error:% = error; "how far the log was compacted is not known any more");
            let synced = facts::checkpoint::get(store.facts(), partition).ok().flatten().unwrap_or_default();
            Compacted { touched: synced.recovery_point, ..Compacted::default() }
        }
        Err(error) => return Err(error.into()),
    };
    let Some(pending) = compacted.pending else { return Ok(compacted) };
    if planted::is(planted::Bug::SwapForgotten) {
        return Ok(Compacted { pending: None, ..compacted });
    }
    let names: Vec<String> = list()?.into_iter().map(|entry| entry.name).collect();
    put_in_place(store, path, &names, pending)?;
    sync_dir(store, path)?;
    let compacted = Compacted { pending: None, ..compacted };
    facts::compaction::put(store.facts(), partition, compacted)?;
    store.facts().flush()?;
    Ok(compacted)
}

/// Each step of [`Swap::run`] from the fact on, as far as it is not done yet.
fn put_in_place(store: &Store, path: &Path, names: &[String], pending: Pending) -> Result<(), LogError> {
    let file = |name: &str| path.join(name);
    let cleaned = |part| format!("{}{}", layout::file_name(pending.base, part), layout::CLEANED_FILE);
    let is_there = |name: &str| names.iter().any(|other| other == name);
    let name = cleaned(Part::Log);
    if is_there(&name) {
        let failed = |error| LogError::Io { what: "read", file: file(&name), error };
        let opened = store.disk().open(file(&name), ottla_host::OpenMode::Read);
        let bytes = opened.and_then(|file| file.len()).map_err(failed)?;
        if bytes != pending.bytes {
            let why = format!("it should have {} bytes, and has {bytes}", pending.bytes);
            return Err(LogError::Damaged { file: file(&name), at: bytes.min(pending.bytes), why });
        }
    }
    for other in names {
        let layout::Entry::Segment(base, _) = layout::read_name(other) else { continue };
        if base > pending.base && base < pending.upto {
            let failed = |error| LogError::Io { what: "remove", file: file(other), error };
            store.disk().remove_file(file(other)).map_err(failed)?;
        }
    }
    for part in Part::ALL {
        let name = cleaned(part);
        if is_there(&name) {
            let failed = |error| LogError::Io { what: "rename", file: file(&name), error };
            let to = file(&layout::file_name(pending.base, part));
            store.disk().rename(file(&name), to).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "swap_tests.rs"]
mod tests;
