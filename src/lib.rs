//! Ottla: a Kafka-compatible event-streaming broker made of actors.
//!
//! This package is the process: its doors. Nothing is decided here.

mod api;
mod door;
mod inside;
mod server;
