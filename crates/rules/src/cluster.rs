//! What the cluster knows, and how it comes to know more.
//!
//! ```text
//!   Command  --decide-->  Change  --apply-->  Image  --diff-->  Step
//!   what is asked         a fact, persisted   all facts         what one node does about it
//! ```
//!
//! Deciding looks at an image and changes nothing; applying a change asks nothing. Both are the same everywhere:
//! chance (topic ids) and the broker's settings are arguments, and every collection has an order.

mod change;
mod command;
mod diff;
pub mod features;
mod image;
#[cfg(test)]
mod tests;
mod volume;

pub use change::{Change, Fact, Node, Partition};
pub use command::{Command, CommandError, ReplicaAssignment};
pub use diff::{Step, diff};
pub use image::{Image, Topic};
