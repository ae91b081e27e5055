//! Batches that come while the log is being recovered.

/// How many bytes of them one partition keeps.
const BYTES_MAX: usize = 8 << 20;

/// Who came early, in order.
///
/// A producer sends its next batches before it has heard of the first. Were that one refused because the log is not there yet, and the next
/// one taken a moment later, its numbers would have a gap (OUT_OF_ORDER_SEQUENCE_NUMBER), and to get over it an idempotent
/// producer begins a new epoch, in which it sends again whatever it has no answer for: what is in the log already is then there
/// twice, in any of its partitions. So all of them wait, and once one was turned away, so are all after it.
#[derive(Debug)]
pub struct Early<A> {
    line: Vec<A>,
    bytes: usize,
    is_closed: bool,
}

/// Where somebody stands in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nobody came before.
    First,
    /// Behind others.
    Behind,
}

impl<A> Default for Early<A> {
    fn default() -> Self {
        Self { line: Vec::new(), bytes: 0, is_closed: false }
    }
}

impl<A> Early<A> {
    /// A batch of so many bytes joins the line.
    ///
    /// # Errors
    /// The batch itself, when the line is closed, or full: then it is closed from now on.
    pub fn join(&mut self, batch: A, bytes: usize) -> Result<Place, A> {
        self.is_closed |= self.bytes.saturating_add(bytes) > BYTES_MAX;
        if self.is_closed {
            return Err(batch);
        }
        self.bytes += bytes;
        self.line.push(batch);
        Ok(if self.line.len() == 1 { Place::First } else { Place::Behind })
    }

    /// It takes too long: nobody waits any more, nor will. Dropped, they are told to come again.
    pub fn close(&mut self) {
        *self = Self { is_closed: true, ..Self::default() };
    }

    /// The log is there, or will not be: who waits, in order.
    #[must_use]
    pub fn into_line(self) -> Vec<A> {
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_early_waits_in_order() {
        let mut early = Early::default();
        assert_eq!(early.join("first", 10), Ok(Place::First));
        assert_eq!(early.join("second", 10), Ok(Place::Behind));
        assert_eq!(early.into_line(), ["first", "second"]);
    }

    #[test]
    fn behind_one_that_was_turned_away_nobody_is_taken() {
        let mut early = Early::default();
        assert_eq!(early.join("all but one byte", BYTES_MAX - 1), Ok(Place::First));
        assert_eq!(early.join("two bytes", 2), Err("two bytes"));
        assert_eq!(early.join("one byte", 1), Err("one byte"), "it would be taken without the one before it");
        assert_eq!(early.into_line(), ["all but one byte"]);
        assert_eq!(Early::default().join("endless", usize::MAX), Err("endless"));
    }

    #[test]
    fn a_line_that_is_closed_stays_closed() {
        let mut early = Early::default();
        assert_eq!(early.join("first", 1), Ok(Place::First));
        early.close();
        assert_eq!(early.join("second", 1), Err("second"));
        assert!(early.into_line().is_empty());
    }
}
