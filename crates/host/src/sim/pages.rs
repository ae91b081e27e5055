//! One simulated file: what the page cache holds, what the platter holds, and what a power cut makes of the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::sim::SimChance;

/// What a disk writes whole or not at all.
pub(crate) const SECTOR: usize = 512;
/// Sectors that the kernel writes out together, and that a power cut may tear apart.
const SECTORS_PER_PAGE: u64 = 8;

/// Bytes of one file, twice.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// What readers see.
    cache: Vec<u8>,
    /// What would be there after a power cut that loses everything unsynced.
    platter: Vec<u8>,
    /// Sectors that were written and not synced since, each with the number of its last write.
    dirty: BTreeMap<u64, u64>,
    /// The length was changed and not synced since.
    len_dirty: bool,
    /// Where the file was cut, with the number of the cut, unless synced since or followed by a deeper one; the deepest
    /// first. The platter still has what was there.
    cuts: Vec<(usize, u64)>,
    /// Writes, cuts and syncs so far.
    step: u64,
    /// The youngest sync that has come to its end.
    synced: u64,
    /// Pages that the page cache does not have: nobody has read or written them since the power came back.
    cold: BTreeSet<u64>,
    /// When it was last written, Unix milliseconds.
    modified_ms: i64,
}

/// What one sync makes durable: the state at the time it was asked for.
#[derive(Debug)]
pub(crate) struct Snapshot {
    step: u64,
    len: usize,
    cut: Option<usize>,
    sectors: Vec<(u64, u64, Vec<u8>)>,
}

impl Pages {
    pub(crate) fn len(&self) -> usize {
        self.cache.len()
    }

    /// When it was last written, Unix milliseconds.
    pub(crate) fn modified_ms(&self) -> i64 {
        self.modified_ms
    }

    /// It is written, or cut, now.
    pub(crate) fn touch(&mut self, now_ms: i64) {
        self.modified_ms = now_ms;
    }

    /// Whether the page cache has all of a range.
    pub(crate) fn is_warm(&self, range: Range<usize>) -> bool {
        let range = range.start..range.end.min(self.cache.len());
        range.is_empty() || self.cold.range(pages(range.start, range.end)).next().is_none()
    }

    /// The page cache lets go of everything that it may.
    pub(crate) fn chill(&mut self) {
        if self.cache.is_empty() {
            return;
        }
        let dirty = self.dirty_pages();
        self.cold = pages(0, self.cache.len()).filter(|page| !dirty.contains(page)).collect();
    }

    pub(crate) fn read(&mut self, into: &mut [u8], at: usize) -> usize {
        if !into.is_empty() && !self.cold.is_empty() {
            let end = at.saturating_add(into.len());
            self.cold.retain(|page| !pages(at, end).contains(page));
        }
        let from = self.cache.get(at..).unwrap_or_default();
        let read = from.len().min(into.len());
        into[..read].copy_from_slice(&from[..read]);
        read
    }

