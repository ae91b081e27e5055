//! Replay: what the journal knows and the segments may lack.
//!
//! Entries come in the order in which they were journaled. What is there already is compared and left alone; what is
//! missing is appended at exactly the end; anything else is an error that names file and offset.

use std::{io, sync::Arc};

use bytes::Bytes;
use ottla_rules::{
    batch::{self, Stamped, Walk},
    ids::Offset,
};

use super::{
    Log, LogError,
    chain::{Chain, Link},
    failed,
    mend::is_same_for_the_crc,
    recover::{CHUNK_BYTES, Recovery},
    scan::Scan,
    segment::Segment,
};
use crate::{
    facts,
    files::SegmentFiles,
    journal::entry::{EntryKind, JournalEntry},
    layout::Part,
};

/// One entry of the journal, as far as one partition's files are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// These batches were appended.
    Append {
        /// Whole batches, one after another, stamped.
        bytes: Bytes,
    },
    /// The log was cut there.
    Truncate {
        /// The new end.
        to: Offset,
    },
    /// The first offset to be read moved there.
    MoveStart {
        /// The new start.
        to: Offset,
    },
}

impl Replay {
    /// Whether it is of batches the first of which begins at or before this offset.
    pub(crate) fn begins_by(&self, offset: Offset) -> bool {
        let Self::Append { bytes } = self else { return false };
        Walk::over(bytes)
            .next()
            .is_some_and(|first| first.is_ok_and(|(_, header)| header.base_offset <= offset))
    }
}

impl From<JournalEntry> for Replay {
    fn from(entry: JournalEntry) -> Self {
        match entry.kind {
            EntryKind::Append { bytes, base: _ } => Self::Append { bytes },
            EntryKind::Truncate { to } => Self::Truncate { to },
            EntryKind::MoveStart { to } => Self::MoveStart { to },
        }
    }
}

impl Recovery {
    /// Plays the segments that are about to be removed, and puts what they say of producers into the facts: nothing else tells what
    /// was written there, and which transactions ended, since the last checkpoint. What is damaged is passed over: a marker behind it
    /// must end what was begun before it.
    ///
    /// # Errors
    /// The disk does not let them be read, or the facts be written: the segments are still there, and another recovery finds them.
    pub(crate) fn play_dead_segments(&mut self, bases: &[Offset]) -> Result<(), LogError> {
        let dead = self.count_dead(bases);
        // The first of them that reaches beyond what is known.
        let first = bases.partition_point(|base| *base <= self.known_upto).saturating_sub(1);
        // Those before it have nothing to tell. They go first: on a full disk their room is what the others' facts need.
        for base in &bases[..first.min(dead)] {
            self.remove(&SegmentFiles::new(self.log.dir.clone(), *base))?;
        }
        let known = self.known_upto;
        for (at, base) in bases.iter().enumerate().take(dead).skip(first) {
            let files = SegmentFiles::new(self.log.dir.clone(), *base);
            let bound = bases.get(at + 1).copied().unwrap_or(Offset(i64::MAX));
            self.play_segment(&files, bound)?;
        }
        if self.known_upto > known {
            let (facts, id) = (self.log.store.facts(), self.log.place.id);
            facts::producers::put(facts, id, self.known_upto, &self.producers.snapshot())?;
            facts::epochs::replace(facts, id, self.epochs.rows())?;
            facts.flush()?;
        }
        Ok(())
    }

    /// Plays the batches of a segment that are whole, up to where the next one begins.
    fn play_segment(&mut self, files: &Arc<SegmentFiles>, bound: Offset) -> Result<(), LogError> {
        let log = files.open(Part::Log).map_err(failed("open", files, Part::Log))?;
        let len = log.len().map_err(failed("read", files, Part::Log))?;
        let mut chain =
            Chain::new(Scan::new(log, 0, len, CHUNK_BYTES), len, bound, Some(files.base)).whole_only();
        loop {
            match chain.next().map_err(failed("read", files, Part::Log))? {
                Link::Batch(found) => {
                    let batch = chain.bytes_of(&found).map_err(failed("read", files, Part::Log))?;
                    let marker = super::recover::marker_of(&found.header, batch);
                    self.play(&found.header, marker)?;
                    self.known_upto = self.known_upto.max(found.header.end());
                }
                Link::Damage(_) => (),
                Link::End => return Ok(()),
            }
        }
    }

