//! Reading: from a plan made by the owner to a range of a file, without the owner.

use std::{io, sync::Arc};

use ottla_host::{File, is_cold};
use ottla_rules::ids::Offset;

use super::{
    chain::{Chain, Link},
    index::{self, OffsetEntry},
    scan::{Found, Scan},
};
use crate::{files::SegmentFiles, layout::Part};

/// Bytes read at once while looking for the boundary of a batch.
pub(crate) const LOOK_BYTES: usize = 4096;

/// Where to find the batches from one offset up to another, within one segment. Stays good while batches are appended,
/// and after retention has taken the segment, until its files are removed (`file.delete.delay.ms`).
#[derive(Clone)]
pub struct Slice {
    pub(crate) files: Arc<SegmentFiles>,
    pub(crate) from: Offset,
    pub(crate) upto: Offset,
    pub(crate) begin: Begin,
    pub(crate) end: End,
    /// Entries to be found in the file of the offset index.
    pub(crate) entries: u32,
    pub(crate) bytes_max: usize,
    /// Reads must not wait for a disk.
    pub(crate) only_warm: bool,
    /// A closed segment: where the next one begins.
    pub(crate) bound: Option<Offset>,
    /// The next segment, read when this one has nothing from `from` on (compaction leaves gaps).
    pub(crate) next: Option<Box<Slice>>,
}

/// Where the first batch is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    /// It begins here.
    At(u64),
    /// A batch begins here, and the first is this one or a later one.
    After(u64),
    /// The index knows.
    Indexed,
}

/// Where batches end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The last batch that ends at or below `upto` ends here.
    At(u64),
    /// Not after here.
    Before(u64),
}

/// Whole batches, as a range of a file.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file; it stays readable while this is held.
    pub file: File,
    /// Where the first batch begins.
    pub at: u64,
    /// How many bytes; 0 when there is no batch.
    pub len: u64,
    /// No batch of it reaches beyond this offset (Kafka's `fetchUpperBoundOffset`, but close to where the last one ends).
    pub upto: Offset,
}

impl FileRange {
    /// The same for a thread that must not wait for a disk: reading fails where it would (`ottla_host::is_cold`).
    #[must_use]
    pub fn only_warm(&self) -> Self {
        Self { file: self.file.only_warm(), ..self.clone() }
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// As the operating system says; `UnexpectedEof` when the file was cut meanwhile.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len as usize];
        self.file.read_exact_at(&mut bytes, self.at)?;
        Ok(bytes)
    }
}

impl std::fmt::Debug for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Slice({}..{} in segment {}, at most {})",
            self.from, self.upto, self.files.base, self.bytes_max
        )
    }
}

impl Slice {
    /// The same, but no more than `bytes_max`.
    #[must_use]
    pub fn at_most(mut self, bytes_max: usize) -> Self {
        self.bytes_max = self.bytes_max.min(bytes_max);
        self.next = self.next.map(|next| Box::new(next.at_most(bytes_max)));
        self
    }

    /// The same for a thread that must not wait for a disk: reading fails where it would (`ottla_host::is_cold`), and the
    /// slice is to be read again, without this, where waiting is allowed.
    #[must_use]
    pub fn only_warm(mut self) -> Self {
        self.only_warm = true;
        self.next = self.next.map(|next| Box::new(next.only_warm()));
        self
    }

    /// Finds the batches: from the one that holds the first offset (or the next one, in a gap), whole, none of them
    /// reaching beyond the upper bound, together no longer than asked for; but one batch, whatever its size, if
    /// `at_least_one`. Reads a few headers, so it belongs where a cold disk may be waited for.
    ///
    /// # Errors
    /// `NotFound` when the segment was deleted longer ago than `file.delete.delay.ms`; `InvalidData` when the batch that holds
    /// the first offset is damaged.
    pub fn read(self, at_least_one: bool) -> io::Result<FileRange> {
        let file = self.files.open_for(Part::Log, self.only_warm)?;
        let limit = match self.end {
            End::At(at) | End::Before(at) => at,
        };
        if let Some(bound) = self.bound {
            return self.read_closed(file, limit, bound, at_least_one);
        }
        let mut scan = Scan::new(file.clone(), 0, limit, LOOK_BYTES);
        let Some(begin) = self.find_begin(&mut scan, limit)? else {
            return match self.next {
                Some(next) => next.read(at_least_one),
                None => Ok(FileRange { file: file.may_wait(), at: 0, len: 0, upto: self.from }),
            };
        };
        let (end, upto) = match self.end {
            End::At(at) if at - begin <= self.bytes_max as u64 => (at, self.upto),
            End::At(_) | End::Before(_) => self.find_end(&mut scan, begin, limit, at_least_one)?,
        };
        Ok(FileRange { file: file.may_wait(), at: begin, len: end - begin, upto })
    }

