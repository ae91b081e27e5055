//! The simulated side of a host: one seed decides everything that a machine leaves to luck.
//!
//! A [`SimWorld`] is made outside of the simulation, one for each node, and outlives the node: after a crash the node is built
//! again from the same world and finds the disk as [`SimDisk::crash`] left it.

mod disk;
mod pages;
mod tree;

use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

pub use disk::{Fault, SimDisk};
pub(crate) use disk::{SimFile, SimLock};

use crate::clock::{Instant, whole_ms};
use crate::pool::{Job, run_guarded};
use crate::{Chance, Clock, Disk, Host, Net, Pool};

/// Unix time when a simulation begins, 2025-06-15, always the same.
const WALL_MS_AT_START: i64 = 1_750_000_000_000;
/// How long a job of the simulated pool waits before it runs, unless told otherwise.
const POOL_DELAY_MS: Range<u64> = 0..20;

/// What one simulated node lives in: a seed, a clock and a disk. Cloning shares it.
#[derive(Clone, Debug)]
pub struct SimWorld {
    clock: SimClock,
    chance: SimChance,
    pool: SimPool,
    disk: SimDisk,
}

impl SimWorld {
    /// A world that one number decides. Give each node its own.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let chance = SimChance::new(seed);
        // Each draws from a stream of its own: a new draw in one changes nothing in the others.
        let clock = SimClock::default();
        let disk = SimDisk::new(chance.u64(), clock.clone());
        let pool =
            SimPool { chance: SimChance::new(chance.u64()), delay_ms: Arc::new(Mutex::new(POOL_DELAY_MS)) };
        Self { clock, chance, pool, disk }
    }

    /// The node's disk, to break it.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Sets how far the node's wall clock is ahead of true time; negative for behind. Its monotonic clock stays.
    pub fn set_wall_offset_ms(&self, offset_ms: i64) {
        self.clock.wall_offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    /// Sets how long a job that is given to the pool from now on waits before it runs, in milliseconds of simulated time; up to 19
    /// unless told otherwise.
    pub fn set_pool_delay_ms(&self, range: Range<u64>) {
        *self.pool.delay_ms.lock().unwrap_or_else(PoisonError::into_inner) = range;
    }

    pub(crate) fn host(&self) -> Host {
        Host {
            clock: Clock::simulated(self.clock.clone()),
            chance: Chance::simulated(self.chance.clone()),
            net: Net::simulated(),
            disk: Disk::simulated(self.disk.clone()),
            pool: Pool::simulated(self.pool.clone()),
            watch: Pool::simulated(self.pool.clone()),
            compute: Pool::simulated(self.pool.clone()),
        }
    }
}

/// Simulated time: turmoil's inside its simulation, else tokio's, paused or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimClock {
    wall_offset_ms: Arc<AtomicI64>,
    /// The first look at tokio's clock.
    origin: Arc<OnceLock<tokio::time::Instant>>,
}

impl SimClock {
    pub(crate) fn now(&self) -> Instant {
        // A restarted host has a new runtime, whose clock begins anew; turmoil's count goes on.
        let elapsed = turmoil::sim_elapsed()
            .unwrap_or_else(|| self.origin.get_or_init(tokio::time::Instant::now).elapsed());
        let mono_ms = whole_ms(elapsed);
        let wall_ms = WALL_MS_AT_START
            .saturating_add_unsigned(mono_ms)
            .saturating_add(self.wall_offset_ms.load(Ordering::Relaxed));
        Instant { mono_ms, wall_ms }
    }
}

impl SimClock {
    /// What a file system would note as the time of a write. Does not begin the count where nobody has looked yet.
    pub(crate) fn file_time_ms(&self) -> i64 {
        let since_first_look = || self.origin.get().map(tokio::time::Instant::elapsed);
        let elapsed = turmoil::sim_elapsed().or_else(since_first_look).unwrap_or_default();
        WALL_MS_AT_START.saturating_add_unsigned(whole_ms(elapsed))
    }
}

/// Numbers from a seed (SplitMix64: Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub(crate) struct SimChance(Arc<Mutex<u64>>);

impl SimChance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    pub(crate) fn u64(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn fill(&self, into: &mut [u8]) {
        for chunk in into.chunks_mut(8) {
            chunk.copy_from_slice(&self.u64().to_le_bytes()[..chunk.len()]);
        }
    }

    /// A number of the range; its start when the range is empty.
    pub(crate) fn pick(&self, range: Range<u64>) -> u64 {
        let width = range.end.saturating_sub(range.start);
        if width == 0 { range.start } else { range.start + self.u64() % width }
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&self, n: u64) -> bool {
        self.pick(0..n) == 0
    }
}

/// Jobs as local tasks that dawdle, so that they end in another order than they were given.
#[derive(Clone, Debug)]
pub(crate) struct SimPool {
    chance: SimChance,
    delay_ms: Arc<Mutex<Range<u64>>>,
}

impl SimPool {
    pub(crate) fn run(&self, job: Job) {
        let delay_ms = self.delay_ms.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let delay = Duration::from_millis(self.chance.pick(delay_ms));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            run_guarded(job);
        });
    }
}
