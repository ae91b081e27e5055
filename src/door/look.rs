//! A look of the shard at its sockets, waited for.
//!
//! A shard looks at its sockets when nobody on it has anything to do, or after some dozens of turns of its tasks. A connection with
//! much under way is woken by its own answers all the time, and each of its turns moves a lot: dozens of those are tens of
//! milliseconds, in which nobody else's request is even read. So whoever has moved much waits for a look before it goes on.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// One task's wait for the next look; nothing is waited for in the beginning.
#[derive(Debug, Default)]
pub(crate) struct Look {
    asked: Option<Arc<Asked>>,
}

/// What the shard wakes after a look.
#[derive(Debug, Default)]
struct Asked {
    has_looked: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Asked {
    fn wake(self: Arc<Self>) {
        self.has_looked.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Look {
    /// Asks for a look: `poll_over` is pending until it is over, whoever wakes the task before.
    pub(crate) fn ask(&mut self, cx: &Context<'_>) {
        let asked = Arc::new(Asked::default());
        asked.task.register(cx.waker());
        let waker = Waker::from(Arc::clone(&asked));
        // Who yields is woken after the shard has looked.
        let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
        self.asked = Some(asked);
    }

    /// Whether the look that was asked for, if any, is over; else the task is woken when it is.
    pub(crate) fn poll_over(&mut self, cx: &Context<'_>) -> Poll<()> {
        if let Some(asked) = &self.asked {
            asked.task.register(cx.waker());
            if !asked.has_looked.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            self.asked = None;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[test]
    fn nothing_is_waited_for_that_nobody_asked_for() {
        let mut look = Look::default();
        assert!(look.poll_over(&Context::from_waker(Waker::noop())).is_ready());
    }

    /// A task that is woken all the time, with and without a wait for a look: whether what came for another is read meanwhile.
    fn is_another_served(waits: bool) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async move {
            let (mut here, there) = UnixStream::pair().unwrap();
            let served = Rc::new(Cell::new(false));
            let seen = Rc::clone(&served);
            let other = spawn_local(async move {
                let came = here.read_u8().await;
                seen.set(came.is_ok());
            });
            tokio::task::yield_now().await;
            there.try_write(&[1]).unwrap();
            let (mut look, mut turns) = (Look::default(), 0);
            let busy = spawn_local(poll_fn(move |cx| {
                cx.waker().wake_by_ref();
                if waits && look.poll_over(cx).is_pending() {
                    return Poll::Pending;
                }
                turns += 1;
                if turns == 3 {
                    return Poll::Ready(served.get());
                }
                if waits {
                    look.ask(cx);
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
}
