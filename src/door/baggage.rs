//! What a connection takes along from one shard to another: all of it but what is empty when it goes, and what belongs
//! to the thread it leaves.

use ottla_host::DetachedSocket;
use ottla_rules::residence::Residence;

use super::credit::Share;
use super::guests::Guest;
use super::intake::Intake;
use super::tally::Counter;
use crate::api::produce::Appends;
use crate::api::{Call, Request};

/// A connection between two shards. Nothing of it is under way: everything that had begun is answered and written.
pub(crate) struct Baggage {
    pub(super) socket: DetachedSocket,
    pub(super) guest: Guest,
    pub(super) call: Call,
    /// Bytes that have come and no request has taken.
    pub(super) intake: Intake,
    /// A request that has come and has not begun, and the credit it holds.
    pub(super) held: Option<(Request, usize)>,
    pub(super) share: Share,
    /// Where it counts: on the shard it goes to.
    pub(super) tally: Counter,
    pub(super) appends: Appends,
    pub(super) last_moved_ms: u64,
}

impl Baggage {
    /// Of a connection that has just been let in, goes to live on the shard of `tally`, and makes its requests on behalf of
    /// `call`'s caller.
    pub(crate) fn new(
        socket: DetachedSocket,
        guest: Guest,
        call: Call,
        share: Share,
        tally: Counter,
    ) -> Baggage {
        Baggage {
            socket,
            guest,
            intake: Intake::new(call.server.limits().request_bytes_max),
            held: None,
            share,
            appends: Appends::new(Residence::new(tally.shard)),
            tally,
            last_moved_ms: call.server.host.clock.now().mono_ms,
            call,
        }
    }
}
