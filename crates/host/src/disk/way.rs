//! Who writes out a lot gives way to who syncs a little.
//!
//! A disk has what is on its way to it done before a sync that comes later is over, so a small sync beside somebody who writes out tens
//! of megabytes waits for megabytes. What is written out therefore goes a piece at a time, and a piece begins when no
//! hurried sync is under way. Nobody starves: after the one hurried sync that it met, a piece goes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A piece waits no longer than this for a hurried sync: a disk that stands still is not waited for twice.
const GIVES_WAY_MAX: Duration = Duration::from_millis(20);

/// Somebody hurries for so long after the last hurried sync: who syncs one by one is about to do so again.
const HURRY_STAYS: Duration = Duration::from_millis(50);

/// The way to one disk. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct Way(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    traffic: Mutex<Traffic>,
    one_ended: Condvar,
}

#[derive(Debug, Default)]
struct Traffic {
    /// Hurried syncs under way, and how many are over.
    under_way: u32,
    ended: u64,
    last_ended: Option<Instant>,
    /// Pieces that wait.
    waiting: u32,
}

/// A sync that others give way to, for as long as this is held. See [`super::Disk::hurry`].
#[derive(Debug)]
#[must_use = "nobody gives way to what has been dropped"]
pub struct Hurry(Option<Way>);

impl Way {
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.0.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hurry(&self) -> Hurry {
        self.traffic().under_way += 1;
        Hurry(Some(self.clone()))
    }

    /// Waits until one of the hurried syncs under way, if there are any, is over. Whether somebody hurries these days.
    pub(super) fn give(&self) -> bool {
        self.give_for(GIVES_WAY_MAX)
    }

    fn give_for(&self, wait_max: Duration) -> bool {
        let mut traffic = self.traffic();
        traffic.waiting += 1;
        let met = traffic.ended;
        let is_in_the_way = |now: &mut Traffic| now.under_way > 0 && now.ended == met;
        let waited = self.0.one_ended.wait_timeout_while(traffic, wait_max, is_in_the_way);
        let (mut traffic, _) = waited.unwrap_or_else(PoisonError::into_inner);
        traffic.waiting -= 1;
        traffic.under_way > 0 || traffic.last_ended.is_some_and(|ended| ended.elapsed() < HURRY_STAYS)
    }
}

impl Hurry {
    /// Nobody gives way, where nothing is written out for real.
    #[cfg(feature = "sim")]
    pub(super) fn nowhere() -> Self {
        Self(None)
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        let Some(way) = &self.0 else { return };
        let mut traffic = way.traffic();
        traffic.under_way -= 1;
        traffic.ended += 1;
        traffic.last_ended = Some(Instant::now());
        if traffic.waiting > 0 {
            way.0.one_ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    /// Longer than any of this takes.
    const LONG: Duration = Duration::from_secs(60);

    /// Runs `meanwhile` while somebody waits at this way, who must not go on before it says that he may.
    fn while_one_waits(way: &Way, meanwhile: impl FnOnce(&AtomicBool)) {
        let may_go = AtomicBool::new(false);
        thread::scope(|scope| {
            let piece = scope.spawn(|| {
                let began = Instant::now();
                let somebody_hurries = way.give_for(LONG);
                assert!(began.elapsed() < LONG, "it was not woken");
                (somebody_hurries, may_go.load(Ordering::SeqCst))
            });
            while way.traffic().waiting == 0 && !piece.is_finished() {
                thread::yield_now();
            }
            meanwhile(&may_go);
            assert_eq!(piece.join().unwrap(), (true, true));
        });
    }

    #[test]
    fn a_piece_begins_when_the_hurried_sync_is_over() {
        let way = Way::default();
        let hurry = way.hurry();
        while_one_waits(&way, |may_go| {
            may_go.store(true, Ordering::SeqCst);
            drop(hurry);
        });
    }

    #[test]
    fn a_piece_waits_for_one_hurried_sync_and_not_for_all_that_follow() {
        let way = Way::default();
        let first = way.hurry();
        let mut second = None;
        while_one_waits(&way, |may_go| {
            second = Some(way.hurry());
            may_go.store(true, Ordering::SeqCst);
            drop(first);
        });
        drop(second);
    }

    #[test]
    fn a_disk_that_stands_still_is_not_waited_for_for_ever() {
        let way = Way::default();
        let _never_over = way.hurry();
        assert!(way.give());
    }

    #[test]
    fn where_nobody_hurries_nobody_waits() {
        let way = Way::default();
        assert!(!way.give_for(LONG));
        drop(way.hurry());
        assert!(way.traffic().last_ended.is_some());
        way.traffic().last_ended = Some(Instant::now() + LONG);
        assert!(way.give_for(LONG), "he may come again");
        way.traffic().last_ended = Instant::now().checked_sub(HURRY_STAYS);
        assert!(!way.give_for(LONG));
    }
}
