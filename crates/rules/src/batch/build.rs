//! Builds batches: for tests of every crate, for the simulation, and for batches that the broker itself writes.

use bytes::BytesMut;

use super::{Codec, Stamped};
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
        self.attributes |= 1 << 4;
        self
    }

    /// A marker of the broker (transaction end); the records are the caller's.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.attributes |= 1 << 5;
        self
    }

    /// The batch as a client sends it: base offset 0, leader epoch -1.
    ///
    /// # Panics
    /// Without records.
    #[must_use]
    pub fn build(&self) -> BytesMut {
        todo!()
    }

    /// The batch as a leader stores it.
    ///
    /// # Panics
    /// Without records.
    #[must_use]
    pub fn stamped(&self, _base: Offset, _epoch: LeaderEpoch) -> Stamped {
        todo!()
    }

    /// The batch as the leader's machine gets it: parsed under rules that allow everything.
    ///
    /// # Panics
    /// Without records, or as a control batch.
    #[must_use]
    pub fn parsed(&self) -> super::Batch {
        todo!()
    }
}
