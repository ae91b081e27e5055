//! Finding records by time, as Kafka's `UnifiedLog.fetchOffsetByTimestamp`: also inside compressed batches.

use std::{io, sync::Arc};

use ottla_rules::{
    batch::{
        BatchError, Header,
        records::{self, Records},
    },
    ids::{LeaderEpoch, Offset},
};

use super::{
    Log,
    index::{self, TimeEntry},
    scan::{Found, Scan},
    segment::Segment,
    slice::{LOOK_BYTES, last_of},
};
use crate::{files::SegmentFiles, layout::Part};

/// A search by time, to be run away from the log's owner.
#[derive(Clone)]
pub struct TimeLookup {
    what: What,
    upto: Offset,
    start: Offset,
    unpacked_bytes_max: usize,
    segments: Vec<Searched>,
}

#[derive(Clone, Copy, Debug)]
enum What {
    AtLeast(i64),
    Largest,
}

#[derive(Clone)]
struct Searched {
    files: Arc<SegmentFiles>,
    size: u64,
    offsets: u32,
    times: u32,
    newest: TimeEntry,
}

/// The record that a search by time found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundTime {
    /// The record's offset.
    pub offset: Offset,
    /// The record's own timestamp.
    pub timestamp: i64,
    /// The leader epoch of its batch.
    pub epoch: LeaderEpoch,
}

impl Log {
    /// A search for the first record in `start..upto` with this timestamp or a later one.
    /// A compressed batch that unpacks to more than `unpacked_bytes_max` is an error.
    #[must_use]
    pub fn lookup(&self, timestamp: i64, upto: Offset, unpacked_bytes_max: usize) -> TimeLookup {
        self.time_lookup(What::AtLeast(timestamp), upto, unpacked_bytes_max)
    }

    /// A search for the first record in `start..upto` that has the largest timestamp of all.
    #[must_use]
    pub fn max_timestamp_lookup(&self, upto: Offset, unpacked_bytes_max: usize) -> TimeLookup {
        self.time_lookup(What::Largest, upto, unpacked_bytes_max)
    }

    fn time_lookup(&self, what: What, upto: Offset, unpacked_bytes_max: usize) -> TimeLookup {
        // Nobody knows how late the records are of one that could not be read: who searches has to look, and is refused if that
        // fails again.
        let unread =
            self.active.as_ref().filter(|active| active.is_unread).map(|active| active.segment.base());
        let newest = |segment: &Segment| match unread == Some(segment.base()) {
            true => TimeEntry { timestamp: i64::MAX, last: Offset(i64::MAX) },
            false => segment.newest,
        };
        let may = |segment: &&Segment| match what {
            What::AtLeast(timestamp) => newest(segment).timestamp >= timestamp,
            What::Largest => segment.size > 0,
        };
        let searched = |segment: &Segment| Searched { newest: newest(segment), ..Searched::new(segment) };
        let segments = self.all().filter(|segment| segment.base() < upto).filter(may).map(searched).collect();
        TimeLookup { what, upto: upto.min(self.end), start: self.start, unpacked_bytes_max, segments }
    }
}

