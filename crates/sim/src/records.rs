//! What a record of the simulation looks like, and how what was fetched is taken apart.

use bytes::BytesMut;
use ottla_rules::batch::build::BatchBuilder;
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

/// The key of a record: few of them, which all lanes share.
pub(crate) fn key_of(mark: Mark) -> [u8; 1] {
    [(mark.number % KEYS).to_be_bytes()[3]]
}

fn mark_of(value: &[u8]) -> Option<Mark> {
    let (lane, rest) = value.split_first_chunk::<8>()?;
    let number = rest.first_chunk::<4>()?;
    Some(Mark { lane: usize::try_from(u64::from_be_bytes(*lane)).ok()?, number: u32::from_be_bytes(*number) })
}

/// A batch of an idempotent producer: the same bytes each time it is made.
pub(crate) fn batch(
    producer_id: i64,
    sequence: i32,
    marks: impl Iterator<Item = Mark>,
    bytes: usize,
) -> BytesMut {
    let builder = BatchBuilder::new().producer(producer_id, 0, sequence);
    let add = |builder: BatchBuilder, mark: Mark| {
        builder.record(key_of(mark), value(mark, bytes), TIMESTAMP_MS + i64::from(mark.number))
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

/// The records of whole batches with their offsets, from an offset on, and where the next read begins.
///
/// # Errors
/// What is wrong with the bytes.
pub(crate) fn records_in(bytes: &[u8], from: i64) -> Result<(Vec<(i64, Mark)>, i64), String> {
    let (mut records, mut next) = (vec![], from);
    let mut walk = Walk::over(bytes);
    for found in walk.by_ref() {
        let (at, header) = found.map_err(|error| error.to_string())?;
        let batch = bytes.get(at..at + header.size()).unwrap_or_default();
        check_stored(batch).map_err(|error| error.to_string())?;
        take(batch, &header, from, &mut records)?;
        next = next.max(header.end().0);
    }
    if walk.position() != bytes.len() {
        return Err("a batch is cut off".to_owned());
    }
    Ok((records, next))
}

fn take(batch: &[u8], header: &Header, from: i64, into: &mut Vec<(i64, Mark)>) -> Result<(), String> {
    let mut records = Records::of(batch, BATCH_BYTES_MAX).map_err(|error| error.to_string())?;
    while let Some(record) = records.next().map_err(|error| error.to_string())? {
        let offset = header.base_offset.0 + i64::from(record.offset_delta);
        let found = record.value.unwrap_or_default();
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
