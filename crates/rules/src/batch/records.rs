//! The records inside a batch, packed or not.

use super::BatchError;
use crate::ids::Offset;

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset, counted from the batch's base offset.
    pub offset_delta: i32,
    /// Unix milliseconds; the batch's own time in a LogAppendTime batch; -1 when it has none.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// How many headers it has.
    pub n_headers: i32,
    /// The headers as they are coded, without their count.
    pub headers: &'a [u8],
}

/// Reads the records of one batch, in order. Packed ones are unpacked one record at a time.
pub struct Records<'a> {
    batch: std::marker::PhantomData<&'a [u8]>,
}

impl<'a> Records<'a> {
    /// The records of one whole batch whose CRC has been checked. At most `unpacked_bytes_max` bytes are unpacked.
    ///
    /// # Errors
    /// Those of [`super::Header::read`], an unknown codec.
    pub fn of(_batch: &'a [u8], _unpacked_bytes_max: usize) -> Result<Self, BatchError> {
        todo!()
    }

    /// The next record, or none after the last. Borrows the reader, because a packed record lives in its buffer.
    ///
    /// # Errors
    /// [`BatchError::Invalid`] when a record is not what the format says, [`BatchError::Corrupt`] when it cannot be
    /// unpacked, [`BatchError::UnpacksTooLarge`] beyond the bound. After an error the reader is of no more use.
    #[expect(clippy::should_implement_trait, reason = "an Iterator cannot lend its own buffer")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, BatchError> {
        todo!()
    }
}

/// The first record of a stored batch with a timestamp of at least `at_least`: its offset and timestamp.
///
/// # Errors
/// Those of [`Records`].
pub fn find_timestamp(
    _batch: &[u8],
    _at_least: i64,
    _unpacked_bytes_max: usize,
) -> Result<Option<(Offset, i64)>, BatchError> {
    todo!()
}

/// The first record with the largest timestamp of a stored batch: its offset and timestamp. None when no record has one.
///
/// # Errors
/// Those of [`Records`].
pub fn find_max_timestamp(
    _batch: &[u8],
    _unpacked_bytes_max: usize,
) -> Result<Option<(Offset, i64)>, BatchError> {
    todo!()
}
