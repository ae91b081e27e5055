//! Many connections at once.
