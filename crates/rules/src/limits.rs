//! Every bound and what happens at its edge.
