//! A large burst in pieces: what is about to be appended is written behind the end of the log, a piece at a time.
//!
//! ```text
//!                    end                                    the append moves the end here
//!     | what readers see | pieces that were written ahead | what is left of the burst |
//! ```
//!
//! Where the kernel has to find memory for it, a write of 1 MB takes milliseconds, and whoever shares the thread waits as long. Behind
//! the end nobody reads, and a recovery cuts what does not belong there; so between two pieces anything may happen.

use std::io;

use bytes::Bytes;
use ottla_host::File;
use ottla_rules::{batch::Stamped, ids::Offset};

use super::{Log, LogError, SYNC, failed, segment};
use crate::layout::Part;

/// What stands behind the end of a segment: the first bytes of the batches that are appended next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// The first offset of those batches.
    pub(crate) base: Offset,
    /// So many of their bytes.
    pub(crate) bytes: u64,
}

impl Log {
    /// Writes the next piece, of at most `bytes_max` bytes, of a burst that is about to be appended: false when no more than
    /// that is left, which is for [`Log::append`] to write. That must be called with a burst that begins with this one.
    ///
    /// # Errors
    /// Nothing of the burst is in the log then: what was written of it is cut back, and it must not be appended.
    pub fn write_ahead(&mut self, burst: &[Stamped], bytes_max: usize) -> Result<bool, LogError> {
        if bytes_of(burst) <= bytes_max as u64 {
            return Ok(false);
        }
        let mark = self.mark();
        let done = self.write_piece(burst, bytes_max);
        if done.is_err() {
            self.cut_back(&mark);
        }
        done
    }

    /// The next piece of what goes into the active segment. What begins another one is left to the append.
    fn write_piece(&mut self, burst: &[Stamped], bytes_max: usize) -> Result<bool, LogError> {
        let (fitting, _) = self.make_room(burst)?;
        let Some(first) = fitting.first() else { return Ok(false) };
        let done = self.written_ahead(fitting);
        if bytes_of(fitting) - done <= bytes_max as u64 {
            return Ok(false);
        }
        let file = self.tail()?;
        let Some(active) = &mut self.active else { return Ok(false) };
        let piece = range_of(fitting, done, bytes_max as u64);
        let written = file.pwritev_all(&piece, active.segment.size + done).map_err(io::Error::from);
        written.map_err(failed("write to", &active.segment.files, Part::Log))?;
        active.segment.dirty = true;
        active.ahead = Some(Ahead { base: first.base, bytes: done + bytes_max as u64 });
        Ok(true)
    }

    /// How many bytes of these batches stand behind the end already. What stands there of others goes before the next write.
    pub(super) fn written_ahead(&mut self, batches: &[Stamped]) -> u64 {
        let (Some(active), Some(first)) = (&mut self.active, batches.first()) else { return 0 };
        let Some(ahead) = active.ahead else { return 0 };
        if ahead.base == first.base && ahead.bytes <= bytes_of(batches) {
            return ahead.bytes;
        }
        active.ahead = None;
        self.untrimmed = true;
        0
    }

    /// The file that is written to, with nothing behind its end but what was written ahead. There must be an active segment.
    pub(super) fn tail(&mut self) -> Result<File, LogError> {
        if self.untrimmed {
            self.cut_tail()?;
        }
        self.remove_refused()?;
        self.settle_cut()?;
        let Some(active) = &self.active else { unreachable!("nothing is written without a segment") };
        let files = &active.segment.files;
        files.open(Part::Log).map_err(failed("open", files, Part::Log))
    }

    /// Nothing of a refused burst is there any more, now if the disk allows it, else before the next write: who was refused sends it
    /// again, and the next process would take both for written.
    pub(super) fn take_back(&mut self) {
        let _ = self.cut_tail();
        let _ = self.remove_refused();
    }

    /// No segment is there that a refused burst has begun: it would be taken for a part of the log, or be in the way of one.
    ///
    /// # Errors
    /// One cannot be removed. It is tried again before anything is written.
    pub fn remove_refused(&mut self) -> Result<(), LogError> {
        for files in &self.refused {
            // Should they stay, there is at least nothing in them.
            let _ = files.open(Part::Log).and_then(|log| segment::trim(&log, 0));
        }
        while let Some(files) = self.refused.last() {
            files.unlink().map_err(failed("remove", files, Part::Log))?;
            self.refused.pop();
            self.dir_dirty = true;
        }
        Ok(())
    }

    /// What was cut is gone from the disk too: after a power cut it would else stand in place of, or behind, what is written next.
    pub(super) fn settle_cut(&mut self) -> Result<(), LogError> {
        if let Some(active) = self.active.as_ref().filter(|_| self.cut_unsynced) {
            let files = &active.segment.files;
            let synced = files.open(Part::Log).and_then(|file| file.sync_data());
            synced.map_err(failed(SYNC, files, Part::Log))?;
            self.cut_unsynced = false;
        }
        Ok(())
    }

    /// Nothing stands behind the end any more, neither of a failed write nor of a burst that was not appended.
    pub(super) fn cut_tail(&mut self) -> Result<(), LogError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let was_ahead = active.ahead.take().is_some();
        if was_ahead || self.untrimmed {
            self.untrimmed = true;
            let files = &active.segment.files;
            let file = files.open(Part::Log).map_err(failed("open", files, Part::Log))?;
            segment::trim(&file, active.segment.size).map_err(failed("cut", files, Part::Log))?;
            self.untrimmed = false;
            self.cut_unsynced = true;
            active.segment.dirty = true;
        }
        Ok(())
    }
}

fn bytes_of(batches: &[Stamped]) -> u64 {
    batches.iter().map(|batch| batch.bytes.len() as u64).sum()
}

/// The bytes `from..from + len` of batches that stand behind each other, or up to their end.
pub(super) fn range_of(batches: &[Stamped], from: u64, len: u64) -> Vec<Bytes> {
    let (mut at, upto) = (0, from.saturating_add(len));
    let mut range = Vec::with_capacity(batches.len());
    for Stamped { bytes, .. } in batches {
        let end = at + bytes.len() as u64;
        let (begins, ends) = (from.max(at), upto.min(end));
        if begins < ends {
            // Fits: both are places within these bytes.
            range.push(bytes.slice((begins - at) as usize..(ends - at) as usize));
        }
        at = end;
    }
    range
}
