//! How long small batches wait for the disk, and how much longer others rest for their sake.
//!
//! ```text
//!   waits of small ones --> what is usual --> one is slow --> rests are longer, up to four times
//!                                        '--> none of a hundred is --> rests are as long as they were
//! ```
//!
//! A disk that takes twice as long in one hour as in the other is no fault of who writes to it, so what is usual is learned and not
//! set. What is unusual for more than one in a hundred is, and then less is asked of the disk and of the cores until it is not: how
//! much a saturating connection may have is not known in advance either.

/// A wait of so many times the usual one is slow. Beside nobody the slowest of a hundred takes about twice as long as the middle one.
const SLOW_TIMES: f64 = 4.0;

/// Nor is anything below this, in microseconds: where a sync costs next to nothing, nobody should rest for it.
const SLOW_US_MIN: f64 = 250.0;

/// How far each wait moves what is usual, up or down, so that half of them are longer: the middle of some dozens.
const STEP: f64 = 1.0 / 64.0;

/// After a slow one rests are longer by so much.
const LONGER: f64 = 1.1;

/// After each other one they are shorter by so much: about a hundred make up for a slow one.
const SHORTER: f64 = 0.999;

/// They are never longer than so many times what they are where nobody waits for long.
const TIMES_MAX: f64 = 4.0;

/// What has been learned from the waits at one journal.
#[derive(Debug)]
pub struct Waits {
    /// Microseconds that half of them take; none before the first.
    usual_us: Option<f64>,
    times: f64,
}

impl Default for Waits {
    fn default() -> Self {
        Self { usual_us: None, times: 1.0 }
    }
}

impl Waits {
    /// A small batch has waited for so long, in microseconds, until it was safe.
    pub fn waited(&mut self, us: u64) {
        // The cast is exact below 285 years.
        #[expect(clippy::cast_precision_loss)]
        let us = us.max(1) as f64;
        let usual_us = self.usual_us.get_or_insert(us);
        let is_slow = us > (*usual_us * SLOW_TIMES).max(SLOW_US_MIN);
        *usual_us *= if us > *usual_us { 1.0 + STEP } else { 1.0 - STEP };
        self.times = (self.times * if is_slow { LONGER } else { SHORTER }).clamp(1.0, TIMES_MAX);
    }

    /// How many whole milliseconds half of them take at most; 0 before the first.
    #[must_use]
    pub fn usual_ms(&self) -> u64 {
        // The cast rounds down, and a wait is no number of years.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let usual_ms = (self.usual_us.unwrap_or(0.0) / 1000.0) as u64;
        usual_ms
    }

    /// A rest of so many milliseconds, as long as it has to be now.
    #[must_use]
    pub fn lengthened(&self, rest_ms: u64) -> u64 {
        // A rest is some milliseconds, and four times that.
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let longer_ms = (rest_ms as f64 * self.times).round() as u64;
        longer_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL_US: u64 = 250;
    const SLOW_US: u64 = 5 * USUAL_US;

    /// After so many hundreds of waits, of which so many were slow.
    fn after(hundreds: usize, slow: usize) -> Waits {
        let mut waits = Waits::default();
        for _ in 0..hundreds {
            (slow..100).for_each(|_| waits.waited(USUAL_US));
            (0..slow).for_each(|_| waits.waited(SLOW_US));
        }
        waits
    }

    #[test]
    fn rests_are_as_long_as_they_are_while_hardly_any_is_slow() {
        assert_eq!(Waits::default().lengthened(10), 10);
        assert_eq!(after(20, 0).lengthened(10), 10);
        assert_eq!(after(20, 1).lengthened(10), 11, "after a slow one, and no longer than after the first");
    }

    #[test]
    fn rests_are_longer_where_some_are_slow() {
        assert_eq!(after(2, 5).lengthened(10), 24);
        assert_eq!(after(20, 3).lengthened(10), 40);
        assert_eq!(after(20, 20).lengthened(10), 40, "and not without end");
    }

    #[test]
    fn they_are_shorter_again_when_none_is() {
        let mut waits = after(20, 5);
        (0..700).for_each(|_| waits.waited(USUAL_US));
        assert_eq!(waits.lengthened(10), 20);
        (0..700).for_each(|_| waits.waited(USUAL_US));
        assert_eq!(waits.lengthened(10), 10);
    }

    #[test]
    fn where_all_take_long_that_is_usual() {
        let mut waits = after(2, 0);
        (0..200).for_each(|_| waits.waited(SLOW_US));
        (0..1500).for_each(|_| waits.waited(SLOW_US));
        assert_eq!(waits.lengthened(10), 10);
    }

    #[test]
    fn what_nobody_feels_is_not_slow() {
        let mut waits = Waits::default();
        (0..1000).for_each(|n| waits.waited(if n % 10 == 0 { 200 } else { 20 }));
        assert_eq!(waits.lengthened(10), 10);
    }

    #[test]
    fn a_clock_that_stands_still_is_no_matter() {
        let mut waits = Waits::default();
        (0..1000).for_each(|_| waits.waited(0));
        assert_eq!(waits.lengthened(10), 10);
        waits.waited(u64::MAX);
        assert_eq!(waits.lengthened(10), 11);
    }
}
