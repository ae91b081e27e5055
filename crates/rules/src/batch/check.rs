//! What a client's batch has to keep to be taken.

use std::io;

use bytes::BytesMut;

use super::{
    Batch, BatchError, BatchRules, Codec, HEADER_BYTES, Header, LEGACY_LENGTH_MIN, LENGTH_PREFIX_BYTES, Long,
    Parsed, RECORD_ERRORS_MAX, TimestampType, check_crc, corrupt, invalid, pack::Repacked, records::Records,
    skim::Skim, unpackable,
};
use crate::{ids::Offset, time::Now};

/// Bytes up to and with the magic, which stands at the same place in every format.
const UP_TO_MAGIC_BYTES: usize = 17;

/// A batch that unpacks to more than so many times its size is not unpacked by someone in a hurry: what many small ones
/// can ask for is then bounded by what came over the wire.
const HASTY_RATIO: usize = 8;

pub(super) fn begin(
    mut bytes: BytesMut,
    rules: &BatchRules,
    now: Now,
    patience: &mut usize,
) -> Result<Parsed, BatchError> {
    let header = take_only_batch(&mut bytes)?;
    if header.base_offset != Offset::ZERO {
        return Err(invalid(format!(
            "the base offset of a record batch has to be 0, it is {}",
            header.base_offset
        )));
    }
    if bytes.len() > rules.bytes_max {
        return Err(BatchError::TooLarge { bytes: bytes.len(), max: rules.bytes_max });
    }
    check_crc(&header, &bytes)?;
    let codec = header.attributes.codec()?;
    check_header(&header)?;
    let long = Long { bytes, header };
    let packs = rules.packing.is_some_and(|packing| packing.codec != codec);
    if codec == Codec::None && !packs {
        return finish(long, rules, now).map(Parsed::Whole);
    }
    // Packing with these takes ten times as long as unpacking.
    let is_slow = packs && matches!(rules.packing.map(|to| to.codec), Some(Codec::Gzip | Codec::Zstd));
    let bytes_max = if is_slow { 0 } else { long.bytes.len().saturating_mul(HASTY_RATIO).min(*patience) };
    if long.bytes.len() > bytes_max {
        return Ok(Parsed::Long(long));
    }
    *patience -= bytes_max;
    match look(&long, rules, now, rules.unpacked_bytes_max.min(bytes_max)) {
        Err(BatchError::UnpacksTooLarge { .. }) if bytes_max < rules.unpacked_bytes_max => {
            Ok(Parsed::Long(long))
        }
        looked => settle(long, looked?, rules).map(Parsed::Whole),
    }
}

pub(super) fn finish(long: Long, rules: &BatchRules, now: Now) -> Result<Batch, BatchError> {
    let looked = look(&long, rules, now, rules.unpacked_bytes_max)?;
    settle(long, looked, rules)
}

/// The largest timestamp of the records, and the batch as the topic wants it packed where it came otherwise.
type Looked = (i64, Option<BytesMut>);

/// Walks the records to the last one.
fn look(long: &Long, rules: &BatchRules, now: Now, unpacked_bytes_max: usize) -> Result<Looked, BatchError> {
    let Long { bytes, header } = long;
    let codec = header.attributes.codec()?;
    let packed = &bytes[HEADER_BYTES..];
    let mut inspector = Inspector::new(rules, now);
    let wanted = rules.packing.filter(|packing| packing.codec != codec);
    let Some(packing) = wanted else {
        if codec == Codec::None {
            walk(bytes, &mut inspector)?;
        } else {
            skim(Skim::over(codec, packed, unpacked_bytes_max, |_| Ok(()))?, header, &mut inspector)?;
        }
        return Ok((inspector.verdict()?, None));
    };
    let mut repacked = Repacked::begin(bytes, packing, rules.bytes_max)?;
    if codec == Codec::None {
        walk(bytes, &mut inspector)?;
        repacked.put(packed).map_err(|error| unpackable(packing.codec, error))?;
    } else {
        let skim_over = Skim::over(codec, packed, unpacked_bytes_max, |unpacked| repacked.put(unpacked))?;
        skim(skim_over, header, &mut inspector)?;
    }
    let max_timestamp = inspector.verdict()?;
    Ok((max_timestamp, Some(repacked.finish()?)))
}

