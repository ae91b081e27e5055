//! The transactions of one partition: up to where everything is decided, and what was aborted (KIP-98; the half of
//! Kafka's `ProducerStateManager` that is about transactions).
//!
//! ```text
//!           first unstable                                      high watermark
//!   stable ------|---- open, or ended by a marker that is not safe yet ----|
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Offset, ProducerId};

/// A transaction that was aborted: one row of Kafka's `.txnindex`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Who wrote it.
    pub producer: ProducerId,
    /// Its first record.
    pub first: Offset,
    /// Its marker.
    pub last: Offset,
    /// The last stable offset when the marker was written: no transaction that was aborted later begins before it.
    pub stable: Offset,
}

/// Which transactions are open, and which have ended but are not stable yet.
#[derive(Clone, Debug, Default)]
pub struct Transactions {
    /// Where each open one begins.
    open: BTreeMap<ProducerId, Offset>,
    /// The same offsets, in their order: while a log is replayed there are very many that have ended beside them.
    open_firsts: BTreeSet<Offset>,
    /// All that hold the last stable offset back, by their first offset.
    unstable: BTreeMap<Offset, Unstable>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unstable {
    producer: ProducerId,
    /// Its marker, once there is one.
    marker: Option<Offset>,
}

impl Transactions {
    /// None is open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The open ones again that [`Transactions::snapshot`] told of.
    #[must_use]
    pub fn from_snapshot(open: impl IntoIterator<Item = (ProducerId, Offset)>) -> Self {
        let mut transactions = Self::new();
        for (producer, first) in open {
            transactions.wrote(producer, first);
        }
        transactions
    }

    /// Who has a transaction open here, and where it begins.
    pub fn snapshot(&self) -> impl Iterator<Item = (ProducerId, Offset)> {
        self.open.iter().map(|(producer, first)| (*producer, *first))
    }

    /// Where the transaction that `producer` has open here begins.
    #[must_use]
    pub fn open_since(&self, producer: ProducerId) -> Option<Offset> {
        self.open.get(&producer).copied()
    }

    /// A transactional batch has been given its place.
    pub fn wrote(&mut self, producer: ProducerId, base: Offset) {
        let first = *self.open.entry(producer).or_insert(base);
        if first == base {
            self.open_firsts.insert(base);
            self.unstable.insert(base, Unstable { producer, marker: None });
        }
    }

    /// A marker has been given its place. What was aborted, if something was: to be kept for readers, who get its records
    /// and have to be told to skip them.
    pub fn ended(&mut self, producer: ProducerId, marker: Offset, commit: bool) -> Option<Aborted> {
        let first = self.open.remove(&producer)?;
        self.open_firsts.remove(&first);
        let stable = self.open_firsts.first().copied().unwrap_or(marker.plus(1));
        if let Some(unstable) = self.unstable.get_mut(&first) {
            unstable.marker = Some(marker);
        }
        (!commit).then_some(Aborted { producer, first, last: marker, stable })
    }

    /// Everything from `to` on was cut off, or could not be written: what began there never began, what ended there is open.
    pub fn rollback(&mut self, to: Offset) {
        self.unstable.split_off(&to);
        for (first, unstable) in &mut self.unstable {
            if unstable.marker.is_some_and(|marker| marker >= to) {
                unstable.marker = None;
                self.open.insert(unstable.producer, *first);
            }
        }
        self.open.retain(|_, first| *first < to);
        self.open_firsts = self.open.values().copied().collect();
    }

    /// The high watermark has moved: what ended below it is stable.
    pub fn settle(&mut self, high_watermark: Offset) {
        self.unstable.retain(|_, unstable| unstable.marker.is_none_or(|marker| marker >= high_watermark));
    }

    /// The first offset that is not stable, the high watermark aside.
    #[must_use]
    pub fn first_unstable(&self) -> Option<Offset> {
        self.unstable.keys().next().copied()
    }

    /// Whether nothing is open or waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unstable.is_empty()
    }
}