    /// Finds what lies below the log's start: nobody reads it again, but whoever wrote it may send it once more, or go on behind it. The
    /// segments have some of it too, and perhaps what came before or after: all is played in the order of the log, or a
    /// transaction would be open again whose marker only the journal has.
    pub(crate) fn find_dead(&mut self, journal: &[Replay]) {
        let (start, kept_below) = self.fates(journal);
        let mut dead = vec![];
        for (entry, kept_below) in journal.iter().zip(kept_below) {
            let Replay::Append { bytes } = entry else { continue };
            // What is no batch is found again, and refused, by the replay.
            for (at, header) in Walk::over(bytes).filter_map(Result::ok) {
                if header.end() <= start && header.base_offset < kept_below {
                    self.producers_from_journal |= header.has_producer();
                    let marker = super::recover::marker_of(&header, &bytes[at..at + header.size()]);
                    dead.push((header, marker));
                }
            }
        }
        dead.sort_by_key(|(header, _)| header.base_offset);
        dead.dedup_by_key(|(header, _)| header.base_offset);
        self.dead = dead.into();
    }

    /// Plays what only the journal has of what lies below `upto`.
    ///
    /// # Errors
    /// The facts cannot be written.
    pub(crate) fn play_dead_below(&mut self, upto: Offset) -> Result<(), LogError> {
        while let Some((header, marker)) = self.dead.pop_front_if(|(header, _)| header.base_offset < upto) {
            self.play_one(&header, marker)?;
        }
        Ok(())
    }

    /// Where the log begins once all entries are applied, and for each entry the offset below which later entries leave its
    /// batches in place.
    pub(crate) fn fates(&self, journal: &[Replay]) -> (Offset, Vec<Offset>) {
        let mut kept_below = vec![Offset(i64::MAX); journal.len()];
        let mut start = self.log.start;
        for at in (0..journal.len()).rev() {
            if let Some(after) = kept_below.get(at + 1).copied() {
                kept_below[at] = match &journal[at + 1] {
                    Replay::Truncate { to } => after.min(*to),
                    Replay::Append { .. } | Replay::MoveStart { .. } => after,
                };
            }
            if let Replay::MoveStart { to } = &journal[at] {
                start = start.max(*to);
            }
        }
        (start, kept_below)
    }

    /// Applies the entries. Batches that a later entry truncates are not looked at: the segment may hold what was
    /// appended in their place.
    pub(crate) fn replay(&mut self, journal: Vec<Replay>) -> Result<(), LogError> {
        let (start, kept_below) = self.fates(&journal);
        for (entry, kept_below) in journal.into_iter().zip(kept_below) {
            match entry {
                Replay::Append { bytes } => self.replay_batches(&bytes, start, kept_below)?,
                Replay::Truncate { to } => self.truncate(to)?,
                Replay::MoveStart { to: _ } => (),
            }
        }
        if start > self.log.end {
            self.begin_at(start)?;
        }
        self.log.start = self.log.start.max(start);
        Ok(())
    }

    fn replay_batches(&mut self, bytes: &Bytes, start: Offset, kept_below: Offset) -> Result<(), LogError> {
        for found in Walk::over(bytes) {
            let Ok((position, header)) = found else {
                return Err(self.refused("an entry of the journal holds no batch".to_owned()));
            };
            let whole = bytes.slice(position..position + header.size());
            if header.end() <= start || header.base_offset >= kept_below {
                continue;
            }
            // Synced before compaction rewrote the segment: what the journal knows is not what the segment holds now.
            if header.end() <= self.log.compacted.touched {
                continue;
            }
            if header.base_offset < self.log.end && self.log.all().next().is_none() {
                // The start lies within this batch, and the file that held it is gone.
                self.begin_at(header.base_offset)?;
            }
            if header.base_offset < self.log.end {
                self.compare(&header, &whole)?;
                continue;
            }
            // A log whose tail is dead (its start moved past it) begins anew at the first batch that is alive.
            if header.base_offset > self.log.end && self.log.end <= start && header.base_offset <= start {
                self.begin_at(header.base_offset)?;
            }
            if header.base_offset != self.log.end {
                let why = format!(
                    "the journal goes on at offset {}, the log ends at {}",
                    header.base_offset, self.log.end
                );
                return Err(self.refused(why));
            }
            let batch = Stamped {
                base: header.base_offset,
                end: header.end(),
                max_timestamp: header.max_timestamp,
                leader_epoch: header.leader_epoch,
                bytes: whole,
            };
            let marker = super::recover::marker_of(&header, &batch.bytes);
            self.log.append(&[batch])?;
            self.play(&header, marker)?;
            self.replayed += (header.end().0 - header.base_offset.0).unsigned_abs();
        }
        Ok(())
    }

