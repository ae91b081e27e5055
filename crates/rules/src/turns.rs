//! Which of the batches that wait for the journal go with its next sync.
//!
//! One sync serves everyone who waits, and takes as long as its bytes take to reach the disk. While all who wait bring much,
//! the largest sync is the cheapest. Where somebody brings little as well, what the others bring is divided: a small
//! batch waits for a share of it, and not for all that a saturating connection may have under way. And after a sync with large
//! ones they rest, for as long as it took and longer the more they had, so that the disk and the cores are not theirs alone:
//! who brings little finds the journal free most of the time.

use std::collections::BTreeSet;

use crate::{
    ids::PartitionId,
    time::{Deadline, Now},
};

/// A batch of at most so many bytes is small: it costs a sync nothing to speak of.
const SMALL_BYTES_MAX: u64 = 16 * 1024;

/// What one sync covers of large batches while there are small ones, and one batch whatever its size.
const LARGE_BYTES_MAX: u64 = 512 * 1024;

/// There are small ones while one waits, and for so long after the last one came: who sends one by one is about to send another.
const SMALL_STAYS_MS: u64 = 50;

/// For each so many bytes of large ones in a sync they rest as long as it took. What a large batch costs others is not its sync
/// alone: it is read, copied and written to its segment as well, and all of that stands in the way of a small one.
const REST_BYTES: u64 = 128 * 1024;

/// Large ones rest no longer than this, however long their sync took: a disk that stood still is no reason to stand still again.
const REST_MS_MAX: u64 = 20;

/// The turns at one journal.
#[derive(Debug, Default)]
pub struct Turns {
    small_until: Option<Deadline>,
    /// When the sync began that is under way, and how many bytes of large ones it has, where small ones are about.
    large_since: Option<(u64, u64)>,
    /// Large ones have no turn until then, while there are small ones.
    rest_until: Option<Deadline>,
}

/// What the journal does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Those at these places, which are never none, go with one sync.
    Go(Vec<usize>),
    /// Nobody has a turn before this moment, unless a small one comes.
    Rest(Deadline),
}

impl Turns {
    /// A batch of so many bytes has come, and waits.
    pub fn came(&mut self, bytes: u64, now: Now) {
        if bytes <= SMALL_BYTES_MAX {
            self.small_until = Some(now.after(SMALL_STAYS_MS));
        }
    }

    /// Those whose turn it is, by their place among all who wait, whose partition and size are told in the order in which they
    /// came; somebody must wait. Batches of one partition keep their order.
    pub fn take(&mut self, waiting: impl Iterator<Item = (PartitionId, u64)> + Clone, now: Now) -> Turn {
        let one_came = self.small_until.is_some_and(|until| !until.is_due(now));
        let one_is_about = one_came || waiting.clone().any(|(_, bytes)| bytes <= SMALL_BYTES_MAX);
        let rest = self.rest_until.filter(|until| one_is_about && !until.is_due(now));
        let large_bytes_max = match (one_is_about, rest) {
            (false, _) => u64::MAX,
            (true, None) => LARGE_BYTES_MAX,
            (true, Some(_)) => 0,
        };
        let (places, large_bytes) = share(waiting, large_bytes_max);
        self.large_since = (one_is_about && large_bytes > 0).then_some((now.mono_ms, large_bytes));
        match rest {
            Some(until) if places.is_empty() => Turn::Rest(until),
            _ => Turn::Go(places),
        }
    }

    /// The sync of those who went last is over.
    pub fn synced(&mut self, now: Now) {
        if let Some((since, bytes)) = self.large_since.take() {
            let took_ms = now.mono_ms.saturating_sub(since).max(1);
            let rest_ms = took_ms.saturating_mul(bytes.div_ceil(REST_BYTES));
            self.rest_until = Some(now.after(rest_ms.min(REST_MS_MAX)));
        }
    }
}

