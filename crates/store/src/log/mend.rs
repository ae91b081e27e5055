//! Mending: what the segments have lost of what was synced, and the journal still has, is put back before they are read.
//!
//! ```text
//!   segment   | whole |##### damaged #####| whole |     from the left as long as one follows another,
//!   journal           | a |  b  |         |  d  |...     and from the right: their places are certain
//!
//!   segment   | whole |        next segment | whole |   too short, or gone: what is missing gets a segment of its own
//!   journal           | a |  b  |
//! ```
//!
//! The indexes are as they were written, then: only a segment that is read gets new ones. A power cut in the middle leaves
//! damage, and the journal, which lets go of nothing before the log is synced: the next start does the same again.

use std::{io, sync::Arc};

use bytes::Bytes;
use ottla_rules::{
    batch::{Header, Walk},
    ids::Offset,
};

use super::{
    LogError, SYNC,
    chain::{Chain, Damage, Link},
    failed,
    index::{Entry, OffsetEntry},
    recover::Recovery,
    replay::Replay,
    scan::Scan,
    segment,
};
use crate::{files::SegmentFiles, layout::Part};

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A batch as the journal has it.
struct Spare {
    header: Header,
    bytes: Bytes,
}

impl Spare {
    fn base(&self) -> Offset {
        self.header.base_offset
    }

    fn end(&self) -> Offset {
        self.header.end()
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// What is to be done to one segment.
struct Mend<'a> {
    /// What is written over damaged bytes, and where.
    puts: Vec<(u64, &'a Spare)>,
    /// What has no place in the file.
    rest: &'a [Spare],
}

impl Recovery {
    /// Puts back what the journal has and the segments with these bases have not. Adds the bases of segments that are new.
    ///
    /// # Errors
    /// The files cannot be read, written or synced.
    pub(crate) fn mend_segments(
        &mut self,
        bases: &mut Vec<Offset>,
        journal: &[Replay],
    ) -> Result<(), LogError> {
        let spares = self.spares(journal);
        let Some(first) = bases.first().copied().filter(|_| !spares.is_empty()) else { return Ok(()) };
        let mut made = self.write_anew(within(&spares, Offset::ZERO, first))?;
        let bounds: Vec<_> = bases.iter().skip(1).copied().chain([Offset(i64::MAX)]).collect();
        for (base, bound) in bases.iter().copied().zip(bounds) {
            let due = within(&spares, base, bound);
            if !due.is_empty() {
                made.extend(self.mend_segment(base, bound, due)?);
            }
        }
        bases.extend(made);
        bases.sort_unstable();
        bases.dedup();
        Ok(())
    }

    /// What the journal has of what was synced and has to be in the segments still.
    fn spares(&self, journal: &[Replay]) -> Vec<Spare> {
        let (start, kept_below) = self.fates(journal);
        let mut spares: Vec<Spare> = vec![];
        for (entry, kept_below) in journal.iter().zip(kept_below) {
            let Replay::Append { bytes } = entry else { continue };
            // What is no batch is found again, and refused, by the replay.
            for (at, header) in Walk::over(bytes).filter_map(Result::ok) {
                let is_due = header.end() > start.max(self.log.compacted.touched)
                    && header.base_offset < kept_below
                    && header.end() <= self.log.recovery_point
                    && spares.last().is_none_or(|last| last.end() <= header.base_offset);
                if is_due {
                    let bytes = bytes.slice(at..at + header.size());
                    spares.push(Spare { header, bytes });
                }
            }
        }
        spares
    }

    /// Puts back what is due in this segment and not in it; the bases of new ones.
    fn mend_segment(&mut self, base: Offset, bound: Offset, due: &[Spare]) -> Result<Vec<Offset>, LogError> {
        let files = SegmentFiles::new(self.log.dir.clone(), base);
        let Mend { puts, rest } = find(&files, bound, due).map_err(failed("read", &files, Part::Log))?;
        if !puts.is_empty() {
            let log = files.open(Part::Log).map_err(failed("open", &files, Part::Log))?;
            for (at, spare) in puts {
                let written = log.pwrite_all(&spare.bytes, at).map_err(io::Error::from);
                written.map_err(failed("write to", &files, Part::Log))?;
                log::warn!(file:% = files.path(Part::Log).display(), at = at, offset:% = spare.base(); "a damaged batch is put back, the journal has it");
            }
            log.sync_data().map_err(failed(SYNC, &files, Part::Log))?;
        }
        self.write_anew(rest)
    }

    /// Segments for batches that no file has any more.
    fn write_anew(&mut self, mut spares: &[Spare]) -> Result<Vec<Offset>, LogError> {
        let bytes_max = self.log.config.segment_bytes.min(i32::MAX as u64);
        let mut made = vec![];
        while let Some(first) = spares.first() {
            let mut bytes = 0;
            let fits = |spare: &&Spare| {
                let is_first = bytes == 0;
                bytes += spare.size();
                is_first || bytes <= bytes_max
            };
            let (these, others) = spares.split_at(spares.iter().take_while(fits).count());
            let files = SegmentFiles::new(self.log.dir.clone(), first.base());
            write_segment(&files, these)?;
            self.log.dir_dirty = true;
            log::warn!(
                file:% = files.path(Part::Log).display(), from:% = first.base(), upto:% = these[these.len() - 1].end();
                "records that no segment has are put back, the journal has them"
            );
            made.push(first.base());
            spares = others;
        }
        Ok(made)
    }
}

/// Writes and syncs a segment. Its indexes are for who reads it to make: those of before tell of another one.
fn write_segment(files: &Arc<SegmentFiles>, spares: &[Spare]) -> Result<(), LogError> {
    for part in [Part::Index, Part::TimeIndex] {
        let emptied = files.create(part).and_then(|file| {
            segment::trim(&file, 0)?;
            file.sync_data()
        });
        emptied.map_err(failed(SYNC, files, part))?;
    }
    let log = files.create(Part::Log).map_err(failed("create", files, Part::Log))?;
    let bytes: Vec<Bytes> = spares.iter().map(|spare| spare.bytes.clone()).collect();
    let written = log.pwritev_all(&bytes, 0).map_err(io::Error::from);
    written.map_err(failed("write to", files, Part::Log))?;
    log.sync_data().map_err(failed(SYNC, files, Part::Log))
}

/// Looks for what is due in a segment that ends at `bound`.
fn find<'a>(files: &Arc<SegmentFiles>, bound: Offset, due: &'a [Spare]) -> io::Result<Mend<'a>> {
    let log = files.open(Part::Log)?;
    let len = log.len()?;
    let entries = files.open(Part::Index).and_then(|index| index.len());
    let entries = entries.map_or(0, |bytes| (bytes / OffsetEntry::BYTES as u64) as u32);
    let from = files.position_before(due[0].base(), entries, len, false)?;
    let expected = (from == 0).then_some(files.base);
    let mut chain = Chain::new(Scan::new(log, from, len, CHUNK_BYTES), len, bound, expected).whole_only();
    let mut puts = vec![];
    let mut end = files.base;
    while end < due[due.len() - 1].end() {
        match chain.next()? {
            Link::Batch(found) => {
                let spare = spare_of(&found.header, end, due);
                if let Some(spare) = spare.filter(|spare| spare.header != found.header) {
                    puts.push((found.position, spare));
                }
                end = spare.map_or(found.header.end(), Spare::end);
            }
            Link::Damage(damage) => {
                let lost = within(due, damage.from.unwrap_or(end), damage.upto);
                let (fit, n_left, n_right) = fit(&damage, lost);
                let is_complete = n_left + n_right == lost.len();
                if damage.end < len || is_complete {
                    puts.extend(fit);
                    end = damage.upto;
                    continue;
                }
                // The file is too short: what comes from the right has nothing to stand before.
                puts.extend(fit.into_iter().take(n_left));
                return Ok(Mend { puts, rest: &lost[n_left..] });
            }
            Link::End => return Ok(Mend { puts, rest: within(due, end, bound) }),
        }
    }
    Ok(Mend { puts, rest: &[] })
}

