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
