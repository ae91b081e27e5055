//! What producers and readers were told, and what a log must therefore hold: the judge of every run.
//!
//! A *lane* is one idempotent producer writing to one partition. Its records are numbered from 0, and the number is in the
//! record. Each check has a hand-made bad history among the tests below.

mod keyed;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use crate::anomaly::Anomaly;

/// One record: who wrote it, and which of the lane's records it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The lane.
    pub lane: usize,
    /// Its place in the lane.
    pub number: u32,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of lane {}", self.number, self.lane)
    }
}

/// Everything that anybody was told.
#[derive(Debug, Default)]
pub struct Ledger {
    lanes: Vec<Lane>,
    partitions: Vec<Partition>,
    /// Power cuts may take the end of a log.
    page_cache: bool,
    /// Of every key the last record stays, and others may go.
    keyed: bool,
    /// Power cuts so far.
    cuts: u32,
    /// Some records are tombstones, which stay for so long.
    deletes_keys_ms: Option<u64>,
    /// Milliseconds of simulated time.
    now_ms: u64,
    /// How often anybody was told anything.
    order: u64,
    acked: u64,
}

#[derive(Debug, Default)]
struct Partition {
    /// What is where: acknowledged or read.
    told: BTreeMap<i64, Told>,
    /// Below this everything is deleted: that was acknowledged.
    low: i64,
    /// Below this everything may be deleted: that was asked for.
    low_asked: i64,
    /// Compaction took what was here.
    gone: BTreeSet<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    mark: Mark,
    /// Power cuts before it.
    cuts: u32,
    /// What was told before it.
    order: u64,
}

#[derive(Debug)]
struct Lane {
    partition: usize,
    sent: u32,
    /// When each record was sent for the first time.
    sent_ms: Vec<u64>,
    /// Where its records were acknowledged or read.
    at: BTreeMap<u32, i64>,
    /// What power cuts may have taken, and did.
    lost: BTreeSet<u32>,
    /// Sent under two producer ids: may be there twice.
    twice: BTreeSet<u32>,
}

impl Ledger {
    /// Nothing told yet. `lanes` has the partition of each lane; in `page_cache` mode a power cut may take the end of a log.
    #[must_use]
    pub fn new(partitions: usize, lanes: &[usize], page_cache: bool) -> Self {
        let lane = |partition: &usize| Lane {
            partition: *partition,
            sent: 0,
            sent_ms: vec![],
            at: BTreeMap::new(),
            lost: BTreeSet::new(),
            twice: BTreeSet::new(),
        };
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        Self { lanes: lanes.iter().map(lane).collect(), partitions, page_cache, ..Self::default() }
    }

    /// The same for a log that is compacted, or not.
    #[must_use]
    pub fn keyed(self, keyed: bool) -> Self {
        Self { keyed, ..self }
    }

    /// The same for producers that delete keys: how long a tombstone stays at least, milliseconds.
    #[must_use]
    pub fn with_tombstones(self, deletes_keys_ms: Option<u64>) -> Self {
        Self { deletes_keys_ms, ..self }
    }

    /// It is so late now.
    pub fn is_now(&mut self, ms: u64) {
        self.now_ms = ms;
    }

    /// Records that were acknowledged so far.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// A lane is about to send records below this number.
    pub fn send(&mut self, lane: usize, upto: u32) {
        let now_ms = self.now_ms;
        let lane = &mut self.lanes[lane];
        lane.sent = lane.sent.max(upto);
        lane.sent_ms.resize(lane.sent as usize, now_ms);
    }

    /// A lane begins anew under another producer id and sends what was not answered again: nobody can tell it from new.
    pub fn begin_anew(&mut self, lane: usize, unanswered: impl Iterator<Item = u32>) {
        self.lanes[lane].twice.extend(unanswered);
    }

    /// The power has gone.
    pub fn power_cut(&mut self) {
        self.cuts += 1;
    }

    /// Power cuts so far.
    #[must_use]
    pub fn cuts(&self) -> u32 {
        self.cuts
    }

    /// A batch was acknowledged that was sent after `cuts` power cuts: an answer may come later than the cut that makes it
    /// worthless.
    ///
    /// # Errors
    /// When it contradicts what was told before.
    pub fn acknowledge(
        &mut self,
        lane: usize,
        numbers: Range<u32>,
        base: i64,
        cuts: u32,
    ) -> Result<(), Anomaly> {
        self.acked += u64::from(numbers.end - numbers.start);
        let partition = self.lanes[lane].partition;
        for (offset, number) in (base..).zip(numbers) {
            self.tell_of(partition, offset, Mark { lane, number }, cuts)?;
        }
        Ok(())
    }

