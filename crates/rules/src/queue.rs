//! What waits for the journal, each partition's in the order in which it came; of each partition some are at the front, and the rest
//! behind them.
//!
//! A crowd that saturates the disk has tens of thousands of batches under way. Whoever decides on the next sync looks at those at the
//! front alone, else each sync would cost as much as all of them.

use std::collections::{BTreeMap, VecDeque};

use crate::{ids::PartitionId, turns::Waiting};

/// So many batches of one partition are at the front. Each sync looks at those of all partitions a few times: a thousand take some
/// hundredths of a millisecond.
const FRONT_MAX: usize = 1024;

/// The queue; `T` is what is to be done for one.
#[derive(Debug)]
pub struct Queue<T> {
    front: VecDeque<Waiting>,
    /// Of those at the front, in the same order.
    tasks: VecDeque<T>,
    /// How many each partition has there.
    at_front: BTreeMap<PartitionId, usize>,
    behind: BTreeMap<PartitionId, VecDeque<(Waiting, T)>>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let (front, tasks) = (VecDeque::new(), VecDeque::new());
        Self { front, tasks, at_front: BTreeMap::new(), behind: BTreeMap::new() }
    }
}

impl<T> Queue<T> {
    /// One more waits.
    pub fn push(&mut self, one: Waiting, task: T) {
        if self.is_full(one.partition) || self.behind.contains_key(&one.partition) {
            self.behind.entry(one.partition).or_default().push_back((one, task));
        } else {
            self.bring_to_front(one, task);
        }
    }

    fn is_full(&self, partition: PartitionId) -> bool {
        self.at_front.get(&partition).is_some_and(|count| *count >= FRONT_MAX)
    }

    fn bring_to_front(&mut self, one: Waiting, task: T) {
        *self.at_front.entry(one.partition).or_default() += 1;
        self.front.push_back(one);
        self.tasks.push_back(task);
    }

    /// Those at the front, by whose places the others are told.
    pub fn front(&self) -> impl Iterator<Item = Waiting> + Clone {
        self.front.iter().copied()
    }

    /// What is to be done for the one at this place.
    ///
    /// # Panics
    /// Where nobody is at this place.
    #[must_use]
    pub fn task(&self, place: usize) -> &T {
        &self.tasks[place]
    }

    /// Those at these places, which rise, wait no more. Of their partitions others come to the front.
    pub fn leave(&mut self, places: &[usize]) -> Vec<T> {
        let mut places = places.iter().copied().peekable();
        self.sift(|place, _, _| places.next_if_eq(&place).is_some())
    }

    /// Those of this partition that are as `is_done` says wait no more.
    pub fn leave_of(&mut self, partition: PartitionId, is_done: impl Fn(&T) -> bool) {
        if let Some(mut behind) = self.behind.remove(&partition) {
            behind.retain(|(_, task)| !is_done(task));
            if !behind.is_empty() {
                self.behind.insert(partition, behind);
            }
        }
        self.sift(|_, one, task| one.partition == partition && is_done(task));
    }

    fn sift(&mut self, mut leaves: impl FnMut(usize, Waiting, &T) -> bool) -> Vec<T> {
        let mut left = Vec::new();
        let all = self.front.len();
        let mut partitions = Vec::new();
        for place in 0..all {
            let (Some(one), Some(task)) = (self.front.pop_front(), self.tasks.pop_front()) else { break };
            if !leaves(place, one, &task) {
                self.front.push_back(one);
                self.tasks.push_back(task);
                continue;
            }
            if let Some(count) = self.at_front.get_mut(&one.partition) {
                *count -= 1;
            }
            if partitions.last() != Some(&one.partition) {
                partitions.push(one.partition);
            }
            left.push(task);
        }
        partitions.into_iter().for_each(|partition| self.fill(partition));
        left
    }

    /// As many as there is room for come to the front.
    fn fill(&mut self, partition: PartitionId) {
        let mut behind = self.behind.remove(&partition).unwrap_or_default();
        while !self.is_full(partition)
            && let Some((one, task)) = behind.pop_front()
        {
            self.bring_to_front(one, task);
        }
        if !behind.is_empty() {
            self.behind.insert(partition, behind);
        } else if self.at_front.get(&partition).is_some_and(|count| *count == 0) {
            self.at_front.remove(&partition);
        }
    }

