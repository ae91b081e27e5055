//! A batch whose records take longer to look at than a shard may be held: a thread that computes looks at them.
//!
//! The connection begins nothing behind such a batch until it is with its partition, so batches keep their order.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ottla_host::Host;
use ottla_rules::batch::{Batch, BatchError, BatchRules, Long};
use ottla_rules::time::Now;
use tokio::sync::oneshot;

/// How much one request may unpack, or pack, on the shard of its connection: a third of a millisecond of the slowest codec
/// (measured, see `docs/performance-notes.md`).
pub(super) const ON_SHARD_BYTES_MAX: usize = 96 * 1024;

/// One batch that is being looked at elsewhere.
pub(super) struct Unpacking {
    /// The slot it belongs to.
    pub(super) slot: usize,
    /// The topic's name.
    pub(super) topic: Arc<str>,
    answer: oneshot::Receiver<Result<Batch, BatchError>>,
}

impl Unpacking {
    /// Has it looked at; from here on it can only be waited for.
    pub(super) fn begin(
        host: &Host,
        slot: usize,
        topic: Arc<str>,
        long: Long,
        rules: Arc<BatchRules>,
        now: Now,
    ) -> Unpacking {
        let (answered, answer) = oneshot::channel();
        // Whoever asked may have left.
        let look = move || drop(answered.send(long.finish(&rules, now)));
        if let Err(full) = host.compute.run(look) {
            // The queue is longer than the credit of all connections has room for. Late is better than never.
            (full.0)();
        }
        Unpacking { slot, topic, answer }
    }

    /// What was found; none when whoever looked is gone, which would be our own fault.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch, BatchError>>> {
        Pin::new(&mut self.answer).poll(cx).map(Result::ok)
    }
}
