//! The pace of one connection: where it floods its shard beside somebody who asks one by one, it rests between two turns.
//!
//! While it rests nothing of it is read or begun. What has begun goes on and is answered.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Context;

use ottla_host::Clock;
use ottla_rules::floods::{Flooding, Floods, OneByOne, UnderWay, is_flood};
use ottla_rules::time::Now;
use tokio::time::Sleep;

use super::tally::Counter;

/// Who asks one by one on a shard. Only the shard itself comes here: nobody waits for the lock.
#[derive(Debug, Default)]
pub(super) struct Shard(Mutex<Floods>);

impl Shard {
    fn rule(&self) -> MutexGuard<'_, Floods> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody asks one by one for little.
    pub(super) fn one_asks_for_little(&self, clock: &Clock) -> bool {
        self.rule().one_asks_for_little(now(clock))
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
    rest: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// The connection `who` begins a request, which has it to itself or not, and is little or not.
    pub(super) fn begins(
        &mut self,
        who: u64,
        is_alone: bool,
        is_little: bool,
        shard: &Counter,
        clock: &Clock,
    ) {
        self.begun += 1;
        if !is_alone {
            return self.one_by_one.among_others();
        }
        let now = now(clock);
        if self.one_by_one.alone(now) {
            shard.floods.rule().asked(who, is_little, now);
        }
    }

    /// Whether its client asks one by one.
    pub(super) fn is_one_by_one(&self) -> bool {
        self.one_by_one.is_so()
    }

    /// So many requests have begun since the last turn was over.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    /// Whether it floods: then it has less at a time, and what it asks for is many, however small.
    pub(super) fn is_flood(&self) -> bool {
        self.flooding.goes_on()
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
            .then(|| shard.floods.rule().rest(who, begun, under_way.requests, now(clock)))
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
