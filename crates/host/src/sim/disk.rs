//! The simulated disk: a tree of names over pages, with faults on command.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::disk::{Entry, OpenMode, WriteError};
use crate::sim::pages::{Pages, Snapshot};
use crate::sim::tree::{Tree, names_of};
use crate::sim::{SimChance, SimClock};

/// Bytes that are free unless a test says otherwise.
const FREE_BYTES: u64 = 1 << 40;

/// A disk in memory that tells the page cache from the platter. Cloning shares it; it outlives the node.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    chance: SimChance,
    clock: SimClock,
}

/// What can be wrong with the files below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next sync, of a file or a directory, fails with EIO, once. As on Linux, a file's pages are marked clean
    /// without being on the platter: a second sync succeeds and saves nothing.
    FailNextSync,
    /// Files may grow by so many bytes in all; then writes stop short with ENOSPC, and no file can be made.
    NoSpaceAfter(u64),
    /// So many names can be changed or removed; then that fails with EIO.
    FailNamesAfter(u64),
    /// So many times nothing can be opened, for there is no room for another open file (EMFILE). Opening says so, and so does what
    /// opens a directory for itself.
    NoFiles(u64),
    /// Reads fail with EIO.
    FailReads,
    /// No file can be removed: EIO.
    FailRemoves,
    /// Reads panic: a bug in what works with the files.
    PanicInReads,
}

#[derive(Debug)]
struct State {
    tree: Tree,
    locks: BTreeSet<Vec<String>>,
    faults: Vec<(Vec<String>, Fault)>,
    sync_delay_ms: Range<u64>,
    free_bytes: u64,
    /// Counts crashes: what was opened before one is useless after it.
    life: u64,
    /// The names of what they were of.
    failed_syncs: Vec<String>,
}

impl SimDisk {
    pub(crate) fn new(seed: u64, clock: SimClock) -> Self {
        let state = State {
            tree: Tree::new(),
            locks: BTreeSet::new(),
            faults: vec![],
            sync_delay_ms: 1..20,
            free_bytes: FREE_BYTES,
            life: 0,
            failed_syncs: vec![],
        };
        Self { state: Arc::new(Mutex::new(state)), chance: SimChance::new(seed), clock }
    }

    /// The power goes and comes back. What was synced is there; of the rest each sector, each file's length and each
    /// change of a name survives or not, by the seed. Files and locks held before are useless, faults stay.
    ///
    /// Call it while the node is down. A node that died without this has lost nothing, as after `kill -9`.
    pub fn crash(&self) {
        let mut state = self.lock_state();
        state.life += 1;
        state.locks.clear();
        state.tree.crash(&self.chance);
    }

    /// The page cache lets go of what it may: reads that must not wait for the disk fail until somebody has read it. So
    /// it is after a crash, too.
    pub fn chill(&self) {
        self.lock_state().tree.chill();
    }

    /// Breaks the files whose path begins with `prefix` (whole names; `/` for all of them).
    pub fn break_below(&self, prefix: impl AsRef<Path>, fault: Fault) {
        self.lock_state().faults.push((names_of(prefix.as_ref()), fault));
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.lock_state().faults.clear();
    }

    /// Ends all faults of one kind, whatever number it has.
    pub fn heal_of(&self, kind: Fault) {
        let kind = std::mem::discriminant(&kind);
        self.lock_state().faults.retain(|(_, fault)| std::mem::discriminant(fault) != kind);
    }

    /// Whether a name that ended with `suffix` was changed into another, which a crash now could undo.
    #[must_use]
    pub fn has_unsynced_rename(&self, suffix: &str) -> bool {
        self.lock_state().tree.has_unsynced_rename(suffix)
    }

    /// How many syncs have failed so far.
    #[must_use]
    pub fn failed_syncs(&self) -> u64 {
        self.lock_state().failed_syncs.len() as u64
    }

    /// How many of them were not of a file whose name ends so.
    #[must_use]
    pub fn failed_syncs_but(&self, suffix: &str) -> u64 {
        self.lock_state().failed_syncs.iter().filter(|name| !name.ends_with(suffix)).count() as u64
    }

    /// Sets how long a sync takes, in milliseconds of simulated time; 1 to 19 unless told otherwise.
    pub fn set_sync_delay_ms(&self, range: Range<u64>) {
        self.lock_state().sync_delay_ms = range;
    }

