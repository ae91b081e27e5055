//! Reading Kafka's primitive types from bytes that a stranger sent.
//!
//! Nothing is allocated before it is known that the bytes for it are there, and all arrays of one message together
//! may take at most [`ALLOWANCE_PER_BYTE`] times the message's own size: hostile counts cost an error, not memory.

use bytes::Bytes;
use ottla_rules::ids::TopicId;

/// More elements than this in one array are refused, as Kafka 4.4 does.
pub const ELEMENTS_MAX: usize = 1_000_000;

/// More tagged fields than this in one structure are refused, as Kafka 4.4 does.
pub const TAGS_MAX: usize = 10_000;

/// A longer text is refused, as Kafka does ("had invalid length"): records and classic encodings have no room for it.
pub const TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// How many bytes of arrays in memory each byte of a message may cause. The densest honest arrays (one-letter topic
/// names) need 14.
pub const ALLOWANCE_PER_BYTE: usize = 16;

/// What every message may cause on top, so that the rule above cannot hurt a small one.
pub const ALLOWANCE_AT_LEAST: usize = 64 * 1024;

/// The bytes are not the message that they claim to be. A connection that sent them is closed, as Kafka does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("the message ends at byte {end}, but the value at byte {at} needs {needed} bytes")]
    Truncated {
        /// Where the value begins.
        at: usize,
        /// How long it says it is.
        needed: usize,
        /// Where the bytes end.
        end: usize,
    },
    /// A length below zero that does not mean null.
    #[error("the length at byte {at} is {length}; a length is not negative")]
    NegativeLength {
        /// Where the length stands.
        at: usize,
        /// What it says.
        length: i64,
    },
    /// A text that is longer than any may be.
    #[error("the text at byte {at} has {length} bytes; at most {TEXT_BYTES_MAX} are taken")]
    TextTooLong {
        /// Where the text begins.
        at: usize,
        /// How many bytes of UTF-8 it has.
        length: usize,
    },
    /// Null where this version of the message has no null.
    #[error("the value at byte {at} is null, which this version of the message does not allow")]
    Null {
        /// Where the value begins.
        at: usize,
    },
    /// An unsigned varint of more than 32 bits.
    #[error("the varint at byte {at} does not fit into 32 bits")]
    Varint {
        /// Where it begins.
        at: usize,
    },
    /// More elements or tags than the limit, than bytes are left, or than the memory allowance covers.
    #[error("{count} elements are announced at byte {at}; at most {allowed} are taken there")]
    TooMany {
        /// Where the count stands.
        at: usize,
        /// The announced count.
        count: usize,
        /// How many would have been read.
        allowed: usize,
    },
    /// The message does not exist in this version, or we do not read it.
    #[error("version {version} of {name} is not supported; versions {min} to {max} are")]
    Version {
        /// The message.
        name: &'static str,
        /// The version asked for.
        version: i16,
        /// The lowest that can be read.
        min: i16,
        /// The highest that can be read.
        max: i16,
    },
    /// No API has this key.
    #[error("no API has the key {key}")]
    UnknownKey {
        /// The key in the header.
        key: i16,
    },
}

