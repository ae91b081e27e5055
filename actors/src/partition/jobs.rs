//! Jobs of the pool whose end a partition waits for.
//!
//! Until it hears of it, the partition neither serves what it waits for nor leaves. A job that panics says nothing; so its actor falls
//! with it, and is rebuilt from the store like one that has panicked itself.

use actix::{AsyncContext, Context, Handler, Message};

use super::PartitionActor;
use crate::stage::{To, messages};

/// A job has panicked: nobody knows what it has left.
pub(super) struct JobPanicked;

messages!(JobPanicked);

/// Tells the actor when it is dropped before the job came to its end.
struct Watch(Option<To<JobPanicked>>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(actor) = self.0.take() {
            actor.do_send(JobPanicked);
        }
    }
}

impl PartitionActor {
    /// Runs work that may block; the actor is told what it returns.
    pub(super) fn have_done<M>(&self, job: impl FnOnce() -> M + Send + 'static, ctx: &Context<Self>)
    where
        M: Message<Result = ()> + Send + 'static,
        Self: Handler<M>,
    {
        let (me, fall) = (ctx.address(), ctx.address().recipient::<JobPanicked>());
        self.charge.shared.on_pool(move || {
            let mut watch = Watch(Some(fall));
            let done = job();
            watch.0 = None;
            me.do_send(done);
        });
    }
}

impl Handler<JobPanicked> for PartitionActor {
    type Result = ();

    fn handle(&mut self, JobPanicked: JobPanicked, _: &mut Context<Self>) {
        panic!("a job of the pool panicked");
    }
}
