//! Taking records out of a stored batch: what compaction writes in its place.
//!
//! The batch keeps its base offset, its last offset, its codec and its producer's fields, so that neither offsets nor
//! sequences move. The records that stay are copied as they are coded. Only a delete horizon (KIP-534) changes them: it takes
//! the place of the base timestamp, from which their timestamps count.

use super::{
    Attributes, BatchError, Codec, HEADER_BYTES, Header, LENGTH_PREFIX_BYTES, Packing, TimestampType,
    codec::Packer,
    crc_of, invalid,
    records::{self, Record, Records},
    unpackable, varint,
};
use crate::ids::Offset;

/// What the timestamp of an emptied batch counts from: nothing (Kafka's `RecordBatch.NO_TIMESTAMP`).
const NO_TIMESTAMP: i64 = -1;

/// One stored batch, and which of its records stay.
#[derive(Debug)]
pub struct Sieve<'a> {
    batch: &'a [u8],
    header: Header,
    unpacked_bytes_max: usize,
    stays: Vec<bool>,
    n_kept: i32,
    has_tombstone: bool,
    max_timestamp: i64,
}

impl<'a> Sieve<'a> {
    /// Looks at every record of one whole batch whose CRC has been checked. Packed ones are unpacked one at a time, up to
    /// `unpacked_bytes_max` bytes.
    ///
    /// # Errors
    /// Those of [`Records`].
    pub fn over(
        batch: &'a [u8],
        unpacked_bytes_max: usize,
        mut stays: impl FnMut(Offset, &Record<'_>) -> bool,
    ) -> Result<Self, BatchError> {
        let header = Header::read(batch)?;
        let base = header.base_offset;
        let mut sieve = Self {
            batch,
            header,
            unpacked_bytes_max,
            stays: Vec::new(),
            n_kept: 0,
            has_tombstone: false,
            max_timestamp: NO_TIMESTAMP,
        };
        let mut records = Records::of(batch, unpacked_bytes_max)?;
        while let Some(record) = records.next()? {
            let stays = stays(base.plus(i64::from(record.offset_delta)), &record);
            sieve.stays.push(stays);
            if stays {
                sieve.n_kept += 1;
                sieve.has_tombstone |= record.value.is_none();
                sieve.max_timestamp = sieve.max_timestamp.max(record.timestamp);
            }
        }
        Ok(sieve)
    }

    /// How many records stay.
    #[must_use]
    pub fn n_kept(&self) -> i32 {
        self.n_kept
    }

    /// Whether all of them do.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.stays.iter().all(|stays| *stays)
    }

    /// Whether a tombstone is among those that stay.
    #[must_use]
    pub fn keeps_tombstone(&self) -> bool {
        self.has_tombstone
    }

    /// The batch with the records that stay. With a `horizon` (Unix milliseconds) it says when its tombstones, or its marker,
    /// may go.
    ///
    /// # Errors
    /// Those of [`Records`]; [`BatchError::Invalid`] when the result has no room in a batch.
    pub fn rewrite(self, horizon: Option<i64>) -> Result<Vec<u8>, BatchError> {
        let codec = self.header.attributes.codec()?;
        let failed = |error| unpackable(codec, error);
        let mut packer =
            Packer::new(Packing::of(codec), self.batch[..HEADER_BYTES].to_vec()).map_err(failed)?;
        let mut records = Records::of(self.batch, self.unpacked_bytes_max)?;
        let mut recoded = Vec::new();
        for stays in &self.stays {
            let Some(body) = records.next_body()? else { break };
            if *stays {
                recoded.clear();
                let shift = horizon.map_or(0, |horizon| self.header.base_timestamp.wrapping_sub(horizon));
                recode(body, shift, &mut recoded)?;
                packer.put(&recoded).map_err(failed)?;
            }
        }
        let mut bytes = packer.finish().map_err(failed)?;
        let max_timestamp = match self.header.attributes.timestamp_type() {
            TimestampType::CreateTime => self.max_timestamp,
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        let (attributes, base_timestamp) = match horizon {
            Some(horizon) => (self.header.attributes.0 | Attributes::DELETE_HORIZON, horizon),
            None => (self.header.attributes.0, self.header.base_timestamp),
        };
        set(&mut bytes, attributes, base_timestamp, max_timestamp, self.n_kept)?;
        Ok(bytes)
    }
}

/// A batch from which every record is taken: only its place, its producer and the last sequence are left (Kafka's
/// `DefaultRecordBatch.writeEmptyHeader`).
#[must_use]
pub fn emptied(batch: &[u8; HEADER_BYTES]) -> Vec<u8> {
    let mut bytes = batch.to_vec();
    let attributes = i16::from_be_bytes([batch[21], batch[22]]);
    let attributes = attributes & !(Attributes::CODEC | Attributes::DELETE_HORIZON) | Codec::None as i16;
    let max_timestamp = i64::from_be_bytes(super::field(batch, 35));
    // A header alone always has room.
    let _ = set(&mut bytes, attributes, NO_TIMESTAMP, max_timestamp, 0);
    bytes
}

/// Writes what has changed into the header of a whole batch, its length and its CRC.
fn set(
    bytes: &mut [u8],
    attributes: i16,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
) -> Result<(), BatchError> {
    let length = i32::try_from(bytes.len() - LENGTH_PREFIX_BYTES)
        .map_err(|_| invalid("a rewritten batch is larger than any may be"))?;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    bytes[27..35].copy_from_slice(&base_timestamp.to_be_bytes());
    bytes[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc_of(bytes);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Ok(())
}

/// Writes a record again, its timestamp `shift` milliseconds further from the base.
fn recode(body: &[u8], shift: i64, out: &mut Vec<u8>) -> Result<(), BatchError> {
    if shift == 0 {
        varint::put(body.len() as i64, out);
        out.extend_from_slice(body);
        return Ok(());
    }
    let (attributes, mut rest) = body.split_first().ok_or_else(records::malformed)?;
    let delta = varint::take_long(&mut rest).ok_or_else(records::malformed)?;
    let mut head = vec![*attributes];
    varint::put(delta.wrapping_add(shift), &mut head);
    varint::put((head.len() + rest.len()) as i64, out);
    out.extend_from_slice(&head);
    out.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::{
            build::{BatchBuilder, BuildRecord},
            check_stored,
        },
        ids::LeaderEpoch,
    };

    const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    const MAX: usize = 1 << 20;

    fn batch(codec: Codec) -> Vec<u8> {
        let tombstone = BuildRecord { timestamp: 300, key: Some(b"b".to_vec()), ..BuildRecord::default() };
        let headers = vec![("h".to_owned(), Some(b"1".to_vec())), ("i".to_owned(), None)];
        let with_headers =
            BuildRecord { timestamp: 100, key: Some(b"c".to_vec()), value: Some(b"3".to_vec()), headers };
        let builder = BatchBuilder::new().codec(codec).producer(7, 1, 40).transactional();
        let builder = builder.record("a", "1", 200).push(tombstone).push(with_headers);
        builder.stamped(Offset(10), LeaderEpoch(3)).bytes.to_vec()
    }

    /// Offset, timestamp, key, value, headers as coded.
    type Seen = (i64, i64, Vec<u8>, Option<Vec<u8>>, Vec<u8>);

    fn read(batch: &[u8]) -> Vec<Seen> {
        let header = check_stored(batch).unwrap();
        let mut records = Records::of(batch, MAX).unwrap();
        let mut seen = vec![];
        while let Some(record) = records.next().unwrap() {
            let offset = header.base_offset.0 + i64::from(record.offset_delta);
            let (key, value) = (record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec));
            seen.push((offset, record.timestamp, key, value, record.headers.to_vec()));
        }
        seen
    }

