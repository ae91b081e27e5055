//! What is read is what was written, and both are what Kafka reads and writes.

/// Random numbers from a seed, and values made of them.
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number of any size; small ones and -1 are frequent.
    pub(crate) fn number(&mut self) -> u64 {
        match self.next() % 4 {
            0 => self.next() % 4,
            1 => u64::MAX,
            _ => self.next(),
        }
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn text(&mut self) -> String {
        const LETTERS: [char; 6] = ['a', 'Z', '-', '.', 'ß', '水'];
        // Sometimes long enough for a length of two bytes.
        let length = if self.one_in(16) { 100 + self.below(100) } else { self.below(6) };
        (0..length).map(|_| LETTERS[self.below(LETTERS.len())]).collect()
    }

    pub(crate) fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let length = self.below(4);
        (0..length).map(|_| element(self)).collect()
    }
}
