//! Builds batches: for tests of every crate, for the simulation, and for batches that the broker itself writes.

use bytes::{BufMut, BytesMut};

use super::{
    Attributes, Batch, Codec, HEADER_BYTES, Header, LENGTH_PREFIX_BYTES, Stamped, codec, crc_of, varint,
};
use crate::ids::{LeaderEpoch, Offset};

/// Builds one valid batch.
///
/// ```
/// use ottla_rules::{batch::{build::BatchBuilder, Codec}, ids::{LeaderEpoch, Offset}};
///
/// let stored = BatchBuilder::new().codec(Codec::Lz4).record("key", "value", 1_000).stamped(Offset(7), LeaderEpoch(0));
/// assert_eq!(stored.end, Offset(8));
/// ```
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    attributes: i16,
    codec: Codec,
    producer: (i64, i16, i32),
    records: Vec<BuildRecord>,
}

/// One record to be built; see [`BatchBuilder::push`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildRecord {
    /// Unix milliseconds; -1 for none.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers: key and value.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An uncompressed batch without records, without a producer.
    #[must_use]
    pub fn new() -> Self {
        Self { attributes: 0, codec: Codec::None, producer: (-1, -1, -1), records: Vec::new() }
    }

    /// Packs the records.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Adds a record with key and value; `timestamp` in Unix milliseconds.
    #[must_use]
    pub fn record(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, timestamp: i64) -> Self {
        self.push(BuildRecord {
            timestamp,
            key: Some(key.as_ref().to_vec()),
            value: Some(value.as_ref().to_vec()),
            headers: Vec::new(),
        })
    }

    /// Adds a record without key.
    #[must_use]
    pub fn value(self, value: impl AsRef<[u8]>, timestamp: i64) -> Self {
        self.push(BuildRecord { timestamp, value: Some(value.as_ref().to_vec()), ..BuildRecord::default() })
    }

    /// Adds any record.
    #[must_use]
    pub fn push(mut self, record: BuildRecord) -> Self {
        self.records.push(record);
        self
    }

    /// Sent by an idempotent producer: producer id, its epoch, sequence of the first record.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.producer = (id, epoch, base_sequence);
        self
    }

    /// Part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.attributes |= Attributes::TRANSACTIONAL;
        self
    }

    /// A marker of the broker (transaction end); the records are the caller's.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.attributes |= Attributes::CONTROL;
        self
    }

    /// The batch as a client sends it: base offset 0, leader epoch -1.
    ///
    /// # Panics
    /// Without records, or when they are more than a batch can hold.
    #[must_use]
    pub fn build(&self) -> BytesMut {
        let first = self.records.first().expect("a batch has records: the caller's promise");
        let base_timestamp = first.timestamp;
        let max_timestamp = self.records.iter().map(|record| record.timestamp).fold(-1, i64::max);
        let (mut records, mut body) = (Vec::new(), Vec::new());
        for (index, record) in self.records.iter().enumerate() {
            body.clear();
            record.put_body(index as i64, base_timestamp, &mut body);
            varint::put(body.len() as i64, &mut records);
            records.extend_from_slice(&body);
        }
        let records = codec::pack(self.codec, &records).expect("packing in memory fails only without memory");
        let length = i32::try_from(HEADER_BYTES - LENGTH_PREFIX_BYTES + records.len());
        let length = length.expect("records of less than 2 GiB: the caller's promise");
        // As many as fit into 2 GiB: far below 2^31.
        let count = self.records.len() as i32;

        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + records.len());
        bytes.put_i64(0);
        bytes.put_i32(length);
        bytes.put_i32(-1);
        bytes.put_i8(2);
        bytes.put_u32(0);
        bytes.put_i16(self.attributes | self.codec as i16);
        bytes.put_i32(count - 1);
        bytes.put_i64(base_timestamp);
        bytes.put_i64(max_timestamp);
        bytes.put_i64(self.producer.0);
        bytes.put_i16(self.producer.1);
        bytes.put_i32(self.producer.2);
        bytes.put_i32(count);
        bytes.put_slice(&records);
        seal(&mut bytes);
        bytes
    }

    /// The batch as the leader's machine gets it. Not parsed: also what [`Batch::parse`] would refuse.
    ///
    /// # Panics
    /// As [`BatchBuilder::build`].
    #[must_use]
    pub fn parsed(&self) -> Batch {
        let bytes = self.build();
        let header = Header::read(&bytes).expect("a header that was just written");
        let max_timestamp = header.max_timestamp;
        Batch { bytes, header, max_timestamp }
    }

    /// The batch as a leader stores it.
    ///
    /// # Panics
    /// As [`BatchBuilder::build`].
    #[must_use]
    pub fn stamped(&self, base: Offset, epoch: LeaderEpoch) -> Stamped {
        self.parsed().stamp(base, epoch, None)
    }
}

/// Writes the CRC that the bytes of a whole batch should have: after a test changed some of them.
pub fn seal(batch: &mut [u8]) {
    let crc = crc_of(batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

impl BuildRecord {
    /// All of it but its length, which stands first.
    fn put_body(&self, index: i64, base_timestamp: i64, out: &mut Vec<u8>) {
        out.push(0);
        varint::put(self.timestamp.wrapping_sub(base_timestamp), out);
        varint::put(index, out);
        put_bytes(self.key.as_deref(), out);
        put_bytes(self.value.as_deref(), out);
        varint::put(self.headers.len() as i64, out);
        for (key, value) in &self.headers {
            put_bytes(Some(key.as_bytes()), out);
            put_bytes(value.as_deref(), out);
        }
    }
}

fn put_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    varint::put(bytes.map_or(-1, |bytes| bytes.len() as i64), out);
    out.extend_from_slice(bytes.unwrap_or_default());
}
