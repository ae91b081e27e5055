//! Fetches.
