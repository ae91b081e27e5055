//! What is written and has yet to become safe: handed to the journal, and how long that takes.

use std::mem;

use ottla_rules::{batch::Stamped, floods::Manner, ids::Offset, turns};
use ottla_store::journal::entry::ENTRY_HEADER_BYTES;

/// Between the log and the journal of one partition.
#[derive(Default)]
pub(super) struct Hardening {
    /// Written, and not yet given to the journal.
    waiting: Vec<Stamped>,
    /// Since the last lot an append came of a connection that floods.
    has_flood: bool,
    /// And one of a client that asks one by one.
    has_one_by_one: bool,
    /// Where the last lot ends, while it is not safe.
    under_way: Option<Offset>,
    /// When that lot went to the journal, in microseconds, if its wait is measured.
    since_us: Option<u64>,
    /// How long the last measured lot waited, in microseconds, until the journal has been told.
    waited_us: Option<u64>,
}

/// What goes to the journal at once.
pub(super) struct Lot {
    pub(super) batches: Vec<Stamped>,
    /// It came while connections flooded the partition, and of nobody who asks one by one.
    pub(super) is_flood: bool,
    /// How long small ones have waited.
    pub(super) waited_us: Option<u64>,
}

impl Hardening {
    /// An append has come, of a client that appends like this.
    pub(super) fn came(&mut self, manner: Manner) {
        self.has_flood |= manner == Manner::Flood;
        self.has_one_by_one |= manner == Manner::OneByOne;
    }

    /// These are written.
    pub(super) fn written(&mut self, batches: impl Iterator<Item = Stamped>) {
        self.waiting.extend(batches);
    }

    /// Those up to here are safe in another way.
    pub(super) fn skip(&mut self, upto: Offset) {
        self.waiting.retain(|batch| batch.end > upto);
    }

    /// What the journal is to have now, up to here; `now_us` is asked for a clock. A lot is measured if it is small and no other is
    /// under way: what waits behind others of its partition says nothing about the journal.
    pub(super) fn lot(&mut self, upto: Offset, now_us: impl FnOnce() -> u64) -> Lot {
        let count = self.waiting.partition_point(|batch| batch.end <= upto);
        let batches: Vec<_> = self.waiting.drain(..count).collect();
        let (has_flood, has_one_by_one) =
            (mem::take(&mut self.has_flood), mem::take(&mut self.has_one_by_one));
        let is_flood = has_flood && !has_one_by_one;
        if !batches.is_empty() {
            let bytes: usize = batches.iter().map(|batch| ENTRY_HEADER_BYTES + batch.bytes.len()).sum();
            let is_alone = self.under_way.replace(upto).is_none();
            let is_measured = is_alone && !is_flood && turns::is_small(bytes as u64);
            self.since_us = is_measured.then(now_us);
        }
        Lot { batches, is_flood, waited_us: self.waited_us.take() }
    }

    /// Everything below `end` is safe.
    pub(super) fn persisted(&mut self, end: Offset, now_us: impl FnOnce() -> u64) {
        if self.under_way.take_if(|upto| *upto <= end).is_some() {
            self.waited_us = self.since_us.take().map(|since_us| now_us().saturating_sub(since_us));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ottla_rules::ids::LeaderEpoch;

    use super::*;

    const SMALL: usize = 300;
    const LARGE: usize = 64 * 1024;

    fn batch(at: i64, bytes: usize) -> Stamped {
        let bytes = Bytes::from(vec![0; bytes]);
        let (base, end) = (Offset(at), Offset(at + 1));
        Stamped { bytes, base, end, max_timestamp: 0, leader_epoch: LeaderEpoch(0) }
    }

    /// One batch of so many bytes, at this offset, goes to the journal at this moment: how long the last one waited.
    fn send(hardening: &mut Hardening, at: i64, bytes: usize, now_us: u64) -> Option<u64> {
        hardening.came(Manner::OneByOne);
        hardening.written([batch(at, bytes)].into_iter());
        let lot = hardening.lot(Offset(at + 1), || now_us);
        assert_eq!((lot.batches.len(), lot.is_flood), (1, false));
        lot.waited_us
    }

    #[test]
    fn a_small_lot_that_has_the_journal_to_itself_is_measured() {
        let mut hardening = Hardening::default();
        assert_eq!(send(&mut hardening, 0, SMALL, 1000), None);
        hardening.persisted(Offset(0), || panic!("nothing is safe yet"));
        hardening.persisted(Offset(1), || 1250);
        assert_eq!(send(&mut hardening, 1, SMALL, 9000), Some(250));
        hardening.persisted(Offset(2), || 9300);
        hardening.persisted(Offset(2), || panic!("it is known"));
        assert_eq!(send(&mut hardening, 2, SMALL, 9400), Some(300));
    }

    #[test]
    fn what_is_large_or_behind_others_or_of_a_flood_is_not() {
        let mut hardening = Hardening::default();
        let no_clock = || panic!("nothing is measured");
        assert_eq!(send(&mut hardening, 0, LARGE, 1000), None);
        assert_eq!(send(&mut hardening, 1, SMALL, 1001), None, "behind it");
        hardening.persisted(Offset(1), no_clock);
        hardening.persisted(Offset(2), no_clock);
        hardening.came(Manner::Flood);
        hardening.written([batch(2, SMALL)].into_iter());
        assert!(hardening.lot(Offset(3), no_clock).is_flood);
        hardening.persisted(Offset(3), no_clock);
        let header_makes_it_large = 16 * 1024 - ENTRY_HEADER_BYTES + 1;
        assert_eq!(send(&mut hardening, 3, header_makes_it_large, 1002), None);
        hardening.persisted(Offset(4), no_clock);
        assert_eq!(send(&mut hardening, 4, header_makes_it_large - 1, 1003), None);
        hardening.persisted(Offset(5), || 1005);
        assert_eq!(send(&mut hardening, 5, SMALL, 1006), Some(2));
    }

    #[test]
    fn a_lot_in_which_somebody_appended_who_asks_one_by_one_is_no_flood() {
        let mut hardening = Hardening::default();
        [Manner::Flood, Manner::OneByOne, Manner::Flood]
            .into_iter()
            .for_each(|manner| hardening.came(manner));
        hardening.written((0..3).map(|at| batch(at, SMALL)));
        assert!(!hardening.lot(Offset(3), || 0).is_flood);
        hardening.came(Manner::Flood);
        hardening.written((3..5).map(|at| batch(at, SMALL)));
        assert!(hardening.lot(Offset(5), || 0).is_flood, "only those since the last");
        assert!(!hardening.lot(Offset(5), || 0).is_flood);
    }

    #[test]
    fn a_crowd_some_of_which_flood_is_one() {
        let mut hardening = Hardening::default();
        hardening.came(Manner::OneByOne);
        assert!(!hardening.lot(Offset(0), || 0).is_flood);
        [Manner::Other, Manner::Flood, Manner::Other].into_iter().for_each(|manner| hardening.came(manner));
        assert!(hardening.lot(Offset(0), || 0).is_flood, "who asked one by one was of the last lot");
        hardening.came(Manner::Other);
        assert!(!hardening.lot(Offset(0), || 0).is_flood);
    }

    #[test]
    fn what_is_safe_in_another_way_is_not_given_to_the_journal() {
        let mut hardening = Hardening::default();
        hardening.written((0..3).map(|at| batch(at, SMALL)));
        hardening.skip(Offset(2));
        let lot = hardening.lot(Offset(3), || 0);
        assert_eq!(lot.batches, [batch(2, SMALL)]);
    }
}
