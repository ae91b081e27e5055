//! The journal: places, laps and what may be recycled.
