//! The journal of one data directory: which file an entry goes into, and when a file may be used again.
//!
//! A durable append is written to its segment (page cache) and to the journal, and is acknowledged by the journal's sync. The
//! journal is a handful of zero-filled files of fixed size, used over and over:
//!
//! ```text
//!   free --place--> active --full--> sealed --every segment it covers is synced--> stale --wiped--> free
//!                                    (oldest first)
//! ```
//!
//! Every use of a file is a *lap* with a number of its own, every entry has a *sequence* number; both go up by one, without
//! a gap, across all files. So what recovery reads is one chain: laps in order, sequences in order. Laps are given up from
//! the oldest on only, and a file is wiped (its first bytes, synced) before it counts as free: an entry of an earlier
//! lap is never taken for one of this. A lap begins when the one before is wholly on the disk.
//!
//! The machine knows sizes and names only; the journal in `ottla-store` has the files.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::PartitionId;

/// Files of a new journal: together 1 MiB.
const FILES_AT_START: u32 = 4;

/// Bytes of each of them.
const FILE_BYTES_MIN: u64 = 256 * 1024;

/// A file grows no larger than this, unless one entry needs more: what is sealed can be settled while little is in it.
const FILE_BYTES_USUAL: u64 = 32 << 20;

/// Sealed laps beyond this are settled, though there is room for more: after a crash all that is not settled is read, compared
/// with its segments and synced before anybody is served.
const UNSETTLED_BYTES_MAX: u64 = 32 << 20;

/// Files grow while the largest has less than this for each partition of a lap: to settle a lap costs each of them a sync of its
/// segment and a checkpoint, and a file of 256 KiB that fifty partitions share is full in no time.
const BYTES_PER_PARTITION_MIN: u64 = 64 * 1024;

/// Names a journal file within its directory.
pub type FileNumber = u32;

/// The bounds of one journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagingLimits {
    /// All files together (`limits.journal_bytes_max`). At the edge nothing grows: an entry without room is not placed, and
    /// whoever brought it syncs its segment instead.
    pub bytes_max: u64,
    /// One file. A larger entry is never placed.
    pub file_bytes_max: u64,
}

impl StagingLimits {
    /// A journal of `bytes_max`; one file has at most an eighth of it.
    #[must_use]
    pub fn of(bytes_max: u64) -> Self {
        Self { bytes_max, file_bytes_max: (bytes_max / 8).max(FILE_BYTES_MIN) }
    }
}

/// A lap that was found on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLap {
    /// Its file.
    pub file: FileNumber,
    /// Its number.
    pub lap: u64,
    /// One past the sequence of its last entry.
    pub end: u64,
    /// Whose entries are in it, and one past each one's last sequence.
    pub partitions: BTreeMap<PartitionId, u64>,
}

/// Where a run of entries goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: FileNumber,
    /// Position of the first entry; the others follow without a gap.
    pub at: u64,
    /// The lap of all of them.
    pub lap: u64,
    /// The sequence of the first; the others count on.
    pub sequence: u64,
    /// How many entries of the burst go here; at least one. Place the rest again.
    pub count: usize,
    /// Whether the lap begins here: then the file of the lap before has to be synced before anything is written.
    pub begins: bool,
}

/// What the machine wants done, in the background, and reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Sync the segments (and new directory entries) of these partitions, as they are now. Reported, one by one, by
    /// [`Staging::settled`] with this `upto`.
    Settle {
        /// Whose.
        partitions: Vec<PartitionId>,
        /// Every entry below this sequence is covered then.
        upto: u64,
    },
    /// Zero the first bytes of this file, and sync it. Reported by [`Staging::wiped`].
    Wipe {
        /// The file.
        file: FileNumber,
    },
    /// Make a file of zeros, synced, its name too. Reported by [`Staging::grown`] or [`Staging::not_grown`].
    Grow {
        /// Its number.
        file: FileNumber,
        /// Its size.
        bytes: u64,
    },
}

#[derive(Debug)]
struct Active {
    file: FileNumber,
    bytes: u64,
    at: u64,
    lap: u64,
    partitions: BTreeMap<PartitionId, u64>,
}

#[derive(Debug)]
struct Sealed {
    file: FileNumber,
    bytes: u64,
    /// Whose segments are not known to be synced yet; one past the last sequence of each.
    partitions: BTreeMap<PartitionId, u64>,
    asked: bool,
    wiping: bool,
}

