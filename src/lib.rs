//! Ottla: a Kafka-compatible event-streaming broker made of actors.
//!
//! This package is the process: its doors. Nothing is decided here. The program `ottla` runs one [`Node`]; so can any
//! other program:
//!
//! ```no_run
//! use ottla::{Config, Node, Sources};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sources = Sources { set: vec!["listeners=PLAINTEXT://127.0.0.1:0".into()], ..Sources::default() };
//! let config = Config::load(&sources)?;
//! let host = ottla::Host::machine()?;
//! ottla::block_on(async {
//!     let node = Node::start(host, config).await?;
//!     println!("Kafka clients connect to {}", node.address());
//!     node.stop().await;
//!     Ok::<_, ottla::StartError>(())
//! })?;
//! # Ok(())
//! # }
//! ```

mod admin;
mod api;
mod cold;
mod door;
mod drain;
mod node;
mod server;

pub use drain::Drain;
pub use node::{Node, StartError, block_on};
pub use ottla_config::{Config, Sources};
pub use ottla_host::Host;
