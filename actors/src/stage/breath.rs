//! A pause between messages, so that a busy mailbox starves neither its own timers nor its neighbours.
//!
//! actix handles messages until the mailbox is empty, and tokio's budget does not interrupt it. A pending wait ends that
//! loop, lets the actor's timers and notices run once, and returns the thread.

use actix::{Actor, AsyncContext, Context, fut::wrap_future};

/// Messages handled between two pauses.
const MESSAGES: u32 = 64;

/// Counts messages. The only place that may call `ctx.wait`.
#[derive(Debug, Default)]
pub struct Breath(u32);

impl Breath {
    /// One more message was handled: every 64th time, the actor pauses until its thread has looked around.
    pub fn take<A: Actor<Context = Context<A>>>(&mut self, ctx: &mut Context<A>) {
        self.0 += 1;
        if self.0 >= MESSAGES {
            self.pause(ctx);
        }
    }

    /// What was handled took long: the actor pauses at once.
    pub fn pause<A: Actor<Context = Context<A>>>(&mut self, ctx: &mut Context<A>) {
        self.0 = 0;
        ctx.wait(wrap_future(tokio::task::yield_now()));
    }
}
