//! Reading a closed segment that may be damaged: batch after batch, each in its place.
//!
//! A batch's CRC does not cover its offset and its length. A bit that flips there would make a reader step over records without
//! a word, or take the rest of the segment for damaged. So in a closed segment every batch must go on where the one before it
//! ends, and the next where it ends. Where that is not so, a CRC says which of the two is damaged, and behind it the next whole
//! batch is looked for: a flipped bit costs the batch that it is in. Records themselves are the consumer's CRC to check.

use std::io;

use ottla_rules::{
    batch::{self, HEADER_BYTES},
    ids::Offset,
};

use super::scan::{Found, Scan};

/// A longer batch is not looked for behind damage.
const LOST_BYTES_MAX: u64 = 64 << 20;

/// A longer batch is not taken for one: a damaged length must not make us allocate.
const WHOLE_BYTES_MAX: u64 = 256 << 20;

/// What comes next.
pub(crate) enum Link {
    /// A batch in its place.
    Batch(Found),
    /// Bytes that are no batch, or not one in its place. What follows them comes next.
    Damage(Damage),
    /// The segment is over.
    End,
}

/// Bytes that are not what was written.
pub(crate) struct Damage {
    /// Where they begin.
    pub(crate) at: u64,
    /// Where they end.
    pub(crate) end: u64,
    /// Where the batch before them ends, if that is known.
    pub(crate) from: Option<Offset>,
    /// The first offset behind them.
    pub(crate) upto: Offset,
}

/// The walk over a closed segment.
pub(crate) struct Chain {
    scan: Scan,
    /// Where the batches end.
    limit: u64,
    /// Offsets end here.
    bound: Offset,
    /// Where the last batch ended, when it was in its place.
    expected: Option<Offset>,
    /// Whether a batch whose CRC is wrong is damage too.
    checks_records: bool,
}

impl Chain {
    /// From a position where a batch begins, or should, up to `limit`; all offsets below `bound`, the first of them
    /// `expected` if that is known.
    pub(crate) fn new(scan: Scan, limit: u64, bound: Offset, expected: Option<Offset>) -> Self {
        Self { scan, limit, bound, expected, checks_records: false }
    }

    /// The same for a reader that needs the records themselves: each batch's CRC is looked at.
    pub(crate) fn whole_only(self) -> Self {
        Self { checks_records: true, ..self }
    }

    /// Where the next batch begins, or should.
    pub(crate) fn position(&self) -> u64 {
        self.scan.position()
    }

    /// The whole bytes of a batch just found.
    pub(crate) fn bytes_of(&mut self, found: &Found) -> io::Result<&[u8]> {
        self.scan.bytes_of(found)
    }

    pub(crate) fn next(&mut self) -> io::Result<Link> {
        let at = self.scan.position();
        if at >= self.limit {
            return Ok(Link::End);
        }
        if let Some(found) = self.scan.next_header()?
            && self.is_in_place(&found)?
            && (!self.checks_records || self.is_whole(&found)?)
        {
            self.expected = Some(found.header.end());
            self.scan.seek(found.end());
            return Ok(Link::Batch(found));
        }
        let (end, upto) = self.find_next(at)?;
        self.scan.seek(end);
        let from = std::mem::replace(&mut self.expected, (end < self.limit).then_some(upto));
        Ok(Link::Damage(Damage { at, end, from, upto }))
    }

    fn is_in_place(&mut self, found: &Found) -> io::Result<bool> {
        let (base, end) = (found.header.base_offset, found.header.end());
        let follows = self.expected.is_none_or(|expected| base >= expected);
        if !follows || base >= end || end > self.bound {
            return Ok(false);
        }
        if found.end() == self.limit {
            return Ok(true);
        }
        self.scan.seek(found.end());
        let next = self.scan.next_header()?;
        if next.as_ref().is_some_and(|next| next.header.base_offset >= end) {
            return Ok(true);
        }
        // One of the two is damaged. This one is not, if its length is true and it is where the one before ends, or if the
        // other one is (compaction leaves gaps between batches).
        if !self.is_whole(found)? {
            return Ok(false);
        }
        if self.expected.is_none_or(|expected| base == expected) {
            return Ok(true);
        }
        Ok(match next {
            Some(next) => !self.is_whole(&next)?,
            None => true,
        })
    }

    fn is_whole(&mut self, found: &Found) -> io::Result<bool> {
        let is_sane = found.end() - found.position <= WHOLE_BYTES_MAX;
        Ok(is_sane && batch::check_stored(self.scan.bytes_of(found)?).is_ok())
    }

    /// Where behind `at` the next whole batch begins, and its offset.
    fn find_next(&mut self, at: u64) -> io::Result<(u64, Offset)> {
        for position in at + 1..self.limit.min(at + LOST_BYTES_MAX) {
            if position + HEADER_BYTES as u64 > self.limit {
                break;
            }
            self.scan.seek(position);
            let Some(found) = self.scan.next_header()? else { continue };
            let (base, end) = (found.header.base_offset, found.header.end());
            let may =
                self.expected.is_none_or(|expected| base >= expected) && base < end && end <= self.bound;
            if may && self.is_whole(&found)? {
                return Ok((position, base));
            }
        }
        Ok((self.limit, self.bound))
    }
}
