//! Whole Ottla nodes in a simulated world.
