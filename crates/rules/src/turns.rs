//! Which of the batches that wait for the journal go with its next sync.
//!
//! One sync serves everyone who waits, and takes as long as its bytes take to reach the disk. While all who wait bring much,
//! the largest sync is the cheapest. Where somebody brings little as well, what the others bring is divided: a small
//! batch waits for a share of it, and not for all that a saturating connection may have under way. And after a sync with large
//! ones they rest, for as long as it took and longer the more they had, so that the disk and the cores are not theirs alone:
//! who brings little finds the journal free most of the time.
//!
//! ```text
//!   sync with large ones | their rest | behind the next small one | half as long again: behind nobody
//! ```
//!
//! When they have rested they go right behind a small one, if there is one before long: who sends one by one is silent when it has been
//! answered, and that is when large ones disturb least.
//!
//! A small one behind a large one of its own partition cannot pass by, because a partition keeps its order. A rest would only make it
//! wait as well, so while it waits there is none, unless others are about that do pass by.
//!
//! Where small ones wait for long all the same, rests are longer ([`crate::waits`]). And whatever its size, a batch that comes while
//! connections flood its partition ([`crate::floods`]) is one of many, and they are large together.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use crate::{
    ids::PartitionId,
    time::{Deadline, Now},
    waits::Waits,
};

/// A batch of at most so many bytes is small: it costs a sync nothing to speak of.
const SMALL_BYTES_MAX: u64 = 16 * 1024;

/// A sync of at most so many bytes is over as soon as the disk is free for it, and its batches are few: each of them is waited for.
const HURRY_BYTES_MAX: u64 = 64 * 1024;

/// What one sync covers of large batches while there are small ones, and one batch whatever its size.
const LARGE_BYTES_MAX: u64 = 512 * 1024;

/// Where the disk is slow it is more: so much for each millisecond that small ones usually wait, since what takes long there is the sync,
/// and not its bytes.
const LARGE_BYTES_PER_MS: u64 = 64 * 1024;

/// But no more than this: what takes long may just as well be what others have written.
const LARGE_BYTES_SLOW_MAX: u64 = 4 << 20;

/// There are small ones while one waits or is being synced, and for so long after the last one came or was safe: who sends one by one is
/// about to send another.
const SMALL_STAYS_MS: u64 = 50;

/// A partition has large ones for so many syncs after the last of them: whose large batches have just been acknowledged is about to send
/// more, if only after a rest of its own ([`crate::portions`]), and a small one that comes in between does not show that it can always pass by.
const LARGE_STAYS_SYNCS: u64 = 48;

/// For each so many bytes of large ones in a sync they rest as long as it took. What a large batch costs others is not its sync
/// alone: it is read, copied and written to its segment as well, and all of that stands in the way of a small one.
const REST_BYTES: u64 = 128 * 1024;

/// For a sync large ones rest no longer than this, and half of it for a small one to go before, however long it took: a disk that stood
/// still is no reason to stand still again.
const REST_MS_MAX: u64 = 20;

/// Where small ones wait for long all the same, they rest no longer than this: with the half of it, less than small ones stay.
const LONG_REST_MS_MAX: u64 = 32;

/// One batch that waits for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub partition: PartitionId,
    /// What it takes in the journal.
    pub bytes: u64,
    /// It came while connections flooded its partition, and of nobody who asks one by one.
    pub is_flood: bool,
}

impl Waiting {
    fn is_small(self) -> bool {
        is_small(self.bytes) && !self.is_flood
    }
}

/// The turns at one journal.
#[derive(Debug, Default)]
pub struct Turns {
    /// Small ones are about until then.
    small_until: Option<Deadline>,
    /// And those until then that pass by, since their partition has no large ones.
    passing_until: Option<Deadline>,
    /// How many syncs there were.
    syncs: u64,
    /// The partitions that have large ones, or had in the last few syncs, and before which sync they last waited.
    large_at: BTreeMap<PartitionId, u64>,
    /// When the sync began that is under way, and how many bytes of large ones it has, where small ones are about.
    large_since: Option<(u64, u64)>,
    /// It has small ones.
    has_small: bool,
    /// Large ones rest, while there are small ones.
    rest: Option<Rest>,
    /// Small ones went while large ones had rested and waited: it is their turn now.
    small_have_gone: bool,
    /// How long small ones have waited.
    waits: Waits,
}

