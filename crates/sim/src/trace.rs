//! What happened, as one number: two runs of one seed must agree on it.

use std::collections::VecDeque;
use std::fmt::Arguments;

/// Events kept as text, for whoever has to understand a failed seed.
const KEPT: usize = 200;

/// A hash over all events of a run, and the last of them in words.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    count: u64,
    last: VecDeque<String>,
}

impl Default for Trace {
    fn default() -> Self {
        // FNV-1a: its offset basis.
        Self { hash: 0xcbf2_9ce4_8422_2325, count: 0, last: VecDeque::new() }
    }
}

impl Trace {
    /// Something happened.
    pub fn note(&mut self, mono_ms: u64, what: Arguments<'_>) {
        let line = format!("{mono_ms} {what}");
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.count += 1;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// All of it, as one number.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last events, one a line.
    #[must_use]
    pub fn last(&self) -> String {
        self.last.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}
