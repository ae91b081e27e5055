//! Per partition: a snapshot of its idempotent producers, and the offset up to which it was taken.
//!
//! A large one is kept in parts, beside a head that names them. sled puts a page that is larger than its log likes into a file of its
//! own, which it neither syncs nor, where the disk is full, gets over: so no fact may make a page large, and a page has up to 16 of them.

use bincode::{Decode, Encode};
use ottla_rules::{
    ids::{Offset, PartitionId, ProducerEpoch, ProducerId, Sequence},
    producers::{ProducerEntry, RememberedBatch},
};

use super::{Facts, FactsError, key, value, value::Value};

const KIND: &[u8; 2] = b"p/";
/// Of the parts. Before that of the heads: facts that are put again come in the order of their keys.
const PARTS: &[u8; 2] = b"o/";

/// Producers in one value: about 5 KiB.
const PRODUCERS_MAX: usize = 32;
/// Parts are numbered from 0 or from here, in turn: those that the head names are never written over.
const OTHER_TURN: u32 = 0x8000_0000;

#[derive(Encode, Decode)]
struct Stored {
    end: i64,
    /// All of them, where there are no parts.
    producers: Vec<StoredProducer>,
    parts: Parts,
}

/// The numbers of the parts.
#[derive(Clone, Copy, Default, Encode, Decode)]
struct Parts {
    from: u32,
    count: u32,
}

#[derive(Encode, Decode)]
struct StoredPart {
    /// That of its snapshot.
    end: i64,
    producers: Vec<StoredProducer>,
}

/// Before there were parts.
#[derive(Encode, Decode)]
struct StoredV2 {
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
    const VERSION: u8 = 3;
}

impl Value for StoredPart {
    const VERSION: u8 = 1;
}

impl Value for StoredV2 {
    const VERSION: u8 = 2;
}

impl From<StoredV2> for Stored {
    fn from(old: StoredV2) -> Self {
        Self { end: old.end, producers: old.producers, parts: Parts::default() }
    }
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
        let producers = old.producers.into_iter().map(producer).collect();
        Self { end: old.end, producers, parts: Parts::default() }
    }
}

/// The producers of `partition` as they were when its log ended at the given offset.
pub fn get(
    facts: &Facts,
    partition: PartitionId,
) -> Result<Option<(Offset, Vec<ProducerEntry>)>, FactsError> {
    let Some(Stored { end, mut producers, parts }) = head(facts, partition)? else { return Ok(None) };
    for number in parts.numbers() {
        let key = part_key(partition, number);
        let part = value::get::<StoredPart>(facts, &key)?.filter(|part| part.end == end);
        let missing = || FactsError::Damaged {
            key: key::display(&key),
            why: "a part is not the snapshot's".to_owned(),
        };
        producers.extend(part.ok_or_else(missing)?.producers);
    }
    Ok(Some((Offset(end), producers.into_iter().map(read_producer).collect())))
}

fn head(facts: &Facts, partition: PartitionId) -> Result<Option<Stored>, FactsError> {
    let key = key::of_partition(KIND, partition);
    let Some(bytes) = facts.get(&key)? else { return Ok(None) };
    let stored = match bytes.first() {
        Some(&StoredV1::VERSION) => value::decode::<StoredV1>(&key, &bytes)?.into(),
        Some(&StoredV2::VERSION) => value::decode::<StoredV2>(&key, &bytes)?.into(),
        _ => value::decode::<Stored>(&key, &bytes)?,
    };
    Ok(Some(stored))
}

