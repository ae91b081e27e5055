//! When the commits of many groups wait a moment for each other.
//!
//! A batch, its write and its share of a sync cost much the same for one commit as for twenty. While many groups commit, the
//! partitions of `__consumer_offsets` append on a common beat: a batch has more in it, and one sync makes those of all
//! partitions safe. Where few commit nobody waits. Kafka's `group.coordinator.append.linger.ms` is meant for the same.

use crate::time::{Deadline, Now};

/// From one beat to the next, and so the longest that a commit waits for others.
const BEAT_MS: u64 = 3;

/// So many different groups have records within a beat, or nobody waits. Those who commit one by one and wait for each answer would
/// only be slower; a crowd keeps the node busy anyway.
const GROUPS_MIN: u32 = 64;

/// The groups of one node that have had records lately.
#[derive(Debug, Default)]
pub struct Crowd {
    beat: u64,
    groups: u32,
    before: u32,
}

impl Crowd {
    /// The number of the beat that this moment belongs to.
    #[must_use]
    pub fn beat(now: Now) -> u64 {
        now.mono_ms / BEAT_MS
    }

    /// A group has records, the first in this beat.
    pub fn came(&mut self, now: Now) {
        self.follow(now);
        self.groups = self.groups.saturating_add(1);
    }

    /// When to append what has come: none is at once.
    pub fn appends_at(&mut self, now: Now) -> Option<Deadline> {
        self.follow(now);
        let is_crowd = self.groups.max(self.before) >= GROUPS_MIN;
        is_crowd.then_some(Deadline((self.beat + 1) * BEAT_MS))
    }

    fn follow(&mut self, now: Now) {
        let beat = Self::beat(now);
        if beat == self.beat {
            return;
        }
        self.before = if beat == self.beat + 1 { self.groups } else { 0 };
        (self.beat, self.groups) = (beat, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 0 }
    }

    fn crowd_at(mono_ms: u64, groups: u32) -> Crowd {
        let mut crowd = Crowd::default();
        (0..groups).for_each(|_| crowd.came(at(mono_ms)));
        crowd
    }

    #[test]
    fn few_wait_for_nobody() {
        assert_eq!(crowd_at(300, GROUPS_MIN - 1).appends_at(at(300)), None);
    }

    #[test]
    fn a_crowd_appends_on_the_next_beat() {
        let mut crowd = crowd_at(300, GROUPS_MIN);
        assert_eq!(crowd.appends_at(at(300)), Some(Deadline(303)));
        assert_eq!(crowd.appends_at(at(302)), Some(Deadline(303)));
    }

    #[test]
    fn a_crowd_is_one_in_the_beat_behind_it_and_no_longer() {
        let mut crowd = crowd_at(300, GROUPS_MIN);
        assert_eq!(crowd.appends_at(at(303)), Some(Deadline(306)));
        assert_eq!(crowd.appends_at(at(306)), None, "nobody came meanwhile");

        let mut crowd = crowd_at(300, GROUPS_MIN);
        assert_eq!(crowd.appends_at(at(309)), None, "it was quiet in between");
    }
}
