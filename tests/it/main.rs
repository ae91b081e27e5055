//! The process as a black box: the built program on a free port, and a small client that speaks bytes.
//!
//! Facts are waited for with a deadline, on a socket or on the process; nothing sleeps. What a broker must answer is
//! what Apache Kafka 4.3 answered to the same requests.

mod admin;
mod broker;
mod client;
mod compaction;
mod compatibility;
mod connections;
mod consumer_groups;
mod damage;
mod deletions;
mod describe;
mod features;
mod fetch;
mod fetch_sessions;
mod frames;
mod group_requests;
mod groups;
mod hung_disk;
mod life;
mod long_polls;
mod multiples;
mod neighbours;
mod packed;
mod produce;
mod settings;
mod topics;
mod transactional_offsets;
mod transactions;