    #[test]
    fn what_stays_is_what_it_was_and_the_batch_keeps_its_place() {
        for codec in CODECS {
            let whole = batch(codec);
            let sieve = Sieve::over(&whole, MAX, |offset, _| offset != Offset(10)).unwrap();
            assert!(!sieve.keeps_all() && sieve.keeps_tombstone());
            let sifted = sieve.rewrite(None).unwrap();

            assert_eq!(read(&sifted), read(&whole)[1..], "{codec:?}");
            let (was, is) = (Header::read(&whole).unwrap(), Header::read(&sifted).unwrap());
            assert_eq!((is.count, is.max_timestamp), (2, 300));
            let same =
                Header { batch_length: was.batch_length, crc: was.crc, count: was.count, ..is.clone() };
            assert_eq!(same, was);
        }
    }

    #[test]
    fn a_delete_horizon_takes_the_place_of_the_base_timestamp() {
        for codec in CODECS {
            let whole = batch(codec);
            let marked =
                Sieve::over(&whole, MAX, |_, _| true).unwrap().rewrite(Some(1_700_000_000_000)).unwrap();
            let header = Header::read(&marked).unwrap();
            assert!(header.attributes.has_delete_horizon());
            assert_eq!((header.base_timestamp, header.max_timestamp), (1_700_000_000_000, 300));
            assert_eq!(read(&marked), read(&whole), "{codec:?}");

            let again = Sieve::over(&marked, MAX, |offset, _| offset == Offset(11)).unwrap();
            let again = again.rewrite(None).unwrap();
            assert_eq!(read(&again), read(&whole)[1..2]);
            assert_eq!(Header::read(&again).unwrap().base_timestamp, 1_700_000_000_000);
        }
    }

    #[test]
    fn the_time_of_the_append_stays() {
        let parsed = BatchBuilder::new().record("a", "1", 5).record("b", "2", 6).parsed();
        let whole = parsed.stamp(Offset(0), LeaderEpoch(0), Some(900)).bytes;
        let sifted =
            Sieve::over(&whole, MAX, |offset, _| offset == Offset(0)).unwrap().rewrite(Some(77)).unwrap();
        assert_eq!(Header::read(&sifted).unwrap().max_timestamp, 900);
        assert_eq!(read(&sifted)[0].1, 900);
    }

    #[test]
    fn an_emptied_batch_still_says_who_wrote_it_and_up_to_where() {
        let whole = batch(Codec::Zstd);
        let empty = emptied(whole.first_chunk().unwrap());
        assert_eq!(empty.len(), HEADER_BYTES);
        assert_eq!(read(&empty), []);
        let (was, is) = (Header::read(&whole).unwrap(), Header::read(&empty).unwrap());
        assert_eq!(
            (is.base_offset, is.end(), is.last_sequence()),
            (was.base_offset, was.end(), was.last_sequence())
        );
        assert_eq!(
            (is.producer_id, is.producer_epoch, is.leader_epoch),
            (was.producer_id, was.producer_epoch, was.leader_epoch)
        );
        assert_eq!((is.count, is.max_timestamp, is.attributes.codec()), (0, 300, Ok(Codec::None)));
        assert!(is.attributes.is_transactional());
    }
}