    /// Sets what `free_bytes` answers where no fault of space applies. Writing does not change it.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.lock_state().free_bytes = bytes;
    }

    /// The state is whole between calls whichever thread panicked meanwhile.
    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        // Where it is there nothing is opened to be synced.
        if state.tree.find(dir).is_err() {
            state.take_file(&names_of(dir))?;
        }
        state.tree.create_dir_all(dir)
    }

    pub(crate) fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
        let mut state = self.lock_state();
        state.take_file(&names_of(path))?;
        let id = match (state.tree.find(path), mode) {
            (Ok(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(id), OpenMode::Read | OpenMode::Write | OpenMode::Create) => id,
            (Err(error), OpenMode::Create | OpenMode::CreateNew)
                if error.kind() == io::ErrorKind::NotFound =>
            {
                if state.space(&names_of(path)) == Some(0) {
                    return Err(no_space());
                }
                state.tree.create_file(path)?
            }
            (Err(error), _) => return Err(error),
        };
        if state.tree.is_dir(id) && mode != OpenMode::Read {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        state.tree.opened(id);
        let handle = Handle {
            disk: self.clone(),
            id,
            names: names_of(path),
            life: state.life,
            writable: mode != OpenMode::Read,
        };
        Ok(SimFile(Arc::new(handle)))
    }

    pub(crate) fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut state = self.lock_state();
        state.take_file(&names_of(dir))?;
        state.tree.list(dir)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.tree.find(from)?;
        state.take_name(&names_of(from))?;
        state.tree.rename(from, to)
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        if state.has(Fault::FailRemoves, &names_of(path)) {
            return Err(input_output());
        }
        state.tree.find(path)?;
        state.take_name(&names_of(path))?;
        state.tree.remove_file(path)
    }

    pub(crate) fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.tree.find(dir)?;
        state.take_name(&names_of(dir))?;
        state.tree.remove_dir_all(dir)
    }

    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.take_file(&names_of(dir))?;
        state.take_sync_fault(&names_of(dir))?;
        state.tree.sync_dir(dir)
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.lock_state().tree.find(path).is_ok()
    }

    pub(crate) fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let mut state = self.lock_state();
        state.tree.find(dir)?;
        let free = state.free_bytes;
        Ok(state.space(&names_of(dir)).map_or(free, |left| left.min(free)))
    }

    /// Larger than any: how much of it is free is what [`SimDisk::set_free_bytes`] says.
    pub(crate) fn total_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.lock_state().tree.find(dir).map(|_| u64::MAX)
    }

    pub(crate) fn lock(&self, path: &Path) -> io::Result<SimLock> {
        let file = self.open(path, OpenMode::Create)?;
        let mut state = self.lock_state();
        if !state.locks.insert(names_of(path)) {
            drop(state);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        drop(state);
        Ok(SimLock(file))
    }
}

impl State {
    fn take_sync_fault(&mut self, names: &[String]) -> io::Result<()> {
        let hit = |(prefix, fault): &(Vec<String>, Fault)| {
            *fault == Fault::FailNextSync && names.starts_with(prefix)
        };
        let Some(index) = self.faults.iter().position(hit) else { return Ok(()) };
        self.faults.remove(index);
        self.failed_syncs.push(names.last().cloned().unwrap_or_default());
        Err(input_output())
    }

    /// Changes a name, unless it cannot be changed.
    fn take_name(&mut self, names: &[String]) -> io::Result<()> {
        for (_, fault) in self.faults.iter_mut().filter(|(prefix, _)| names.starts_with(prefix)) {
            match fault {
                Fault::FailNamesAfter(0) => return Err(input_output()),
                Fault::FailNamesAfter(left) => *left -= 1,
                Fault::FailNextSync
                | Fault::NoSpaceAfter(_)
                | Fault::NoFiles(_)
                | Fault::FailReads
                | Fault::FailRemoves
                | Fault::PanicInReads => (),
            }
        }
        Ok(())
    }

    /// Opens something, unless there is no room for another open file.
    fn take_file(&mut self, names: &[String]) -> io::Result<()> {
        for (_, fault) in self.faults.iter_mut().filter(|(prefix, _)| names.starts_with(prefix)) {
            if let Fault::NoFiles(left @ 1..) = fault {
                *left -= 1;
                return Err(io::Error::from_raw_os_error(libc::EMFILE));
            }
        }
        Ok(())
    }

    /// By how much the files of a path may still grow; none for as much as they like.
    fn space(&mut self, names: &[String]) -> Option<u64> {
        self.spaces(names).map(|left| *left).min()
    }

    fn spaces<'a>(&'a mut self, names: &'a [String]) -> impl Iterator<Item = &'a mut u64> {
        self.faults.iter_mut().filter(|(prefix, _)| names.starts_with(prefix)).filter_map(|(_, fault)| {
            match fault {
                Fault::NoSpaceAfter(left) => Some(left),
                Fault::FailNextSync
                | Fault::FailNamesAfter(_)
                | Fault::NoFiles(_)
                | Fault::FailReads
                | Fault::FailRemoves
                | Fault::PanicInReads => None,
            }
        })
    }

    fn has(&self, wanted: Fault, names: &[String]) -> bool {
        self.faults.iter().any(|(prefix, fault)| *fault == wanted && names.starts_with(prefix))
    }
}

