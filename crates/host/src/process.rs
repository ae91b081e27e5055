//! What the operating system says about this process.

use std::fs;
use std::mem::MaybeUninit;

/// One look at this process. A number that the system does not tell is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Memory that it really occupies, in bytes.
    pub resident_bytes: Option<u64>,
    /// Files and sockets that it has open.
    pub open_files: Option<u64>,
}

impl Process {
    /// Looks now. Reads `/proc`, which needs no disk.
    #[must_use]
    pub fn look() -> Self {
        Self { resident_bytes: resident_bytes(), open_files: open_files() }
    }
}

/// Whether SIGHUP is ignored, as whoever starts a process behind `nohup` wants it to be.
#[must_use]
pub fn hangup_is_ignored() -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with null for the new action nothing changes, and the present one is written to a place that is large enough. It is read only
    // when the kernel says that it was written.
    unsafe {
        libc::sigaction(libc::SIGHUP, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init_ref().sa_sigaction == libc::SIG_IGN
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kib.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}

fn open_files() -> Option<u64> {
    // The directory that is read is one of them.
    fs::read_dir("/proc/self/fd").ok().map(|open| (open.count() as u64).saturating_sub(1))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_files() {
        let before = Process::look();
        assert!(before.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        let _held: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close files meanwhile, far fewer.
        assert!(Process::look().open_files > before.open_files.map(|files| files + 20));
    }
}
