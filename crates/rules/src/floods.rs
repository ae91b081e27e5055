//! Whether a connection that floods a shard with requests rests between two turns.
//!
//! ```text
//!   OneByOne   a client that waits for each answer before it asks again, and asks again soon
//!   Floods     while there is one, whoever has a crowd of requests under way rests a moment after each turn
//!   Flooding   who has a crowd of requests here, turn after turn: its batches are large together, however small each is
//! ```
//!
//! Who asks one by one for what waits for the disk is about until it is answered, for a second at most, and a moment longer.
//!
//! Where such a one appends little, others append much to the same partition in portions ([`crate::portions`]).
//!
//! Requests cost little each, but their client is as busy as the shard: together they have all the cores, and who wakes beside
//! them waits for the end of somebody's slice. A client that floods loses little by a rest, because what it sends meanwhile is read,
//! synced and answered together. Alone, or among its like, nobody rests.

use crate::time::{Deadline, Now};

/// A client asks one by one after so many requests in a row that had the connection to themselves.
const ALONE_IN_A_ROW: u32 = 4;

/// It is about, and in a row, for so long after the last of them, or after the answer to that.
const STAYS_MS: u64 = 50;

/// Who waits for the disk is about until it is answered, or for so long at most: a connection may end before.
const WAITS_MS_MAX: u64 = 1000;

/// So many requests under way, or begun in one turn, are a flood. Kafka's Java client has 5 under way at most, unless told otherwise;
/// librdkafka may have more, where its batches are small and many. More than a rest alone gathers of ten thousand requests a second,
/// or who was held up once would rest for ever.
const FLOOD_REQUESTS: usize = 32;

/// And so many bytes in as many requests under way are one too: of those that are not quite small a turn begins fewer. A client with a
/// pace of its own has not so much under way, whatever its batches wait for, unless it sends twenty megabytes a second.
const FLOOD_BYTES: usize = 1024 * 1024;

/// How long a flood rests. A timer of milliseconds makes it up to twice as long.
const REST_MS: u64 = 1;

/// A connection floods until so many turns in a row have begun fewer. A client with a pace of its own that was held up once has caught up
/// by then; one that has a hundred under way has them in one turn or the other.
const FLOODING_TURNS: u8 = 8;

/// How a client appends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It waits for each answer before it asks again.
    OneByOne,
    /// It floods, or appends much in front of somebody who appends little.
    Flood,
    /// Otherwise, or nobody knows.
    #[default]
    Other,
}

/// Whether one connection's client waits for each answer before it asks again.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneByOne {
    in_a_row: u32,
    last_ms: u64,
}

impl OneByOne {
    /// A request begins that has the connection to itself: whether its client asks one by one.
    pub fn alone(&mut self, now: Now) -> bool {
        let is_soon = now.mono_ms.saturating_sub(self.last_ms) <= STAYS_MS;
        self.in_a_row = if is_soon { self.in_a_row.saturating_add(1) } else { 1 };
        self.last_ms = now.mono_ms;
        self.is_so()
    }

    /// The last request, which had the connection to itself, is answered, after as many milliseconds as this returns. Only for what waits for
    /// the disk: a client that has a long poll answered every half a second asks for next to nothing.
    pub fn answered(&mut self, now: Now) -> u64 {
        let took_ms = now.mono_ms.saturating_sub(self.last_ms);
        self.last_ms = now.mono_ms;
        took_ms
    }

    /// Whether its client asked one by one the last time.
    #[must_use]
    pub fn is_so(self) -> bool {
        self.in_a_row >= ALONE_IN_A_ROW
    }

    /// A request begins while others are under way, or behind it.
    pub fn among_others(&mut self) {
        self.in_a_row = 0;
    }
}

/// Whether so many requests, begun in one turn, or under way after it, are a flood.
#[must_use]
pub fn is_flood(begun: usize, under_way: usize) -> bool {
    begun.max(under_way) >= FLOOD_REQUESTS
}

