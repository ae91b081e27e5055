//! Byte credit: how much a node, and one connection of it, may hold before it stops reading.
//!
//! What is counted: requests from their first large piece until they are answered, and answers that are not written. So a
//! client that sends and never reads stops being read, and a crowd of such clients does not grow the node without bound.
//! Ranges of files are not counted, since they are not in memory; a Fetch, which can leave its bytes where they are, reads them into
//! memory only while half of the credit is free.
//!
//! A large request takes the credit of its whole length before it is read, or waits for its turn and is not read at all.
//! So whatever has begun can end: half-arrived requests never hold all the credit while each of them needs more. As in
//! Kafka's `SimpleMemoryPool` the last one may go beyond what is left, so that a large one can begin at all. Who asks for less goes
//! first: a crowd that announces much and sends little holds up nobody but its like.
//!
//! What every connection may always hold is not taken from the credit: the beginnings of large requests that wait for their turn would
//! else be all that there is, and none of them ever have one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use ottla_rules::limits::CONNECTION_BYTES_ALWAYS;

/// The credit of a whole node, shared by its connections.
#[derive(Debug)]
pub(crate) struct Credit {
    /// Of each connection what it holds beyond [`CONNECTION_BYTES_ALWAYS`].
    used: AtomicUsize,
    bytes_max: usize,
    /// What is being read into memory for answers that nobody holds yet.
    loading: AtomicUsize,
    /// How many wait in `queue`, for a look without its lock.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

/// The magnitude of what is asked for (its bits), and then the order in which they came.
type Ticket = (u32, u64);

/// Who waits.
#[derive(Debug, Default)]
struct Queue {
    next_number: u64,
    wakers: BTreeMap<Ticket, Waker>,
}

impl Queue {
    /// Ours is the next turn: nobody asks for less, or has waited for longer.
    fn is_turn(&self, ticket: Ticket) -> bool {
        self.wakers.first_key_value().is_none_or(|(first, _)| *first == ticket)
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.wakers.first_key_value() {
            waker.wake_by_ref();
        }
    }
}

impl Credit {
    /// Credit for `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Arc<Credit> {
        Arc::new(Credit {
            used: AtomicUsize::new(0),
            bytes_max,
            loading: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
        })
    }

    /// Bytes in use now, beyond what each connection may always hold.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// All there is.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Nothing is being read yet for an answer that need not be in memory.
    pub(crate) fn loading(self: &Arc<Credit>) -> Loading {
        Loading { credit: Arc::clone(self), bytes: 0 }
    }

