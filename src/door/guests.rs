//! Who is connected: limits at the door, and a way to send everyone off.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use futures_util::task::AtomicWaker;
use ottla_rules::limits::Limits;
use tokio::sync::Notify;

/// Why a connection was closed right after it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// `max.connections` are open.
    #[error("max.connections ({0}) are open")]
    Full(usize),
    /// `max.connections.per.ip` are open from there.
    #[error("max.connections.per.ip ({0}) are open from this address")]
    FullFromThere(usize),
    /// The node is stopping.
    #[error("the node is stopping")]
    Leaving,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    present: BTreeMap<u64, Arc<AtomicWaker>>,
    per_ip: BTreeMap<IpAddr, usize>,
}

/// The book of everyone connected.
#[derive(Debug)]
pub(crate) struct Guests {
    book: Mutex<Book>,
    leaving: AtomicBool,
    everyone_left: Notify,
}

impl Guests {
    /// Nobody yet.
    pub(crate) fn new() -> Arc<Guests> {
        Arc::new(Guests {
            book: Mutex::default(),
            leaving: AtomicBool::new(false),
            everyone_left: Notify::new(),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are connected.
    pub(crate) fn count(&self) -> usize {
        self.book().present.len()
    }

    /// Lets one in, or says why not. `limits` are those of this moment: who is here already stays.
    pub(crate) fn admit(self: &Arc<Guests>, ip: IpAddr, limits: &Limits) -> Result<Guest, Refused> {
        if self.are_leaving() {
            return Err(Refused::Leaving);
        }
        let mut book = self.book();
        if book.present.len() >= limits.connections_max {
            return Err(Refused::Full(limits.connections_max));
        }
        let from_there = book.per_ip.get(&ip).copied().unwrap_or_default();
        if from_there >= limits.connections_per_ip_max {
            return Err(Refused::FullFromThere(limits.connections_per_ip_max));
        }
        book.per_ip.insert(ip, from_there + 1);
        let id = book.next;
        book.next += 1;
        let waker = Arc::new(AtomicWaker::new());
        book.present.insert(id, Arc::clone(&waker));
        Ok(Guest { id, ip, waker, guests: Arc::clone(self) })
    }

    /// True once everyone has been asked to leave.
    pub(crate) fn are_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Asks everyone to leave: a connection answers what it has taken in and closes.
    pub(crate) fn send_off(&self) {
        self.leaving.store(true, Ordering::Release);
        for waker in self.book().present.values() {
            waker.wake();
        }
    }

    /// Returns once nobody is connected.
    pub(crate) async fn all_left(&self) {
        loop {
            let left = self.everyone_left.notified();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }
}

/// One connection's line in the book; dropping it strikes it out.
#[derive(Debug)]
pub(crate) struct Guest {
    id: u64,
    ip: IpAddr,
    waker: Arc<AtomicWaker>,
    guests: Arc<Guests>,
}

impl Guest {
    /// The connection's number: nobody else has it.
    pub(crate) fn number(&self) -> u64 {
        self.id
    }

    /// From now on the connection's task is woken when it should leave.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// True when this connection should leave. Asked after [`Guest::watch`], nothing is missed.
    pub(crate) fn should_leave(&self) -> bool {
        self.guests.are_leaving()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut book = self.guests.book();
        book.present.remove(&self.id);
        if let Some(from_there) = book.per_ip.get_mut(&self.ip) {
            *from_there -= 1;
            if *from_there == 0 {
                book.per_ip.remove(&self.ip);
            }
        }
        if book.present.is_empty() {
            self.guests.everyone_left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    fn few() -> Limits {
        Limits { connections_max: 3, connections_per_ip_max: 2, ..Limits::default() }
    }

    #[test]
    fn the_limits_count_who_is_here_now() {
        let guests = Guests::new();
        let first = guests.admit(HERE, &few()).unwrap();
        let _second = guests.admit(HERE, &few()).unwrap();
        assert_eq!(guests.admit(HERE, &few()).unwrap_err(), Refused::FullFromThere(2));
        let _third = guests.admit(THERE, &few()).unwrap();
        assert_eq!(guests.admit(THERE, &few()).unwrap_err(), Refused::Full(3));
        drop(first);
        assert!(guests.admit(HERE, &few()).is_ok());
    }

    #[test]
    fn nobody_enters_a_house_that_is_being_left() {
        let guests = Guests::new();
        let guest = guests.admit(HERE, &few()).unwrap();
        guests.send_off();
        assert!(guest.should_leave());
        assert_eq!(guests.admit(HERE, &few()).unwrap_err(), Refused::Leaving);
    }
}