/// Those of `aborted` (in the order of their markers) that a reader of `from..upto` has to know, sorted by their first
/// offset, as clients want it.
#[must_use]
pub fn aborted_within(
    aborted: impl IntoIterator<Item = Aborted>,
    from: Offset,
    upto: Offset,
) -> Vec<Aborted> {
    let mut found: Vec<_> = Vec::new();
    for row in aborted {
        if row.last >= from && row.first < upto {
            found.push(row);
        }
        if row.stable >= upto {
            break;
        }
    }
    found.sort_by_key(|row| row.first);
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALICE: ProducerId = ProducerId(1);
    const BOB: ProducerId = ProducerId(2);

    #[test]
    fn the_oldest_open_transaction_holds_the_stable_offset() {
        let mut transactions = Transactions::new();
        transactions.wrote(ALICE, Offset(3));
        transactions.wrote(BOB, Offset(5));
        transactions.wrote(ALICE, Offset(7));
        assert_eq!(transactions.first_unstable(), Some(Offset(3)));

        assert_eq!(transactions.ended(ALICE, Offset(9), true), None);
        transactions.settle(Offset(9));
        assert_eq!(transactions.first_unstable(), Some(Offset(3)), "its marker is not safe yet");
        transactions.settle(Offset(10));
        assert_eq!(transactions.first_unstable(), Some(Offset(5)));
        transactions.ended(BOB, Offset(10), true);
        transactions.settle(Offset(11));
        assert!(transactions.is_empty());
    }

    #[test]
    fn a_marker_without_a_transaction_ends_nothing() {
        let mut transactions = Transactions::new();
        assert_eq!(transactions.ended(ALICE, Offset(4), false), None);
        assert!(transactions.is_empty());
    }

    #[test]
    fn a_marker_that_was_not_written_leaves_the_transaction_open() {
        let mut transactions = Transactions::new();
        transactions.wrote(ALICE, Offset(3));
        transactions.ended(ALICE, Offset(4), false);
        transactions.wrote(BOB, Offset(5));

        transactions.rollback(Offset(4));

        assert_eq!(transactions.snapshot().collect::<Vec<_>>(), [(ALICE, Offset(3))]);
        assert_eq!(transactions.first_unstable(), Some(Offset(3)));
    }

    #[derive(Clone, Debug)]
    enum Move {
        Write(i64),
        End(i64, bool),
        Settle,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            3 => (0i64..4).prop_map(Move::Write),
            2 => ((0i64..4), any::<bool>()).prop_map(|(producer, commit)| Move::End(producer, commit)),
            1 => Just(Move::Settle),
        ];
        prop::collection::vec(one, 1..60)
    }

    proptest! {
        /// Against a list of what happened: the stable offset, and for every range the aborted rows that overlap it.
        #[test]
        fn like_a_list(moves in moves(), cut in 0usize..60, from in 0i64..70, len in 1i64..70) {
            // (producer, first, marker and whether it commits)
            type Row = (i64, i64, Option<(i64, bool)>);
            let mut rows: Vec<Row> = vec![];
            let mut aborted = vec![];
            let mut transactions = Transactions::new();
            let (mut end, mut high_watermark) = (0i64, 0i64);
            for step in &moves {
                match *step {
                    Move::Write(producer) => {
                        transactions.wrote(ProducerId(producer), Offset(end));
                        if !rows.iter().any(|row| row.0 == producer && row.2.is_none()) {
                            rows.push((producer, end, None));
                        }
                        end += 1;
                    }
                    Move::End(producer, commit) => {
                        let told = transactions.ended(ProducerId(producer), Offset(end), commit);
                        let row = rows.iter_mut().find(|row| row.0 == producer && row.2.is_none());
                        prop_assert_eq!(told.is_some(), row.is_some() && !commit);
                        if let Some(row) = row {
                            row.2 = Some((end, commit));
                        }
                        aborted.extend(told);
                        end += 1;
                    }
                    Move::Settle => {
                        high_watermark = end;
                        transactions.settle(Offset(end));
                    }
                }
                let unstable = rows.iter().filter(|row| row.2.is_none_or(|(marker, _)| marker >= high_watermark));
                prop_assert_eq!(transactions.first_unstable(), unstable.map(|row| Offset(row.1)).min());
            }
            // A reader of committed records never reads beyond the stable offset.
            let stable = transactions.first_unstable().map_or(high_watermark, |first| first.0.min(high_watermark));
            let upto = (from + len).min(stable);
            if from < upto {
                let mut wanted: Vec<_> = rows
                    .iter()
                    .filter_map(|row| Some((row.1, row.2.filter(|(_, commit)| !commit)?.0)))
                    .filter(|(first, marker)| *marker >= from && *first < upto)
                    .map(|(first, _)| Offset(first))
                    .collect();
                wanted.sort();
                let found = aborted_within(aborted, Offset(from), Offset(upto));
                prop_assert_eq!(found.iter().map(|row| row.first).collect::<Vec<_>>(), wanted);
            }
            // Cut off anywhere: as if what follows had never happened.
            let cut = Offset(cut as i64).max(Offset(high_watermark));
            let mut cut_back = transactions.clone();
            cut_back.rollback(cut);
            let mut open: Vec<_> = rows
                .iter()
                .filter(|row| row.1 < cut.0 && row.2.is_none_or(|(marker, _)| marker >= cut.0))
                .map(|row| (ProducerId(row.0), Offset(row.1)))
                .collect();
            open.sort();
            prop_assert_eq!(cut_back.snapshot().collect::<Vec<_>>(), open);
        }
    }
}
