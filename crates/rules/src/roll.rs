//! When a segment is full.
