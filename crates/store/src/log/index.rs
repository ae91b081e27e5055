//! Kafka's two sparse indexes of a segment, `OffsetIndex` and `TimeIndex`.
//!
//! An offset entry says: the batch that ends with this offset begins at this position. A time entry says: up to and with
//! the batch that ends with this offset, no timestamp is larger than this one. Both only grow. An index is a hint:
//! whoever uses an entry checks that the batch is there, and reads from the beginning of the segment when not.

use std::io;

use ottla_host::File;
use ottla_rules::ids::Offset;

/// Entries kept in memory before they are written together. With the default interval they cover 256 KiB of log.
const TAIL_MAX: usize = 64;
/// And so many stay there when they cannot be written.
const TAIL_KEPT_MAX: usize = 1_024;

/// One entry of an index, of fixed size.
pub(crate) trait Entry: Copy + PartialEq + std::fmt::Debug {
    const BYTES: usize;
    fn encode(&self, base: Offset, out: &mut Vec<u8>);
    fn decode(base: Offset, bytes: &[u8]) -> Self;
    /// Whether this entry may stand right after `before`.
    fn follows(&self, before: &Self) -> bool;
}

/// The batch ending with `last` begins at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) last: Offset,
    pub(crate) position: u64,
}

/// No timestamp is larger than `timestamp` up to the batch that ends with `last`, which has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: i64,
    pub(crate) last: Offset,
}

impl Entry for OffsetEntry {
    const BYTES: usize = 8;

    fn encode(&self, base: Offset, out: &mut Vec<u8>) {
        out.extend_from_slice(&((self.last.0 - base.0) as i32).to_be_bytes());
        out.extend_from_slice(&(self.position as i32).to_be_bytes());
    }

    fn decode(base: Offset, bytes: &[u8]) -> Self {
        Self { last: base.plus(i64::from(int(bytes))), position: int(&bytes[4..]).max(0) as u64 }
    }

    fn follows(&self, before: &Self) -> bool {
        self.last > before.last && self.position > before.position
    }
}

impl Entry for TimeEntry {
    const BYTES: usize = 12;

    fn encode(&self, base: Offset, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&((self.last.0 - base.0) as i32).to_be_bytes());
    }

    fn decode(base: Offset, bytes: &[u8]) -> Self {
        let timestamp = i64::from(int(bytes)) << 32 | i64::from(int(&bytes[4..]) as u32);
        Self { timestamp, last: base.plus(i64::from(int(&bytes[8..]))) }
    }

    fn follows(&self, before: &Self) -> bool {
        self.timestamp > before.timestamp && self.last >= before.last
    }
}

fn int(bytes: &[u8]) -> i32 {
    i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// An index that is being written: what is on the disk, and a short tail that is not yet.
#[derive(Debug)]
pub(crate) struct Growing<E> {
    written: u32,
    tail: Vec<E>,
    last: Option<E>,
    last_written: Option<E>,
    /// The tail is written when it has so many entries.
    due_at: usize,
}

impl<E: Entry> Growing<E> {
    pub(crate) fn new() -> Self {
        Self::after(0, None)
    }

    /// Goes on after the first `count` entries of a file, of which `last` is the last.
    pub(crate) fn after(count: u32, last: Option<E>) -> Self {
        Self { written: count, tail: vec![], last, last_written: last, due_at: TAIL_MAX }
    }

    /// Adds an entry, unless it says nothing new.
    pub(crate) fn push(&mut self, entry: E) {
        if self.last.is_none_or(|last| entry.follows(&last)) {
            self.tail.push(entry);
            self.last = Some(entry);
        }
    }

    /// Entries that a reader finds in the file.
    pub(crate) fn written(&self) -> u32 {
        self.written
    }

    /// Entries in all.
    pub(crate) fn count(&self) -> u64 {
        u64::from(self.written) + self.tail.len() as u64
    }

    /// The last entry of the tail for which `is_before` holds.
    pub(crate) fn find_in_tail(&self, is_before: impl Fn(&E) -> bool) -> Option<E> {
        self.tail.iter().rev().find(|entry| is_before(entry)).copied()
    }

    pub(crate) fn is_due(&self) -> bool {
        self.tail.len() >= self.due_at
    }

    pub(crate) fn has_tail(&self) -> bool {
        !self.tail.is_empty()
    }

    /// Writes the tail. When that fails it stays for the next time, unless it is long by then: an index with fewer entries is slower, not
    /// wrong, as long as it ends with the right one.
    pub(crate) fn flush(&mut self, base: Offset, file: &File) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(self.tail.len() * E::BYTES);
        self.tail.iter().for_each(|entry| entry.encode(base, &mut bytes));
        if let Err(error) = file.pwrite_all(&bytes, u64::from(self.written) * E::BYTES as u64) {
            self.put_off(false);
            return Err(error.into());
        }
        self.written += self.tail.len() as u32;
        self.last_written = self.last;
        self.tail = vec![];
        self.due_at = TAIL_MAX;
        Ok(())
    }

    /// The tail could not be written, or has to wait for another: it is due when it has grown again. It is given up when it is long, or
    /// `all` of it is to go.
    pub(crate) fn put_off(&mut self, all: bool) {
        if all || self.tail.len() >= TAIL_KEPT_MAX {
            self.tail = vec![];
            self.last = self.last_written;
        }
        self.due_at = self.tail.len() + TAIL_MAX;
    }
}

/// The entry at place `at` of an index file.
pub(crate) fn entry<E: Entry>(file: &File, base: Offset, at: u32) -> io::Result<E> {
    let mut bytes = [0; 16];
    let bytes = &mut bytes[..E::BYTES];
    file.read_exact_at(bytes, u64::from(at) * E::BYTES as u64)?;
    Ok(E::decode(base, bytes))
}

/// The last of the first `count` entries for which `is_before` holds; it must hold for a first part of them only.
/// `place` of the entry comes with it.
pub(crate) fn search<E: Entry>(
    file: &File,
    base: Offset,
    count: u32,
    is_before: impl Fn(&E) -> bool,
) -> io::Result<Option<(u32, E)>> {
    let mut found = None;
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        let candidate = entry::<E>(file, base, middle)?;
        if is_before(&candidate) {
            found = Some((middle, candidate));
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(found)
}

/// Reads a whole index: its entries, up to the first that does not follow the one before or lies outside the segment.
/// `None` when anything about it is not as we would have written it.
pub(crate) fn is_sound<E: Entry>(
    file: &File,
    base: Offset,
    may: impl Fn(&E) -> bool,
) -> io::Result<Option<u32>> {
    let len = file.len()?;
    if len % E::BYTES as u64 != 0 {
        return Ok(None);
    }
    let mut before: Option<E> = None;
    let mut chunk = vec![0; 4096 * E::BYTES];
    let mut at = 0;
    while at < len {
        let n = chunk.len().min((len - at) as usize);
        file.read_exact_at(&mut chunk[..n], at)?;
        for bytes in chunk[..n].chunks_exact(E::BYTES) {
            let entry = E::decode(base, bytes);
            if !may(&entry) || before.is_some_and(|before| !entry.follows(&before)) {
                return Ok(None);
            }
            before = Some(entry);
        }
        at += n as u64;
    }
    Ok(Some((len / E::BYTES as u64) as u32))
}
