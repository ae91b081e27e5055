//! Threads for work that blocks: opening, recovering, unlinking, compacting, syncing in the background.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use log::error;

#[cfg(feature = "sim")]
use crate::sim::SimPool;

/// A piece of work.
pub type Job = Box<dyn FnOnce() + Send>;

/// A few threads and a bounded queue in front of them. Cloning shares both. When the last clone is dropped the threads
/// finish what is queued and end.
///
/// A job that panics is logged and costs nothing but itself: the thread goes on with the next one. Jobs start in
/// the order they were given and end in any order. In a simulation each job is a local task that runs after a delay.
#[derive(Clone, Debug)]
pub struct Pool(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Machine(Arc<Threads>),
    #[cfg(feature = "sim")]
    Simulated(SimPool),
}

/// The queue of a pool was full. Holds the job, unrun, for whoever wants to try again later.
#[derive(thiserror::Error)]
#[error("the pool's queue is full")]
pub struct PoolFull(pub Job);

impl std::fmt::Debug for PoolFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PoolFull")
    }
}

/// Does this on a thread of its own, for which nobody waits: what may never come to an end.
pub fn aside(job: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name("aside".to_owned()).spawn(job) {
        error!(error:% = error; "no thread for what may take for ever");
    }
}

impl Pool {
    /// Threads of a machine's pool unless told otherwise.
    pub const THREADS: usize = 4;
    /// Jobs that may wait unless told otherwise: a start with 100,000 partitions queues one recovery each.
    pub const QUEUED_MAX: usize = 131_072;

    /// `threads` OS threads called `<name>-0`, `<name>-1`, and so on, with at most `queued_max` jobs waiting.
    ///
    /// # Errors
    /// When the system lets no more threads start.
    pub fn machine(name: &str, threads: usize, queued_max: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue { waiting: Mutex::new(Waiting::default()), bell: Condvar::new() });
        let owner = Arc::new(Threads { queue: Arc::clone(&queue), queued_max });
        for index in 0..threads {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name(format!("{name}-{index}")).spawn(move || queue.work())?;
        }
        Ok(Self(Kind::Machine(owner)))
    }

    #[cfg(feature = "sim")]
    pub(crate) fn simulated(pool: SimPool) -> Self {
        Self(Kind::Simulated(pool))
    }

    /// Queues a job; never waits.
    ///
    /// # Errors
    /// When the queue is full; the job comes back.
    ///
    /// # Panics
    /// In a simulation, outside of a tokio `LocalSet`.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), PoolFull> {
        match &self.0 {
            Kind::Machine(threads) => threads.push(Box::new(job)),
            #[cfg(feature = "sim")]
            Kind::Simulated(pool) => {
                pool.run(Box::new(job));
                Ok(())
            }
        }
    }
}

/// Runs a job so that its panic ends nobody else.
pub(crate) fn run_guarded(job: Job) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text =
            text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        error!(panic:% = text; "a job of the pool panicked");
    }
}

/// What the clones of a pool hold; its end is the end of the threads.
#[derive(Debug)]
struct Threads {
    queue: Arc<Queue>,
    queued_max: usize,
}

impl Threads {
    fn push(&self, job: Job) -> Result<(), PoolFull> {
        let mut waiting = self.queue.lock();
        if waiting.jobs.len() >= self.queued_max {
            return Err(PoolFull(job));
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.queue.bell.notify_one();
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.bell.notify_all();
    }
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("jobs", &self.jobs.len()).field("closed", &self.closed).finish()
    }
}

impl Queue {
    /// No job runs under this lock, so a poisoned one still guards a whole queue.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            run_guarded(job);
        }
    }

    /// The next job; none once the pool is closed and empty.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                return Some(job);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
