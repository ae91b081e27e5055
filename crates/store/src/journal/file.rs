//! The files of a journal: names, making one, wiping one.

use std::{
    io,
    path::{Path, PathBuf},
};

use ottla_host::{Disk, File, OpenMode, patiently};
use ottla_rules::staging::FileNumber;

/// What a wipe covers: more than an entry's header, so that none is found at the beginning of the file.
const WIPED_BYTES: usize = 512;

/// How many times the size of a new file must be free: on a small disk the journal leaves room for the records.
const FREE_TIMES: u64 = 4;

/// Where a journal file is.
pub(crate) fn path(dir: &Path, number: FileNumber) -> PathBuf {
    dir.join(format!("{number:08}.journal"))
}

/// The number of a journal file; none for any other name.
pub(crate) fn number(name: &str) -> Option<FileNumber> {
    let digits = name.strip_suffix(".journal")?;
    (digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// A file full of zeros, synced, and its name too: a later sync of what is written into it finds every block there.
pub(crate) fn make(disk: &Disk, dir: &Path, number: FileNumber, bytes: u64) -> io::Result<File> {
    let path = path(dir, number);
    let made = patiently(|| disk.open(&path, OpenMode::Create)).and_then(|file| {
        file.set_len(0)?;
        file.allocate_zeroed(0..bytes).map_err(io::Error::from)?;
        file.write_out(0..bytes)?;
        file.sync_data()?;
        patiently(|| disk.sync_dir(dir))?;
        Ok(file)
    });
    if made.is_err() {
        // A full disk: what was made of it would only take space. Left behind, it is a smaller file at the next start.
        let _ = disk.remove_file(&path);
    }
    made
}

/// As [`make`], of a file that one can do without: not where that would leave little room for records.
pub(crate) fn grow(disk: &Disk, dir: &Path, number: FileNumber, bytes: u64) -> io::Result<File> {
    if disk.free_bytes(dir)? < bytes.saturating_mul(FREE_TIMES) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    make(disk, dir, number, bytes)
}

/// Makes the lap in a file unreadable, for good.
pub(crate) fn wipe(file: &File) -> io::Result<()> {
    file.pwrite_all(&[0; WIPED_BYTES], 0).map_err(io::Error::from)?;
    file.sync_data()
}
