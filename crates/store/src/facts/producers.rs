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
    coordinator_epoch: i32,
    open_since: Option<i64>,
}

/// Before there were transactions.
#[derive(Encode, Decode)]
struct StoredV1 {
    end: i64,
    producers: Vec<StoredProducerV1>,
}

#[derive(Encode, Decode)]
struct StoredProducerV1 {
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
    const VERSION: u8 = 2;
}

impl Value for StoredV1 {
    const VERSION: u8 = 1;
}

impl From<StoredV1> for Stored {
    fn from(old: StoredV1) -> Self {
        let producer = |old: StoredProducerV1| StoredProducer {
            id: old.id,
            epoch: old.epoch,
            last_write_ms: old.last_write_ms,
            next_sequence: old.next_sequence,
            batches: old.batches,
            coordinator_epoch: -1,
            open_since: None,
        };
        Self { end: old.end, producers: old.producers.into_iter().map(producer).collect() }
    }
}

/// The producers of `partition` as they were when its log ended at the given offset.
pub fn get(
    facts: &Facts,
    partition: PartitionId,
) -> Result<Option<(Offset, Vec<ProducerEntry>)>, FactsError> {
    let key = key::of_partition(KIND, partition);
    let stored = match facts.get(&key)? {
        None => None,
        Some(bytes) if bytes.first() == Some(&StoredV1::VERSION) => {
            Some(value::decode::<StoredV1>(&key, &bytes)?.into())
        }
        Some(bytes) => Some(value::decode::<Stored>(&key, &bytes)?),
    };
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
        coordinator_epoch: stored.coordinator_epoch,
        open_since: stored.open_since.map(Offset),
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
        coordinator_epoch: entry.coordinator_epoch,
        open_since: entry.open_since.map(|first| first.0),
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::facts::{FactsKind, memory::MemoryFacts};
    use ottla_host::Disk;
    use ottla_rules::ids::TopicId;

    #[test]
    fn a_snapshot_from_before_there_were_transactions_is_read() {
        let facts = Facts::open(FactsKind::Memory(MemoryFacts::new()), &Disk::machine(), Path::new("unused"))
            .unwrap();
        let partition = PartitionId { topic: TopicId([1; 16]), index: 3 };
        let batch = StoredBatch { base: 40, base_sequence: 8, last_offset_delta: 0, timestamp: 54 };
        let producer =
            StoredProducerV1 { id: 7, epoch: 2, last_write_ms: 55, next_sequence: 9, batches: vec![batch] };
        let old = StoredV1 { end: 41, producers: vec![producer] };
        value::put(&facts, &key::of_partition(KIND, partition), &old).unwrap();

        let (end, producers) = get(&facts, partition).unwrap().unwrap();

        assert_eq!((end, producers.len()), (Offset(41), 1));
        assert_eq!((producers[0].next_sequence, producers[0].open_since), (Sequence(9), None));
        assert_eq!(producers[0].coordinator_epoch, -1);
    }
}
