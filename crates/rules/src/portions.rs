//! How a connection appends much to a partition to which somebody else appends little, one by one.
//!
//! ```text
//!   a portion: at most so much begins --> all of it is answered --> a rest, the longer the more it was --> the next portion
//! ```
//!
//! A partition keeps its order, so whoever comes behind what others have under way there waits for all of that, and nothing can pass by any
//! more. So it is not begun: once the other is known, what a connection brings to the front is a portion, the request with which it became
//! full included, and while it rests nothing comes. Several connections bring a portion each.
//!
//! Who has requests under way without end gathers a portion in the end, however small they are; who waits for its answers before that does
//! not rest. A trickle slower than one request per 50 ms is not known, nor what goes to other shards.

use crate::{
    ids::PartitionId,
    time::{Deadline, Now},
};

/// What a portion is, or one request whatever its size.
const PORTION_BYTES: u64 = 128 * 1024;

/// For each millisecond that small ones wait at least it is so much, since on a slow disk what takes long is the sync and not its bytes.
const PORTION_BYTES_PER_MS: u64 = 64 * 1024;

/// But no more than this.
const PORTION_BYTES_MAX: u64 = 4 << 20;

/// For each so many bytes of a portion they rest a millisecond.
const REST_BYTES: u64 = 64 * 1024;

/// And no longer than this.
const REST_MS_MAX: u64 = 20;

/// Who has appended, or was answered, is about for so long.
const STAYS_MS: u64 = 50;

/// And who is not answered for so long at most: the connection may be gone.
const WAITS_MS_MAX: u64 = 1000;

/// So many of those who append little are known on a shard.
const KNOWN_MAX: usize = 8;

/// Of the last so many appends of theirs the quickest says how long they wait at least: the others were behind somebody.
const WAITS: usize = 16;

/// Somebody who appends little, and until when it is about.
#[derive(Clone, Copy, Debug)]
struct Appender {
    who: u64,
    partition: PartitionId,
    until: Deadline,
}

/// Those who append little, one by one, on one shard: the last few of them.
#[derive(Debug, Default)]
pub struct Appenders {
    known: Vec<Appender>,
    waits_ms: [u64; WAITS],
    answers: usize,
}

impl Appenders {
    /// The connection `who` appends little to this partition, and waits.
    pub fn appends(&mut self, who: u64, partition: PartitionId, now: Now) {
        self.known.retain(|one| (one.who, one.partition) != (who, partition) && !one.until.is_due(now));
        if self.known.len() >= KNOWN_MAX {
            // Rather one that was answered than one that waits.
            let first = (0..self.known.len()).min_by_key(|at| self.known[*at].until.0);
            first.map(|at| self.known.swap_remove(at));
        }
        self.known.push(Appender { who, partition, until: now.after(WAITS_MS_MAX) });
    }

    /// It is answered after so many milliseconds.
    pub fn answered(&mut self, who: u64, took_ms: u64, now: Now) {
        if self.leaves(who, now) {
            self.waits_ms[self.answers % WAITS] = took_ms;
            self.answers = self.answers.wrapping_add(1);
        }
    }

    /// It waits no more, and may be gone; whether it was known to wait.
    pub fn leaves(&mut self, who: u64, now: Now) -> bool {
        let soon = now.after(STAYS_MS);
        let mut has_waited = false;
        for one in self.known.iter_mut().filter(|one| one.who == who && one.until > soon) {
            (one.until, has_waited) = (soon, true);
        }
        has_waited
    }

    /// Whether somebody else than the connection `who` appends little to this partition.
    #[must_use]
    pub fn are_at(&self, partition: PartitionId, who: u64, now: Now) -> bool {
        let is_there =
            |one: &Appender| one.partition == partition && one.who != who && !one.until.is_due(now);
        self.known.iter().any(is_there)
    }

    /// How long they wait at least, milliseconds.
    #[must_use]
    pub fn wait_ms(&self) -> u64 {
        self.waits_ms.iter().copied().min().unwrap_or(0)
    }
}

/// Somebody else appends little to the same partition.
#[derive(Clone, Copy, Debug)]
struct Beside {
    until: Deadline,
    portion_bytes: u64,
}

/// The portions of one connection.
#[derive(Debug, Default)]
pub struct Portions {
    beside: Option<Beside>,
    /// What has begun of this portion, in bytes.
    begun: u64,
    /// All that has begun and is not answered, in bytes, wherever it goes.
    under_way: u64,
    /// Portions were full since there is somebody beside.
    are_full: bool,
}

impl Portions {
    /// A request of so many bytes has begun.
    pub fn begins(&mut self, bytes: usize) {
        self.under_way += bytes as u64;
    }

    /// So many bytes of it go where somebody else appends little, who waits for so many milliseconds at least.
    pub fn came_beside(&mut self, bytes: usize, wait_ms: u64, now: Now) {
        let portion_bytes =
            wait_ms.saturating_mul(PORTION_BYTES_PER_MS).clamp(PORTION_BYTES, PORTION_BYTES_MAX);
        self.beside = Some(Beside { until: now.after(STAYS_MS), portion_bytes });
        self.begun += bytes as u64;
        self.are_full |= self.begun >= portion_bytes;
    }