    /// Nobody waits any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// True when nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.front.is_empty()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.front.len() + self.behind.values().map(VecDeque::len).sum::<usize>()
    }

    /// The partitions of all who wait.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.at_front.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::TopicId;

    fn partition(index: i32) -> PartitionId {
        PartitionId { topic: TopicId([1; 16]), index }
    }

    fn one(index: i32, bytes: u64) -> Waiting {
        Waiting { partition: partition(index), bytes, is_flood: false }
    }

    fn queue(of: impl IntoIterator<Item = (i32, u64)>) -> Queue<u32> {
        let mut queue = Queue::default();
        (0..).zip(of).for_each(|(task, (index, bytes))| queue.push(one(index, bytes), task));
        queue
    }

    #[test]
    fn of_each_partition_so_many_are_at_the_front() {
        let queue = queue(
            (0..2 * FRONT_MAX).flat_map(|n| [(0, 1), (1, 1)].into_iter().take(1 + usize::from(n < 10))),
        );
        let count = |index| queue.front().filter(|one| one.partition == partition(index)).count();
        assert_eq!((count(0), count(1), queue.len()), (FRONT_MAX, 10, 2 * FRONT_MAX + 10));
    }

    #[test]
    fn who_leaves_makes_room_for_the_next_of_the_same_partition() {
        let first = u32::try_from(FRONT_MAX).unwrap();
        let mut queue = queue([(0, 1)].repeat(FRONT_MAX + 3).into_iter().chain([(1, 1)]));
        assert_eq!(queue.leave(&[0, 2]), [0, 2]);
        assert_eq!((queue.front().count(), queue.len()), (FRONT_MAX + 1, FRONT_MAX + 2));
        assert_eq!(
            [FRONT_MAX - 2, FRONT_MAX - 1, FRONT_MAX].map(|at| *queue.task(at)),
            [first + 3, first, first + 1]
        );
        assert_eq!(queue.leave(&(0..=FRONT_MAX).collect::<Vec<_>>()).len(), FRONT_MAX + 1);
        assert_eq!(
            (queue.leave(&[0]), queue.is_empty(), queue.partitions().count()),
            (vec![first + 2], true, 0)
        );
    }

    #[test]
    fn those_that_are_done_leave_wherever_they_are() {
        let all = u32::try_from(FRONT_MAX).unwrap() + 2;
        let mut queue = queue([(0, 1)].repeat(FRONT_MAX + 2).into_iter().chain([(1, 1)]));
        queue.leave_of(partition(0), |task| *task < all - 1);
        assert_eq!((*queue.task(0), *queue.task(1), queue.len()), (all, all - 1, 2));
        queue.leave_of(partition(0), |_| true);
        assert_eq!(queue.partitions().collect::<Vec<_>>(), [partition(1)]);
        queue.clear();
        assert_eq!((queue.len(), queue.is_empty()), (0, true));
    }

    /// What is tried, and what a plain list makes of it.
    fn places(picked: u16, of: usize) -> Vec<usize> {
        (0..of.min(16)).filter(|place| picked >> place & 1 == 1).collect()
    }

    proptest! {
        /// Whoever comes and leaves, from wherever: each partition keeps its order, and nobody is lost.
        #[test]
        fn everybody_is_in_the_order_of_their_partition(
            steps in prop::collection::vec((0..3_i32, 1..2 * FRONT_MAX, any::<u16>(), any::<bool>()), 1..20)
        ) {
            let (mut queue, mut came, mut next) = (Queue::default(), [const { Vec::new() }; 3], 0_u32);
            for (index, many, picked, settles) in steps {
                for _ in 0..many {
                    queue.push(one(index, 1), (index, next));
                    came[usize::try_from(index).unwrap()].push(next);
                    next += 1;
                }
                for (of, number) in queue.leave(&places(picked, queue.front().count())) {
                    came[usize::try_from(of).unwrap()].retain(|waits| *waits != number);
                }
                if settles {
                    let upto = next - u32::from(picked) % next;
                    queue.leave_of(partition(index), |(_, number)| *number < upto);
                    came[usize::try_from(index).unwrap()].retain(|waits| *waits >= upto);
                }
                prop_assert_eq!(queue.len(), came.iter().map(Vec::len).sum::<usize>());
                let mut at_front = [const { Vec::new() }; 3];
                for (place, one) in queue.front().enumerate() {
                    let (of, number) = *queue.task(place);
                    prop_assert_eq!(partition(of), one.partition);
                    at_front[usize::try_from(of).unwrap()].push(number);
                }
                for (at_front, waits) in at_front.iter().zip(&came) {
                    prop_assert_eq!(&at_front[..], &waits[..waits.len().min(FRONT_MAX)]);
                }
            }
        }
    }
}
