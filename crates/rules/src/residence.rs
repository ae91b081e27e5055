//! On which shard a connection lives: where the partitions are that it appends to most.
//!
//! ```text
//!   appended(shard) ... appended(shard)   a window is full: at least half of it in one other place, twice as much as here?
//!                                           yes: move there, and the next window is twice as long
//! ```
//!
//! A message to a sleeping thread costs some 20 us of CPU, a move less than 10. So one move pays for itself at once, and one
//! that turns out wrong costs little; windows that grow keep a producer that wanders from dragging its connection along.

use std::{collections::BTreeMap, mem};

/// Appends before the first look.
const WINDOW_MIN: u32 = 16;
/// A window grows no further than this: a connection that lives for weeks still follows its producer.
const WINDOW_MAX: u32 = 65_536;

/// Counts what one connection appends to, shard by shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residence {
    home: usize,
    window: u32,
    counted: u32,
    appends: BTreeMap<usize, u32>,
}

impl Residence {
    /// A connection that was put on the shard `home` and has appended nothing yet.
    #[must_use]
    pub fn new(home: usize) -> Self {
        Self { home, window: WINDOW_MIN, counted: 0, appends: BTreeMap::new() }
    }

    /// Counts an append to a partition on `shard`.
    pub fn appended(&mut self, shard: usize) {
        self.counted += 1;
        // Where everything stays at home nothing is looked up.
        if shard != self.home {
            *self.appends.entry(shard).or_default() += 1;
        }
    }

    /// Where the connection should move to, once a window is full; asked again only after the next one. Lives there
    /// from now on.
    pub fn settle(&mut self) -> Option<usize> {
        if self.counted < self.window {
            return None;
        }
        let counted = mem::take(&mut self.counted);
        let appends = mem::take(&mut self.appends);
        let at_home = counted - appends.values().sum::<u32>();
        let (shard, most) = appends.into_iter().max_by_key(|(_, most)| *most)?;
        if most < counted / 2 || most / 2 < at_home {
            return None;
        }
        self.home = shard;
        self.window = (self.window * 2).min(WINDOW_MAX);
        Some(shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appends round and round over `shards`; the moves, each with the number of appends before it.
    fn moves(residence: &mut Residence, shards: &[usize], appends: usize) -> Vec<(usize, usize)> {
        let mut moves = Vec::new();
        for (at, shard) in shards.iter().cycle().take(appends).enumerate() {
            residence.appended(*shard);
            moves.extend(residence.settle().map(|to| (at + 1, to)));
        }
        moves
    }

    #[test]
    fn a_producer_of_one_partition_is_joined_once() {
        assert_eq!(moves(&mut Residence::new(0), &[3], 100_000), [(16, 3)]);
    }

    #[test]
    fn who_is_at_home_or_everywhere_stays() {
        assert_eq!(moves(&mut Residence::new(1), &[1], 100_000), []);
        assert_eq!(moves(&mut Residence::new(0), &[0, 1], 100_000), [], "half here, half there");
        assert_eq!(moves(&mut Residence::new(0), &[0, 1, 2, 3, 1], 100_000), [], "a little more there");
    }

    #[test]
    fn most_of_it_elsewhere_is_a_reason() {
        assert_eq!(moves(&mut Residence::new(0), &[2, 1, 2, 0, 2], 100_000), [(16, 2)]);
    }

    #[test]
    fn one_that_wanders_drags_its_connection_along_ever_more_rarely() {
        let mut residence = Residence::new(0);
        let mut moved = 0;
        for stay in 0..1_000 {
            moved += moves(&mut residence, &[1 + stay % 2], 1_000).len();
        }
        assert!(moved < 12, "{moved} moves in a million appends");
    }
}
