//! How answers travel: inside the message, and never lost.
//!
//! A [`Reply`] that is dropped unanswered, because its actor died or the message never arrived, answers by itself. So
//! nobody waits for ever, and nobody has to remember to answer on every way out.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use futures_util::task::AtomicWaker;
use ottla_rules::{
    cluster::CommandError,
    group::GroupError,
    partition::{AppendError, DeleteError, ReadError},
    transaction::TransactionError,
};
use tokio::sync::oneshot;

/// What stands for an answer that was never given.
pub trait Abandoned {
    /// That answer. For requests to a partition: "not here", which every client tries again.
    fn abandoned() -> Self;
}

impl<T, E: Abandoned> Abandoned for Result<T, E> {
    fn abandoned() -> Self {
        Err(E::abandoned())
    }
}

impl Abandoned for AppendError {
    fn abandoned() -> Self {
        Self::NotHere
    }
}

impl Abandoned for ReadError {
    fn abandoned() -> Self {
        Self::NotHere
    }
}

impl Abandoned for DeleteError {
    fn abandoned() -> Self {
        Self::NotHere
    }
}

impl Abandoned for GroupError {
    fn abandoned() -> Self {
        Self::NotCoordinator
    }
}

impl Abandoned for TransactionError {
    fn abandoned() -> Self {
        Self::NotHere
    }
}

impl Abandoned for CommandError {
    fn abandoned() -> Self {
        Self::NotHere
    }
}

/// The right, and the duty, to answer once.
pub struct Reply<T: Abandoned>(Way<T>);

enum Way<T> {
    Once(oneshot::Sender<T>),
    Queued(Arc<Replies<T>>, u64),
    Told(Box<dyn FnOnce(T) + Send>),
    Spent,
}

impl<T: Abandoned> Reply<T> {
    /// A reply and the future of its answer. The future needs no runtime and may be dropped.
    pub fn once() -> (Self, impl Future<Output = T> + Send + use<T>)
    where
        T: Send,
    {
        let (sender, receiver) = oneshot::channel();
        (Self(Way::Once(sender)), async move { receiver.await.unwrap_or_else(|_| T::abandoned()) })
    }

    /// A reply that is put into a queue, under a tag that the owner of the queue understands.
    #[must_use]
    pub fn queued(into: Arc<Replies<T>>, tag: u64) -> Self {
        Self(Way::Queued(into, tag))
    }

    /// A reply that is told at once, on the thread of whoever answers: for an actor that is to hear the answers of another
    /// in the order in which they were given. What is done with it must take no time, as sending a message does.
    #[must_use]
    pub fn told(tell: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Way::Told(Box::new(tell)))
    }

    /// Answers.
    pub fn send(mut self, answer: T) {
        self.give(answer);
    }

    fn give(&mut self, answer: T) {
        match mem::replace(&mut self.0, Way::Spent) {
            // Whoever asked has left: nothing to do.
            Way::Once(sender) => drop(sender.send(answer)),
            Way::Queued(replies, tag) => replies.push(tag, answer),
            Way::Told(tell) => tell(answer),
            Way::Spent => (),
        }
    }
}

impl<T: Abandoned> Drop for Reply<T> {
    fn drop(&mut self) {
        if !matches!(self.0, Way::Spent) {
            self.give(T::abandoned());
        }
    }
}

impl<T: Abandoned> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// The answers that one task waits for, from any number of actors on any thread. They wake it once a burst.
pub struct Replies<T> {
    done: Mutex<Vec<(u64, T)>>,
    waker: AtomicWaker,
}

impl<T> Replies<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { done: Mutex::new(Vec::new()), waker: AtomicWaker::new() })
    }

    /// Takes every answer that is there, in the order in which they were given, behind those in `into`; `waker` is
    /// woken when the next one comes.
    pub fn take(&self, waker: &Waker, into: &mut Vec<(u64, T)>) {
        // First registered, then looked: what comes in between wakes.
        self.waker.register(waker);
        let mut done = self.lock();
        if into.is_empty() {
            mem::swap(&mut *done, into);
        } else {
            into.append(&mut done);
        }
    }

    fn push(&self, tag: u64, answer: T) {
        let first = {
            let mut done = self.lock();
            done.push((tag, answer));
            done.len() == 1
        };
        if first {
            self.waker.wake();
        }
    }

    /// A push cannot be interrupted half way: a poisoned queue is as good as any.
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, T)>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Replies<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").field("done", &self.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = Result<u8, ReadError>;

    #[tokio::test]
    async fn a_reply_that_is_dropped_answers_by_itself() {
        let (reply, answer) = Reply::<Answer>::once();
        drop(reply);
        assert_eq!(answer.await, Err(ReadError::NotHere));
    }

    #[tokio::test]
    async fn a_command_that_is_not_answered_is_one_to_try_again() {
        let (reply, answer) = Reply::<Result<u8, CommandError>>::once();
        drop(reply);
        assert_eq!(answer.await, Err(CommandError::NotHere), "an idempotent producer ends over any other");
    }

    #[tokio::test]
    async fn a_reply_answers_once() {
        let (reply, answer) = Reply::<Answer>::once();
        reply.send(Ok(7));
        assert_eq!(answer.await, Ok(7));
    }

    #[test]
    fn a_reply_is_told_in_the_order_of_the_answers_also_when_it_is_dropped() {
        let (heard, answers) = std::sync::mpsc::channel();
        let [first, second] = [1, 2].map(|tag| {
            let heard = heard.clone();
            Reply::<Answer>::told(move |answer| heard.send((tag, answer)).unwrap())
        });
        drop(second);
        first.send(Ok(1));
        drop(heard);
        assert_eq!(answers.iter().collect::<Vec<_>>(), [(2, Err(ReadError::NotHere)), (1, Ok(1))]);
    }

    #[test]
    fn queued_replies_keep_their_order_and_their_tags() {
        let replies = Replies::<Answer>::new();
        let [first, second, third] = [1, 2, 3].map(|tag| Reply::queued(replies.clone(), tag));
        second.send(Ok(2));
        drop(third);
        first.send(Ok(1));

        let mut taken = vec![];
        replies.take(Waker::noop(), &mut taken);

        assert_eq!(taken, [(2, Ok(2)), (3, Err(ReadError::NotHere)), (1, Ok(1))]);
    }
}