/// How long large ones have no turn, while there are small ones.
#[derive(Clone, Copy, Debug)]
struct Rest {
    /// From then on they go behind a small one.
    until: Deadline,
    /// From then on they go.
    late: Deadline,
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
    /// This one has come, and waits.
    pub fn came(&mut self, one: Waiting, now: Now) {
        if one.is_small() {
            self.small_until = Some(now.after(SMALL_STAYS_MS));
        }
    }

    /// Small ones that had nothing of their partition before them have waited for so many microseconds, until they were safe and their
    /// partition knew.
    pub fn waited(&mut self, us: u64) {
        self.waits.waited(us);
    }

    /// Those whose turn it is, by their place among all who wait, in the order in which they came; somebody must wait. Batches of one
    /// partition keep their order.
    pub fn take(&mut self, waiting: impl Iterator<Item = Waiting> + Clone, now: Now) -> Turn {
        self.see(waiting.clone(), now);
        let is_about = |until: Option<Deadline>| until.is_some_and(|until| !until.is_due(now));
        let one_came = is_about(self.small_until);
        let one_waits = waiting.clone().any(Waiting::is_small);
        self.large_since = None;
        if !one_came && !one_waits {
            self.small_have_gone = false;
            return self.go(share(waiting, u64::MAX));
        }
        let all = share(waiting.clone(), self.large_bytes_max());
        if all.large_bytes == 0 {
            self.small_have_gone = false;
            return self.go(all);
        }
        let small = share(waiting, 0);
        let rest = self.rest.filter(|rest| !rest.late.is_due(now));
        let have_rested = rest.is_none_or(|rest| rest.until.is_due(now));
        // A small one that waits and cannot go is behind a large one of its partition.
        let is_behind = !small.has_small && one_waits;
        let rests_for_nobody = is_behind && !is_about(self.passing_until);
        let has_turn = self.small_have_gone || is_behind || rest.is_none() && !small.has_small;
        if rests_for_nobody || have_rested && has_turn {
            self.small_have_gone = false;
            self.large_since = Some((now.mono_ms, all.large_bytes));
            return self.go(all);
        }
        match rest {
            Some(rest) if !small.has_small => Turn::Rest(if is_behind { rest.until } else { rest.late }),
            _ => {
                self.small_have_gone = have_rested;
                self.go(small)
            }
        }
    }

    fn go(&mut self, Share { places, has_small, .. }: Share) -> Turn {
        self.has_small = has_small;
        Turn::Go(places)
    }

    fn large_bytes_max(&self) -> u64 {
        let on_a_slow_disk = self.waits.usual_ms().saturating_mul(LARGE_BYTES_PER_MS);
        on_a_slow_disk.clamp(LARGE_BYTES_MAX, LARGE_BYTES_SLOW_MAX)
    }

    /// Which partitions have large ones, and whether a small one of another waits.
    fn see(&mut self, waiting: impl Iterator<Item = Waiting>, now: Now) {
        self.large_at.retain(|_, at| self.syncs - *at <= LARGE_STAYS_SYNCS);
        for one in waiting {
            if !one.is_small() {
                self.large_at.insert(one.partition, self.syncs);
            } else if !self.large_at.contains_key(&one.partition) {
                self.passing_until = Some(now.after(SMALL_STAYS_MS));
            }
        }
    }

    /// Whether others should give way to a sync of so many bytes. One that is large takes its time anyway, and where all who come are
    /// many there is no end to them.
    #[must_use]
    pub fn is_hurried(bytes: u64) -> bool {
        bytes <= HURRY_BYTES_MAX
    }

    /// The sync of those who went last is over.
    pub fn synced(&mut self, now: Now) {
        self.syncs += 1;
        if mem::take(&mut self.has_small) {
            self.small_until = Some(now.after(SMALL_STAYS_MS));
        }
        if let Some((since, bytes)) = self.large_since.take() {
            let took_ms = now.mono_ms.saturating_sub(since).max(1);
            let rest_ms = took_ms.saturating_mul(bytes.div_ceil(REST_BYTES)).min(REST_MS_MAX);
            let rest_ms = self.waits.lengthened(rest_ms).min(LONG_REST_MS_MAX);
            let half_ms = rest_ms.div_ceil(2);
            self.rest = Some(Rest { until: now.after(rest_ms), late: now.after(rest_ms + half_ms) });
        }
    }
}

