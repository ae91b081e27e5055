//! One timer per actor, and only while something waits.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, SpawnHandle};
use ottla_rules::time::{Deadline, Now};

use crate::stage::messages;

/// The alarm went off: look at the clock. It may be early, late or for nothing.
#[derive(Debug)]
pub struct Wake;
messages!(Wake);

/// A timer may ring later than asked for by one part in so many of the way there: a thousand actors that each began to wait
/// within a second are woken some at a time, not one by one, each out of the sleep of a core.
const PRECISION: u64 = 256;
/// And by no more than this.
const LATE_MS_MAX: u64 = 1_024;

/// The one-shot timer of an actor.
#[derive(Debug, Default)]
pub struct Alarm {
    /// When it rings.
    armed: Option<(Deadline, SpawnHandle)>,
}

impl Alarm {
    /// Sees to it that [`Wake`] comes at `deadline`, or earlier; or later by at most a 256th of the time from `now` until then, and a second. A timer
    /// that is armed for an earlier moment is left alone: deadlines mostly move away, and arming again costs more than one wake-up for nothing.
    pub fn set<A>(&mut self, deadline: Option<Deadline>, now: Now, ctx: &mut Context<A>)
    where
        A: Actor<Context = Context<A>> + Handler<Wake>,
    {
        let Some(deadline) = deadline else { return };
        let deadline = shared_moment(deadline, now);
        if let Some((armed, handle)) = self.armed {
            if armed <= deadline {
                return;
            }
            ctx.cancel_future(handle);
        }
        let after = Duration::from_millis(deadline.0.saturating_sub(now.mono_ms));
        self.armed = Some((deadline, ctx.notify_later(Wake, after)));
    }

    /// [`Wake`] has come: no timer is armed.
    pub fn rang(&mut self) {
        self.armed = None;
    }
}

/// The first moment not before `deadline` that others whose deadline is about as far away have as well.
fn shared_moment(deadline: Deadline, now: Now) -> Deadline {
    let late_ms = (deadline.0.saturating_sub(now.mono_ms) / PRECISION).min(LATE_MS_MAX);
    match late_ms.checked_ilog2() {
        Some(bits) => Deadline(deadline.0.checked_next_multiple_of(1 << bits).unwrap_or(deadline.0)),
        None => deadline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(deadline: u64, now: u64) -> u64 {
        shared_moment(Deadline(deadline), Now { mono_ms: now, ..Now::default() }).0
    }

    #[test]
    fn what_is_near_is_met_exactly_and_what_is_far_is_shared() {
        assert_eq!(
            [moment(1_511, 1_000), moment(900, 1_000), moment(u64::MAX, 1_000)],
            [1_511, 900, u64::MAX]
        );
        let moments: std::collections::BTreeSet<_> =
            (0..1_000).map(|now| moment(now + 30_000, now)).collect();
        assert_eq!(moments.len(), 17, "of a thousand that began within a second");
    }

    #[test]
    fn no_deadline_is_missed_by_more_than_its_share() {
        for (deadline, now) in (0..100_000).step_by(37).map(|ms| (7_919 * ms + 3, 211 * ms)) {
            let late = moment(deadline, now) - deadline;
            assert!(
                late <= (deadline - now).min(256 * 1_024) / PRECISION,
                "{deadline} from {now} on is met {late} ms late"
            );
        }
    }
}
