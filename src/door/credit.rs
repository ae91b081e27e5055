//! Byte credit: how much a node, and one connection of it, may hold before it stops reading.
//!
//! What is counted: bytes that have arrived and are not dispatched, requests that are not answered,
//! answers that are not written. So a client that sends and never reads stops being read, and a crowd
//! of such clients does not grow the node without bound. Nothing is counted by the length a client
//! claims, only by what has come; ranges of files are not counted, since they are not in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use ottla_rules::limits::CONNECTION_BYTES_ALWAYS;

/// How long the room of a connection that was given up is left to those who wait for it, before the next one is.
pub(crate) const GIVEN_UP_EVERY_MS: u64 = 100;

/// The credit of a whole node, shared by its connections.
///
/// New frames are begun while less than three quarters are in use; frames that have begun continue until
/// all of it is. Without the gap, half-arrived frames could fill everything and none could ever end.
#[derive(Debug)]
pub(crate) struct Credit {
    used: AtomicUsize,
    bytes_max: usize,
    shares: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Waker>>,
    /// When the last one was given up that filled the node with half a request, monotonic milliseconds.
    given_up_ms: AtomicU64,
}

impl Credit {
    /// Credit for `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Arc<Credit> {
        Arc::new(Credit {
            used: AtomicUsize::new(0),
            bytes_max,
            shares: AtomicU64::new(0),
            waiting: Mutex::default(),
            given_up_ms: AtomicU64::new(0),
        })
    }

    /// Bytes in use now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// All there is.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// True while no new frame may begin.
    fn is_short(&self) -> bool {
        self.used() >= self.bound(false)
    }

    /// True for one at a time: the room of whoever was given up last goes to those who wait for it first, who would else
    /// be given up in the same breath, though it was us who did not read them.
    fn gives_up_another(&self, now_ms: u64) -> bool {
        let last = self.given_up_ms.load(Ordering::Acquire);
        let is_time = now_ms.saturating_sub(last) >= GIVEN_UP_EVERY_MS;
        is_time
            && self.given_up_ms.compare_exchange(last, now_ms, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn bound(&self, frame_begun: bool) -> usize {
        if frame_begun { self.bytes_max } else { self.bytes_max / 4 * 3 }
    }

    /// True when a connection may read now; else its waker is kept until credit returns.
    fn may_read(&self, share: u64, frame_begun: bool, cx: &Context<'_>) -> bool {
        if self.used() < self.bound(frame_begun) {
            return true;
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(share, cx.waker().clone());
        // Credit may have come back between the look and the registration.
        self.used() < self.bound(frame_begun)
    }

    fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    fn give(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        assert!(before >= bytes, "{bytes} bytes of credit returned, but only {before} were taken");
        // Whoever waits registered while use was at or above a bound; only then is there someone to wake.
        if before >= self.bound(false) && bytes > 0 {
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            for waker in waiting.into_values() {
                waker.wake();
            }
        }
    }
}

/// What one connection holds of the node's credit; dropping it returns everything.
#[derive(Debug)]
pub(crate) struct Share {
    id: u64,
    credit: Arc<Credit>,
    held: usize,
    held_max: usize,
}

impl Share {
    /// Nothing held yet; reading stops at `held_max` bytes.
    pub(crate) fn new(credit: Arc<Credit>, held_max: usize) -> Share {
        let id = credit.shares.fetch_add(1, Ordering::Relaxed);
        Share { id, credit, held: 0, held_max }
    }

    /// How many bytes this connection may read now. A frame that has begun may always go on as far as this
    /// connection is concerned: its length has a bound of its own. Who holds next to nothing may always read a little,
    /// so that small requests pass by a crowd of large ones.
    pub(crate) fn room(&self, frame_begun: bool, cx: &Context<'_>) -> usize {
        let is_full = self.held >= self.held_max && !frame_begun;
        if !is_full && self.credit.may_read(self.id, frame_begun, cx) {
            return usize::MAX;
        }
        CONNECTION_BYTES_ALWAYS.min(self.held_max).saturating_sub(self.held)
    }

    /// True while the node is short of room: who fills it with half a frame should not do so for long.
    pub(crate) fn is_short(&self) -> bool {
        self.credit.is_short()
    }

    /// Whether this connection is given up now, because the node is short of room: one is at a time.
    pub(crate) fn is_given_up(&self, now_ms: u64) -> bool {
        self.credit.gives_up_another(now_ms)
    }

    /// Counts `bytes` more.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.held += bytes;
        self.credit.take(bytes);
    }

    /// Returns `bytes` of what was taken.
    pub(crate) fn give(&mut self, bytes: usize) {
        assert!(self.held >= bytes, "{bytes} bytes of credit returned, but only {} were held", self.held);
        self.held -= bytes;
        self.credit.give(bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.credit.give(self.held);
        self.held = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_connection_that_does_not_take_its_answers_is_not_read() {
        let credit = Credit::new(1000);
        let cx = Context::from_waker(Waker::noop());
        let mut share = Share::new(Arc::clone(&credit), 100);
        share.take(100);
        assert_eq!(share.room(false, &cx), 0, "a new frame waits");
        assert_eq!(share.room(true, &cx), usize::MAX, "a frame that has begun goes on");
        share.give(1);
        assert_eq!(share.room(false, &cx), usize::MAX);
    }

    #[test]
    fn a_full_node_finishes_begun_frames_first_and_wakes_the_others_later() {
        let credit = Credit::new(1_000_000);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let mut greedy = Share::new(Arc::clone(&credit), 5_000_000);
        let mut modest = Share::new(Arc::clone(&credit), 5_000_000);

        modest.take(CONNECTION_BYTES_ALWAYS);
        greedy.take(800_000);
        assert_eq!(modest.room(false, &cx), 0);
        assert_eq!(greedy.room(true, &cx), usize::MAX);
        greedy.take(200_000);
        assert_eq!(greedy.room(true, &cx), 0);

        drop(greedy);
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        assert_eq!(modest.room(false, &cx), usize::MAX);
        drop(modest);
        assert_eq!(credit.used(), 0);
    }

    #[test]
    fn who_holds_next_to_nothing_is_read_also_when_the_node_is_full() {
        let credit = Credit::new(1_000_000);
        let cx = Context::from_waker(Waker::noop());
        let mut greedy = Share::new(Arc::clone(&credit), 5_000_000);
        let mut modest = Share::new(Arc::clone(&credit), 5_000_000);

        greedy.take(2_000_000);

        assert!(greedy.is_short());
        modest.take(1000);
        assert_eq!(modest.room(false, &cx), CONNECTION_BYTES_ALWAYS - 1000);
        modest.take(CONNECTION_BYTES_ALWAYS);
        assert_eq!(modest.room(false, &cx), 0);
    }
}
