//! What the page cache has: reads that do not wait for the disk, and a look at a range before it is sent.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsRawFd;

use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// The kernel reads ahead in pieces of this size unless told otherwise: what came in together leaves together, nearly.
const PROBE_BYTES: u64 = 128 * 1024;
const PAGE_BYTES: u64 = 4096;

/// Linux 6.5's `cachestat`, which has one number on every architecture that we build for.
const SYS_CACHESTAT: libc::c_long = 451;

/// As `pread` to the end of the buffer or the file, but `WouldBlock` instead of a wait.
pub(super) fn pread(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        let rest = &mut [IoSliceMut::new(&mut into[done..])];
        match preadv2(file, rest, at + done as u64, ReadWriteFlags::NOWAIT) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(Errno::INTR) => (),
            // A file system that does not know the flag, or a kernel that does not: nobody can say, so it is read.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return super::machine::pread(file, into, at),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

/// Counts the pages of the range where the kernel can (`cachestat`), and tries its last byte, which also tells whether
/// pages are still on their way; where it cannot count, a byte of each piece is tried.
pub(super) fn is_warm(file: &File, range: Range<u64>) -> bool {
    if range.is_empty() {
        return true;
    }
    let has = |at| !matches!(pread(file, &mut [0], at), Err(error) if super::is_cold(&error));
    match cached_pages(file, &range) {
        Some(cached) => {
            let pages = range.end.div_ceil(PAGE_BYTES) - range.start / PAGE_BYTES;
            cached >= pages && has(range.end - 1)
        }
        None => (range.start..range.end).step_by(PROBE_BYTES as usize).chain([range.end - 1]).all(has),
    }
}

#[repr(C)]
struct CacheRange {
    offset: u64,
    len: u64,
}

#[repr(C)]
#[derive(Default)]
struct CacheStat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

fn cached_pages(file: &File, range: &Range<u64>) -> Option<u64> {
    let of = CacheRange { offset: range.start, len: range.end - range.start };
    let mut stat = CacheStat::default();
    // SAFETY: the call reads one `CacheRange` and writes one `CacheStat`, both laid out as the kernel has them and alive
    // until it returns; `file` keeps the descriptor open. An unknown call is an error and touches nothing.
    let done = unsafe {
        libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const of, &raw mut stat, 0 as libc::c_uint)
    };
    (done == 0).then_some(stat.cached)
}