fn part_key(partition: PartitionId, number: u32) -> Vec<u8> {
    let mut key = key::of_partition(PARTS, partition);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

impl Parts {
    fn numbers(self) -> impl Iterator<Item = u32> {
        (0..self.count).map(move |part| self.from.wrapping_add(part))
    }
}

/// Puts the producers of `partition`, taken when its log ended at `end`. One at a time for a partition.
pub fn put(
    facts: &Facts,
    partition: PartitionId,
    end: Offset,
    producers: &[ProducerEntry],
) -> Result<(), FactsError> {
    // Of one that cannot be read nobody knows the parts: they stay until they are written over.
    let before = match head(facts, partition) {
        Err(FactsError::Damaged { .. }) => Parts::default(),
        head => head?.map_or(Parts::default(), |stored| stored.parts),
    };
    let mut stored = Stored { end: end.0, producers: Vec::new(), parts: Parts::default() };
    let write = |producers: &[ProducerEntry]| producers.iter().map(write_producer).collect();
    if producers.len() <= PRODUCERS_MAX {
        stored.producers = write(producers);
    } else {
        stored.parts.from = if before.from == 0 { OTHER_TURN } else { 0 };
        for (part, number) in producers.chunks(PRODUCERS_MAX).zip(stored.parts.from..) {
            let part = StoredPart { end: end.0, producers: write(part) };
            value::put(facts, &part_key(partition, number), &part)?;
            stored.parts.count += 1;
        }
    }
    value::put(facts, &key::of_partition(KIND, partition), &stored)?;
    before.numbers().try_for_each(|number| facts.remove(&part_key(partition, number)))
}

/// Forgets the producers of `partition`.
pub fn remove(facts: &Facts, partition: PartitionId) -> Result<(), FactsError> {
    facts.remove(&key::of_partition(KIND, partition))?;
    facts.remove_prefix(&key::of_partition(PARTS, partition))
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

    fn facts() -> Facts {
        let memory = FactsKind::Memory(MemoryFacts::new());
        Facts::open(memory, &Disk::machine(), Path::new("unused")).unwrap()
    }

    fn many(count: i64, epoch: i16) -> Vec<ProducerEntry> {
        let batch = RememberedBatch {
            base: Offset(1),
            base_sequence: Sequence(0),
            last_offset_delta: 0,
            timestamp: 2,
        };
        let one = |id| ProducerEntry {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            last_write_ms: 3,
            next_sequence: Sequence(1),
            coordinator_epoch: -1,
            open_since: None,
            batches: [batch; 5].into_iter().collect(),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn snapshots_of_any_size_take_each_others_place_and_no_value_is_large() {
        let facts = facts();
        let partition = PartitionId { topic: TopicId([1; 16]), index: 3 };
        for (turn, count) in [0, 32, 33, 10_000, 64, 65, 1_000, 1, 2_000, 2_000].into_iter().enumerate() {
            let (end, producers) = (Offset(turn as i64), many(count, turn as i16));
            put(&facts, partition, end, &producers).unwrap();
            assert_eq!(get(&facts, partition).unwrap(), Some((end, producers)));
            let parts = facts.scan_prefix(PARTS).unwrap();
            assert_eq!(
                parts.len(),
                if count <= 32 { 0 } else { (count as usize).div_ceil(32) },
                "no other ones"
            );
            let largest =
                parts.iter().chain(&facts.scan_prefix(KIND).unwrap()).map(|(_, value)| value.len()).max();
            assert!(largest < Some(6 * 1024), "16 of them are no large page: {largest:?}");
        }
        remove(&facts, partition).unwrap();
        assert!(facts.scan_prefix(b"").unwrap().is_empty());
    }

    #[test]
    fn a_part_of_another_snapshot_is_damage() {
        let facts = facts();
        let partition = PartitionId { topic: TopicId([1; 16]), index: 3 };
        put(&facts, partition, Offset(1), &many(100, 1)).unwrap();
        let other = StoredPart { end: 2, producers: Vec::new() };
        value::put(&facts, &part_key(partition, OTHER_TURN + 1), &other).unwrap();
        assert!(matches!(get(&facts, partition), Err(FactsError::Damaged { .. })));
        put(&facts, partition, Offset(3), &many(100, 2)).unwrap();
        assert_eq!(get(&facts, partition).unwrap(), Some((Offset(3), many(100, 2))));
    }

    #[test]
    fn a_snapshot_from_before_there_were_transactions_is_read() {
        let facts = facts();
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
