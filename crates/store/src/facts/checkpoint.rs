//! Per partition: up to where the disk is trusted, and where the log begins.

use bincode::{Decode, Encode};
use ottla_rules::ids::{Offset, PartitionId};

use super::{Facts, FactsError, key, value, value::Value};

const KIND: &[u8; 2] = b"c/";

/// What is known of a partition's log without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything below is synced: records, indexes and directory entries. Recovery scans from here.
    pub recovery_point: Offset,
    /// The first offset that may be read.
    pub log_start: Offset,
}

#[derive(Encode, Decode)]
struct Stored {
    recovery_point: i64,
    log_start: i64,
}

impl Value for Stored {
    const VERSION: u8 = 1;
}

/// The checkpoint of `partition`.
pub fn get(facts: &Facts, partition: PartitionId) -> Result<Option<Checkpoint>, FactsError> {
    let stored: Option<Stored> = value::get(facts, &key::of_partition(KIND, partition))?;
    Ok(stored.map(|s| Checkpoint {
        recovery_point: Offset(s.recovery_point.max(0)),
        log_start: Offset(s.log_start.max(0)),
    }))
}

/// The partitions that have one.
pub fn partitions(facts: &Facts) -> Result<Vec<PartitionId>, FactsError> {
    let mut partitions = vec![];
    facts.visit_from(KIND, KIND, &mut |key, _| {
        partitions.extend(key::partition_of(KIND, key));
        true
    })?;
    Ok(partitions)
}

/// Puts the checkpoint of `partition`.
pub fn put(facts: &Facts, partition: PartitionId, checkpoint: Checkpoint) -> Result<(), FactsError> {
    let stored = Stored { recovery_point: checkpoint.recovery_point.0, log_start: checkpoint.log_start.0 };
    value::put(facts, &key::of_partition(KIND, partition), &stored)
}

/// Puts the checkpoint of `partition`, with the recovery point and the start that are known where those are later: neither moves
/// back. Several threads do this for one partition, each with what was so when it was asked; and compaction relies on what
/// the facts knew once.
pub fn advance(facts: &Facts, partition: PartitionId, checkpoint: Checkpoint) -> Result<(), FactsError> {
    let _one_by_one = facts.one_by_one();
    let known = get(facts, partition).ok().flatten().unwrap_or_default();
    let later = Checkpoint {
        recovery_point: checkpoint.recovery_point.max(known.recovery_point),
        log_start: checkpoint.log_start.max(known.log_start),
    };
    put(facts, partition, later)
}

/// Forgets the checkpoint of `partition`.
pub fn remove(facts: &Facts, partition: PartitionId) -> Result<(), FactsError> {
    facts.remove(&key::of_partition(KIND, partition))
}
