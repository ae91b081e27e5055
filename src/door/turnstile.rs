//! The turnstile of a shard: who has moved much waits for its next turn until the shard has looked at its sockets. The rule is
//! [`ottla_rules::turnstile`].
//!
//! A shard looks at its sockets when nobody on it has anything to do, or after some dozens of turns of its tasks. A connection with
//! much under way is woken by its own answers all the time, and each of its turns moves a lot: dozens of those are tens of
//! milliseconds, in which nobody else's request is even read. And one sync answers all who saturate the disk, so that a hundred of them
//! are awake at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use ottla_host::Clock;
use ottla_rules::turnstile::{Turnstile, expected, is_light};

use super::tally::Counter;

/// The turnstile of one shard. Only the shard itself comes here: nobody waits for the lock.
#[derive(Debug, Default)]
pub(super) struct Shard(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    turnstile: Turnstile<Arc<Pass>>,
    /// Who sees when the shard has looked is under way.
    is_kept: bool,
}

/// One task's leave to go on.
#[derive(Debug, Default)]
pub(super) struct Pass {
    is_given: AtomicBool,
    task: AtomicWaker,
}

impl Shard {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From now on somebody sees when the shard looks, until that is for nothing.
fn keep(mut kept: MutexGuard<'_, Kept>, shard: &Counter, clock: &Clock) {
    if std::mem::replace(&mut kept.is_kept, true) {
        return;
    }
    drop(kept);
    let (shard, clock) = (shard.clone(), clock.clone());
    drop(actix_rt::spawn(async move {
        // Who yields goes on when the shard has looked, behind everybody whom it found something for.
        loop {
            tokio::task::yield_now().await;
            let is_beside_one = shard.known.one_asks_for_little(&clock);
            let mut kept = shard.turnstile.kept();
            let was_for_something = kept.turnstile.looked(is_beside_one, |pass| {
                pass.is_given.store(true, Ordering::Release);
                pass.task.wake();
            });
            if !was_for_something {
                kept.is_kept = false;
                return;
            }
        }
    }));
}

/// Where one task goes in to its turns.
#[derive(Debug)]
pub(super) struct Gate {
    /// What its next turn is likely to cost.
    cost: u64,
    is_light: bool,
    pass: Option<Arc<Pass>>,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate { cost: 0, is_light: true, pass: None }
    }
}

impl Gate {
    /// Whether its next turn is likely to be a light one.
    pub(super) fn is_light(&self) -> bool {
        self.is_light
    }

    /// A turn is over that cost so much, of a client that asks one by one or not. One that cost nothing was none.
    pub(super) fn spend(&mut self, cost: u64, is_one_by_one: bool, shard: &Counter, clock: &Clock) {
        if cost == 0 {
            return;
        }
        self.cost = expected(self.cost, cost);
        self.is_light = is_light(self.cost, is_one_by_one);
        let mut kept = shard.turnstile.kept();
        if kept.turnstile.spend(cost) {
            keep(kept, shard, clock);
        }
    }

    /// Waits for a look of the shard: `poll_turn` is pending until then at least, whoever wakes the task before.
    pub(super) fn get_in_line(&mut self, shard: &Counter, clock: &Clock, cx: &Context<'_>) {
        let pass = Arc::new(Pass::default());
        pass.task.register(cx.waker());
        let mut kept = shard.turnstile.kept();
        kept.turnstile.come(self.cost, self.is_light, Arc::clone(&pass));
        keep(kept, shard, clock);
        self.pass = Some(pass);
    }

