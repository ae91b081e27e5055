//! Readers that wait for something to read.

use crate::{
    ids::Offset,
    time::{Deadline, Now},
};

#[derive(Debug)]
struct Watcher<B> {
    from: Offset,
    /// Sees nothing beyond the last stable offset.
    committed_only: bool,
    until: Deadline,
    bell: B,
}

/// All readers that wait for one partition. Each is rung once and forgotten.
#[derive(Debug)]
pub(crate) struct Watchers<B> {
    waiting: Vec<Watcher<B>>,
    /// No deadline is earlier; may be too early, see [`super::parked::Parked`].
    earliest: Option<Deadline>,
}

impl<B> Watchers<B> {
    pub(crate) fn new() -> Self {
        Self { waiting: Vec::new(), earliest: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn push(&mut self, bell: B, from: Offset, committed_only: bool, until: Deadline) {
        self.earliest = Some(self.earliest.map_or(until, |earliest| earliest.min(until)));
        self.waiting.push(Watcher { from, committed_only, until, bell });
    }

    /// The bells of those for whom there is something to read.
    pub(crate) fn take_ready(&mut self, high_watermark: Offset, stable: Offset) -> Vec<B> {
        self.take(|watcher| watcher.from < if watcher.committed_only { stable } else { high_watermark })
    }

    /// The bells of those who have waited long enough.
    pub(crate) fn take_due(&mut self, now: Now) -> Vec<B> {
        if !self.earliest.is_some_and(|earliest| earliest.is_due(now)) {
            return Vec::new();
        }
        let due = self.take(|watcher| watcher.until.is_due(now));
        self.earliest = self.waiting.iter().map(|watcher| watcher.until).min();
        due
    }

    /// Every bell.
    pub(crate) fn take_all(&mut self) -> Vec<B> {
        self.take(|_| true)
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.earliest
    }

    fn take(&mut self, go: impl Fn(&Watcher<B>) -> bool) -> Vec<B> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let bells = self.waiting.extract_if(.., |watcher| go(watcher)).map(|watcher| watcher.bell).collect();
        if self.waiting.is_empty() {
            self.earliest = None;
        }
        bells
    }
}
