//! Whole Ottla nodes in a simulated world.
//!
//! One seed makes one [`Plan`]: a topic, producers, troubles, how each life of the node ends. [`run`] lives it through and
//! judges it by the [`ledger`]:
//!
//! ```text
//!   turmoil's network:  node  <--- Kafka's protocol --->  producers    consumers, admin
//!
//!   start --> read everything back, check --> produce and read --> power cut | kill | stop --> start --> ...
//!                                                                   the last life ends when all is acknowledged
//! ```
//!
//! The node is the real one, from its door to its store, on a disk that forgets what was not synced and a network that
//! delays, holds and drops. Everything runs on one thread in simulated time, and all chance comes from the seed: what a seed showed once
//! it shows every time.

mod admin;
mod anomaly;
mod client;
mod consumer;
mod copier;
pub mod ledger;
mod members;
pub mod plan;
mod producer;
mod records;
mod run;
mod scene;
mod shortage;
pub mod trace;

pub use anomaly::Anomaly;
pub use ledger::{Ledger, Mark};
pub use plan::{End, Plan};
pub use run::{Report, run, run_all, run_plan};
