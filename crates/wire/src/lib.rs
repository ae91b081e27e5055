//! The Kafka protocol as bytes and types.
