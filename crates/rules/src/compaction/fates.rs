//! What became of the transactions that compaction passes by (Kafka's `CleanedTransactionMetadata`): which batches were
//! aborted, and whether anything is left of the transaction that a marker ends.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    batch::{BatchError, Header, marker::Marker},
    ids::{Offset, ProducerId},
    partition::transactions::Aborted,
};

/// A walk over batches, in order.
#[derive(Debug, Default)]
pub struct Fates {
    /// Those that were aborted and have not been reached, by their first offset: where their markers are.
    ahead: BTreeMap<(Offset, ProducerId), Offset>,
    /// Those aborted that have begun and not ended.
    aborted: BTreeMap<ProducerId, Begun>,
    /// Producers with a batch of a transaction that is not known to be aborted: it is committed, because nothing beyond the
    /// last stable offset is passed by.
    committed: BTreeSet<ProducerId>,
}

/// A transaction that was aborted.
#[derive(Debug)]
struct Begun {
    /// Its marker. Behind it the transaction is over, also where nobody passes by the marker: a walk may begin behind it, and the
    /// marker's batch may be damaged.
    last: Offset,
    /// Whether a batch of it is still there.
    is_seen: bool,
}

impl Fates {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in those aborted transactions that overlap the batches that come next. Each may be told more than once.
    pub fn learn(&mut self, rows: impl IntoIterator<Item = Aborted>) {
        self.ahead.extend(rows.into_iter().map(|row| ((row.first, row.producer), row.last)));
    }

    /// A batch of records is passed by. Whether it was aborted.
    pub fn batch(&mut self, header: &Header) -> bool {
        self.reach(header);
        if !header.attributes.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some(begun) => {
                begun.is_seen = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// A control batch is passed by. Whether nothing is left of what it ends, so that nobody needs it.
    ///
    /// # Errors
    /// [`Marker::read`]'s.
    pub fn control(&mut self, header: &Header, batch: &[u8]) -> Result<bool, BatchError> {
        self.reach(header);
        if header.count == 0 {
            return Ok(true);
        }
        let producer = header.producer_id;
        Ok(match Marker::read(batch)? {
            Some(Marker { commit: true, .. }) => !self.committed.remove(&producer),
            Some(Marker { commit: false, .. }) => {
                !self.aborted.remove(&producer).is_some_and(|begun| begun.is_seen)
            }
            // Of another kind: nobody knows who needs it.
            None => false,
        })
    }

    /// Transactions that begin before the end of this batch have begun, and those whose markers lie before it are over.
    fn reach(&mut self, header: &Header) {
        while let Some(next) = self.ahead.first_entry().filter(|next| next.key().0 < header.end()) {
            let ((first, producer), last) = next.remove_entry();
            let known = self.aborted.entry(producer).or_insert(Begun { last, is_seen: false });
            if known.last < first {
                *known = Begun { last, is_seen: false };
            }
        }
        let producer = header.producer_id;
        if self.aborted.get(&producer).is_some_and(|begun| begun.last < header.base_offset) {
            self.aborted.remove(&producer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::build::BatchBuilder,
        ids::{LeaderEpoch, ProducerEpoch},
        time::Now,
    };

    fn data(base: i64, producer: i64) -> Header {
        let builder = BatchBuilder::new().producer(producer, 0, 0).transactional().record("k", "v", 0);
        Header::read(&builder.stamped(Offset(base), LeaderEpoch(0)).bytes).unwrap()
    }

    fn can_go(fates: &mut Fates, base: i64, producer: i64, commit: bool) -> bool {
        let marker = Marker { commit, coordinator_epoch: 0 };
        let batch = marker.batch(ProducerId(producer), ProducerEpoch(0), Now { mono_ms: 0, wall_ms: 0 });
        let batch = batch.stamp(Offset(base), LeaderEpoch(0), None).bytes;
        fates.control(&Header::read(&batch).unwrap(), &batch).unwrap()
    }

    fn row(producer: i64, first: i64, last: i64) -> Aborted {
        let (first, last) = (Offset(first), Offset(last));
        Aborted { producer: ProducerId(producer), first, last, stable: last }
    }

    #[test]
    fn a_batch_was_aborted_between_the_first_record_and_the_marker() {
        let mut fates = Fates::new();
        fates.learn([row(1, 2, 5)]);
        assert!(!fates.batch(&data(1, 1)));
        assert!(fates.batch(&data(2, 1)));
        assert!(!fates.batch(&data(3, 2)));
        assert!(fates.batch(&data(4, 1)));
        assert!(!can_go(&mut fates, 5, 1, false));
        assert!(!fates.batch(&data(6, 1)), "the next transaction is another one");
    }

    #[test]
    fn a_marker_can_go_once_nothing_is_left_of_its_transaction() {
        let mut fates = Fates::new();
        fates.learn([row(1, 2, 5)]);
        assert!(can_go(&mut fates, 5, 1, false));
        assert!(can_go(&mut fates, 6, 1, false), "its row is forgotten");
        assert!(can_go(&mut fates, 7, 2, true));
        fates.batch(&data(8, 2));
        assert!(!can_go(&mut fates, 9, 2, true));
    }

    #[test]
    fn what_ended_before_the_walk_began_is_over() {
        let mut fates = Fates::new();
        fates.learn([row(1, 2, 5), row(1, 9, 11)]);
        assert!(!fates.batch(&data(7, 1)), "its next transaction");
        assert!(fates.batch(&data(9, 1)));
        assert!(!fates.batch(&data(12, 1)), "the marker at 11 was damaged, and passed over");
    }

    #[test]
    fn what_is_told_twice_begins_once() {
        let mut fates = Fates::new();
        fates.learn([row(1, 2, 9)]);
        assert!(fates.batch(&data(2, 1)));
        fates.learn([row(1, 2, 9)]);
        assert!(fates.batch(&data(8, 1)));
        assert!(!can_go(&mut fates, 9, 1, false));
        assert!(!fates.batch(&data(10, 1)));
    }
}