    /// A request of so many bytes is answered: until when the connection rests, if it does. `now` is asked for where it matters.
    pub fn answered(&mut self, bytes: usize, now: impl FnOnce() -> Now) -> Option<Deadline> {
        self.under_way -= bytes as u64;
        if self.under_way > 0 {
            return None;
        }
        let begun = std::mem::take(&mut self.begun);
        let beside = self.beside.as_mut().filter(|_| begun > 0)?;
        let now = now();
        beside.until = now.after(STAYS_MS);
        let rest_ms = (begun / REST_BYTES).min(REST_MS_MAX);
        (begun >= beside.portion_bytes).then(|| now.after(rest_ms))
    }

    /// Whether nothing more begins before all that is under way is answered. When the other has left, they are no portions any more.
    /// `now` is asked for where it matters.
    pub fn is_full(&mut self, now: impl FnOnce() -> Now) -> bool {
        let Some(beside) = self.beside else { return false };
        let is_full = self.begun >= beside.portion_bytes;
        if !is_full && beside.until.is_due(now()) {
            (self.beside, self.begun, self.are_full) = (None, 0, false);
        }
        is_full
    }

    /// Whether it has brought whole portions to where somebody else appends little.
    #[must_use]
    pub fn are_many(&self) -> bool {
        self.are_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TopicId;

    const PORTION: usize = 128 * 1024;
    const HALF: usize = PORTION / 2;
    const FLOOD: u64 = 100;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 0 }
    }

    fn partition(index: i32) -> PartitionId {
        PartitionId { topic: TopicId([1; 16]), index }
    }

    fn begin(portions: &mut Portions, bytes: usize, wait_ms: u64) {
        portions.begins(bytes);
        portions.came_beside(bytes, wait_ms, at(1000));
    }

    /// Portions of a connection that has begun requests of so many bytes at 1,000, beside somebody who waits for so long.
    fn beside(wait_ms: u64, bytes: &[usize]) -> Portions {
        let mut portions = Portions::default();
        bytes.iter().for_each(|bytes| begin(&mut portions, *bytes, wait_ms));
        portions
    }

    #[test]
    fn beside_nobody_there_is_no_end_to_what_is_under_way_and_no_rest() {
        let mut portions = Portions::default();
        (0..1000).for_each(|_| portions.begins(HALF));
        assert!(!portions.is_full(|| at(1000)));
        assert!((0..1000).all(|_| portions.answered(HALF, || at(1000)).is_none()));
    }

    #[test]
    fn a_portion_begins_is_answered_and_rested_for() {
        let mut portions = beside(0, &[HALF]);
        assert!(!portions.is_full(|| at(1000)));
        begin(&mut portions, HALF, 0);
        assert!(portions.is_full(|| at(1000)));
        assert_eq!(portions.answered(HALF, || at(1001)), None);
        assert!(portions.is_full(|| at(1001)), "before all of it is answered");
        assert_eq!(portions.answered(HALF, || at(1002)), Some(Deadline(1004)));
        assert!(!portions.is_full(|| at(1002)), "the next is another portion");
    }

    #[test]
    fn who_has_less_than_a_portion_under_way_does_not_rest_and_is_not_many() {
        let mut portions = beside(0, &[HALF]);
        for _ in 0..10 {
            assert_eq!(portions.answered(HALF, || at(1000)), None);
            begin(&mut portions, HALF, 0);
            assert!(!portions.are_many());
        }
    }

    #[test]
    fn what_goes_elsewhere_is_of_no_portion_and_is_waited_for() {
        let mut portions = beside(0, &[HALF]);
        portions.begins(100 * PORTION);
        assert!(!portions.is_full(|| at(1000)));
        begin(&mut portions, HALF, 0);
        assert!(portions.is_full(|| at(1000)));
        assert_eq!(portions.answered(HALF, || at(1001)), None);
        assert_eq!(portions.answered(HALF, || at(1001)), None);
        assert_eq!(
            portions.answered(100 * PORTION, || at(1001)),
            Some(Deadline(1003)),
            "as long as for the portion"
        );
    }

    #[test]
    fn what_had_begun_before_the_other_came_is_of_no_lot() {
        let mut portions = Portions::default();
        (0..1000).for_each(|_| portions.begins(HALF));
        begin(&mut portions, HALF, 0);
        assert!(!portions.is_full(|| at(1000)));
    }

    #[test]
    fn one_large_one_is_a_portion_and_rested_for_the_longer() {
        let rest = |bytes| beside(0, &[bytes]).answered(bytes, || at(1000));
        assert_eq!(rest(PORTION), Some(Deadline(1002)));
        assert_eq!(rest(8 * PORTION), Some(Deadline(1016)));
        assert_eq!(rest(1000 * PORTION), Some(Deadline(1000 + REST_MS_MAX)));
    }

    #[test]
    fn on_a_slow_disk_a_portion_is_more() {
        let is_full = |wait_ms, bytes| beside(wait_ms, &[bytes]).is_full(|| at(1000));
        assert!(!is_full(10, 5 * PORTION - 1));
        assert!(is_full(10, 5 * PORTION));
        assert!(is_full(1_000_000, 4 << 20), "and not without end");
    }

    #[test]
    fn a_portion_lasts_however_slow_the_disk_is() {
        let mut portions = beside(0, &[HALF, HALF]);
        let slow = 1000 + 10 * STAYS_MS;
        assert!(portions.is_full(|| at(slow)));
        assert_eq!(portions.answered(HALF, || at(slow)), None);
        assert!(portions.is_full(|| at(slow)));
        assert!(portions.answered(HALF, || at(slow)).is_some());
        assert!(!portions.is_full(|| at(slow + STAYS_MS - 1)) && portions.are_many());
        assert!(!portions.is_full(|| at(slow + STAYS_MS)) && !portions.are_many(), "the other has left");
    }

    #[test]
    fn when_the_other_has_left_they_are_no_portions_any_more() {
        let mut portions = beside(0, &[PORTION]);
        assert!(portions.answered(PORTION, || at(1001)).is_some());
        portions.begins(PORTION);
        assert!(!portions.is_full(|| at(1001 + STAYS_MS)) && !portions.are_many());
        assert_eq!(portions.answered(PORTION, || at(1100)), None);
    }

    #[test]
    fn who_has_little_left_to_append_is_not_many_any_more() {
        let mut portions = beside(0, &[PORTION]);
        assert!(portions.answered(PORTION, || at(1001)).is_some());
        for now in (1010..1100).step_by(10) {
            portions.begins(100);
            assert!(!portions.is_full(|| at(now)));
            assert_eq!(portions.answered(100, || at(now)), None);
        }
        assert!(!portions.are_many());
    }

    #[test]
    fn who_never_waits_for_all_its_answers_gathers_a_portion() {
        let mut portions = beside(0, &[HALF / 2, HALF / 2]);
        for _ in 0..2 {
            assert_eq!(portions.answered(HALF / 2, || at(1001)), None);
            assert!(!portions.is_full(|| at(1001)));
            begin(&mut portions, HALF / 2, 0);
        }
        assert!(portions.is_full(|| at(1001)));
    }

    #[test]
    fn it_is_known_where_others_append_little() {
        let mut shard = Appenders::default();
        shard.appends(1, partition(1), at(1000));
        shard.appends(2, partition(2), at(1000));
        assert!(shard.are_at(partition(1), FLOOD, at(1001)) && shard.are_at(partition(2), FLOOD, at(1001)));
        assert!(!shard.are_at(partition(1), 1, at(1001)), "nobody is in front of themselves");
        shard.answered(1, 1, at(1001));
        shard.appends(1, partition(3), at(1001));
        assert!(shard.are_at(partition(1), FLOOD, at(1000 + STAYS_MS)), "it may come again");
        assert!(!shard.are_at(partition(1), FLOOD, at(1001 + STAYS_MS)));
        assert!(shard.are_at(partition(3), FLOOD, at(1500)), "it is not answered");
        shard.answered(1, 600, at(1601));
        assert!(shard.are_at(partition(3), FLOOD, at(1600 + STAYS_MS)));
        assert!(!shard.are_at(partition(3), FLOOD, at(1601 + STAYS_MS)));
        assert!(!shard.leaves(1, at(1601)), "it does not wait");
        assert!(!shard.are_at(partition(2), FLOOD, at(1000 + WAITS_MS_MAX)), "nobody is waited for for ever");
    }

    #[test]
    fn not_all_of_them_are_known() {
        let mut shard = Appenders::default();
        shard.appends(0, partition(0), at(1000));
        for who in 1..100 {
            shard.appends(who, partition(1), at(1000));
            shard.answered(who, 0, at(1000));
        }
        assert_eq!(shard.known.len(), KNOWN_MAX);
        assert!(shard.are_at(partition(0), FLOOD, at(1000)), "who waits is not forgotten for who does not");
        (0..100).for_each(|who| shard.appends(who, partition(2), at(1001)));
        assert_eq!(shard.known.len(), KNOWN_MAX);
    }

    #[test]
    fn the_quickest_of_some_says_how_long_they_wait() {
        let mut shard = Appenders::default();
        let mut answered = |took_ms| {
            shard.appends(1, partition(1), at(1000));
            shard.answered(1, took_ms, at(1000));
            shard.wait_ms()
        };
        assert_eq!((1..WAITS).map(|_| answered(60)).max(), Some(0));
        assert_eq!(answered(60), 60);
        assert_eq!(answered(1), 1);
        assert_eq!((1..WAITS).map(|_| answered(60)).max(), Some(1));
        assert_eq!(answered(70), 60);
    }
}
