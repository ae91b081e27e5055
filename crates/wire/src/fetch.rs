//! How records travel in Fetch responses: not at all.
//!
//! A response is written with gaps where records belong, and leaves as a list of [`Chunk`]s: bytes of ours, then the
//! records of some partition, then bytes of ours again. Whoever owns the socket fills the gaps from memory or lets the
//! kernel do it (`sendfile`). Reading a response, as clients do, gives the records as slices of its bytes.

use bytes::{Bytes, BytesMut};

use crate::{
    Encode, Field, Shape,
    api::ApiKey,
    frame::LENGTH_BYTES,
    header::encode_response_header,
    messages::fetch::FetchResponse,
    reader::{DecodeError, Reader},
    writer::Writer,
};

/// The records of one partition in a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// The bytes themselves: what reading gives, and what may be written for clients and tests.
    Bytes(Bytes),
    /// Bytes that are somewhere else and are filled in on the way to the socket.
    Gap {
        /// What the writer of the response calls them; comes back in [`Chunk::Records`].
        index: usize,
        /// How many bytes they are, exactly.
        len: usize,
    },
}

impl Records {
    /// How many bytes they are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Gap { len, .. } => *len,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A piece of a response on its way to the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Bytes to send.
    Bytes(Bytes),
    /// Here `len` bytes of records are to be sent, neither more nor fewer.
    Records {
        /// The index given in [`Records::Gap`].
        index: usize,
        /// How many bytes they are; never 0.
        len: usize,
    },
}

/// What most answers take beside records, and what of it is for each partition: their buffer never has to grow.
const ANSWER_BYTES: usize = 96;
const PARTITION_BYTES: usize = 80;

/// A whole response as it goes to the socket: length, header, body, with gaps for the records. The chunks come in the
/// order of the partitions.
#[must_use]
pub fn response(version: i16, correlation_id: i32, body: &FetchResponse) -> Vec<Chunk> {
    let partitions: usize = body.responses.iter().map(|topic| topic.partitions.len()).sum();
    let mut writer = Writer::with_capacity(ANSWER_BYTES + partitions * PARTITION_BYTES);
    writer.i32(0);
    encode_response_header(&mut writer, ApiKey::Fetch, version, correlation_id);
    body.encode(&mut writer, version);
    let (mut bytes, gaps) = writer.into_parts();
    let length = bytes.len() - LENGTH_BYTES + gaps.iter().map(|gap| gap.len).sum::<usize>();
    // Fetch responses are bounded by `fetch_bytes_max`, 2^30 at most.
    bytes[..LENGTH_BYTES].copy_from_slice(&(length as i32).to_be_bytes());
    chunks(bytes, &gaps)
}

fn chunks(mut bytes: BytesMut, gaps: &[Gap]) -> Vec<Chunk> {
    let mut chunks = Vec::with_capacity(2 * gaps.len() + 1);
    let mut cut = 0;
    for &Gap { at, index, len } in gaps {
        // Two gaps never touch: the length of the second one stands between them.
        chunks.push(Chunk::Bytes(bytes.split_to(at - cut).freeze()));
        chunks.push(Chunk::Records { index, len });
        cut = at;
    }
    chunks.push(Chunk::Bytes(bytes.freeze()));
    chunks
}

/// A place in written bytes where records are to be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Before which of the written bytes.
    pub at: usize,
    /// What they are called.
    pub index: usize,
    /// How many bytes they are.
    pub len: usize,
}

impl Field for Option<Records> {
    fn blank() -> Self {
        Some(Records::Bytes(Bytes::new()))
    }

    fn read(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, DecodeError> {
        Ok(reader.nullable_bytes(shape.flexible)?.map(Records::Bytes))
    }

    fn write(&self, writer: &mut Writer, shape: Shape) {
        match self {
            None => writer.nullable_bytes(None, shape.flexible),
            Some(Records::Bytes(bytes)) => writer.nullable_bytes(Some(bytes), shape.flexible),
            Some(Records::Gap { index, len }) => {
                writer.length(Some(*len), shape.flexible);
                writer.gap(*index, *len);
            }
        }
    }

    #[cfg(test)]
    fn arbitrary(dice: &mut crate::tests::Dice, shape: Shape) -> Self {
        Option::<Bytes>::arbitrary(dice, shape).map(Records::Bytes)
    }
}
