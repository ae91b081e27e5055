//! Per partition: a snapshot of its idempotent producers, and the offset up to which it was taken.

use bincode::{Decode, Encode};
use ottla_rules::{
    ids::{Offset, PartitionId, ProducerEpoch, ProducerId, Sequence},
    producers::{ProducerEntry, RememberedBatch},
};

use super::{Facts, FactsError, key, value, value::Value};

const KIND: &[u8; 2] = b"p/";

#[derive(Encode, Decode)]
struct Stored {
    end: i64,
    producers: Vec<StoredProducer>,
}

#[derive(Encode, Decode)]
struct StoredProducer {
    id: i64,
    epoch: i16,
    last_write_ms: i64,
    next_sequence: i32,
    batches: Vec<StoredBatch>,
}

#[derive(Encode, Decode)]
struct StoredBatch {
    base: i64,
    base_sequence: i32,
    last_offset_delta: i32,
    timestamp: i64,
}

impl Value for Stored {
    const VERSION: u8 = 1;
}

/// The producers of `partition` as they were when its log ended at the given offset.
pub fn get(
    facts: &Facts,
    partition: PartitionId,
) -> Result<Option<(Offset, Vec<ProducerEntry>)>, FactsError> {
    let stored: Option<Stored> = value::get(facts, &key::of_partition(KIND, partition))?;
    Ok(stored.map(|s| (Offset(s.end), s.producers.into_iter().map(read_producer).collect())))
}

/// Puts the producers of `partition`, taken when its log ended at `end`.
pub fn put(
    facts: &Facts,
    partition: PartitionId,
    end: Offset,
    producers: &[ProducerEntry],
) -> Result<(), FactsError> {
    let stored = Stored { end: end.0, producers: producers.iter().map(write_producer).collect() };
    value::put(facts, &key::of_partition(KIND, partition), &stored)
}

/// Forgets the producers of `partition`.
pub fn remove(facts: &Facts, partition: PartitionId) -> Result<(), FactsError> {
    facts.remove(&key::of_partition(KIND, partition))
}

fn read_producer(stored: StoredProducer) -> ProducerEntry {
    ProducerEntry {
        id: ProducerId(stored.id),
        epoch: ProducerEpoch(stored.epoch),
        last_write_ms: stored.last_write_ms,
        next_sequence: Sequence(stored.next_sequence),
        batches: stored
            .batches
            .into_iter()
            .map(|batch| RememberedBatch {
                base: Offset(batch.base),
                base_sequence: Sequence(batch.base_sequence),
                last_offset_delta: batch.last_offset_delta,
                timestamp: batch.timestamp,
            })
            .collect(),
    }
}

fn write_producer(entry: &ProducerEntry) -> StoredProducer {
    StoredProducer {
        id: entry.id.0,
        epoch: entry.epoch.0,
        last_write_ms: entry.last_write_ms,
        next_sequence: entry.next_sequence.0,
        batches: entry
            .batches
            .iter()
            .map(|batch| StoredBatch {
                base: batch.base.0,
                base_sequence: batch.base_sequence.0,
                last_offset_delta: batch.last_offset_delta,
                timestamp: batch.timestamp,
            })
            .collect(),
    }
}
