//! Reads and writes the fields of coordinator records: Kafka's generated formats, plain and flexible.
//!
//! Reading answers `None` where the bytes do not fit. Nothing is allocated for a count that the bytes cannot hold.

use std::ops::RangeInclusive;

/// Reads fields from the front of some bytes.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    bytes: &'a [u8],
    flexible: bool,
}

impl<'a> Read<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, flexible: false }
    }

    /// The version that stands first, turned into a reader of that version; inner none for one that is not `known`.
    pub(super) fn version(&mut self, known: RangeInclusive<i16>, flexible_from: i16) -> Option<Option<Self>> {
        let version = self.i16()?;
        if !known.contains(&version) {
            return Some(None);
        }
        Some(Some(Self { bytes: self.bytes, flexible: version >= flexible_from }))
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n)?;
        self.bytes = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*taken)
    }

    pub(super) fn i8(&mut self) -> Option<i8> {
        self.array().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Option<[u8; 16]> {
        self.array()
    }

    fn varint(&mut self) -> Option<u32> {
        let mut number = 0u32;
        for at in 0..5 {
            let [byte] = self.array()?;
            number |= u32::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A length; inner none is null. `plain` reads it in a format that is not flexible.
    fn length(&mut self, plain: impl FnOnce(&mut Self) -> Option<i32>) -> Option<Option<usize>> {
        if self.flexible {
            return Some(match self.varint()? {
                0 => None,
                n => Some(n as usize - 1),
            });
        }
        let length = plain(self)?;
        Some(usize::try_from(length).ok())
    }

    /// A text, or null.
    pub(super) fn nullable_text(&mut self) -> Option<Option<String>> {
        let Some(length) = self.length(|bytes| bytes.i16().map(i32::from))? else { return Some(None) };
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        Some(Some(text.to_owned()))
    }

    /// A text.
    pub(super) fn text(&mut self) -> Option<String> {
        self.nullable_text()?
    }

    /// Bytes; null counts as none.
    pub(super) fn blob(&mut self) -> Option<&'a [u8]> {
        match self.length(Self::i32)? {
            Some(length) => self.take(length),
            None => Some(&[]),
        }
    }

    /// A list; null counts as empty.
    pub(super) fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.length(Self::i32)?.unwrap_or(0);
        // Each element has a byte at least.
        if count > self.bytes.len() {
            return None;
        }
        (0..count).map(|_| element(self)).collect()
    }

    /// The tagged fields; `field` is given each and may look at it.
    pub(super) fn tags(&mut self, mut field: impl FnMut(u32, Self) -> Option<()>) -> Option<()> {
        if !self.flexible {
            return Some(());
        }
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let length = self.varint()? as usize;
            field(tag, Self { bytes: self.take(length)?, flexible: true })?;
        }
        Some(())
    }

    pub(super) fn skip_tags(&mut self) -> Option<()> {
        self.tags(|_, _| Some(()))
    }
}

/// Bytes that a key or a value of a committed offset rarely exceeds.
const USUAL_BYTES: usize = 64;

/// Writes fields one behind the other.
pub(super) struct Write {
    bytes: Vec<u8>,
    flexible: bool,
}

impl Write {
    /// Begins with a number: of a key, or the version of a value.
    pub(super) fn new(number: i16, flexible: bool) -> Self {
        // Most keys and values are shorter: they are written without growing.
        let bytes = Vec::with_capacity(USUAL_BYTES);
        Self { bytes, flexible }.i16(number)
    }

    /// A tagged field's content.
    pub(super) fn tagged() -> Self {
        Self { bytes: Vec::new(), flexible: true }
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.bytes
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(super) fn i8(self, value: i8) -> Self {
        self.put(&value.to_be_bytes())
    }

    pub(super) fn i16(self, value: i16) -> Self {
        self.put(&value.to_be_bytes())
    }

    pub(super) fn i32(self, value: i32) -> Self {
        self.put(&value.to_be_bytes())
    }

    pub(super) fn i64(self, value: i64) -> Self {
        self.put(&value.to_be_bytes())
    }

    pub(super) fn uuid(self, value: [u8; 16]) -> Self {
        self.put(&value)
    }

    fn varint(mut self, mut value: u32) -> Self {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
        self
    }

    /// A text. Those that come here were short on the wire already; a longer one would be cut.
    pub(super) fn text(self, text: &str) -> Self {
        self.nullable_text(Some(text))
    }

    pub(super) fn nullable_text(self, text: Option<&str>) -> Self {
        let Some(text) = text else {
            return if self.flexible { self.varint(0) } else { self.put(&(-1i16).to_be_bytes()) };
        };
        let text = &text.as_bytes()[..text.floor_char_boundary(i16::MAX as usize)];
        let head = if self.flexible {
            self.varint(text.len() as u32 + 1)
        } else {
            self.put(&(text.len() as i16).to_be_bytes())
        };
        head.put(text)
    }

    pub(super) fn blob(self, bytes: &[u8]) -> Self {
        self.count(bytes.len()).put(bytes)
    }

    fn count(self, count: usize) -> Self {
        if self.flexible { self.varint(count as u32 + 1) } else { self.put(&(count as i32).to_be_bytes()) }
    }

    pub(super) fn list<T>(self, list: &[T], element: impl FnMut(Self, &T) -> Self) -> Self {
        let head = self.count(list.len());
        list.iter().fold(head, element)
    }

    /// No tagged fields.
    pub(super) fn tags(self) -> Self {
        if self.flexible { self.varint(0) } else { self }
    }

    /// One tagged field, or none.
    pub(super) fn tag(self, tag: u32, content: Option<Self>) -> Self {
        self.tagged_fields(content.map(|content| (tag, content)).into_iter().collect())
    }

    /// Tagged fields, in the order of their tags.
    pub(super) fn tagged_fields(self, fields: Vec<(u32, Self)>) -> Self {
        let head = self.varint(fields.len() as u32);
        fields.into_iter().fold(head, |head, (tag, content)| {
            let content = content.done();
            head.varint(tag).varint(content.len() as u32).put(&content)
        })
    }
}
