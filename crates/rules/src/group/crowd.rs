//! When the commits of many groups wait a moment for each other.
//!
//! A batch, its write and its share of a sync cost much the same for one commit as for twenty. While many groups commit, the
//! partitions of `__consumer_offsets` append on a common beat: a batch has more in it, and one sync makes those of all
//! partitions safe. Where few commit nobody waits. Kafka's `group.coordinator.append.linger.ms` is meant for the same.
//!
//! How long a beat is follows from who comes in it. Groups that come again in every beat are held up by it: it gets shorter.
//! Groups that have not been there the last time are so many that they wait for each other anyway: a longer beat serves more of
//! them with the same work.

use crate::time::{Deadline, Now};

/// The shortest beat, and so the longest that a commit waits for others while it is not known who they are.
const BEAT_MS_MIN: u64 = 3;

/// The longest.
const BEAT_MS_MAX: u64 = 10;

/// So many different groups have records within the shortest beat, and more in a longer one, or nobody waits. Those who commit
/// one by one and wait for each answer would only be slower; a crowd keeps the node busy anyway.
const GROUPS_MIN: u64 = 64;

/// The groups of one node that have had records lately.
#[derive(Debug)]
pub struct Crowd {
    beat: Beat,
    /// When it ends, by the clock that [`Now::mono_ms`] tells.
    ends_ms: u64,
    ms: u64,
    came: Came,
    /// There was a crowd in the beat right before this one.
    was_crowd: bool,
}

/// One beat among all there were; that of a group is the one in which it last had records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat(u64);

/// Those who came in one beat.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    groups: u64,
    /// Who had come in the beat before, too.
    again: u64,
}

impl Came {
    fn is_crowd(self, beat_ms: u64) -> bool {
        self.groups * BEAT_MS_MIN >= GROUPS_MIN * beat_ms
    }

    /// How long the next beat is after one of so many milliseconds.
    fn next_ms(self, beat_ms: u64) -> u64 {
        let ms = match self {
            _ if !self.is_crowd(beat_ms) => BEAT_MS_MIN,
            Came { groups, again } if again * 2 < groups => beat_ms + 1,
            Came { groups, again } if again * 8 >= groups * 7 => beat_ms - 1,
            Came { .. } => beat_ms,
        };
        ms.clamp(BEAT_MS_MIN, BEAT_MS_MAX)
    }
}

impl Default for Crowd {
    fn default() -> Self {
        // Two beats on, nobody has ever come.
        Self { beat: Beat(2), ends_ms: 0, ms: BEAT_MS_MIN, came: Came::default(), was_crowd: false }
    }
}

impl Crowd {
    /// A group has records; `last` is the beat in which it had some before, and becomes this one.
    pub fn came(&mut self, last: &mut Beat, now: Now) {
        self.follow(now);
        if *last != self.beat {
            self.came.groups += 1;
            self.came.again += u64::from(last.0 + 1 == self.beat.0);
            *last = self.beat;
        }
    }

    /// When to append what has come: none is at once.
    pub fn appends_at(&mut self, now: Now) -> Option<Deadline> {
        self.follow(now);
        (self.was_crowd || self.came.is_crowd(self.ms)).then_some(Deadline(self.ends_ms))
    }

    fn follow(&mut self, now: Now) {
        if now.mono_ms < self.ends_ms {
            return;
        }
        let over = std::mem::take(&mut self.came);
        let follows = now.mono_ms < self.ends_ms + self.ms;
        if follows {
            self.was_crowd = over.is_crowd(self.ms);
            self.ms = over.next_ms(self.ms);
            self.beat.0 += 1;
            self.ends_ms += self.ms;
        }
        // It was quiet in between, or the beat that follows is over as well.
        if now.mono_ms >= self.ends_ms {
            self.was_crowd = false;
            self.ms = BEAT_MS_MIN;
            self.beat.0 += 2;
            self.ends_ms = now.mono_ms + self.ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 0 }
    }

    /// Groups that commit as fast as they are answered, and a node that answers so many of them a millisecond.
    struct Loop {
        crowd: Crowd,
        /// Who commits next is in front.
        waiting: std::collections::VecDeque<Beat>,
        per_ms: usize,
        now_ms: u64,
    }

    impl Loop {
        fn of(groups: usize, per_ms: usize) -> Loop {
            let waiting = vec![Beat::default(); groups].into();
            Loop { crowd: Crowd::default(), waiting, per_ms, now_ms: 1_000 }
        }

        /// Until the end of the beat; how many have come, and how long it was. They commit again in the next one.
        fn beat(&mut self) -> (usize, u64) {
            let (mut served, began_ms) = (Vec::new(), self.now_ms);
            loop {
                let here = self.per_ms.min(self.waiting.len());
                for mut last in self.waiting.drain(..here) {
                    self.crowd.came(&mut last, at(self.now_ms));
                    served.push(last);
                }
                let ends = self.crowd.appends_at(at(self.now_ms));
                self.now_ms += 1;
                if ends.is_none_or(|ends| ends.is_due(at(self.now_ms))) {
                    let count = served.len();
                    self.waiting.extend(served);
                    return (count, self.now_ms - began_ms);
                }
            }
        }

        fn beats(&mut self, count: usize) -> (usize, u64) {
            (0..count).map(|_| self.beat()).last().unwrap()
        }
    }

    fn came(crowd: &mut Crowd, mono_ms: u64, groups: u64) {
        (0..groups).for_each(|_| crowd.came(&mut Beat::default(), at(mono_ms)));
    }

    fn crowd_at(mono_ms: u64, groups: u64) -> Crowd {
        let mut crowd = Crowd::default();
        came(&mut crowd, mono_ms, groups);
        crowd
    }

    #[test]
    fn few_wait_for_nobody() {
        assert_eq!(crowd_at(300, GROUPS_MIN - 1).appends_at(at(300)), None);
    }

    #[test]
    fn one_group_that_commits_again_and_again_is_no_crowd() {
        let (mut crowd, mut last) = (Crowd::default(), Beat::default());
        (0..1_000).for_each(|_| crowd.came(&mut last, at(300)));
        assert_eq!(crowd.appends_at(at(300)), None);
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
        assert_eq!(crowd.appends_at(at(303)), Some(Deadline(307)));
        assert_eq!(crowd.appends_at(at(307)), None, "nobody came meanwhile");

        let mut crowd = crowd_at(300, GROUPS_MIN);
        assert_eq!(crowd.appends_at(at(309)), None, "it was quiet in between");
    }

    #[test]
    fn groups_that_come_in_every_beat_are_not_held_up_longer() {
        let mut groups = Loop::of(200, 80);
        assert_eq!(groups.beats(50), (200, BEAT_MS_MIN));
    }

    #[test]
    fn a_beat_gets_as_long_as_it_takes_most_of_the_crowd_to_come() {
        let mut groups = Loop::of(1_000, 80);
        assert_eq!(groups.beats(50), (720, 9));
        let mut groups = Loop::of(5_000, 80);
        assert_eq!(groups.beats(50), (800, BEAT_MS_MAX));
    }

    #[test]
    fn a_crowd_that_gets_smaller_has_shorter_beats_again() {
        let mut groups = Loop::of(1_000, 80);
        groups.beats(50);
        groups.waiting.truncate(300);
        assert_eq!(groups.beats(50), (240, BEAT_MS_MIN));
        groups.waiting.truncate(20);
        assert_eq!(groups.beats(3), (20, 1), "no crowd: nobody waits");
    }
}
