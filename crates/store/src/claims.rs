//! Who has a partition's files for a while, when its owner may have died and a new one begun.
//!
//! An actor that panics leaves work on the pool behind. Two kinds of it must not meet the next owner: putting a compacted segment
//! in its place, which recovery waits for ([`Hold`]), and writing one, beside which nobody may write another ([`Claim`]).
//! Nobody blocks: who finds it taken comes again.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use ottla_rules::ids::PartitionId;

use crate::files::lock;

/// Of one data directory.
#[derive(Clone, Default)]
pub(crate) struct Claims(Arc<Inner>);

#[derive(Default)]
struct Inner {
    held: Mutex<BTreeSet<PartitionId>>,
    claimed: Mutex<BTreeSet<PartitionId>>,
}

/// Nobody else touches the names of this partition's files until it is dropped.
#[must_use]
pub struct Hold {
    of: Claims,
    partition: PartitionId,
}

/// Nobody else compacts this partition until it is dropped.
pub(crate) struct Claim {
    of: Claims,
    partition: PartitionId,
}

impl Claims {
    /// None while somebody has it.
    pub(crate) fn hold(&self, partition: PartitionId) -> Option<Hold> {
        lock(&self.0.held).insert(partition).then(|| Hold { of: self.clone(), partition })
    }

    /// None while somebody has it.
    pub(crate) fn claim(&self, partition: PartitionId) -> Option<Claim> {
        lock(&self.0.claimed).insert(partition).then(|| Claim { of: self.clone(), partition })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.of.0.held).remove(&self.partition);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.of.0.claimed).remove(&self.partition);
    }
}

#[cfg(test)]
mod tests {
    use ottla_rules::ids::TopicId;

    use super::*;

    #[test]
    fn a_second_one_is_refused_until_the_first_is_over() {
        let (claims, partition) = (Claims::default(), PartitionId { topic: TopicId::ZERO, index: 0 });
        let claim = claims.claim(partition);
        assert!(claim.is_some() && claims.claim(partition).is_none());
        drop(claim);
        assert!(claims.claim(partition).is_some());

        let hold = claims.hold(partition);
        assert!(hold.is_some() && claims.hold(partition).is_none());
        drop(hold);
        assert!(claims.hold(partition).is_some());
    }
}
