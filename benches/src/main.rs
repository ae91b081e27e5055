//! How fast, how small, how soon: Ottla against the limit of this machine and, if there is one, against a peer.
//!
//! ```text
//!   broker.rs  a process under test: start, stop, CPU, memory      sink.rs   the limit: read a frame, write it to a file, answer
//!   client.rs  one connection and the few requests that are needed load.rs   closed loops: produce and fetch as fast as it goes
//!   pace.rs    an open loop: latency at a given rate                crowd.rs  many connections: idle ones, long polls, producers
//!   commits.rs groups that commit, and what a restart finds         members.rs a consumer group with a thousand members
//!   txn.rs     read, process, write, in transactions
//!   life.rs    start, restart, partitions, memory                  table.rs  medians, and the page that is printed
//! ```
//!
//! Requests are encoded before the clock starts and answers are only counted, so that nearly all of the CPU time is the
//! broker's. Every figure is the median of several short runs; who is compared runs in turn, never one after the other.

mod broker;
mod client;
mod commits;
mod crowd;
mod life;
mod load;
mod members;
mod pace;
mod rows;
mod sink;
mod table;
mod txn;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::table::Table;

/// Measures an Ottla broker; `just bench` builds both and runs this.
#[derive(Debug, Parser)]
#[command(name = "ottla-bench")]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Fewer and shorter runs: a look, not a figure.
    #[arg(long)]
    quick: bool,
    /// Only the chapters whose name contains this. May be repeated.
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
    /// Of the chapters about speed, only the rows whose name contains this. May be repeated.
    #[arg(long, value_name = "WORDS")]
    rows: Vec<String>,
    /// Runs of each row.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// The broker to start.
    #[arg(long, value_name = "FILE", default_value = "target/release/ottla")]
    bin: PathBuf,
    /// Another build of the broker, which runs in turn with it: what a change does is seen in one run, or not at all.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// Data directories are made, and removed again, under this one.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// The first of the five ports used on 127.0.0.1.
    #[arg(long, value_name = "PORT", default_value_t = 29_092)]
    port: u16,
    /// A setting for the brokers that are started. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A broker of another kind, running on this machine with its default durability (page cache).
    #[arg(long, value_name = "HOST:PORT")]
    peer: Option<String>,
    /// Its process, whose CPU time is read.
    #[arg(long, value_name = "PID")]
    peer_pid: Option<u32>,
    /// The same kind of broker, set to sync before it acknowledges.
    #[arg(long, value_name = "HOST:PORT")]
    peer_synced: Option<String>,
    /// Its process.
    #[arg(long, value_name = "PID")]
    peer_synced_pid: Option<u32>,
    /// Where the table goes, as Markdown, besides standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be the limit: take frames, write them to a file, answer.
    Sink {
        /// Where to listen.
        listen: String,
        /// The file; each connection adds its number.
        file: PathBuf,
    },
}

impl Options {
    pub(crate) fn rounds(&self, usual: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { usual })
    }

    fn wants(&self, chapter: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| chapter.contains(word.as_str()))
    }

    pub(crate) fn wants_row(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|words| row.contains(words.as_str()))
    }
}

/// One chapter: its name and what measures it.
type Chapter = (&'static str, fn(&Options, &mut Table) -> std::io::Result<()>);

const CHAPTERS: &[Chapter] = &[
    ("produce", rows::produce),
    ("durable", rows::durable),
    ("fetch", rows::fetch),
    ("latency", rows::latency),
    ("ready", life::ready),
    ("restart", life::restart),
    ("partitions", life::partitions),
    ("memory", life::memory),
    ("idle", life::idle),
    ("connections", crowd::connections),
    ("polls", crowd::polls),
    ("groups: commits", commits::commits),
    ("groups: takeover", commits::takeover),
    ("groups: members", members::members),
    ("transactions", txn::transactions),
];

fn main() -> std::io::Result<()> {
    let options = Options::parse();
    if let Some(Command::Sink { listen, file }) = &options.command {
        return sink::serve(listen, file);
    }
    broker::raise_file_limit();
    std::fs::create_dir_all(&options.dir)?;
    let mut table = Table::new(&options);
    for (name, measure) in CHAPTERS.iter().filter(|(name, _)| options.wants(name)) {
        eprintln!("{name} ...");
        table.chapter(name);
        measure(&options, &mut table)?;
    }
    print!("{}", table.markdown());
    if let Some(file) = &options.out {
        std::fs::write(file, table.markdown())?;
    }
    Ok(())
}
