use super::*;

const NOW: Now = Now { mono_ms: 0, wall_ms: 10_000 };
const POLICY: Policy = Policy { dirty_ratio_min: 0.5, lag_ms_min: 0, lag_ms_max: i64::MAX as u64 };

/// Four closed segments of ten records and 100 bytes, with timestamps up to 1,000, 2,000, 3,000, 4,000.
fn pieces() -> Vec<Piece> {
    let piece = |n: i64| Piece {
        base: Offset(n * 10),
        bytes: 100,
        index_bytes: 8,
        max_timestamp: (n + 1) * 1_000,
        first_timestamp: n * 1_000 + 500,
    };
    (0..4).map(piece).collect()
}

fn log(pieces: &[Piece], clean_upto: i64, limit: i64) -> Log<'_> {
    let clean_upto = (clean_upto >= 0).then_some(Offset(clean_upto));
    Log { pieces, end: Offset(40), start: Offset(0), clean_upto, limit: Offset(limit) }
}

fn check(clean_upto: i64, limit: i64, policy: Policy, expected: Option<(i64, i64, f64)>) {
    let pieces = pieces();
    let round = choose(&log(&pieces, clean_upto, limit), &policy, NOW);
    let expected =
        expected.map(|(from, upper, ratio)| Round { from: Offset(from), upper: Offset(upper), ratio });
    assert_eq!(round, expected, "clean up to {clean_upto}, limit {limit}, {policy:?}");
}

#[test]
fn a_log_is_worth_a_round_when_more_than_the_ratio_of_it_is_dirty() {
    check(-1, 40, POLICY, Some((0, 40, 1.0)));
    check(10, 40, POLICY, Some((10, 40, 0.75)));
    check(20, 40, POLICY, None);
    check(20, 40, Policy { dirty_ratio_min: 0.49, ..POLICY }, Some((20, 40, 0.5)));
    check(40, 40, Policy { dirty_ratio_min: 0.0, ..POLICY }, None);
}

#[test]
fn nothing_is_touched_beyond_the_last_segment_that_is_wholly_below_the_limit() {
    check(-1, 39, POLICY, Some((0, 30, 1.0)));
    check(-1, 30, POLICY, Some((0, 30, 1.0)));
    check(-1, 10, POLICY, Some((0, 10, 1.0)));
    check(-1, 9, POLICY, None);
    check(-1, 1_000, POLICY, Some((0, 40, 1.0)));
}

#[test]
fn young_segments_wait_and_what_waits_too_long_is_due() {
    let young = |ms| Policy { lag_ms_min: ms, ..POLICY };
    check(-1, 40, young(7_000), Some((0, 30, 1.0)));
    check(-1, 40, young(7_001), Some((0, 20, 1.0)));
    check(-1, 40, young(10_000), None);
    let overdue = |ms| Policy { dirty_ratio_min: 1.0, lag_ms_max: ms, ..POLICY };
    check(30, 40, overdue(6_500), None);
    check(30, 40, overdue(6_499), Some((30, 40, 0.25)));
    check(40, 40, overdue(1), None);
}

#[test]
fn a_round_that_ended_within_a_segment_goes_on_there() {
    check(15, 40, POLICY, Some((15, 40, 300.0 / 500.0)));
}

#[test]
fn where_the_log_begins_later_or_ends_earlier_it_is_looked_at_anew() {
    let pieces = pieces();
    let from = |log: Log<'_>| choose(&log, &POLICY, NOW).map(|round| round.from);
    assert_eq!(from(Log { start: Offset(12), ..log(&pieces, 5, 40) }), Some(Offset(12)));
    assert_eq!(from(log(&pieces, 41, 40)), Some(Offset(0)));
    assert_eq!(from(Log { end: Offset(0), ..log(&[], -1, 40) }), None);
}

#[test]
fn neighbours_become_one_as_long_as_they_fit() {
    let pieces = pieces();
    let of = |segment_bytes, index_bytes| group(&pieces, Offset(40), segment_bytes, index_bytes);
    assert_eq!(of(1_000, 1_000).len(), 1);
    assert_eq!(of(250, 1_000), [0..2, 2..4]);
    assert_eq!(of(399, 1_000), [0..3, 3..4]);
    assert_eq!(of(1_000, 16), [0..2, 2..4]);
    assert_eq!(of(1, 1), [0..1, 1..2, 2..3, 3..4]);

    let mut far = pieces.clone();
    far[3].base = Offset(i64::from(i32::MAX) + 5);
    assert_eq!(group(&far, far[3].base.plus(10), 1_000, 1_000), [0..2, 2..4]);
    assert!(group(&[], Offset(0), 1, 1).is_empty());
}

#[test]
fn the_rest_after_so_many_bytes_keeps_to_the_rate() {
    assert_eq!(rest_ms(1_000, 1_000.0), 1_000);
    assert_eq!(rest_ms(1 << 20, f64::MAX), 0);
    assert_eq!(rest_ms(0, 0.0), 0);
    assert_eq!(rest_ms(1, 0.0), 3_600_000);
    assert_eq!(rest_ms(1, -1.0), 0);
}
