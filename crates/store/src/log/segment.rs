//! One segment of a log, as its owner knows it.

use std::{io, mem, ops::Range, sync::Arc};

use ottla_host::File;
use ottla_rules::{
    batch::Stamped,
    ids::Offset,
    roll::{self, ActiveSegment, Incoming, RollRules},
};

use super::{
    ahead::Ahead,
    config::LogConfig,
    index::{Entry, Growing, OffsetEntry, TimeEntry},
};
use crate::{files::SegmentFiles, layout::Part, suspect};

/// The largest timestamp of a segment that has no record yet, as Kafka's `RecordBatch.NO_TIMESTAMP`.
pub(crate) const NO_TIMESTAMP: i64 = -1;

/// What is remembered of every segment, small because there may be many.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) files: Arc<SegmentFiles>,
    /// Bytes of whole batches.
    pub(crate) size: u64,
    /// Entries in the files of the indexes.
    pub(crate) offsets: u32,
    pub(crate) times: u32,
    /// The largest timestamp, and the last offset of the first batch that has it.
    pub(crate) newest: TimeEntry,
    /// The largest timestamp of its first batch. Known of closed ones; else -1.
    pub(crate) first_timestamp: i64,
    /// When its file was last written, Unix milliseconds: its age where no record has a timestamp. Known of closed ones.
    pub(crate) modified_ms: Option<i64>,
    /// Whether it may hold bytes, or be a name, that a power cut would take.
    pub(crate) dirty: bool,
    /// A sync was asked for when it had so many bytes: about where those begin that the next one has to write.
    pub(crate) synced_bytes: u64,
    /// Whether the same holds for what is in the files of its indexes; matters only while it is dirty.
    pub(crate) dirty_indexes: bool,
}

/// What of a segment a power cut may take.
pub(crate) struct Dirty {
    pub(crate) files: Arc<SegmentFiles>,
    /// The part of its records.
    pub(crate) records: Range<u64>,
    /// Whether the files of the indexes have changed; where they have not, syncing them is two waits for nothing.
    pub(crate) indexes: bool,
}

impl Dirty {
    /// The files to be synced.
    pub(crate) fn parts(&self) -> &'static [Part] {
        if self.indexes { &Part::ALL } else { &[Part::Log] }
    }
}

impl Segment {
    pub(crate) fn new(files: Arc<SegmentFiles>) -> Self {
        let newest = TimeEntry { timestamp: NO_TIMESTAMP, last: files.base };
        let first_timestamp = NO_TIMESTAMP;
        Self {
            files,
            size: 0,
            offsets: 0,
            times: 0,
            newest,
            first_timestamp,
            modified_ms: None,
            dirty: true,
            synced_bytes: 0,
            dirty_indexes: true,
        }
    }

    pub(crate) fn base(&self) -> Offset {
        self.files.base
    }

    /// Counts as synced from now on; what has to be synced for that.
    pub(crate) fn clean(&mut self) -> Dirty {
        self.dirty = false;
        let before = mem::replace(&mut self.synced_bytes, self.size);
        let indexes = mem::take(&mut self.dirty_indexes);
        Dirty { files: self.files.clone(), records: before.min(self.size)..self.size, indexes }
    }

    /// When the file was last written, where that is its age, as Kafka's `LogSegment.largestTimestamp` has it: no record has
    /// a timestamp. Not at any time when nobody can say: such a segment goes only by size.
    pub(crate) fn written_ms(&self) -> i64 {
        if self.newest.timestamp > NO_TIMESTAMP {
            return i64::MAX;
        }
        let ask = || self.files.open(Part::Log).and_then(|log| log.modified_ms()).ok();
        self.modified_ms.or_else(ask).unwrap_or(i64::MAX)
    }
}

/// The segment that is written to.
pub(crate) struct Active {
    pub(crate) segment: Segment,
    pub(crate) offsets: Growing<OffsetEntry>,
    pub(crate) times: Growing<TimeEntry>,
    /// The largest timestamp of its first batch: what rolling by time counts from.
    pub(crate) first_timestamp: Option<i64>,
    /// Its share of `segment.jitter.ms`.
    pub(crate) jitter_ms: u64,
    /// What of the next burst stands behind its end already.
    pub(crate) ahead: Option<Ahead>,
    /// It could not be opened or read: what is known of it is its size.
    pub(crate) is_unread: bool,
    /// Bytes since the last index entry.
    unindexed: u64,
}

impl Active {
    pub(crate) fn new(segment: Segment) -> Self {
        Self {
            segment,
            offsets: Growing::new(),
            times: Growing::new(),
            first_timestamp: None,
            jitter_ms: 0,
            ahead: None,
            is_unread: false,
            unindexed: 0,
        }
    }

    /// Goes on in a segment of which the first part is known: the files' entries are counted in `segment`.
    pub(crate) fn resume(
        segment: Segment,
        last_offset: Option<OffsetEntry>,
        last_time: Option<TimeEntry>,
        first_timestamp: Option<i64>,
    ) -> Self {
        Self {
            offsets: Growing::after(segment.offsets, last_offset),
            times: Growing::after(segment.times, last_time),
            unindexed: segment.size - last_offset.map_or(0, |entry| entry.position),
            segment,
            first_timestamp,
            jitter_ms: 0,
            ahead: None,
            is_unread: false,
        }
    }

