//! What a record of the simulation looks like, and how what was fetched is taken apart.

use std::ops::Range;

use bytes::BytesMut;
use ottla_rules::batch::build::{BatchBuilder, BuildRecord};
use ottla_rules::batch::records::Records;
use ottla_rules::batch::{Header, Walk, check_stored};

use crate::ledger::Mark;

/// Bytes of a record's value that say whose it is; what follows only fills.
const MARK_BYTES: usize = 12;
/// How many keys there are.
const KEYS: u32 = 7;
/// A batch is not larger.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// When all records were written, simulation time: 2025-06-15.
const TIMESTAMP_MS: i64 = 1_750_000_000_000;

/// The value of a record.
fn value(mark: Mark, bytes: usize) -> Vec<u8> {
    let mut value = (mark.lane as u64).to_be_bytes().to_vec();
    value.extend_from_slice(&mark.number.to_be_bytes());
    // Two records of one size still differ everywhere, so that a tail from the wrong one is seen.
    let fill = u8::try_from((mark.lane * 31 + mark.number as usize) % 251).unwrap_or(0);
    value.resize(bytes.max(MARK_BYTES), fill);
    value
}

/// The key of a record: few of them, which all lanes share. Every fifth record has a rare one, which three records of a lane have and
/// no later one.
pub(crate) fn key_of(mark: Mark) -> [u8; 1] {
    let key = if mark.number % 5 == 4 { 100 + mark.number / 15 } else { mark.number % KEYS };
    [key.to_be_bytes()[3]]
}

/// Whether a record deletes its key, where producers do so now and then.
pub(crate) fn is_tombstone(mark: Mark) -> bool {
    // The last one of every rare key, for good, and now and then another.
    mark.number % 15 == 14 || (mark.number / KEYS + mark.number).is_multiple_of(6)
}

fn mark_of(value: &[u8]) -> Option<Mark> {
    let (lane, rest) = value.split_first_chunk::<8>()?;
    let number = rest.first_chunk::<4>()?;
    Some(Mark { lane: usize::try_from(u64::from_be_bytes(*lane)).ok()?, number: u32::from_be_bytes(*number) })
}

/// A batch of an idempotent producer: the same bytes each time it is made. Some of its records are tombstones if it `deletes`.
pub(crate) fn batch(
    producer_id: i64,
    sequence: i32,
    marks: impl Iterator<Item = Mark>,
    bytes: usize,
    deletes: bool,
) -> BytesMut {
    let builder = BatchBuilder::new().producer(producer_id, 0, sequence);
    let add = |builder: BatchBuilder, mark: Mark| {
        let timestamp = TIMESTAMP_MS + i64::from(mark.number);
        match deletes && is_tombstone(mark) {
            // It has no value that could say whose it is.
            true => builder.push(BuildRecord {
                timestamp,
                key: Some(key_of(mark).to_vec()),
                value: None,
                headers: vec![("mark".to_owned(), Some(value(mark, 0)))],
            }),
            false => builder.record(key_of(mark), value(mark, bytes), timestamp),
        }
    };
    marks.fold(builder, add).build()
}

/// A batch of a transaction, of a producer with its epoch and the sequence of the first record.
pub(crate) fn transactional_batch(
    (producer_id, epoch, sequence): (i64, i16, i32),
    marks: impl Iterator<Item = Mark>,
    bytes: usize,
) -> BytesMut {
    let builder = BatchBuilder::new().transactional().producer(producer_id, epoch, sequence);
    marks.fold(builder, |builder, mark| builder.value(value(mark, bytes), TIMESTAMP_MS)).build()
}

/// What was fetched.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The records with their offsets, those of markers excepted.
    pub(crate) records: Vec<(i64, Mark)>,
    /// Where the next read begins.
    pub(crate) next: i64,
    /// The first offsets that are missing, where some are.
    pub(crate) gap: Option<Range<i64>>,
}

/// Takes whole batches apart, from an offset on. Batches that go back are wrong in every log.
///
/// # Errors
/// What is wrong with the bytes.
pub(crate) fn records_in(bytes: &[u8], from: i64) -> Result<Found, String> {
    let mut found_in = Found { next: from, ..Found::default() };
    let mut walk = Walk::over(bytes);
    for found in walk.by_ref() {
        let (at, header) = found.map_err(|error| error.to_string())?;
        let batch = bytes.get(at..at + header.size()).unwrap_or_default();
        check_stored(batch).map_err(|error| error.to_string())?;
        let (base, end) = (header.base_offset.0, header.end().0);
        let is_first = at == 0;
        if end <= found_in.next || (base < found_in.next && !is_first) {
            return Err(format!("the batch {base}..{end} comes where {} is to come", found_in.next));
        }
        // A batch that lacks records lacks offsets, too.
        let is_whole = i64::from(header.count) == end - base;
        if base > found_in.next || !is_whole {
            found_in.gap.get_or_insert(found_in.next..if is_whole { base } else { end });
        }
        if !header.attributes.is_control() {
            take(batch, &header, from, &mut found_in.records)?;
        }
        found_in.next = end;
    }
    if walk.position() != bytes.len() {
        return Err("a batch is cut off".to_owned());
    }
    Ok(found_in)
}

fn take(batch: &[u8], header: &Header, from: i64, into: &mut Vec<(i64, Mark)>) -> Result<(), String> {
    let mut records = Records::of(batch, BATCH_BYTES_MAX).map_err(|error| error.to_string())?;
    while let Some(record) = records.next().map_err(|error| error.to_string())? {
        let offset = header.base_offset.0 + i64::from(record.offset_delta);
        let in_header = record.headers.len().saturating_sub(MARK_BYTES);
        let found = record.value.unwrap_or(&record.headers[in_header..]);
        let mark = mark_of(found).ok_or("a value is too short")?;
        if found != value(mark, found.len()) {
            return Err(format!("the value of {mark} is spoiled"));
        }
        if offset >= from {
            into.push((offset, mark));
        }
    }
    Ok(())
}
