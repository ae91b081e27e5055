//! Produces.
