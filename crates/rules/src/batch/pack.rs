//! A batch that is packed anew, because its topic names another codec (`compression.type`).

use std::io::{self, Write};

use bytes::BytesMut;

use super::{
    Attributes, BatchError, HEADER_BYTES, LENGTH_PREFIX_BYTES, Packing, codec::Packer, crc_of, unpackable,
};

/// A batch on its way into another codec: the same header, and the same records as they are unpacked. Deltas count from
/// the header, so no record has to be written anew; producer id, epoch and sequence stay, and a retry is recognised.
pub(super) struct Repacked {
    packer: Packer<Bounded>,
    packing: Packing,
    bytes_max: usize,
}

impl Repacked {
    /// Begins with the header of `batch`. The result is refused beyond `bytes_max` bytes, and no more of it is kept.
    pub(super) fn begin(batch: &[u8], packing: Packing, bytes_max: usize) -> Result<Self, BatchError> {
        let bytes = BytesMut::from(&batch[..HEADER_BYTES]);
        let into = Bounded { bytes, len: HEADER_BYTES, len_max: bytes_max };
        let packer = Packer::new(packing, into).map_err(|error| unpackable(packing.codec, error))?;
        Ok(Self { packer, packing, bytes_max })
    }

    /// Takes the next records.
    pub(super) fn put(&mut self, unpacked: &[u8]) -> io::Result<()> {
        self.packer.put(unpacked)
    }

    /// The batch.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`], as Kafka measures again after packing.
    pub(super) fn finish(self) -> Result<BytesMut, BatchError> {
        let Self { packer, packing, bytes_max } = self;
        let Bounded { mut bytes, len, .. } =
            packer.finish().map_err(|error| unpackable(packing.codec, error))?;
        let Some(length) = i32::try_from(len - LENGTH_PREFIX_BYTES).ok().filter(|_| len <= bytes_max) else {
            return Err(BatchError::TooLarge { bytes: len, max: bytes_max });
        };
        let attributes =
            i16::from_be_bytes([bytes[21], bytes[22]]) & !Attributes::CODEC | packing.codec as i16;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        let crc = crc_of(&bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        Ok(bytes)
    }
}

/// Bytes up to a bound; those beyond are only counted.
struct Bounded {
    bytes: BytesMut,
    len: usize,
    len_max: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.len += bytes.len();
        if self.len <= self.len_max {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
