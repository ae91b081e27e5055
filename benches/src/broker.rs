//! A process under test: start, stop, CPU time, memory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Options;
use crate::client::Client;

/// The setting under which acknowledgements come from the page cache.
pub(crate) const PAGE_CACHE: &str = "log.flush.interval.messages=9223372036854775807";

/// Somebody who answers Produce: a broker that was started here, the limit, or a peer that runs already.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) address: String,
    pub(crate) pid: Option<u32>,
    child: Option<Child>,
    dir: Option<PathBuf>,
}

impl Subject {
    /// A broker over `dir`, which is kept as it is. Does not wait for it.
    pub(crate) fn spawn(
        options: &Options,
        name: &'static str,
        dir: &Path,
        settings: &[&str],
    ) -> io::Result<Subject> {
        // One port a kind, so that kinds can run side by side.
        let before = options.before.as_ref().filter(|_| name.contains("before"));
        let offset = u16::from(name.contains("page cache")) + 1 + 2 * u16::from(before.is_some());
        let address = format!("127.0.0.1:{}", options.port + offset);
        let mut command = Command::new(before.unwrap_or(&options.bin));
        command.args(["serve", "--listen", &address, "--data-dir"]).arg(dir);
        for setting in settings.iter().copied().chain(options.set.iter().map(String::as_str)) {
            command.args(["--set", setting]);
        }
        let log = fs::File::create(options.dir.join("broker.log"))?;
        let child = command.stdout(Stdio::null()).stderr(log).spawn()?;
        let pid = Some(child.id());
        Ok(Subject { name, address, pid, child: Some(child), dir: None })
    }

    /// A broker over a new, empty directory, which goes with it; waits until it answers.
    pub(crate) fn fresh(options: &Options, name: &'static str, settings: &[&str]) -> io::Result<Subject> {
        let dir = options.dir.join(name.replace(|c: char| !c.is_alphanumeric(), "-"));
        empty(&dir)?;
        let mut subject = Subject::spawn(options, name, &dir, settings)?;
        subject.dir = Some(dir);
        Client::patiently(&subject.address)?;
        Ok(subject)
    }

    /// The limit, in a process of its own.
    pub(crate) fn sink(options: &Options) -> io::Result<Subject> {
        let address = format!("127.0.0.1:{}", options.port);
        let dir = options.dir.join("sink");
        empty(&dir)?;
        fs::create_dir_all(&dir)?;
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.args(["sink", &address]).arg(dir.join("file")).spawn()?;
        let pid = Some(child.id());
        connect_patiently(&address)?;
        Ok(Subject { name: "sink", address, pid, child: Some(child), dir: Some(dir) })
    }

    /// A broker that somebody else started.
    pub(crate) fn peer(name: &'static str, address: &str, pid: Option<u32>) -> Subject {
        Subject { name, address: address.to_owned(), pid, child: None, dir: None }
    }

    /// CPU time of all its threads so far, also of those that have ended.
    pub(crate) fn cpu(&self) -> Duration {
        self.pid.map_or(Duration::ZERO, cpu_of)
    }

    /// Resident memory, KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.pid.map_or(0, |pid| field(&format!("/proc/{pid}/status"), "VmRSS:"))
    }

    /// Bytes it has caused to be written to the disk.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.pid.map_or(0, |pid| field(&format!("/proc/{pid}/io"), "write_bytes:"))
    }

    /// Asks it to stop and waits; how long that took.
    pub(crate) fn stop(mut self) -> io::Result<Duration> {
        let began = Instant::now();
        self.end("-TERM")?;
        Ok(began.elapsed())
    }

    /// Takes it away without a word.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.end("-KILL")
    }

    fn end(&mut self, signal: &str) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            Command::new("kill").args([signal, &child.id().to_string()]).status()?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Nothing can be done about what fails here, and the next run empties the directory.
        let _ = self.end("-KILL");
        if let Some(dir) = &self.dir {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// Removes what an earlier run left.
pub(crate) fn empty(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Connects as soon as somebody listens.
pub(crate) fn connect_patiently(address: &str) -> io::Result<std::net::TcpStream> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match std::net::TcpStream::connect(address) {
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(1)),
            connected => return connected,
        }
    }
}

/// Nanoseconds, where `/proc/PID/stat` counts hundredths of a second.
fn cpu_of(pid: u32) -> Duration {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let pid = libc::pid_t::try_from(pid).unwrap_or(0);
    // SAFETY: both calls write to the one place they are given, which lives here; a process that is gone is an error.
    let read = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0 && libc::clock_gettime(clock, &raw mut time) == 0
    };
    if !read {
        return Duration::ZERO;
    }
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// As many open files as may be: ten thousand connections need them on either side.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // What is not granted shows when the connections are opened.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
