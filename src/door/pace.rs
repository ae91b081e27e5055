//! The pace of one connection: where it floods its shard beside somebody who asks one by one, it rests between two turns.
//!
//! While it rests nothing of it is read or begun. What has begun goes on and is answered. Where somebody else appends little, it appends in
//! portions: nothing is begun while one is under way, and no other request is read than one that has begun to arrive.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Context;

use ottla_host::Clock;
use ottla_rules::floods::{Asked, Flooding, Floods, Manner, OneByOne, UnderWay, is_flood};
use ottla_rules::ids::PartitionId;
use ottla_rules::portions::{Appenders, Portions};
use ottla_rules::time::Now;
use ottla_rules::turns;
use tokio::time::Sleep;

use super::tally::Counter;

/// Who asks one by one on a shard. Only the shard itself comes here: nobody waits for the lock.
#[derive(Debug, Default)]
pub(super) struct Shard(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    floods: Floods,
    appenders: Appenders,
}

impl Shard {
    fn get(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody asks one by one for little.
    pub(super) fn one_asks_for_little(&self, clock: &Clock) -> bool {
        self.get().floods.one_asks_for_little(now(clock))
    }
}

fn now(clock: &Clock) -> Now {
    Now { mono_ms: clock.mono_ms(), wall_ms: 0 }
}

/// One connection's pace.
#[derive(Debug, Default)]
pub(super) struct Pace {
    one_by_one: OneByOne,
    /// Requests begun since the last turn was over.
    begun: usize,
    flooding: Flooding,
    portions: Portions,
    /// The only request under way waits for the disk.
    waits: bool,
    rest: Option<Pin<Box<Sleep>>>,
}

/// A request that has begun. `appends` are the partitions that sync what it appends before they answer, and how many bytes each has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun<I> {
    /// The connection.
    pub(super) who: u64,
    pub(super) bytes: usize,
    /// It has the connection to itself.
    pub(super) is_alone: bool,
    pub(super) is_little: bool,
    /// Its client waits for the answer.
    pub(super) is_awaited: bool,
    pub(super) appends: I,
}

impl Pace {
    /// A request has begun.
    pub(super) fn begins<I>(&mut self, request: Begun<I>, shard: &Counter, clock: &Clock)
    where
        I: Iterator<Item = (PartitionId, usize)> + Clone,
    {
        let Begun { who, bytes, is_alone, is_little, is_awaited, appends } = request;
        self.begun += 1;
        self.portions.begins(bytes);
        if !turns::is_small(bytes as u64) {
            self.look_beside(who, appends.clone(), shard, clock);
        }
        if !is_alone || self.portions.are_many() {
            self.one_by_one.among_others();
            return self.leaves(who, shard, clock);
        }
        let now = now(clock);
        self.waits = is_awaited && appends.clone().next().is_some();
        if self.one_by_one.alone(now) {
            let mut known = shard.known.get();
            known.floods.asked(Asked { who, is_little, waits: self.waits }, now);
            if self.waits && is_little {
                appends.for_each(|(partition, _)| known.appenders.appends(who, partition, now));
            }
        }
    }

    /// Whether others append little where this request appends much.
    fn look_beside(
        &mut self,
        who: u64,
        appends: impl Iterator<Item = (PartitionId, usize)>,
        shard: &Counter,
        clock: &Clock,
    ) {
        let (known, now) = (shard.known.get(), now(clock));
        let are_there = |(partition, _): &(_, usize)| known.appenders.are_at(*partition, who, now);
        let bytes: usize = appends.filter(are_there).map(|(_, bytes)| bytes).sum();
        if bytes > 0 {
            self.portions.came_beside(bytes, known.appenders.wait_ms(), now);
        }
    }

    /// A request of so many bytes is answered, of the connection `who`. It may rest now: [`Pace::poll_rest`] sees to its being woken.
    pub(super) fn answered(&mut self, who: u64, bytes: usize, shard: &Counter, clock: &Clock) {
        if let Some(until) = self.portions.answered(bytes, || now(clock)) {
            self.rest = Some(Box::pin(clock.sleep_until(until.0)));
        }
        if std::mem::take(&mut self.waits) {
            let now = now(clock);
            let took_ms = self.one_by_one.answered(now);
            if self.is_one_by_one() {
                let mut known = shard.known.get();
                known.floods.answered(who, now);
                known.appenders.answered(who, took_ms, now);
            }
        }
    }

    /// The connection `who` is over, or its client does not ask one by one any more: nobody needs to keep clear of it.
    pub(super) fn leaves(&mut self, who: u64, shard: &Counter, clock: &Clock) {
        if std::mem::take(&mut self.waits) {
            let (mut known, now) = (shard.known.get(), now(clock));
            known.floods.answered(who, now);
            known.appenders.leaves(who, now);
        }
    }

    /// Whether it has a portion under way, and nothing more is begun before that has been answered.
    pub(super) fn has_enough(&mut self, clock: &Clock) -> bool {
        self.portions.is_full(|| now(clock))
    }

    /// Whether its client asks one by one.
    pub(super) fn is_one_by_one(&self) -> bool {
        self.one_by_one.is_so()
    }

    /// So many requests have begun since the last turn was over.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    /// Whether it floods, or appends much in front of somebody who appends little: then it has less at a time, and what it asks for is
    /// many, however small.
    pub(super) fn is_flood(&self) -> bool {
        self.flooding.goes_on() || self.portions.are_many()
    }

    /// How its client appends.
    pub(super) fn manner(&self) -> Manner {
        match self.is_flood() {
            true => Manner::Flood,
            false if self.is_one_by_one() => Manner::OneByOne,
            false => Manner::Other,
        }
    }

