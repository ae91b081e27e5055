//! Segment files, the journal and the facts about them.

pub mod journal;