/// Whether a batch, or what a partition brings at once, costs a sync nothing to speak of.
#[must_use]
pub fn is_small(bytes: u64) -> bool {
    bytes <= SMALL_BYTES_MAX
}

/// Those who go with one sync.
struct Share {
    places: Vec<usize>,
    large_bytes: u64,
    has_small: bool,
}

/// All small ones, and of the large ones so many bytes; one at least when it is more than none.
fn share(waiting: impl Iterator<Item = Waiting>, large_bytes_max: u64) -> Share {
    let (mut large_bytes, mut has_small, mut behind) = (0, false, BTreeSet::new());
    let mut has_turn = |one: Waiting| {
        let (Waiting { partition, bytes, .. }, is_large) = (one, !one.is_small());
        let has_room = large_bytes + bytes <= large_bytes_max || (large_bytes == 0 && large_bytes_max > 0);
        if is_large && !has_room {
            behind.insert(partition);
        }
        if behind.contains(&partition) {
            return false;
        }
        large_bytes += if is_large { bytes } else { 0 };
        has_small |= !is_large;
        true
    };
    let places = waiting.enumerate().filter_map(|(at, one)| has_turn(one).then_some(at)).collect();
    Share { places, large_bytes, has_small }
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

    fn one(index: i32, bytes: u64) -> Waiting {
        Waiting { partition: partition(index), bytes, is_flood: false }
    }

    fn sizes(waiting: &[(i32, u64)]) -> impl Iterator<Item = Waiting> + Clone {
        waiting.iter().map(|(index, bytes)| one(*index, *bytes))
    }

    /// Whose turn it is at a journal where these have come, the last of them so many ms ago, and a small one has just gone.
    fn turns(waiting: &[(i32, u64)], later_ms: u64) -> Vec<usize> {
        let mut turns = Turns { small_have_gone: true, ..Turns::default() };
        waiting.iter().for_each(|(index, bytes)| turns.came(one(*index, *bytes), at(1000)));
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
    fn a_small_one_that_went_long_ago_is_nobody_to_go_behind() {
        let mut turns = after_one_of(LARGE);
        let both = [(0, HUGE), (1, SMALL)];
        assert_eq!(turns.take(sizes(&both), at(1012)), Turn::Go(vec![1]));
        let much_later = at(1012 + SMALL_STAYS_MS);
        turns.synced(much_later);
        assert_eq!(turns.take(sizes(&[(0, HUGE)]), much_later), Turn::Go(vec![0]));
        turns.synced(much_later);
        assert_eq!(turns.take(sizes(&both), much_later), Turn::Go(vec![1]));
    }

    #[test]
    fn small_ones_are_remembered_for_a_while() {
        let mut turns = Turns::default();
        turns.came(one(1, SMALL), at(1000));
        let huge = [(0, HUGE), (1, HUGE)];
        assert_eq!(turns.take(sizes(&huge), at(1000 + SMALL_STAYS_MS - 1)), Turn::Go(vec![0]));
        assert_eq!(turns.take(sizes(&huge), at(1000 + SMALL_STAYS_MS)), Turn::Go(vec![0, 1]));
    }

    #[test]
    fn a_small_one_that_waits_is_not_forgotten_however_long_the_sync_takes() {
        assert_eq!(turns(&[(0, HUGE), (1, HUGE), (2, SMALL)], 10 * SMALL_STAYS_MS), [0, 2]);
    }

    #[test]
    fn a_small_one_is_not_forgotten_while_it_is_synced_however_long_that_takes() {
        let mut turns = Turns::default();
        turns.came(one(2, SMALL), at(1000));
        let huge = [(0, HUGE), (1, HUGE)];
        assert_eq!(turns.take(sizes(&[(2, SMALL)]), at(1000)), Turn::Go(vec![0]));
        let slow = 1000 + 10 * SMALL_STAYS_MS;
        turns.synced(at(slow));
        assert_eq!(turns.take(sizes(&huge), at(slow + SMALL_STAYS_MS - 1)), Turn::Go(vec![0]));
        turns.synced(at(slow + SMALL_STAYS_MS));
        assert_eq!(turns.take(sizes(&huge), at(slow + SMALL_STAYS_MS)), Turn::Go(vec![0, 1]), "it has left");
    }

    #[test]
    fn on_a_slow_disk_a_sync_has_more_of_large_ones() {
        let gone = |waits_ms: u64| {
            let mut turns = Turns::default();
            turns.waited(1000 * waits_ms);
            turns.came(one(1, SMALL), at(1000));
            match turns.take([one(0, LARGE); 100].into_iter(), at(1000)) {
                Turn::Go(places) => places.len() as u64 * LARGE,
                Turn::Rest(until) => panic!("they rest until {until:?}"),
            }
        };
        assert_eq!(gone(1), 2 * LARGE);
        assert_eq!(gone(21), 6 * LARGE, "what the disk writes in the time of a sync");
        assert_eq!(gone(1000), LARGE_BYTES_SLOW_MAX / LARGE * LARGE);
    }

    /// Turns at a journal whose sync of a large batch took from 1,000 to 1,004; a small one of another partition had gone with it.
    fn after_one_of(bytes: u64) -> Turns {
        let mut turns = Turns { small_have_gone: true, ..Turns::default() };
        turns.came(one(1, SMALL), at(1000));
        assert_eq!(turns.take(sizes(&[(0, bytes), (1, SMALL)]), at(1000)), Turn::Go(vec![0, 1]));
        turns.synced(at(1004));
        turns
    }

    #[test]
    fn the_more_they_had_the_longer_they_rest() {
        let rest = |bytes| after_one_of(bytes).take(sizes(&[(0, bytes)]), at(1004));
        assert_eq!(rest(LARGE / 2), Turn::Rest(Deadline(1004 + 4 + 2)));
        assert_eq!(rest(LARGE), Turn::Rest(Deadline(1004 + 8 + 4)));
        assert_eq!(rest(2 * LARGE), Turn::Rest(Deadline(1004 + 16 + 8)));
    }

    #[test]
    fn large_ones_rest_and_small_ones_do_not() {
        let mut turns = after_one_of(LARGE);
        assert_eq!(turns.take(sizes(&[(0, HUGE), (1, SMALL)]), at(1004)), Turn::Go(vec![1]));
        turns.synced(at(1005));
        assert_eq!(turns.take(sizes(&[(0, HUGE)]), at(1015)), Turn::Rest(Deadline(1016)));
        assert_eq!(
            turns.take(sizes(&[(0, HUGE)]), at(1016)),
            Turn::Go(vec![0]),
            "whoever comes, or does not"
        );
    }

    #[test]
    fn where_small_ones_wait_for_long_the_rest_is_longer() {
        let rest_after = |waits: &[u64], bytes| {
            let mut turns = after_one_of(LARGE);
            waits.iter().for_each(|us| turns.waited(*us));
            assert_eq!(turns.take(sizes(&[(1, SMALL), (0, bytes)]), at(1016)), Turn::Go(vec![0]));
            assert_eq!(turns.take(sizes(&[(1, SMALL), (0, bytes)]), at(1016)), Turn::Go(vec![0, 1]));
            turns.synced(at(1020));
            turns.take(sizes(&[(0, HUGE)]), at(1020))
        };
        let slow = [250, 5000, 5000, 5000, 5000, 5000];
        assert_eq!(rest_after(&[], LARGE), Turn::Rest(Deadline(1020 + 8 + 4)));
        assert_eq!(rest_after(&slow, LARGE), Turn::Rest(Deadline(1020 + 13 + 7)));
        assert_eq!(rest_after(&slow, HUGE), Turn::Rest(Deadline(1020 + 32 + 16)));
        let many = [slow; 10].concat();
        assert_eq!(
            rest_after(&many, HUGE),
            Turn::Rest(Deadline(1020 + LONG_REST_MS_MAX + LONG_REST_MS_MAX / 2))
        );
    }

    #[test]
    fn small_ones_of_a_flood_are_large_together() {
        let mut turns = Turns::default();
        let of_flood = Waiting { is_flood: true, ..one(0, SMALL) };
        let flood = || std::iter::repeat_n(of_flood, 100);
        turns.came(of_flood, at(1000));
        assert_eq!(turns.take(flood(), at(1000)), Turn::Go((0..100).collect()), "alone it waits for nobody");
        turns.synced(at(1001));
        assert_eq!(turns.take(flood(), at(1001)), Turn::Go((0..100).collect()));
        turns.synced(at(1002));
        turns.came(one(1, SMALL), at(1002));
        let with_another = || flood().chain([one(1, SMALL)]);
        assert_eq!(turns.take(with_another(), at(1002)), Turn::Go(vec![100]));
        turns.synced(at(1003));
        assert_eq!(
            turns.take(with_another(), at(1003)),
            Turn::Go((0..=100).collect()),
            "behind it, with the next"
        );
        turns.synced(at(1004));
        assert_eq!(turns.take(flood(), at(1004)), Turn::Rest(Deadline(1004 + 1 + 1)));
    }

    #[test]
    fn large_ones_that_have_rested_go_behind_a_small_one() {
        let mut turns = after_one_of(LARGE);
        let both = [(0, HUGE), (1, SMALL)];
        assert_eq!(turns.take(sizes(&both), at(1011)), Turn::Go(vec![1]));
        turns.synced(at(1012));
        assert_eq!(turns.take(sizes(&[(0, HUGE)]), at(1012)), Turn::Rest(Deadline(1016)), "it was too early");
        assert_eq!(turns.take(sizes(&both), at(1012)), Turn::Go(vec![1]));
        turns.synced(at(1013));
        assert_eq!(turns.take(sizes(&[(0, HUGE)]), at(1013)), Turn::Go(vec![0]));
        turns.synced(at(1014));
        assert_eq!(
            turns.take(sizes(&[(0, HUGE)]), at(1014)),
            Turn::Rest(Deadline(1014 + 8 + 4)),
            "they rest again"
        );
    }

    #[test]
    fn small_ones_go_first_once_when_large_ones_have_rested() {
        let mut turns = after_one_of(LARGE);
        let both = [(0, HUGE), (1, SMALL)];
        assert_eq!(turns.take(sizes(&both), at(1016)), Turn::Go(vec![1]));
        turns.synced(at(1017));
        assert_eq!(turns.take(sizes(&both), at(1017)), Turn::Go(vec![0, 1]), "not twice, whoever comes");
    }

    #[test]
    fn a_small_one_behind_a_large_one_of_its_partition_rests_with_it_for_the_sake_of_others() {
        let mut turns = after_one_of(LARGE);
        assert_eq!(turns.take(sizes(&[(0, HUGE), (0, SMALL)]), at(1005)), Turn::Rest(Deadline(1012)));
        assert_eq!(
            turns.take(sizes(&[(0, HUGE), (0, SMALL)]), at(1012)),
            Turn::Go(vec![0, 1]),
            "and not longer"
        );
    }

    /// Turns at a journal that has only a flood and a small one behind it, on partition 0, at 1,000; the flood was synced last.
    fn behind_a_flood() -> Turns {
        let mut turns = Turns::default();
        for from in [980, 990] {
            turns.came(one(1, SMALL), at(from));
            assert_eq!(turns.take(sizes(&[(0, HUGE), (0, SMALL)]), at(from)), Turn::Go(vec![0, 1]));
            turns.synced(at(from + 10));
        }
        turns
    }

    const RESTED: Deadline = Deadline(1000 + REST_MS_MAX);
    const LATE: Deadline = Deadline(1000 + REST_MS_MAX + REST_MS_MAX / 2);

    #[test]
    fn nobody_rests_for_a_small_one_that_waits_behind_a_large_one_of_its_partition() {
        let mut turns = behind_a_flood();
        assert_eq!(
            turns.take(sizes(&[(0, HUGE)]), at(1001)),
            Turn::Rest(LATE),
            "it does not wait, and may come first"
        );
        assert_eq!(turns.take(sizes(&[(0, HUGE), (0, SMALL)]), at(1002)), Turn::Go(vec![0, 1]));
    }

    #[test]
    fn one_that_comes_before_the_flood_is_there_again_does_not_show_that_it_can_pass_by() {
        let mut turns = behind_a_flood();
        assert_eq!(turns.take(sizes(&[(0, SMALL)]), at(1001)), Turn::Go(vec![0]));
        turns.synced(at(1002));
        assert_eq!(turns.take(sizes(&[(0, HUGE), (0, SMALL)]), at(1003)), Turn::Go(vec![0, 1]));
    }

    #[test]
    fn one_of_another_partition_is_rested_for_also_while_one_waits_behind() {
        let mut turns = behind_a_flood();
        assert_eq!(turns.take(sizes(&[(0, HUGE), (0, SMALL), (1, SMALL)]), at(1001)), Turn::Go(vec![2]));
        turns.synced(at(1002));
        let flood = [(0, HUGE), (0, SMALL)];
        assert_eq!(turns.take(sizes(&flood), at(1003)), Turn::Rest(RESTED));
        assert_eq!(turns.take(sizes(&flood), at(RESTED.0)), Turn::Go(vec![0, 1]));
        turns.synced(at(1049));
        assert_eq!(turns.take(sizes(&flood), at(1050)), Turn::Rest(Deadline(1049 + REST_MS_MAX)));
        assert_eq!(
            turns.take(sizes(&flood), at(1001 + SMALL_STAYS_MS)),
            Turn::Go(vec![0, 1]),
            "until it has gone"
        );
    }

    #[test]
    fn one_that_waited_for_a_slow_sync_is_about_when_it_is_over() {
        let mut turns = behind_a_flood();
        turns.came(one(1, SMALL), at(1000));
        let slow = 1000 + 10 * SMALL_STAYS_MS;
        assert_eq!(turns.take(sizes(&[(0, HUGE), (0, SMALL), (1, SMALL)]), at(slow)), Turn::Go(vec![2]));
        turns.synced(at(slow + 1));
        let flood = [(0, HUGE), (0, SMALL)];
        assert_eq!(turns.take(sizes(&flood), at(slow + 1)), Turn::Go(vec![0, 1]), "behind a small one");
        turns.synced(at(slow + 2));
        let rested = Turn::Rest(Deadline(slow + 2 + 8));
        assert_eq!(turns.take(sizes(&flood), at(slow + 3)), rested, "it is about to send another");
    }

    #[test]
    fn a_partition_had_large_ones_for_a_few_syncs_and_not_for_ever() {
        let mut turns = behind_a_flood();
        let last = 1000 + LARGE_STAYS_SYNCS;
        for now in 1001..=last {
            assert_eq!(turns.take(sizes(&[(0, SMALL)]), at(now)), Turn::Go(vec![0]));
            assert_eq!(turns.passing_until, None);
            turns.synced(at(now));
        }
        turns.take(sizes(&[(0, SMALL)]), at(last + 1));
        assert_eq!(turns.passing_until, Some(Deadline(last + 1 + SMALL_STAYS_MS)));
        assert!(turns.large_at.is_empty());
    }

    #[test]
    fn nobody_rests_where_no_small_one_has_come_for_a_while() {
        let mut turns = after_one_of(LARGE);
        turns.synced(at(1004));
        assert_eq!(turns.take(sizes(&[(0, HUGE)]), at(1000 + SMALL_STAYS_MS)), Turn::Go(vec![0]));
    }

    #[test]
    fn a_disk_that_stood_still_is_not_waited_for_once_more() {
        let mut turns = Turns { small_have_gone: true, ..Turns::default() };
        let both = [(0, HUGE), (0, HUGE), (1, SMALL)];
        turns.take(sizes(&both), at(1000));
        turns.synced(at(9000));
        let rested_ms = 9000 + REST_MS_MAX + REST_MS_MAX / 2;
        let huge_behind_a_small_one = [(1, SMALL), (0, HUGE)];
        turns.came(one(1, SMALL), at(9000));
        assert_eq!(turns.take(sizes(&huge_behind_a_small_one), at(9000)), Turn::Go(vec![0]));
        turns.synced(at(9001));
        assert_eq!(turns.take(sizes(&[(0, HUGE)]), at(9001)), Turn::Rest(Deadline(rested_ms)));
        assert_eq!(turns.take(sizes(&[(0, HUGE)]), at(rested_ms)), Turn::Go(vec![0]));
    }
}
