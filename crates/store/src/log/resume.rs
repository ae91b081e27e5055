//! Going on in a segment that is there: as its indexes show it, or read from the beginning.

use std::io;

use ottla_rules::{batch, ids::Offset};

use super::{
    Log, LogError,
    config::LogConfig,
    failed,
    index::{self, OffsetEntry, TimeEntry},
    recover::indexed_timestamp,
    scan::Scan,
    segment::{self, Active, NO_TIMESTAMP, Segment},
    slice::{LOOK_BYTES, last_of},
};
use crate::layout::Part;

/// The segment as far as its indexes show it up to `trusted`: to be read from there on. From the beginning, with empty
/// indexes, when they are missing, damaged, or do not match the batches.
pub(crate) fn resume(segment: Segment, trusted: Offset, len: u64) -> Active {
    let files = segment.files.clone();
    if let Some(active) = resume_indexed(segment.clone(), trusted, len) {
        return active;
    }
    let mut active = Active::new(segment);
    active.segment.dirty_indexes = false;
    for part in [Part::Index, Part::TimeIndex] {
        // When even this fails the index stays as it is: its entries are checked on use.
        let was_cut = files.create(part).and_then(|file| segment::trim(&file, 0));
        active.segment.dirty_indexes |= was_cut.unwrap_or(true);
    }
    active
}

fn resume_indexed(mut segment: Segment, trusted: Offset, len: u64) -> Option<Active> {
    let files = segment.files.clone();
    let base = files.base;
    if trusted <= base {
        return None;
    }
    let (index, time) = (files.open(Part::Index).ok()?, files.open(Part::TimeIndex).ok()?);
    let may = |entry: &OffsetEntry| entry.last >= base && entry.position > 0 && entry.position < len;
    let offsets = index::is_sound::<OffsetEntry>(&index, base, may).ok()??;
    let times = index::is_sound::<TimeEntry>(&time, base, |entry| entry.last >= base).ok()??;
    let (at, entry) =
        index::search::<OffsetEntry>(&index, base, offsets, |entry| entry.last < trusted).ok()??;
    let known = index::search::<TimeEntry>(&time, base, times, |time| time.last <= entry.last).ok()?;

    let mut scan = Scan::new(files.open(Part::Log).ok()?, 0, len, batch::HEADER_BYTES);
    let first_timestamp = scan.next_header().ok()??.header.max_timestamp;
    // For want of room its times were not kept: what is below the last entry may be the largest.
    if known.is_none() && first_timestamp > NO_TIMESTAMP {
        return None;
    }
    scan.seek(entry.position);
    scan.next_header().ok()?.filter(|found| last_of(found) == entry.last)?;

    segment.size = entry.position;
    segment.offsets = at + 1;
    segment.times = known.map_or(0, |(at, _)| at + 1);
    segment.newest = known.map_or(segment.newest, |(_, time)| time);
    segment::trim(&index, u64::from(segment.offsets) * 8).ok()?;
    segment::trim(&time, u64::from(segment.times) * 12).ok()?;
    Some(Active::resume(segment, Some(entry), known.map(|(_, time)| time), Some(first_timestamp)))
}

/// The segment cut to `size`, as the active one: its indexes are made anew. For the rare burst that failed half-way, perhaps for want
/// of a descriptor; then the segment cannot be opened either, and nothing is written to it until it has been read.
pub(crate) fn reopen(segment: Segment, size: u64, config: &LogConfig) -> (Active, io::Result<()>) {
    let (files, dirty_indexes) = (segment.files, segment.dirty_indexes);
    let mut active = resume(Segment::new(files), Offset::ZERO, size);
    active.segment.dirty_indexes |= dirty_indexes;
    let read = read_through(&mut active, size, config);
    active.is_unread = read.is_err();
    // Positions count from here on, whatever could be read.
    active.segment.size = size;
    (active, read)
}

/// Counts in the batches of a segment.
fn read_through(active: &mut Active, size: u64, config: &LogConfig) -> io::Result<()> {
    let mut scan = Scan::new(active.segment.files.open(Part::Log)?, 0, size, LOOK_BYTES);
    while let Some(found) = scan.next_header()? {
        let size = found.end() - found.position;
        let timestamp = indexed_timestamp(&found.header);
        active.add(last_of(&found), size, timestamp, config.index_interval_bytes);
        if active.offsets.is_due() {
            let _ = active.flush_indexes();
        }
    }
    Ok(())
}