/// What comes last: a batch that was packed anew has another size, and every batch has to fit into a segment.
fn settle(long: Long, looked: Looked, rules: &BatchRules) -> Result<Batch, BatchError> {
    let Long { mut bytes, mut header } = long;
    let (max_timestamp, repacked) = looked;
    if let Some(repacked) = repacked {
        header = Header::read(&repacked)?;
        bytes = repacked;
    }
    if bytes.len() > rules.segment_bytes_max {
        return Err(BatchError::TooLargeForSegment { bytes: bytes.len(), max: rules.segment_bytes_max });
    }
    Ok(Batch { bytes, header, max_timestamp })
}

/// Cuts `bytes` to the one batch that may be there. What follows it and is not a whole batch falls away, as in Kafka.
fn take_only_batch(bytes: &mut BytesMut) -> Result<Header, BatchError> {
    let Some(size) = batch_size(bytes)? else {
        return Err(invalid("a produce request has to have a whole record batch for each partition"));
    };
    let magic = bytes[UP_TO_MAGIC_BYTES - 1] as i8;
    if magic != 2 {
        return Err(BatchError::Magic { magic });
    }
    if batch_size(&bytes[size..])?.is_some() {
        return Err(invalid("a produce request has to have exactly one record batch for each partition"));
    }
    bytes.truncate(size);
    if size < HEADER_BYTES {
        return Err(corrupt(format!("{size} bytes, below a header's {HEADER_BYTES}")));
    }
    Header::read(bytes)
}

/// The bytes of the batch at the front, whatever its format; none when it is not whole. Kafka's `ByteBufferLogInputStream`.
fn batch_size(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<LENGTH_PREFIX_BYTES>() else { return Ok(None) };
    let length = i32::from_be_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]);
    if length < LEGACY_LENGTH_MIN {
        return Err(corrupt(format!("a batch length of {length}, below any header's")));
    }
    let Some(magic) = bytes.get(UP_TO_MAGIC_BYTES - 1) else { return Ok(None) };
    if *magic > 2 {
        return Err(corrupt(format!("the format {} is unknown, only 2 is", *magic as i8)));
    }
    // Not negative: at least 14.
    let length = length as usize;
    Ok((length <= rest.len()).then_some(LENGTH_PREFIX_BYTES + length))
}

/// What `LogValidator.validateBatch` asks of a client's header.
fn check_header(header: &Header) -> Result<(), BatchError> {
    let offsets = i64::from(header.last_offset_delta) + 1;
    if offsets <= 0 {
        return Err(invalid(format!("the last offset delta of a batch is {}", header.last_offset_delta)));
    }
    if header.count <= 0 {
        return Err(invalid(format!("the record count of a batch is {}", header.count)));
    }
    if offsets != i64::from(header.count) {
        return Err(invalid(format!("a batch takes {offsets} offsets, but counts {} records", header.count)));
    }
    if header.attributes.is_control() {
        return Err(invalid("clients are not allowed to write control records"));
    }
    if header.has_producer() && header.base_sequence.0 < 0 {
        return Err(invalid(format!(
            "sequence {} in a record batch with producer id {}",
            header.base_sequence, header.producer_id
        )));
    }
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        let reason = "a producer must not set the timestamp type to LogAppendTime";
        return Err(BatchError::Timestamp { records: vec![(0, reason.to_owned())] });
    }
    Ok(())
}

