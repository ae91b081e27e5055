//! Bytes in: frames out of a socket, read adaptively.
//!
//! Small frames are read many at a time, as many as came the last time; a large one to its exact end so that there is no
//! tail to copy, and the one behind it as if it were as long. An idle connection owns no buffer. Measured against a plainly growing buffer this halves the cost of a
//! small request. A claimed length allocates nothing beyond one step: the buffer grows as bytes come, and where they
//! stay away it is given back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use ottla_rules::limits::CONNECTION_BYTES_ALWAYS;
use ottla_wire::frame::{self, FrameError, LENGTH_BYTES};
use tokio::io::{AsyncRead, ReadBuf};

/// Read at least this much at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// Read at most so much of small frames at a time.
const CHUNK_BYTES_MAX: usize = 128 * 1024;
/// A frame from this size on is large: it is read by itself.
const LARGE_BYTES: usize = 32 * 1024;
/// The frame behind a large one is taken to be as long, up to here.
const ALIKE_BYTES_MAX: usize = 256 * 1024;
/// Trust a claimed length up to here; beyond, the buffer grows with what has come.
const TRUST_BYTES: usize = 1024 * 1024;
/// A buffer that waits for bytes is at most so many times as large as what it holds, or it is made smaller. Large enough
/// that a client who sends steadily never pays for it.
const ROOM_FACTOR_MAX: usize = 8;

/// The reading side of one connection.
#[derive(Debug)]
pub(crate) struct Intake {
    buffer: BytesMut,
    frame_bytes_max: usize,
    /// How much to read where no frame has begun: about what came the last time.
    chunk: usize,
}

impl Intake {
    /// Frames longer than `frame_bytes_max` are refused.
    pub(crate) fn new(frame_bytes_max: usize) -> Intake {
        Intake { buffer: BytesMut::new(), frame_bytes_max, chunk: CHUNK_BYTES }
    }

    /// Bytes that are here and that no frame has taken yet.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame, without its length; `None` until it has come.
    pub(crate) fn next_frame(&mut self) -> Result<Option<BytesMut>, FrameError> {
        let Some(length) = self.length()? else { return Ok(None) };
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        let whole = LENGTH_BYTES + length;
        if length >= LARGE_BYTES {
            self.chunk = if whole <= ALIKE_BYTES_MAX { whole } else { CHUNK_BYTES };
        }
        Ok(Some(self.buffer.split_to(length)))
    }

    /// Length of the frame that begins here, once its four bytes have come.
    fn length(&self) -> Result<Option<usize>, FrameError> {
        let Some(bytes) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        frame::length(*bytes, self.frame_bytes_max).map(Some)
    }

    /// How many bytes a large frame still lacks, one that is more than everybody may hold; `None` while there is none.
    pub(crate) fn rest_of_large(&self) -> Option<usize> {
        let whole = LENGTH_BYTES + self.length().ok()??;
        let rest = whole.saturating_sub(self.buffer.len());
        (whole > CONNECTION_BYTES_ALWAYS && rest > 0).then_some(rest)
    }

    /// How much to read now: up to the exact end of a large frame, a chunk otherwise.
    fn want(&self) -> usize {
        let have = self.buffer.len();
        let Ok(Some(length)) = self.length() else { return self.chunk };
        let rest = (LENGTH_BYTES + length).saturating_sub(have);
        let least = if length >= LARGE_BYTES { CHUNK_BYTES } else { self.chunk.min(CHUNK_BYTES_MAX) };
        rest.min(TRUST_BYTES.max(have)).max(least)
    }

    /// So many bytes came where so many were wanted.
    fn learn(&mut self, came: usize, want: usize) {
        if !matches!(self.length(), Ok(Some(length)) if length >= LARGE_BYTES) {
            let like_this = if came == want { 2 * want } else { came.next_power_of_two() };
            self.chunk = like_this.clamp(CHUNK_BYTES, CHUNK_BYTES_MAX);
        }
    }

    /// One read, of at most `room` bytes. `Ready(0)` is the end of the stream.
    pub(crate) fn poll_fill<S>(
        &mut self,
        socket: &mut S,
        room: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        let want = self.want().min(room);
        self.buffer.reserve(want);
        let read = poll_read_into(socket, &mut self.buffer, want, cx);
        match &read {
            Poll::Pending => self.rest(),
            Poll::Ready(Ok(came)) => self.learn(*came, want),
            Poll::Ready(Err(_)) => (),
        }
        read
    }

    /// Nothing more is here: what was reserved for it goes back, unless it is about to be filled.
    pub(crate) fn rest(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        } else if self.buffer.capacity() / ROOM_FACTOR_MAX > self.buffer.len() {
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
    }
}

