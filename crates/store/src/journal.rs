//! The journal of one data directory: one sync for every partition.
//!
//! A durable append is in its segment (page cache) before it comes here; it is acknowledged when the journal's sync that
//! covers it is done. [`ottla_rules::staging`] decides where entries go and when files are used again; this is its hands.
//!
//! Everything here blocks, and has one owner: the thread of the journal. What may take long is a [`Job`], to be run
//! elsewhere and reported.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use ottla_host::{Disk, File};
use ottla_rules::{
    ids::PartitionId,
    staging::{Chore, FileNumber, Staging, StagingLimits},
};

use crate::journal::entry::{ENTRY_HEADER_BYTES, Entry, JournalEntry, Lap};

pub mod entry;
mod file;
mod scan;

/// What went wrong with a journal. After any of these, its data directory is lost until the next start: what is on the disk
/// is not known.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk refused.
    #[error("the journal cannot {what} {}: {error}", .file.display())]
    Io {
        /// What was tried, a verb.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// What had been synced is not there any more. Never guessed at.
    #[error(
        "the journal file {} is damaged at byte {at}: {why}; acknowledged records may be missing, so restore the file, \
         or move the journal directory away to go on without them", .file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// An earlier write or sync failed.
    #[error("the journal failed before and takes nothing any more")]
    Lost,
}

impl JournalError {
    fn io(what: &'static str, file: &Path, error: io::Error) -> Self {
        Self::Io { what, file: file.to_owned(), error }
    }
}

/// What the journal needs from others.
#[derive(Debug)]
pub enum Need {
    /// Sync the segments of these partitions as they are now, their names in their directories, and the facts about their log
    /// start; then report each with [`Journal::settled`] and this `upto`. Partitions that are gone are [`Journal::forgotten`].
    Settle {
        /// Whose.
        partitions: Vec<PartitionId>,
        /// Every entry below this sequence is covered then.
        upto: u64,
    },
    /// Run this where blocking is allowed, and report with [`Journal::done`].
    Run(Job),
}

/// Work on a journal file that is not in use.
#[derive(Debug)]
pub struct Job {
    disk: Disk,
    dir: PathBuf,
    number: FileNumber,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Wipe(File),
    Grow { bytes: u64 },
}

/// How a [`Job`] ended.
#[derive(Debug)]
pub struct JobDone {
    number: FileNumber,
    end: JobEnd,
}

#[derive(Debug)]
enum JobEnd {
    Wiped(io::Result<()>),
    Grown(io::Result<File>),
}

impl Job {
    /// Does it. Blocks.
    #[must_use]
    pub fn run(self) -> JobDone {
        let end = match self.work {
            Work::Wipe(file) => JobEnd::Wiped(file::wipe(&file)),
            Work::Grow { bytes } => JobEnd::Grown(file::grow(&self.disk, &self.dir, self.number, bytes)),
        };
        JobDone { number: self.number, end }
    }
}

/// What became of a burst.
#[derive(Debug)]
pub struct Staged {
    /// So many entries, from the first on, are written. The others found no room: bring them again after the next report,
    /// or sync the segments of their partitions instead, before anything later of these partitions is brought.
    pub count: usize,
    /// One past the sequence of the last entry written.
    pub upto: u64,
    /// When this file has been synced (from now on), all of them are safe, and all before them. None when there was room for
    /// none of them.
    pub file: Option<File>,
}

/// The journal of one data directory. See the module.
#[derive(Debug)]
pub struct Journal {
    disk: Disk,
    dir: PathBuf,
    salt: u64,
    staging: Staging,
    files: BTreeMap<FileNumber, File>,
    current: Option<FileNumber>,
    /// Something was written to the current file since it was last synced.
    dirty: bool,
    lost: bool,
}

