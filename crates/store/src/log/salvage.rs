//! Logs that go on behind damage: those of coordinators, where one record that is lost costs one group its offset, and a
//! partition that stays offline costs all of its groups everything. And closed segments of all logs, which a start does not
//! read unless their ends look astray: whether it does must not decide whether the partition is there.
//!
//! ```text
//!   below the recovery point   bytes that do not read back stay where they are, and the next batch that is whole and in its place
//!                              is read on from; the segment is closed, and the log goes on in a new one
//!   above it                   the log is cut, as any other: the journal has what was acknowledged
//!   what the journal still has is written over the damage before ([`super::mend`])
//! ```

use std::{io, path::PathBuf};

use ottla_rules::{
    batch::{self, Header},
    ids::Offset,
};

use super::{
    LogError,
    chain::{Chain, Damage, Link},
    failed,
    recover::{ReadUp, Recovery, marker_of},
    scan::Scan,
    segment::{Active, Segment},
    slice::{Begin, End, Slice},
};
use crate::{files::SegmentFiles, layout::Part};

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Bytes of a log that do not read back, and the offsets that may have been in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The file.
    pub file: PathBuf,
    /// Where they begin.
    pub at: u64,
    /// The first offset that may be lost.
    pub from: Offset,
    /// The first that is not.
    pub upto: Offset,
}

/// What somebody gets to see who reads on behind damage.
#[derive(Debug)]
pub enum Piece<'a> {
    /// A batch that is whole.
    Batch(&'a Header, &'a [u8]),
    /// Bytes that are none.
    Lost(Lost),
}

impl Damage {
    /// In words for a person; `before` is the first offset that can be in it when nothing better is known.
    pub(crate) fn lost(&self, files: &SegmentFiles, before: Offset) -> Lost {
        let from = self.from.unwrap_or(before).max(before).min(self.upto);
        Lost { file: files.path(Part::Log), at: self.at, from, upto: self.upto }
    }
}

impl Slice {
    /// Shows what there is from the first offset on, in order: batches that are whole, and what is damaged between them. About
    /// as many bytes as the slice may have. Returns where the next batch begins: beyond the first offset, unless there is
    /// nothing. Reads and waits for the disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn show(self, mut show: impl FnMut(Piece<'_>)) -> io::Result<Offset> {
        let file = self.files.open(Part::Log)?;
        let (limit, bound) = match (self.bound, self.end) {
            (Some(bound), End::At(at) | End::Before(at)) => (at, bound),
            (None, End::At(at)) => (at, self.upto),
            (None, End::Before(at)) => (at, Offset(i64::MAX)),
        };
        let at = match self.begin {
            Begin::At(at) | Begin::After(at) => at,
            Begin::Indexed => self.files.position_before(self.from, self.entries, limit, false)?,
        };
        let expected = (at == 0).then_some(self.files.base);
        let scan = Scan::new(file, at, limit, CHUNK_BYTES);
        let mut chain = Chain::new(scan, limit, bound, expected).whole_only();
        let mut next = self.from;
        loop {
            match chain.next()? {
                Link::Batch(found) if found.header.end() <= self.from => (),
                Link::Batch(found) if found.header.end() > self.upto => return Ok(next),
                Link::Batch(found) => {
                    next = found.header.end();
                    show(Piece::Batch(&found.header, chain.bytes_of(&found)?));
                }
                Link::Damage(damage) if damage.upto <= self.from => (),
                Link::Damage(damage) => {
                    let upto = damage.upto.min(self.upto);
                    let damage = Damage { upto, ..damage };
                    show(Piece::Lost(damage.lost(&self.files, next)));
                    next = upto;
                }
                Link::End => return Ok(bound.min(self.upto)),
            }
            if chain.position() - at >= self.bytes_max as u64 && next > self.from {
                return Ok(next);
            }
        }
    }
}

impl Recovery {
    /// All that reads back. What does not is damage below the recovery point, and a torn end above it.
    pub(crate) fn read_damaged_segment(
        &mut self,
        active: &mut Active,
        len: u64,
        bound: Option<Offset>,
    ) -> Result<ReadUp, LogError> {
        let files = active.segment.files.clone();
        let read = || failed("read", &files, Part::Log);
        let log = files.open(Part::Log).map_err(failed("open", &files, Part::Log))?;
        let from = active.segment.size;
        let expected = (from == 0).then_some(files.base);
        let scan = Scan::new(log, from, len, CHUNK_BYTES);
        let mut chain = Chain::new(scan, len, bound.unwrap_or(Offset(i64::MAX)), expected).whole_only();
        let synced = self.log.recovery_point;
        // Without a batch from the index entry on, the entry itself would not have been accepted.
        let mut end = files.base;
        loop {
            let at = chain.position();
            let (behind, upto) = match chain.next().map_err(read())? {
                Link::End => return Ok(ReadUp { end, at, why: None }),
                Link::Batch(found) if (from == 0 || at > from) && is_astray(&found.header, end, synced) => {
                    (found.position, found.header.base_offset.max(synced.plus(1)))
                }
                Link::Batch(found) => {
                    end = found.header.end();
                    let marker = marker_of(&found.header, chain.bytes_of(&found).map_err(read())?);
                    self.count_in(active, &found.header, marker)?;
                    continue;
                }
                Link::Damage(damage) => {
                    self.say_lost(&damage, &files, end);
                    (damage.end, damage.upto)
                }
            };
            if end >= synced {
                let why = format!("no whole batch that goes on at offset {end} is there");
                return Ok(ReadUp { end, at, why: Some(why) });
            }
            self.is_damaged = true;
            if upto > synced {
                active.pass_over(len - at);
                return Ok(ReadUp { end: synced, at: len, why: None });
            }
            active.pass_over(behind - at);
            end = upto;
        }
    }

