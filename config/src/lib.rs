//! What can be set on an Ottla node.
