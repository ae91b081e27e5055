//! What a compacted log must hold: a record may be missing only where a later one of its key is there.

use super::{Ledger, Mark, Reading};
use crate::anomaly::Anomaly;
use crate::records::key_of;

impl Ledger {
    /// As [`Ledger::check`]. What was told before the reading began is there, or a later record of its key is; each lane's
    /// records come in order, once; nothing is invented.
    pub(super) fn check_keyed(&mut self, partition: usize, reading: &Reading) -> Result<(), Anomaly> {
        let log = &reading.log;
        let is_superseded = |offset: i64, mark: Mark| {
            log.iter().any(|other| other.0 > offset && key_of(other.1) == key_of(mark))
        };
        for (offset, told) in self.partitions[partition].told.range(reading.start..) {
            let is_there = log.binary_search_by_key(offset, |found| found.0).is_ok();
            if told.order <= reading.order && !is_there && !is_superseded(*offset, told.mark) {
                return Err(Anomaly::Lost { partition, offset: *offset, mark: told.mark });
            }
        }
        let (mut next, mut expected) = (vec![0; self.lanes.len()], reading.start);
        for &(offset, mark) in log {
            if offset < expected {
                return Err(Anomaly::Gap { partition, expected, found: offset });
            }
            expected = offset + 1;
            let (Some(next), Some(lane)) = (next.get_mut(mark.lane), self.lanes.get(mark.lane)) else {
                return Err(Anomaly::Invented { partition, offset, mark });
            };
            if mark.number < *next && !lane.twice.contains(&mark.number) {
                return Err(Anomaly::Duplicate { partition, offset, mark });
            }
            let missing = (*next..mark.number).map(|number| Mark { number, ..mark });
            let is_overtaken = |mark: Mark| reading.start == 0 && !is_superseded(-1, mark);
            if missing.into_iter().any(is_overtaken) {
                return Err(Anomaly::Overtaken { partition, offset, mark });
            }
            *next = mark.number + 1;
        }
        log.iter().try_for_each(|(offset, mark)| self.tell(partition, *offset, *mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn mark(lane: usize, number: u32) -> Mark {
        Mark { lane, number }
    }

    /// Two lanes of one partition; numbers 0 and 7 have the same key.
    fn check(log: &[(i64, Mark)]) -> Result<(), Anomaly> {
        let mut ledger = Ledger::new(1, &[0, 0], false).keyed(true);
        ledger.send(0, 9);
        ledger.send(1, 9);
        ledger.acknowledge(0, 0..8, 0, 0).unwrap();
        let (low, order) = (ledger.low(0), ledger.order());
        ledger.check(0, &Reading { start: 0, low, order, log: log.to_vec() })
    }

    #[test]
    fn a_record_may_be_missing_where_a_later_one_of_its_key_is() {
        let whole: Vec<_> = (0..8).map(|number| (i64::from(number), mark(0, number))).collect();
        assert_eq!(check(&whole), Ok(()));
        assert_eq!(check(&whole[1..]), Ok(()));
        let lost = Err(Anomaly::Lost { partition: 0, offset: 7, mark: mark(0, 7) });
        assert_eq!(check(&whole[..7]), lost, "an older one does not make up for it");
        assert_eq!(check(&whole[2..]), Err(Anomaly::Lost { partition: 0, offset: 1, mark: mark(0, 1) }));
        let mut twice = whole.clone();
        twice.push((8, mark(0, 3)));
        assert_eq!(check(&twice), Err(Anomaly::Duplicate { partition: 0, offset: 8, mark: mark(0, 3) }));
        let mut other = whole[1..].to_vec();
        other.push((8, mark(1, 0)));
        assert_eq!(check(&other), Ok(()));
    }
}
