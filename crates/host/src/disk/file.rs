//! One open file.

use std::io;
use std::ops::{Deref, Range};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use bytes::Bytes;

use super::{Way, machine, warm};
#[cfg(feature = "sim")]
use crate::sim::SimFile;

/// An open file. Cloning shares it; the last clone closes it. Any thread may use it, at any place, at any time: who
/// writes where is for the callers to agree on.
#[derive(Clone, Debug)]
pub struct File {
    kind: Kind,
    /// Reads that would wait for the disk fail instead.
    only_warm: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Machine(Arc<Opened>),
    #[cfg(feature = "sim")]
    Simulated(SimFile),
}

/// A file of the kernel's, and the way to its disk.
#[derive(Debug)]
struct Opened {
    file: std::fs::File,
    way: Way,
}

impl Deref for Opened {
    type Target = std::fs::File;

    fn deref(&self) -> &std::fs::File {
        &self.file
    }
}

/// A write that did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("only {written} bytes were written: {source}")]
pub struct WriteError {
    /// Bytes that were written before it failed, from the place where the whole write began. Cut them off or write on.
    pub written: u64,
    /// Why it failed.
    pub source: io::Error,
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

/// Whether a read failed because it would have waited for the disk: ask again on the pool.
#[must_use]
pub fn is_cold(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Read at once to bring a range into the page cache.
const WARM_UP_BYTES: usize = 256 * 1024;

/// Zeros, to write from.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

// `len` is a system call that may fail, not a property: an `is_empty` beside it would help nobody.
#[allow(clippy::len_without_is_empty)]
impl File {
    pub(super) fn machine(file: std::fs::File, way: Way) -> Self {
        Self { kind: Kind::Machine(Arc::new(Opened { file, way })), only_warm: false }
    }

    #[cfg(feature = "sim")]
    pub(super) fn simulated(file: SimFile) -> Self {
        Self { kind: Kind::Simulated(file), only_warm: false }
    }

    /// The kernel's handle, for `sendfile`.
    #[cfg_attr(not(feature = "sim"), allow(clippy::unnecessary_wraps))]
    pub(crate) fn machine_fd(&self) -> Option<&std::fs::File> {
        match &self.kind {
            Kind::Machine(file) => Some(file),
            #[cfg(feature = "sim")]
            Kind::Simulated(_) => None,
        }
    }

    /// The number of its descriptor: the lowest that was free when it was opened. None in a simulation.
    #[must_use]
    pub fn descriptor(&self) -> Option<usize> {
        self.machine_fd().and_then(|file| usize::try_from(file.as_raw_fd()).ok())
    }

    /// The same file for a thread that must not wait for a disk: its reads fail with `WouldBlock` where the page cache
    /// does not have all that was asked for (see [`is_cold`]). The kernel is asked by the read itself (`RWF_NOWAIT`), so a
    /// warm read costs nothing more. A file system that cannot say is taken for warm.
    #[must_use]
    pub fn only_warm(&self) -> Self {
        Self { only_warm: true, ..self.clone() }
    }

    /// The same file, whose reads wait for the disk.
    #[must_use]
    pub fn may_wait(&self) -> Self {
        Self { only_warm: false, ..self.clone() }
    }

    /// Whether all of a range can be read, or sent, without waiting for the disk. A guess, for ranges that are sent: pages
    /// may come and go meanwhile.
    #[must_use]
    pub fn is_warm(&self, range: Range<u64>) -> bool {
        match &self.kind {
            Kind::Machine(file) => warm::is_warm(file, range),
            #[cfg(feature = "sim")]
            Kind::Simulated(file) => file.is_warm(range),
        }
    }

    /// Brings a range into the page cache. Waits for the disk, so it belongs on the pool.
    ///
    /// # Errors
    /// As the file system gives them; a file that ends before the range does is none.
    pub fn warm_up(&self, range: Range<u64>) -> io::Result<()> {
        let file = self.may_wait();
        let mut buffer = vec![0; WARM_UP_BYTES];
        let mut at = range.start;
        while at < range.end {
            // The cast loses nothing: the minimum is small.
            #[allow(clippy::cast_possible_truncation)]
            let step = (range.end - at).min(WARM_UP_BYTES as u64) as usize;
            match file.pread(&mut buffer[..step], at)? {
                0 => break,
                read => at += read as u64,
            }
        }
        Ok(())
    }

    /// Reads from a place until the buffer is full or the file ends. Answers how much was read.
    ///
    /// # Errors
    /// As the file system gives them; `WouldBlock` on an [`File::only_warm`] one.
    pub fn pread(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        match &self.kind {
            Kind::Machine(file) if self.only_warm => warm::pread(file, into, at),
            Kind::Machine(file) => machine::pread(file, into, at),
            #[cfg(feature = "sim")]
            Kind::Simulated(file) if self.only_warm && !file.is_warm(at..at + into.len() as u64) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            #[cfg(feature = "sim")]
            Kind::Simulated(file) => file.pread(into, at),
        }
    }

    /// When it was last written, Unix milliseconds: what the file system keeps (`mtime`), whoever wrote it.
    ///
    /// # Errors
    /// As the file system gives them.
    pub fn modified_ms(&self) -> io::Result<i64> {
        match &self.kind {
            Kind::Machine(file) => machine::modified_ms(file),
            #[cfg(feature = "sim")]
            Kind::Simulated(file) => file.modified_ms(),
        }
    }

    /// Fills the whole buffer from a place.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends first; else as the file system gives them.
    pub fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let read = self.pread(into, at)?;
        if read == into.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Writes all bytes at a place. They are in the page cache afterwards: see [`File::sync_data`].
    ///
    /// # Errors
    /// Says how far it got.
    pub fn pwrite_all(&self, bytes: &[u8], at: u64) -> Result<(), WriteError> {
        match &self.kind {
            Kind::Machine(file) => machine::pwrite_all(file, bytes, at),
            #[cfg(feature = "sim")]
            Kind::Simulated(file) => file.pwrite_all(bytes, at),
        }
    }

    /// Writes all parts one after another from a place, up to 1024 of them a call.
    ///
    /// # Errors
    /// Says how far it got.
    pub fn pwritev_all(&self, parts: &[Bytes], at: u64) -> Result<(), WriteError> {
        match &self.kind {
            Kind::Machine(file) => machine::pwritev_all(file, parts, at),
            #[cfg(feature = "sim")]
            Kind::Simulated(file) => file.pwritev_all(parts, at),
        }
    }

    /// Bytes in the file.
    ///
    /// # Errors
    /// As the file system gives them.
    pub fn len(&self) -> io::Result<u64> {
        match &self.kind {
            Kind::Machine(file) => file.metadata().map(|data| data.len()),
            #[cfg(feature = "sim")]
            Kind::Simulated(file) => file.len(),
        }
    }

    /// Cuts the file, or extends it with a hole that reads as zeros.
    ///
    /// # Errors
    /// As the file system gives them.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.kind {
            Kind::Machine(file) => file.set_len(len),
            #[cfg(feature = "sim")]
            Kind::Simulated(file) => file.set_len(len),
        }
    }