/// A position in the bytes of one message.
#[derive(Debug)]
pub struct Reader<'a> {
    all: &'a [u8],
    at: usize,
    end: usize,
    owner: Option<&'a Bytes>,
    allowance: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`; byte fields come out as slices of them, uncopied.
    #[must_use]
    pub fn new(bytes: &'a Bytes) -> Self {
        Self { owner: Some(bytes), ..Self::over(bytes) }
    }

    /// Reads from the start of borrowed bytes; byte fields are copied.
    #[must_use]
    pub fn over(bytes: &'a [u8]) -> Self {
        let allowance = bytes.len().saturating_mul(ALLOWANCE_PER_BYTE).saturating_add(ALLOWANCE_AT_LEAST);
        Self { all: bytes, at: 0, end: bytes.len(), owner: None, allowance }
    }

    /// How many bytes have been read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// The next `n` bytes, borrowed.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], as for every read below.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        if n > self.remaining() {
            return Err(DecodeError::Truncated { at: self.at, needed: n, end: self.end });
        }
        let all: &'a [u8] = self.all;
        let taken = &all[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// INT8.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.array().map(i8::from_be_bytes)
    }

    /// INT16.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    /// INT32.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    /// INT64.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// BOOLEAN: everything but 0 is true, as in Kafka.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    /// UUID.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn uuid(&mut self) -> Result<TopicId, DecodeError> {
        self.array().map(TopicId)
    }

    /// UNSIGNED_VARINT, of at most 32 bits.
    ///
    /// # Errors
    /// [`DecodeError::Varint`] or [`DecodeError::Truncated`].
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let at = self.at;
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        let [byte] = self.array()?;
        if byte > 0x0f {
            return Err(DecodeError::Varint { at });
        }
        Ok(value | u32::from(byte) << 28)
    }

    /// A length before a string, bytes or an array; `None` is null. `wide` is the width of the classic encoding.
    fn length(&mut self, flexible: bool, wide: bool) -> Result<Option<usize>, DecodeError> {
        let at = self.at;
        if flexible {
            return Ok((self.unsigned_varint()? as usize).checked_sub(1));
        }
        let length = if wide { i64::from(self.i32()?) } else { i64::from(self.i16()?) };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(DecodeError::NegativeLength { at, length }),
        }
    }

    /// (COMPACT_)NULLABLE_STRING. Bytes that are not UTF-8 become U+FFFD, as in Java.
    ///
    /// # Errors
    /// [`DecodeError`] when the length is impossible, or more than [`TEXT_BYTES_MAX`].
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<String>, DecodeError> {
        let Some(length) = self.length(flexible, false)? else { return Ok(None) };
        let at = self.at;
        let short = |length| match length {
            0..=TEXT_BYTES_MAX => Ok(()),
            length => Err(DecodeError::TextTooLong { at, length }),
        };
        let bytes = self.take(length)?;
        short(length)?;
        // Looked at many bytes at a time; the other way is for what is no text, of which each byte may become three.
        let Ok(text) = str::from_utf8(bytes) else {
            let text = String::from_utf8_lossy(bytes).into_owned();
            short(text.len())?;
            return Ok(Some(text));
        };
        Ok(Some(text.to_owned()))
    }

    /// (COMPACT_)NULLABLE_BYTES and RECORDS, uncopied where the reader was made from [`Bytes`].
    ///
    /// # Errors
    /// [`DecodeError`] when the length is impossible.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        let Some(length) = self.length(flexible, true)? else { return Ok(None) };
        let slice = self.take(length)?;
        Ok(Some(match self.owner {
            Some(owner) => owner.slice(self.at - length..self.at),
            None => Bytes::copy_from_slice(slice),
        }))
    }

    /// The length of bytes or records that follow, checked to be there; `None` is null. They are not read.
    ///
    /// # Errors
    /// [`DecodeError`] when the length is impossible.
    pub fn bytes_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        let Some(length) = self.length(flexible, true)? else { return Ok(None) };
        if length > self.remaining() {
            return Err(DecodeError::Truncated { at: self.at, needed: length, end: self.end });
        }
        Ok(Some(length))
    }

    /// The count before an array whose elements take `size` bytes in memory each; `None` is null. The caller may
    /// allocate that many.
    ///
    /// # Errors
    /// [`DecodeError::TooMany`] beyond [`ELEMENTS_MAX`], the bytes left (an element has at least one) and the
    /// memory allowance.
    pub fn count(&mut self, flexible: bool, size: usize) -> Result<Option<usize>, DecodeError> {
        let at = self.at;
        let Some(count) = self.length(flexible, true)? else { return Ok(None) };
        let allowed = ELEMENTS_MAX.min(self.remaining()).min(self.allowance / size.max(1));
        if count > allowed {
            return Err(DecodeError::TooMany { at, count, allowed });
        }
        self.allowance -= count * size;
        Ok(Some(count))
    }

    /// The tagged fields at the end of a structure. `known` is called for each with a reader that ends where the field
    /// ends; what it leaves is skipped, so it does nothing for a tag that it does not know.
    ///
    /// # Errors
    /// [`DecodeError`] when a length is impossible or `known` fails.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let at = self.at;
        let count = self.unsigned_varint()? as usize;
        let allowed = TAGS_MAX.min(self.remaining() / 2);
        if count > allowed {
            return Err(DecodeError::TooMany { at, count, allowed });
        }
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            if size > self.remaining() {
                return Err(DecodeError::Truncated { at: self.at, needed: size, end: self.end });
            }
            let (field_end, whole_end) = (self.at + size, self.end);
            self.end = field_end;
            known(tag, self)?;
            (self.at, self.end) = (field_end, whole_end);
        }
        Ok(())
    }
}