    /// The turn of the connection `who` is over, and so much is under way: it may rest now, and its task is woken when
    /// it has rested.
    pub(super) fn turn_over(
        &mut self,
        who: u64,
        under_way: UnderWay,
        shard: &Counter,
        clock: &Clock,
        cx: &mut Context<'_>,
    ) {
        let begun = std::mem::take(&mut self.begun);
        if self.rest.is_some() {
            return;
        }
        // Asked first: there is no clock to read for most.
        let until = is_flood(begun, under_way.requests)
            .then(|| shard.known.get().floods.rest(who, begun, under_way.requests, now(clock)))
            .flatten();
        self.flooding.turn_over(begun, under_way, until.is_some());
        self.rest = until.map(|until| Box::pin(clock.sleep_until(until.0)));
        self.poll_rest(cx);
    }

    /// Whether it rests; if so, its task is woken when it has rested.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> bool {
        self.rest.take_if(|rest| rest.as_mut().poll(cx).is_ready());
        self.is_resting()
    }

    /// Whether it rests, as it was the last time that somebody looked.
    pub(super) fn is_resting(&self) -> bool {
        self.rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use ottla_rules::ids::TopicId;

    use super::super::tally::Tally;
    use super::*;

    const TRICKLE: u64 = 1;
    const BULK: u64 = 2;
    const LITTLE: usize = 300;
    const MUCH: usize = 64 * 1024;

    const MINE: PartitionId = PartitionId { topic: TopicId([1; 16]), index: 0 };
    const THEIRS: PartitionId = PartitionId { topic: TopicId([1; 16]), index: 1 };

    struct Here {
        shard: Counter,
        clock: Clock,
    }

    impl Here {
        fn append(&self, pace: &mut Pace, who: u64, to: PartitionId, bytes: usize, is_alone: bool) {
            let (appends, is_little) = (std::iter::once((to, bytes)), bytes == LITTLE);
            let begun = Begun { who, bytes, is_alone, is_little, is_awaited: true, appends };
            pace.begins(begun, &self.shard, &self.clock);
        }

        fn answer(&self, pace: &mut Pace, who: u64, bytes: usize) {
            pace.answered(who, bytes, &self.shard, &self.clock);
        }

        /// Somebody who asks one by one, and waits for the answer to an append of so many bytes to this partition.
        fn one_by_one(&self, who: u64, to: PartitionId, bytes: usize) -> Pace {
            let mut pace = Pace::default();
            loop {
                self.append(&mut pace, who, to, bytes, true);
                // On a machine that stands still for a moment it takes some more.
                if pace.is_one_by_one() {
                    return pace;
                }
                self.answer(&mut pace, who, bytes);
            }
        }
    }

    fn on_a_shard(test: impl FnOnce(Here)) {
        let shard = Counter { tallies: [Tally::default()].into(), shard: 0 };
        let here = Here { shard, clock: Clock::machine() };
        ottla_host::runtime().unwrap().block_on(async { test(here) });
    }

    /// Whether somebody who appends much, at first with this pace, has enough after two requests, and rests when both are answered.
    fn two_at_once(here: &Here, pace: &mut Pace, to: PartitionId) -> (bool, bool) {
        (0..2).for_each(|_| here.append(pace, BULK, to, MUCH, false));
        let has_enough = pace.has_enough(&here.clock);
        (0..2).for_each(|_| here.answer(pace, BULK, MUCH));
        (has_enough, pace.is_resting())
    }

    #[test]
    fn much_is_appended_in_portions_where_somebody_else_appends_little() {
        on_a_shard(|here| {
            let _trickle = here.one_by_one(TRICKLE, MINE, LITTLE);
            let mut bulk = Pace::default();
            assert_eq!(two_at_once(&here, &mut bulk, THEIRS), (false, false), "elsewhere");
            assert_eq!(bulk.manner(), Manner::Other);
            assert_eq!(two_at_once(&here, &mut bulk, MINE), (true, true));
            assert_eq!(bulk.manner(), Manner::Flood);
        });
    }

    #[test]
    fn where_nobody_appends_little_one_by_one_there_are_no_portions() {
        on_a_shard(|here| {
            let mut bulk = Pace::default();
            (0..10).for_each(|_| here.append(&mut bulk, TRICKLE, MINE, LITTLE, false));
            let _another = here.one_by_one(TRICKLE, MINE, MUCH);
            assert_eq!(two_at_once(&here, &mut bulk, MINE), (false, false));
        });
    }

    #[test]
    fn who_appends_one_by_one_and_now_and_then_much_is_no_flood() {
        on_a_shard(|here| {
            let _trickle = here.one_by_one(TRICKLE, MINE, LITTLE);
            let mut mixed = here.one_by_one(BULK, MINE, MUCH);
            assert!(!mixed.has_enough(&here.clock));
            here.answer(&mut mixed, BULK, MUCH);
            assert!(!mixed.is_resting());
            assert_eq!(mixed.manner(), Manner::OneByOne);
        });
    }

    #[test]
    fn nobody_keeps_clear_of_who_has_left() {
        on_a_shard(|here| {
            let mut trickle = here.one_by_one(TRICKLE, MINE, LITTLE);
            trickle.leaves(TRICKLE, &here.shard, &here.clock);
            let deadline = here.clock.mono_ms() + 500;
            while here.shard.known.one_asks_for_little(&here.clock) {
                assert!(here.clock.mono_ms() < deadline, "it was to be waited for for a second");
                std::thread::yield_now();
            }
            assert_eq!(two_at_once(&here, &mut Pace::default(), MINE), (false, false));
        });
    }
}