/// An open file of the simulated disk.
#[derive(Clone, Debug)]
pub(crate) struct SimFile(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    disk: SimDisk,
    id: u64,
    /// The path it was opened by, for faults.
    names: Vec<String>,
    life: u64,
    writable: bool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.disk.lock_state();
        if state.life == self.life {
            state.tree.closed(self.id);
        }
    }
}

impl SimFile {
    /// Does something with the file's bytes, unless the power has gone since it was opened.
    fn with<T>(&self, act: impl FnOnce(&mut Pages, &SimChance) -> T) -> io::Result<T> {
        let handle = &*self.0;
        let mut state = handle.disk.lock_state();
        if state.life != handle.life {
            return Err(io::Error::other("the power has gone since this file was opened"));
        }
        let pages = state.tree.pages(handle.id).ok_or(io::ErrorKind::IsADirectory)?;
        Ok(act(pages, &handle.disk.chance))
    }

    pub(crate) fn pread(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let has = |fault| self.0.disk.lock_state().has(fault, &self.0.names);
        if has(Fault::FailReads) {
            return Err(input_output());
        }
        assert!(!has(Fault::PanicInReads), "a fault of the simulated disk");
        self.with(|pages, _| pages.read(into, place(at)))
    }

    pub(crate) fn is_warm(&self, range: Range<u64>) -> bool {
        // A file that is useless waits for nothing: the read will say what is wrong.
        self.with(|pages, _| pages.is_warm(place(range.start)..place(range.end))).unwrap_or(true)
    }

    pub(crate) fn modified_ms(&self) -> io::Result<i64> {
        self.with(|pages, _| pages.modified_ms())
    }

    pub(crate) fn pwrite_all(&self, bytes: &[u8], at: u64) -> Result<(), WriteError> {
        let failed = |written, source| WriteError { written, source };
        self.check_writable().map_err(|error| failed(0, error))?;
        let len = self.len().map_err(|error| failed(0, error))?;
        let granted = self.grant(len, at, bytes.len());
        if granted > 0 {
            let now_ms = self.0.disk.clock.file_time_ms();
            let write = |pages: &mut Pages, chance: &SimChance| {
                pages.write(&bytes[..granted], place(at), chance);
                pages.touch(now_ms);
            };
            self.with(write).map_err(|error| failed(0, error))?;
        }
        if granted < bytes.len() {
            return Err(failed(granted as u64, no_space()));
        }
        Ok(())
    }

    /// How much of a write fits on the disk; takes the space.
    fn grant(&self, len: u64, at: u64, wanted: usize) -> usize {
        let mut state = self.0.disk.lock_state();
        let Some(left) = state.space(&self.0.names) else { return wanted };
        let end = len.saturating_add(left).min(at.saturating_add(wanted as u64));
        let grown = end.saturating_sub(len);
        state.spaces(&self.0.names).for_each(|left| *left -= grown);
        place(end.saturating_sub(at))
    }

    pub(crate) fn pwritev_all(&self, parts: &[Bytes], at: u64) -> Result<(), WriteError> {
        let mut done = 0;
        for part in parts {
            self.pwrite_all(part, at + done)
                .map_err(|error| WriteError { written: done + error.written, ..error })?;
            done += part.len() as u64;
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        self.with(|pages, _| pages.len() as u64)
    }

    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let now_ms = self.0.disk.clock.file_time_ms();
        self.with(|pages, _| {
            pages.set_len(place(len));
            pages.touch(now_ms);
        })
    }

    pub(crate) fn sync_data(&self) -> io::Result<()> {
        let snapshot = self.with(|pages, _| pages.snapshot())?;
        self.finish(snapshot)
    }

    pub(crate) fn sync_then(&self, then: Box<dyn FnOnce(io::Result<()>) + Send>) {
        let snapshot = self.with(|pages, _| pages.snapshot());
        let range = self.0.disk.lock_state().sync_delay_ms.clone();
        let delay = Duration::from_millis(self.0.disk.chance.pick(range));
        let file = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            then(snapshot.and_then(|snapshot| file.finish(snapshot)));
        });
    }

    fn finish(&self, snapshot: Snapshot) -> io::Result<()> {
        let fault = self.0.disk.lock_state().take_sync_fault(&self.0.names);
        match fault {
            Ok(()) => self.with(|pages, _| pages.harden(snapshot)),
            Err(error) => self.with(|pages, _| pages.lose(&snapshot)).and(Err(error)),
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.0.writable { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EBADF)) }
    }
}

/// A lock of the simulated disk, held until dropped.
#[derive(Debug)]
pub(crate) struct SimLock(SimFile);

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.0.0.disk.lock_state();
        if state.life == self.0.0.life {
            state.locks.remove(&self.0.0.names);
        }
    }
}

/// A simulated file lives in memory: what lies beyond the address space does not exist.
fn place(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn input_output() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}