impl TimeLookup {
    /// Reads what is needed: index entries, batch headers, and the records of the batch that has the record.
    ///
    /// # Errors
    /// Those of the file system; `InvalidData` when a batch cannot be read.
    pub fn run(mut self) -> io::Result<Option<FoundTime>> {
        match self.what {
            What::AtLeast(timestamp) => {
                for segment in &self.segments {
                    if let Some(found) = self.search(segment, timestamp)? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
            What::Largest => {
                // Of equal ones the earliest segment: sorting is stable.
                self.segments.sort_by_key(|segment| std::cmp::Reverse(segment.newest.timestamp));
                let mut best: Option<FoundTime> = None;
                for segment in &self.segments {
                    // One that comes before has the earlier of two that are equal.
                    let rank = |found: &FoundTime| (found.timestamp, std::cmp::Reverse(found.offset));
                    let newest = (segment.newest.timestamp, std::cmp::Reverse(segment.files.base));
                    if best.as_ref().is_some_and(|best| rank(best) > newest) {
                        break;
                    }
                    best = best.into_iter().chain(self.search_largest(segment)?).max_by_key(rank);
                }
                Ok(best)
            }
        }
    }

    /// The first record of the segment that is as late as `timestamp`.
    fn search(&self, segment: &Searched, timestamp: i64) -> io::Result<Option<FoundTime>> {
        let mut scan = segment.scan_from(self.start)?;
        if let Some(entry) = segment.last_before(timestamp)?.filter(|entry| entry.last >= self.start) {
            let mut from_entry = segment.scan_from(entry.last)?;
            let at = from_entry.position();
            let found =
                self.next(&mut from_entry)?.map(|found| (last_of(&found), found.header.max_timestamp));
            // An index that tells of another batch is damaged, and then all of the segment is read.
            if found == Some((entry.last, entry.timestamp)) {
                from_entry.seek(at);
                scan = from_entry;
            }
        }
        while let Some(found) = self.next(&mut scan)? {
            if found.header.max_timestamp < timestamp || found.header.end() <= self.start {
                continue;
            }
            let found_in = self.first_in(scan.bytes_of(&found)?, timestamp).map_err(unreadable)?;
            if let Some((offset, timestamp)) = found_in {
                return Ok(Some(FoundTime { offset, timestamp, epoch: found.header.leader_epoch }));
            }
        }
        Ok(None)
    }

    /// The first record of a batch as late as `timestamp`. DeleteRecords may have moved the start into the middle of
    /// the batch: records before it are not there.
    fn first_in(&self, batch: &[u8], timestamp: i64) -> Result<Option<(Offset, i64)>, BatchError> {
        let base = Header::read(batch)?.base_offset;
        let mut records = Records::of(batch, self.unpacked_bytes_max)?;
        while let Some(record) = records.next()? {
            let offset = base.plus(i64::from(record.offset_delta));
            if record.timestamp >= timestamp && offset >= self.start {
                return Ok(Some((offset, record.timestamp)));
            }
        }
        Ok(None)
    }

    /// The first record of the segment with the largest timestamp.
    fn search_largest(&self, segment: &Searched) -> io::Result<Option<FoundTime>> {
        // Usually the remembered batch is below `upto`; when it is not, all of the segment is looked at.
        let is_below = segment.newest.last < self.upto && segment.newest.last >= self.start;
        let from = if is_below { segment.newest.last } else { segment.files.base.max(self.start) };
        let mut scan = segment.scan_from(from)?;
        let mut best: Option<Found> = None;
        while let Some(found) = self.next(&mut scan)? {
            // One that compaction has emptied has a timestamp and no record.
            if found.header.end() <= self.start || found.header.count == 0 {
                continue;
            }
            if best.as_ref().is_none_or(|best| found.header.max_timestamp > best.header.max_timestamp) {
                best = Some(found);
            }
            if is_below
                && best.as_ref().is_some_and(|best| best.header.max_timestamp >= segment.newest.timestamp)
            {
                break;
            }
        }
        let Some(found) = best else { return Ok(None) };
        let bytes = scan.bytes_of(&found)?;
        let record = records::find_max_timestamp(bytes, self.unpacked_bytes_max).map_err(unreadable)?;
        let epoch = found.header.leader_epoch;
        Ok(record.map(|(offset, timestamp)| FoundTime { offset, timestamp, epoch }))
    }

    fn next(&self, scan: &mut Scan) -> io::Result<Option<Found>> {
        Ok(scan.next_header()?.filter(|found| found.header.end() <= self.upto))
    }
}

impl Searched {
    fn new(segment: &Segment) -> Self {
        let Segment { files, size, offsets, times, newest, .. } = segment.clone();
        Self { files, size, offsets, times, newest }
    }

    /// Batches from the one on that holds `offset`.
    fn scan_from(&self, offset: Offset) -> io::Result<Scan> {
        let at = self.files.position_before(offset, self.offsets, self.size, false)?;
        let mut scan = Scan::new(self.files.open(Part::Log)?, at, self.size, LOOK_BYTES);
        while let Some(found) = scan.next_header()? {
            if found.header.end() > offset {
                scan.seek(found.position);
                break;
            }
        }
        Ok(scan)
    }

    /// The last entry of the time index before `timestamp`: what is looked for comes after its batch.
    fn last_before(&self, timestamp: i64) -> io::Result<Option<TimeEntry>> {
        // Without its index the segment is read from its beginning.
        let Ok(file) = self.files.open(Part::TimeIndex) else { return Ok(None) };
        let found = index::search::<TimeEntry>(&file, self.files.base, self.times, |entry| {
            entry.timestamp < timestamp
        });
        Ok(found.ok().flatten().map(|(_, entry)| entry))
    }
}

fn unreadable(error: BatchError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
