//! The replica that leads a partition.
