//! Per partition: the offset at which each leader epoch starts, one fact per epoch.

use bincode::{Decode, Encode};
use ottla_rules::ids::{LeaderEpoch, Offset, PartitionId};

use super::{Facts, FactsError, key, value, value::Value};

const KIND: &[u8; 2] = b"e/";
/// Behind the partition in a key.
const EPOCH_BYTES: usize = 4;

#[derive(Encode, Decode)]
struct Stored {
    start: i64,
}

impl Value for Stored {
    const VERSION: u8 = 1;
}

/// The epochs of `partition` in their order. A damaged entry makes the whole an error: the log itself knows them too.
pub fn get(facts: &Facts, partition: PartitionId) -> Result<Vec<(LeaderEpoch, Offset)>, FactsError> {
    let prefix = key::of_partition(KIND, partition);
    let mut epochs = vec![];
    for (key, bytes) in facts.scan_prefix(&prefix)? {
        let number = key[prefix.len()..].try_into().map_err(|_| FactsError::Damaged {
            key: super::key::display(&key),
            why: "its key does not end with an epoch".to_owned(),
        })?;
        let stored: Stored = value::decode(&key, &bytes)?;
        epochs.push((LeaderEpoch(i32::from_be_bytes(number)), Offset(stored.start)));
    }
    Ok(epochs)
}

/// The partitions that have any, in order, each as often as it has epochs.
pub fn partitions(facts: &Facts) -> Result<Vec<PartitionId>, FactsError> {
    let mut partitions = vec![];
    facts.visit_from(KIND, KIND, &mut |key, _| {
        partitions.extend(
            key.get(..key.len().saturating_sub(EPOCH_BYTES)).and_then(|key| key::partition_of(KIND, key)),
        );
        true
    })?;
    Ok(partitions)
}

/// Remembers that `epoch` of `partition` starts at `start`.
pub fn put(
    facts: &Facts,
    partition: PartitionId,
    epoch: LeaderEpoch,
    start: Offset,
) -> Result<(), FactsError> {
    value::put(facts, &key_of(partition, epoch), &Stored { start: start.0 })
}

/// Puts `epochs` in place of what is known of `partition`, touching only what differs.
pub fn replace(
    facts: &Facts,
    partition: PartitionId,
    epochs: &[(LeaderEpoch, Offset)],
) -> Result<(), FactsError> {
    let known = get(facts, partition).unwrap_or_default();
    for (epoch, _) in known.iter().filter(|(epoch, _)| !epochs.iter().any(|(kept, _)| kept == epoch)) {
        facts.remove(&key_of(partition, *epoch))?;
    }
    for (epoch, start) in epochs.iter().filter(|entry| !known.contains(entry)) {
        put(facts, partition, *epoch, *start)?;
    }
    Ok(())
}

/// Forgets the epochs of `partition`.
pub fn remove(facts: &Facts, partition: PartitionId) -> Result<(), FactsError> {
    facts.remove_prefix(&key::of_partition(KIND, partition))
}

fn key_of(partition: PartitionId, epoch: LeaderEpoch) -> Vec<u8> {
    let mut key = key::of_partition(KIND, partition);
    key.extend_from_slice(&epoch.0.to_be_bytes());
    key
}
