//! Record batches, format version 2 (KIP-98): the only owner of the bytes of one batch.
//!
//! ```text
//!  0        8       12        16     17   21          23            27         35       43         51     53         57     61
//!  | base   | batch | leader  | mag- | crc| attributes| last offset | base     | max    | producer | prod | base     | count | records …
//!  | offset | length| epoch   | ic   |    |           | delta       | timestamp| timest.| id       | epoch| sequence |       |
//!  '-------- outside the CRC --------'    '---------------------------- under the CRC (CRC-32C) ------------------------------
//! ```
//!
//! A client's batch is parsed once, at the door ([`Batch::parse`]); the leader stamps its place into it ([`Batch::stamp`]);
//! what is stored and sent to consumers are these same bytes. Packed records are unpacked to be looked at, never to be
//! kept; they are packed anew only where the topic names another codec (`compression.type`).

use bytes::{Bytes, BytesMut};

use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use crate::time::Now;

pub mod build;
mod check;
mod codec;
pub mod marker;
mod pack;
pub mod records;
pub mod sieve;
mod skim;
mod varint;

/// The header of a batch; records begin here.
pub const HEADER_BYTES: usize = 61;

/// What stands before the bytes that `batch_length` counts: base offset and the length itself (Kafka's `LOG_OVERHEAD`).
pub const LENGTH_PREFIX_BYTES: usize = 12;

/// Where the bytes under the CRC begin.
const CRC_FROM: usize = 21;

/// The smallest `batch_length` of a batch of version 2.
const BATCH_LENGTH_MIN: i32 = (HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32;

/// Kafka's `LegacyRecord.RECORD_OVERHEAD_V0`: no batch of any version is shorter.
const LEGACY_LENGTH_MIN: i32 = 14;

/// How records are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// Not packed.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy, in xerial's framing or raw.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// How a topic wants its records packed (`compression.type` and the level of that codec).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// The codec; [`Codec::None`] is `uncompressed`.
    pub codec: Codec,
    /// The codec's level, as Kafka numbers it. Only gzip and Zstandard have one here.
    pub level: i32,
}

impl Packing {
    /// A codec with Kafka's default level.
    #[must_use]
    pub fn of(codec: Codec) -> Self {
        let level = match codec {
            Codec::None | Codec::Snappy => 0,
            Codec::Gzip => -1,
            Codec::Lz4 => 9,
            Codec::Zstd => 3,
        };
        Self { codec, level }
    }
}

/// What the timestamps of a batch mean (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// Each record has its producer's time.
    #[default]
    CreateTime,
    /// Every record has the time at which the leader appended the batch.
    LogAppendTime,
}

/// The attributes of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 7;
    const LOG_APPEND_TIME: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    const DELETE_HORIZON: i16 = 1 << 6;

    /// How the records are packed.
    ///
    /// # Errors
    /// [`BatchError::UnsupportedCodec`] for 5 to 7, which Kafka has never given out.
    pub fn codec(self) -> Result<Codec, BatchError> {
        match self.0 & Self::CODEC {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Gzip),
            2 => Ok(Codec::Snappy),
            3 => Ok(Codec::Lz4),
            4 => Ok(Codec::Zstd),
            id => Err(BatchError::UnsupportedCodec { id: id as i8 }),
        }
    }

    /// What the timestamps mean.
    #[must_use]
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds a marker of the broker instead of records of a client.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether compaction wrote into `base_timestamp` when tombstones may go (KIP-534).
    #[must_use]
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// The header of one batch, as its bytes say it: nothing is corrected here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The offset of the first record; 0 as it comes from a client.
    pub base_offset: Offset,
    /// Bytes after this field; at least 49.
    pub batch_length: i32,
    /// The reign under which the batch was appended.
    pub leader_epoch: LeaderEpoch,
    /// The format: always 2 here.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// The last offset, counted from the first. Stays when compaction takes records out.
    pub last_offset_delta: i32,
    /// What the records' timestamps count from, in Unix milliseconds.
    pub base_timestamp: i64,
    /// The largest timestamp of the records, in Unix milliseconds; -1 when there is none.
    pub max_timestamp: i64,
    /// The idempotent producer, or [`ProducerId::NONE`].
    pub producer_id: ProducerId,
    /// Its epoch, or -1.
    pub producer_epoch: ProducerEpoch,
    /// The number of the first record within that epoch, or -1.
    pub base_sequence: Sequence,
    /// Records in the batch.
    pub count: i32,
}

