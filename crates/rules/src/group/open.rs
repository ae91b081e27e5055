//! Which groups have offsets in which transactions: whom to tell when one ends.

use std::{collections::BTreeMap, sync::Arc};

use crate::ids::ProducerId;

/// The transactions that groups of one partition of `__consumer_offsets` have offsets in.
///
/// What is sent to the log is noted before it goes there, so that a marker that follows it at once finds it noted.
#[derive(Debug, Default)]
pub struct OpenTransactions {
    groups: BTreeMap<ProducerId, BTreeMap<Arc<str>, Standing>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// Batches on their way into the log.
    on_their_way: usize,
    /// There are batches in the log that no marker has ended.
    has_written: bool,
}

impl OpenTransactions {
    /// Offsets of a group are on their way into the log, as part of a producer's transaction.
    pub fn sent(&mut self, producer: ProducerId, group: &Arc<str>) {
        self.of(producer, group).on_their_way += 1;
    }

    /// They are in the log, or will never be.
    pub fn arrived(&mut self, producer: ProducerId, group: &Arc<str>, is_written: bool) {
        let standing = self.of(producer, group);
        standing.on_their_way = standing.on_their_way.saturating_sub(1);
        standing.has_written |= is_written;
        self.forget_done(producer);
    }

    /// They were found in the log.
    pub fn found(&mut self, producer: ProducerId, group: &Arc<str>) {
        self.of(producer, group).has_written = true;
    }

    /// A marker has ended the producer's transaction: the groups that have to know.
    pub fn ended(&mut self, producer: ProducerId) -> Vec<Arc<str>> {
        let Some(groups) = self.groups.get_mut(&producer) else { return Vec::new() };
        let concerned = groups.iter().filter(|(_, standing)| standing.has_written);
        let concerned = concerned.map(|(group, _)| group.clone()).collect();
        groups.values_mut().for_each(|standing| standing.has_written = false);
        self.forget_done(producer);
        concerned
    }

    /// Takes in what another knows.
    pub fn merge(&mut self, other: OpenTransactions) {
        for (producer, groups) in other.groups {
            groups.keys().for_each(|group| self.found(producer, group));
        }
    }

    fn of(&mut self, producer: ProducerId, group: &Arc<str>) -> &mut Standing {
        self.groups.entry(producer).or_default().entry(group.clone()).or_default()
    }

    fn forget_done(&mut self, producer: ProducerId) {
        let Some(groups) = self.groups.get_mut(&producer) else { return };
        groups.retain(|_, standing| standing.on_their_way > 0 || standing.has_written);
        if groups.is_empty() {
            self.groups.remove(&producer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: ProducerId = ProducerId(1);
    const BOB: ProducerId = ProducerId(2);

    fn group(name: &str) -> Arc<str> {
        name.into()
    }

    fn noted(open: &OpenTransactions) -> Vec<(ProducerId, Arc<str>)> {
        let each = open.groups.iter();
        each.flat_map(|(producer, groups)| groups.keys().map(|group| (*producer, group.clone()))).collect()
    }

    #[test]
    fn a_marker_concerns_the_groups_whose_offsets_are_in_the_log() {
        let mut open = OpenTransactions::default();
        for (producer, name) in [(ALICE, "a"), (ALICE, "b"), (BOB, "a")] {
            open.sent(producer, &group(name));
            open.arrived(producer, &group(name), true);
        }
        assert_eq!(open.ended(ALICE), [group("a"), group("b")]);
        assert_eq!(open.ended(ALICE), [], "it has ended");
        assert_eq!(noted(&open), [(BOB, group("a"))]);
    }

    #[test]
    fn what_is_on_its_way_belongs_to_the_next_transaction() {
        let mut open = OpenTransactions::default();
        open.sent(ALICE, &group("a"));
        assert_eq!(open.ended(ALICE), [], "the marker stands before it");
        open.arrived(ALICE, &group("a"), true);
        assert_eq!(open.ended(ALICE), [group("a")]);
    }

    #[test]
    fn what_was_not_written_is_forgotten() {
        let mut open = OpenTransactions::default();
        open.sent(ALICE, &group("a"));
        open.arrived(ALICE, &group("a"), false);
        assert_eq!(noted(&open), []);
        open.found(BOB, &group("b"));
        let mut other = OpenTransactions::default();
        other.found(ALICE, &group("c"));
        open.merge(other);
        assert_eq!(noted(&open), [(ALICE, group("c")), (BOB, group("b"))]);
    }
}