    /// Somebody read a record, or was told of it: it stays where it is for ever.
    ///
    /// # Errors
    /// When it contradicts what was told before.
    pub fn tell(&mut self, partition: usize, offset: i64, mark: Mark) -> Result<(), Anomaly> {
        self.tell_of(partition, offset, mark, self.cuts)
    }

    fn tell_of(&mut self, partition: usize, offset: i64, mark: Mark, after: u32) -> Result<(), Anomaly> {
        if self.page_cache && after < self.cuts && self.partitions[partition].told.contains_key(&offset) {
            // The cut came first, and somebody has seen already what it left.
            return Ok(());
        }
        let lane = self.lanes.get(mark.lane).filter(|lane| lane.partition == partition);
        let Some(lane) = lane.filter(|lane| mark.number < lane.sent) else {
            return Err(Anomaly::Invented { partition, offset, mark });
        };
        if let Some(at) = lane.at.get(&mark.number).copied().filter(|at| *at != offset) {
            // Told before a power cut that took it: now it is somewhere else.
            let told = self.partitions[partition].told.get(&at);
            let excused = told.is_some_and(|told| self.excuses(told.cuts));
            if excused {
                self.excuse(partition, at.min(offset));
            } else if !self.lanes[mark.lane].twice.contains(&mark.number) {
                return Err(Anomaly::Duplicate { partition, offset, mark });
            }
        }
        let was = self.partitions[partition].told.get(&offset).copied();
        if let Some(Told { mark: was, cuts, .. }) = was.filter(|was| was.mark != mark) {
            if !self.excuses(cuts) {
                return Err(Anomaly::Changed { partition, offset, was, is: mark });
            }
            self.excuse(partition, offset);
        }
        self.lanes[mark.lane].at.insert(mark.number, offset);
        self.order += 1;
        // What is only said again is as old as it was; but over a power cut it may have gone and come again.
        let same = was.filter(|was| was.mark == mark && was.cuts == after);
        let told = Told { mark, cuts: after, order: same.map_or(self.order, |was| was.order) };
        self.partitions[partition].told.insert(offset, told);
        Ok(())
    }

    /// Whether a power cut may have taken what was told after so many of them.
    fn excuses(&self, cuts: u32) -> bool {
        self.page_cache && cuts < self.cuts
    }

    /// A power cut took what had been told of the log from here on.
    fn excuse(&mut self, partition: usize, from: i64) {
        let (cuts, told) = (self.cuts, &mut self.partitions[partition].told);
        let taken: Vec<_> = told.extract_if(from.., |_, told| told.cuts < cuts).collect();
        for (_, Told { mark, .. }) in taken {
            let lane = &mut self.lanes[mark.lane];
            lane.at.remove(&mark.number);
            lane.lost.insert(mark.number);
        }
    }

    /// Somebody asks for the records before an offset to be deleted.
    pub fn delete(&mut self, partition: usize, before: i64) {
        let partition = &mut self.partitions[partition];
        partition.low_asked = partition.low_asked.max(before);
    }

    /// The records before an offset are deleted: nobody ever reads them again.
    pub fn deleted(&mut self, partition: usize, before: i64) {
        let partition = &mut self.partitions[partition];
        partition.low = partition.low.max(before);
        partition.told = partition.told.split_off(&partition.low);
        partition.gone = partition.gone.split_off(&partition.low);
    }

    /// Where the records of a partition begin at the earliest.
    #[must_use]
    pub fn low(&self, partition: usize) -> i64 {
        self.partitions[partition].low
    }

    /// A reading that begins now shows everything that was told before this.
    #[must_use]
    pub fn order(&self) -> u64 {
        self.order
    }

    /// One past the last offset of a partition that anybody was told of.
    #[must_use]
    pub fn told_end(&self, partition: usize) -> i64 {
        self.partitions[partition].told.last_key_value().map_or(0, |(offset, _)| offset + 1)
    }

    /// A partition was read from its beginning to its end. `low` and `order` are as they were when the reading began.
    ///
    /// # Errors
    /// The first promise that the log breaks.
    pub fn check(&mut self, partition: usize, reading: &Reading) -> Result<(), Anomaly> {
        let Reading { start, low, order, ref log, .. } = *reading;
        if start < low {
            return Err(Anomaly::Returned { partition, offset: start, low });
        }
        let low_asked = self.partitions[partition].low_asked;
        if start > low_asked {
            return Err(Anomaly::Gap { partition, expected: low_asked, found: start });
        }
        if self.keyed {
            return self.check_keyed(partition, reading);
        }
        self.check_order(partition, start, log)?;
        let end = start + i64::try_from(log.len()).unwrap_or(i64::MAX);
        let mut beyond = self.partitions[partition].told.range(end..);
        if let Some((&offset, told)) = beyond.find(|(_, told)| told.order <= order) {
            if !self.excuses(told.cuts) {
                return Err(Anomaly::Lost { partition, offset, mark: told.mark });
            }
            self.excuse(partition, offset);
            return self.check(partition, reading);
        }
        log.iter().try_for_each(|(offset, mark)| self.tell(partition, *offset, *mark))
    }

