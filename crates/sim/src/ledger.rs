//! What producers and readers were told, and what a log must therefore hold: the judge of every run.
//!
//! A *lane* is one idempotent producer writing to one partition. Its records are numbered from 0, and the number is in the
//! record. Each check has a hand-made bad history among the tests below.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

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

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// Somebody was told of a record at this offset, and the log ends before it.
    Lost {
        /// The partition.
        partition: usize,
        /// Where it was.
        offset: i64,
        /// What was there.
        mark: Mark,
    },
    /// One offset, two records.
    Changed {
        /// The partition.
        partition: usize,
        /// Where.
        offset: i64,
        /// What it was.
        was: Mark,
        /// What it is.
        is: Mark,
    },
    /// One record at two offsets.
    Duplicate {
        /// The partition.
        partition: usize,
        /// Where it is for the second time.
        offset: i64,
        /// Which one.
        mark: Mark,
    },
    /// A lane's record is there and the one before it is not.
    Overtaken {
        /// The partition.
        partition: usize,
        /// Where the later one is.
        offset: i64,
        /// Which one it is.
        mark: Mark,
    },
    /// Nobody sent it, or not there.
    Invented {
        /// The partition.
        partition: usize,
        /// Where.
        offset: i64,
        /// What it claims to be.
        mark: Mark,
    },
    /// Offsets are not dense.
    Gap {
        /// The partition.
        partition: usize,
        /// What should come.
        expected: i64,
        /// What came.
        found: i64,
    },
    /// Bytes that are not whole batches of ours.
    Corrupt(String),
    /// What should serve does not, although nothing is wrong with the disk.
    Unavailable(String),
    /// An assertion of the node.
    Panicked(String),
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { partition, offset, mark } => {
                write!(f, "lost: {mark} was at {partition}:{offset}, and is not there any more")
            }
            Self::Changed { partition, offset, was, is } => {
                write!(f, "changed: at {partition}:{offset} was {was}, and is {is}")
            }
            Self::Duplicate { partition, offset, mark } => {
                write!(f, "duplicate: {mark} is at {partition}:{offset} once more")
            }
            Self::Overtaken { partition, offset, mark } => {
                write!(f, "overtaken: {mark} is at {partition}:{offset}, the one before it is missing")
            }
            Self::Invented { partition, offset, mark } => {
                write!(f, "invented: {mark} at {partition}:{offset} was not sent there")
            }
            Self::Gap { partition, expected, found } => {
                write!(f, "gap: partition {partition} goes on at {found}, not at {expected}")
            }
            Self::Corrupt(text) => write!(f, "corrupt: {text}"),
            Self::Unavailable(text) => write!(f, "unavailable: {text}"),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
        }
    }
}

/// Everything that anybody was told.
#[derive(Debug, Default)]
pub struct Ledger {
    lanes: Vec<Lane>,
    /// Of each partition, what is where: acknowledged or read.
    told: Vec<BTreeMap<i64, Mark>>,
    acked: u64,
}

#[derive(Debug)]
struct Lane {
    partition: usize,
    sent: u32,
    /// Where its records were acknowledged or read.
    at: BTreeMap<u32, i64>,
}

impl Ledger {
    /// Nothing told yet. `lanes` has the partition of each lane.
    #[must_use]
    pub fn new(partitions: usize, lanes: &[usize]) -> Self {
        let lane = |partition: &usize| Lane { partition: *partition, sent: 0, at: BTreeMap::new() };
        Self { lanes: lanes.iter().map(lane).collect(), told: vec![BTreeMap::new(); partitions], acked: 0 }
    }

    /// Records that were acknowledged so far.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// A lane is about to send records below this number.
    pub fn send(&mut self, lane: usize, upto: u32) {
        self.lanes[lane].sent = self.lanes[lane].sent.max(upto);
    }

    /// A batch was acknowledged.
    ///
    /// # Errors
    /// When it contradicts what was told before.
    pub fn acknowledge(&mut self, lane: usize, numbers: Range<u32>, base: i64) -> Result<(), Anomaly> {
        self.acked += u64::from(numbers.end - numbers.start);
        let partition = self.lanes[lane].partition;
        for (offset, number) in (base..).zip(numbers) {
            self.tell(partition, offset, Mark { lane, number })?;
        }
        Ok(())
    }

