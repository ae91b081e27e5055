//! Whole Ottla nodes in a simulated world.
//!
//! One seed makes one [`Plan`]: partitions, producers, how each life of the node ends. [`run`] lives it through and judges
//! it by the [`ledger`]:
//!
//! ```text
//!   start --> read everything back, check --> produce and read --> power cut | kill | stop --> start --> ...
//!                                                                   the last life ends when all is acknowledged
//! ```
//!
//! The node is the real one: its actors, its store, on a disk that forgets what was not synced. Everything runs on one thread
//! in simulated time, and all chance comes from the seed: what a seed showed once it shows every time.

pub mod ledger;
mod life;
pub mod plan;
mod producer;
pub mod reader;
mod run;
pub mod trace;

pub use ledger::{Anomaly, Ledger, Mark};
pub use plan::{End, Plan};
pub use run::{Report, run};
