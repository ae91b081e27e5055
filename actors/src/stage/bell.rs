//! A remembered wake-up, for those who wait for records, and what it brings along.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ottla_rules::partition::Heard;
use tokio::sync::Notify;

/// Heard by the one task that waits. Rings that nobody has heard yet count as one: the last.
#[derive(Debug)]
pub struct Bell<N>(Arc<Inner<N>>);

/// What the waiting task leaves with whoever may have news. Pulled when the bell is gone it does nothing.
#[derive(Debug)]
pub struct Pull<N>(Weak<Inner<N>>);

#[derive(Debug)]
struct Inner<N> {
    rung: Notify,
    news: Mutex<Option<N>>,
}

impl<N> Inner<N> {
    /// What was there is as good as any: it is put there and taken away whole.
    fn news(&self) -> MutexGuard<'_, Option<N>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<N> Bell<N> {
    /// A bell nobody has rung.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner { rung: Notify::new(), news: Mutex::new(None) }))
    }

    /// A rope to it.
    #[must_use]
    pub fn pull(&self) -> Pull<N> {
        Pull(Arc::downgrade(&self.0))
    }

    /// Done at the next ring, at once when there was one since the last time; with what the ring brought along. Cancel safe: a ring
    /// that was not heard is kept.
    pub async fn rung(&self) -> Option<N> {
        self.0.rung.notified().await;
        self.0.news().take()
    }
}

impl<N> Default for Bell<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N> Pull<N> {
    /// Wakes who waits, or who will wait next. Without news it has to ask for itself.
    pub fn ring(&self, news: Option<N>) {
        if let Some(bell) = self.0.upgrade() {
            *bell.news() = news;
            bell.rung.notify_one();
        }
    }
}

impl<N> Clone for Pull<N> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<N> Heard for Pull<N> {
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
#[derive(Debug)]
pub struct Peal<N>(Vec<(Pull<N>, Option<N>)>);

impl<N> Default for Peal<N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<N: 'static> Peal<N> {
    /// One more, and what it is told.
    pub fn add(&mut self, pull: Pull<N>, news: Option<N>) {
        self.0.push((pull, news));
    }

    /// Rings all of them: one lot here and now, a crowd from a task of this thread, whatever becomes of the caller meanwhile.
    ///
    /// # Panics
    /// With a crowd, outside of a tokio `LocalSet`.
    pub fn ring(&mut self) {
        if self.0.len() <= LOT {
            return self.0.drain(..).for_each(|(pull, news)| pull.ring(news));
        }
        let mut crowd = std::mem::take(&mut self.0).into_iter();
        actix_rt::spawn(async move {
            while crowd.len() > 0 {
                crowd.by_ref().take(LOT).for_each(|(pull, news)| pull.ring(news));
                tokio::task::yield_now().await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use futures_util::FutureExt;
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
                peal.add(bell.pull(), Some("news"));
                tasks.push(spawn_local(async move {
                    assert_eq!(bell.rung().await, Some("news"));
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
        bells.iter().for_each(|bell| peal.add(bell.pull(), Some(7)));
        peal.ring();
        for bell in &bells {
            assert_eq!(bell.rung().now_or_never(), Some(Some(7)));
        }
    }

    #[test]
    fn of_several_rings_the_last_is_heard_and_what_it_brought() {
        let bell = Bell::new();
        bell.pull().ring(Some("old"));
        bell.pull().ring(Some("new"));
        assert_eq!(bell.rung().now_or_never(), Some(Some("new")));
        bell.pull().ring(Some("old"));
        bell.pull().ring(None);
        assert_eq!(bell.rung().now_or_never(), Some(None), "what was said before does not count any more");
        assert_eq!(bell.rung().now_or_never(), None);
    }
}
