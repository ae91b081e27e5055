//! One run of the program.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::Client;

/// Far more than anything here takes, even on a busy machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running broker; killed when dropped.
pub(crate) struct Broker {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    log: PathBuf,
    pub(crate) address: SocketAddr,
    /// The line that it printed when it was ready.
    pub(crate) ready: String,
}

/// The program with these arguments and an environment without settings.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTTLA_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

impl Broker {
    /// Starts it over `dir`, with settings, and waits until it is ready.
    pub(crate) fn start(dir: &Path, settings: &[&str]) -> Broker {
        Broker::start_telling(dir, settings, "ottla=info")
    }

    /// As [`Broker::start`], with more, or less, in its log.
    pub(crate) fn start_telling(dir: &Path, settings: &[&str], filter: &str) -> Broker {
        let mut command = command(&["serve", "--listen", "127.0.0.1:0"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        Broker::spawn(command.env("OTTLA_LOG", filter), dir)
    }

    /// Runs a command over `dir` and waits until it is ready.
    pub(crate) fn spawn(command: &mut Command, dir: &Path) -> Broker {
        let log = dir.with_extension("log");
        let log_file = File::options().create(true).append(true).open(&log).unwrap();
        command.arg("--data-dir").arg(dir).stdout(Stdio::piped()).stderr(log_file);
        let mut child = command.spawn().unwrap();
        let (ready, stdout) = first_line(&mut child).unwrap_or_else(|| {
            panic!("it did not become ready:\n{}", fs::read_to_string(&log).unwrap_or_default())
        });
        let address = field(&ready, "kafka").parse().unwrap();
        Broker { child, stdout: Some(stdout), log, address, ready }
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// The most memory that it ever had, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        // Its output ends when it does.
        let mut stdout = self.stdout.take().unwrap();
        let mut rest = String::new();
        let ended = within(move || stdout.read_to_string(&mut rest).map(|_| rest));
        let rest = ended.unwrap_or_else(|| panic!("it did not end:\n{}", self.log())).unwrap();
        assert_eq!(rest, "", "one line is all that it prints");
        self.child.wait().unwrap()
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) {
        self.signal("-TERM");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    /// Takes it away without a word.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

/// Sends a process a signal.
pub(crate) fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Runs something that blocks, for `PATIENCE` at most.
fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, waiting) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    waiting.recv_timeout(PATIENCE).ok()
}

fn first_line(child: &mut Child) -> Option<(String, BufReader<ChildStdout>)> {
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    within(move || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        (line, stdout)
    })
    .filter(|(line, _)| line.ends_with('\n'))
}

/// Runs the program to its end; what it printed on stderr and its exit code.
pub(crate) fn run(command: &mut Command) -> (String, Option<i32>) {
    end_of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Waits for the end of a process; what it printed on stderr and its exit code.
pub(crate) fn end_of(mut child: Child) -> (String, Option<i32>) {
    let mut stderr = child.stderr.take().unwrap();
    let said = within(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let Some(said) = said else {
        let _ = child.kill();
        panic!("it did not end");
    };
    (said, child.wait().unwrap().code())
}

/// The value of `name=` in a line.
pub(crate) fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let found = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name}= in {line:?}"))
}

/// Asks again and again, for `PATIENCE` at most, until it holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
    }
}

/// A data directory that goes with the test: the directory around it, and its path.
pub(crate) fn data_dir() -> (TempDir, PathBuf) {
    let around = tempfile::tempdir().unwrap();
    let dir = around.path().join("data");
    (around, dir)
}
