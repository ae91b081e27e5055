//! What a client's batch has to keep to be taken.

use bytes::BytesMut;

use super::{
    Batch, BatchError, BatchRules, Codec, HEADER_BYTES, Header, LEGACY_LENGTH_MIN, LENGTH_PREFIX_BYTES,
    RECORD_ERRORS_MAX, TimestampType, check_crc, corrupt, invalid, records::Records,
};
use crate::{ids::Offset, time::Now};

/// Bytes up to and with the magic, which stands at the same place in every format.
const UP_TO_MAGIC_BYTES: usize = 17;

pub(super) fn parse(mut bytes: BytesMut, rules: &BatchRules, now: Now) -> Result<Batch, BatchError> {
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
    let max_timestamp = if codec == Codec::None || needs_unpacking(&header, rules, now) {
        check_records(&header, &bytes, rules, now)?
    } else {
        header.max_timestamp
    };
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

/// Whether the header of a packed batch leaves a question open. Kafka unpacks every batch; here a client that writes
/// what it means is believed, because unpacking is what costs a broker most.
fn needs_unpacking(header: &Header, rules: &BatchRules, now: Now) -> bool {
    if rules.compacted {
        return true;
    }
    if rules.timestamp_type == TimestampType::LogAppendTime {
        return false;
    }
    // Some clients never fill in the maximum (sarama). The base is some record's timestamp, so a maximum below it is none.
    let cannot_be = header.max_timestamp < 0 || header.max_timestamp < header.base_timestamp;
    // The header does not say which record is oldest; which one is too new has to be named.
    let may_be_too_old = rules.before_max_ms != i64::MAX;
    cannot_be || may_be_too_old || is_too_new(header.max_timestamp, rules, now)
}

/// Walks the records; the largest timestamp.
fn check_records(header: &Header, bytes: &[u8], rules: &BatchRules, now: Now) -> Result<i64, BatchError> {
    let mut records = Records::of(bytes, rules.unpacked_bytes_max)?;
    let mut max_timestamp = -1;
    let mut blamed = Blamed::default();
    let mut index = 0;
    while let Some(record) = records.next()? {
        if record.offset_delta != index {
            return Err(invalid(format!("record {index} has the offset delta {}", record.offset_delta)));
        }
        if rules.compacted && record.key.is_none() {
            blamed.key(index);
        } else if is_out_of_range(record.timestamp, rules, now) {
            blamed.timestamp(index, record.timestamp, rules, now);
        }
        max_timestamp = max_timestamp.max(record.timestamp);
        index += 1;
    }
    debug_assert_eq!(index, header.count, "the reader stops at the count");
    blamed.verdict()?;
    Ok(max_timestamp)
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
