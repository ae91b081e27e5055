//! The `ottla` process: parse, start logging, run one command, choose an exit code.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ottla::{Config, Drain, Node, Sources};
use ottla_host::Host;

mod cli;

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// It could not run, or not stop in order.
const FAILED: u8 = 1;
/// What was typed or configured cannot be meant.
const MISUSED: u8 = 2;

/// How long partitions may take to recover before the node calls itself ready without them.
const READY_MS: u64 = 60_000;

/// How long a last sentence may take to be written.
const SAYING_MAX: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    // What our own crates do; libraries below are told of only when asked for.
    let filter = env_logger::Env::new().filter_or("OTTLA_LOG", "ottla=info");
    env_logger::Builder::from_env(filter).target(env_logger::Target::Stderr).init();
    let sources = match cli::read(std::env::args_os()) {
        Ok(cli::Wish::Serve(sources)) => sources,
        Ok(cli::Wish::Tell(text)) => {
            say(&text);
            return ExitCode::SUCCESS;
        }
        Err(sentence) => return complain(&sentence, MISUSED),
    };
    match serve(&sources) {
        Ok(()) => ExitCode::SUCCESS,
        Err((sentence, code)) => complain(&sentence, code),
    }
}

/// Runs a broker until it is told to stop.
fn serve(sources: &Sources) -> Result<(), (String, u8)> {
    let mut config = Config::load(sources).map_err(|error| (error.to_string(), MISUSED))?;
    config.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    config.limits = config.limits.within_open_files(ottla_host::open_files_max());
    let host = Host::machine().map_err(|error| (format!("cannot start threads: {error}"), FAILED))?;
    ottla::block_on(run(host, config)).map_err(|sentence| (sentence, FAILED))
}

async fn run(host: Host, config: Config) -> Result<(), String> {
    let began = host.clock.now();
    let mut drain = Drain::watch(give_up).map_err(|error| format!("cannot watch for signals: {error}"))?;
    let data_dir = config.data_dir.clone();
    let node = Node::start(host.clone(), config).await.map_err(|error| error.to_string())?;
    tokio::select! {
        recovered = node.wait_ready(READY_MS) => {
            if !recovered {
                log::warn!(waited_ms = READY_MS; "some partitions are still not recovered, serving the others");
            }
        }
        signal = drain.asked() => return leave(node, signal).await,
    }
    let took_ms = host.clock.now().mono_ms - began.mono_ms;
    say(&format!(
        "ready kafka={} data={} cluster={} node={} took_ms={took_ms}\n",
        node.address(),
        data_dir.display(),
        node.cluster_id(),
        node.id(),
    ));
    #[cfg(feature = "provoke")]
    node.provoke_on_signal().map_err(|error| format!("cannot watch for signals: {error}"))?;
    let signal = drain.asked().await;
    leave(node, signal).await
}

async fn leave(node: Node, signal: &str) -> Result<(), String> {
    log::info!(signal; "stopping");
    if node.stop().await {
        log::info!("stopped");
        return Ok(());
    }
    Err("not everything was closed in time; nothing acknowledged is lost, the next start reads the last segments".into())
}

/// Ends the process whatever its other threads are waiting for: somebody who writes to our output, too, so that it is not waited for long.
fn give_up(sentence: &str) {
    let (sentence, (told, tell)) = (sentence.to_owned(), mpsc::channel());
    thread::spawn(move || {
        complain(&sentence, FAILED);
        let _ = told.send(());
    });
    let _ = tell.recv_timeout(SAYING_MAX);
    std::process::exit(FAILED.into());
}

/// Whoever closed our output does not want to hear it.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn complain(sentence: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "ottla: {sentence}");
    ExitCode::from(code)
}
