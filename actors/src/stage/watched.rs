//! Starting an actor so that its parent learns how its life ended.
//!
//! actix does not tell: a panic unwinds into tokio's task, which is dropped. So the task is kept, and its end is a message.

use std::any::Any;

use actix::{Actor, Addr, Context, dev::channel::channel};
use ottla_rules::{ids::PartitionId, supervision::Exit};

use crate::stage::{To, messages, shards::Shard};

/// Slots of a mailbox. A hint: memory is bounded in bytes at the door, not here.
const MAILBOX_HINT: usize = 16;

/// Who ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildName {
    /// What this node does about new images.
    Broker,
    /// The schedule of upkeep.
    Housekeeper,
    /// The journal of the data directory.
    Journal,
    /// A partition that this node leads, and which of its actors: an earlier one may report late.
    Partition(PartitionId, u64),
    /// What coordinates the groups of a partition of `__consumer_offsets`, and which of its actors.
    Offsets(PartitionId, u64),
    /// What coordinates the transactional ids of a partition of `__transaction_state`, and which of its actors.
    Transactions(PartitionId, u64),
    /// A group; which one, its OffsetsActor knows.
    Group(u64),
}

/// An actor's life is over.
#[derive(Clone, Debug)]
pub struct ChildDown {
    /// Whose.
    pub child: ChildName,
    /// How.
    pub exit: Exit,
}
messages!(ChildDown);

/// Starts an actor on a shard and tells `parent` how its life ended. Messages may be sent at once. `make` runs on the
/// shard, inside the watched task: a panic in it is reported too.
pub fn spawn_watched<A>(
    shard: &Shard,
    child: ChildName,
    parent: To<ChildDown>,
    make: impl FnOnce(&mut Context<A>) -> A + Send + 'static,
) -> Addr<A>
where
    A: Actor<Context = Context<A>>,
{
    let (sender, receiver) = channel(MAILBOX_HINT);
    shard.spawn(move || async move {
        let life = actix_rt::spawn(async move {
            let mut ctx = Context::with_receiver(receiver);
            let actor = make(&mut ctx);
            ctx.into_future(actor).await;
        });
        let exit = match life.await {
            Ok(()) => Exit::Stopped,
            Err(error) if error.is_panic() => Exit::Panicked(text_of(error.into_panic().as_ref())),
            Err(_) => Exit::Cancelled,
        };
        parent.do_send(ChildDown { child, exit });
    });
    Addr::new(sender)
}

/// Starts the root actor of a node, after `first` has been done with its address. Nobody watches it: when it ends, its children
/// find out, and the node has ended.
pub fn spawn_root<A>(
    shard: &Shard,
    first: impl FnOnce(Addr<A>),
    make: impl FnOnce(&mut Context<A>) -> A + Send + 'static,
) where
    A: Actor<Context = Context<A>>,
{
    let (sender, receiver) = channel(MAILBOX_HINT);
    first(Addr::new(sender));
    shard.spawn(move || async move {
        let mut ctx = Context::with_receiver(receiver);
        let actor = make(&mut ctx);
        ctx.into_future(actor).await;
    });
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
