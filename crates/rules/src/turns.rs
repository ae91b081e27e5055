//! Which of the batches that wait for the journal go with its next sync.
//!
//! One sync serves everyone who waits, and takes as long as its bytes take to reach the disk. While all who wait bring much,
//! the largest sync is the cheapest. Where somebody brings little as well, what the others bring is divided: a small
//! batch waits for a share of it, and not for all that a saturating connection may have under way. And it waits for one share
//! only: one that came during the sync of large ones goes with the next sync, without them.

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

/// The turns at one journal.
#[derive(Debug, Default)]
pub struct Turns {
    small_until: Option<Deadline>,
    /// Large ones went with the last sync: small ones go first now.
    large_went: bool,
}

impl Turns {
    /// A batch of so many bytes has come, and waits.
    pub fn came(&mut self, bytes: u64, now: Now) {
        if bytes <= SMALL_BYTES_MAX {
            self.small_until = Some(now.after(SMALL_STAYS_MS));
        }
    }

    /// Those whose turn it is, by their place among all who wait, whose partition and size are told in the order in which they
    /// came. Batches of one partition keep their order. Somebody has a turn whenever somebody waits; large ones have one at every
    /// other sync at least.
    pub fn take(
        &mut self,
        waiting: impl Iterator<Item = (PartitionId, u64)> + Clone,
        now: Now,
    ) -> Vec<usize> {
        let one_came = self.small_until.is_some_and(|until| !until.is_due(now));
        let one_waits = waiting.clone().any(|(_, bytes)| bytes <= SMALL_BYTES_MAX);
        let large_bytes_max = match (one_waits, one_came, self.large_went) {
            (false, false, _) => u64::MAX,
            (true, _, true) => 0,
            (true, ..) | (false, true, _) => LARGE_BYTES_MAX,
        };
        let (mut turns, mut large_bytes) = share(waiting.clone(), large_bytes_max);
        if turns.is_empty() {
            // The small ones are behind large ones of their own partition.
            (turns, large_bytes) = share(waiting, LARGE_BYTES_MAX);
        }
        self.large_went = large_bytes > 0;
        turns
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

    /// Whose turn it is at a journal where these have come, the last of them just now.
    fn turns(waiting: &[(i32, u64)], later_ms: u64) -> Vec<usize> {
        let mut turns = Turns::default();
        turned(&mut turns, waiting, later_ms)
    }

    fn turned(turns: &mut Turns, waiting: &[(i32, u64)], later_ms: u64) -> Vec<usize> {
        waiting.iter().for_each(|(_, bytes)| turns.came(*bytes, at(1000)));
        turns.take(waiting.iter().map(|(index, bytes)| (partition(*index), *bytes)), at(1000 + later_ms))
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
        let huge = [(partition(0), HUGE), (partition(1), HUGE)];
        assert_eq!(turns.take(huge.into_iter(), at(1000 + SMALL_STAYS_MS - 1)), [0]);
        assert_eq!(turns.take(huge.into_iter(), at(1000 + SMALL_STAYS_MS)), [0, 1]);
    }

    #[test]
    fn a_small_one_that_waits_is_not_forgotten_however_long_the_sync_takes() {
        assert_eq!(turns(&[(0, HUGE), (1, HUGE), (2, SMALL)], 10 * SMALL_STAYS_MS), [0, 2]);
    }

    #[test]
    fn what_came_during_the_sync_of_large_ones_goes_next_and_alone_and_then_they_go_again() {
        let mut turns = Turns::default();
        let waiting = [(0, HUGE), (1, SMALL), (0, HUGE), (2, SMALL)];
        assert_eq!(turned(&mut turns, &waiting, 0), [0, 1, 3]);
        assert_eq!(turned(&mut turns, &waiting, 0), [1, 3]);
        assert_eq!(turned(&mut turns, &waiting, 0), [0, 1, 3]);
    }

    #[test]
    fn small_ones_behind_large_ones_of_their_partition_are_not_in_the_way_of_anybody() {
        let mut turns = Turns::default();
        let waiting = [(0, HUGE), (0, SMALL)];
        assert_eq!(turned(&mut turns, &waiting, 0), [0, 1]);
        assert_eq!(turned(&mut turns, &waiting, 0), [0, 1]);
    }
}
