//! The seal: what the facts must add up to.
//!
//! sled takes what it cannot read at the end of its log for a write that was torn, and goes on without it. That is right after
//! a power cut and wrong after a bit has flipped: topics would be gone without a word, and then their files. So before facts
//! that exist nowhere else are changed, a file beside sled is told what they may add up to from now on; at the next start they must.
//!
//! ```text
//!   commit:  seal {before, after the first change, after the second, ...}, synced  ->  changes  ->  flush  ->  seal {after}
//!   start:   the sum of what sled has is one of those, or the directory is refused
//! ```

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Mutex, MutexGuard},
};

use crc_fast::{CrcAlgorithm, Digest, checksum};
use ottla_host::{Disk, OpenMode, patiently};

use super::{Change, FactsError, Pair, tree::Tree};
use crate::files::lock;

/// What is sealed: identity and metadata. Everything else is rebuilt from the files it tells of.
const SEALED: [&[u8]; 2] = [b"i/", b"m/"];
/// Changes that are sealed and flushed together.
const CHANGES_MAX: usize = 800;
/// The seal is there twice, so that one bit in it is not the end of everything.
const SLOT_BYTES: usize = 8192;
/// Before the sums: CRC, how many sums, a counter.
const HEADER_BYTES: usize = 16;

/// The seal of one data directory's facts.
#[derive(Debug)]
pub(super) struct Seal {
    disk: Disk,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Which writing of the seal is the later one.
    count: u64,
    /// What the facts add up to; none when a change may have come half-way.
    sum: Option<u64>,
    /// What they may add up to on the disk.
    allowed: Vec<u64>,
}

impl Seal {
    /// Holds what is there against the seal, which is made when there is none.
    ///
    /// # Errors
    /// `Damaged`: what was put last is not there any more.
    pub(super) fn open(disk: Disk, path: PathBuf, tree: &Tree) -> Result<Self, FactsError> {
        let sum = sum_of(tree)?;
        let found = read(&disk, &path).map_err(|error| failed(&path, &error))?;
        let seal = Self { disk, path, state: Mutex::default() };
        let mut state = lock(&seal.state);
        match found {
            Found::Nothing => state.allowed = vec![sum],
            Found::Unreadable => {
                log::warn!(file:% = seal.path.display(); "the seal of the metadata cannot be read and is made anew");
                state.allowed = vec![sum];
            }
            Found::Sealed { allowed, .. } if !allowed.contains(&sum) => {
                return Err(seal.broken(sum, &allowed));
            }
            Found::Sealed { count, allowed } => (state.count, state.allowed) = (count, allowed),
        }
        state.sum = Some(sum);
        drop(state);
        Ok(seal)
    }

    /// Changes facts in this order, and returns once they are safe.
    pub(super) fn commit(&self, tree: &Tree, changes: &[Change]) -> Result<(), FactsError> {
        let mut state = lock(&self.state);
        for part in changes.chunks(CHANGES_MAX) {
            let sums = sums(tree, state.sum.take(), part)?;
            let last = sums.last().copied();
            for sum in sums {
                if !state.allowed.contains(&sum) {
                    state.allowed.push(sum);
                }
            }
            self.write(&mut state, true)?;
            part.iter().try_for_each(|(key, value)| tree.change(key, value.as_deref()))?;
            tree.flush()?;
            state.sum = last;
            state.allowed = last.into_iter().collect();
        }
        // Not waited for: what is there meanwhile allows more, and is true as well.
        self.write(&mut state, false)
    }

