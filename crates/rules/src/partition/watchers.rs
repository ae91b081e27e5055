//! Readers that wait for something to read.
//!
//! They keep their own time. A partition that had to wake up for each of them would do so for every long poll that ends, and
//! for every fetch that another partition has answered long ago.

use crate::ids::Offset;

/// A bell that a reader may have walked away from.
pub trait Heard {
    /// Whether somebody still listens. Never again, once it is false.
    fn is_heard(&self) -> bool;
}

/// So many may be left behind before they are looked for.
const LOOK_FROM: usize = 16;

#[derive(Debug)]
struct Watcher<B> {
    from: Offset,
    /// Sees nothing beyond the last stable offset.
    committed_only: bool,
    bell: B,
}

/// All readers that wait for one partition. Each is rung once and forgotten. Who has left is looked for when as many have come
/// since as there were at the last look: a look costs each who comes no more than itself. Near the bound it is sooner, but not at each of them.
#[derive(Debug)]
pub(crate) struct Watchers<B> {
    waiting: Vec<Watcher<B>>,
    /// How many may come before the next look.
    come_until_look: usize,
}

impl<B> Watchers<B> {
    pub(crate) fn new() -> Self {
        Self { waiting: Vec::new(), come_until_look: LOOK_FROM }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The bells of those for whom there is something to read.
    pub(crate) fn take_ready(&mut self, high_watermark: Offset, stable: Offset) -> Vec<B> {
        self.take(|watcher| watcher.from < if watcher.committed_only { stable } else { high_watermark })
    }

    /// Every bell.
    pub(crate) fn take_all(&mut self) -> Vec<B> {
        self.take(|_| true)
    }

    fn take(&mut self, go: impl Fn(&Watcher<B>) -> bool) -> Vec<B> {
        self.waiting.extract_if(.., |watcher| go(watcher)).map(|watcher| watcher.bell).collect()
    }
}

impl<B: Heard> Watchers<B> {
    /// Watches for one more, unless `max` listen already; whether it does.
    #[must_use]
    pub(crate) fn push(&mut self, bell: B, from: Offset, committed_only: bool, max: usize) -> bool {
        if self.come_until_look == 0 {
            self.waiting.retain(|watcher| watcher.bell.is_heard());
            let listening = self.waiting.len();
            // Before those who have left would be counted for the bound, too.
            let room = max.saturating_sub(listening).max(LOOK_FROM);
            self.come_until_look = listening.max(LOOK_FROM).min(room);
        }
        self.come_until_look -= 1;
        let has_room = self.waiting.len() < max;
        if has_room {
            self.waiting.push(Watcher { from, committed_only, bell });
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Weak};

    use super::*;

    impl Heard for &'static str {
        fn is_heard(&self) -> bool {
            true
        }
    }

    impl Heard for u32 {
        fn is_heard(&self) -> bool {
            true
        }
    }

    impl Heard for Weak<()> {
        fn is_heard(&self) -> bool {
            self.strong_count() > 0
        }
    }

    #[test]
    fn those_who_have_left_make_room() {
        let mut watchers = Watchers::new();
        let stays = Arc::new(());
        assert!(watchers.push(Arc::downgrade(&stays), Offset(0), false, 100));
        for n in 0..10_000 {
            let leaves = Arc::new(());
            assert!(watchers.push(Arc::downgrade(&leaves), Offset(n), false, 100));
            assert!(watchers.len() <= 2 * LOOK_FROM);
        }
        let rung = watchers.take_ready(Offset(1), Offset(0));
        assert!(rung.iter().any(Heard::is_heard), "who stayed is rung");
    }

    #[test]
    fn those_who_have_left_are_not_counted_for_the_bound() {
        let mut watchers = Watchers::new();
        let mut polls: Vec<_> = (0..60).map(|_| Arc::new(())).collect();
        for poll in &polls {
            assert!(watchers.push(Arc::downgrade(poll), Offset(0), false, 100));
        }
        for n in 0..10_000 {
            let next = Arc::new(());
            polls[n % 60] = Arc::clone(&next);
            assert!(
                watchers.push(Arc::downgrade(&next), Offset(0), false, 100),
                "60 of 100 listen, after {n} more"
            );
        }
    }

    #[test]
    fn those_who_listen_are_kept_up_to_the_bound() {
        let mut watchers = Watchers::new();
        let listening = Arc::new(());
        for _ in 0..40 {
            assert!(watchers.push(Arc::downgrade(&listening), Offset(5), true, 40));
        }
        assert!(!watchers.push(Arc::downgrade(&listening), Offset(5), true, 40));
        assert!(watchers.take_ready(Offset(9), Offset(5)).is_empty(), "nothing is stable beyond 5");
        assert_eq!(watchers.take_ready(Offset(9), Offset(6)).len(), 40);
        assert!(watchers.push(Arc::downgrade(&listening), Offset(9), true, 40));
    }
}