    /// True when there is credit and nobody waits for it.
    fn is_free(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && self.used() < self.bytes_max
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `bytes` if any credit is left; the last to take may go beyond it.
    fn take_if_any(&self, bytes: usize) -> bool {
        let take = |used| (used < self.bytes_max).then_some(used + bytes);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }

    /// Takes `bytes` when it is this one's turn, which `ticket` remembers; else its waker is kept until then. Whose turn it is goes
    /// by how much is `asked` for.
    fn take_in_turn(
        &self,
        ticket: &mut Option<Ticket>,
        asked: usize,
        bytes: usize,
        cx: &Context<'_>,
    ) -> bool {
        if self.waiting.load(Ordering::SeqCst) == 0 && self.take_if_any(bytes) {
            return true;
        }
        let mut queue = self.queue();
        let magnitude = usize::BITS - asked.leading_zeros();
        // Whoever asks for something else has another place.
        if let Some(other) = ticket.take_if(|ticket| ticket.0 != magnitude) {
            queue.wakers.remove(&other);
        }
        let mine = *ticket.get_or_insert_with(|| {
            queue.next_number += 1;
            (magnitude, queue.next_number)
        });
        // First in line, then the look: credit that comes back in between finds someone to wake.
        queue.wakers.insert(mine, cx.waker().clone());
        self.waiting.store(queue.wakers.len(), Ordering::SeqCst);
        if !queue.is_turn(mine) || !self.take_if_any(bytes) {
            return false;
        }
        self.leave(queue, ticket);
        true
    }

    /// Out of the line; whoever is first now may have something to take.
    fn leave(&self, mut queue: MutexGuard<'_, Queue>, ticket: &mut Option<Ticket>) {
        if let Some(mine) = ticket.take() {
            queue.wakers.remove(&mine);
            self.waiting.store(queue.wakers.len(), Ordering::SeqCst);
            if self.used() < self.bytes_max {
                queue.wake_first();
            }
        }
    }

    fn take(&self, bytes: usize) {
        if bytes > 0 {
            self.used.fetch_add(bytes, Ordering::SeqCst);
        }
    }

    fn give(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let before = self.used.fetch_sub(bytes, Ordering::SeqCst);
        assert!(before >= bytes, "{bytes} bytes of credit returned, but only {before} were taken");
        if self.waiting.load(Ordering::SeqCst) > 0 && before - bytes < self.bytes_max {
            self.queue().wake_first();
        }
    }
}

/// What is read into memory for an answer that could leave its bytes where they are, until a [`Share`] holds it. All of them together may have
/// half of the credit: the other half is for requests.
#[derive(Debug)]
pub(crate) struct Loading {
    credit: Arc<Credit>,
    bytes: usize,
}

impl Loading {
    /// Whether there is room for so many bytes, which are counted then.
    pub(crate) fn takes(&mut self, bytes: usize) -> bool {
        let Credit { loading, bytes_max, .. } = &*self.credit;
        let left = (bytes_max / 2).saturating_sub(self.credit.used());
        let take = |loading: usize| loading.checked_add(bytes).filter(|loading| *loading <= left);
        let taken = loading.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.credit.loading.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// What one connection holds of the node's credit; dropping it returns everything.
#[derive(Debug)]
pub(crate) struct Share {
    credit: Arc<Credit>,
    /// Its place among those who wait.
    ticket: Option<Ticket>,
    held: usize,
    held_max: usize,
    /// Of `held`: taken for the rest of a large request, which has not come yet.
    ahead: usize,
}

impl Share {
    /// Nothing held yet; reading stops at `held_max` bytes.
    pub(crate) fn new(credit: Arc<Credit>, held_max: usize) -> Share {
        Share { credit, ticket: None, held: 0, held_max, ahead: 0 }
    }

    /// How many bytes may be read now of a large request that still lacks `rest`: nothing before it has begun, then as
    /// much as there is. Whoever may read nothing is woken when its turn comes. `is_owed`: something it holds is going to
    /// be returned; else what it holds is the beginning of a request, which has to be let in however large.
    pub(crate) fn room_for(&mut self, rest: usize, is_owed: bool, cx: &Context<'_>) -> usize {
        if self.ahead > 0 {
            return usize::MAX;
        }
        if is_owed && self.held >= self.held_max {
            // Its own answers are what it waits for.
            self.wait_no_more();
            return 0;
        }
        let more = self.counted(self.held + rest) - self.counted(self.held);
        if !self.credit.take_in_turn(&mut self.ticket, rest, more, cx) {
            return 0;
        }
        self.held += rest;
        self.ahead = rest;
        usize::MAX
    }

    /// How many bytes may be read now where no large request has begun. Who holds next to nothing may always read a
    /// little, so that small requests pass by a crowd of large ones. `is_owed` as above.
    pub(crate) fn room(&mut self, is_owed: bool, cx: &Context<'_>) -> usize {
        let little = self.always().saturating_sub(self.held);
        if is_owed && self.held >= self.held_max || little > 0 && !self.credit.is_free() {
            self.wait_no_more();
            return little;
        }
        let passes = self.ticket.is_none() && self.credit.is_free();
        if passes || self.credit.take_in_turn(&mut self.ticket, 0, 0, cx) { usize::MAX } else { little }
    }

    /// What it may always hold.
    fn always(&self) -> usize {
        CONNECTION_BYTES_ALWAYS.min(self.held_max)
    }

    /// So much of what it holds is taken from the credit.
    fn counted(&self, held: usize) -> usize {
        held.saturating_sub(self.always())
    }

    /// Gives up its turn: nothing is read now, for other reasons than credit.
    pub(crate) fn wait_no_more(&mut self) {
        if self.ticket.is_some() {
            self.credit.leave(self.credit.queue(), &mut self.ticket);
        }
    }

    /// How many bytes this connection holds.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// True while this connection holds credit for bytes that have not come.
    pub(crate) fn is_ahead(&self) -> bool {
        self.ahead > 0
    }

    /// True while somebody waits for credit.
    pub(crate) fn is_short(&self) -> bool {
        self.credit.waiting.load(Ordering::SeqCst) > 0
    }

    /// Counts `bytes` that have come; those of a large request are counted already.
    pub(crate) fn came(&mut self, bytes: usize) {
        let expected = bytes.min(self.ahead);
        self.ahead -= expected;
        self.take(bytes - expected);
    }

    /// Counts `bytes` more.
    pub(crate) fn take(&mut self, bytes: usize) {
        let before = self.held;
        self.held += bytes;
        self.credit.take(self.counted(self.held) - self.counted(before));
    }

    /// Returns `bytes` of what was taken.
    pub(crate) fn give(&mut self, bytes: usize) {
        assert!(self.held >= bytes, "{bytes} bytes of credit returned, but only {} were held", self.held);
        let before = self.held;
        self.held -= bytes;
        self.credit.give(self.counted(before) - self.counted(self.held));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.credit.give(self.counted(self.held));
        self.wait_no_more();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[test]
    fn answers_that_are_being_read_have_half_of_the_credit_together() {
        let credit = Credit::new(100);
        let (mut one, mut other) = (credit.loading(), credit.loading());
        assert!(one.takes(30) && other.takes(20));
        assert!(!one.takes(1) && !other.takes(1) && !one.takes(usize::MAX));
        drop(other);
        assert!(one.takes(20) && !one.takes(1));
        drop(one);
        credit.take(40);
        let mut late = credit.loading();
        assert!(late.takes(10) && !late.takes(1), "requests and answers that wait are counted too");
        credit.take(60);
        assert!(!credit.loading().takes(1));
        drop(late);
        assert_eq!(credit.loading.load(Ordering::SeqCst), 0);
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Woken {
        fn times(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection with what wakes it.
    struct Client {
        share: Share,
        woken: Arc<Woken>,
    }

    impl Client {
        fn of(credit: &Arc<Credit>) -> Client {
            Client { share: Share::new(Arc::clone(credit), 5_000_000), woken: Arc::default() }
        }

        fn begins(&mut self, bytes: usize) -> bool {
            let waker = Waker::from(Arc::clone(&self.woken));
            self.share.room_for(bytes, true, &Context::from_waker(&waker)) > 0
        }

        fn room(&mut self) -> usize {
            let waker = Waker::from(Arc::clone(&self.woken));
            self.share.room(true, &Context::from_waker(&waker))
        }
    }

    #[test]
    fn a_connection_that_does_not_take_its_answers_is_not_read() {
        let credit = Credit::new(1000);
        let cx = Context::from_waker(Waker::noop());
        let mut share = Share::new(Arc::clone(&credit), 100);
        assert_eq!(share.room_for(100, true, &cx), usize::MAX);
        share.came(40);
        assert_eq!(share.room_for(60, true, &cx), usize::MAX, "a request that has begun goes on");
        share.came(60);
        assert_eq!(share.room(true, &cx), 0, "a new one waits");
        assert_eq!(share.room_for(1, true, &cx), 0);
        share.give(1);
        assert_eq!(share.room(true, &cx), usize::MAX);
    }

    #[test]
    fn only_as_many_large_requests_begin_as_can_end() {
        let credit = Credit::new(1_000_000);
        let mut clients: Vec<_> = (0..8).map(|_| Client::of(&credit)).collect();

        let begun: Vec<_> = clients.iter_mut().map(|client| client.begins(400_000)).collect();

        assert_eq!(begun, [true, true, true, false, false, false, false, false]);
        for client in &mut clients[..3] {
            client.share.came(399_999);
            assert!(client.begins(1), "whatever else the node holds");
            client.share.came(1);
            assert!(!client.share.is_ahead());
        }
        assert_eq!(credit.used(), 3 * (400_000 - CONNECTION_BYTES_ALWAYS));
    }

    #[test]
    fn those_who_wait_have_their_turns_in_the_order_in_which_they_came() {
        let credit = Credit::new(1_000_000 - CONNECTION_BYTES_ALWAYS);
        let mut holder = Client::of(&credit);
        let (mut first, mut second, mut late) =
            (Client::of(&credit), Client::of(&credit), Client::of(&credit));
        assert!(holder.begins(1_000_000));
        holder.share.came(1_000_000);
        assert!(!first.begins(900_000) && !second.begins(900_000));
        assert!(holder.share.is_short());

        holder.share.give(500_000);

        assert_eq!((first.woken.times(), second.woken.times()), (1, 0));
        assert!(!late.begins(600_000), "there is room, and others have waited for it");
        assert!(!second.begins(900_000));
        assert!(first.begins(900_000));
        assert_eq!(second.woken.times(), 0, "there is nothing left for it");
        drop(first);
        assert!(second.woken.times() > 0);
        assert!(second.begins(900_000));
        drop((second, holder));
        assert!(late.begins(600_000));
        assert!(!late.share.is_short());
    }

    #[test]
    fn whoever_asks_for_little_does_not_wait_behind_those_who_announce_much() {
        let credit = Credit::new(1_000_000);
        let mut crowd: Vec<_> = (0..50).map(|_| Client::of(&credit)).collect();
        let begun = crowd.iter_mut().filter_map(|client| client.begins(100_000_000).then_some(())).count();
        assert_eq!(begun, 1);
        let mut modest = Client::of(&credit);
        assert!(!modest.begins(100_000));

        drop(crowd.remove(0));

        assert!(modest.woken.times() > 0);
        assert!(crowd.iter_mut().all(|client| !client.begins(100_000_000)), "it is not their turn");
        assert!(modest.begins(100_000));
    }

    #[test]
    fn whoever_leaves_the_line_lets_the_next_one_know() {
        let credit = Credit::new(1000);
        let (mut holder, mut first, mut second) =
            (Client::of(&credit), Client::of(&credit), Client::of(&credit));
        holder.share.take(1000 + CONNECTION_BYTES_ALWAYS);
        let much = 900 + CONNECTION_BYTES_ALWAYS;
        assert!(!first.begins(much) && !second.begins(much));
        holder.share.give(10);

        first.share.wait_no_more();

        assert!(second.woken.times() > 0);
        assert!(second.begins(much));
        drop((holder, first, second));
        assert_eq!(credit.used(), 0);
    }

    #[test]
    fn who_holds_next_to_nothing_is_read_also_when_the_node_is_full() {
        let credit = Credit::new(1_000_000);
        let (mut greedy, mut modest) = (Client::of(&credit), Client::of(&credit));
        greedy.share.take(2_000_000);

        modest.share.came(1000);
        assert_eq!(modest.room(), CONNECTION_BYTES_ALWAYS - 1000);
        assert!(!greedy.share.is_short(), "nobody waits");
        modest.share.came(CONNECTION_BYTES_ALWAYS);
        assert_eq!(modest.room(), 0);
        assert!(greedy.share.is_short());

        drop(greedy);
        assert_eq!(modest.woken.times(), 1);
        assert_eq!(modest.room(), usize::MAX);
        drop(modest);
        assert_eq!(credit.used(), 0);
    }

    #[test]
    fn the_beginnings_of_requests_that_wait_are_not_what_they_wait_for() {
        let credit = Credit::new(1_000_000);
        let mut crowd: Vec<_> = (0..100).map(|_| Client::of(&credit)).collect();
        let mut large = Client::of(&credit);
        assert!(large.begins(2_000_000));
        for client in &mut crowd {
            client.share.came(CONNECTION_BYTES_ALWAYS);
            assert!(!client.begins(500_000));
        }
        drop(large);

        // Each is read and answered; what the others hold meanwhile is more than there is credit.
        let held: usize = crowd.iter().map(|client| client.share.held()).sum();
        assert!(held > credit.bytes_max());
        while !crowd.is_empty() {
            let before = crowd.len();
            crowd.retain_mut(|client| !client.begins(500_000));
            assert!(crowd.len() < before, "nobody has a turn");
        }
    }
}