    /// Offsets are dense, and each lane's records come in order, once.
    fn check_order(&self, partition: usize, start: i64, log: &[(i64, Mark)]) -> Result<(), Anomaly> {
        let mut next: Vec<Option<u32>> = vec![(start == 0).then_some(0); self.lanes.len()];
        for (expected, &(offset, mark)) in (start..).zip(log) {
            if offset != expected {
                return Err(Anomaly::Gap { partition, expected, found: offset });
            }
            let (Some(next), Some(lane)) = (next.get_mut(mark.lane), self.lanes.get(mark.lane)) else {
                return Err(Anomaly::Invented { partition, offset, mark });
            };
            let expected = next.unwrap_or(mark.number);
            if mark.number < expected && !lane.twice.contains(&mark.number) {
                return Err(Anomaly::Duplicate { partition, offset, mark });
            }
            if (expected..mark.number).any(|number| !self.may_be_gone(lane, number)) {
                return Err(Anomaly::Overtaken { partition, offset, mark });
            }
            *next = Some(mark.number + 1);
        }
        Ok(())
    }

    /// A power cut took it, or may have.
    fn may_be_gone(&self, lane: &Lane, number: u32) -> bool {
        let told = |at: &i64| self.partitions[lane.partition].told.get(at);
        lane.lost.contains(&number)
            || lane.at.get(&number).and_then(told).is_some_and(|told| self.excuses(told.cuts))
    }
}

