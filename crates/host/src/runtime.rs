//! The runtime that an arbiter's thread runs on.

use std::cell::Cell;
use std::io;

/// Threads that one runtime may start for blocking work. What blocks belongs on the [`Pool`](crate::Pool); these few are
/// for name resolution and for reads known to be cold.
const BLOCKING_THREADS_MAX: usize = 4;

thread_local! {
    static SLEEPS: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread had nothing to do and slept, or was about to, since it runs on a [`runtime`]. In a simulation nobody sleeps.
#[must_use]
pub fn sleeps() -> u64 {
    SLEEPS.get()
}

/// A runtime for one thread, with sockets and timers.
///
/// # Errors
/// When the kernel has no file descriptors left for its event queue.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("blocking")
        .on_thread_park(|| SLEEPS.set(SLEEPS.get() + 1))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_waits_sleeps_and_who_yields_does_not() {
        runtime().unwrap().block_on(async {
            let slept = sleeps();
            tokio::task::yield_now().await;
            assert_eq!(sleeps(), slept);
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(sleeps() > slept);
        });
    }
}
