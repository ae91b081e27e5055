//! What came through the doors, counted where it happens: one tally a shard, so that nobody waits for a cache line of
//! somebody else, and added up only when somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla_wire::api::ApiKey;

use super::pace;
use super::turnstile;
use super::vigil::Vigil;

/// Kafka numbers its APIs up to here for the time being.
const API_NUMBERS: usize = 128;

/// The counts of one shard's connections since the process started.
#[derive(Debug)]
pub(crate) struct Tally {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    connections: AtomicU64,
    requests: [AtomicU64; API_NUMBERS],
    /// Whether the shard stays awake for a moment: its own as well.
    pub(super) vigil: Vigil,
    /// Who asks one by one on it.
    pub(super) known: pace::Shard,
    /// Who has moved much and waits for its turn.
    pub(super) turnstile: turnstile::Shard,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            requests: [const { AtomicU64::new(0) }; API_NUMBERS],
            vigil: Vigil::default(),
            known: pace::Shard::default(),
            turnstile: turnstile::Shard::default(),
        }
    }
}

impl Tally {
    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What has been read on this shard so far.
    pub(super) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    pub(crate) fn written(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn asked(&self, key: ApiKey) {
        let count = usize::try_from(key.number()).ok().and_then(|number| self.requests.get(number));
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The right to count on one shard's tally.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    pub(crate) tallies: Arc<[Tally]>,
    pub(crate) shard: usize,
}

impl std::ops::Deref for Counter {
    type Target = Tally;

    fn deref(&self) -> &Tally {
        &self.tallies[self.shard]
    }
}

/// All tallies together, at about one moment.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) connections: u64,
    /// By the number of the API; only those that were asked for.
    pub(crate) requests: BTreeMap<i16, u64>,
}

impl Totals {
    pub(crate) fn of(tallies: &[Tally]) -> Totals {
        let mut totals = Totals::default();
        for tally in tallies {
            totals.bytes_in += tally.bytes_in.load(Ordering::Relaxed);
            totals.bytes_out += tally.bytes_out.load(Ordering::Relaxed);
            totals.connections += tally.connections.load(Ordering::Relaxed);
            for (number, count) in (0..).zip(&tally.requests) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    *totals.requests.entry(number).or_default() += count;
                }
            }
        }
        totals
    }
}