impl Header {
    /// Reads the header at the beginning of `bytes`; whether the rest of the batch is there is not looked at.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] below 61 bytes, [`BatchError::Magic`] for the formats 0 and 1,
    /// [`BatchError::Corrupt`] for any other format or a length that no batch can have.
    pub fn read(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Truncated { need: HEADER_BYTES, have: bytes.len() });
        };
        let header = Self {
            base_offset: Offset(i64::from_be_bytes(field(head, 0))),
            batch_length: i32::from_be_bytes(field(head, 8)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(head, 12))),
            magic: head[16] as i8,
            crc: u32::from_be_bytes(field(head, 17)),
            attributes: Attributes(i16::from_be_bytes(field(head, 21))),
            last_offset_delta: i32::from_be_bytes(field(head, 23)),
            base_timestamp: i64::from_be_bytes(field(head, 27)),
            max_timestamp: i64::from_be_bytes(field(head, 35)),
            producer_id: ProducerId(i64::from_be_bytes(field(head, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(head, 51))),
            base_sequence: Sequence(i32::from_be_bytes(field(head, 53))),
            count: i32::from_be_bytes(field(head, 57)),
        };
        match header.magic {
            2 => (),
            0 | 1 => return Err(BatchError::Magic { magic: header.magic }),
            other => return Err(corrupt(format!("the format {other} is unknown, only 2 is"))),
        }
        if header.batch_length < BATCH_LENGTH_MIN {
            return Err(corrupt(format!("a batch length of {}, below a header's", header.batch_length)));
        }
        Ok(header)
    }

    /// The bytes of the whole batch, this header included.
    #[must_use]
    pub fn size(&self) -> usize {
        // Not negative: `read` refuses lengths below 49.
        LENGTH_PREFIX_BYTES + self.batch_length as usize
    }

    /// The offset after the last record. Bytes may name a place that no log reaches: then the highest offset, so that
    /// whoever compares finds that it does not follow.
    #[must_use]
    pub fn end(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta) + 1))
    }

    /// The sequence of the last record; wraps as Kafka's `DefaultRecordBatch.lastSequence`.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        self.base_sequence.plus(self.last_offset_delta)
    }

    /// Whether an idempotent producer sent it.
    #[must_use]
    pub fn has_producer(&self) -> bool {
        self.producer_id.0 > ProducerId::NONE.0
    }
}

/// `N` bytes of a header. Offsets are the constants of this file, all within 61.
fn field<const N: usize>(head: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&head[at..at + N]);
    out
}

/// What a topic allows in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRules {
    /// `max.message.bytes`: a larger batch is refused.
    pub bytes_max: usize,
    /// `segment.bytes`: a batch that does not fit into one segment is refused.
    pub segment_bytes_max: usize,
    /// `cleanup.policy` has `compact`: every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how old a record may be. `i64::MAX` is no limit.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far in the future a record may be. `i64::MAX` is no limit.
    pub after_max_ms: i64,
    /// What a packed batch may unpack to; beyond, it is refused.
    pub unpacked_bytes_max: usize,
    /// `compression.type`: how records are stored; none is `producer`, as they came.
    pub packing: Option<Packing>,
}

/// What Kafka allows when nothing is configured, with 100 MiB to unpack.
impl Default for BatchRules {
    fn default() -> Self {
        Self {
            bytes_max: 1_048_588,
            segment_bytes_max: 1 << 30,
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
            unpacked_bytes_max: 100 << 20,
            packing: None,
        }
    }
}