impl Journal {
    /// Opens the journal in `dir`, which is made if it is missing, and reads what is in it, in the order in which it
    /// happened. Every partition named there has to be recovered with its entries, or forgotten, and reported synced:
    /// until then its entries stay, also over further crashes. `salt` is a number never used before (random).
    ///
    /// # Errors
    /// The disk fails, or the journal is damaged before its end. A torn end is what a crash leaves, and no error.
    pub fn open(
        disk: Disk,
        dir: PathBuf,
        limits: StagingLimits,
        salt: u64,
    ) -> Result<(Self, Vec<JournalEntry>), JournalError> {
        disk.create_dir_all(&dir).map_err(|error| JournalError::io("create", &dir, error))?;
        let mut found = scan::scan(&disk, &dir)?;
        // A process that was killed leaves its last lap, a file just wiped or a new name in the page cache only. The next lap
        // must not begin before all of that is safe.
        for (number, open) in &found.files {
            open.sync_data().map_err(|error| JournalError::io("sync", &file::path(&dir, *number), error))?;
        }
        disk.sync_dir(&dir).map_err(|error| JournalError::io("sync", &dir, error))?;
        for (number, bytes) in Staging::first_files() {
            let whole = found.sizes.get(&number).is_some_and(|size| *size >= bytes);
            if whole || found.laps.iter().any(|lap| lap.file == number) {
                continue;
            }
            // Missing, or a crash came while it was made.
            let made = file::make(&disk, &dir, number, bytes);
            let made = made.map_err(|error| JournalError::io("make", &file::path(&dir, number), error))?;
            found.files.insert(number, made);
            found.sizes.insert(number, bytes);
        }
        let staging = Staging::new(limits, &found.sizes, found.laps);
        let journal =
            Self { disk, dir, salt, staging, files: found.files, current: None, dirty: false, lost: false };
        Ok((journal, found.entries))
    }

    /// Writes entries: one write for those that go into one file, record bytes as they are. Call
    /// [`File::sync_then`] on the file given back to make them safe.
    ///
    /// # Errors
    /// The journal is lost.
    pub fn append(&mut self, burst: &[Entry], needs: &mut Vec<Need>) -> Result<Staged, JournalError> {
        if self.lost {
            return Err(JournalError::Lost);
        }
        let sizes: Vec<_> = burst.iter().map(|entry| (entry.partition, entry.len())).collect();
        let mut chores = Vec::new();
        let mut count = 0;
        while let Some(place) = self.staging.place(&sizes[count..], &mut chores) {
            let entries = &burst[count..count + place.count];
            let lap = Lap { number: place.lap, salt: self.salt };
            let written = self.begin_if(place.begins, place.file);
            if let Err(error) =
                written.and_then(|()| self.write(entries, place.file, place.at, lap, place.sequence))
            {
                // What lies behind this place can never be read: its sequence does not follow.
                self.lost = true;
                return Err(error);
            }
            count += place.count;
        }
        self.hand_out(chores, needs);
        let file =
            if count > 0 { self.current.and_then(|number| self.files.get(&number)).cloned() } else { None };
        Ok(Staged { count, upto: self.staging.next_sequence(), file })
    }

