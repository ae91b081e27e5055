//! The Kafka protocol as bytes and types.
//!
//! ```text
//!   socket -> frame (length) -> header -> message (one file per API under `messages`)
//!             produce: records leave the frame as they came, uncopied
//!             fetch:   records never enter the frame: it is a list of chunks with gaps for them
//! ```
//!
//! Everything that reads takes bytes from strangers: it returns errors, never panics, and allocates at most
//! a fixed multiple of the bytes that are there. Everything that writes cannot fail.

pub mod api;
pub mod codes;
pub mod fetch;
pub mod frame;
pub mod header;
mod message;
pub mod messages;
pub mod produce;
pub mod reader;
pub mod writer;

pub use message::{Decode, Encode, Field, Message, Shape};
pub use reader::{DecodeError, Reader};
pub use writer::Writer;

#[cfg(test)]
mod tests;
