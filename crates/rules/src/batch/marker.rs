//! The markers that end transactions: control batches with one record (KIP-98; Kafka's `EndTransactionMarker`).
//!
//! ```text
//! key:   version i16 = 0 | type i16: 0 abort, 1 commit
//! value: version i16 = 0 | epoch of the transaction coordinator i32
//! ```

use super::{Batch, BatchError, build::BatchBuilder, invalid, records::Records};
use crate::{
    ids::{ProducerEpoch, ProducerId},
    time::Now,
};

const ABORT: i16 = 0;
const COMMIT: i16 = 1;
/// A marker's one record; nothing of it is packed.
const MARKER_BYTES_MAX: usize = 1024;

/// What a marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The transaction is committed; else it is aborted.
    pub commit: bool,
    /// The reign of the coordinator that decided.
    pub coordinator_epoch: i32,
}

impl Marker {
    /// The marker as a leader appends it.
    #[must_use]
    pub fn batch(self, producer: ProducerId, epoch: ProducerEpoch, now: Now) -> Batch {
        let kind = if self.commit { COMMIT } else { ABORT };
        let key = [0i16.to_be_bytes(), kind.to_be_bytes()].concat();
        let value = [&0i16.to_be_bytes()[..], &self.coordinator_epoch.to_be_bytes()].concat();
        let builder = BatchBuilder::new().transactional().control().producer(producer.0, epoch.0, -1);
        builder.record(key, value, now.wall_ms).parsed()
    }

    /// Reads the marker out of a stored control batch; none when it is a control batch of another kind (Kafka's own have
    /// types from 2 on, and readers pass over them).
    ///
    /// # Errors
    /// The batch has no record, or the record is too short.
    pub fn read(batch: &[u8]) -> Result<Option<Self>, BatchError> {
        let mut records = Records::of(batch, MARKER_BYTES_MAX)?;
        let record = records.next()?.ok_or_else(|| invalid("a control batch without a record"))?;
        let short = || invalid("the record of a control batch is too short");
        let key = record.key.and_then(|key| key.get(2..4)).ok_or_else(short)?;
        let commit = match i16::from_be_bytes([key[0], key[1]]) {
            ABORT => false,
            COMMIT => true,
            _ => return Ok(None),
        };
        let value = record.value.and_then(|value| value.get(2..6)).ok_or_else(short)?;
        let coordinator_epoch = i32::from_be_bytes([value[0], value[1], value[2], value[3]]);
        Ok(Some(Self { commit, coordinator_epoch }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::build::BatchBuilder,
        ids::{LeaderEpoch, Offset},
    };

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        for commit in [false, true] {
            let marker = Marker { commit, coordinator_epoch: 7 };
            let batch = marker.batch(ProducerId(5), ProducerEpoch(3), Now { mono_ms: 0, wall_ms: 1_000 });
            assert!(batch.header().attributes.is_control() && batch.header().attributes.is_transactional());
            let stored = batch.stamp(Offset(9), LeaderEpoch(0), None);
            assert_eq!(Marker::read(&stored.bytes), Ok(Some(marker)));
        }
    }

    #[test]
    fn control_batches_of_other_kinds_are_passed_over_and_short_ones_refused() {
        let of = |key: &[u8], value: &[u8]| {
            let batch = BatchBuilder::new().control().record(key, value, 0);
            Marker::read(&batch.stamped(Offset(0), LeaderEpoch(0)).bytes)
        };
        assert_eq!(of(&[0, 0, 0, 3], &[]), Ok(None));
        assert!(of(&[0, 0, 0], &[0, 0, 0, 0, 0, 1]).is_err());
        assert!(of(&[0, 0, 0, 1], &[0, 0, 0]).is_err());
    }
}