    /// A lap begins when everything before it is on the disk: then only the last lap can have a torn end.
    fn begin_if(&mut self, begins: bool, number: FileNumber) -> Result<(), JournalError> {
        if !begins {
            return Ok(());
        }
        if let Some(before) = self.current.replace(number)
            && std::mem::take(&mut self.dirty)
            && let Some(file) = self.files.get(&before)
        {
            file.sync_data()
                .map_err(|error| JournalError::io("sync", &file::path(&self.dir, before), error))?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        entries: &[Entry],
        number: FileNumber,
        at: u64,
        lap: Lap,
        sequence: u64,
    ) -> Result<(), JournalError> {
        let mut headers = BytesMut::with_capacity(entries.len() * ENTRY_HEADER_BYTES);
        let mut parts: Vec<Bytes> = Vec::with_capacity(entries.len() * 2);
        for (entry, sequence) in entries.iter().zip(sequence..) {
            entry.put_header(lap, sequence, &mut headers);
            parts.push(headers.split().freeze());
            if let entry::EntryKind::Append { bytes, .. } = &entry.kind {
                parts.push(bytes.clone());
            }
        }
        let failed = |error| JournalError::io("write to", &file::path(&self.dir, number), error);
        let file = self.files.get(&number).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        self.dirty = true;
        file.pwritev_all(&parts, at).map_err(|error| failed(error.into()))
    }

    /// Reports that everything of this partition below `upto` is in synced segments. See [`Need::Settle`].
    pub fn settled(&mut self, partition: PartitionId, upto: u64, needs: &mut Vec<Need>) {
        let mut chores = Vec::new();
        self.staging.settled(partition, upto, &mut chores);
        self.hand_out(chores, needs);
    }

    /// Reports that the topic of this partition is gone: nothing of it is to be replayed.
    pub fn forgotten(&mut self, partition: PartitionId, needs: &mut Vec<Need>) {
        let mut chores = Vec::new();
        self.staging.forgotten(partition, &mut chores);
        self.hand_out(chores, needs);
    }

    /// Asks for everything but the file in use to be settled.
    pub fn settle_all(&mut self, needs: &mut Vec<Need>) {
        let mut chores = Vec::new();
        self.staging.settle_all(&mut chores);
        self.hand_out(chores, needs);
    }

    /// Reports that a job has been run.
    ///
    /// # Errors
    /// A wipe failed: the journal is lost. A file that could not be made is no error, the journal stays as large as it is.
    pub fn done(&mut self, done: JobDone, needs: &mut Vec<Need>) -> Result<(), JournalError> {
        let mut chores = Vec::new();
        match done.end {
            JobEnd::Wiped(Ok(())) => self.staging.wiped(done.number, &mut chores),
            JobEnd::Wiped(Err(error)) => {
                self.lost = true;
                return Err(JournalError::io("wipe", &file::path(&self.dir, done.number), error));
            }
            JobEnd::Grown(Ok(file)) => {
                self.files.insert(done.number, file);
                self.staging.grown(done.number);
            }
            JobEnd::Grown(Err(error)) => {
                // Often, while a small disk stays as full as it is.
                log::debug!(file = done.number, error:% = error; "journal file not made, the journal stays as it is");
                self.staging.not_grown(done.number);
            }
        }
        self.hand_out(chores, needs);
        Ok(())
    }

    /// The sync of the file given out by [`Journal::append`] is over, and nothing was appended since it was asked for: the
    /// next lap need not wait for another one.
    pub fn synced(&mut self) {
        self.dirty = false;
    }

    /// A sync of a file given out by [`Journal::append`] failed: nothing is taken any more, and nothing is tried again.
    pub fn sync_failed(&mut self) {
        self.lost = true;
    }

    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.staging.bytes()
    }

    /// The sequence of the next entry.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.staging.next_sequence()
    }

    fn hand_out(&self, chores: Vec<Chore>, needs: &mut Vec<Need>) {
        let job =
            |number, work| Need::Run(Job { disk: self.disk.clone(), dir: self.dir.clone(), number, work });
        for chore in chores {
            match chore {
                Chore::Settle { partitions, upto } => needs.push(Need::Settle { partitions, upto }),
                Chore::Grow { file, bytes } => needs.push(job(file, Work::Grow { bytes })),
                Chore::Wipe { file } => {
                    needs.extend(self.files.get(&file).map(|open| job(file, Work::Wipe(open.clone()))));
                }
            }
        }
    }
}

/// Whose entries are whose, each in order.
#[must_use]
pub fn by_partition(entries: Vec<JournalEntry>) -> BTreeMap<PartitionId, Vec<JournalEntry>> {
    let mut sorted: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in entries {
        sorted.entry(entry.partition).or_default().push(entry);
    }
    sorted
}

#[cfg(test)]
mod tests;
