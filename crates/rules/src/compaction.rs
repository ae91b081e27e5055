//! Compaction (`cleanup.policy=compact`): of every key the last record stays.
//!
//! ```text
//!   log start        first dirty                       upper               end
//!     |   clean          |   dirty: its keys are mapped   |   not touched   |
//!     +------------------+--------------------------------+-----------------+
//!      every segment from here up to the map's end is written anew
//! ```
//!
//! A round has two passes. The first reads the dirty part and remembers, in a table of fixed size ([`map::OffsetMap`]), the
//! last offset of every key. The second reads every segment from the log start on and keeps what the table does not know a
//! later record for ([`filter::Filter`]). When the table is full the round ends there, and the next one goes on. Offsets never
//! change; where records are gone there are gaps.
//!
//! This file decides whether a log is worth a round, and which segments become one.

use std::ops::Range;

use crate::{ids::Offset, time::Now};

pub mod bids;
pub mod cleaner;
pub mod fates;
pub mod filter;
pub mod index;
pub mod map;

/// What is known of one closed segment, oldest first in every list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its first offset.
    pub base: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    /// Bytes of the larger of its two indexes.
    pub index_bytes: u64,
    /// The largest timestamp of its records, Unix milliseconds, or when its file was last written, where none has one (Kafka's
    /// `LogSegment.largestTimestamp`).
    pub max_timestamp: i64,
    /// The largest timestamp of its first batch; -1 when it is not known.
    pub first_timestamp: i64,
}

/// The settings of a topic that decide when it is compacted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// `min.cleanable.dirty.ratio`.
    pub dirty_ratio_min: f64,
    /// `min.compaction.lag.ms`.
    pub lag_ms_min: u64,
    /// `max.compaction.lag.ms`.
    pub lag_ms_max: u64,
}

/// A log as compaction sees it.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    /// Its closed segments. The one that is written to is never compacted.
    pub pieces: &'a [Piece],
    /// Where the last of them ends.
    pub end: Offset,
    /// Where the log begins.
    pub start: Offset,
    /// Up to where it was compacted before.
    pub clean_upto: Option<Offset>,
    /// Nothing at or beyond it may be touched: the last stable offset, or what is known to be synced, whichever is lower.
    pub limit: Offset,
}

/// One round of compaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Where the dirty part begins.
    pub from: Offset,
    /// Where it ends: the first offset that is not touched, and where a segment begins.
    pub upper: Offset,
    /// How much of all that could be compacted is dirty.
    pub ratio: f64,
}

/// Whether a log is worth a round now (Kafka's `LogCleanerManager`): more than `min.cleanable.dirty.ratio` of it is dirty, or
/// a dirty segment has waited for `max.compaction.lag.ms`.
#[must_use]
pub fn choose(log: &Log<'_>, policy: &Policy, now: Now) -> Option<Round> {
    // A log that was cut, or whose start has moved on, is looked at from its start.
    let from = log.clean_upto.filter(|upto| *upto >= log.start && *upto <= log.end).unwrap_or(log.start);
    let first_dirty = log.pieces.partition_point(|piece| piece.base <= from).saturating_sub(1);
    let dirty = &log.pieces[first_dirty..];
    let too_young = |piece: &&Piece| {
        policy.lag_ms_min > 0 && piece.max_timestamp > now.wall_ms.saturating_sub(millis(policy.lag_ms_min))
    };
    let young = dirty.iter().find(too_young).map_or(log.end, |piece| piece.base);
    let upper = boundary_below(log, log.limit.min(young));
    if upper <= from {
        return None;
    }
    let bytes =
        |pieces: &mut dyn Iterator<Item = &Piece>| pieces.map(|piece| piece.bytes).sum::<u64>() as f64;
    let cleanable = bytes(&mut dirty.iter().take_while(|piece| piece.base < upper));
    let clean = bytes(&mut log.pieces.iter().take_while(|piece| piece.base < from));
    let ratio = if cleanable > 0.0 { cleanable / (clean + cleanable) } else { 0.0 };
    let overdue = cleanable > 0.0 && is_overdue(dirty, policy, now);
    (ratio > policy.dirty_ratio_min || overdue).then_some(Round { from, upper, ratio })
}

/// The last place at or below `limit` where a segment begins or the last one ends.
fn boundary_below(log: &Log<'_>, limit: Offset) -> Offset {
    if log.end <= limit {
        return log.end;
    }
    let after = log.pieces.partition_point(|piece| piece.base <= limit);
    after.checked_sub(1).map_or(Offset::ZERO, |at| log.pieces[at].base)
}

fn is_overdue(dirty: &[Piece], policy: &Policy, now: Now) -> bool {
    let earliest = dirty.iter().map(|piece| piece.first_timestamp).filter(|first| *first > 0).min();
    earliest.is_some_and(|earliest| earliest < now.wall_ms.saturating_sub(millis(policy.lag_ms_max)))
}

fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// Which segments become one, so that segments do not get smaller and smaller: neighbours that together keep within
/// `segment_bytes` and `index_bytes`, and whose offsets can be counted from the first in 31 bits. `upto` is where the last of
/// the pieces ends.
#[must_use]
pub fn group(pieces: &[Piece], upto: Offset, segment_bytes: u64, index_bytes: u64) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut bytes, mut indexed) = (0, 0);
    for (at, piece) in pieces.iter().enumerate() {
        let end = pieces.get(at + 1).map_or(upto, |next| next.base);
        let fits = |group: &Range<usize>| {
            bytes + piece.bytes <= segment_bytes
                && indexed + piece.index_bytes <= index_bytes
                && end.0.saturating_sub(pieces[group.start].base.0) <= i64::from(i32::MAX)
        };
        match groups.last_mut().filter(|group| fits(group)) {
            Some(group) => group.end = at + 1,
            None => {
                groups.push(at..at + 1);
                (bytes, indexed) = (0, 0);
            }
        }
        bytes += piece.bytes;
        indexed += piece.index_bytes;
    }
    groups
}

/// How long to rest after reading and writing so many bytes, so that no more than `bytes_per_second` are on the average
/// (`log.cleaner.io.max.bytes.per.second`), milliseconds.
#[must_use]
pub fn rest_ms(bytes: u64, bytes_per_second: f64) -> u64 {
    // A rate of nothing would be a rest without end: an hour at most, then it is asked again.
    const REST_MS_MAX: f64 = 3_600_000.0;
    let ms = bytes as f64 * 1_000.0 / bytes_per_second;
    if ms.is_nan() { 0 } else { ms.clamp(0.0, REST_MS_MAX) as u64 }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
