//! Topic names.
