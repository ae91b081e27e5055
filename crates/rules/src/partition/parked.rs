//! Producers that wait until their batches are safe.

use std::collections::VecDeque;

use crate::{
    ids::Offset,
    time::{Deadline, Now},
};

/// One producer's wait.
#[derive(Debug)]
pub(crate) struct Wait<R> {
    /// Answered once everything below is safe.
    pub(crate) until: Offset,
    /// What it is answered with, the log start aside.
    pub(crate) base: Offset,
    pub(crate) append_time: i64,
    /// Sent with acks=0: nobody wants to hear that it took long.
    pub(crate) quiet: bool,
    pub(crate) deadline: Deadline,
    pub(crate) to: R,
}

/// All waits of a partition, by the offset they wait for; equal ones in order of arrival.
#[derive(Debug)]
pub(crate) struct Parked<R> {
    waits: VecDeque<Wait<R>>,
    /// No deadline is earlier. May be too early, since answering does not search for the next one: then one tick
    /// finds nothing due, and looks again.
    earliest: Option<Deadline>,
}

impl<R> Parked<R> {
    pub(crate) fn new() -> Self {
        Self { waits: VecDeque::new(), earliest: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.waits.len()
    }

    pub(crate) fn push(&mut self, wait: Wait<R>) {
        self.earliest = Some(self.earliest.map_or(wait.deadline, |earliest| earliest.min(wait.deadline)));
        // Almost always at the back; only a duplicate waits for an offset that was given out before.
        let at = self.waits.partition_point(|other| other.until <= wait.until);
        self.waits.insert(at, wait);
    }

    /// The next wait that is over because everything below `safe` is safe.
    pub(crate) fn pop_safe(&mut self, safe: Offset) -> Option<Wait<R>> {
        if self.waits.front()?.until > safe {
            return None;
        }
        let wait = self.waits.pop_front();
        if self.waits.is_empty() {
            self.earliest = None;
        }
        wait
    }

    /// Those who wait for offsets beyond `end`, in order.
    pub(crate) fn take_beyond(&mut self, end: Offset) -> VecDeque<Wait<R>> {
        let at = self.waits.partition_point(|wait| wait.until <= end);
        let taken = self.waits.split_off(at);
        if self.waits.is_empty() {
            self.earliest = None;
        }
        taken
    }

    /// Those whose time is over, in order.
    pub(crate) fn take_due(&mut self, now: Now) -> Vec<Wait<R>> {
        if !self.earliest.is_some_and(|earliest| earliest.is_due(now)) {
            return Vec::new();
        }
        let mut due = Vec::new();
        for wait in std::mem::take(&mut self.waits) {
            if wait.deadline.is_due(now) {
                due.push(wait);
            } else {
                self.waits.push_back(wait);
            }
        }
        self.earliest = self.waits.iter().map(|wait| wait.deadline).min();
        due
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.earliest
    }
}
