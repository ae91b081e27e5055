//! Reading a partition as a consumer does: a plan from its owner, then the files.

use ottla_actors::partition::{PlanRead, ReadPlan};
use ottla_actors::stage::directory::Directory;
use ottla_actors::stage::reply::Reply;
use ottla_rules::batch::records::Records;
use ottla_rules::batch::{Header, Walk, check_stored};
use ottla_rules::ids::{Offset, PartitionId};
use ottla_rules::partition::{ReadAsk, ReadError};

use crate::ledger::{Anomaly, Mark};

/// Bytes of a record's value that say whose it is; what follows only fills.
pub const MARK_BYTES: usize = 12;
/// Bytes of one read.
const READ_BYTES: usize = 100_000;

/// The value of a record.
#[must_use]
pub fn value(mark: Mark, bytes: usize) -> Vec<u8> {
    let mut value = (mark.lane as u64).to_be_bytes().to_vec();
    value.extend_from_slice(&mark.number.to_be_bytes());
    // Two records of one size still differ everywhere, so that a tail from the wrong one is seen.
    let fill = u8::try_from((mark.lane * 31 + mark.number as usize) % 251).unwrap_or(0);
    value.resize(bytes.max(MARK_BYTES), fill);
    value
}

/// Why a read gave nothing.
#[derive(Debug)]
pub enum Unread {
    /// The partition says no.
    Refused(ReadError),
    /// What it gave is wrong.
    Wrong(Anomaly),
}

/// What one read brought: records with their offsets, and the high watermark.
#[derive(Debug)]
pub struct Fetched {
    /// The records.
    pub records: Vec<(i64, Mark)>,
    /// Where the next read begins.
    pub next: i64,
    /// The high watermark.
    pub high_watermark: i64,
}

/// Reads once, from an offset.
///
/// # Errors
/// [`Unread`].
pub async fn fetch(directory: &Directory, partition: PartitionId, from: i64) -> Result<Fetched, Unread> {
    let (reply, answer) = Reply::once();
    let ask =
        ReadAsk { from: Offset(from), current_epoch: None, last_fetched_epoch: None, committed_only: false };
    directory.tell(partition, PlanRead { ask, bytes_max: READ_BYTES, bell: None, reply });
    let ReadPlan { bounds, slice } = answer.await.map_err(Unread::Refused)?;
    let mut fetched = Fetched { records: vec![], next: from, high_watermark: bounds.high_watermark.0 };
    let Some(slice) = slice else { return Ok(fetched) };
    let corrupt = |what: &dyn std::fmt::Display| {
        Unread::Wrong(Anomaly::Corrupt(format!("{partition} at {from}: {what}")))
    };
    let bytes = slice.read(true).and_then(|range| range.read()).map_err(|error| corrupt(&error))?;
    let mut walk = Walk::over(&bytes);
    for found in walk.by_ref() {
        let (at, header) = found.map_err(|error| corrupt(&error))?;
        let batch = bytes.get(at..at + header.size()).unwrap_or_default();
        check_stored(batch).map_err(|error| corrupt(&error))?;
        take(batch, &header, from, &mut fetched).map_err(|what| corrupt(&what))?;
    }
    if walk.position() != bytes.len() {
        return Err(corrupt(&"a batch is cut off"));
    }
    Ok(fetched)
}

fn take(batch: &[u8], header: &Header, from: i64, into: &mut Fetched) -> Result<(), String> {
    let mut records = Records::of(batch, READ_BYTES).map_err(|error| error.to_string())?;
    while let Some(record) = records.next().map_err(|error| error.to_string())? {
        let offset = header.base_offset.0 + i64::from(record.offset_delta);
        let found = record.value.unwrap_or_default();
        let mark = mark_of(found).ok_or("a value is too short")?;
        if found != value(mark, found.len()) {
            return Err(format!("the value of {mark} is spoiled"));
        }
        if offset >= from {
            into.records.push((offset, mark));
        }
    }
    into.next = into.next.max(header.end().0);
    Ok(())
}

fn mark_of(value: &[u8]) -> Option<Mark> {
    let (lane, rest) = value.split_first_chunk::<8>()?;
    let number = rest.first_chunk::<4>()?;
    Some(Mark { lane: usize::try_from(u64::from_be_bytes(*lane)).ok()?, number: u32::from_be_bytes(*number) })
}

/// Reads from offset 0 to the high watermark.
///
/// # Errors
/// [`Unread`].
pub async fn read_all(directory: &Directory, partition: PartitionId) -> Result<Vec<(i64, Mark)>, Unread> {
    let (mut records, mut from) = (vec![], 0);
    loop {
        let fetched = fetch(directory, partition, from).await?;
        records.extend(fetched.records);
        if fetched.next >= fetched.high_watermark {
            return Ok(records);
        }
        if fetched.next == from {
            let text = format!(
                "{partition}: nothing can be read at {from}, the high watermark is {}",
                fetched.high_watermark
            );
            return Err(Unread::Wrong(Anomaly::Unavailable(text)));
        }
        from = fetched.next;
    }
}