/// The machine of one journal.
#[derive(Debug)]
pub struct Staging {
    limits: StagingLimits,
    free: BTreeMap<FileNumber, u64>,
    active: Option<Active>,
    sealed: VecDeque<Sealed>,
    growing: Option<(FileNumber, u64)>,
    next_file: FileNumber,
    next_lap: u64,
    next_sequence: u64,
    /// The last growth failed (a full disk): not tried again before a file came free.
    may_grow: bool,
}

impl Staging {
    /// The files that a new journal has to make before anything else.
    pub fn first_files() -> impl Iterator<Item = (FileNumber, u64)> {
        (0..FILES_AT_START).map(|file| (file, FILE_BYTES_MIN))
    }

    /// A journal with these files, in which these laps were found, oldest first. They are sealed: each is given up when
    /// the partitions in it have recovered and are synced. Files without a lap are free.
    #[must_use]
    pub fn new(limits: StagingLimits, files: &BTreeMap<FileNumber, u64>, found: Vec<FoundLap>) -> Self {
        let mut free = files.clone();
        let next_lap = found.last().map_or(1, |last| last.lap + 1);
        let next_sequence = found.last().map_or(1, |last| last.end);
        let seal = |lap: FoundLap| Sealed {
            file: lap.file,
            bytes: free.remove(&lap.file).unwrap_or(0),
            partitions: lap.partitions,
            asked: false,
            wiping: false,
        };
        let sealed = found.into_iter().map(seal).collect();
        Self {
            limits,
            free,
            active: None,
            sealed,
            growing: None,
            next_file: files.keys().last().map_or(0, |last| last + 1),
            next_lap,
            next_sequence,
            may_grow: true,
        }
    }

    /// Gives places to entries (whose, and how many bytes) from the first on, as many as one file takes. None when there
    /// is no room for the first: it may be tried again after the next report, or its partition synced instead.
    pub fn place(&mut self, entries: &[(PartitionId, u64)], out: &mut Vec<Chore>) -> Option<Place> {
        let (_, first) = entries.first()?;
        let begins = self.active.as_ref().is_none_or(|active| active.bytes - active.at < *first);
        if begins && !self.begin(*first, out) {
            return None;
        }
        let active = self.active.as_mut()?;
        let mut place = Place {
            file: active.file,
            at: active.at,
            lap: active.lap,
            sequence: self.next_sequence,
            count: 0,
            begins,
        };
        for (partition, bytes) in entries {
            if active.bytes - active.at < *bytes {
                break;
            }
            active.at += bytes;
            self.next_sequence += 1;
            active.partitions.insert(*partition, self.next_sequence);
            place.count += 1;
        }
        Some(place)
    }

    /// Leaves the active file for a free one with room for `first` bytes.
    fn begin(&mut self, first: u64, out: &mut Vec<Chore>) -> bool {
        // The largest: fewer laps, fewer waits between them.
        let fitting = self.free.iter().filter(|(_, bytes)| **bytes >= first);
        let Some((&file, &bytes)) = fitting.max_by_key(|(file, bytes)| (**bytes, std::cmp::Reverse(**file)))
        else {
            // The active file stays: smaller entries may still fit.
            self.grow(first, out);
            self.settle_oldest(out);
            return false;
        };
        if let Some(full) = self.active.take() {
            self.sealed.push_back(Sealed {
                file: full.file,
                bytes: full.bytes,
                partitions: full.partitions,
                asked: false,
                wiping: false,
            });
        }
        self.free.remove(&file);
        self.active = Some(Active { file, bytes, at: 0, lap: self.next_lap, partitions: BTreeMap::new() });
        self.next_lap += 1;
        // Appends come faster than segments are synced, or the same segments would be synced for little.
        if self.free.len() < 2 || self.is_crowded() {
            self.grow(first, out);
        }
        if self.free.len() < self.sealed.len() {
            self.settle_oldest(out);
        }
        while self.unsettled_bytes() > UNSETTLED_BYTES_MAX {
            self.settle_oldest(out);
        }
        true
    }

    /// Whether too many partitions shared the last lap for files of this size.
    fn is_crowded(&self) -> bool {
        let partitions = self.sealed.back().map_or(0, |lap| lap.partitions.len() as u64);
        self.largest() < partitions * BYTES_PER_PARTITION_MIN
    }

    /// Sealed laps of which nobody was asked to settle them yet.
    fn unsettled_bytes(&self) -> u64 {
        self.sealed.iter().filter(|lap| !lap.asked).map(|lap| lap.bytes).sum()
    }