    /// Ready for who may go on; else the task is woken when its turn has come.
    pub(super) fn poll_turn(&mut self, shard: &Counter, clock: &Clock, cx: &Context<'_>) -> Poll<()> {
        let Some(pass) = &self.pass else {
            let is_beside_one = || shard.known.one_asks_for_little(clock);
            if self.is_light || !shard.turnstile.kept().turnstile.waits(is_beside_one) {
                return Poll::Ready(());
            }
            self.get_in_line(shard, clock, cx);
            return Poll::Pending;
        };
        pass.task.register(cx.waker());
        if !pass.is_given.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.pass = None;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Waker;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::super::tally::Tally;
    use super::*;

    const LITTLE: u64 = 1;
    const MUCH: u64 = 1 << 30;

    fn on_a_shard<F: Future>(test: impl FnOnce(Counter, Clock) -> F) -> F::Output {
        let shard = Counter { tallies: [Tally::default()].into(), shard: 0 };
        let clock = Clock::machine();
        LocalSet::new().block_on(&ottla_host::runtime().unwrap(), async move { test(shard, clock).await })
    }

    /// A task that is woken all the time, in line after each turn or not: whether what came for another is read meanwhile.
    fn is_another_served(gets_in_line: bool) -> bool {
        on_a_shard(|shard, clock| async move {
            let (mut here, there) = UnixStream::pair().unwrap();
            let served = Rc::new(Cell::new(false));
            let seen = Rc::clone(&served);
            let other = spawn_local(async move {
                let came = here.read_u8().await;
                seen.set(came.is_ok());
            });
            yield_now().await;
            there.try_write(&[1]).unwrap();
            let (mut gate, mut turns) = (Gate::default(), 0);
            let busy = spawn_local(poll_fn(move |cx| {
                cx.waker().wake_by_ref();
                if gate.poll_turn(&shard, &clock, cx).is_pending() {
                    return Poll::Pending;
                }
                turns += 1;
                if turns == 3 {
                    return Poll::Ready(served.get());
                }
                if gets_in_line {
                    gate.get_in_line(&shard, &clock, cx);
                }
                Poll::Pending
            }));
            let is_served = busy.await.unwrap();
            other.await.unwrap();
            is_served
        })
    }

    #[test]
    fn who_is_woken_all_the_time_lets_the_shard_look_all_the_same() {
        assert!(!is_another_served(false));
        assert!(is_another_served(true));
    }

    /// Three that are awake all the time, each for three turns that cost so much: who had its turn, in order, and how often the shard
    /// had looked by then.
    fn turns_of_three(cost: u64) -> Vec<(usize, usize)> {
        on_a_shard(|shard, clock| async move {
            let (turns, looks) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
            let one = |who| {
                let (turns, looks) = (Rc::clone(&turns), Rc::clone(&looks));
                let (shard, clock) = (shard.clone(), clock.clone());
                let (mut gate, mut left) = (Gate::default(), 3);
                spawn_local(poll_fn(move |cx| {
                    if gate.poll_turn(&shard, &clock, cx).is_pending() {
                        return Poll::Pending;
                    }
                    turns.borrow_mut().push((who, looks.get()));
                    gate.spend(cost, false, &shard, &clock);
                    left -= 1;
                    if left == 0 {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }))
            };
            let tasks: Vec<_> = (0..3).map(one).collect();
            let seen = Rc::clone(&looks);
            let watch = spawn_local(async move {
                loop {
                    yield_now().await;
                    seen.set(seen.get() + 1);
                }
            });
            for task in tasks {
                task.await.unwrap();
            }
            watch.abort();
            turns.take()
        })
    }

    #[test]
    fn where_much_was_spent_one_at_a_time_has_its_turn_and_the_shard_looks_between_two() {
        let turns = turns_of_three(MUCH);
        let who: Vec<_> = turns.iter().map(|(who, _)| *who).collect();
        assert_eq!(who, [0, 1, 2, 0, 1, 2, 0, 1, 2], "in the order in which they came");
        assert!(turns[2..].windows(2).all(|two| two[0].1 < two[1].1), "{turns:?}");
    }

    #[test]
    fn where_little_was_spent_nobody_waits_for_a_look() {
        let turns = turns_of_three(LITTLE);
        assert!(turns.iter().all(|(_, looks)| *looks == 0), "{turns:?}");
    }

    #[test]
    fn who_has_left_the_line_holds_up_nobody_for_ever() {
        on_a_shard(|shard, clock| async move {
            let cx = Context::from_waker(Waker::noop());
            let (mut gone, mut mine) = (Gate::default(), Gate::default());
            for gate in [&mut gone, &mut mine] {
                gate.spend(MUCH, false, &shard, &clock);
                assert!(gate.poll_turn(&shard, &clock, &cx).is_pending());
            }
            drop(gone);
            poll_fn(|cx| mine.poll_turn(&shard, &clock, cx)).await;
            yield_now().await;
            yield_now().await;
            assert!(!shard.turnstile.kept().is_kept, "nobody is in line, nobody sees to it");
        });
    }
}
