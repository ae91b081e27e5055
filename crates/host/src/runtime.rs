//! The runtime that an arbiter's thread runs on.

use std::io;

/// Threads that one runtime may start for blocking work. What blocks belongs on the [`Pool`](crate::Pool); these few are
/// for name resolution and for reads known to be cold.
const BLOCKING_THREADS_MAX: usize = 4;

/// A runtime for one thread, with sockets and timers.
///
/// # Errors
/// When the kernel has no file descriptors left for its event queue.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("blocking")
        .build()
}

/// How many files and sockets this process may have open. The kernel's soft limit, which is low for the sake of old
/// programs, is raised to the hard one, as Java's runtime does.
#[must_use]
pub fn open_files_max() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    // None is no limit.
    now.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX)
}