/// What one connection has under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnderWay {
    /// Requests that have begun and are not answered.
    pub requests: usize,
    /// What it holds: those, what it has read or announced behind them, and answers that are not written. Bytes.
    pub bytes: usize,
}

/// Whether one connection floods: it has a crowd under way, or begins one a turn beside somebody who asks one by one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flooding {
    turns_left: u8,
}

impl Flooding {
    /// A turn that began so many requests is over, so much is under way, and the connection rests now, or does not.
    pub fn turn_over(&mut self, begun: usize, under_way: UnderWay, rests: bool) {
        let is_crowd = under_way.requests >= FLOOD_REQUESTS && under_way.bytes >= FLOOD_BYTES;
        // Whoever asks for little, and has to wait long for what is no append, is not known to ask one by one: a crowd is one whether it
        // rests or not.
        if is_crowd || rests && begun >= FLOOD_REQUESTS {
            self.turns_left = FLOODING_TURNS;
        } else if begun > 0 {
            self.turns_left = self.turns_left.saturating_sub(1);
        }
    }

    /// Whether it does.
    #[must_use]
    pub fn goes_on(self) -> bool {
        self.turns_left > 0
    }
}

/// A request of a client that asks one by one.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The connection.
    pub who: u64,
    /// It is for little.
    pub is_little: bool,
    /// It waits for the disk.
    pub waits: bool,
}

/// Somebody who is about until then.
#[derive(Clone, Copy, Debug)]
struct About {
    who: u64,
    until: Deadline,
}

impl About {
    fn is_other(self, who: u64, now: Now) -> bool {
        self.who != who && !self.until.is_due(now)
    }
}

/// Who asks one by one on a shard. The last two are remembered, so that one of them is somebody else, whoever wants to know.
#[derive(Debug, Default)]
pub struct Floods {
    last: Option<About>,
    before: Option<About>,
    /// The last one who asked for little.
    little: Option<About>,
}

impl Floods {
    /// A client asks one by one, now.
    pub fn asked(&mut self, Asked { who, is_little, waits }: Asked, now: Now) {
        let about = About { who, until: now.after(if waits { WAITS_MS_MAX } else { STAYS_MS }) };
        // One of them is enough, if it is one who waits.
        let waits = |other: About| other.who != who && other.until > now.after(STAYS_MS);
        if is_little && !self.little.is_some_and(waits) {
            self.little = Some(about);
        }
        if self.last.is_some_and(|last| last.who != who) {
            self.before = self.last;
        }
        self.last = Some(about);
    }

    /// What the connection `who` waited for is answered, or it waits for it no more.
    pub fn answered(&mut self, who: u64, now: Now) {
        let known = [&mut self.last, &mut self.before, &mut self.little];
        for about in known.into_iter().flatten().filter(|about| about.who == who) {
            about.until = now.after(STAYS_MS);
        }
    }

    /// Whether somebody asks one by one for little: whole turns are in the way of that.
    #[must_use]
    pub fn one_asks_for_little(&self, now: Now) -> bool {
        self.little.is_some_and(|little| !little.until.is_due(now))
    }

