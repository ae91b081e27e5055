//! The keys of facts: a letter for the kind, then what it is about, numbers big-endian so that keys sort as numbers do.

use ottla_rules::ids::{PartitionId, TopicId};

/// The key of kind `kind` for one partition: `c/`, `p/`, or the prefix of its many `e/`.
#[must_use]
pub fn of_partition(kind: &[u8; 2], partition: PartitionId) -> Vec<u8> {
    let mut key = Vec::with_capacity(26);
    key.extend_from_slice(kind);
    key.extend_from_slice(&partition.topic.0);
    key.extend_from_slice(&partition.index.to_be_bytes());
    key
}

/// Whose a key of kind `kind` is.
#[must_use]
pub fn partition_of(kind: &[u8; 2], key: &[u8]) -> Option<PartitionId> {
    let (topic, rest) = key.strip_prefix(kind)?.split_first_chunk()?;
    Some(PartitionId { topic: TopicId(*topic), index: i32::from_be_bytes(*rest.first_chunk()?) })
}

/// A key as a person can read it.
#[must_use]
pub fn display(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}
