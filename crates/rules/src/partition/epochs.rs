//! Where each reign over a partition began (KIP-101, KIP-279; Kafka's `LeaderEpochFileCache`).

use crate::ids::{LeaderEpoch, Offset};

/// Leader epochs and the offsets at which they began: both grow strictly, so each reign that wrote something has
/// exactly one row, and a reign ends where the next begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochHistory(Vec<(LeaderEpoch, Offset)>);

impl EpochHistory {
    /// No reign has written anything yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The rows of a store, in any order. Rows that contradict a later epoch are dropped, as in [`EpochHistory::remember`].
    #[must_use]
    pub fn from_rows(mut rows: Vec<(LeaderEpoch, Offset)>) -> Self {
        rows.sort_unstable();
        let mut history = Self::new();
        for (epoch, start) in rows {
            history.remember(epoch, start);
        }
        history
    }

    /// The rows, oldest first.
    #[must_use]
    pub fn rows(&self) -> &[(LeaderEpoch, Offset)] {
        &self.0
    }

    /// The last reign that wrote something.
    #[must_use]
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.0.last().map(|(epoch, _)| *epoch)
    }

    /// `epoch` begins at `start`. Rows that cannot be true then (a later epoch, or a later start) are dropped. Says
    /// whether anything changed.
    pub fn remember(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if self.0.last().is_some_and(|(last, begun)| *last == epoch && *begun <= start) {
            return false;
        }
        self.0.retain(|(other, begun)| *other < epoch && *begun < start);
        self.0.push((epoch, start));
        true
    }

    /// The reign under which the record at `offset` was written.
    #[must_use]
    pub fn of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.0.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|at| self.0[at].0)
    }

    /// The largest epoch that is not above `epoch`, and where it ended; `log_end` for the last one. None when nothing
    /// is known about it: above all rows, or no rows. Below all rows it is the epoch asked for, ending where the first
    /// row begins (Kafka's `endOffsetFor`).
    #[must_use]
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let after = self.0.partition_point(|(other, _)| *other <= epoch);
        let floor = after.checked_sub(1).map(|at| self.0[at].0);
        match (floor, self.0.get(after)) {
            (Some(found), Some((_, end))) => Some((found, *end)),
            (None, Some((_, end))) => Some((epoch, *end)),
            (Some(found), None) if found == epoch => Some((epoch, log_end)),
            (Some(_) | None, None) => None,
        }
    }

    /// The log was cut at `end`: reigns that began there or later wrote nothing that is left.
    pub fn cut(&mut self, end: Offset) {
        self.0.retain(|(_, start)| *start < end);
    }

    /// The log begins at `start` now: reigns that ended before are forgotten, the one it falls into begins there.
    pub fn move_start(&mut self, start: Offset) {
        let after = self.0.partition_point(|(_, begun)| *begun <= start);
        let Some(floor) = after.checked_sub(1) else { return };
        self.0.drain(..floor);
        self.0[0].1 = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(rows: &[(i32, i64)]) -> EpochHistory {
        EpochHistory::from_rows(
            rows.iter().map(|(epoch, start)| (LeaderEpoch(*epoch), Offset(*start))).collect(),
        )
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let history = history(&[(1, 0), (3, 10), (4, 25)]);
        let check = |epoch, expected: Option<(i32, i64)>| {
            let end = history.end_of(LeaderEpoch(epoch), Offset(40));
            assert_eq!(end, expected.map(|(epoch, end)| (LeaderEpoch(epoch), Offset(end))), "epoch {epoch}");
        };
        check(0, Some((0, 0)));
        check(1, Some((1, 10)));
        check(2, Some((1, 10)));
        check(3, Some((3, 25)));
        check(4, Some((4, 40)));
        check(5, None);
    }

    #[test]
    fn without_rows_no_epoch_is_known() {
        assert_eq!(EpochHistory::new().end_of(LeaderEpoch(0), Offset(0)), None);
    }

    #[test]
    fn a_new_reign_drops_what_contradicts_it() {
        let mut rows = history(&[(1, 0), (3, 10), (4, 25)]);
        assert!(rows.remember(LeaderEpoch(5), Offset(10)));
        assert_eq!(rows, history(&[(1, 0), (5, 10)]));
        assert!(!rows.remember(LeaderEpoch(5), Offset(12)), "a reign begins once");
    }

    #[test]
    fn a_moved_start_keeps_the_reign_it_falls_into() {
        let mut rows = history(&[(1, 0), (3, 10), (4, 25)]);
        rows.move_start(Offset(12));
        assert_eq!(rows, history(&[(3, 12), (4, 25)]));
        rows.move_start(Offset(25));
        assert_eq!(rows, history(&[(4, 25)]));
        assert_eq!(rows.of(Offset(30)), Some(LeaderEpoch(4)));
        assert_eq!(rows.of(Offset(24)), None);
    }

    #[test]
    fn a_cut_forgets_reigns_that_wrote_nothing_else() {
        let mut rows = history(&[(1, 0), (3, 10), (4, 25)]);
        rows.cut(Offset(25));
        assert_eq!(rows, history(&[(1, 0), (3, 10)]));
    }
}
