//! What a node keeps on its disk: segment files, the journal, and the facts about them.

pub mod facts;
mod files;
pub mod journal;
pub mod layout;
pub mod log;
pub mod store;

pub use facts::{Facts, FactsError, FactsKind, memory::MemoryFacts};
pub use log::{
    Log, LogError, Place,
    config::LogConfig,
    slice::{FileRange, Slice},
};
pub use store::{OpenError, Store};
