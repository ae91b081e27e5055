//! The first pass: the dirty part is read, and the last offset of every key is remembered.

use super::{fates::Fates, map::OffsetMap};
use crate::{
    batch::{BatchError, Header, records::Records},
    ids::Offset,
    partition::transactions::Aborted,
    planted,
};

/// A walk over the batches of the dirty part, in order.
#[derive(Debug)]
pub struct Index {
    map: OffsetMap,
    fates: Fates,
    from: Offset,
    unpacked_bytes_max: usize,
    is_full: bool,
}

impl Index {
    /// A walk that fills `map` with what lies at or beyond `from`.
    #[must_use]
    pub fn new(map: OffsetMap, from: Offset, unpacked_bytes_max: usize) -> Self {
        Self { map, fates: Fates::new(), from, unpacked_bytes_max, is_full: false }
    }

    /// Takes in those aborted transactions that overlap the batches that come next.
    pub fn learn(&mut self, rows: impl IntoIterator<Item = Aborted>) {
        self.fates.learn(rows);
    }

    /// Takes in the next batch, whose CRC has been checked. Once the map is full nothing more is taken.
    ///
    /// # Errors
    /// The batch cannot be read.
    pub fn take(&mut self, header: &Header, batch: &[u8]) -> Result<(), BatchError> {
        if self.is_full {
            return Ok(());
        }
        let is_control = header.attributes.is_control();
        let is_aborted = !is_control && self.fates.batch(header);
        if is_control {
            self.fates.control(header, batch)?;
        }
        if header.end() <= self.from {
            return Ok(());
        }
        if !is_control && !is_aborted {
            self.take_records(header, batch)?;
        }
        if !self.is_full {
            self.map.covers(header.end());
        }
        Ok(())
    }

    fn take_records(&mut self, header: &Header, batch: &[u8]) -> Result<(), BatchError> {
        let mut records = Records::of(batch, self.unpacked_bytes_max)?;
        while let Some(record) = records.next()? {
            let offset = header.base_offset.plus(i64::from(record.offset_delta));
            let Some(key) = record.key.filter(|_| offset >= self.from) else { continue };
            if record.value.is_none() && planted::is(planted::Bug::TombstonePassedOver) {
                continue;
            }
            if !self.map.put(key, offset) {
                self.is_full = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether there is no room for another key: the round ends before it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Everything below `end` was read: there is nothing but a gap up to there.
    pub fn reached(&mut self, end: Offset) {
        if !self.is_full {
            self.map.covers(end);
        }
    }

    /// What was found.
    #[must_use]
    pub fn into_map(self) -> OffsetMap {
        self.map
    }
}