    pub(crate) fn write(&mut self, bytes: &[u8], at: usize, chance: &SimChance) {
        if bytes.is_empty() {
            return;
        }
        self.step += 1;
        let end = at + bytes.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
            self.len_dirty = true;
        }
        self.cache[at..end].copy_from_slice(bytes);
        for sector in sectors(at, end) {
            self.dirty.insert(sector, self.step);
            self.cold.remove(&(sector / SECTORS_PER_PAGE));
        }
        // The kernel writes out what it likes when it likes: an older version of a page may be what a crash leaves.
        if chance.one_in(8) {
            self.write_some_page_out(chance);
        }
    }

    pub(crate) fn set_len(&mut self, len: usize) {
        self.step += 1;
        if len < self.cache.len() {
            self.cuts.retain(|(at, _)| *at < len);
            self.cuts.push((len, self.step));
            self.dirty.retain(|sector, _| byte(*sector) < len);
        }
        self.len_dirty |= len != self.cache.len();
        self.cache.resize(len, 0);
    }

    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.step += 1;
        let sectors =
            self.dirty.iter().map(|(sector, written)| (*sector, *written, self.sector(*sector).to_vec()));
        Snapshot {
            step: self.step,
            len: self.cache.len(),
            cut: self.deepest_cut(),
            sectors: sectors.collect(),
        }
    }

    /// A sync came to its end.
    pub(crate) fn harden(&mut self, snapshot: Snapshot) {
        // A younger sync covered all of this, and perhaps newer bytes at the same places.
        if snapshot.step < self.synced {
            return;
        }
        self.synced = snapshot.step;
        if let Some(at) = snapshot.cut {
            self.platter.truncate(at);
        }
        for (sector, _, bytes) in &snapshot.sectors {
            put(&mut self.platter, byte(*sector), bytes);
        }
        self.platter.resize(snapshot.len, 0);
        self.clean(&snapshot);
    }

    /// A sync failed: as Linux does, the pages are clean now, and no later sync will write them.
    pub(crate) fn lose(&mut self, snapshot: &Snapshot) {
        self.clean(snapshot);
    }

    fn clean(&mut self, snapshot: &Snapshot) {
        for (sector, written, _) in &snapshot.sectors {
            if self.dirty.get(sector) == Some(written) {
                self.dirty.remove(sector);
            }
        }
        // A cut that came after the question is still to be synced, but no longer reaches as deep as the older ones did.
        self.cuts.retain(|(_, cut)| *cut > snapshot.step);
        self.len_dirty &= self.cache.len() != snapshot.len;
    }

    /// The power goes: of each unsynced page all, nothing, or some sectors survive, whatever was written first; so
    /// does the length, anywhere between the old and the new one.
    pub(crate) fn crash(&mut self, chance: &SimChance) {
        let mut limit = usize::MAX;
        if let Some(at) = self.deepest_cut() {
            if chance.one_in(2) {
                self.platter.truncate(at);
            } else {
                // The cut is lost. New blocks beyond it were taken after it, so they are lost with it.
                limit = at;
            }
        }
        let mut left = std::mem::take(&mut self.platter);
        let old_len = left.len();
        for page in self.dirty_pages() {
            let fate = chance.pick(0..3);
            for sector in page * SECTORS_PER_PAGE..(page + 1) * SECTORS_PER_PAGE {
                let survives = match fate {
                    0 => false,
                    1 => true,
                    _ => chance.one_in(2),
                };
                let end = byte(sector) + SECTOR;
                if survives && self.dirty.contains_key(&sector) && end.min(self.cache.len()) <= limit {
                    put(&mut left, byte(sector), self.sector(sector));
                }
            }
        }
        left.resize(self.surviving_len(old_len, limit, chance), 0);
        *self = Self {
            cache: left.clone(),
            platter: left,
            step: self.step,
            synced: self.step,
            modified_ms: self.modified_ms,
            ..Self::default()
        };
        self.chill();
    }

    fn surviving_len(&self, old: usize, limit: usize, chance: &SimChance) -> usize {
        let new = self.cache.len();
        if !self.len_dirty || limit != usize::MAX {
            return old;
        }
        match chance.pick(0..3) {
            0 => old,
            1 => new,
            _ if new < old => new,
            _ => usize::try_from(chance.pick(old as u64..new as u64 + 1)).unwrap_or(old),
        }
    }

    /// Puts one dirty page on the platter without making it clean: nobody was promised anything.
    fn write_some_page_out(&mut self, chance: &SimChance) {
        // A page beyond a pending cut, or beyond the old end, waits for the metadata, which waits for a sync or a crash.
        let limit = self.deepest_cut().map_or(self.platter.len(), |at| at.min(self.platter.len()));
        let pages = self.dirty_pages();
        if pages.is_empty() {
            return;
        }
        let chosen = chance.pick(0..pages.len() as u64);
        // The cast loses nothing: the choice is below a length.
        #[allow(clippy::cast_possible_truncation)]
        let page = pages[chosen as usize];
        for sector in page * SECTORS_PER_PAGE..(page + 1) * SECTORS_PER_PAGE {
            let end = byte(sector) + SECTOR;
            if self.dirty.contains_key(&sector) && end <= limit && end <= self.cache.len() {
                self.platter[byte(sector)..end].copy_from_slice(&self.cache[byte(sector)..end]);
            }
        }
    }

    fn deepest_cut(&self) -> Option<usize> {
        self.cuts.first().map(|(at, _)| *at)
    }

    fn dirty_pages(&self) -> Vec<u64> {
        let mut pages: Vec<u64> = self.dirty.keys().map(|sector| sector / SECTORS_PER_PAGE).collect();
        pages.dedup();
        pages
    }

    /// What the cache has of a sector; less than a whole one at the end of the file.
    fn sector(&self, sector: u64) -> &[u8] {
        let at = byte(sector).min(self.cache.len());
        &self.cache[at..(at + SECTOR).min(self.cache.len())]
    }
}

/// Where a sector begins.
fn byte(sector: u64) -> usize {
    // Sector numbers come from places inside a `Vec`, so their bytes are countable.
    usize::try_from(sector).unwrap_or(usize::MAX / SECTOR) * SECTOR
}

fn sectors(at: usize, end: usize) -> std::ops::RangeInclusive<u64> {
    (at / SECTOR) as u64..=((end - 1) / SECTOR) as u64
}

fn pages(at: usize, end: usize) -> std::ops::RangeInclusive<u64> {
    let sectors = sectors(at, end);
    sectors.start() / SECTORS_PER_PAGE..=sectors.end() / SECTORS_PER_PAGE
}

fn put(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = at + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[at..end].copy_from_slice(bytes);
}
