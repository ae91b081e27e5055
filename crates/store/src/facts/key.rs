//! The keys of facts: a letter for the kind, then what it is about, numbers big-endian so that keys sort as numbers do.

use ottla_rules::ids::PartitionId;

/// The key of kind `kind` for one partition: `c/`, `p/`, or the prefix of its many `e/`.
#[must_use]
pub fn of_partition(kind: &[u8; 2], partition: PartitionId) -> Vec<u8> {
    let mut key = Vec::with_capacity(26);
    key.extend_from_slice(kind);
    key.extend_from_slice(&partition.topic.0);
    key.extend_from_slice(&partition.index.to_be_bytes());
    key
}

/// A key as a person can read it.
#[must_use]
pub fn display(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}
