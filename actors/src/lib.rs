//! The actors of an Ottla node.
//!
//! An actor owns one thing's state and is a thin shell around a machine of `ottla-rules`: it unpacks a message, steps
//! the machine, and carries out what was decided. Handlers return `()` and never await; answers travel in messages.

pub mod broker;
pub mod coordinator;
pub mod crew;
pub mod group;
pub mod housekeeper;
pub mod journal;
pub mod observe;
pub mod offsets;
pub mod partition;
mod replay;
pub mod shared;
#[cfg(test)]
mod shells;
pub mod stage;
pub mod transactions;
