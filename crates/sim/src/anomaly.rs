//! What nobody may ever see.

use std::fmt;

use crate::ledger::Mark;

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
    /// Deleted records can be read again.
    Returned {
        /// The partition.
        partition: usize,
        /// Where the log begins, or what was read.
        offset: i64,
        /// Below this everything was deleted.
        low: i64,
    },
    /// Compaction took a record, and it can be read again; or a key that was deleted has a value again.
    Revived {
        /// The partition.
        partition: usize,
        /// Where it is.
        offset: i64,
        /// Which one.
        mark: Mark,
    },
    /// What was sent after a sync had failed was acknowledged before the node was started again.
    Unsafe {
        /// The lane.
        lane: usize,
        /// Where.
        offset: i64,
    },
    /// What a transaction wrote, or the offset that it committed, is not there exactly once.
    NotOnce(String),
    /// Two members of a group were told that a partition is theirs, and both may still believe it.
    TwoOwners(String),
    /// Somebody who is out of a group, or behind it, was taken for a member of it.
    Outlived(String),
    /// A committed offset is gone, or an earlier one, or nobody ever sent it.
    WentBack(String),
    /// A topic that was deleted is there.
    Undead(String),
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
            Self::Returned { partition, offset, low } => {
                write!(f, "returned: {partition}:{offset} is there, everything below {low} was deleted")
            }
            Self::Revived { partition, offset, mark } => {
                write!(f, "revived: {mark} is at {partition}:{offset}, and was compacted away")
            }
            Self::Unsafe { lane, offset } => {
                write!(
                    f,
                    "unsafe: lane {lane} has an answer at {offset}, and a sync had failed before it asked"
                )
            }
            Self::NotOnce(text) => write!(f, "not exactly once: {text}"),
            Self::TwoOwners(text) => write!(f, "two owners: {text}"),
            Self::Outlived(text) => write!(f, "outlived: {text}"),
            Self::WentBack(text) => write!(f, "went back: {text}"),
            Self::Undead(text) => write!(f, "undead: {text}"),
            Self::Corrupt(text) => write!(f, "corrupt: {text}"),
            Self::Unavailable(text) => write!(f, "unavailable: {text}"),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
        }
    }
}