/// All small ones, and of the large ones so many bytes; one at least when it is more than none. Their places, and how many bytes
/// the large ones have.
fn share(waiting: impl Iterator<Item = (PartitionId, u64)>, large_bytes_max: u64) -> (Vec<usize>, u64) {
    let (mut large_bytes, mut behind) = (0, BTreeSet::new());
    let mut has_turn = |(partition, bytes)| {
        let is_large = bytes > SMALL_BYTES_MAX;
        let has_room = large_bytes + bytes <= large_bytes_max || (large_bytes == 0 && large_bytes_max > 0);
        if is_large && !has_room {
            behind.insert(partition);
        }
        if behind.contains(&partition) {
            return false;
        }
        large_bytes += if is_large { bytes } else { 0 };
        true
    };
    let turns = waiting.enumerate().filter_map(|(at, one)| has_turn(one).then_some(at)).collect();
    (turns, large_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TopicId;

    const SMALL: u64 = 300;
    const LARGE: u64 = 200 * 1024;
    const HUGE: u64 = 1 << 20;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 0 }
    }

    fn partition(index: i32) -> PartitionId {
        PartitionId { topic: TopicId([1; 16]), index }
    }

    fn sizes(waiting: &[(i32, u64)]) -> impl Iterator<Item = (PartitionId, u64)> + Clone {
        waiting.iter().map(|(index, bytes)| (partition(*index), *bytes))
    }

    /// Whose turn it is at a journal where these have come, the last of them so many ms ago.
    fn turns(waiting: &[(i32, u64)], later_ms: u64) -> Vec<usize> {
        let mut turns = Turns::default();
        waiting.iter().for_each(|(_, bytes)| turns.came(*bytes, at(1000)));
        match turns.take(sizes(waiting), at(1000 + later_ms)) {
            Turn::Go(places) => places,
            Turn::Rest(until) => panic!("they rest until {until:?}"),
        }
    }

    #[test]
    fn without_small_ones_everybody_goes_at_once() {
        assert_eq!(turns(&[(0, LARGE), (1, HUGE), (2, HUGE), (3, HUGE)], 0), [0, 1, 2, 3]);
    }

    #[test]
    fn small_ones_pass_by_what_is_too_much_for_one_sync() {
        let waiting = [(0, LARGE), (0, LARGE), (0, LARGE), (1, SMALL), (0, LARGE), (2, SMALL)];
        assert_eq!(turns(&waiting, 0), [0, 1, 3, 5]);
    }

    #[test]
    fn one_goes_however_large_it_is() {
        assert_eq!(turns(&[(0, HUGE), (1, SMALL), (2, HUGE)], 0), [0, 1]);
    }

    #[test]
    fn batches_of_one_partition_keep_their_order() {
        assert_eq!(turns(&[(0, HUGE), (1, LARGE), (1, SMALL), (2, SMALL)], 0), [0, 3]);
    }

    #[test]
    fn small_ones_are_remembered_for_a_while() {
        let mut turns = Turns::default();
        turns.came(SMALL, at(1000));
        let huge = [(0, HUGE), (1, HUGE)];
        assert_eq!(turns.take(sizes(&huge), at(1000 + SMALL_STAYS_MS - 1)), Turn::Go(vec![0]));
        assert_eq!(turns.take(sizes(&huge), at(1000 + SMALL_STAYS_MS)), Turn::Go(vec![0, 1]));
    }

    #[test]
    fn a_small_one_that_waits_is_not_forgotten_however_long_the_sync_takes() {
        assert_eq!(turns(&[(0, HUGE), (1, HUGE), (2, SMALL)], 10 * SMALL_STAYS_MS), [0, 2]);
    }

    /// Turns at a journal whose sync of a large batch took from 1,000 to 1,004, while a small one came.
    fn after_one_of(bytes: u64) -> Turns {
        let mut turns = Turns::default();
        turns.came(SMALL, at(1000));
        assert_eq!(turns.take(sizes(&[(0, bytes)]), at(1000)), Turn::Go(vec![0]));
        turns.synced(at(1004));
        turns
    }

    #[test]
    fn the_more_they_had_the_longer_they_rest() {
        let rest = |bytes| after_one_of(bytes).take(sizes(&[(0, bytes)]), at(1004));
        assert_eq!(rest(LARGE / 2), Turn::Rest(Deadline(1004 + 4)));
        assert_eq!(rest(LARGE), Turn::Rest(Deadline(1004 + 8)));
        assert_eq!(rest(2 * LARGE), Turn::Rest(Deadline(1004 + 16)));
    }

    #[test]
    fn large_ones_rest_and_small_ones_do_not() {
        let mut turns = after_one_of(LARGE);
        assert_eq!(turns.take(sizes(&[(0, HUGE), (1, SMALL)]), at(1004)), Turn::Go(vec![1]));
        turns.synced(at(1005));
        assert_eq!(turns.take(sizes(&[(0, HUGE)]), at(1005)), Turn::Rest(Deadline(1012)));
        assert_eq!(turns.take(sizes(&[(0, HUGE), (1, SMALL)]), at(1012)), Turn::Go(vec![0, 1]));
    }

    #[test]
    fn a_small_one_behind_a_large_one_of_its_partition_rests_with_it() {
        let mut turns = after_one_of(LARGE);
        assert_eq!(turns.take(sizes(&[(0, HUGE), (0, SMALL)]), at(1005)), Turn::Rest(Deadline(1012)));
        assert_eq!(turns.take(sizes(&[(0, HUGE), (0, SMALL)]), at(1012)), Turn::Go(vec![0, 1]));
    }

    #[test]
    fn nobody_rests_where_no_small_one_has_come_for_a_while() {
        let mut turns = after_one_of(LARGE);
        turns.synced(at(1004));
        assert_eq!(turns.take(sizes(&[(0, HUGE)]), at(1000 + SMALL_STAYS_MS)), Turn::Go(vec![0]));
    }

    #[test]
    fn a_disk_that_stood_still_is_not_waited_for_once_more() {
        let mut turns = Turns::default();
        let both = [(0, HUGE), (0, HUGE), (1, SMALL)];
        turns.take(sizes(&both), at(1000));
        turns.synced(at(9000));
        let huge_behind_a_small_one = [(1, SMALL), (0, HUGE)];
        assert_eq!(
            turns.take(sizes(&huge_behind_a_small_one), at(9000 + REST_MS_MAX - 1)),
            Turn::Go(vec![0])
        );
        turns.synced(at(9000 + REST_MS_MAX - 1));
        assert_eq!(turns.take(sizes(&huge_behind_a_small_one), at(9000 + REST_MS_MAX)), Turn::Go(vec![0, 1]));
    }
}
