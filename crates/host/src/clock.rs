//! What time it is: a monotonic count for deadlines, Unix time for what people and records see.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(feature = "sim")]
use crate::sim::SimClock;

/// One look at the clock. The two numbers are unrelated: only `mono_ms` may be subtracted from an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// Milliseconds since the host was made. Never goes back.
    pub mono_ms: u64,
    /// Milliseconds since 1970-01-01 UTC. Goes wherever the operator sets the clock.
    pub wall_ms: i64,
}

/// The clock of a host. Cloning shares its origin, so that times of different clones compare.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Machine {
        origin: std::time::Instant,
    },
    #[cfg(feature = "sim")]
    Simulated(SimClock),
}

impl Clock {
    /// The computer's clocks; `mono_ms` counts from this call.
    #[must_use]
    pub fn machine() -> Self {
        Self(Kind::Machine { origin: std::time::Instant::now() })
    }

    #[cfg(feature = "sim")]
    pub(crate) fn simulated(clock: SimClock) -> Self {
        Self(Kind::Simulated(clock))
    }

    /// What time it is now.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.0 {
            Kind::Machine { origin } => {
                Instant { mono_ms: whole_ms(origin.elapsed()), wall_ms: unix_ms(SystemTime::now()) }
            }
            #[cfg(feature = "sim")]
            Kind::Simulated(clock) => clock.now(),
        }
    }

    /// [`Instant::mono_ms`] alone, at half the cost.
    #[must_use]
    pub fn mono_ms(&self) -> u64 {
        match &self.0 {
            Kind::Machine { origin } => whole_ms(origin.elapsed()),
            #[cfg(feature = "sim")]
            Kind::Simulated(clock) => clock.now().mono_ms,
        }
    }

    /// As [`Clock::mono_ms`], in microseconds: for what is measured, not for deadlines.
    #[must_use]
    pub fn mono_us(&self) -> u64 {
        match &self.0 {
            Kind::Machine { origin } => whole_us(origin.elapsed()),
            #[cfg(feature = "sim")]
            Kind::Simulated(clock) => clock.now().mono_ms.saturating_mul(1000),
        }
    }

    /// Done once [`Instant::mono_ms`] has reached `mono_ms`; at once when it has already. Never early, rarely more than
    /// a millisecond late.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time enabled, as `tokio::time::sleep` does.
    pub fn sleep_until(&self, mono_ms: u64) -> tokio::time::Sleep {
        tokio::time::sleep(Duration::from_millis(mono_ms.saturating_sub(self.mono_ms())))
    }
}

/// 2^64 milliseconds are 584 million years: the cast below loses nothing.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn whole_ms(elapsed: Duration) -> u64 {
    elapsed.as_millis() as u64
}

/// 2^64 microseconds are half a million years.
#[allow(clippy::cast_possible_truncation)]
fn whole_us(elapsed: Duration) -> u64 {
    elapsed.as_micros() as u64
}

/// Unix time may lie before 1970 when somebody sets the clock there: then it is negative, not an error.
fn unix_ms(time: SystemTime) -> i64 {
    let ms = |elapsed: Duration| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => ms(after),
        Err(before) => -ms(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_time_before_1970_is_negative() {
        assert_eq!(unix_ms(UNIX_EPOCH - Duration::from_millis(7)), -7);
        assert_eq!(unix_ms(UNIX_EPOCH + Duration::from_millis(7)), 7);
    }
}
