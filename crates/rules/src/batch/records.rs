//! The records inside a batch, packed or not.
//!
//! ```text
//! length | attributes | timestamp delta | offset delta | key length, key | value length, value | header count, headers
//! varint   1 byte       varlong           varint         varint (-1: none) varint (-1: none)     varint
//! ```

use std::io::{self, BufReader, Read};

use super::{BatchError, Codec, HEADER_BYTES, Header, TimestampType, codec, invalid, unpackable, varint};
use crate::ids::Offset;

/// How much is asked of a codec at a time.
const STEP_BYTES: usize = 8 * 1024;

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset, counted from the batch's base offset.
    pub offset_delta: i32,
    /// Unix milliseconds; the batch's own time in a LogAppendTime batch; -1 when it has none.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// How many headers it has.
    pub n_headers: i32,
    /// The headers as they are coded, without their count.
    pub headers: &'a [u8],
}

/// Reads the records of one batch, in order. Uncompressed ones are not copied; packed ones are unpacked one at a time
/// into a buffer that is used again, so that no more than one record, and one block of the codec, is in memory.
pub struct Records<'a> {
    source: Source<'a>,
    base_timestamp: i64,
    append_time: Option<i64>,
    left: i32,
}

enum Source<'a> {
    Plain(&'a [u8]),
    Packed(Box<Packed<'a>>),
}

struct Packed<'a> {
    reader: BufReader<Box<dyn Read + 'a>>,
    codec: Codec,
    record: Vec<u8>,
    bytes_left: usize,
    bytes_max: usize,
}

impl<'a> Records<'a> {
    /// The records of one whole batch whose CRC has been checked. At most `unpacked_bytes_max` bytes are unpacked.
    ///
    /// # Errors
    /// Those of [`Header::read`], [`BatchError::Truncated`], [`BatchError::UnsupportedCodec`].
    pub fn of(batch: &'a [u8], unpacked_bytes_max: usize) -> Result<Self, BatchError> {
        let header = Header::read(batch)?;
        let Some(records) = batch.get(HEADER_BYTES..header.size()) else {
            return Err(BatchError::Truncated { need: header.size(), have: batch.len() });
        };
        let source = match header.attributes.codec()? {
            Codec::None => Source::Plain(records),
            codec => {
                let unpacking = codec::unpack(codec, records, unpacked_bytes_max)?;
                Source::Packed(Box::new(Packed {
                    reader: BufReader::with_capacity(STEP_BYTES, unpacking),
                    codec,
                    record: Vec::new(),
                    bytes_left: unpacked_bytes_max,
                    bytes_max: unpacked_bytes_max,
                }))
            }
        };
        let append_time = match header.attributes.timestamp_type() {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(header.max_timestamp),
        };
        Ok(Self { source, base_timestamp: header.base_timestamp, append_time, left: header.count })
    }

    /// The next record, or none after the last. Borrows the reader, because a packed record lives in its buffer.
    ///
    /// # Errors
    /// [`BatchError::Invalid`] when a record is not what the format says, or when the header's count is wrong;
    /// [`BatchError::Unpackable`] when it cannot be unpacked; [`BatchError::UnpacksTooLarge`] beyond the bound. After an error the reader is of no more use.
    #[expect(clippy::should_implement_trait, reason = "an Iterator cannot lend its own buffer")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, BatchError> {
        let (base_timestamp, append_time) = (self.base_timestamp, self.append_time);
        let Some(body) = self.next_body()? else { return Ok(None) };
        let mut record = read_record(body).ok_or_else(malformed)?;
        record.timestamp = append_time.unwrap_or(base_timestamp.wrapping_add(record.timestamp));
        Ok(Some(record))
    }

    /// The next record as it is coded, without its length; else as [`Records::next`].
    pub(super) fn next_body(&mut self) -> Result<Option<&[u8]>, BatchError> {
        if self.left <= 0 {
            return if self.source.is_at_end()? {
                Ok(None)
            } else {
                Err(invalid("more records than the count says"))
            };
        }
        self.left -= 1;
        self.source.take_record().map(Some)
    }
}

impl Source<'_> {
    /// The body of the next record, without its length.
    #[inline]
    fn take_record(&mut self) -> Result<&[u8], BatchError> {
        let plain = match self {
            Source::Plain(plain) => plain,
            Source::Packed(packed) => return packed.take_record(),
        };
        let length = varint::take(plain).ok_or_else(missing)?;
        let length = usize::try_from(length).map_err(|_| negative(length))?;
        let (body, rest) = plain.split_at_checked(length).ok_or_else(missing)?;
        *plain = rest;
        Ok(body)
    }

    fn is_at_end(&mut self) -> Result<bool, BatchError> {
        match self {
            Source::Plain(plain) => Ok(plain.is_empty()),
            Source::Packed(packed) => Ok(packed.take_byte()?.is_none()),
        }
    }
}

