//! What is done with the fuzzer's bytes: one module per target, each with a `check` that panics when a promise is broken.
//!
//! The fuzzer runs them (`cargo +nightly fuzz run frames`), and `crates/sim/tests/corpora.rs` runs them over the inputs that
//! are kept in `corpus/`.

pub mod batch;
pub mod codec;
pub mod frames;
pub mod journal;

// The reader itself, which the broker keeps to itself.
#[allow(dead_code, unreachable_pub)]
#[path = "../../src/door/intake.rs"]
mod intake;
