//! Ottla: a Kafka-compatible event-streaming broker made of actors.