/// Why a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Bytes are missing (CORRUPT_MESSAGE).
    #[error("a batch needs {need} bytes, {have} are there")]
    Truncated {
        /// Bytes that the batch needs.
        need: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// The bytes are not what their writer wrote (CORRUPT_MESSAGE).
    #[error("the record batch is corrupt: {reason}")]
    Corrupt {
        /// What is wrong.
        reason: String,
    },
    /// Larger than `max.message.bytes` (MESSAGE_TOO_LARGE: Java's producer splits the batch).
    #[error("the record batch has {bytes} bytes, max.message.bytes allows {max}")]
    TooLarge {
        /// Bytes of the batch.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Unpacks to more than the broker is willing to look at (MESSAGE_TOO_LARGE: Java's producer splits the batch).
    #[error("the record batch unpacks to more than {max} bytes")]
    UnpacksTooLarge {
        /// Bytes allowed.
        max: usize,
    },
    /// The packed records cannot be unpacked (UNKNOWN_SERVER_ERROR, as in Kafka, where nobody catches what the codec throws).
    #[error("the {codec:?} records cannot be unpacked: {reason}")]
    Unpackable {
        /// How they claim to be packed.
        codec: Codec,
        /// What the codec says.
        reason: String,
    },
    /// Does not fit into one segment (RECORD_LIST_TOO_LARGE).
    #[error("the record batch has {bytes} bytes, segment.bytes allows {max}")]
    TooLargeForSegment {
        /// Bytes of the batch.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Breaks a rule of the format or of the topic (INVALID_RECORD).
    #[error("{reason}")]
    Invalid {
        /// What is wrong with the batch.
        reason: String,
        /// Records that are to blame: index in the batch and why. At most [`RECORD_ERRORS_MAX`].
        records: Vec<(i32, String)>,
    },
    /// Timestamps outside of what the topic allows (INVALID_TIMESTAMP).
    #[error("One or more records have been rejected due to invalid timestamp")]
    Timestamp {
        /// Records that are to blame: index in the batch and why. At most [`RECORD_ERRORS_MAX`].
        records: Vec<(i32, String)>,
    },
    /// A batch of format 0 or 1 (INVALID_RECORD from Produce version 3 on).
    #[error("record batches have to have magic 2, this one has {magic}")]
    Magic {
        /// The format.
        magic: i8,
    },
    /// A codec that Kafka has never given out (UNSUPPORTED_COMPRESSION_TYPE).
    #[error("the compression codec {id} is unknown")]
    UnsupportedCodec {
        /// The codec's number.
        id: i8,
    },
}

/// How many records of one batch are named in an error. Kafka names all of them; a client learns nothing more from
/// the ten-thousandth, and the answer stays small.
pub const RECORD_ERRORS_MAX: usize = 1_000;

pub(crate) fn corrupt(reason: impl Into<String>) -> BatchError {
    BatchError::Corrupt { reason: reason.into() }
}

fn unpackable(codec: Codec, reason: impl std::fmt::Display) -> BatchError {
    BatchError::Unpackable { codec, reason: reason.to_string() }
}

pub(crate) fn invalid(reason: impl Into<String>) -> BatchError {
    BatchError::Invalid { reason: reason.into(), records: Vec::new() }
}

/// One batch of a client that keeps every rule, ready to be given its place.
#[derive(Debug)]
pub struct Batch {
    bytes: BytesMut,
    header: Header,
    max_timestamp: i64,
}

impl Batch {
    /// Makes a batch of what a client sent for one partition: exactly one batch, checked in the order of Kafka's
    /// `ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords` and `LogValidator`.
    ///
    /// Every record is looked at. Uncompressed ones are walked without allocation, packed ones while they are unpacked,
    /// through a small window and up to `rules.unpacked_bytes_max`. Where the topic wants another codec they are packed
    /// anew on the way. Transactional batches pass.
    ///
    /// # Errors
    /// The first broken rule, see [`BatchError`].
    pub fn parse(bytes: BytesMut, rules: &BatchRules, now: Now) -> Result<Self, BatchError> {
        let mut patience = 0;
        match check::begin(bytes, rules, now, &mut patience)? {
            Parsed::Whole(batch) => Ok(batch),
            Parsed::Long(long) => long.finish(rules, now),
        }
    }

    /// The same, for a thread that must not be held: what is cheap to know is checked, and records as long as no more
    /// than `patience` bytes have to be unpacked or packed for it, which is taken off. The rest is for another thread.
    ///
    /// # Errors
    /// As [`Batch::parse`].
    pub fn begin(
        bytes: BytesMut,
        rules: &BatchRules,
        now: Now,
        patience: &mut usize,
    ) -> Result<Parsed, BatchError> {
        check::begin(bytes, rules, now, patience)
    }

    /// The header as the client sent it.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes, header included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many offsets it takes.
    #[must_use]
    pub fn n_records(&self) -> i64 {
        i64::from(self.header.last_offset_delta) + 1
    }

    /// The true largest timestamp of its records, in Unix milliseconds; -1 when no record has one.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Gives the batch its place, in its own bytes. With `append_time` (topics with LogAppendTime, Unix milliseconds)
    /// every record gets that time. The CRC is computed again only when something under it changes.
    #[must_use]
    pub fn stamp(mut self, base: Offset, epoch: LeaderEpoch, append_time: Option<i64>) -> Stamped {
        let max_timestamp = append_time.unwrap_or(self.max_timestamp);
        let attributes = match append_time {
            Some(_) => self.header.attributes.0 | Attributes::LOG_APPEND_TIME,
            None => self.header.attributes.0,
        };
        let bytes = &mut self.bytes;
        bytes[0..8].copy_from_slice(&base.0.to_be_bytes());
        bytes[12..16].copy_from_slice(&epoch.0.to_be_bytes());
        if attributes != self.header.attributes.0 || max_timestamp != self.header.max_timestamp {
            bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
            bytes[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
            let crc = crc_of(bytes);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let end = base.plus(self.n_records());
        Stamped { bytes: self.bytes.freeze(), base, end, max_timestamp, leader_epoch: epoch }
    }
}

/// How far [`Batch::begin`] came.
#[derive(Debug)]
pub enum Parsed {
    /// To the end.
    Whole(Batch),
    /// The header is good; the records take longer than the caller has.
    Long(Long),
}

/// A batch with a good header and a good CRC, whose records nobody has looked at.
#[derive(Debug)]
pub struct Long {
    bytes: BytesMut,
    header: Header,
}

impl Long {
    /// Looks at the records, and packs them anew where the topic wants that. Takes as long as it takes.
    ///
    /// # Errors
    /// As [`Batch::parse`].
    pub fn finish(self, rules: &BatchRules, now: Now) -> Result<Batch, BatchError> {
        check::finish(self, rules, now)
    }
}

/// The CRC-32C that a whole batch should have.
fn crc_of(batch: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(&batch[CRC_FROM..])
}

/// A batch with its place: what is stored, replicated and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// The whole batch.
    pub bytes: Bytes,
    /// The offset of its first record.
    pub base: Offset,
    /// The offset after its last record.
    pub end: Offset,
    /// The largest timestamp of its records, in Unix milliseconds.
    pub max_timestamp: i64,
    /// The reign under which it was appended.
    pub leader_epoch: LeaderEpoch,
}

/// Walks a run of stored batches by their headers; records and CRCs are not looked at ([`check_stored`] does).
///
/// Ends where less than a whole batch is left; [`Walk::position`] then says where. A broken header is an error, and the
/// walk ends there too.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    bytes: &'a [u8],
    position: usize,
    broken: bool,
}

impl<'a> Walk<'a> {
    /// A walk that begins at the first byte, where a batch has to begin.
    #[must_use]
    pub fn over(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, broken: false }
    }

    /// Where the next batch begins: the end of the last whole one.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

/// Where a batch begins, and its header. The whole batch is there.
impl Iterator for Walk<'_> {
    type Item = Result<(usize, Header), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.position..];
        if self.broken || rest.len() < HEADER_BYTES {
            return None;
        }
        let header = match Header::read(rest) {
            Ok(header) => header,
            Err(error) => {
                self.broken = true;
                return Some(Err(error));
            }
        };
        if header.size() > rest.len() {
            return None;
        }
        let at = self.position;
        self.position += header.size();
        Some(Ok((at, header)))
    }
}

/// Checks one whole stored batch: length, format, CRC. `bytes` may go on after it.
///
/// # Errors
/// Those of [`Header::read`]; [`BatchError::Truncated`] when its end is missing, [`BatchError::Corrupt`] when the CRC is wrong.
pub fn check_stored(bytes: &[u8]) -> Result<Header, BatchError> {
    let header = Header::read(bytes)?;
    let Some(batch) = bytes.get(..header.size()) else {
        return Err(BatchError::Truncated { need: header.size(), have: bytes.len() });
    };
    check_crc(&header, batch)?;
    Ok(header)
}

fn check_crc(header: &Header, batch: &[u8]) -> Result<(), BatchError> {
    let crc = crc_of(batch);
    if crc != header.crc {
        return Err(corrupt(format!("stored crc = {}, computed crc = {crc}", header.crc)));
    }
    Ok(())
}

#[cfg(test)]
mod packed_tests;
#[cfg(test)]
mod tests;