    /// As [`Self::read`], in a closed segment: every batch must be in its place.
    fn read_closed(self, file: File, limit: u64, bound: Offset, at_least_one: bool) -> io::Result<FileRange> {
        let at = match self.begin {
            Begin::At(at) | Begin::After(at) => at,
            Begin::Indexed => self.files.position_before(self.from, self.entries, limit, self.only_warm)?,
        };
        let expected = (at == 0).then_some(self.files.base);
        let mut chain = Chain::new(Scan::new(file.clone(), at, limit, LOOK_BYTES), limit, bound, expected);
        let (mut begin, mut end, mut upto) = (None, at, self.from);
        loop {
            match chain.next()? {
                Link::Batch(found) if found.header.end() <= self.from => (),
                Link::Batch(found) if found.header.end() > self.upto => break,
                Link::Batch(found) => {
                    let from = *begin.get_or_insert(found.position);
                    let fits = found.end() - from <= self.bytes_max as u64;
                    if !fits && (found.position > from || !at_least_one) {
                        break;
                    }
                    (end, upto) = (found.end(), found.header.end());
                }
                Link::Damage(damage) if damage.upto <= self.from => (),
                Link::Damage(_) if begin.is_some() => break,
                Link::Damage(damage) => return Err(not_a_batch(&self.files, damage.at)),
                Link::End => break,
            }
        }
        match (begin, self.next) {
            (Some(at), _) => Ok(FileRange { file: file.may_wait(), at, len: end.max(at) - at, upto }),
            (None, Some(next)) => next.read(at_least_one),
            (None, None) => Ok(FileRange { file: file.may_wait(), at: 0, len: 0, upto }),
        }
    }

    /// Whether `range`, found in this slice for a reader who wanted at most `bytes_max`, leaves something behind that the reader
    /// might have; or ends with a closed segment.
    #[must_use]
    pub fn leaves_more(&self, range: &FileRange, bytes_max: usize) -> bool {
        let (End::At(limit) | End::Before(limit)) = self.end;
        self.bound.is_some() || limit.saturating_sub(range.at) > self.bytes_max.min(bytes_max) as u64
    }

    /// Where the batch begins that holds `from`, or the first one after it.
    fn find_begin(&self, scan: &mut Scan, limit: u64) -> io::Result<Option<u64>> {
        let mut at = match self.begin {
            Begin::At(at) => return Ok((at < limit).then_some(at)),
            Begin::After(at) => at,
            Begin::Indexed => self.files.position_before(self.from, self.entries, limit, self.only_warm)?,
        };
        scan.seek(at);
        while let Some(found) = scan.next_header()? {
            if found.header.end() > self.from {
                return Ok((found.header.end() <= self.upto).then_some(found.position));
            }
            at = found.end();
        }
        if at < limit { Err(not_a_batch(&self.files, at)) } else { Ok(None) }
    }

    /// The end of the last batch that may be taken, as a place and as an offset.
    fn find_end(
        &self,
        scan: &mut Scan,
        begin: u64,
        limit: u64,
        at_least_one: bool,
    ) -> io::Result<(u64, Offset)> {
        let target = limit.min(begin + self.bytes_max as u64);
        let upto = self.upto;
        let is_near = |entry: &OffsetEntry| entry.position <= target && entry.last < upto;
        let near = self.files.indexed(self.entries, limit, self.only_warm, is_near)?;
        // The batch that the index tells of begins at the end that is known so far: those before it end before its last offset.
        let near = near.filter(|entry| entry.position >= begin);
        let (mut end, mut last) = near.map_or((begin, self.from), |entry| (entry.position, entry.last));
        scan.seek(end);
        while end < target {
            let Some(found) = scan.next_header()? else { break };
            let first = at_least_one && found.position == begin;
            if found.header.end() > upto || (found.end() > target && !first) {
                break;
            }
            (end, last) = (found.end(), found.header.end());
        }
        if end == begin && at_least_one {
            scan.seek(begin);
            if let Some(found) = scan.next_header()?.filter(|found| found.header.end() <= upto) {
                (end, last) = (found.end(), found.header.end());
            }
        }
        Ok((end, last))
    }
}

impl SegmentFiles {
    /// Where a batch begins from which on `offset` is to be looked for; the segment's beginning when the index does not
    /// know, or is wrong.
    pub(crate) fn position_before(
        self: &Arc<Self>,
        offset: Offset,
        entries: u32,
        limit: u64,
        only_warm: bool,
    ) -> io::Result<u64> {
        let entry = self.indexed(entries, limit, only_warm, |entry| entry.last <= offset)?;
        Ok(entry.map_or(0, |entry| entry.position))
    }

    /// The last entry of the offset index for which `is_before` holds, if the batch is there that it tells of.
    pub(crate) fn indexed(
        self: &Arc<Self>,
        entries: u32,
        limit: u64,
        only_warm: bool,
        is_before: impl Fn(&OffsetEntry) -> bool,
    ) -> io::Result<Option<OffsetEntry>> {
        if entries == 0 {
            return Ok(None);
        }
        // A lost or damaged index makes reading slow, not wrong; it is made anew when the log is next recovered.
        let index = self.open_for(Part::Index, only_warm);
        let entry = match index.and_then(|index| index::search(&index, self.base, entries, is_before)) {
            Ok(Some((_, entry))) => entry,
            Err(error) if is_cold(&error) => return Err(error),
            Ok(None) | Err(_) => return Ok(None),
        };
        let log = self.open_for(Part::Log, only_warm)?;
        let mut scan = Scan::new(log, entry.position, limit, ottla_rules::batch::HEADER_BYTES);
        Ok(scan.next_header()?.filter(|found| last_of(found) == entry.last).map(|_| entry))
    }
}

/// The last offset of a batch.
pub(crate) fn last_of(found: &Found) -> Offset {
    found.header.end().plus(-1)
}

fn not_a_batch(files: &Arc<SegmentFiles>, at: u64) -> io::Error {
    let file = files.path(Part::Log);
    io::Error::new(io::ErrorKind::InvalidData, format!("{} has no batch at byte {at}", file.display()))
}