    /// Waits until what was written so far, and the length, would survive a power cut (`fdatasync`).
    ///
    /// # Errors
    /// Then nothing written since the last good sync is certain, and asking again proves nothing: the kernel has
    /// marked the pages clean. Give the directory up.
    pub fn sync_data(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Machine(file) => file.sync_data(),
            #[cfg(feature = "sim")]
            Kind::Simulated(file) => file.sync_data(),
        }
    }

    /// Syncs what has been written by now, then says how it went. On a machine all of it happens here, and `then` has
    /// run when the call returns: call from a thread that may block. In a simulation a local task does it a little later,
    /// with what was written at the time of the call; a crash before that runs nothing.
    ///
    /// # Panics
    /// In a simulation, outside of a tokio `LocalSet`.
    pub fn sync_then(&self, then: Box<dyn FnOnce(io::Result<()>) + Send>) {
        match &self.kind {
            Kind::Machine(file) => then(file.sync_data()),
            #[cfg(feature = "sim")]
            Kind::Simulated(file) => file.sync_then(then),
        }
    }

    /// Writes zeros over a range, so that later syncs of writes within it need no new blocks and no new length.
    ///
    /// # Errors
    /// Says how far it got.
    pub fn allocate_zeroed(&self, range: Range<u64>) -> Result<(), WriteError> {
        let mut at = range.start;
        while at < range.end {
            // The cast loses nothing: the minimum is small.
            #[allow(clippy::cast_possible_truncation)]
            let step = (range.end - at).min(ZEROS.len() as u64) as usize;
            let before = at - range.start;
            self.pwrite_all(&ZEROS[..step], at)
                .map_err(|error| WriteError { written: before + error.written, ..error })?;
            at += step as u64;
        }
        Ok(())
    }

    /// Takes blocks for a file up to a length without changing its own, so that what is appended lies together and finds
    /// room; [`File::set_len`] gives back what lies behind the end. A hint: a file system that cannot does nothing.
    pub fn reserve(&self, len: u64) {
        match &self.kind {
            Kind::Machine(file) => machine::reserve(file, len),
            #[cfg(feature = "sim")]
            Kind::Simulated(_) => (),
        }
    }

    /// Writes a range out, a piece at a time, and waits: for a lot of bytes, before [`File::sync_data`] makes them safe. Whoever
    /// syncs another file meanwhile waits for a piece, where it would wait for everything, and between two pieces this gives way to
    /// who is in a hurry ([`super::Disk::hurry`]).
    ///
    /// # Errors
    /// As those of a failed sync, which may not hear of them a second time.
    pub fn write_out(&self, range: Range<u64>) -> io::Result<()> {
        match &self.kind {
            Kind::Machine(opened) => machine::write_out(opened, range, || opened.way.give()),
            #[cfg(feature = "sim")]
            Kind::Simulated(_) => Ok(()), // A crash there keeps some of what was not synced as it is.
        }
    }

    /// Tells the kernel that a range will not be read again soon and may leave the page cache. A hint.
    pub fn forget(&self, range: Range<u64>) {
        match &self.kind {
            Kind::Machine(file) => {
                let len = std::num::NonZero::new(range.end.saturating_sub(range.start));
                // A hint: whether the kernel took it changes nothing.
                let _ = rustix::fs::fadvise(&file.file, range.start, len, rustix::fs::Advice::DontNeed);
            }
            #[cfg(feature = "sim")]
            Kind::Simulated(_) => (),
        }
    }
}
