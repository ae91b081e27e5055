//! The second pass: what becomes of each batch.
//!
//! | batch | record | stays |
//! |---|---|---|
//! | beyond the end of the map | any | as it is |
//! | aborted | any | no |
//! | of records | with a later one of its key in the map, or without a key | no |
//! | of records | tombstone, and the batch's delete horizon has passed | no |
//! | of records | any other | yes |
//! | marker | its transaction has records yet | yes |
//! | marker | nothing is left of its transaction | until its delete horizon |
//!
//! A batch without a record goes, unless it is a producer's last (its sequence would be forgotten) or the last below the round's
//! end (where the log ends would be forgotten): then it stays without records.

use std::collections::BTreeMap;

use super::{fates::Fates, map::OffsetMap};
use crate::{
    batch::{
        BatchError, HEADER_BYTES, Header,
        sieve::{Sieve, emptied},
    },
    ids::{Offset, ProducerEpoch, ProducerId},
    partition::transactions::Aborted,
    planted,
    producers::ProducerEntry,
};

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays as it is.
    Keep,
    /// It goes.
    Drop,
    /// This batch takes its place.
    Replace(Vec<u8>),
}

/// A verdict, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What becomes of the batch.
    pub verdict: Verdict,
    /// Records that are gone with it.
    pub n_gone: i32,
    /// A marker is no longer one: what is known of the transaction that it aborted has to be forgotten, before the segment that
    /// held it is.
    pub is_forgotten: bool,
}

/// The last batch of every producer that is remembered.
#[derive(Clone, Debug, Default)]
pub struct LastBatches(BTreeMap<ProducerId, LastOf>);

#[derive(Clone, Copy, Debug)]
enum LastOf {
    /// The batch of records that ends with this offset: it has the last sequence.
    Records(Offset),
    /// Only markers: they have the epoch, which fences.
    Markers(ProducerEpoch),
}

impl LastBatches {
    /// Those of these producers.
    #[must_use]
    pub fn of(producers: &[ProducerEntry]) -> Self {
        let last = |entry: &ProducerEntry| match entry.batches.last() {
            Some(last) => LastOf::Records(last.base.plus(i64::from(last.last_offset_delta))),
            None => LastOf::Markers(entry.epoch),
        };
        Self(producers.iter().map(|entry| (entry.id, last(entry))).collect())
    }

    fn has(&self, header: &Header) -> bool {
        match self.0.get(&header.producer_id) {
            Some(LastOf::Records(last)) => header.end() == last.plus(1),
            Some(LastOf::Markers(epoch)) => header.attributes.is_control() && header.producer_epoch == *epoch,
            None => false,
        }
    }
}

/// The times that decide about tombstones and markers, Unix milliseconds and milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// The moment of this round.
    pub now_ms: i64,
    /// How long a tombstone stays after it was first passed by (`delete.retention.ms`).
    pub tombstones_ms: u64,
    /// The same for markers: no shorter, and as long as somebody may still read the segments that a round before this one
    /// replaced (`file.delete.delay.ms`). Those have the records that the marker aborts.
    pub markers_ms: u64,
}

impl Horizon {
    fn has_passed(&self, header: &Header) -> bool {
        header.attributes.has_delete_horizon() && header.base_timestamp <= self.now_ms
    }

    /// The horizon that a batch gets; none when it has one.
    fn of(&self, header: &Header, ms: u64) -> Option<i64> {
        let at = self.now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX));
        (!header.attributes.has_delete_horizon()).then_some(at)
    }
}

/// A walk over all batches up to the end of the map, in order.
#[derive(Debug)]
pub struct Filter {
    map: OffsetMap,
    fates: Fates,
    last: LastBatches,
    /// The last batch below it stays.
    upper: Offset,
    horizon: Horizon,
    unpacked_bytes_max: usize,
}

impl Filter {
    /// A filter by what the first pass found, for a round that ends at `upper`.
    #[must_use]
    pub fn new(
        map: OffsetMap,
        last: LastBatches,
        upper: Offset,
        horizon: Horizon,
        unpacked_bytes_max: usize,
    ) -> Self {
        Self { map, fates: Fates::new(), last, upper, horizon, unpacked_bytes_max }
    }

    /// Takes in those aborted transactions that overlap the batches that come next.
    pub fn learn(&mut self, rows: impl IntoIterator<Item = Aborted>) {
        self.fates.learn(rows);
    }

    /// Up to where the log is compacted once all of it is written anew.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.map.end()
    }

    /// Judges the next batch, whose CRC has been checked.
    ///
    /// # Errors
    /// The batch cannot be read.
    pub fn judge(&mut self, header: &Header, batch: &[u8]) -> Result<Judged, BatchError> {
        let is_control = header.attributes.is_control();
        let may_go = if is_control { self.fates.control(header, batch)? } else { self.fates.batch(header) };
        if header.base_offset >= self.map.end() {
            return Ok(kept());
        }
        if header.count == 0 {
            return Ok(self.without_records(header, batch));
        }
        if is_control {
            return self.judge_control(header, batch, may_go);
        }
        if may_go {
            return Ok(self.without_records(header, batch));
        }
        let has_passed = self.horizon.has_passed(header) || planted::is(planted::Bug::TombstoneCutShort);
        let map = &self.map;
        let sieve = Sieve::over(batch, self.unpacked_bytes_max, |offset, record| {
            if offset >= map.end() {
                return true;
            }
            let Some(key) = record.key else { return false };
            map.get(key).is_none_or(|last| offset >= last) && (record.value.is_some() || !has_passed)
        })?;
        if sieve.n_kept() == 0 {
            return Ok(self.without_records(header, batch));
        }
        let horizon = match sieve.keeps_tombstone() {
            true => self.horizon.of(header, self.horizon.tombstones_ms),
            false => None,
        };
        if sieve.keeps_all() && horizon.is_none() {
            return Ok(kept());
        }
        let n_gone = header.count - sieve.n_kept();
        Ok(Judged { verdict: Verdict::Replace(sieve.rewrite(horizon)?), n_gone, is_forgotten: false })
    }

    fn judge_control(&self, header: &Header, batch: &[u8], may_go: bool) -> Result<Judged, BatchError> {
        if !may_go {
            return Ok(kept());
        }
        if self.horizon.has_passed(header) {
            return Ok(Judged { is_forgotten: true, ..self.without_records(header, batch) });
        }
        let Some(horizon) = self.horizon.of(header, self.horizon.markers_ms) else { return Ok(kept()) };
        let marked = Sieve::over(batch, self.unpacked_bytes_max, |_, _| true)?.rewrite(Some(horizon))?;
        Ok(Judged { verdict: Verdict::Replace(marked), n_gone: 0, is_forgotten: false })
    }

    /// No record of it stays.
    fn without_records(&self, header: &Header, batch: &[u8]) -> Judged {
        let must_stay = header.end() == self.upper || (header.has_producer() && self.last.has(header));
        let verdict = match batch.first_chunk::<HEADER_BYTES>() {
            Some(_) if must_stay && header.count == 0 => Verdict::Keep,
            Some(head) if must_stay => Verdict::Replace(emptied(head)),
            Some(_) | None => Verdict::Drop,
        };
        Judged { verdict, n_gone: header.count, is_forgotten: false }
    }
}

fn kept() -> Judged {
    Judged { verdict: Verdict::Keep, n_gone: 0, is_forgotten: false }
}
