//! The outside world: clock, chance, net, disk, threads.
//!
//! Everything that a node cannot decide for itself enters through a [`Host`]. There are two of them, and the node's code
//! cannot tell which it got: [`Host::machine`] is this computer, `Host::simulated` (feature `sim`) is a world inside
//! one thread, where time is a number, the network is turmoil's, and the disk forgets what was not synced when the power goes.
//!
//! ```text
//!              Clock        Chance        Net              Disk, File              Pool
//!  machine     Instant      getrandom     tokio sockets    std and rustix          OS threads
//!  simulated   tokio time   one seed      turmoil          pages and a platter     local tasks that dawdle
//! ```
//!
//! The choice is a value made when the node is built, not a `cfg`: the variants are enums inside, callers see neither.
//! Nobody else in the workspace reads the real clock, draws real randomness, starts a thread, or opens a socket or a file.

mod chance;
mod clock;
mod disk;
mod net;
mod pool;
mod process;
mod runtime;
#[cfg(feature = "sim")]
mod sim;

pub use chance::Chance;
pub use clock::{Clock, Instant};
pub use disk::{
    Disk, Entry, File, Hurry, LockFile, OpenMode, WriteError, is_cold, is_out_of_files, patiently,
};
pub use net::{DetachedSocket, Listener, Net, Socket};
pub use pool::{Job, Pool, PoolFull, aside};
pub use process::{Process, hangup_is_ignored};
pub use runtime::{open_files_max, runtime, sleeps};
#[cfg(feature = "sim")]
pub use sim::{Fault, SimDisk, SimWorld};

/// One node's outside world. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Host {
    /// What time it is.
    pub clock: Clock,
    /// Randomness.
    pub chance: Chance,
    /// Sockets.
    pub net: Net,
    /// Files and directories.
    pub disk: Disk,
    /// Threads for work that blocks.
    pub pool: Pool,
    /// One thread for looks at the disk that must not stand in that queue: behind thousands of recoveries they would come too late.
    pub watch: Pool,
    /// Threads for work that only computes, and for longer than whoever wants it may: so many as there are cores.
    pub compute: Pool,
}

impl Host {
    /// This computer: real time, OS randomness, the kernel's sockets and files, a few threads of its own.
    ///
    /// # Errors
    /// When the threads of the pools cannot be started.
    pub fn machine() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            clock: Clock::machine(),
            chance: Chance::machine(),
            net: Net::machine(),
            disk: Disk::machine(),
            pool: Pool::machine("disk", Pool::THREADS, Pool::QUEUED_MAX)?,
            watch: Pool::machine("watch", 1, 1)?,
            compute: Pool::machine("compute", cores, Pool::QUEUED_MAX)?,
        })
    }

    /// A node inside a simulation. The world outlives the node: build a new host from the same world after each
    /// crash, and the node finds its disk as the crash left it.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn simulated(world: &SimWorld) -> Self {
        world.host()
    }
}
