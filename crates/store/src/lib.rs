//! What a node keeps on its disk: segment files, the journal, and the facts about them.
//!
//! One [`Store`] is one data directory, used by one process. In it, each partition has a [`Log`] (segment files in
//! Kafka's own formats), written by that partition's owner alone and read by anyone holding a [`Slice`]; the
//! [`journal`] makes appends durable before their segments are synced; the [`facts`] say where and who. Nobody above
//! knows which of them is in sled and which in a file.

mod ballast;
mod claims;
pub mod facts;
mod files;
pub mod journal;
pub mod layout;
pub mod log;
pub mod store;
mod suspect;

pub use claims::Hold;
pub use facts::{Facts, FactsError, FactsKind, memory::MemoryFacts};
pub use log::{
    Log, LogError, Place,
    aborted::AbortedLook,
    compact::{Compaction, Progress, Rewritten, Tuning},
    config::LogConfig,
    delete::{Doomed, Removal},
    lookup::{FoundTime, TimeLookup},
    recover::{Cut, Recovered},
    salvage::{Lost, Piece},
    slice::{FileRange, Slice},
    swap::{Placing, Replaced, Swap, Swapped},
    sync::SyncPoint,
};
pub use store::{OpenError, Store, Unknown};
