//! After a failed sync: pages that only look clean.
//!
//! A sync that fails leaves its pages marked clean, with bytes that the disk does not have. The process that saw it takes
//! nothing more; but the next one, on the same running machine, reads those pages as if nothing had happened, and its own
//! sync of them succeeds and proves nothing. So whoever sees a sync fail leaves a mark, and the next start writes again,
//! byte for byte, all that is not known to be synced: then the pages are dirty, and a sync means what it says.
//!
//! The mark itself needs no sync: a power cut that takes it takes the pages too, and leaves what the disk really has.

use std::{io, ops::Range, path::Path};

use ottla_host::{Disk, File, OpenMode, patiently};

use crate::layout;

/// Bytes written again at once.
const STEP_BYTES: usize = 1 << 20;

/// Leaves the mark. Where the process has as many files open as it may this waits: without the mark the next start believes pages
/// that no disk has.
pub(crate) fn mark(disk: &Disk, dir: &Path) -> io::Result<()> {
    patiently(|| disk.open(layout::own(dir, layout::SUSPECT), OpenMode::Create)).map(drop)
}

/// Whether there is a mark.
pub(crate) fn is_marked(disk: &Disk, dir: &Path) -> bool {
    disk.exists(layout::own(dir, layout::SUSPECT))
}

/// Takes the mark away: everything has been written again and synced.
pub(crate) fn clear(disk: &Disk, dir: &Path) -> io::Result<()> {
    if !is_marked(disk, dir) {
        return Ok(());
    }
    disk.remove_file(layout::own(dir, layout::SUSPECT))?;
    disk.sync_dir(dir.join(layout::OWN))
}

/// Writes a range of a file again, as it is; not synced.
pub(crate) fn write_again(file: &File, range: Range<u64>) -> io::Result<()> {
    let mut buffer = vec![0; STEP_BYTES];
    let mut at = range.start;
    while at < range.end {
        let step = (range.end - at).min(STEP_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..step], at)?;
        file.pwrite_all(&buffer[..step], at)?;
        at += step as u64;
    }
    Ok(())
}

/// Writes every file in a directory again and syncs it. Fine if there is no such directory.
pub(crate) fn write_dir_again(disk: &Disk, dir: &Path) -> io::Result<()> {
    if !disk.exists(dir) {
        return Ok(());
    }
    for entry in disk.list(dir)? {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            write_dir_again(disk, &path)?;
            continue;
        }
        let file = disk.open(&path, OpenMode::Write)?;
        write_again(&file, 0..file.len()?)?;
        file.sync_data()?;
    }
    disk.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use ottla_host::{Fault, Host, SimWorld};

    use super::*;

    #[test]
    fn the_mark_is_left_where_as_many_files_are_open_as_may_be() {
        let world = SimWorld::new(1);
        let (disk, dir) = (Host::simulated(&world).disk, Path::new("/data"));
        disk.create_dir_all(dir.join(layout::OWN)).unwrap();
        world.disk().break_below("/data", Fault::NoFiles(2));

        mark(&disk, dir).unwrap();

        assert!(is_marked(&disk, dir));
    }
}