/// One reading of a whole partition.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Where the log began.
    pub start: i64,
    /// [`Ledger::low`] when it was begun.
    pub low: i64,
    /// [`Ledger::order`] when it was begun.
    pub order: u64,
    /// When it was begun.
    pub begin_ms: u64,
    /// The records.
    pub log: Vec<(i64, Mark)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(lane: usize, number: u32) -> Mark {
        Mark { lane, number }
    }

    /// Lanes 0 and 1 write to partition 0, lane 2 to partition 1; each has sent three records.
    fn ledger() -> Ledger {
        over(false)
    }

    fn over(page_cache: bool) -> Ledger {
        let mut ledger = Ledger::new(2, &[0, 0, 1], page_cache);
        (0..3).for_each(|lane| ledger.send(lane, 3));
        ledger
    }

    /// A reading that begins when everything has been told.
    fn check(ledger: &mut Ledger, partition: usize, start: i64, log: &[(i64, Mark)]) -> Result<(), Anomaly> {
        let (low, order) = (ledger.low(partition), ledger.order());
        ledger.check(partition, &Reading { start, low, order, begin_ms: 0, log: log.to_vec() })
    }

    #[test]
    fn a_log_that_keeps_its_promises_passes() {
        let mut ledger = ledger();
        ledger.acknowledge(0, 0..2, 0, 0).unwrap();
        ledger.acknowledge(1, 0..1, 2, 0).unwrap();
        // Lane 0's third record was never answered, and is there.
        let log = [(0, mark(0, 0)), (1, mark(0, 1)), (2, mark(1, 0)), (3, mark(0, 2))];

        assert_eq!(check(&mut ledger, 0, 0, &log), Ok(()));
        assert_eq!(check(&mut ledger, 1, 0, &[]), Ok(()));
        assert_eq!(ledger.acknowledge(0, 2..3, 3, 0), Ok(()));
        assert_eq!(ledger.acked(), 4);
    }

    #[test]
    fn each_bad_history_is_noticed() {
        let (first, second, other) = (mark(0, 0), mark(0, 1), mark(1, 0));
        let at = |offset, mark| (offset, mark);
        let cases: &[(&[(i64, Mark)], Anomaly)] = &[
            (&[], Anomaly::Lost { partition: 0, offset: 0, mark: first }),
            (&[at(0, other)], Anomaly::Changed { partition: 0, offset: 0, was: first, is: other }),
            (&[at(0, first), at(1, first)], Anomaly::Duplicate { partition: 0, offset: 1, mark: first }),
            (
                &[at(0, other), at(1, first)],
                Anomaly::Changed { partition: 0, offset: 0, was: first, is: other },
            ),
            (&[at(0, second)], Anomaly::Overtaken { partition: 0, offset: 0, mark: second }),
            (
                &[at(0, first), at(1, mark(2, 0))],
                Anomaly::Invented { partition: 0, offset: 1, mark: mark(2, 0) },
            ),
            (
                &[at(0, first), at(1, mark(7, 0))],
                Anomaly::Invented { partition: 0, offset: 1, mark: mark(7, 0) },
            ),
            (&[at(0, first), at(2, second)], Anomaly::Gap { partition: 0, expected: 1, found: 2 }),
            (&[at(1, first)], Anomaly::Gap { partition: 0, expected: 0, found: 1 }),
        ];
        for (log, expected) in cases {
            let mut ledger = ledger();
            ledger.acknowledge(0, 0..1, 0, 0).unwrap();
            assert_eq!(check(&mut ledger, 0, 0, log).as_ref(), Err(expected));
        }
    }

    #[test]
    fn more_than_was_sent_is_invented() {
        let mut ledger = ledger();
        let log: Vec<_> = (0..4).map(|number| (i64::from(number), mark(0, number))).collect();
        assert_eq!(
            check(&mut ledger, 0, 0, &log),
            Err(Anomaly::Invented { partition: 0, offset: 3, mark: mark(0, 3) })
        );
    }

    #[test]
    fn what_a_reader_saw_must_stay() {
        let mut ledger = ledger();
        ledger.tell(0, 0, mark(1, 0)).unwrap();

        assert_eq!(
            check(&mut ledger, 0, 0, &[]),
            Err(Anomaly::Lost { partition: 0, offset: 0, mark: mark(1, 0) })
        );
    }

    #[test]
    fn a_second_answer_must_name_the_first_offset() {
        let mut ledger = ledger();
        ledger.acknowledge(0, 0..2, 0, 0).unwrap();
        assert_eq!(
            ledger.acknowledge(0, 0..2, 5, 0),
            Err(Anomaly::Duplicate { partition: 0, offset: 5, mark: mark(0, 0) })
        );
    }

    #[test]
    fn what_was_deleted_stays_away_and_what_was_not_stays() {
        let log = [(1, mark(0, 1)), (2, mark(0, 2))];
        let mut ledger = ledger();
        ledger.acknowledge(0, 0..3, 0, 0).unwrap();
        assert_eq!(check(&mut ledger, 0, 1, &log), Err(Anomaly::Gap { partition: 0, expected: 0, found: 1 }));

        ledger.delete(0, 1);
        assert_eq!(check(&mut ledger, 0, 1, &log), Ok(()));
        let all = [(0, mark(0, 0)), log[0], log[1]];
        assert_eq!(check(&mut ledger, 0, 0, &all), Ok(()), "nobody was told that it is done");

        ledger.deleted(0, 1);
        assert_eq!(
            check(&mut ledger, 0, 0, &all),
            Err(Anomaly::Returned { partition: 0, offset: 0, low: 1 })
        );
        assert_eq!(check(&mut ledger, 0, 1, &log), Ok(()));
    }

    #[test]
    fn in_page_cache_mode_a_power_cut_may_take_the_end_and_nothing_else() {
        let whole = [(0, mark(0, 0)), (1, mark(0, 1)), (2, mark(0, 2))];
        let told = |page_cache| {
            let mut ledger = over(page_cache);
            ledger.acknowledge(0, 0..3, 0, 0).unwrap();
            ledger
        };
        let lost = Err(Anomaly::Lost { partition: 0, offset: 1, mark: mark(0, 1) });
        assert_eq!(check(&mut told(true), 0, 0, &whole[..1]), lost, "the power has not gone");

        let mut durable = told(false);
        durable.power_cut();
        assert_eq!(check(&mut durable, 0, 0, &whole[..1]), lost);

        let mut ledger = told(true);
        ledger.power_cut();
        // Its place is taken by another record before anybody has looked.
        ledger.acknowledge(1, 0..1, 1, 1).unwrap();
        let log = [whole[0], (1, mark(1, 0))];
        assert_eq!(check(&mut ledger, 0, 0, &log), Ok(()));
        assert_eq!(
            check(&mut ledger, 0, 0, &whole),
            Err(Anomaly::Changed { partition: 0, offset: 1, was: mark(1, 0), is: mark(0, 1) })
        );
    }

    #[test]
    fn a_lane_that_begins_anew_may_repeat_what_was_not_answered() {
        let mut ledger = ledger();
        ledger.acknowledge(0, 0..1, 0, 0).unwrap();
        let log = [(0, mark(0, 0)), (1, mark(0, 1)), (2, mark(0, 1))];
        assert_eq!(
            check(&mut ledger, 0, 0, &log),
            Err(Anomaly::Duplicate { partition: 0, offset: 2, mark: mark(0, 1) })
        );
        ledger.begin_anew(0, 1..2);
        assert_eq!(check(&mut ledger, 0, 0, &log), Ok(()));
    }
}
