//! The kernel's files, by std and rustix.

use std::fs::{self, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, FlockOperation};

use super::{Entry, OpenMode, WriteError, room::Room};

/// Slices that the kernel takes in one call (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

/// So much is on its way to the disk at once when a lot is written out: what others sync waits for this, and not for all of it.
const PIECE_BYTES: u64 = 1024 * 1024;

/// And so much where somebody hurries: more would be in his way, less would take the disk longer.
const PIECE_BYTES_IN_THE_WAY: u64 = 256 * 1024;

pub(super) fn create_dir_all(dir: &Path, room: &Room) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new(""));
    create_dir_all(parent, room)?;
    match fs::create_dir(dir) {
        // Not left behind unsynced: whoever asked again would find it there, and take it for safe.
        Ok(()) => sync_dir(parent, room).inspect_err(|_| drop(fs::remove_dir(dir))),
        // Somebody else made it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => sync_dir(parent, room),
        Err(error) => Err(error),
    }
}

pub(super) fn open(path: &Path, mode: OpenMode) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true);
    match mode {
        OpenMode::Read => options.open(path),
        OpenMode::Write => options.write(true).open(path),
        OpenMode::Create => options.write(true).create(true).truncate(false).open(path),
        OpenMode::CreateNew => options.write(true).create_new(true).open(path),
    }
}

pub(super) fn list(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = vec![];
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A name may be gone between the listing and the look: then it is not there.
        let is_dir = entry.path().is_dir();
        entries.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), is_dir });
    }
    entries.sort();
    Ok(entries)
}

pub(super) fn sync_dir(dir: &Path, room: &Room) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    room.within(|| fs::File::open(dir))?.sync_all()
}

pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

pub(super) fn total_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

pub(super) fn lock(path: &Path) -> io::Result<fs::File> {
    let file = open(path, OpenMode::Create)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Between two tries for a lock that another has.
const LOCK_RETRY: Duration = Duration::from_millis(1);

pub(super) fn lock_within(path: &Path, patience: Duration) -> io::Result<fs::File> {
    let deadline = Instant::now() + patience;
    loop {
        match lock(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(LOCK_RETRY);
            }
            done => return done,
        }
    }
}

pub(super) fn pread(file: &fs::File, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match rustix::io::pread(file, &mut into[done..], at + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

pub(super) fn modified_ms(file: &fs::File) -> io::Result<i64> {
    let stat = rustix::fs::fstat(file)?;
    let ms = i128::from(stat.st_mtime) * 1000 + i128::from(stat.st_mtime_nsec) / 1_000_000;
    Ok(i64::try_from(ms).unwrap_or(i64::MAX))
}

pub(super) fn pwrite_all(file: &fs::File, bytes: &[u8], at: u64) -> Result<(), WriteError> {
    let mut done = 0;
    while done < bytes.len() {
        let wrote = rustix::io::pwrite(file, &bytes[done..], at + done as u64);
        done += step(wrote, done as u64)?;
    }
    Ok(())
}

pub(super) fn pwritev_all(file: &fs::File, parts: &[Bytes], at: u64) -> Result<(), WriteError> {
    let mut done = 0;
    // The next part, and how much of it has been written.
    let (mut part, mut within) = (0, 0);
    let mut slices = Vec::with_capacity(parts.len().min(SLICES_MAX));
    while part < parts.len() {
        slices.clear();
        slices.push(IoSlice::new(&parts[part][within..]));
        slices.extend(parts[part + 1..].iter().take(SLICES_MAX - 1).map(|bytes| IoSlice::new(bytes)));
        if slices.iter().all(|slice| slice.is_empty()) {
            part += slices.len();
            within = 0;
            continue;
        }
        let mut wrote = step(rustix::io::pwritev(file, &slices, at + done), done)?;
        done += wrote as u64;
        while part < parts.len() && wrote >= parts[part].len() - within {
            wrote -= parts[part].len() - within;
            part += 1;
            within = 0;
        }
        within += wrote;
    }
    Ok(())
}

/// How far one write call went; 0 for "interrupted, ask again".
fn step(wrote: rustix::io::Result<usize>, done: u64) -> Result<usize, WriteError> {
    match wrote {
        // The kernel promises progress or an error; without this a broken file system would hold the thread for ever.
        Ok(0) => Err(WriteError { written: done, source: io::ErrorKind::WriteZero.into() }),
        Ok(wrote) => Ok(wrote),
        Err(rustix::io::Errno::INTR) => Ok(0),
        Err(error) => Err(WriteError { written: done, source: error.into() }),
    }
}

/// Writes a range out, piece by piece, and waits for each; before each `give_way` says whether somebody hurries. An error is one of
/// the disk: the kernel tells of it once.
pub(super) fn write_out(file: &fs::File, range: Range<u64>, give_way: impl Fn() -> bool) -> io::Result<()> {
    const WAIT: u32 =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let mut at = range.start;
    while at < range.end {
        let piece = if give_way() { PIECE_BYTES_IN_THE_WAY } else { PIECE_BYTES };
        let len = (range.end - at).min(piece);
        let (Ok(from), Ok(count)) = (i64::try_from(at), i64::try_from(len)) else { return Ok(()) };
        // SAFETY: the call takes a file descriptor, which `file` keeps open, and three numbers; it touches no memory of ours.
        if unsafe { libc::sync_file_range(file.as_raw_fd(), from, count, WAIT) } != 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                // Not known here, or not for such a file: the sync that follows does all of it.
                Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE | libc::EOPNOTSUPP | libc::EPERM) => Ok(()),
                Some(libc::EINTR) => continue,
                _ => Err(error),
            };
        }
        at += len;
    }
    Ok(())
}

/// Takes blocks without changing the length.
pub(super) fn reserve(file: &fs::File, len: u64) {
    // A hint: on a file system that cannot, or a full one, the writes will say what is wrong.
    let _ = rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, len);
}