    /// Whether, with `more` bytes added, it has no room for `batch`.
    pub(crate) fn is_full(&self, batch: &Stamped, more: u64, config: &LogConfig) -> bool {
        let largest = config.segment_index_bytes;
        let has_no_room = |count: u64, bytes: usize| (count + 1) * bytes as u64 > largest;
        let active = ActiveSegment {
            base: self.segment.base(),
            bytes: self.segment.size + more,
            first_timestamp: self.first_timestamp.filter(|timestamp| *timestamp >= 0),
            // One entry of the time index is kept for when the segment is closed.
            index_full: has_no_room(self.offsets.count(), OffsetEntry::BYTES)
                || has_no_room(self.times.count() + 1, TimeEntry::BYTES),
        };
        let bytes = batch.bytes.len() as u64;
        let incoming = Incoming { end: batch.end, bytes, max_timestamp: batch.max_timestamp };
        let rules = RollRules {
            segment_bytes: config.segment_bytes.min(i32::MAX as u64),
            segment_ms: config.segment_ms,
            jitter_ms: self.jitter_ms,
        };
        // Records without timestamps do not age: we are not told the time.
        roll::must_roll(&active, &incoming, 0, &rules)
    }

    /// Counts in a batch that was written at the end, as Kafka's `LogSegment.append`.
    pub(crate) fn add(&mut self, last: Offset, size: u64, max_timestamp: i64, interval: u64) {
        let segment = &mut self.segment;
        // It may have been closed for a roll that failed.
        segment.modified_ms = None;
        if segment.size == 0 {
            self.first_timestamp = Some(max_timestamp);
        }
        if max_timestamp > segment.newest.timestamp {
            segment.newest = TimeEntry { timestamp: max_timestamp, last };
        }
        if self.unindexed > interval {
            self.offsets.push(OffsetEntry { last, position: segment.size });
            self.unindexed = 0;
            self.push_newest();
        }
        self.segment.size += size;
        self.unindexed += size;
    }

    /// Counts in bytes that are no batch.
    pub(crate) fn pass_over(&mut self, bytes: u64) {
        self.segment.size += bytes;
        self.unindexed += bytes;
    }

    /// As [`Self::add`].
    pub(crate) fn add_stamped(&mut self, batch: &Stamped, interval: u64) {
        self.add(Offset(batch.end.0 - 1), batch.bytes.len() as u64, batch.max_timestamp, interval);
    }

    /// Writes what of the indexes is only in memory.
    pub(crate) fn flush_indexes(&mut self) -> io::Result<()> {
        let base = self.segment.base();
        self.segment.dirty_indexes |= self.offsets.has_tail() || self.times.has_tail();
        // Times first: a recovery goes on behind the last offset that it finds, and the times before it have to be there.
        if self.times.has_tail() {
            let flushed = self.times.flush(base, &self.segment.files.create(Part::TimeIndex)?);
            self.segment.times = self.times.written();
            if flushed.is_err() {
                self.offsets.put_off(!self.times.has_tail());
            }
            flushed?;
        }
        if self.offsets.has_tail() {
            let flushed = self.offsets.flush(base, &self.segment.files.create(Part::Index)?);
            self.segment.offsets = self.offsets.written();
            flushed?;
        }
        Ok(())
    }

    /// Writes the files of the indexes again, as they are.
    pub(crate) fn renew_indexes(&self) -> io::Result<()> {
        for part in [Part::Index, Part::TimeIndex] {
            let file = self.segment.files.create(part)?;
            suspect::write_again(&file, 0..file.len()?)?;
        }
        Ok(())
    }

    /// No more batches will follow: the time index ends with the largest timestamp, and both files end with an entry.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        // Asked now, while the file is open: retention must not open a thousand files to learn their age.
        self.segment.modified_ms = Some(self.segment.written_ms());
        self.segment.first_timestamp = self.first_timestamp.unwrap_or(NO_TIMESTAMP);
        self.push_newest();
        if self.flush_indexes().is_err() {
            // No room, most likely, and nobody must wait for some to close a segment that retention is about to take. Without times the
            // next start reads the segment and makes both anew: a time index that ends too early would be believed.
            self.times = Growing::new();
            self.segment.times = 0;
        }
        let offsets = trim(&self.segment.files.create(Part::Index)?, u64::from(self.offsets.written()) * 8)?;
        let times = trim(&self.segment.files.create(Part::TimeIndex)?, u64::from(self.times.written()) * 12)?;
        self.segment.dirty_indexes |= offsets || times;
        // The records may be synced already; the last entry of the time index says how old they are.
        self.segment.dirty |= self.segment.dirty_indexes;
        Ok(())
    }

    /// The time index ends with the largest timestamp there is, as Kafka has it when a segment is closed.
    pub(crate) fn push_newest(&mut self) {
        if self.segment.newest.timestamp > NO_TIMESTAMP {
            self.times.push(self.segment.newest);
        }
    }
}

/// Cuts a file that is longer than `len`; whether it was.
pub(crate) fn trim(file: &File, len: u64) -> io::Result<bool> {
    let is_longer = file.len()? > len;
    if is_longer {
        file.set_len(len)?;
    }
    Ok(is_longer)
}
