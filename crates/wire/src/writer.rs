//! Writing Kafka's primitive types. Nothing here can fail.

use bytes::{BufMut, Bytes, BytesMut};
use ottla_rules::ids::TopicId;

use crate::{fetch::Gap, reader::TEXT_BYTES_MAX};

/// Collects the bytes of one message or frame, and where records are to be filled in between them.
#[derive(Debug, Default)]
pub struct Writer {
    out: BytesMut,
    gaps: Vec<Gap>,
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer that takes `bytes` without growing.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: BytesMut::with_capacity(bytes), gaps: Vec::new() }
    }

    /// How many bytes are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// What has been written. Gaps are lost: this is for messages that have none.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        debug_assert!(self.gaps.is_empty(), "records are missing from these bytes");
        self.out.freeze()
    }

    /// What has been written, and the gaps in it in the order of their places.
    #[must_use]
    pub fn into_parts(self) -> (BytesMut, Vec<Gap>) {
        (self.out, self.gaps)
    }

    /// Here `len` bytes will be filled in. Their length is written before, by the caller.
    pub fn gap(&mut self, index: usize, len: usize) {
        if len > 0 {
            self.gaps.push(Gap { at: self.out.len(), index, len });
        }
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// INT8.
    pub fn i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    /// INT16.
    pub fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    /// INT32.
    pub fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    /// INT64.
    pub fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// BOOLEAN.
    pub fn bool(&mut self, value: bool) {
        self.out.put_u8(u8::from(value));
    }

    /// UUID.
    pub fn uuid(&mut self, value: TopicId) {
        self.out.put_slice(&value.0);
    }

    /// UNSIGNED_VARINT.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    /// The length of bytes or records, or the count of an array; `None` is null.
    pub fn length(&mut self, length: Option<usize>, flexible: bool) {
        // Nothing in memory that we send has 2^31 elements: requests and responses are bounded far below.
        match (flexible, length) {
            (true, length) => self.unsigned_varint(length.map_or(0, |length| length as u32 + 1)),
            (false, length) => self.i32(length.map_or(-1, |length| length as i32)),
        }
    }

    /// (COMPACT_)NULLABLE_STRING. A text longer than [`TEXT_BYTES_MAX`] is cut there, between two characters: nobody would read
    /// it (Kafka refuses to write it; a sentence for people had better arrive without its tail).
    pub fn nullable_string(&mut self, value: Option<&str>, flexible: bool) {
        let value = value.map(|value| &value[..value.floor_char_boundary(TEXT_BYTES_MAX)]);
        match (flexible, value) {
            (true, value) => {
                self.length(value.map(str::len), true);
                self.raw(value.unwrap_or_default().as_bytes());
            }
            (false, None) => self.i16(-1),
            (false, Some(value)) => {
                self.i16(value.len() as i16);
                self.raw(value.as_bytes());
            }
        }
    }

    /// (COMPACT_)NULLABLE_BYTES.
    pub fn nullable_bytes(&mut self, value: Option<&[u8]>, flexible: bool) {
        self.length(value.map(<[u8]>::len), flexible);
        self.raw(value.unwrap_or_default());
    }

    /// One tagged field: tag, size, and what `write` writes.
    pub fn tagged_field(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        let mut field = Self::new();
        write(&mut field);
        debug_assert!(field.gaps.is_empty(), "records are never tagged fields");
        self.unsigned_varint(tag);
        self.unsigned_varint(field.len() as u32);
        self.raw(&field.out);
    }

    /// The end of a structure without tagged fields, where there is such an end.
    pub fn no_tagged_fields(&mut self, flexible: bool) {
        if flexible {
            self.unsigned_varint(0);
        }
    }
}
