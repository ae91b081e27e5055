//! Every setting by its Kafka name.
