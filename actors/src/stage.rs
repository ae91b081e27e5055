//! What every actor stands on: where it runs, who watches it, how it waits, and how answers travel.

pub mod alarm;
pub mod bell;
pub mod breath;
pub mod directory;
pub mod reply;
pub mod shards;
pub mod watched;

/// Somebody who takes messages of one kind. Today actix's recipient; only `stage` would have to know if it were not.
pub type To<M> = actix::Recipient<M>;

/// Declares what a message answers: nothing. Answers travel in the message.
macro_rules! messages {
    ($($name:ident),* $(,)?) => { $(
        impl actix::Message for $name {
            type Result = ();
        }
    )* };
}
pub(crate) use messages;
