//! Files and directories, and what it takes for them to survive a power cut.
//!
//! Two promises are kept apart, because the kernel keeps them apart. What was written can be read by everyone at once, and
//! survives the death of the process. It survives a power cut only after [`File::sync_data`] for a file's bytes and
//! length, and [`Disk::sync_dir`] for the names in a directory. [`Disk::create_dir_all`] and [`Disk::replace`] sync
//! the directories they touch; nothing else does so by itself.

mod file;
mod machine;
mod room;
mod warm;
mod way;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use file::{File, WriteError, is_cold};
use room::Room;
pub use room::{is_out_of_files, patiently};
pub use way::Hurry;
use way::Way;

#[cfg(feature = "sim")]
use crate::sim::SimDisk;

/// The disk of a host. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Disk(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Machine(Way, Room),
    #[cfg(feature = "sim")]
    Simulated(SimDisk),
}

/// How a file is opened. All but `Read` may also be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file.
    Write,
    /// An existing file, or a new empty one whose name is not synced.
    Create,
    /// A new empty file whose name is not synced; an existing one is an error.
    CreateNew,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name, without its directory. Names that are not UTF-8 come with replacement characters: none of ours.
    pub name: String,
    /// Whether it is itself a directory. Symbolic links are followed.
    pub is_dir: bool,
}

