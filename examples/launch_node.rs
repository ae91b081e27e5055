//! A broker inside of another program: starts on a free port, says where, stops.
//!
//! ```sh
//! cargo run --example launch_node
//! ```

use std::error::Error;

use ottla::{Config, Host, Node, Sources};

fn main() -> Result<(), Box<dyn Error>> {
    let data_dir = tempfile::tempdir()?;
    let sources = Sources {
        set: vec![
            "listeners=PLAINTEXT://127.0.0.1:0".into(),
            format!("log.dirs={}", data_dir.path().display()),
        ],
        ..Sources::default()
    };
    let config = Config::load(&sources)?;
    let host = Host::machine()?;
    ottla::block_on(async {
        let node = Node::start(host, config).await?;
        println!("cluster {} is at {}", node.cluster_id(), node.address());
        let is_clean = node.stop().await;
        println!("stopped {}", if is_clean { "in order" } else { "with something unfinished" });
        Ok(())
    })
}
