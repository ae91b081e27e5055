//! Whose checkpoint a round brings: who has little to sync waits for a turn.
//!
//! A checkpoint costs several waits for the disk, however little there is to sync. What the journal holds as well is safe
//! without, and a recovery reads so little in no time: a round takes only some of those, so that a thousand partitions with a
//! record each neither keep an idle machine busy nor stand in anybody's way all at once.

use crate::ids::PartitionId;

/// Bytes in a log's files that are not synced yet, of which fewer are little, where the journal has them too.
pub const LITTLE_BYTES: u64 = 64 * 1024;

/// How many partitions have their turn in one round, at least. A node with no more than that has all of them in each.
pub const TURNS_A_ROUND: usize = 100;

/// Of more partitions than ten times that, one in so many: each has its turn within so many rounds.
pub const ROUNDS_MAX: usize = 10;

/// Goes round all partitions, some in each round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rounds {
    /// Who had the last turn.
    last: Option<PartitionId>,
}

impl Rounds {
    /// The next round over `all`, which are in order: each partition once, and whether it is its turn.
    pub fn next(&mut self, all: &[PartitionId]) -> impl Iterator<Item = (PartitionId, bool)> {
        let from = all.partition_point(|one| Some(*one) <= self.last);
        let (before, behind) = all.split_at(from);
        let in_turn = || behind.iter().chain(before).copied();
        let turns = TURNS_A_ROUND.max(all.len().div_ceil(ROUNDS_MAX));
        self.last = in_turn().take(turns).last();
        in_turn().enumerate().map(move |(at, one)| (one, at < turns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TopicId;

    fn partitions(n: i32) -> Vec<PartitionId> {
        (0..n).map(|index| PartitionId { topic: TopicId([7; 16]), index }).collect()
    }

    fn turns(rounds: &mut Rounds, all: &[PartitionId]) -> Vec<i32> {
        let round: Vec<_> = rounds.next(all).collect();
        let mut seen: Vec<_> = round.iter().map(|(one, _)| *one).collect();
        seen.sort_unstable();
        assert_eq!(seen, all, "a round asks each partition once");
        round.iter().filter(|(_, is_turn)| *is_turn).map(|(one, _)| one.index).collect()
    }

    #[test]
    fn few_partitions_all_have_their_turn_in_each_round() {
        let (mut rounds, all) = (Rounds::default(), partitions(TURNS_A_ROUND as i32));
        for _ in 0..3 {
            assert_eq!(turns(&mut rounds, &all).len(), TURNS_A_ROUND);
        }
        assert_eq!(turns(&mut rounds, &[]), [0; 0]);
        assert_eq!(turns(&mut rounds, &all[..1]), [0]);
    }

    #[test]
    fn of_many_each_has_a_turn_once_in_so_many_rounds() {
        let (mut rounds, all) = (Rounds::default(), partitions(4 * TURNS_A_ROUND as i32));
        let mut had: Vec<_> = (0..4).flat_map(|_| turns(&mut rounds, &all)).collect();
        had.sort_unstable();
        assert_eq!(had, (0..all.len() as i32).collect::<Vec<_>>());
    }

    #[test]
    fn of_very_many_each_has_a_turn_within_ten_rounds() {
        let (mut rounds, all) = (Rounds::default(), partitions(4_001));
        let had: std::collections::BTreeSet<_> = (0..10).flat_map(|_| turns(&mut rounds, &all)).collect();
        assert_eq!(had.len(), all.len());
    }

    #[test]
    fn who_comes_or_goes_between_two_rounds_takes_nobodys_turn() {
        let (mut rounds, all) = (Rounds::default(), partitions(300));
        assert_eq!(turns(&mut rounds, &all).last(), Some(&99));
        let fewer: Vec<_> = all.into_iter().filter(|one| one.index != 99 && one.index >= 50).collect();
        assert_eq!(turns(&mut rounds, &fewer)[..2], [100, 101]);
        assert_eq!(turns(&mut rounds, &fewer)[98..], [298, 299]);
        assert_eq!(turns(&mut rounds, &fewer)[..3], [50, 51, 52]);
    }
}