/// Where in damaged bytes the batches are that were in them: so many that go on where the one before ends, and so many that
/// end where the next one begins. The order of offsets and the order of bytes are one.
fn fit<'a>(damage: &Damage, lost: &'a [Spare]) -> (Vec<(u64, &'a Spare)>, usize, usize) {
    let mut places = vec![];
    let (mut at, mut next) = (damage.at, damage.from);
    for spare in lost {
        if next != Some(spare.base()) || spare.size() > damage.end - at {
            break;
        }
        places.push((at, spare));
        (at, next) = (at + spare.size(), Some(spare.end()));
    }
    let n_left = places.len();
    let (mut behind, mut upto) = (damage.end, damage.upto);
    for spare in lost[n_left..].iter().rev() {
        if spare.end() != upto || spare.size() > behind - at {
            break;
        }
        (behind, upto) = (behind - spare.size(), spare.base());
        places.push((behind, spare));
    }
    let n_right = places.len() - n_left;
    (places, n_left, n_right)
}

/// What the journal has of a batch that was found where the one before ends at `end`. Its offset and its epoch lie outside the CRC.
fn spare_of<'a>(found: &Header, end: Offset, due: &'a [Spare]) -> Option<&'a Spare> {
    let at = |base| due.binary_search_by_key(&base, Spare::base).ok().map(|at| &due[at]);
    at(found.base_offset).or_else(|| at(end)).filter(|spare| is_same_for_the_crc(found, &spare.header))
}

/// Whether the one can be the other, damaged where the CRC does not look.
pub(crate) fn is_same_for_the_crc(found: &Header, written: &Header) -> bool {
    let Header { base_offset, leader_epoch, .. } = *found;
    Header { base_offset, leader_epoch, ..written.clone() } == *found
}

/// Those that begin in a range of offsets.
fn within(spares: &[Spare], from: Offset, upto: Offset) -> &[Spare] {
    let begin = spares.partition_point(|spare| spare.base() < from);
    let end = spares.partition_point(|spare| spare.base() < upto);
    &spares[begin..end.max(begin)]
}