    fn write(&self, state: &mut MutexGuard<'_, State>, synced: bool) -> Result<(), FactsError> {
        state.count += 1;
        // As many as have room: those before the last failures, which are none in good weather.
        let room = (SLOT_BYTES - HEADER_BYTES) / 8;
        let from = state.allowed.len().saturating_sub(room);
        let sums = &state.allowed[from..];
        let mut slot = vec![0; 4];
        slot.extend_from_slice(&(sums.len() as u32).to_be_bytes());
        slot.extend_from_slice(&state.count.to_be_bytes());
        sums.iter().for_each(|sum| slot.extend_from_slice(&sum.to_be_bytes()));
        let crc = checksum(CrcAlgorithm::Crc32Iscsi, &slot[4..]) as u32;
        slot[..4].copy_from_slice(&crc.to_be_bytes());
        slot.resize(SLOT_BYTES, 0);
        let opened = patiently(|| self.disk.open(&self.path, OpenMode::Create));
        let written = opened.and_then(|file| {
            let is_new = file.len()? == 0;
            file.pwrite_all(&slot, 0).map_err(io::Error::from)?;
            if synced {
                file.sync_data()?;
            }
            if is_new && let Some(dir) = self.path.parent() {
                patiently(|| self.disk.sync_dir(dir))?;
            }
            // Not waited for: until it is safe the one before it is, and a power cut tears no more than one of them.
            file.pwrite_all(&slot, SLOT_BYTES as u64).map_err(io::Error::from)
        });
        written.map_err(|error| failed(&self.path, &error))
    }

    fn broken(&self, sum: u64, allowed: &[u64]) -> FactsError {
        let expected: Vec<_> = allowed.iter().map(|sum| format!("{sum:016x}")).collect();
        FactsError::Damaged {
            key: "of the metadata in .ottla/facts/db".to_owned(),
            why: format!(
                "together its facts add up to {sum:016x}, {} says {}: what was written last is not there any more",
                self.path.display(),
                expected.join(" or ")
            ),
        }
    }
}

enum Found {
    Nothing,
    Unreadable,
    Sealed { count: u64, allowed: Vec<u64> },
}

fn read(disk: &Disk, path: &PathBuf) -> io::Result<Found> {
    let bytes = match disk.read(path, 2 * SLOT_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(Found::Unreadable),
        bytes => bytes?,
    };
    let newest = bytes.chunks_exact(SLOT_BYTES).filter_map(read_slot).max_by_key(|(count, _)| *count);
    Ok(newest.map_or(Found::Unreadable, |(count, allowed)| Found::Sealed { count, allowed }))
}

fn read_slot(slot: &[u8]) -> Option<(u64, Vec<u64>)> {
    let (header, sums) = slot.split_at_checked(HEADER_BYTES)?;
    let crc = u32::from_be_bytes(header[..4].try_into().ok()?);
    let n = u32::from_be_bytes(header[4..8].try_into().ok()?) as usize;
    let end = n.checked_mul(8)?.checked_add(HEADER_BYTES)?;
    if checksum(CrcAlgorithm::Crc32Iscsi, slot.get(4..end)?) as u32 != crc {
        return None;
    }
    let count = u64::from_be_bytes(header[8..].try_into().ok()?);
    let sums = sums.chunks_exact(8).take(n).filter_map(|sum| Some(u64::from_be_bytes(sum.try_into().ok()?)));
    Some((count, sums.collect()))
}

/// What the facts add up to now, and after each of the changes.
fn sums(tree: &Tree, known: Option<u64>, changes: &[Change]) -> Result<Vec<u64>, FactsError> {
    let mut sum = known.map_or_else(|| sum_of(tree), Ok)?;
    let mut sums = vec![sum];
    let mut changed: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
    for (key, value) in changes {
        let before = match changed.get(key.as_slice()) {
            Some(value) => value.map(<[u8]>::to_vec),
            None => tree.get(key)?,
        };
        sum = sum.wrapping_sub(before.map_or(0, |value| sum_one(key, &value)));
        sum = sum.wrapping_add(value.as_ref().map_or(0, |value| sum_one(key, value)));
        changed.insert(key, value.as_deref());
        sums.push(sum);
    }
    Ok(sums)
}

fn sum_of(tree: &Tree) -> Result<u64, FactsError> {
    let mut sum = 0_u64;
    for prefix in SEALED {
        let pairs: Vec<Pair> = tree.scan_prefix(prefix)?;
        sum = pairs.iter().fold(sum, |sum, (key, value)| sum.wrapping_add(sum_one(key, value)));
    }
    Ok(sum)
}

fn sum_one(key: &[u8], value: &[u8]) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(&(key.len() as u64).to_be_bytes());
    digest.update(key);
    digest.update(value);
    digest.finalize()
}

fn failed(path: &std::path::Path, error: &io::Error) -> FactsError {
    FactsError::Failed(format!("{}: {error}", path.display()))
}
