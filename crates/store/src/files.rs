//! Open files: opened on use, and closed again when too many are open.
//!
//! A partition may have thousands of segments, a node ten thousand partitions, and the process a few thousand file
//! descriptors. So a segment owns names, not files; whoever needs a file asks for it, and the cache closes the one not
//! used for longest (nearly: the clock algorithm). A file handed out stays usable while its holder keeps it.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use ottla_host::{Disk, File, OpenMode};
use ottla_rules::ids::Offset;

use crate::layout::{self, Part};

/// Files kept open when nobody says otherwise: well below the usual soft limit of 1,024, which sockets share.
pub(crate) const OPEN_FILES_MAX: usize = 512;

/// The cache of open segment files of one data directory.
pub(crate) struct Files {
    pub(crate) disk: Disk,
    max: AtomicUsize,
    open: Mutex<VecDeque<(Weak<SegmentFiles>, Part)>>,
    /// Segments that are no longer part of a log, so far.
    deleted: AtomicU64,
}

/// The directory of one partition; it is renamed when the partition is deleted.
pub(crate) struct Dir {
    pub(crate) files: Arc<Files>,
    pub(crate) path: Mutex<PathBuf>,
}

/// The three files of one segment, open or not.
pub(crate) struct SegmentFiles {
    dir: Arc<Dir>,
    pub(crate) base: Offset,
    slots: Mutex<Slots>,
}

/// By which names the files of a segment are to be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Named {
    /// Their own.
    #[default]
    Live,
    /// Written by compaction, and not put in place yet.
    Cleaned,
    /// No longer part of the log. With a number of its own: what compaction has put in a segment's place may be replaced too while
    /// readers still have the one before.
    Deleted(u64),
}

#[derive(Default)]
struct Slots {
    /// Each for itself: of three renames the second may fail.
    named: [Named; 3],
    /// The number under which it is deleted, once somebody has begun to.
    deleted_as: Option<u64>,
    files: [Option<File>; 3],
    used: [bool; 3],
}

impl Files {
    pub(crate) fn new(disk: Disk) -> Arc<Self> {
        let max = AtomicUsize::new(OPEN_FILES_MAX);
        let files = Arc::new(Self { disk, max, open: Mutex::default(), deleted: AtomicU64::new(0) });
        let kept = Arc::downgrade(&files);
        files.disk.make_room_by(move || kept.upgrade().is_some_and(|files| files.make_room()));
        files
    }

    /// How many files may stay open from now on; at least 16.
    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max.max(16), Ordering::Relaxed);
    }

    fn admit(&self, segment: &Arc<SegmentFiles>, part: Part) {
        let mut open = lock(&self.open);
        open.push_back((Arc::downgrade(segment), part));
        Self::close_beyond(&mut open, self.max.load(Ordering::Relaxed));
    }

    /// The process has no descriptor left: half of the files that are only kept open are closed. Whether there were any.
    fn make_room(&self) -> bool {
        let mut open = lock(&self.open);
        let before = open.len();
        Self::close_beyond(&mut open, before / 2);
        open.len() < before
    }

    fn close_beyond(open: &mut VecDeque<(Weak<SegmentFiles>, Part)>, max: usize) {
        // Each file gets one more round when it was used since the last; two rounds find one to close for sure.
        for _ in 0..2 * open.len() {
            if open.len() <= max {
                return;
            }
            let Some((segment, part)) = open.pop_front() else { return };
            if segment.upgrade().is_some_and(|segment| segment.close_unless_used(part)) {
                open.push_back((segment, part));
            }
        }
    }
}

impl Dir {
    pub(crate) fn new(files: Arc<Files>, path: PathBuf) -> Self {
        Self { files, path: Mutex::new(path) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        lock(&self.path).clone()
    }
}

impl SegmentFiles {
    pub(crate) fn new(dir: Arc<Dir>, base: Offset) -> Arc<Self> {
        Arc::new(Self { dir, base, slots: Mutex::default() })
    }

    /// The directory they are in.
    pub(crate) fn dir(&self) -> &Arc<Dir> {
        &self.dir
    }

    /// A segment that compaction writes, beside the one that has its name.
    pub(crate) fn cleaned(dir: Arc<Dir>, base: Offset) -> Arc<Self> {
        let slots = Slots { named: [Named::Cleaned; 3], ..Slots::default() };
        Arc::new(Self { dir, base, slots: Mutex::new(slots) })
    }

    /// The file, opened when it is not: `NotFound` once the segment was deleted and its time is over.
    pub(crate) fn open(self: &Arc<Self>, part: Part) -> io::Result<File> {
        self.obtain(part, OpenMode::Write)
    }

    /// The file for a thread that must not wait for a disk (`only_warm`), else as [`Self::open`]. A file that is not open
    /// is cold: who knows where its name has to be looked up.
    pub(crate) fn open_for(self: &Arc<Self>, part: Part, only_warm: bool) -> io::Result<File> {
        if !only_warm {
            return self.open(part);
        }
        let mut slots = lock(&self.slots);
        slots.used[part as usize] = true;
        slots.files[part as usize].as_ref().map(File::only_warm).ok_or(io::ErrorKind::WouldBlock.into())
    }

