//! The actors of an Ottla node.
