//! Idempotent producers of one partition.