    /// The file, created when it is not there.
    pub(crate) fn create(self: &Arc<Self>, part: Part) -> io::Result<File> {
        self.obtain(part, OpenMode::Create)
    }

    fn obtain(self: &Arc<Self>, part: Part, mode: OpenMode) -> io::Result<File> {
        let mut slots = lock(&self.slots);
        slots.used[part as usize] = true;
        if let Some(file) = &slots.files[part as usize] {
            return Ok(file.clone());
        }
        let file = self.dir.files.disk.open(self.path_of(part, slots.named[part as usize]), mode)?;
        slots.files[part as usize] = Some(file.clone());
        // The cache locks other segments' slots: never with ours held.
        drop(slots);
        self.dir.files.admit(self, part);
        Ok(file)
    }

    /// Where the file is now.
    pub(crate) fn path(&self, part: Part) -> PathBuf {
        self.path_of(part, lock(&self.slots).named[part as usize])
    }

    /// Renames the files to end with `.deleted`. Readers that hold this segment still find them.
    pub(crate) fn mark_deleted(&self) -> io::Result<()> {
        let next = || self.dir.files.deleted.fetch_add(1, Ordering::Relaxed);
        let number = *lock(&self.slots).deleted_as.get_or_insert_with(next);
        self.rename(Named::Deleted(number))
    }

    /// Whether the segment is no longer part of the log.
    pub(crate) fn is_deleted(&self) -> bool {
        matches!(lock(&self.slots).named[Part::Log as usize], Named::Deleted(_))
    }

    /// Gives the files that compaction wrote the names of a segment.
    pub(crate) fn put_in_place(&self) -> io::Result<()> {
        self.rename(Named::Live)
    }

    fn rename(&self, to: Named) -> io::Result<()> {
        let mut slots = lock(&self.slots);
        for part in Part::ALL {
            let from = slots.named[part as usize];
            if from == to {
                continue;
            }
            match self.dir.files.disk.rename(self.path_of(part, from), self.path_of(part, to)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => slots.named[part as usize] = to,
            }
        }
        Ok(())
    }

    /// Closes what is only kept open.
    #[cfg(test)]
    pub(crate) fn close(&self) {
        lock(&self.slots).files = [const { None }; 3];
    }

    /// Removes the files, each under the name that it has.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        let mut slots = lock(&self.slots);
        slots.files = [const { None }; 3];
        for part in Part::ALL {
            match self.dir.files.disk.remove_file(self.path_of(part, slots.named[part as usize])) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (),
            }
        }
        Ok(())
    }

    fn path_of(&self, part: Part, named: Named) -> PathBuf {
        let name = match named {
            Named::Live => layout::file_name(self.base, part),
            Named::Cleaned => layout::file_name(self.base, part) + layout::CLEANED_FILE,
            Named::Deleted(number) => layout::deleted_file_name(self.base, number, part),
        };
        lock(&self.dir.path).join(name)
    }

    /// Whether the file stays open, because it was used since this was last asked; or is being opened, perhaps by the one who
    /// needs room for it.
    fn close_unless_used(&self, part: Part) -> bool {
        let Ok(mut slots) = self.slots.try_lock() else { return true };
        if slots.files[part as usize].is_none() {
            return false;
        }
        if std::mem::take(&mut slots.used[part as usize]) {
            return true;
        }
        slots.files[part as usize] = None;
        false
    }
}

/// A poisoned lock is taken all the same: what it guards is whole between any two statements here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use ottla_host::{Fault, Host, SimWorld};

    use super::*;

    #[test]
    fn files_of_which_only_some_could_be_renamed_are_found_under_the_names_that_they_have() {
        for renamed in 0..4 {
            let world = SimWorld::new(1);
            let disk = Host::simulated(&world).disk;
            disk.create_dir_all("/data/payments-0").unwrap();
            let dir = Arc::new(Dir::new(Files::new(disk.clone()), "/data/payments-0".into()));
            let segment = SegmentFiles::new(dir, Offset(7));
            for part in Part::ALL {
                segment.create(part).unwrap();
            }
            world.disk().break_below("/data", Fault::FailNamesAfter(renamed));
            assert_eq!(segment.mark_deleted().is_ok(), renamed == 3);
            lock(&segment.slots).files = [const { None }; 3];

            for part in Part::ALL {
                segment.open(part).unwrap_or_else(|error| panic!("{renamed} renamed, {part:?}: {error}"));
            }
            world.disk().heal();
            segment.mark_deleted().unwrap();
            assert!(segment.is_deleted());
            segment.unlink().unwrap();
            assert_eq!(disk.list("/data/payments-0").unwrap(), []);
        }
    }
}
