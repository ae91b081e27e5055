//! Loading: a closed segment is taken as its files say, and not read.

use std::sync::Arc;

use ottla_rules::{batch, ids::Offset};

use super::{
    index::{self, Entry, OffsetEntry, TimeEntry},
    recover::indexed_timestamp,
    scan::Scan,
    segment::{NO_TIMESTAMP, Segment},
    slice::{LOOK_BYTES, last_of},
};
use crate::{files::SegmentFiles, layout::Part};

/// A closed segment as its files say, without reading its batches. `None` when its indexes are not as we left them, or when it
/// does not end where it should (`end`, if that is known).
pub(crate) fn load(files: &Arc<SegmentFiles>, interval: u64, end: Option<Offset>) -> Option<Segment> {
    let mut segment = Segment::new(files.clone());
    segment.size = files.open(Part::Log).ok()?.len().ok()?;
    let (offsets, last) = last_entry::<OffsetEntry>(files, Part::Index)?;
    let is_offset = |entry: OffsetEntry| entry.last >= files.base && entry.position < segment.size;
    if !last.map_or(segment.size <= interval, is_offset) {
        return None;
    }
    // A closed segment's time index ends with its largest timestamp. Where no record has one the index is empty, as if
    // it were lost: such a segment is read.
    let (times, newest) = last_entry::<TimeEntry>(files, Part::TimeIndex)?;
    segment.newest = newest.filter(|entry| entry.last >= files.base && entry.timestamp > NO_TIMESTAMP)?;
    (segment.offsets, segment.times, segment.dirty) = (offsets, times, false);
    let first = Scan::new(files.open(Part::Log).ok()?, 0, segment.size, batch::HEADER_BYTES).next_header();
    segment.first_timestamp = first.ok()??.header.max_timestamp;
    let is_whole = has_newest(&segment)? && has_no_newer(&segment, last, end);
    is_whole.then_some(segment)
}

/// Whether no batch from the last entry of the offset index on is newer than the time index tells, and the last one ends at `end`. A
/// power cut may have taken what was written when the segment was closed: the last entry of the time index.
fn has_no_newer(segment: &Segment, last: Option<OffsetEntry>, end: Option<Offset>) -> bool {
    let Ok(file) = segment.files.open(Part::Log) else { return false };
    let at = last.map_or(0, |entry| entry.position);
    let mut scan = Scan::new(file, at, segment.size, LOOK_BYTES);
    let mut found_end = None;
    while let Ok(Some(found)) = scan.next_header() {
        if indexed_timestamp(&found.header) > segment.newest.timestamp {
            return false;
        }
        found_end = Some(found.header.end());
    }
    end.is_none() || found_end == end
}

/// Whether the batch is there that the end of the time index tells of: a file of zeros looks like an index too.
fn has_newest(segment: &Segment) -> Option<bool> {
    let (files, newest) = (&segment.files, segment.newest);
    let at = files.position_before(newest.last, segment.offsets, segment.size, false).ok()?;
    let mut scan = Scan::new(files.open(Part::Log).ok()?, at, segment.size, batch::HEADER_BYTES);
    while let Some(found) = scan.next_header().ok()? {
        if last_of(&found) >= newest.last {
            return Some(last_of(&found) == newest.last && found.header.max_timestamp == newest.timestamp);
        }
    }
    Some(false)
}

fn last_entry<E: Entry>(files: &Arc<SegmentFiles>, part: Part) -> Option<(u32, Option<E>)> {
    let file = files.open(part).ok()?;
    let len = file.len().ok()?;
    let count = u32::try_from(len / E::BYTES as u64).ok().filter(|_| len % E::BYTES as u64 == 0)?;
    let last = match count.checked_sub(1) {
        Some(at) => Some(index::entry(&file, files.base, at).ok()?),
        None => None,
    };
    Some((count, last))
}
