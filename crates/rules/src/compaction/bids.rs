//! Which partition is compacted next: few at a time, the dirtiest first.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::PartitionId;

/// Partitions that want to be compacted, and those that are being.
#[derive(Clone, Debug, Default)]
pub struct Bids {
    waiting: BTreeMap<PartitionId, f64>,
    running: BTreeSet<PartitionId>,
}

impl Bids {
    /// Nobody wants anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A partition wants to be compacted; so much of it is dirty, from 0 to 1. Its last word counts.
    pub fn bid(&mut self, partition: PartitionId, ratio: f64) {
        if !self.running.contains(&partition) {
            self.waiting.insert(partition, ratio);
        }
    }

    /// Who is to begin now, if `running_max` at a time leave room.
    pub fn next(&mut self, running_max: usize) -> Option<PartitionId> {
        if self.running.len() >= running_max {
            return None;
        }
        let dirtiest =
            self.waiting.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(partition, _)| *partition)?;
        self.waiting.remove(&dirtiest);
        self.running.insert(dirtiest);
        Some(dirtiest)
    }

    /// A partition is done, or has given up.
    pub fn ended(&mut self, partition: PartitionId) {
        self.running.remove(&partition);
    }

    /// How many are being compacted.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// The largest share that is dirty, of those that wait.
    #[must_use]
    pub fn dirtiest(&self) -> f64 {
        self.waiting.values().copied().fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TopicId;

    fn partition(index: i32) -> PartitionId {
        PartitionId { topic: TopicId::ZERO, index }
    }

    #[test]
    fn the_dirtiest_begins_and_the_others_wait_for_it() {
        let mut bids = Bids::new();
        for (index, ratio) in [(0, 0.5), (1, 0.9), (2, 0.7)] {
            bids.bid(partition(index), ratio);
        }
        assert_eq!(bids.next(1), Some(partition(1)));
        assert_eq!(bids.next(1), None);
        bids.bid(partition(1), 1.0);
        bids.bid(partition(0), 0.8);
        bids.ended(partition(1));
        assert_eq!(
            bids.next(1),
            Some(partition(0)),
            "who is being compacted does not wait, and the last word counts"
        );
        assert_eq!(bids.next(2), Some(partition(2)));
        assert_eq!((bids.next(9), bids.running()), (None, 2));
    }
}
