//! The order of leaving: nobody new comes in, everyone is answered, the partitions are synced, the store is closed.
//!
//! ```text
//!   SIGTERM  ->  listeners close  ->  answers in flight leave  ->  partitions sync  ->  marked clean  ->  exit 0
//!                                     GUESTS_MS at most            CREW_MS at most
//!            ->  a thread that does nothing else waits: for a second signal, or for LEAVE_MS                ->  exit 1
//!   a second signal ends it at once: nothing acknowledged is lost by that, the next start takes longer
//! ```

use std::io;
use std::time::Duration;

use actix_rt::Arbiter;
use ottla_host::hangup_is_ignored;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// How long clients may take for their last answers.
pub(crate) const GUESTS_MS: u64 = 1_500;
/// How long partitions may take to sync.
pub(crate) const CREW_MS: u64 = 2_200;
/// How long everything may take, what blocks included: starting, where the signal came before its end, and leaving.
const LEAVE_MS: u64 = 4_800;

/// The wish of the outside that the process should end.
#[derive(Debug)]
pub struct Drain(mpsc::Receiver<&'static str>);

impl Drain {
    /// From now on SIGTERM, SIGINT and, unless whoever started it has it ignored (`nohup`), SIGHUP do not kill the process; the first of them is waited for here. `give_up` is called with a sentence
    /// when a second one comes, or when the process is still there after 4.8 s. It has to end the process: from a thread of its own, because
    /// the others may hang in a disk that does not answer. Inside of [`block_on`](crate::block_on).
    ///
    /// # Errors
    /// When the kernel has no file descriptor or thread left for it.
    ///
    /// # Panics
    /// Outside of an actix system.
    pub fn watch(give_up: impl FnOnce(&str) + Send + 'static) -> io::Result<Self> {
        let mut signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
        };
        let (tell, told) = mpsc::channel(1);
        let thread = Arbiter::try_with_tokio_rt(ottla_host::runtime)?;
        thread.spawn(async move {
            let first = signals.next().await;
            // A terminal that goes says so twice, and whoever ends a session sends it beside SIGTERM: it hurries nobody.
            signals.hangup = None;
            // Who has gone does not have to be told.
            let _ = tell.send(first).await;
            let late = tokio::time::sleep(Duration::from_millis(LEAVE_MS));
            let why = tokio::select! {
                again = signals.next() => format!("{again} came again, stopped at once"),
                () = late => format!("{first} came {LEAVE_MS} ms ago and not everything is closed yet, stopped"),
            };
            give_up(&format!("{why}; nothing acknowledged is lost, the next start reads the last segments"));
        });
        Ok(Self(told))
    }

    /// Waits for the first of them and says which it was. Cancel safe.
    pub async fn asked(&mut self) -> &'static str {
        match self.0.recv().await {
            Some(signal) => signal,
            // It was said already, and what comes next is not waited for here.
            None => std::future::pending().await,
        }
    }
}

#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// The terminal has gone. None is deaf to it.
    hangup: Option<Signal>,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hangup => "SIGHUP",
        }
    }
}
