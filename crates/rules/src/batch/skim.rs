//! Packed records, walked while they are being unpacked: what the door needs to know of them, in constant memory.
//!
//! Kafka's `LogValidator` does the same (`skipKeyValueIterator`): keys, values and headers are measured and skipped. A
//! record that fits into the window is read there; a longer one goes by in pieces.

use std::io::{self, Read};

use super::{BatchError, Codec, codec, invalid, records, unpackable, varint};

/// How much of the unpacked records is in memory at a time.
const WINDOW_BYTES: usize = 16 * 1024;

/// The most bytes that a number of the record format takes: what it says in 32 bits, and a timestamp.
const INT_BYTES_MAX: usize = 5;
const LONG_BYTES_MAX: usize = 10;

/// What is kept of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skimmed {
    pub(super) offset_delta: i32,
    pub(super) timestamp_delta: i64,
    pub(super) has_key: bool,
}

/// A walk over packed records. Everything that is unpacked also goes to `copy`, in order.
pub(super) struct Skim<'a, F> {
    reader: Box<dyn Read + 'a>,
    codec: Codec,
    copy: F,
    window: Box<[u8]>,
    at: usize,
    end: usize,
    is_over: bool,
    bytes_left: usize,
    bytes_max: usize,
}

impl<'a, F: FnMut(&[u8]) -> io::Result<()>> Skim<'a, F> {
    /// A walk that unpacks no more than `bytes_max` bytes.
    pub(super) fn over(
        codec: Codec,
        packed: &'a [u8],
        bytes_max: usize,
        copy: F,
    ) -> Result<Self, BatchError> {
        let reader = codec::unpack(codec, packed, bytes_max)?;
        let window = vec![0; WINDOW_BYTES.min(bytes_max.max(LONG_BYTES_MAX))].into();
        let (at, end) = (0, 0);
        Ok(Self { reader, codec, copy, window, at, end, is_over: false, bytes_left: bytes_max, bytes_max })
    }

    /// The next record.
    pub(super) fn next(&mut self) -> Result<Skimmed, BatchError> {
        let mut unbounded = usize::MAX;
        let length = self.int(&mut unbounded)?;
        let length = usize::try_from(length).map_err(|_| records::negative(length))?;
        if length > self.window.len() {
            return self.next_long(length);
        }
        if !self.fill(length)? {
            return Err(records::missing());
        }
        let body = &self.window[self.at..self.at + length];
        let record = records::read_record(body).ok_or_else(records::malformed)?;
        let (offset_delta, timestamp_delta) = (record.offset_delta, record.timestamp);
        let has_key = record.key.is_some();
        self.at += length;
        Ok(Skimmed { offset_delta, timestamp_delta, has_key })
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&mut self) -> Result<bool, BatchError> {
        Ok(!self.fill(1)?)
    }

    /// A record that is longer than the window.
    fn next_long(&mut self, mut left: usize) -> Result<Skimmed, BatchError> {
        let left = &mut left;
        self.skip(1, left)?;
        let timestamp_delta = self.number(LONG_BYTES_MAX, left, varint::take_long)?;
        let offset_delta = self.int(left)?;
        let has_key = self.skip_bytes(left)?;
        self.skip_bytes(left)?;
        let n_headers = self.int(left)?;
        if n_headers < 0 {
            return Err(records::malformed());
        }
        for _ in 0..n_headers {
            if !self.skip_bytes(left)? {
                return Err(records::malformed());
            }
            self.skip_bytes(left)?;
        }
        if *left > 0 {
            return Err(records::malformed());
        }
        Ok(Skimmed { offset_delta, timestamp_delta, has_key })
    }

    /// Skips bytes with their length before them; whether there are any, a negative length being none.
    fn skip_bytes(&mut self, left: &mut usize) -> Result<bool, BatchError> {
        let length = self.int(left)?;
        let Ok(length) = usize::try_from(length) else { return Ok(false) };
        self.skip(length, left)?;
        Ok(true)
    }

    fn int(&mut self, left: &mut usize) -> Result<i32, BatchError> {
        self.number(INT_BYTES_MAX, left, varint::take)
    }

    /// A number, of which no more than `left` bytes belong to the record.
    fn number<N>(
        &mut self,
        bytes_max: usize,
        left: &mut usize,
        take: fn(&mut &[u8]) -> Option<N>,
    ) -> Result<N, BatchError> {
        let wanted = bytes_max.min(*left);
        self.fill(wanted)?;
        let there = wanted.min(self.end - self.at);
        let mut bytes = &self.window[self.at..self.at + there];
        let number = take(&mut bytes).ok_or_else(records::missing)?;
        let taken = there - bytes.len();
        self.at += taken;
        *left -= taken;
        Ok(number)
    }

    fn skip(&mut self, mut n: usize, left: &mut usize) -> Result<(), BatchError> {
        *left = left.checked_sub(n).ok_or_else(records::malformed)?;
        while n > 0 {
            if !self.fill(1)? {
                return Err(records::missing());
            }
            let skipped = n.min(self.end - self.at);
            self.at += skipped;
            n -= skipped;
        }
        Ok(())
    }

    /// Makes the window hold the next `n` bytes, at most as many as it has room for; false when they are not there.
    fn fill(&mut self, n: usize) -> Result<bool, BatchError> {
        while self.end - self.at < n && !self.is_over {
            if self.at > 0 {
                self.window.copy_within(self.at..self.end, 0);
                (self.at, self.end) = (0, self.end - self.at);
            }
            self.read()?;
        }
        Ok(self.end - self.at >= n)
    }

    fn read(&mut self) -> Result<(), BatchError> {
        let n = match self.reader.read(&mut self.window[self.end..]) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Err(self.too_large()),
            Err(error) => return Err(unpackable(self.codec, error)),
        };
        self.bytes_left = self.bytes_left.checked_sub(n).ok_or_else(|| self.too_large())?;
        self.is_over = n == 0;
        (self.copy)(&self.window[self.end..self.end + n]).map_err(|error| invalid(error.to_string()))?;
        self.end += n;
        Ok(())
    }

    fn too_large(&self) -> BatchError {
        BatchError::UnpacksTooLarge { max: self.bytes_max }
    }
}