/// Holds a lock file until dropped; the end of the process, however violent, drops it too.
#[derive(Debug)]
pub struct LockFile(#[expect(dead_code, reason = "held for its drop")] Lock);

#[derive(Debug)]
#[expect(dead_code, reason = "held for their drop")]
enum Lock {
    Machine(std::fs::File),
    #[cfg(feature = "sim")]
    Simulated(crate::sim::SimLock),
}

impl Disk {
    /// The file systems of this computer.
    #[must_use]
    pub fn machine() -> Self {
        Self(Kind::Machine(Way::default(), Room::default()))
    }

    #[cfg(feature = "sim")]
    pub(crate) fn simulated(disk: SimDisk) -> Self {
        Self(Kind::Simulated(disk))
    }

    /// Makes a directory and those above it that are missing; each new name is synced. Fine if it exists.
    ///
    /// # Errors
    /// As the file system gives them.
    pub fn create_dir_all(&self, dir: impl AsRef<Path>) -> io::Result<()> {
        match &self.0 {
            Kind::Machine(_, room) => machine::create_dir_all(dir.as_ref(), room),
            #[cfg(feature = "sim")]
            Kind::Simulated(disk) => disk.create_dir_all(dir.as_ref()),
        }
    }

    /// Opens a file.
    ///
    /// # Errors
    /// As the file system gives them: `NotFound`, `AlreadyExists`, out of file descriptors, no space.
    pub fn open(&self, path: impl AsRef<Path>, mode: OpenMode) -> io::Result<File> {
        match &self.0 {
            Kind::Machine(way, room) => {
                let file = room.within(|| machine::open(path.as_ref(), mode))?;
                Ok(File::machine(file, way.clone()))
            }
            #[cfg(feature = "sim")]
            Kind::Simulated(disk) => disk.open(path.as_ref(), mode).map(File::simulated),
        }
    }

    /// From now on, where the process has as many files open as it may, whatever needs one more calls this and tries again, as long
    /// as it says that it has let go of some. It may be called by whoever opens a file, with whatever that holds.
    pub fn make_room_by(&self, let_go: impl Fn() -> bool + Send + Sync + 'static) {
        match &self.0 {
            Kind::Machine(_, room) => room.make_by(Arc::new(let_go)),
            #[cfg(feature = "sim")]
            Kind::Simulated(_) => (),
        }
    }

    /// Has files let go of that are only kept open, for who opens one by other means; whether there were any.
    pub fn make_room(&self) -> bool {
        match &self.0 {
            Kind::Machine(_, room) => room.make(),
            #[cfg(feature = "sim")]
            Kind::Simulated(_) => false,
        }
    }

    /// Tells of a sync that is small and waited for: as long as this is held, [`File::write_out`] of any file of this disk begins
    /// no other piece (for 20 ms at most, and never for a second such sync), and for a while afterwards its pieces are
    /// small ones.
    pub fn hurry(&self) -> Hurry {
        match &self.0 {
            Kind::Machine(way, _) => way.hurry(),
            #[cfg(feature = "sim")]
            Kind::Simulated(_) => Hurry::nowhere(),
        }
    }

    /// The names in a directory, in order.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory; else as the file system gives them.
    pub fn list(&self, dir: impl AsRef<Path>) -> io::Result<Vec<Entry>> {
        match &self.0 {
            Kind::Machine(_, room) => room.within(|| machine::list(dir.as_ref())),
            #[cfg(feature = "sim")]
            Kind::Simulated(disk) => disk.list(dir.as_ref()),
        }
    }

    /// Gives a file or directory a new name, over a file that has it. Atomic; not synced.
    ///
    /// # Errors
    /// As the file system gives them.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        match &self.0 {
            Kind::Machine(..) => std::fs::rename(from, to),
            #[cfg(feature = "sim")]
            Kind::Simulated(disk) => disk.rename(from.as_ref(), to.as_ref()),
        }
    }

    /// Removes a file's name. Who has it open keeps it. Not synced.
    ///
    /// # Errors
    /// As the file system gives them.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        match &self.0 {
            Kind::Machine(..) => std::fs::remove_file(path),
            #[cfg(feature = "sim")]
            Kind::Simulated(disk) => disk.remove_file(path.as_ref()),
        }
    }

    /// Removes a directory and everything below it. Neither atomic nor synced: rename it out of the way first.
    ///
    /// # Errors
    /// As the file system gives them; part of it may be gone then.
    pub fn remove_dir_all(&self, dir: impl AsRef<Path>) -> io::Result<()> {
        match &self.0 {
            Kind::Machine(_, room) => room.within(|| std::fs::remove_dir_all(dir.as_ref())),
            #[cfg(feature = "sim")]
            Kind::Simulated(disk) => disk.remove_dir_all(dir.as_ref()),
        }
    }

    /// Makes the names in a directory survive a power cut: what was created, renamed or removed in it so far.
    ///
    /// # Errors
    /// The names may be lost then, and asking again proves nothing.
    pub fn sync_dir(&self, dir: impl AsRef<Path>) -> io::Result<()> {
        match &self.0 {
            Kind::Machine(_, room) => machine::sync_dir(dir.as_ref(), room),
            #[cfg(feature = "sim")]
            Kind::Simulated(disk) => disk.sync_dir(dir.as_ref()),
        }
    }

    /// Whether a file or directory has this name. `false` also when that cannot be found out.
    #[must_use]
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        match &self.0 {
            Kind::Machine(..) => path.as_ref().exists(),
            #[cfg(feature = "sim")]
            Kind::Simulated(disk) => disk.exists(path.as_ref()),
        }
    }

    /// Bytes that may still be written to the file system of a directory, without root's reserve.
    ///
    /// # Errors
    /// As the file system gives them.
    pub fn free_bytes(&self, dir: impl AsRef<Path>) -> io::Result<u64> {
        match &self.0 {
            Kind::Machine(..) => machine::free_bytes(dir.as_ref()),
            #[cfg(feature = "sim")]
            Kind::Simulated(disk) => disk.free_bytes(dir.as_ref()),
        }
    }

    /// Bytes of the file system of a directory, used and free.
    ///
    /// # Errors
    /// As the file system gives them.
    pub fn total_bytes(&self, dir: impl AsRef<Path>) -> io::Result<u64> {
        match &self.0 {
            Kind::Machine(..) => machine::total_bytes(dir.as_ref()),
            #[cfg(feature = "sim")]
            Kind::Simulated(disk) => disk.total_bytes(dir.as_ref()),
        }
    }

    /// Takes a lock file, made if missing, for as long as the answer lives.
    ///
    /// # Errors
    /// `WouldBlock` when another process, or another holder in this one, has it.
    pub fn lock(&self, path: impl AsRef<Path>) -> io::Result<LockFile> {
        match &self.0 {
            Kind::Machine(..) => machine::lock(path.as_ref()).map(|file| LockFile(Lock::Machine(file))),
            #[cfg(feature = "sim")]
            Kind::Simulated(disk) => disk.lock(path.as_ref()).map(|lock| LockFile(Lock::Simulated(lock))),
        }
    }

    /// Like [`Disk::lock`], but waits while another has it. Blocks, at most for `patience`; in a simulation, where nobody lets
    /// go meanwhile, not at all.
    ///
    /// # Errors
    /// `WouldBlock` when another still has it then, else as the file system gives them.
    pub fn lock_within(&self, path: impl AsRef<Path>, patience: Duration) -> io::Result<LockFile> {
        match &self.0 {
            Kind::Machine(..) => {
                machine::lock_within(path.as_ref(), patience).map(|file| LockFile(Lock::Machine(file)))
            }
            #[cfg(feature = "sim")]
            Kind::Simulated(_) => self.lock(path),
        }
    }

    /// The whole content of a small file.
    ///
    /// # Errors
    /// `InvalidData` when it is longer than `bytes_max`; nothing is read then. Else as the file system gives them.
    pub fn read(&self, path: impl AsRef<Path>, bytes_max: usize) -> io::Result<Vec<u8>> {
        let path = path.as_ref();
        let file = self.open(path, OpenMode::Read)?;
        let len = file.len()?;
        let fits = usize::try_from(len).ok().filter(|len| *len <= bytes_max);
        let Some(len) = fits else {
            let text = format!("{} has {len} bytes, at most {bytes_max} are allowed", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        let mut bytes = vec![0; len];
        let read = file.pread(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Puts a small file in place at once and for good: written beside it as `<name>.tmp`, synced, renamed, the directory synced.
    /// After a power cut in between there is the old file or the new one, whole.
    ///
    /// # Errors
    /// As the file system gives them; the old file is then still there, or the new one.
    pub fn replace(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        let mut beside = path.as_os_str().to_owned();
        beside.push(".tmp");
        let file = self.open(&beside, OpenMode::Create)?;
        file.set_len(0)?;
        file.pwrite_all(bytes, 0)?;
        file.sync_data()?;
        self.rename(&beside, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new("/")))
    }
}
