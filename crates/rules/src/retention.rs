//! Which segments may go.
