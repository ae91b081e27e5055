//! What happens when an actor dies.
//!
//! A child that panics is started again: the first time at once, then after pauses that double up to a cap. One that
//! keeps dying has used up its budget, and is given up: what it held is offline, the node stays. A child that
//! lived longer than the window since its last panic is as good as new.

use std::collections::{BTreeMap, VecDeque};

use crate::time::{Deadline, Now};

/// How the life of an actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was told to, or had nothing left to do.
    Stopped,
    /// It panicked with this text.
    Panicked(String),
    /// Its thread was stopped under it: the node is leaving.
    Cancelled,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again now.
    RestartNow,
    /// Start it again at this moment.
    RestartAt(Deadline),
    /// Leave it dead: its leadership is resigned, its partition offline.
    GiveUp,
    /// Nothing: its end was wanted.
    Nothing,
}

/// How patient the parent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Restarts allowed within the window.
    pub restarts_max: usize,
    /// The window, in milliseconds.
    pub window_ms: u64,
    /// The first pause; each further one within the window is twice as long.
    pub pause_ms_min: u64,
    /// The longest pause.
    pub pause_ms_max: u64,
}

/// The children of one parent and how often they died lately.
#[derive(Clone, Debug)]
pub struct Supervision<C> {
    patience: Patience,
    falls: BTreeMap<C, VecDeque<u64>>,
}

impl Default for Patience {
    /// Ten restarts in five minutes, pauses from 100 ms to 10 s.
    fn default() -> Self {
        Self { restarts_max: 10, window_ms: 300_000, pause_ms_min: 100, pause_ms_max: 10_000 }
    }
}

impl<C: Ord + Clone> Supervision<C> {
    /// Nobody has died yet.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self { patience, falls: BTreeMap::new() }
    }

    /// `child` ended like this: what now?
    pub fn down(&mut self, child: &C, exit: &Exit, now: Now) -> Verdict {
        match exit {
            Exit::Stopped => {
                self.falls.remove(child);
                Verdict::Nothing
            }
            Exit::Cancelled => Verdict::Nothing,
            Exit::Panicked(_) => self.fell(child, now),
        }
    }

    /// `child` is retired, or an operator wants it back: its past no longer counts.
    pub fn forget(&mut self, child: &C) {
        self.falls.remove(child);
    }

    fn fell(&mut self, child: &C, now: Now) -> Verdict {
        let window_ms = self.patience.window_ms;
        let falls = self.falls.entry(child.clone()).or_default();
        falls.retain(|at| at.saturating_add(window_ms) > now.mono_ms);
        if falls.len() >= self.patience.restarts_max {
            return Verdict::GiveUp;
        }
        let before = falls.len();
        falls.push_back(now.mono_ms);
        if before == 0 {
            return Verdict::RestartNow;
        }
        let doublings = u32::try_from(before - 1).unwrap_or(u32::MAX).min(63);
        let pause_ms = self.patience.pause_ms_min.saturating_mul(1 << doublings);
        Verdict::RestartAt(now.after(pause_ms.min(self.patience.pause_ms_max)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { restarts_max: 4, window_ms: 1000, pause_ms_min: 10, pause_ms_max: 25 };

    fn panicked(supervision: &mut Supervision<&'static str>, child: &'static str, at: u64) -> Verdict {
        supervision.down(
            &child,
            &Exit::Panicked("index out of bounds".into()),
            Now { mono_ms: at, wall_ms: 0 },
        )
    }

    #[test]
    fn a_child_that_keeps_dying_is_restarted_ever_later_and_then_given_up() {
        let mut supervision = Supervision::new(PATIENCE);
        let verdicts: Vec<_> = [0, 1, 20, 60, 100].map(|at| panicked(&mut supervision, "p-0", at)).into();
        assert_eq!(
            verdicts,
            [
                Verdict::RestartNow,
                Verdict::RestartAt(Deadline(11)),
                Verdict::RestartAt(Deadline(40)),
                Verdict::RestartAt(Deadline(85)),
                Verdict::GiveUp,
            ]
        );
    }

    #[test]
    fn who_lived_long_enough_is_as_good_as_new() {
        let mut supervision = Supervision::new(PATIENCE);
        assert_eq!(panicked(&mut supervision, "p-0", 0), Verdict::RestartNow);
        assert_eq!(panicked(&mut supervision, "p-0", 1000), Verdict::RestartNow);
    }

    #[test]
    fn children_do_not_pay_for_each_other() {
        let mut supervision = Supervision::new(PATIENCE);
        for at in 0..10 {
            panicked(&mut supervision, "p-0", at);
        }
        assert_eq!(panicked(&mut supervision, "p-1", 10), Verdict::RestartNow);
    }

    #[test]
    fn a_wanted_end_needs_nothing_and_clears_the_past() {
        let mut supervision = Supervision::new(PATIENCE);
        panicked(&mut supervision, "p-0", 0);
        assert_eq!(supervision.down(&"p-0", &Exit::Stopped, Now::default()), Verdict::Nothing);
        assert_eq!(supervision.down(&"p-0", &Exit::Cancelled, Now::default()), Verdict::Nothing);
        assert_eq!(panicked(&mut supervision, "p-0", 1), Verdict::RestartNow);
    }

    #[test]
    fn a_child_that_was_given_up_gets_a_new_chance_once_forgotten() {
        let mut supervision = Supervision::new(PATIENCE);
        for at in 0..5 {
            panicked(&mut supervision, "p-0", at);
        }
        assert_eq!(panicked(&mut supervision, "p-0", 5), Verdict::GiveUp);
        supervision.forget(&"p-0");
        assert_eq!(panicked(&mut supervision, "p-0", 6), Verdict::RestartNow);
    }
}