    /// Everything of this partition below sequence `upto` is in synced segments with synced names: its segments were
    /// synced after the last of these entries was written to them.
    pub fn settled(&mut self, partition: PartitionId, upto: u64, out: &mut Vec<Chore>) {
        for lap in &mut self.sealed {
            if lap.partitions.get(&partition).is_some_and(|end| *end <= upto) {
                lap.partitions.remove(&partition);
            }
        }
        self.give_up(out);
    }

    /// The topic of this partition is gone: nothing of it will be replayed.
    pub fn forgotten(&mut self, partition: PartitionId, out: &mut Vec<Chore>) {
        if let Some(active) = &mut self.active {
            active.partitions.remove(&partition);
        }
        self.settled(partition, u64::MAX, out);
    }

    /// This file is wiped.
    pub fn wiped(&mut self, file: FileNumber, out: &mut Vec<Chore>) {
        assert!(
            self.sealed.front().is_some_and(|oldest| oldest.file == file && oldest.wiping),
            "journal file {file} was wiped, but is not the oldest one"
        );
        if let Some(oldest) = self.sealed.pop_front() {
            self.free.insert(file, oldest.bytes);
        }
        self.may_grow = true;
        self.give_up(out);
    }

    /// This file is made.
    pub fn grown(&mut self, file: FileNumber) {
        if let Some((_, bytes)) = self.growing.take_if(|(number, _)| *number == file) {
            self.free.insert(file, bytes);
        }
    }

    /// This file could not be made (a full disk): the journal goes on with what it has.
    pub fn not_grown(&mut self, file: FileNumber) {
        if self.growing.take_if(|(number, _)| *number == file).is_some() {
            self.may_grow = false;
        }
    }

    /// Asks for everything that is sealed to be settled: before a clean stop, or when the journal is idle.
    pub fn settle_all(&mut self, out: &mut Vec<Chore>) {
        while self.sealed.iter().any(|lap| !lap.asked) {
            self.settle_oldest(out);
        }
        self.give_up(out);
    }

    /// Whether nothing is in the journal that a recovery would need.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.sealed.is_empty() && self.active.as_ref().is_none_or(|active| active.partitions.is_empty())
    }

    /// Bytes of all files, those that are being made included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let growing = self.growing.map_or(0, |(_, bytes)| bytes);
        let sealed: u64 = self.sealed.iter().map(|lap| lap.bytes).sum();
        growing
            + sealed
            + self.free.values().sum::<u64>()
            + self.active.as_ref().map_or(0, |active| active.bytes)
    }

    /// The sequence of the next entry.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    fn settle_oldest(&mut self, out: &mut Vec<Chore>) {
        if let Some(lap) = self.sealed.iter_mut().find(|lap| !lap.asked) {
            lap.asked = true;
            if !lap.partitions.is_empty() {
                // A segment is written before the journal is: its sync covers the laps behind this one too.
                out.push(Chore::Settle {
                    partitions: lap.partitions.keys().copied().collect(),
                    upto: self.next_sequence,
                });
            }
        }
        self.give_up(out);
    }

    /// Wipes the oldest lap when nobody needs it; one at a time, and in order, so that what is left is one chain.
    fn give_up(&mut self, out: &mut Vec<Chore>) {
        if let Some(oldest) = self.sealed.front_mut()
            && oldest.partitions.is_empty()
            && !oldest.wiping
        {
            oldest.wiping = true;
            out.push(Chore::Wipe { file: oldest.file });
        }
    }

    /// Bytes of the largest file.
    fn largest(&self) -> u64 {
        let sealed = self.sealed.iter().map(|lap| lap.bytes);
        let active = self.active.iter().map(|active| active.bytes);
        sealed.chain(self.free.values().copied()).chain(active).max().unwrap_or(0)
    }

    /// Twice the largest file up to the usual size, or more when an entry needs it; less when that is all that is left of the bound.
    fn grow(&mut self, entry: u64, out: &mut Vec<Chore>) {
        if self.growing.is_some() || !self.may_grow {
            return;
        }
        let usual = self.largest().saturating_mul(2).max(FILE_BYTES_MIN);
        let wanted = usual.min(FILE_BYTES_USUAL).max(entry.next_power_of_two());
        let left = self.limits.bytes_max.saturating_sub(self.bytes());
        let bytes = wanted.min(self.limits.file_bytes_max).min(left);
        if bytes < FILE_BYTES_MIN || bytes < entry {
            return;
        }
        let file = self.next_file;
        self.next_file += 1;
        self.growing = Some((file, bytes));
        out.push(Chore::Grow { file, bytes });
    }
}

#[cfg(test)]
#[path = "staging_tests.rs"]
mod tests;
