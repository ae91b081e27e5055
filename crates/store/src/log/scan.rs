//! Walking over the batches of a segment file, in chunks.

use std::io;

use ottla_host::File;
use ottla_rules::batch::{HEADER_BYTES, Header};

/// Bytes before `batch_length` counts: base offset and the length itself.
const LENGTH_FROM: u64 = 12;

/// A batch in a file: where it is and what its header says.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) position: u64,
    pub(crate) header: Header,
}

impl Found {
    /// Where the next batch begins.
    pub(crate) fn end(&self) -> u64 {
        self.position + LENGTH_FROM + self.header.batch_length as u64
    }
}

/// Reads a file from a position on, batch by batch, with a buffer that grows only for a batch that is there.
pub(crate) struct Scan {
    file: File,
    next: u64,
    end: u64,
    /// What the buffer holds begins at this position.
    at: u64,
    buffer: Vec<u8>,
    chunk: usize,
}

impl Scan {
    /// Batches in `from..end`; each read brings `chunk` bytes.
    pub(crate) fn new(file: File, from: u64, end: u64, chunk: usize) -> Self {
        Self { file, next: from, end, at: from, buffer: vec![], chunk }
    }

    /// Where the next batch begins.
    pub(crate) fn position(&self) -> u64 {
        self.next
    }

    /// Goes on at `position` instead.
    pub(crate) fn seek(&mut self, position: u64) {
        self.next = position;
    }

    /// The header of the next batch, or `None` when no whole header, or no whole batch, is left before the end, or
    /// what is there is no header. The caller says which by looking at [`Self::position`].
    pub(crate) fn next_header(&mut self) -> io::Result<Option<Found>> {
        let position = self.next;
        if position + HEADER_BYTES as u64 > self.end {
            return Ok(None);
        }
        let Ok(header) = Header::read(self.bytes(position, HEADER_BYTES)?) else { return Ok(None) };
        if header.batch_length < (HEADER_BYTES as u64 - LENGTH_FROM) as i32 || header.last_offset_delta < 0 {
            return Ok(None);
        }
        let found = Found { position, header };
        if found.end() > self.end {
            return Ok(None);
        }
        self.next = found.end();
        Ok(Some(found))
    }

    /// The whole bytes of a batch just found.
    pub(crate) fn bytes_of(&mut self, found: &Found) -> io::Result<&[u8]> {
        self.bytes(found.position, (found.end() - found.position) as usize)
    }

    fn bytes(&mut self, position: u64, len: usize) -> io::Result<&[u8]> {
        let held = self.at..self.at + self.buffer.len() as u64;
        if position < held.start || position + len as u64 > held.end {
            let wanted = len.max(self.chunk).min((self.end - position) as usize);
            self.buffer.resize(wanted, 0);
            self.at = position;
            self.file.read_exact_at(&mut self.buffer, position)?;
        }
        let from = (position - self.at) as usize;
        Ok(&self.buffer[from..from + len])
    }
}
