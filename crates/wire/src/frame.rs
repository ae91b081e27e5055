//! Frames: four bytes of length, then that many bytes of header and body.

use bytes::{Bytes, BytesMut};

use crate::{
    Encode, Message,
    header::{RequestHeader, encode_response_header},
    reader::{DecodeError, Reader},
    writer::Writer,
};

/// How many bytes the length itself takes.
pub const LENGTH_BYTES: usize = 4;

/// Most answers fit into so much: their buffer never has to grow.
const SMALL_BYTES: usize = 128;

/// A length that no frame may have. The connection is closed, as Kafka's `NetworkReceive` does: nothing behind the
/// length can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Below zero; what stands there is probably not Kafka's protocol.
    #[error("a frame announces {length} bytes; a length is not negative")]
    Negative {
        /// The announced length.
        length: i32,
    },
    /// Nothing behind the length, not even a header.
    #[error("a frame announces no bytes at all; a request has a header")]
    Empty,
    /// Longer than `socket.request.max.bytes`. (A TLS or HTTP client at this port also looks like that.)
    #[error("a frame announces {length} bytes; at most {max} are allowed here")]
    TooLong {
        /// The announced length.
        length: usize,
        /// The limit.
        max: usize,
    },
}

/// An answer whose length its frame cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer of {length} bytes; a frame has at most 2147483647")]
pub struct AnswerTooLong {
    /// Its length.
    pub length: usize,
}

/// How many bytes follow the length `prefix`.
///
/// # Errors
/// [`FrameError`] for a length below or at zero, or above `bytes_max`.
pub fn length(prefix: [u8; LENGTH_BYTES], bytes_max: usize) -> Result<usize, FrameError> {
    let length = i32::from_be_bytes(prefix);
    let Ok(bytes) = usize::try_from(length) else { return Err(FrameError::Negative { length }) };
    if bytes == 0 {
        return Err(FrameError::Empty);
    }
    if bytes > bytes_max {
        return Err(FrameError::TooLong { length: bytes, max: bytes_max });
    }
    Ok(bytes)
}

/// Parts a frame (without its length) into header and body. The body keeps the frame's bytes, uncopied.
///
/// # Errors
/// [`DecodeError`] when it does not begin with a request header.
pub fn open(mut frame: BytesMut) -> Result<(RequestHeader, BytesMut), DecodeError> {
    let mut reader = Reader::over(&frame);
    let header = RequestHeader::decode(&mut reader)?;
    let body_at = reader.position();
    Ok((header, frame.split_off(body_at)))
}

/// A whole request as it goes to the socket, length included.
///
/// # Panics
/// Longer than a frame can be: whoever sends requests knows what it sends.
#[must_use]
pub fn request(header: &RequestHeader, body: &impl Encode) -> Bytes {
    let whole = closed(|writer| {
        header.encode(writer);
        body.encode(writer, header.version);
    });
    whole.expect("a request that fits a frame")
}

/// A whole answer as it goes to the socket, length included.
///
/// # Errors
/// Longer than a frame can be: how long an answer gets is up to whoever asks.
pub fn response<M: Message>(version: i16, correlation_id: i32, body: &M) -> Result<Bytes, AnswerTooLong> {
    closed(|writer| {
        encode_response_header(writer, M::KEY, version, correlation_id);
        body.encode(writer, version);
    })
}

/// A frame with what `write` writes.
fn closed(write: impl FnOnce(&mut Writer)) -> Result<Bytes, AnswerTooLong> {
    let mut writer = Writer::with_capacity(SMALL_BYTES);
    writer.i32(0);
    write(&mut writer);
    let (mut frame, gaps) = writer.into_parts();
    debug_assert!(gaps.is_empty(), "responses with gaps are written by crate::fetch");
    let prefix = prefix(frame.len() - LENGTH_BYTES)?;
    frame[..LENGTH_BYTES].copy_from_slice(&prefix);
    Ok(frame.freeze())
}

/// What stands before so many bytes.
fn prefix(length: usize) -> Result<[u8; LENGTH_BYTES], AnswerTooLong> {
    i32::try_from(length).map(i32::to_be_bytes).map_err(|_| AnswerTooLong { length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_is_none_is_not_written() {
        assert_eq!(prefix(7), Ok([0, 0, 0, 7]));
        assert_eq!(prefix(i32::MAX as usize), Ok(i32::MAX.to_be_bytes()));
        assert_eq!(
            prefix(1 << 31),
            Err(AnswerTooLong { length: 1 << 31 }),
            "a client would read a negative one"
        );
    }
}