impl Packed<'_> {
    fn take_record(&mut self) -> Result<&[u8], BatchError> {
        let mut arriving = varint::Arriving::default();
        let length = loop {
            let byte = self.take_byte()?.ok_or_else(missing)?;
            self.spend(1)?;
            if let Some(length) = arriving.push(byte).map_err(|()| missing())? {
                break length;
            }
        };
        let length = usize::try_from(length).map_err(|_| negative(length))?;
        self.spend(length)?;
        self.record.clear();
        // The buffer grows with the bytes that come, not with the length that was promised.
        let read = self.reader.by_ref().take(length as u64).read_to_end(&mut self.record);
        read.map_err(|error| cannot_unpack(self.codec, error, self.bytes_max))?;
        if self.record.len() < length {
            return Err(missing());
        }
        Ok(&self.record)
    }

    fn take_byte(&mut self) -> Result<Option<u8>, BatchError> {
        let mut byte = [0];
        loop {
            match self.reader.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(byte[0])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(cannot_unpack(self.codec, error, self.bytes_max)),
            }
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), BatchError> {
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => self.bytes_left = left,
            None => return Err(BatchError::UnpacksTooLarge { max: self.bytes_max }),
        }
        Ok(())
    }
}

pub(super) fn malformed() -> BatchError {
    invalid("a record is not what the record format says")
}

pub(super) fn missing() -> BatchError {
    invalid("fewer records than the count says, or a record is cut off")
}

pub(super) fn negative(length: i32) -> BatchError {
    invalid(format!("a record has a length of {length}"))
}

fn cannot_unpack(codec: Codec, error: io::Error, max: usize) -> BatchError {
    if error.kind() == io::ErrorKind::FileTooLarge {
        return BatchError::UnpacksTooLarge { max };
    }
    unpackable(codec, error)
}

/// Reads a record's body to its last byte; its timestamp is still the delta. None when it does not fit the format.
#[inline]
pub(super) fn read_record(mut body: &[u8]) -> Option<Record<'_>> {
    let rest = &mut body;
    let (_attributes, after) = rest.split_first()?;
    *rest = after;
    let timestamp = varint::take_long(rest)?;
    let offset_delta = varint::take(rest)?;
    let key = take_bytes(rest)?;
    let value = take_bytes(rest)?;
    let n_headers = varint::take(rest)?;
    let headers = *rest;
    if n_headers < 0 {
        return None;
    }
    for _ in 0..n_headers {
        // A header's key is not nullable, its value is.
        take_bytes(rest)??;
        take_bytes(rest)?;
    }
    rest.is_empty().then_some(Record { offset_delta, timestamp, key, value, n_headers, headers })
}

/// Bytes with their length before them; none when the length is negative.
#[inline]
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::take(rest)?;
    let Ok(length) = usize::try_from(length) else { return Some(None) };
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(Some(bytes))
}

/// The first record of a stored batch with a timestamp of at least `at_least`: its offset and timestamp.
///
/// # Errors
/// Those of [`Records`].
pub fn find_timestamp(
    batch: &[u8],
    at_least: i64,
    unpacked_bytes_max: usize,
) -> Result<Option<(Offset, i64)>, BatchError> {
    let base = Header::read(batch)?.base_offset;
    let mut records = Records::of(batch, unpacked_bytes_max)?;
    while let Some(record) = records.next()? {
        if record.timestamp >= at_least {
            return Ok(Some((base.plus(i64::from(record.offset_delta)), record.timestamp)));
        }
    }
    Ok(None)
}

/// The first record with the largest timestamp of a stored batch: its offset and timestamp. None when no record has one.
///
/// # Errors
/// Those of [`Records`].
pub fn find_max_timestamp(
    batch: &[u8],
    unpacked_bytes_max: usize,
) -> Result<Option<(Offset, i64)>, BatchError> {
    let base = Header::read(batch)?.base_offset;
    let mut records = Records::of(batch, unpacked_bytes_max)?;
    let mut found: Option<(Offset, i64)> = None;
    while let Some(record) = records.next()? {
        if record.timestamp > found.map_or(-1, |(_, timestamp)| timestamp) {
            found = Some((base.plus(i64::from(record.offset_delta)), record.timestamp));
        }
    }
    Ok(found)
}
