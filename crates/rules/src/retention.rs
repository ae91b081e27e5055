//! Which whole segments may go (`cleanup.policy=delete`; Kafka's `UnifiedLog.deleteOldSegments`).

use crate::{ids::Offset, time::Now};

/// What is known about one segment, oldest first in every list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Its first offset.
    pub base: Offset,
    /// One past its last offset; equal to `base` when it is empty.
    pub end: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    /// The largest timestamp of its records, Unix milliseconds; -1 when none of them has one.
    pub max_timestamp: i64,
    /// When its file was last written, Unix milliseconds: its age where records have no timestamps.
    pub modified_ms: i64,
}

/// How much a topic keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Whether `cleanup.policy` has `delete`. Without it only what lies below the log start goes.
    pub delete: bool,
    /// `retention.ms`; negative is for ever.
    pub ms: i64,
    /// `retention.bytes`; negative is everything.
    pub bytes: i64,
}

/// What retention wants done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// This many of the oldest segments go.
    pub segments: usize,
    /// The active segment is among them: roll first, so that the log has somewhere to go on.
    pub roll_first: bool,
    /// The log begins here afterwards; none when nothing goes.
    pub log_start: Option<Offset>,
}

/// What goes now: first segments wholly below the log start, then by size, then by the age of their youngest record.
/// Nothing at or above `limit` goes (the high watermark and what is known to be synced, whichever is lower); the oldest
/// segment that has to stay protects all after it. `segments` are all of the log, the active one last.
#[must_use]
pub fn sweep(segments: &[SegmentFacts], log_start: Offset, limit: Offset, keep: Keep, now: Now) -> Sweep {
    let mut excess = match u64::try_from(keep.bytes) {
        Ok(max) if keep.delete => {
            segments.iter().map(|segment| segment.bytes).sum::<u64>().saturating_sub(max)
        }
        Ok(_) | Err(_) => 0,
    };
    let mut sweep = Sweep::default();
    for (at, segment) in segments.iter().enumerate() {
        let active = at + 1 == segments.len();
        if segment.end > limit || (active && segment.bytes == 0) {
            break;
        }
        let breached = segment.end <= log_start && !active;
        // As Kafka: a segment goes by size only when what is left still has `retention.bytes`; the active one where that is 0.
        let too_much = keep.delete && excess > 0 && segment.bytes <= excess;
        if !breached && !too_much && !expired(segment, keep, now) {
            break;
        }
        excess = excess.saturating_sub(segment.bytes);
        sweep.segments = at + 1;
        sweep.roll_first = active;
        sweep.log_start = Some(segment.end.max(log_start));
    }
    sweep
}

fn expired(segment: &SegmentFacts, keep: Keep, now: Now) -> bool {
    if !keep.delete || keep.ms < 0 {
        return false;
    }
    let youngest = if segment.max_timestamp >= 0 { segment.max_timestamp } else { segment.modified_ms };
    now.wall_ms.saturating_sub(youngest) > keep.ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALL: Keep = Keep { delete: true, ms: -1, bytes: -1 };
    const NOW: Now = Now { mono_ms: 0, wall_ms: 1_000 };

    /// Three segments of ten records and 100 bytes, with timestamps 100, 200, 300; the last one is active.
    fn segments() -> Vec<SegmentFacts> {
        let segment = |n: i64| SegmentFacts {
            base: Offset(n * 10),
            end: Offset(n * 10 + 10),
            bytes: 100,
            max_timestamp: (n + 1) * 100,
            modified_ms: 0,
        };
        (0..3).map(segment).collect()
    }

    fn check(keep: Keep, log_start: i64, limit: i64, expected: Sweep) {
        assert_eq!(sweep(&segments(), Offset(log_start), Offset(limit), keep, NOW), expected, "{keep:?}");
    }

    fn gone(segments: usize, log_start: i64) -> Sweep {
        Sweep { segments, roll_first: segments == 3, log_start: Some(Offset(log_start)) }
    }

    #[test]
    fn what_lies_below_the_log_start_goes_whatever_the_policy() {
        check(KEEP_ALL, 0, 30, Sweep::default());
        check(KEEP_ALL, 9, 30, Sweep::default());
        check(KEEP_ALL, 15, 30, gone(1, 15));
        check(Keep { delete: false, ..KEEP_ALL }, 20, 30, gone(2, 20));
    }

    #[test]
    fn by_size_as_much_as_asked_for_is_kept() {
        check(Keep { bytes: 300, ..KEEP_ALL }, 0, 30, Sweep::default());
        check(Keep { bytes: 299, ..KEEP_ALL }, 0, 30, Sweep::default());
        check(Keep { bytes: 200, ..KEEP_ALL }, 0, 30, gone(1, 10));
        check(Keep { bytes: 99, ..KEEP_ALL }, 0, 30, gone(2, 20));
        check(Keep { bytes: 1, ..KEEP_ALL }, 0, 30, gone(2, 20));
        check(Keep { bytes: 0, delete: false, ..KEEP_ALL }, 0, 30, Sweep::default());
    }

    #[test]
    fn by_age_the_youngest_record_of_a_segment_counts() {
        check(Keep { ms: 900, ..KEEP_ALL }, 0, 30, Sweep::default());
        check(Keep { ms: 899, ..KEEP_ALL }, 0, 30, gone(1, 10));
        check(Keep { ms: 799, ..KEEP_ALL }, 0, 30, gone(2, 20));
        check(Keep { ms: 10, delete: false, ..KEEP_ALL }, 0, 30, Sweep::default());
    }

    #[test]
    fn an_active_segment_is_rolled_before_it_goes() {
        check(Keep { ms: 10, ..KEEP_ALL }, 0, 30, gone(3, 30));
        check(Keep { bytes: 0, ..KEEP_ALL }, 0, 30, gone(3, 30));
        check(Keep { bytes: 0, ..KEEP_ALL }, 0, 29, gone(2, 20));
    }

    #[test]
    fn nothing_goes_that_is_not_wholly_below_the_limit() {
        check(Keep { ms: 10, ..KEEP_ALL }, 0, 19, gone(1, 10));
        check(Keep { ms: 10, ..KEEP_ALL }, 0, 9, Sweep::default());
    }

    #[test]
    fn a_record_from_the_future_pins_everything_behind_it() {
        let mut pinned = segments();
        pinned[0].max_timestamp = i64::MAX;
        let keep = Keep { ms: 10, ..KEEP_ALL };
        assert_eq!(sweep(&pinned, Offset(0), Offset(30), keep, NOW), Sweep::default());
    }

    #[test]
    fn records_without_timestamps_are_as_old_as_their_file() {
        let mut untimed = segments();
        untimed[0].max_timestamp = -1;
        untimed[0].modified_ms = 950;
        let keep = Keep { ms: 100, ..KEEP_ALL };
        assert_eq!(sweep(&untimed, Offset(0), Offset(30), keep, NOW), Sweep::default());
    }
}
