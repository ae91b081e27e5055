//! Time as an argument: machines are told what time it is.

/// One reading of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds that never go back; what deadlines are counted in.
    pub mono_ms: u64,
    /// Unix time in milliseconds; what records are stamped with. An operator may set it back.
    pub wall_ms: i64,
}

/// A moment on the monotonic clock, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub u64);

/// Tries that fail one after another: between two of them is a pause, from 100 ms, twice as long each time, up to 10 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    ms: u64,
    until: Option<Deadline>,
}

impl Pauses {
    /// One has failed; when the next is due.
    pub fn failed(&mut self, now: Now) -> Deadline {
        self.ms = (self.ms * 2).clamp(100, 10_000);
        *self.until.insert(now.after(self.ms))
    }

    /// Whether it may be tried.
    #[must_use]
    pub fn is_due(&self, now: Now) -> bool {
        self.until.is_none_or(|until| until.is_due(now))
    }
}

impl Now {
    /// The moment `ms` milliseconds from now.
    #[must_use]
    pub fn after(self, ms: u64) -> Deadline {
        Deadline(self.mono_ms.saturating_add(ms))
    }
}

impl Deadline {
    /// Whether this moment has come.
    #[must_use]
    pub fn is_due(self, now: Now) -> bool {
        self.0 <= now.mono_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_at_ten_seconds() {
        let (mut pauses, mut now) = (Pauses::default(), Now::default());
        assert!(pauses.is_due(now));
        for ms in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            let until = pauses.failed(now);
            assert_eq!(until, now.after(ms));
            now.mono_ms = until.0 - 1;
            assert!(!pauses.is_due(now));
            now.mono_ms += 1;
            assert!(pauses.is_due(now));
        }
    }
}