    /// Somebody read a record, or was told of it: it stays where it is for ever.
    ///
    /// # Errors
    /// When it contradicts what was told before.
    pub fn tell(&mut self, partition: usize, offset: i64, mark: Mark) -> Result<(), Anomaly> {
        let Some(lane) = self.lanes.get_mut(mark.lane).filter(|lane| lane.partition == partition) else {
            return Err(Anomaly::Invented { partition, offset, mark });
        };
        if mark.number >= lane.sent {
            return Err(Anomaly::Invented { partition, offset, mark });
        }
        if let Some(was) = self.told[partition].insert(offset, mark).filter(|was| *was != mark) {
            return Err(Anomaly::Changed { partition, offset, was, is: mark });
        }
        if lane.at.insert(mark.number, offset).is_some_and(|at| at != offset) {
            return Err(Anomaly::Duplicate { partition, offset, mark });
        }
        Ok(())
    }

    /// A partition was read from its beginning to its end.
    ///
    /// # Errors
    /// The first promise that the log breaks.
    pub fn check(&mut self, partition: usize, log: &[(i64, Mark)]) -> Result<(), Anomaly> {
        let mut next = vec![0; self.lanes.len()];
        for (expected, (offset, mark)) in (0..).zip(log) {
            if *offset != expected {
                return Err(Anomaly::Gap { partition, expected, found: *offset });
            }
            let known = next.get_mut(mark.lane);
            let Some(next) = known else {
                return Err(Anomaly::Invented { partition, offset: *offset, mark: *mark });
            };
            if mark.number < *next {
                return Err(Anomaly::Duplicate { partition, offset: *offset, mark: *mark });
            }
            if mark.number > *next {
                return Err(Anomaly::Overtaken { partition, offset: *offset, mark: *mark });
            }
            *next += 1;
        }
        let end = i64::try_from(log.len()).unwrap_or(i64::MAX);
        if let Some((offset, mark)) = self.told[partition].range(end..).next() {
            return Err(Anomaly::Lost { partition, offset: *offset, mark: *mark });
        }
        log.iter().try_for_each(|(offset, mark)| self.tell(partition, *offset, *mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(lane: usize, number: u32) -> Mark {
        Mark { lane, number }
    }

    /// Lanes 0 and 1 write to partition 0, lane 2 to partition 1; each has sent three records.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(2, &[0, 0, 1]);
        (0..3).for_each(|lane| ledger.send(lane, 3));
        ledger
    }

    #[test]
    fn a_log_that_keeps_its_promises_passes() {
        let mut ledger = ledger();
        ledger.acknowledge(0, 0..2, 0).unwrap();
        ledger.acknowledge(1, 0..1, 2).unwrap();
        // Lane 0's third record was never answered, and is there.
        let log = [(0, mark(0, 0)), (1, mark(0, 1)), (2, mark(1, 0)), (3, mark(0, 2))];

        assert_eq!(ledger.check(0, &log), Ok(()));
        assert_eq!(ledger.check(1, &[]), Ok(()));
        assert_eq!(ledger.acknowledge(0, 2..3, 3), Ok(()));
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
            ledger.acknowledge(0, 0..1, 0).unwrap();
            assert_eq!(ledger.check(0, log).as_ref(), Err(expected));
        }
    }

    #[test]
    fn more_than_was_sent_is_invented() {
        let mut ledger = ledger();
        let log: Vec<_> = (0..4).map(|number| (i64::from(number), mark(0, number))).collect();
        assert_eq!(
            ledger.check(0, &log),
            Err(Anomaly::Invented { partition: 0, offset: 3, mark: mark(0, 3) })
        );
    }

    #[test]
    fn what_a_reader_saw_must_stay() {
        let mut ledger = ledger();
        ledger.tell(0, 0, mark(1, 0)).unwrap();

        assert_eq!(ledger.check(0, &[]), Err(Anomaly::Lost { partition: 0, offset: 0, mark: mark(1, 0) }));
    }

    #[test]
    fn a_second_answer_must_name_the_first_offset() {
        let mut ledger = ledger();
        ledger.acknowledge(0, 0..2, 0).unwrap();
        assert_eq!(
            ledger.acknowledge(0, 0..2, 5),
            Err(Anomaly::Duplicate { partition: 0, offset: 5, mark: mark(0, 0) })
        );
    }
}