    /// The connection `who` has had a turn in which it began so many requests, and has so many under way: until when it rests,
    /// if it does.
    #[must_use]
    pub fn rest(&self, who: u64, begun: usize, under_way: usize, now: Now) -> Option<Deadline> {
        let is_about = |about: About| about.is_other(who, now);
        let one_is_about = self.last.is_some_and(is_about) || self.before.is_some_and(is_about);
        (is_flood(begun, under_way) && one_is_about).then(|| now.after(REST_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: u64 = 1;
    const BOB: u64 = 2;
    const FLOOD: u64 = 3;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 0 }
    }

    fn one(who: u64, is_little: bool) -> Asked {
        Asked { who, is_little, waits: false }
    }

    fn append(who: u64) -> Asked {
        Asked { who, is_little: true, waits: true }
    }

    #[test]
    fn some_in_a_row_are_one_by_one() {
        let mut client = OneByOne::default();
        let said: Vec<_> = (0..6).map(|n| client.alone(at(1000 + n * STAYS_MS))).collect();
        assert_eq!(said, [false, false, false, true, true, true]);
        client.among_others();
        assert!(!client.alone(at(1300)));
    }

    #[test]
    fn who_asks_now_and_then_does_not_ask_one_by_one() {
        let mut client = OneByOne::default();
        assert!((0..100).all(|n| !client.alone(at(1000 + n * (STAYS_MS + 1)))));
    }

    #[test]
    fn a_flood_rests_beside_somebody_who_asks_one_by_one() {
        let mut shard = Floods::default();
        shard.asked(one(ALICE, true), at(1000));
        assert_eq!(shard.rest(FLOOD, FLOOD_REQUESTS, 0, at(1001)), Some(Deadline(1001 + REST_MS)));
        assert_eq!(shard.rest(FLOOD, 0, FLOOD_REQUESTS, at(1001)), Some(Deadline(1001 + REST_MS)));
        assert_eq!(shard.rest(FLOOD, FLOOD_REQUESTS - 1, FLOOD_REQUESTS - 1, at(1001)), None);
    }

    #[test]
    fn what_gathers_in_a_rest_of_a_client_with_a_pace_of_its_own_is_no_flood() {
        let mut shard = Floods::default();
        let (a_millisecond, two_rests_ms) = (10, 2 * REST_MS);
        let gathered = |ms: u64| usize::try_from(ms).unwrap() * a_millisecond;
        shard.asked(one(ALICE, true), at(1000));
        assert!(shard.rest(FLOOD, gathered(5), 0, at(1001)).is_some(), "it was held up");
        assert_eq!(shard.rest(FLOOD, gathered(two_rests_ms), gathered(two_rests_ms), at(1003)), None);
    }

    #[test]
    fn who_has_a_crowd_of_requests_time_and_again_floods() {
        let mut flooding = Flooding::default();
        assert!(!flooding.goes_on());
        for begun in [FLOOD_REQUESTS, FLOOD_REQUESTS - 1, 0, 0, 3, FLOOD_REQUESTS, 5].repeat(10) {
            flooding.turn_over(begun, UnderWay::default(), true);
            assert!(flooding.goes_on());
        }
    }

    #[test]
    fn who_was_held_up_once_does_not_flood_for_ever() {
        let mut flooding = Flooding::default();
        flooding.turn_over(10 * FLOOD_REQUESTS, UnderWay::default(), true);
        (1..FLOODING_TURNS).for_each(|_| flooding.turn_over(FLOOD_REQUESTS - 1, UnderWay::default(), true));
        assert!(flooding.goes_on());
        (0..100).for_each(|_| flooding.turn_over(0, UnderWay::default(), false));
        assert!(flooding.goes_on(), "answers alone say nothing");
        flooding.turn_over(FLOOD_REQUESTS - 1, UnderWay::default(), true);
        assert!(!flooding.goes_on());
    }

    #[test]
    fn who_has_much_under_way_in_many_requests_floods_however_few_a_turn_begins() {
        let flooding = |requests, bytes| {
            let mut flooding = Flooding::default();
            flooding.turn_over(1, UnderWay { requests, bytes }, false);
            flooding.goes_on()
        };
        assert!(flooding(FLOOD_REQUESTS, FLOOD_BYTES));
        assert!(!flooding(5, 5 * FLOOD_BYTES), "a client with five large ones");
        assert!(!flooding(10 * FLOOD_REQUESTS, FLOOD_BYTES - 1), "a client with many small ones that wait");
    }

    #[test]
    fn who_has_a_pace_of_its_own_does_not_flood_for_ever_because_its_batches_wait() {
        let mut flooding = Flooding::default();
        flooding.turn_over(FLOOD_REQUESTS, UnderWay::default(), true);
        // A thousand batches of 16 KiB a second, each of which waits for the longest of rests.
        let under_way = UnderWay { requests: 48, bytes: 48 * 16 * 1024 };
        (0..FLOODING_TURNS).for_each(|_| flooding.turn_over(2, under_way, true));
        assert!(!flooding.goes_on());
    }

    #[test]
    fn who_rests_for_nobody_does_not_flood() {
        let mut flooding = Flooding::default();
        (0..100).for_each(|_| flooding.turn_over(FLOOD_REQUESTS, UnderWay::default(), false));
        assert!(!flooding.goes_on());
    }

    #[test]
    fn nobody_rests_for_who_has_left() {
        let mut shard = Floods::default();
        shard.asked(one(ALICE, true), at(1000));
        assert_eq!(shard.rest(FLOOD, 64, 100, at(1000 + STAYS_MS)), None);
    }

    #[test]
    fn who_asks_for_little_is_about_for_a_while() {
        let mut shard = Floods::default();
        shard.asked(one(ALICE, false), at(1000));
        assert!(!shard.one_asks_for_little(at(1000)));
        shard.asked(one(BOB, true), at(1001));
        shard.asked(one(ALICE, false), at(1002));
        assert!(shard.one_asks_for_little(at(1000 + STAYS_MS)));
        assert!(!shard.one_asks_for_little(at(1001 + STAYS_MS)));
    }

    #[test]
    fn nobody_rests_for_themselves() {
        let mut shard = Floods::default();
        shard.asked(one(FLOOD, true), at(1000));
        assert_eq!(shard.rest(FLOOD, 64, 100, at(1000)), None);
        assert_eq!(Floods::default().rest(FLOOD, 64, 100, at(1000)), None);
    }

    #[test]
    fn a_flood_that_is_taken_for_one_by_one_for_a_moment_forgets_nobody() {
        let mut shard = Floods::default();
        shard.asked(one(ALICE, true), at(1000));
        shard.asked(one(FLOOD, true), at(1001));
        shard.asked(one(FLOOD, true), at(1002));
        assert!(shard.rest(FLOOD, 64, 100, at(1003)).is_some());
        shard.asked(one(BOB, true), at(1004));
        assert!(shard.rest(FLOOD, 64, 100, at(1005)).is_some());
    }

    #[test]
    fn who_waits_for_the_disk_asks_one_by_one_however_slow_it_is() {
        let mut client = OneByOne::default();
        for n in 0..u64::from(ALONE_IN_A_ROW) {
            client.alone(at(1000 + n * 101));
            assert_eq!(client.answered(at(1100 + n * 101)), 100);
        }
        assert!(client.is_so());
        assert!(!client.alone(at(1403 + STAYS_MS + 1)), "and is not waited for longer than anybody else");
    }

    #[test]
    fn who_waits_for_the_disk_is_about_until_it_is_answered_and_a_moment_longer() {
        let mut shard = Floods::default();
        shard.asked(append(ALICE), at(1000));
        assert!(shard.one_asks_for_little(at(1500)));
        assert!(shard.rest(FLOOD, FLOOD_REQUESTS, 0, at(1500)).is_some());
        shard.answered(BOB, at(1500));
        assert!(shard.one_asks_for_little(at(1600)), "another's answer is none of hers");
        shard.answered(ALICE, at(1600));
        let last = at(1600 + STAYS_MS - 1);
        assert!(shard.one_asks_for_little(last) && shard.rest(FLOOD, FLOOD_REQUESTS, 0, last).is_some());
        let over = at(1600 + STAYS_MS);
        assert!(!shard.one_asks_for_little(over) && shard.rest(FLOOD, FLOOD_REQUESTS, 0, over).is_none());
    }

    #[test]
    fn who_has_hung_up_is_not_about_for_ever() {
        let mut shard = Floods::default();
        shard.asked(append(ALICE), at(1000));
        assert!(!shard.one_asks_for_little(at(1000 + WAITS_MS_MAX)));
    }

    #[test]
    fn who_asks_in_between_does_not_have_another_forgotten_who_waits() {
        let mut shard = Floods::default();
        shard.asked(append(ALICE), at(1000));
        shard.asked(one(BOB, true), at(1001));
        assert!(shard.one_asks_for_little(at(1500)));
    }
}
