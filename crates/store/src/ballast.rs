//! Space that is kept for a full disk: a file of nothing, given away when the facts find no room.
//!
//! The reserve (`disk.free.bytes.min`) keeps this process from filling the disk. It does not keep others from taking the last
//! byte, and then deleting records, which is what helps, has to be written down as well.

use std::path::PathBuf;

use ottla_host::{Disk, OpenMode};

/// Enough for sled to be opened and written to for a while.
const BALLAST_BYTES: u64 = 4 << 20;

/// The ballast of one data directory.
#[derive(Clone, Debug)]
pub(crate) struct Ballast {
    disk: Disk,
    path: PathBuf,
}

impl Ballast {
    pub(crate) fn new(disk: Disk, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Makes it, if it is not there. Blocks. Nothing that must succeed: without it a full disk is less comfortable.
    pub(crate) fn take_on(&self) {
        let made = self.disk.open(&self.path, OpenMode::Create).and_then(|file| {
            let len = file.len()?;
            file.allocate_zeroed(len.min(BALLAST_BYTES)..BALLAST_BYTES).map_err(std::io::Error::from)
        });
        if let Err(error) = made {
            log::debug!(file:% = self.path.display(), error:% = error; "no ballast");
            self.give_away();
        }
    }

    /// Gives its space back to the disk; whether there was any.
    pub(crate) fn give_away(&self) -> bool {
        let is_gone = self.disk.remove_file(&self.path).is_ok();
        if is_gone {
            log::warn!(file:% = self.path.display(); "the ballast is given away, so that the facts find room");
        }
        is_gone
    }
}
