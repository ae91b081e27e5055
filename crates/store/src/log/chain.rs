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

/// What comes next in a closed segment.
pub(crate) enum Link {
    /// A batch in its place.
    Batch(Found),
    /// Bytes that are no batch, or not one in its place. What follows them comes next.
    Damage {
        /// Where they begin.
        at: u64,
        /// The first offset behind them.
        upto: Offset,
    },
    /// The segment is over.
    End,
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
}

impl Chain {
    /// From a position where a batch begins, or should, up to `limit`; all offsets below `bound`, the first of them
    /// `expected` if that is known.
    pub(crate) fn new(scan: Scan, limit: u64, bound: Offset, expected: Option<Offset>) -> Self {
        Self { scan, limit, bound, expected }
    }

    pub(crate) fn next(&mut self) -> io::Result<Link> {
        let at = self.scan.position();
        if at >= self.limit {
            return Ok(Link::End);
        }
        if let Some(found) = self.scan.next_header()?
            && self.is_in_place(&found)?
        {
            self.expected = Some(found.header.end());
            self.scan.seek(found.end());
            return Ok(Link::Batch(found));
        }
        let (next, upto) = self.find_next(at)?;
        self.scan.seek(next);
        self.expected = (next < self.limit).then_some(upto);
        Ok(Link::Damage { at, upto })
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
        let is_followed = self.scan.next_header()?.is_some_and(|next| next.header.base_offset >= end);
        // One of the two is damaged. This one is not, if it is where the one before ends and its length is true.
        Ok(is_followed || (self.expected.is_none_or(|expected| base == expected) && self.is_whole(found)?))
    }

    fn is_whole(&mut self, found: &Found) -> io::Result<bool> {
        Ok(batch::check_stored(self.scan.bytes_of(found)?).is_ok())
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
