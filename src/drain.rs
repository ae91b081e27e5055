//! The order of leaving: nobody new comes in, everyone is answered, the partitions are synced, the store is closed.
//!
//! ```text
//!   SIGTERM  ->  listeners close  ->  answers in flight leave  ->  partitions sync  ->  marked clean  ->  exit 0
//!                                     GUESTS_MS at most            CREW_MS at most
//!   a second signal ends it at once: nothing acknowledged is lost by that, the next start takes longer
//! ```

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long clients may take for their last answers.
pub(crate) const GUESTS_MS: u64 = 1_500;
/// How long partitions may take to sync.
pub(crate) const CREW_MS: u64 = 2_500;

/// The wish of the outside that the process should end.
#[derive(Debug)]
pub struct Drain {
    terminate: Signal,
    interrupt: Signal,
}

impl Drain {
    /// From now on SIGTERM and SIGINT do not kill the process; they are waited for here.
    ///
    /// # Errors
    /// When the kernel has no file descriptor left for it.
    pub fn watch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next of them and says which it was. Cancel safe.
    pub async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
