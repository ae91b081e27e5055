//! What a compacted log must hold: a record may be missing only where a later one of its key is there.

use super::{Ledger, Mark, Reading};
use crate::anomaly::Anomaly;
use crate::records::{is_tombstone, key_of};

impl Ledger {
    /// As [`Ledger::check`]. What was told before the reading began is there, or a later record of its key is; each lane's
    /// records come in order, once; nothing is invented.
    pub(super) fn check_keyed(&mut self, partition: usize, reading: &Reading) -> Result<(), Anomaly> {
        let log = &reading.log;
        let passed_away = self.passed_away(partition);
        let is_superseded = |offset: i64, mark: Mark| {
            let is_later = |other: &(i64, Mark)| other.0 > offset && key_of(other.1) == key_of(mark);
            log.iter().any(is_later) || passed_away.iter().any(|other| is_later(other) || other.1 == mark)
        };
        self.check_gone(partition, reading)?;
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
        self.note_gone(partition, reading);
        log.iter().try_for_each(|(offset, mark)| self.tell(partition, *offset, *mark))
    }

    /// Tombstones that need not be there any more, each at the last offset where it may have been.
    fn passed_away(&self, partition: usize) -> Vec<(i64, Mark)> {
        let Some(stay_ms) = self.deletes_keys_ms else { return vec![] };
        let of_partition = self.lanes.iter().enumerate().filter(|(_, lane)| lane.partition == partition);
        let over = of_partition.flat_map(|(lane, of)| {
            (0..of.sent)
                .map(move |number| Mark { lane, number })
                .filter(|mark| is_tombstone(*mark))
                .filter(move |mark| of.sent_ms[mark.number as usize] + stay_ms <= self.now_ms)
                .map(|mark| (of.at.get(&mark.number).copied().unwrap_or(i64::MAX), mark))
        });
        over.collect()
    }

    /// What compaction took does not come back, nor does a key that was deleted.
    fn check_gone(&self, partition: usize, reading: &Reading) -> Result<(), Anomaly> {
        let of = &self.partitions[partition];
        if let Some((offset, mark)) = reading.log.iter().find(|(offset, _)| of.gone.contains(offset)) {
            return Err(Anomaly::Revived { partition, offset: *offset, mark: *mark });
        }
        // Who reads for longer may have seen the value before the round that took it, and comes too late for its tombstone.
        let Some(_) = self.deletes_keys_ms.filter(|ms| self.now_ms < reading.begin_ms + ms) else {
            return Ok(());
        };
        for (&offset, told) in of.told.range(reading.start..) {
            let is_there = reading.log.binary_search_by_key(&offset, |found| found.0).is_ok();
            if !is_tombstone(told.mark) || is_there || told.order > reading.order {
                continue;
            }
            let mut of_key = reading.log.iter().filter(|found| key_of(found.1) == key_of(told.mark));
            if let Some((offset, mark)) =
                of_key.next_back().filter(|last| last.0 < offset && !is_tombstone(last.1))
            {
                return Err(Anomaly::Revived { partition, offset: *offset, mark: *mark });
            }
        }
        Ok(())
    }

    /// What was told before a reading and is not in it is gone for ever.
    fn note_gone(&mut self, partition: usize, reading: &Reading) {
        let of = &mut self.partitions[partition];
        let told = of.told.range(reading.start..).filter(|(_, told)| told.order <= reading.order);
        let is_gone = |offset: &i64| reading.log.binary_search_by_key(offset, |found| found.0).is_err();
        of.gone.extend(told.map(|(offset, _)| *offset).filter(is_gone));
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
        ledger.check(0, &Reading { start: 0, low, order, begin_ms: 0, log: log.to_vec() })
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

    /// One lane, whose record 14 deletes the key that 4 and 9 have too, for 100 ms.
    fn deleted() -> (Ledger, Vec<(i64, Mark)>) {
        let mut ledger = Ledger::new(1, &[0], false).keyed(true).with_tombstones(Some(100));
        ledger.send(0, 15);
        ledger.acknowledge(0, 0..15, 0, 0).unwrap();
        (ledger, (0..15).map(|number| (i64::from(number), mark(0, number))).collect())
    }

    fn read(ledger: &mut Ledger, ms: u64, log: &[(i64, Mark)]) -> Result<(), Anomaly> {
        ledger.is_now(ms);
        let order = ledger.order();
        ledger.check(0, &Reading { start: 0, low: 0, order, begin_ms: ms, log: log.to_vec() })
    }

    #[test]
    fn a_tombstone_stays_for_its_time_and_its_values_do_not_come_back() {
        let (_, whole) = deleted();
        let without = |gone: &[i64]| -> Vec<_> {
            whole.iter().copied().filter(|(offset, _)| !gone.contains(offset)).collect()
        };
        assert_eq!(read(&mut deleted().0, 99, &whole), Ok(()));
        let early = Err(Anomaly::Lost { partition: 0, offset: 4, mark: mark(0, 4) });
        assert_eq!(read(&mut deleted().0, 99, &without(&[4, 9, 14])), early);
        assert_eq!(read(&mut deleted().0, 100, &without(&[4, 9, 14])), Ok(()));
        let revived = Err(Anomaly::Revived { partition: 0, offset: 9, mark: mark(0, 9) });
        assert_eq!(read(&mut deleted().0, 100, &without(&[4, 14])), revived);

        let mut ledger = deleted().0;
        assert_eq!(read(&mut ledger, 1, &without(&[4])), Ok(()));
        let revived = Err(Anomaly::Revived { partition: 0, offset: 4, mark: mark(0, 4) });
        assert_eq!(read(&mut ledger, 1, &whole), revived);
    }
}
