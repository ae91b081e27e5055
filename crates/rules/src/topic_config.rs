//! The settings of one topic, resolved.
