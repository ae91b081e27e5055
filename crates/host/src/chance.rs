//! Randomness: the operating system's on a machine, one seed's in a simulation.

use rustix::rand::{GetRandomFlags, getrandom};

#[cfg(feature = "sim")]
use crate::sim::SimChance;

/// A source of random bytes. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Chance(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Machine,
    #[cfg(feature = "sim")]
    Simulated(SimChance),
}

impl Chance {
    /// The operating system's randomness, fit for identities and secrets.
    #[must_use]
    pub fn machine() -> Self {
        Self(Kind::Machine)
    }

    #[cfg(feature = "sim")]
    pub(crate) fn simulated(chance: SimChance) -> Self {
        Self(Kind::Simulated(chance))
    }

    /// Fills all of `into`.
    ///
    /// # Panics
    /// When the kernel has no randomness to give (Linux before 3.17, or a sandbox that forbids `getrandom`): no node may
    /// invent its identity then.
    pub fn fill(&self, into: &mut [u8]) {
        match &self.0 {
            Kind::Machine => fill_from_kernel(into),
            #[cfg(feature = "sim")]
            Kind::Simulated(chance) => chance.fill(into),
        }
    }

    /// A number from the whole range.
    #[must_use]
    pub fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number from `0..end`; 0 when `end` is 0. For jitter and choices, not for secrets: it favours small numbers
    /// by one part in 2^64 / `end`.
    #[must_use]
    pub fn below(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.u64() % end }
    }
}

fn fill_from_kernel(into: &mut [u8]) {
    let mut filled = 0;
    while filled < into.len() {
        match getrandom(&mut into[filled..], GetRandomFlags::empty()) {
            Ok(bytes) => filled += bytes,
            Err(rustix::io::Errno::INTR) => (),
            Err(error) => panic!("the kernel gives no randomness: {error}"),
        }
    }
}
