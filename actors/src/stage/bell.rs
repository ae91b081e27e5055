//! A remembered wake-up, for those who wait for records.

use std::sync::{Arc, Weak};

use ottla_rules::partition::Heard;
use tokio::sync::Notify;

/// Heard by the one task that waits. Rings that nobody has heard yet count as one.
#[derive(Debug, Default)]
pub struct Bell(Arc<Notify>);

/// What the waiting task leaves with whoever may have news. Pulled when the bell is gone it does nothing.
#[derive(Clone, Debug)]
pub struct Pull(Weak<Notify>);

impl Bell {
    /// A bell nobody has rung.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A rope to it.
    #[must_use]
    pub fn pull(&self) -> Pull {
        Pull(Arc::downgrade(&self.0))
    }

    /// Done at the next ring, at once when there was one since the last time. Cancel safe: a ring that was not heard is kept.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

impl Pull {
    /// Wakes who waits, or who will wait next.
    pub fn ring(&self) {
        if let Some(bell) = self.0.upgrade() {
            bell.notify_one();
        }
    }
}

impl Heard for Pull {
    fn is_heard(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// So many are rung at once: when they have planned, read and written, the thread was theirs for about half a millisecond.
const LOT: usize = 32;

/// Bells that are rung together.
///
/// Each wakes a task that plans, reads and writes. A thousand of them woken at once have the thread to themselves for tens of
/// milliseconds: whoever was answered just before them waits until all have been rung, and whoever comes meanwhile until all have
/// been served. So a crowd is rung in lots, by a task whose turn is behind those who have been woken already, and between two
/// lots the thread looks at its sockets.
#[derive(Debug, Default)]
pub struct Peal(Vec<Pull>);

impl Peal {
    /// One more.
    pub fn add(&mut self, pull: Pull) {
        self.0.push(pull);
    }

    /// Rings all of them: one lot here and now, a crowd from a task of this thread, whatever becomes of the caller meanwhile.
    ///
    /// # Panics
    /// With a crowd, outside of a tokio `LocalSet`.
    pub fn ring(&mut self) {
        if self.0.len() <= LOT {
            return self.0.drain(..).for_each(|pull| pull.ring());
        }
        let crowd = std::mem::take(&mut self.0);
        actix_rt::spawn(async move {
            for lot in crowd.chunks(LOT) {
                lot.iter().for_each(Pull::ring);
                tokio::task::yield_now().await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    /// In which order they had their turns: a crowd that is rung, a producer that was answered before, and somebody whose request
    /// comes meanwhile.
    fn turns_beside(crowd: usize) -> Vec<&'static str> {
        let runtime = ottla_host::runtime().unwrap();
        LocalSet::new().block_on(&runtime, async move {
            let turns = Rc::new(RefCell::new(Vec::new()));
            let (mut here, there) = UnixStream::pair().unwrap();
            let (mut peal, answered) = (Peal::default(), Rc::new(Notify::new()));
            let mut tasks = Vec::new();
            for _ in 0..crowd {
                let (bell, turns) = (Bell::new(), Rc::clone(&turns));
                peal.add(bell.pull());
                tasks.push(spawn_local(async move {
                    bell.rung().await;
                    turns.borrow_mut().push("crowd");
                }));
            }
            let (producer, seen) = (Rc::clone(&answered), Rc::clone(&turns));
            tasks.push(spawn_local(async move {
                producer.notified().await;
                seen.borrow_mut().push("producer");
            }));
            let seen = Rc::clone(&turns);
            tasks.push(spawn_local(async move {
                here.read_u8().await.unwrap();
                seen.borrow_mut().push("another");
            }));
            yield_now().await;

            there.try_write(&[1]).unwrap();
            answered.notify_one();
            peal.ring();

            for task in tasks {
                task.await.unwrap();
            }
            turns.take()
        })
    }

    #[test]
    fn a_crowd_is_rung_to_the_last_of_them_and_others_have_their_turn_meanwhile() {
        let turns = turns_beside(1_000);
        assert_eq!(turns.iter().filter(|who| **who == "crowd").count(), 1_000);
        assert_eq!(turns[0], "producer");
        let another = turns.iter().position(|who| *who == "another");
        assert!(another.is_some_and(|at| at < 4 * LOT), "another's request was read at turn {another:?}");
    }

    #[test]
    fn a_few_are_rung_at_once() {
        let bells: Vec<_> = (0..LOT).map(|_| Bell::new()).collect();
        let mut peal = Peal::default();
        bells.iter().for_each(|bell| peal.add(bell.pull()));
        peal.ring();
        for bell in &bells {
            assert!(futures_util::FutureExt::now_or_never(bell.rung()).is_some());
        }
    }
}
