//! The last offset of every key, in memory of a fixed size (what Kafka's `SkimpyOffsetMap` does).
//!
//! Keys are not kept, only 128 bits that are computed from each with a secret: two keys would have to agree in all of them for
//! one to be taken for the other, and nobody outside can look for such a pair.

use std::hash::{DefaultHasher, Hasher};

use crate::ids::Offset;

/// What one key takes, in bytes.
pub const ENTRY_BYTES: usize = size_of::<Entry>();

/// Fewer would be no table.
const SLOTS_MIN: usize = 16;

/// The two halves of a key's hash, and its offset plus one: an entry of zeros is free.
type Entry = [u64; 3];

/// A hash table that is never larger than it was when it was made, and from which nothing is taken out.
pub struct OffsetMap {
    entries: Vec<Entry>,
    len: usize,
    len_max: usize,
    secret: [u64; 2],
    end: Offset,
}

impl OffsetMap {
    /// An empty one of at most `bytes_max` bytes, filled up to `load_factor` (0 to 1), and no larger than `keys_max` keys
    /// need. `secret` is random.
    #[must_use]
    pub fn new(bytes_max: usize, load_factor: f64, keys_max: u64, secret: [u64; 2]) -> Self {
        let load_factor = if load_factor > 0.0 { load_factor.min(0.95) } else { 0.5 };
        let needed = (keys_max as f64 / load_factor).ceil() as usize;
        let slots = (bytes_max / ENTRY_BYTES).min(needed.saturating_add(1)).max(SLOTS_MIN);
        let len_max = ((slots as f64 * load_factor) as usize).max(1);
        Self { entries: vec![[0; 3]; slots], len: 0, len_max, secret, end: Offset::ZERO }
    }

    /// Everything below is in it: a record at or beyond this offset is none of its business.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Everything below `end` is in it now.
    pub fn covers(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// Remembers that a key has a record at this offset, later than those before. Whether there was room.
    #[must_use]
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        if self.len >= self.len_max {
            return false;
        }
        let (high, low) = self.hash(key);
        let at = self.slot_of(high, low);
        if self.entries[at][2] == 0 {
            self.len += 1;
        }
        // Offsets are not negative.
        self.entries[at] = [high, low, offset.0 as u64 + 1];
        self.covers(offset.plus(1));
        true
    }

    /// The last offset of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        let (high, low) = self.hash(key);
        let stored = self.entries[self.slot_of(high, low)][2];
        stored.checked_sub(1).map(|offset| Offset(offset as i64))
    }

    /// How many keys are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the hash is, or would be: one slot after the other. A part of them is always free.
    fn slot_of(&self, high: u64, low: u64) -> usize {
        let slots = self.entries.len();
        let mut at = (low % slots as u64) as usize;
        while self.entries[at][2] != 0 && self.entries[at][..2] != [high, low] {
            at = (at + 1) % slots;
        }
        at
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        let half = |secret: u64| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(secret);
            hasher.write(key);
            hasher.finish()
        };
        (half(self.secret[0]), half(self.secret[1]))
    }
}

impl std::fmt::Debug for OffsetMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OffsetMap({} of {} keys, up to {})", self.len, self.len_max, self.end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_as_large_as_it_may_be_and_no_larger_than_it_has_to_be() {
        let of = |bytes, keys| OffsetMap::new(bytes, 0.9, keys, [1, 2]).entries.len();
        assert_eq!(of(24_000, u64::MAX), 1_000);
        assert_eq!(of(24_000, 9), 16);
        assert_eq!(of(24_000, 90), 101);
        assert_eq!(of(0, 9), 16);
    }

    #[test]
    fn a_full_one_takes_nothing_more() {
        let mut map = OffsetMap::new(0, 0.5, 100, [1, 2]);
        let taken = (0..100i64).filter(|n| map.put(&n.to_be_bytes(), Offset(*n))).count();
        assert_eq!((taken, map.len()), (8, 8));
        assert_eq!(map.get(&3i64.to_be_bytes()), Some(Offset(3)));
        assert_eq!(map.get(&8i64.to_be_bytes()), None);
    }

    proptest! {
        #[test]
        fn like_a_map(keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3), 1..400), secret in any::<[u64; 2]>()) {
            let mut map = OffsetMap::new(usize::MAX, 0.9, keys.len() as u64, secret);
            let mut model = BTreeMap::new();
            for (key, offset) in keys.iter().zip(0i64..) {
                prop_assert!(map.put(key, Offset(offset)));
                model.insert(key.clone(), Offset(offset));
            }
            prop_assert_eq!(map.len(), model.len());
            for (key, offset) in &model {
                prop_assert_eq!(map.get(key), Some(*offset));
            }
            prop_assert_eq!(map.get(b"none of them"), None);
        }
    }
}
