//! Moving the recovery point: syncing files, and then saying so.
//!
//! The order is what makes it true: files, then the directory, then the fact. A crash in between leaves an older fact,
//! and recovery reads a little more than it needs.

use std::{io, ops::Range, sync::Arc};

use ottla_host::{File, is_out_of_files, patiently};
use ottla_rules::{
    ids::{LeaderEpoch, Offset, PartitionId},
    partition::transactions::Aborted,
    planted,
    producers::ProducerEntry,
};

use super::{
    Log, LogError, SYNC, aborted, failed,
    segment::{Dirty, Segment},
};
use crate::{
    facts::{self, Facts, checkpoint::Checkpoint},
    files::Dir,
    layout::Part,
};

/// So much may be left for the sync itself.
const LITTLE_BYTES: u64 = 512 * 1024;

/// What must be synced so that everything up to [`SyncPoint::end`] is safe. Runs away from the log's owner.
pub struct SyncPoint {
    facts: Facts,
    partition: PartitionId,
    end: Offset,
    start: Offset,
    files: Vec<Dirty>,
    dir: Option<Arc<Dir>>,
    aborted: Vec<Aborted>,
}

impl Log {
    /// What must be synced to move the recovery point to the end of the log; `None` when it is there already, and the facts know. Index
    /// entries that were only in memory are written first, if there is room. Whoever runs it says [`Log::synced`] afterwards.
    pub fn sync_point(&mut self) -> Option<SyncPoint> {
        if let Some(active) = &mut self.active
            && let Err(error) = active.flush_indexes()
        {
            // A full disk, most likely. An index that lacks entries is slower, not wrong.
            log::warn!(partition:% = self.place.dir_name(), error:% = error; "index entries not written");
        }
        let is_known = self.checkpointed >= self.end;
        if is_known && !self.dir_dirty && !self.all().any(|segment| segment.dirty) {
            return None;
        }
        // What is written from now on is for the next sync point; a failure is for good (the directory is given up).
        let active = self.active.as_mut().map(|active| &mut active.segment);
        let dirty = self.closed.iter_mut().chain(active).filter(|segment| segment.dirty);
        let files = dirty.map(Segment::clean).collect();
        Some(SyncPoint {
            facts: self.store.facts().clone(),
            partition: self.place.id,
            end: self.end,
            start: self.start,
            files,
            dir: std::mem::take(&mut self.dir_dirty).then(|| self.dir.clone()),
            aborted: self.aborted.below(self.end),
        })
    }

    /// Takes note that everything below `end` is synced.
    pub fn synced(&mut self, end: Offset) {
        self.recovery_point = self.recovery_point.max(end);
    }

    /// Takes note that the facts know everything below `end`, producers, epochs and what was aborted too: compaction may rewrite
    /// it. Not every sync brings a checkpoint.
    pub fn checkpointed(&mut self, end: Offset) {
        self.checkpointed = self.checkpointed.max(end);
        self.aborted.saved_below(end);
    }

    /// A checkpoint of what is known to be synced, with the start as it is now: for a clean stop, or when only the
    /// start has moved.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { recovery_point: self.recovery_point, log_start: self.start }
    }
}

impl SyncPoint {
    /// Where the log ended when this was taken.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Syncs the files. An error is for good: the directory must not be trusted any more.
    pub fn sync(&self) -> Result<(), LogError> {
        for dirty in &self.files {
            match sync_segment(dirty) {
                // Retention has taken it meanwhile.
                Err(error) if error.is_gone() && dirty.files.is_deleted() => (),
                synced => synced?,
            }
        }
        if let Some(dir) = &self.dir {
            let path = dir.path();
            let sync = || dir.files.disk.sync_dir(&path);
            let synced = match planted::is(planted::Bug::UnopenedTakenForSynced) {
                true => sync().or_else(|error| is_out_of_files(&error).then_some(()).ok_or(error)),
                false => patiently(sync),
            };
            synced.map_err(|error| LogError::Io { what: SYNC, file: path, error })?;
        }
        Ok(())
    }

    /// Remembers that the files are synced, with the producers and epochs as they were at [`SyncPoint::end`]. Safe once
    /// the facts are flushed.
    pub fn checkpoint(
        &self,
        producers: &[ProducerEntry],
        epochs: &[(LeaderEpoch, Offset)],
    ) -> Result<(), LogError> {
        aborted::save(&self.facts, self.partition, &self.aborted)?;
        facts::producers::put(&self.facts, self.partition, self.end, producers)?;
        facts::epochs::replace(&self.facts, self.partition, epochs)?;
        let checkpoint = Checkpoint { recovery_point: self.end, log_start: self.start };
        Ok(facts::checkpoint::advance(&self.facts, self.partition, checkpoint)?)
    }
}

fn sync_segment(dirty: &Dirty) -> Result<(), LogError> {
    let files = &dirty.files;
    let log = patiently(|| files.open(Part::Log)).map_err(failed("open", files, Part::Log))?;
    write_out(&log, dirty.records.clone()).map_err(failed(SYNC, files, Part::Log))?;
    for &part in dirty.parts() {
        let file = patiently(|| files.open(part)).map_err(failed("open", files, part))?;
        file.sync_data().map_err(failed(SYNC, files, part))?;
    }
    Ok(())
}

/// Writes records out, and what was appended behind them meanwhile. The sync that follows covers all that the file has, and
/// all of that at once: what it finds unwritten stands in the way of everybody else's.
fn write_out(log: &File, mut records: Range<u64>) -> io::Result<()> {
    log.write_out(records.clone())?;
    loop {
        let behind = records.end..log.len()?.max(records.end);
        let (was, is) = (records.end - records.start, behind.end - behind.start);
        // Where it comes as fast as it is written out, there is no end to it.
        if is < LITTLE_BYTES || is > was / 2 {
            return Ok(());
        }
        log.write_out(behind.clone())?;
        records = behind;
    }
}
