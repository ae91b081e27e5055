//! One timer per actor, and only while something waits.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, SpawnHandle};
use ottla_rules::time::{Deadline, Now};

use crate::stage::messages;

/// The alarm went off: look at the clock. It may be early, late or for nothing.
#[derive(Debug)]
pub struct Wake;
messages!(Wake);

/// The one-shot timer of an actor.
#[derive(Debug, Default)]
pub struct Alarm {
    armed: Option<(Deadline, SpawnHandle)>,
}

impl Alarm {
    /// Sees to it that [`Wake`] comes at `deadline`, or earlier. A timer that is armed for an earlier moment is left
    /// alone: deadlines mostly move away, and arming again costs more than one wake-up for nothing.
    pub fn set<A>(&mut self, deadline: Option<Deadline>, now: Now, ctx: &mut Context<A>)
    where
        A: Actor<Context = Context<A>> + Handler<Wake>,
    {
        let Some(deadline) = deadline else { return };
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
