//! Per partition: how far its log is compacted, and what a crash must not leave half done.

use bincode::{Decode, Encode};
use ottla_rules::ids::{Offset, PartitionId};

use super::{Facts, FactsError, key, value, value::Value};

const KIND: &[u8; 2] = b"k/";

/// What is known of the compaction of one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Up to where it is compacted (Kafka's `cleaner-offset-checkpoint`); none before the first round.
    pub clean_upto: Option<Offset>,
    /// Below it segments may have been written anew: all of it is synced, and what the journal knows of it is not what the
    /// segments hold. Never moves back.
    pub touched: Offset,
    /// A segment that is being put in place of others.
    pub pending: Option<Pending>,
}

/// Under the name of its base offset ending with `.cleaned`, whole and synced, until it is in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its base offset.
    pub base: Offset,
    /// It takes the place of all segments that begin at its base and below here.
    pub upto: Offset,
    /// The bytes of its batches.
    pub bytes: u64,
}

#[derive(Encode, Decode)]
struct Stored {
    clean_upto: Option<i64>,
    touched: i64,
    pending: Option<(i64, i64, u64)>,
}

impl Value for Stored {
    const VERSION: u8 = 1;
}

/// What is known of `partition`: nothing, when it was never compacted.
pub fn get(facts: &Facts, partition: PartitionId) -> Result<Compacted, FactsError> {
    let stored: Option<Stored> = value::get(facts, &key::of_partition(KIND, partition))?;
    Ok(stored.map_or_else(Compacted::default, |stored| Compacted {
        clean_upto: stored.clean_upto.map(Offset),
        touched: Offset(stored.touched),
        pending: stored.pending.map(|(base, upto, bytes)| Pending {
            base: Offset(base),
            upto: Offset(upto),
            bytes,
        }),
    }))
}

/// Puts what is known of `partition`.
pub fn put(facts: &Facts, partition: PartitionId, compacted: Compacted) -> Result<(), FactsError> {
    let Compacted { clean_upto, touched, pending } = compacted;
    let pending = pending.map(|Pending { base, upto, bytes }| (base.0, upto.0, bytes));
    let stored = Stored { clean_upto: clean_upto.map(|upto| upto.0), touched: touched.0, pending };
    value::put(facts, &key::of_partition(KIND, partition), &stored)
}

/// Forgets it.
pub fn remove(facts: &Facts, partition: PartitionId) -> Result<(), FactsError> {
    facts.remove(&key::of_partition(KIND, partition))
}