impl Log {
    /// Whether the segment that is written to could not be read when a burst had failed: each append, and each roll, reads it
    /// again first.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.is_unread)
    }

    /// Reads the active segment if that has failed: else its indexes would lack what it holds, and end too early.
    pub(super) fn reread(&mut self) -> Result<(), LogError> {
        let Some(active) = self.active.take_if(|active| active.is_unread) else { return Ok(()) };
        let (files, size) = (active.segment.files.clone(), active.segment.size);
        let (active, read) = reopen(active.segment, size, &self.config);
        self.active = Some(active);
        read.map_err(failed("read", &files, Part::Log))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use ottla_host::{Chance, Disk, Fault, Host, SimWorld};
    use ottla_rules::{
        batch::{Stamped, build::BatchBuilder},
        ids::{LeaderEpoch, PartitionId, TopicId},
    };

    use super::*;
    use crate::{FactsKind, MemoryFacts, Place, Store, files::SegmentFiles};

    fn batch(base: i64) -> Stamped {
        BatchBuilder::new().value("x", 10 * base).stamped(Offset(base), LeaderEpoch(0))
    }

    #[test]
    fn a_segment_that_cannot_be_opened_keeps_its_records_and_gets_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let kind = FactsKind::Memory(MemoryFacts::new());
        let store = Store::open(Disk::machine(), dir.path().to_owned(), kind, Chance::machine()).unwrap();
        let id = PartitionId { topic: TopicId([7; 16]), index: 3 };
        let config = LogConfig::small(100_000);
        let mut log = Log::create(&store, Place { id, topic: Arc::from("payments") }, config);
        let all: Vec<_> = (0..20).map(batch).collect();
        log.append(&all).unwrap();
        // A burst failed half-way for want of a descriptor, for which the segment's own was closed.
        let size = log.active.take().unwrap().segment.size;
        let (file, away) = (dir.path().join("payments-3/00000000000000000000.log"), dir.path().join("away"));
        fs::rename(&file, &away).unwrap();
        let files = SegmentFiles::new(log.dir.clone(), Offset(0));
        log.active = Some(reopen(Segment::new(files), size, &log.config).0);
        log.untrimmed = true;

        assert_eq!(log.size_bytes(), size);
        for _ in 0..2 {
            assert!(log.append(&[batch(20)]).is_err(), "it is not known what it holds");
            assert!(log.roll(Offset(20)).is_err(), "its indexes would end too early");
        }
        fs::rename(&away, &file).unwrap();
        log.append(&[batch(20)]).unwrap();

        assert_eq!(fs::metadata(&file).unwrap().len(), log.size_bytes());
        assert!(log.size_bytes() > size);
        let slice = log.locate(Offset(0), Offset(21), 100_000).unwrap();
        assert_eq!(slice.read(true).unwrap().read().unwrap().len() as u64, log.size_bytes());
        assert_eq!(
            log.lookup(150, Offset(21), 1 << 20).run().unwrap().map(|found| found.offset),
            Some(Offset(15))
        );
        log.roll(Offset(21)).unwrap();
        assert_eq!(log.segments()[0].max_timestamp, 200);
    }

    #[test]
    fn a_segment_that_could_not_be_read_is_searched_all_the_same() {
        let (world, facts) = (SimWorld::new(1), MemoryFacts::new());
        let host = Host::simulated(&world);
        let kind = FactsKind::Memory(facts);
        let store = Store::open(host.disk, "/data".into(), kind, host.chance).unwrap();
        let id = PartitionId { topic: TopicId([7; 16]), index: 3 };
        let mut log =
            Log::create(&store, Place { id, topic: Arc::from("payments") }, LogConfig::small(1_000));
        let all: Vec<_> = (0..40).map(batch).collect();
        log.append(&all).unwrap();
        let active = log.active.take().unwrap().segment;
        assert!(active.base() > Offset(5) && active.base() < Offset(35), "there are closed ones before it");
        world.disk().break_below("/data/payments-3", Fault::FailReads);
        let size = active.size;
        log.active = Some(reopen(active, size, &log.config).0);
        assert!(log.is_unread());
        let at = |log: &Log, time| log.lookup(time, Offset(40), 1 << 20).run();
        let largest = |log: &Log| log.max_timestamp_lookup(Offset(40), 1 << 20).run();

        assert!(at(&log, 390).is_err() && largest(&log).is_err(), "nobody knows what it holds");
        world.disk().heal();

        assert_eq!(at(&log, 390).unwrap().map(|found| found.offset), Some(Offset(39)));
        assert_eq!(at(&log, 20).unwrap().map(|found| found.offset), Some(Offset(2)));
        assert_eq!(at(&log, 391).unwrap(), None);
        assert_eq!(largest(&log).unwrap().map(|found| found.offset), Some(Offset(39)));
        assert!(log.is_unread(), "that is for the next append to find out");
        log.append(&[batch(40)]).unwrap();
        assert!(!log.is_unread());
    }
}
