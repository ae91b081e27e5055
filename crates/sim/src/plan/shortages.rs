//! What the disk lacks for a while, and keys that are deleted. Drawn from streams of their own, so that all else in a seed is as it
//! was.

use ottla_host::{Chance, Host, SimWorld};

use super::{Plan, between};

/// What there is not enough of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// The files below this path may grow by so many bytes. Then nothing of a write fits, or part of it.
    Space {
        /// Where.
        below: String,
        /// How many.
        bytes: u64,
    },
    /// The facts take no change.
    Facts,
    /// Names of files can be neither changed nor removed any more, after so many that could.
    Names(u64),
    /// So many files cannot be opened, one after the other.
    Files(u64),
}

/// One spell in which the disk lacks something.
#[derive(Clone, Debug)]
pub struct Want {
    /// Milliseconds after the start of the life.
    pub from_ms: u64,
    /// How long, milliseconds.
    pub ms: u64,
    /// What.
    pub shortage: Shortage,
}

impl Plan {
    /// In some lives something is short, and in some last ones.
    pub(super) fn run_short(&mut self) {
        let luck = Host::simulated(&SimWorld::new(self.seed ^ 0x7761_6e74)).chance;
        let partitions = self.partitions as u64;
        for life in &mut self.lives {
            life.wants = wants(&luck, partitions, 0, life.ms);
        }
        self.last_wants = wants(&luck, partitions, 100, 500);
    }

    /// In half of the plans, of which the topics are compacted.
    pub(super) fn delete_keys(&mut self) {
        let luck = Host::simulated(&SimWorld::new(self.seed ^ 0x746f_6d62)).chance;
        self.deletes_keys = luck.below(2) == 0;
        if self.deletes_keys {
            // Shorter than a life, or longer than all of them.
            self.delete_retention_ms = if luck.below(2) == 0 { between(&luck, 20, 400) } else { 86_400_000 };
            self.topic.push(("delete.retention.ms".to_owned(), self.delete_retention_ms.to_string()));
        }
    }
}

/// One of each kind at most, each once in so many lives.
fn wants(luck: &Chance, partitions: u64, first_ms: u64, last_ms: u64) -> Vec<Want> {
    let mut wants = vec![];
    let mut want = |one_in: u64, shortage: &dyn Fn() -> Shortage| {
        if luck.below(one_in) == 0 {
            let (from_ms, ms) = (between(luck, first_ms, last_ms.max(first_ms)), between(luck, 5, 400));
            wants.push(Want { from_ms, ms, shortage: shortage() });
        }
    };
    want(6, &|| {
        let below = match luck.below(4) {
            // Less than what the node leaves free: it says so itself, as soon as it looks.
            0 => "/data".to_owned(),
            1 => "/data/.ottla/journal".to_owned(),
            _ => format!("/data/payments-{}", luck.below(partitions)),
        };
        let bytes = if luck.below(2) == 0 { 0 } else { luck.below(20_000) };
        Shortage::Space { below, bytes }
    });
    want(10, &|| Shortage::Facts);
    want(10, &|| Shortage::Names(if luck.below(2) == 0 { 0 } else { luck.below(12) }));
    want(10, &|| Shortage::Files(between(luck, 1, 30)));
    wants
}
