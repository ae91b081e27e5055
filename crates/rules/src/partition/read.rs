//! What a leader's readers may read, and how they find out that their log differs.

use super::{
    Effect, Heard, ReadAsk, ReadBounds, ReadError,
    leader::{Leader, State},
};
use crate::ids::{LeaderEpoch, Offset};

impl<R, B> Leader<R, B> {
    /// What may be read from `ask.from` on. Readers see what is written: an offset that has only been given out may yet
    /// be given to another batch.
    ///
    /// # Errors
    /// [`ReadError`], in Kafka's order: the reader's reign, then its last record's, then the offset.
    pub fn plan_read(&self, ask: ReadAsk) -> Result<ReadBounds, ReadError> {
        self.check_epoch(ask.current_epoch)?;
        let out_of_range = ReadError::OffsetOutOfRange { log_start: self.log_start, end: self.written };
        let diverging = match ask.last_fetched_epoch {
            None => None,
            Some(fetched) => {
                let (epoch, end) = self.end_of(fetched).ok_or(out_of_range)?;
                (epoch < fetched || end < ask.from).then_some((epoch, end))
            }
        };
        if ask.from < self.log_start || (ask.from > self.written && diverging.is_none()) {
            return Err(out_of_range);
        }
        let bound = if ask.committed_only { self.stable() } else { self.high_watermark };
        let upto = if diverging.is_some() { ask.from } else { bound.max(ask.from) };
        Ok(ReadBounds {
            from: ask.from,
            upto,
            high_watermark: self.high_watermark,
            stable: self.stable(),
            log_start: self.log_start,
            diverging,
        })
    }

    /// Rings `bell` once: when there is something to read at `from` (for a reader of committed records: something
    /// stable), or when the reign ends. At once when that is so already. For how long to wait is the reader's own affair.
    ///
    /// # Errors
    /// [`ReadError::TooManyWaiting`] at `limits.watchers_max`: the reader is answered with what there is.
    pub fn watch(
        &mut self,
        bell: B,
        from: Offset,
        committed_only: bool,
        out: &mut Vec<Effect<R, B>>,
    ) -> Result<(), ReadError>
    where
        B: Heard,
    {
        let bound = if committed_only { self.stable() } else { self.high_watermark };
        if self.state != State::Leading || from < bound {
            out.push(Effect::Ring { bell });
            return Ok(());
        }
        let is_watched = self.watchers.push(bell, from, committed_only, self.limits.watchers_max);
        is_watched.then_some(()).ok_or(ReadError::TooManyWaiting)
    }

    /// OffsetForLeaderEpoch: the largest reign that is not above `epoch`, and where it ended. (-1, -1) when it is not known.
    ///
    /// # Errors
    /// [`ReadError`] when the asker's own reign (`current`) is not this one.
    pub fn epoch_end(
        &self,
        epoch: LeaderEpoch,
        current: Option<LeaderEpoch>,
    ) -> Result<(LeaderEpoch, Offset), ReadError> {
        self.check_epoch(current)?;
        Ok(self.end_of(epoch).unwrap_or((LeaderEpoch(-1), Offset(-1))))
    }

    /// The last stable offset: below it every transaction has ended, and its end is safe. Never below the log start, whatever was
    /// deleted of a transaction that is still open (Kafka's `UnifiedLog.maybeIncrementFirstUnstableOffset`).
    #[must_use]
    pub fn stable(&self) -> Offset {
        let first = self.producers.transactions().first_unstable();
        first.map_or(self.high_watermark, |first| first.max(self.log_start).min(self.high_watermark))
    }

    /// Whether the asker believes in this reign (KIP-320). None, and a negative epoch, ask for no check.
    ///
    /// # Errors
    /// [`ReadError::FencedEpoch`], [`ReadError::UnknownEpoch`], or that this replica does not serve at all.
    pub fn check_epoch(&self, current: Option<LeaderEpoch>) -> Result<(), ReadError> {
        match self.state {
            State::Leading => (),
            State::Retired => return Err(ReadError::NotHere),
            State::Lost => return Err(ReadError::Storage),
        }
        match current {
            Some(believed) if believed.0 >= 0 && believed < self.epoch => {
                Err(ReadError::FencedEpoch { current: self.epoch })
            }
            Some(believed) if believed > self.epoch => Err(ReadError::UnknownEpoch { current: self.epoch }),
            Some(_) | None => Ok(()),
        }
    }

    fn end_of(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        // A reign counts from its beginning, not from its first batch: Kafka's leader caches its epoch when it is elected.
        if epoch == self.epoch {
            return Some((epoch, self.written));
        }
        if epoch < self.epoch && self.epochs.latest().is_none_or(|latest| latest <= epoch) {
            let last = self.epochs.latest().unwrap_or(epoch);
            return Some((last, self.written));
        }
        self.epochs.end_of(epoch, self.written)
    }
}