/// Walks records that are not packed.
fn walk(bytes: &[u8], inspector: &mut Inspector<'_>) -> Result<(), BatchError> {
    let mut records = Records::of(bytes, 0)?;
    while let Some(record) = records.next()? {
        inspector.record(record.offset_delta, record.timestamp, record.key.is_some())?;
    }
    Ok(())
}

/// Walks packed records, to the end of the codec's stream.
fn skim<F: FnMut(&[u8]) -> io::Result<()>>(
    mut records: Skim<'_, F>,
    header: &Header,
    inspector: &mut Inspector<'_>,
) -> Result<(), BatchError> {
    for _ in 0..header.count {
        let record = records.next()?;
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        inspector.record(record.offset_delta, timestamp, record.has_key)?;
    }
    if !records.is_at_end()? {
        return Err(invalid("more records than the count says"));
    }
    Ok(())
}

/// Judges records one after the other.
struct Inspector<'a> {
    rules: &'a BatchRules,
    now: Now,
    index: i32,
    max_timestamp: i64,
    blamed: Blamed,
}

impl<'a> Inspector<'a> {
    fn new(rules: &'a BatchRules, now: Now) -> Self {
        Self { rules, now, index: 0, max_timestamp: -1, blamed: Blamed::default() }
    }

    #[inline]
    fn record(&mut self, offset_delta: i32, timestamp: i64, has_key: bool) -> Result<(), BatchError> {
        let index = self.index;
        if offset_delta != index {
            return Err(invalid(format!("record {index} has the offset delta {offset_delta}")));
        }
        if self.rules.compacted && !has_key {
            self.blamed.key(index);
        } else if is_out_of_range(timestamp, self.rules, self.now) {
            self.blamed.timestamp(index, timestamp, self.rules, self.now);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.index += 1;
        Ok(())
    }

    /// The largest timestamp, if no record is to blame.
    fn verdict(self) -> Result<i64, BatchError> {
        self.blamed.verdict()?;
        Ok(self.max_timestamp)
    }
}

fn is_out_of_range(timestamp: i64, rules: &BatchRules, now: Now) -> bool {
    rules.timestamp_type == TimestampType::CreateTime
        && timestamp != -1
        && (now.wall_ms.saturating_sub(timestamp) > rules.before_max_ms || is_too_new(timestamp, rules, now))
}

fn is_too_new(timestamp: i64, rules: &BatchRules, now: Now) -> bool {
    timestamp.saturating_sub(now.wall_ms) > rules.after_max_ms
}

/// Records that break a rule of the topic. All are looked at, as in Kafka; the first thousand are named.
#[derive(Default)]
struct Blamed {
    records: Vec<(i32, String)>,
    n: usize,
    has_timestamp: bool,
}

impl Blamed {
    fn key(&mut self, index: i32) {
        self.add(index, || "Compacted topic cannot accept message without key".to_owned());
    }

    fn timestamp(&mut self, index: i32, timestamp: i64, rules: &BatchRules, now: Now) {
        self.has_timestamp = true;
        let from = now.wall_ms.saturating_sub(rules.before_max_ms);
        let upto = now.wall_ms.saturating_add(rules.after_max_ms);
        self.add(index, || {
            format!(
                "Timestamp {timestamp} of message with offset {index} is out of range. \
                 The timestamp should be within [{from}, {upto}]"
            )
        });
    }

    fn add(&mut self, index: i32, reason: impl FnOnce() -> String) {
        self.n += 1;
        if self.records.len() < RECORD_ERRORS_MAX {
            self.records.push((index, reason()));
        }
    }

    /// One wrong timestamp makes it an error about timestamps, whatever else is wrong (`LogValidator.processRecordErrors`).
    fn verdict(self) -> Result<(), BatchError> {
        if self.n == 0 {
            return Ok(());
        }
        if self.has_timestamp {
            return Err(BatchError::Timestamp { records: self.records });
        }
        let reason =
            format!("One or more records have been rejected due to {} record errors in total", self.n);
        Err(BatchError::Invalid { reason, records: self.records })
    }
}