    /// Who reads a coordinator's log says what is lost of it, and to whom. Of others this is the only word, until somebody reads.
    fn say_lost(&self, damage: &Damage, files: &SegmentFiles, before: Offset) {
        if !self.log.config.passes_damage {
            let Lost { file, at, from, upto } = damage.lost(files, before);
            log::error!(
                file:% = file.display(), at = at, from:% = from, upto:% = upto;
                "a closed segment is damaged, who reads there is told CORRUPT_MESSAGE"
            );
        }
    }
}

/// Whether there is a gap before a batch that was not there when the log was synced up to `synced`: compaction leaves some below,
/// and what was passed over may end there.
fn is_astray(header: &Header, end: Offset, synced: Offset) -> bool {
    header.base_offset > end && header.end() > synced && header.base_offset != synced
}

/// The batches of a closed segment, for compaction.
pub(crate) enum Reading {
    /// The first that is damaged is an error.
    Strict(Scan),
    /// What is damaged is left out.
    Passing(Chain),
}

/// What compaction finds next.
pub(crate) enum Taken {
    /// A batch of so many bytes.
    Batch(u64),
    /// So many bytes are lost.
    Lost(u64),
    /// The segment is over.
    Over,
}

impl Reading {
    /// Reads a segment that ends at `end`, from a position on.
    pub(crate) fn begin(
        segment: &Segment,
        end: Offset,
        from: u64,
        chunk: usize,
        passes_damage: bool,
    ) -> Result<Self, LogError> {
        let log = segment.files.open(Part::Log).map_err(failed("open", &segment.files, Part::Log))?;
        let scan = Scan::new(log, from, segment.size, chunk);
        if !passes_damage {
            return Ok(Self::Strict(scan));
        }
        let expected = (from == 0).then_some(segment.base());
        Ok(Self::Passing(Chain::new(scan, segment.size, end, expected).whole_only()))
    }

    /// Shows the next batch, whose CRC is right.
    pub(crate) fn next(
        &mut self,
        segment: &Segment,
        show: impl FnOnce(&Header, &[u8]) -> Result<(), batch::BatchError>,
    ) -> Result<Taken, LogError> {
        match self {
            Self::Strict(scan) => next_strict(scan, segment, show),
            Self::Passing(chain) => next_passing(chain, segment, show),
        }
    }
}

fn next_strict(
    scan: &mut Scan,
    segment: &Segment,
    show: impl FnOnce(&Header, &[u8]) -> Result<(), batch::BatchError>,
) -> Result<Taken, LogError> {
    let at = scan.position();
    if at >= segment.size {
        return Ok(Taken::Over);
    }
    let read = || failed("read", &segment.files, Part::Log);
    let damaged = |why: String| LogError::Damaged { file: segment.files.path(Part::Log), at, why };
    let found = scan.next_header().map_err(read())?;
    let found = found.ok_or_else(|| damaged("it does not hold a whole batch there".to_owned()))?;
    let batch = scan.bytes_of(&found).map_err(read())?;
    // What is damaged must not get a CRC that says that it is not.
    let shown = batch::check_stored(batch).and_then(|header| show(&header, batch));
    shown.map_err(|error| damaged(error.to_string()))?;
    Ok(Taken::Batch(found.end() - found.position))
}

fn next_passing(
    chain: &mut Chain,
    segment: &Segment,
    show: impl FnOnce(&Header, &[u8]) -> Result<(), batch::BatchError>,
) -> Result<Taken, LogError> {
    let read = || failed("read", &segment.files, Part::Log);
    let (damage, why) = match chain.next().map_err(read())? {
        Link::End => return Ok(Taken::Over),
        Link::Batch(found) => {
            let bytes = found.end() - found.position;
            let Err(error) = show(&found.header, chain.bytes_of(&found).map_err(read())?) else {
                return Ok(Taken::Batch(bytes));
            };
            let (from, upto) = (Some(found.header.base_offset), found.header.end());
            (Damage { at: found.position, end: found.end(), from, upto }, error.to_string())
        }
        Link::Damage(damage) => (damage, "no whole batch is there".to_owned()),
    };
    let lost = damage.lost(&segment.files, segment.base());
    log::error!(
        file:% = lost.file.display(), at = lost.at, from:% = lost.from, upto:% = lost.upto, why:% = why;
        "a batch of a coordinator's records cannot be read, compaction leaves it out"
    );
    Ok(Taken::Lost(damage.end - damage.at))
}