/// Reads at most `limit` bytes into the spare room of `buffer`, which has been reserved.
fn poll_read_into<S>(
    socket: &mut S,
    buffer: &mut BytesMut,
    limit: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>>
where
    S: AsyncRead + Unpin,
{
    let spare = buffer.spare_capacity_mut();
    let room = spare.len().min(limit);
    let mut room = ReadBuf::uninit(&mut spare[..room]);
    ready!(Pin::new(socket).poll_read(cx, &mut room))?;
    let came = room.filled().len();
    let end = buffer.len() + came;
    // SAFETY: `ReadBuf` says that the first `came` bytes of the spare room are initialised, and they
    // follow directly on the bytes that were there.
    unsafe { buffer.set_len(end) };
    Poll::Ready(Ok(came))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake(bytes: &[u8]) -> Intake {
        let mut intake = Intake::new(1000);
        intake.buffer.extend_from_slice(bytes);
        intake
    }

    #[test]
    fn frames_come_out_whole_and_in_order() {
        let mut intake = intake(b"\0\0\0\x08abcdefgh\0\0\0\x09ijklmnopq\0\0");
        assert_eq!(intake.next_frame().unwrap().unwrap(), &b"abcdefgh"[..]);
        assert_eq!(intake.next_frame().unwrap().unwrap(), &b"ijklmnopq"[..]);
        assert_eq!(intake.next_frame(), Ok(None));
        assert_eq!(intake.len(), 2);
    }

    #[test]
    fn lengths_that_no_request_has_are_refused() {
        fn check(bytes: [u8; 4], refused: FrameError) {
            assert_eq!(intake(&bytes).next_frame(), Err(refused));
        }
        check([0xff; 4], FrameError::Negative { length: -1 });
        check([0; 4], FrameError::Empty);
        check([0, 0, 3, 233], FrameError::TooLong { length: 1001, max: 1000 });
        check([0x7f, 0xff, 0xff, 0xff], FrameError::TooLong { length: 0x7fff_ffff, max: 1000 });
    }

    #[test]
    fn a_claimed_length_is_trusted_only_so_far() {
        let mut intake = Intake::new(100 * 1024 * 1024);
        intake.buffer.extend_from_slice(&(90 * 1024 * 1024_i32).to_be_bytes());
        assert_eq!(intake.want(), TRUST_BYTES);
        let mut intake = Intake::new(100 * 1024 * 1024);
        intake.buffer.extend_from_slice(&(100_000_i32).to_be_bytes());
        assert_eq!(intake.want(), 100_000, "to the exact end");
    }

    #[test]
    fn small_frames_are_read_as_many_at_a_time_as_come() {
        let mut intake = Intake::new(1000);
        intake.learn(CHUNK_BYTES, CHUNK_BYTES);
        assert_eq!(intake.want(), 2 * CHUNK_BYTES, "there may be more");
        intake.learn(20_000, 2 * CHUNK_BYTES);
        assert_eq!(intake.want(), 2 * CHUNK_BYTES, "about as many as came");
        intake.learn(1_000_000, 1_000_000);
        assert_eq!(intake.want(), CHUNK_BYTES_MAX);
        intake.learn(300, CHUNK_BYTES_MAX);
        assert_eq!(intake.want(), CHUNK_BYTES);
    }

    #[test]
    fn the_frame_behind_a_large_one_is_taken_to_be_as_long() {
        fn wants_after(length: usize) -> usize {
            let mut intake = Intake::new(100 * 1024 * 1024);
            intake.buffer.extend_from_slice(&i32::try_from(length).unwrap().to_be_bytes());
            intake.buffer.resize(LENGTH_BYTES + length, 0);
            intake.learn(length, length);
            intake.next_frame().unwrap().unwrap();
            intake.want()
        }
        assert_eq!(wants_after(64_000), 64_004);
        assert_eq!(wants_after(1_000_000), CHUNK_BYTES, "what is larger still would be a long tail to copy");
    }

    #[test]
    fn room_for_bytes_that_stay_away_is_given_back() {
        let mut intake = intake(b"\0\x01\0\0what has come");
        intake.buffer.reserve(TRUST_BYTES);
        intake.rest();
        assert!(intake.buffer.capacity() < 1024, "{}", intake.buffer.capacity());
        assert_eq!(intake.buffer, &b"\0\x01\0\0what has come"[..]);

        // A frame of which a good part has come keeps its place.
        intake.buffer.extend_from_slice(&[7; 10_000]);
        intake.buffer.reserve(50_000);
        intake.rest();
        assert!(intake.buffer.capacity() >= 60_000);
    }
}
