//! Reading the journal back at the start.

use std::{collections::BTreeMap, io, path::Path};

use bytes::Bytes;
use ottla_host::{Disk, File, OpenMode};
use ottla_rules::{
    planted,
    staging::{FileNumber, FoundLap},
};

use super::{
    JournalError,
    entry::{self, ENTRY_HEADER_BYTES, JournalEntry},
    file,
};

/// What a journal directory holds.
pub(crate) struct Scan {
    pub(crate) files: BTreeMap<FileNumber, File>,
    pub(crate) sizes: BTreeMap<FileNumber, u64>,
    /// Oldest first.
    pub(crate) laps: Vec<FoundLap>,
    /// In sequence order.
    pub(crate) entries: Vec<JournalEntry>,
}

/// One lap, with the first sequence in it.
struct Read {
    lap: FoundLap,
    begin: u64,
    /// Where its last entry ends in the file.
    tail: u64,
    entries: Vec<JournalEntry>,
}

/// Reads all files. Only the last lap may end in something torn: every lap before it was synced before the next began, so
/// a hole there is damage, and what was acknowledged may be missing.
pub(crate) fn scan(disk: &Disk, dir: &Path) -> Result<Scan, JournalError> {
    let mut found =
        Scan { files: BTreeMap::new(), sizes: BTreeMap::new(), laps: Vec::new(), entries: Vec::new() };
    let mut laps: BTreeMap<u64, Read> = BTreeMap::new();
    let names = disk.list(dir).map_err(|error| JournalError::io("list", dir, error))?;
    for number in names.iter().filter_map(|name| file::number(&name.name)) {
        let path = file::path(dir, number);
        let failed = |error| JournalError::io("read", &path, error);
        let open = disk.open(&path, OpenMode::Write).map_err(failed)?;
        let len = open.len().map_err(failed)?;
        let bytes = read_lap(&open, len).map_err(failed)?;
        found.files.insert(number, open);
        found.sizes.insert(number, len);
        let Some(read) = walk(number, &bytes) else { continue };
        let lap = read.lap.lap;
        if let Some(twin) = laps.insert(lap, read) {
            return Err(JournalError::Damaged {
                file: path,
                at: 0,
                why: format!("lap {lap} is also in file {}", twin.lap.file),
            });
        }
    }
    check_chain(dir, &laps)?;
    for read in laps.into_values() {
        found.laps.push(read.lap);
        found.entries.extend(read.entries);
    }
    Ok(found)
}

/// A file in which a lap begins; of one that is free, and there may be many, no more than its first bytes are looked at.
fn read_lap(file: &File, len: u64) -> io::Result<Bytes> {
    let mut head = [0; ENTRY_HEADER_BYTES];
    if len < ENTRY_HEADER_BYTES as u64 {
        return Ok(Bytes::new());
    }
    file.read_exact_at(&mut head, 0)?;
    if !entry::may_begin(&head) {
        return Ok(Bytes::new());
    }
    // Not larger than the journal's bound, which is what memory has to allow for at a start.
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Bytes::from(bytes))
}

/// The lap that begins at the first byte of a file, as far as its entries follow each other.
fn walk(number: FileNumber, bytes: &Bytes) -> Option<Read> {
    let first = entry::read(bytes, 0)?;
    let lap =
        FoundLap { file: number, lap: first.lap.number, end: first.sequence, partitions: BTreeMap::new() };
    let mut read = Read { lap, begin: first.sequence, tail: 0, entries: Vec::new() };
    let mut next = Some(first);
    while let Some(found) = next {
        let of_this_lap = found.sequence == read.lap.end && entry_lap_is(&read, &found, bytes);
        if !of_this_lap && !planted::is(planted::Bug::StaleLapReplayed) {
            break;
        }
        read.lap.end += 1;
        read.lap.partitions.insert(found.entry.partition, read.lap.end);
        read.entries.push(JournalEntry {
            partition: found.entry.partition,
            epoch: found.entry.epoch,
            kind: found.entry.kind,
            lap: found.lap.number,
            sequence: found.sequence,
            file: number,
            at: read.tail,
        });
        read.tail += found.len as u64;
        // Fits: it is a place within `bytes`.
        next = entry::read(bytes, read.tail as usize);
    }
    Some(read)
}

/// Whether an entry has the number and the salt of the one at the beginning of its file.
fn entry_lap_is(read: &Read, found: &entry::Found, bytes: &Bytes) -> bool {
    read.entries.is_empty() || entry::lap_at(bytes, 0) == Some(found.lap)
}

/// Laps and sequences go on without a gap from the oldest to the last.
fn check_chain(dir: &Path, laps: &BTreeMap<u64, Read>) -> Result<(), JournalError> {
    for (before, after) in laps.values().zip(laps.values().skip(1)) {
        if before.lap.lap + 1 == after.lap.lap && before.lap.end == after.begin {
            continue;
        }
        return Err(JournalError::Damaged {
            file: file::path(dir, before.lap.file),
            at: before.tail,
            why: format!(
                "lap {} ends at entry {}, the next one found is lap {} from entry {}",
                before.lap.lap, before.lap.end, after.lap.lap, after.begin
            ),
        });
    }
    Ok(())
}
