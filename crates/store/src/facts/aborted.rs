//! Per partition: the transactions that were aborted, one fact per marker, in the order of the markers' offsets (what
//! Kafka keeps in `.txnindex` files).

use bincode::{Decode, Encode};
use ottla_rules::{
    ids::{Offset, PartitionId, ProducerId},
    partition::transactions::Aborted,
};

use super::{Facts, FactsError, key, value, value::Value};

const KIND: &[u8; 2] = b"a/";

#[derive(Encode, Decode)]
struct Stored {
    producer: i64,
    first: i64,
    stable: i64,
}

impl Value for Stored {
    const VERSION: u8 = 1;
}

/// Remembers an aborted transaction of `partition`.
pub fn put(facts: &Facts, partition: PartitionId, row: Aborted) -> Result<(), FactsError> {
    let stored = Stored { producer: row.producer.0, first: row.first.0, stable: row.stable.0 };
    value::put(facts, &key_of(partition, row.last), &stored)
}

/// Whether any is known of `partition`.
pub fn is_empty(facts: &Facts, partition: PartitionId) -> Result<bool, FactsError> {
    let mut empty = true;
    let prefix = key::of_partition(KIND, partition);
    facts.visit_from(&prefix, &prefix, &mut |_, _| {
        empty = false;
        false
    })?;
    Ok(empty)
}

/// Those a reader of `from..upto` has to know, in the order of their markers, and the first after which none can matter. While
/// an older transaction is open that one is far away: what is between is looked at and not kept.
pub fn within(
    facts: &Facts,
    partition: PartitionId,
    from: Offset,
    upto: Offset,
) -> Result<Vec<Aborted>, FactsError> {
    let prefix = key::of_partition(KIND, partition);
    let mut rows = vec![];
    let mut failed = None;
    facts.visit_from(
        &prefix,
        &key_of(partition, from),
        &mut |key, bytes| match read(&prefix, key, bytes) {
            Ok(row) => {
                let is_last = row.stable >= upto;
                if row.first < upto || is_last {
                    rows.push(row);
                }
                !is_last
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        },
    )?;
    match failed {
        Some(error) => Err(error),
        None => Ok(rows),
    }
}

/// Forgets those whose marker is before `start`: no reader comes there any more.
pub fn forget_before(facts: &Facts, partition: PartitionId, start: Offset) -> Result<(), FactsError> {
    forget(facts, partition, Offset::ZERO, start)
}

/// Forgets those whose marker is at or beyond `end`: the log was cut there.
pub fn forget_from(facts: &Facts, partition: PartitionId, end: Offset) -> Result<(), FactsError> {
    forget(facts, partition, end, Offset(i64::MAX))
}

/// Forgets the one whose marker is at `last`.
pub fn forget_one(facts: &Facts, partition: PartitionId, last: Offset) -> Result<(), FactsError> {
    facts.remove(&key_of(partition, last))
}

/// Forgets all of `partition`.
pub fn remove(facts: &Facts, partition: PartitionId) -> Result<(), FactsError> {
    facts.remove_prefix(&key::of_partition(KIND, partition))
}

fn forget(facts: &Facts, partition: PartitionId, from: Offset, upto: Offset) -> Result<(), FactsError> {
    let (prefix, end) = (key::of_partition(KIND, partition), key_of(partition, upto));
    let mut gone = vec![];
    facts.visit_from(&prefix, &key_of(partition, from), &mut |key, _| {
        let goes = key < &end[..];
        if goes {
            gone.push(key.to_vec());
        }
        goes
    })?;
    gone.iter().try_for_each(|key| facts.remove(key))
}

fn read(prefix: &[u8], key: &[u8], bytes: &[u8]) -> Result<Aborted, FactsError> {
    let last = key.get(prefix.len()..).and_then(|last| last.try_into().ok());
    let last = last.map(i64::from_be_bytes).ok_or_else(|| FactsError::Damaged {
        key: super::key::display(key),
        why: "its key does not end with an offset".to_owned(),
    })?;
    let Stored { producer, first, stable } = value::decode(key, bytes)?;
    let (producer, first, stable) = (ProducerId(producer), Offset(first), Offset(stable));
    Ok(Aborted { producer, first, last: Offset(last), stable })
}

/// Offsets are not negative: their bytes sort as they do.
fn key_of(partition: PartitionId, last: Offset) -> Vec<u8> {
    let mut key = key::of_partition(KIND, partition);
    key.extend_from_slice(&last.0.to_be_bytes());
    key
}