    /// The batch in the journal is the one in the segment, or what could not be put back where damage may be passed over.
    fn compare(&mut self, header: &batch::Header, whole: &Bytes) -> Result<(), LogError> {
        let offset = header.base_offset;
        let Some((segment, bound)) = self.log.segment_of(offset) else { return Ok(()) };
        let is_active =
            self.log.active.as_ref().is_some_and(|active| active.segment.base() == segment.base());
        let passes_damage = self.log.config.passes_damage || !is_active;
        let (files, size, entries) = (segment.files.clone(), segment.size, segment.offsets);
        let read = || failed("read", &files, Part::Log);
        let at = files.position_before(offset, entries, size, false).map_err(read())?;
        let file = files.open(Part::Log).map_err(failed("open", &files, Part::Log))?;
        let scan = Scan::new(file, at, size, super::slice::LOOK_BYTES);
        let mut chain = Chain::new(scan, size, bound, (at == 0).then_some(files.base));
        if passes_damage {
            chain = chain.whole_only();
        }
        let (at, why) = loop {
            match chain.next().map_err(read())? {
                Link::Batch(found) if found.header.end() <= offset => (),
                Link::Batch(found) if chain.bytes_of(&found).map_err(read())? == &whole[..] => return Ok(()),
                Link::Batch(found) if is_same_for_the_crc(&found.header, header) => {
                    return self.write_over(&files, found.position, whole);
                }
                Link::Batch(found) => {
                    break (
                        found.position,
                        format!("the batch at offset {offset} is not the one that the journal has"),
                    );
                }
                Link::Damage(damage) if damage.upto <= offset && passes_damage => (),
                Link::Damage(damage) if passes_damage => {
                    log::error!(
                        file:% = files.path(Part::Log).display(), at = damage.at, offset:% = offset;
                        "a damaged batch is not put back, its place is not certain"
                    );
                    return Ok(());
                }
                Link::Damage(damage) => {
                    break (damage.at, format!("the batch at offset {offset} is damaged"));
                }
                Link::End => {
                    break (
                        size,
                        format!("the batch at offset {offset} is in the journal and not in the log"),
                    );
                }
            }
        };
        Err(LogError::Damaged { file: files.path(Part::Log), at, why })
    }

    /// Writes a batch again of which the epoch is another one, where a start has not looked for what was synced.
    fn write_over(&mut self, files: &Arc<SegmentFiles>, at: u64, whole: &Bytes) -> Result<(), LogError> {
        let log = files.open(Part::Log).map_err(failed("open", files, Part::Log))?;
        let written = log.pwrite_all(whole, at).map_err(io::Error::from);
        written.map_err(failed("write to", files, Part::Log))?;
        let active = self.log.active.as_mut().map(|active| &mut active.segment);
        for segment in self.log.closed.iter_mut().chain(active) {
            if Arc::ptr_eq(&segment.files, files) {
                (segment.dirty, segment.synced_bytes) = (true, 0);
            }
        }
        log::warn!(file:% = files.path(Part::Log).display(), at = at; "a damaged batch is put back, the journal has it");
        Ok(())
    }

    /// Cuts the log at `to`, which is where a batch begins.
    fn truncate(&mut self, to: Offset) -> Result<(), LogError> {
        if to >= self.log.end {
            return Ok(());
        }
        self.log.truncate(to)?;
        self.epochs.cut(to);
        self.producers.rollback(to);
        facts::aborted::forget_from(self.log.store.facts(), self.log.place.id, to)?;
        Ok(())
    }

    /// An empty log that goes on at `at`: nothing before it is to be read.
    fn begin_at(&mut self, at: Offset) -> Result<(), LogError> {
        for files in self.log.all().map(|segment| segment.files.clone()).collect::<Vec<_>>() {
            files.unlink().map_err(failed("remove", &files, Part::Log))?;
        }
        self.log.forget_segments(at);
        Ok(())
    }

    fn refused(&self, why: String) -> LogError {
        let last = self
            .log
            .active
            .as_ref()
            .map(|active| (active.segment.files.path(Part::Log), active.segment.size));
        let (file, at) = last.unwrap_or((self.log.dir.path(), 0));
        LogError::Damaged { file, at, why }
    }
}

impl Log {
    /// The segment in which an offset is, and where the next one begins.
    fn segment_of(&self, offset: Offset) -> Option<(&Segment, Offset)> {
        let bases = self.all().map(Segment::base).skip(1).chain([self.end]);
        self.all().zip(bases).find(|(segment, end)| segment.base() <= offset && offset < *end)
    }
}
