//! When the active segment is full (Kafka's `LogSegment.shouldRoll`).

use crate::ids::Offset;

/// The active segment, as far as rolling is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveSegment {
    /// Its first offset.
    pub base: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    /// The largest timestamp of its first batch, Unix milliseconds; none while it is empty or that batch has no time.
    pub first_timestamp: Option<i64>,
    /// Its offset index or time index has no room for another entry.
    pub index_full: bool,
}

/// The batch that is to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// One past its last offset.
    pub end: Offset,
    /// Its bytes.
    pub bytes: u64,
    /// The largest timestamp of its records, Unix milliseconds; -1 when none has one.
    pub max_timestamp: i64,
}

/// What a topic says about its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollRules {
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.ms`.
    pub segment_ms: u64,
    /// This segment's share of `segment.jitter.ms`, drawn when it was begun: it rolls that much sooner, so that the
    /// partitions of a topic do not all roll at once.
    pub jitter_ms: u64,
}

/// Whether a new segment has to begin before this batch: by size, by the time between the first record and this one, for
/// want of index space, or because offsets count from the base in 31 bits.
///
/// An empty segment rolls only for its offsets. Where records have no timestamps, `wall_age_ms` (since the segment was
/// begun) decides instead.
#[must_use]
pub fn must_roll(active: &ActiveSegment, incoming: &Incoming, wall_age_ms: u64, rules: &RollRules) -> bool {
    let last = incoming.end.0.saturating_sub(1);
    if last.saturating_sub(active.base.0) > i64::from(i32::MAX) {
        return true;
    }
    if active.bytes == 0 {
        return false;
    }
    let too_old = rules.segment_ms.saturating_sub(rules.jitter_ms.min(rules.segment_ms));
    let age = match active.first_timestamp {
        Some(first) if incoming.max_timestamp >= 0 => {
            u64::try_from(incoming.max_timestamp.saturating_sub(first)).unwrap_or(0)
        }
        Some(_) | None => wall_age_ms,
    };
    active.bytes.saturating_add(incoming.bytes) > rules.segment_bytes || age > too_old || active.index_full
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: RollRules = RollRules { segment_bytes: 100, segment_ms: 1_000, jitter_ms: 100 };
    const ACTIVE: ActiveSegment =
        ActiveSegment { base: Offset(5), bytes: 60, first_timestamp: Some(10_000), index_full: false };
    const NEXT: Incoming = Incoming { end: Offset(20), bytes: 40, max_timestamp: 10_900 };

    fn check(active: ActiveSegment, next: Incoming, expected: bool) {
        assert_eq!(must_roll(&active, &next, 0, &RULES), expected, "{active:?} {next:?}");
    }

    #[test]
    fn a_segment_is_left_when_it_is_full() {
        check(ACTIVE, NEXT, false);
        check(ACTIVE, Incoming { bytes: 41, ..NEXT }, true);
        check(ActiveSegment { index_full: true, ..ACTIVE }, NEXT, true);
    }

    #[test]
    fn age_is_counted_between_records() {
        check(ACTIVE, Incoming { max_timestamp: 10_901, ..NEXT }, true);
        check(ACTIVE, Incoming { max_timestamp: 2, ..NEXT }, false);
    }

    #[test]
    fn without_timestamps_the_clock_decides() {
        let untimed = ActiveSegment { first_timestamp: None, ..ACTIVE };
        assert!(must_roll(&untimed, &NEXT, 901, &RULES));
        assert!(!must_roll(&untimed, &NEXT, 900, &RULES));
    }

    #[test]
    fn offsets_count_from_the_base_in_31_bits() {
        let last = 5 + i64::from(i32::MAX);
        check(ACTIVE, Incoming { end: Offset(last + 1), ..NEXT }, false);
        check(ACTIVE, Incoming { end: Offset(last + 2), ..NEXT }, true);
        let empty = ActiveSegment { bytes: 0, ..ACTIVE };
        check(empty, Incoming { end: Offset(last + 2), ..NEXT }, true);
    }

    #[test]
    fn an_empty_segment_takes_any_batch() {
        let empty = ActiveSegment { bytes: 0, first_timestamp: None, index_full: true, ..ACTIVE };
        check(empty, Incoming { bytes: 1_000, ..NEXT }, false);
    }
}
