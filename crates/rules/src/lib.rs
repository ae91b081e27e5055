//! Pure decisions of an Ottla broker.
//!
//! Nothing here waits, reads a clock, or sees a socket, a disk or a channel: time and chance are
//! arguments, and what is to be done is returned as data.

pub mod batch;
pub mod cluster;
pub mod compaction;
pub mod fetch_sessions;
pub mod floods;
pub mod group;
pub mod ids;
pub mod limits;
pub mod partition;
pub mod pattern;
pub mod planted;
pub mod portions;
pub mod producers;
pub mod queue;
pub mod records;
pub mod residence;
pub mod retention;
pub mod rights;
pub mod roll;
pub mod rounds;
pub mod settings;
pub mod staging;
pub mod supervision;
pub mod time;
pub mod topic;
pub mod topic_config;
pub mod transaction;
pub mod turns;
pub mod turnstile;
pub mod vigil;
pub mod waits;
