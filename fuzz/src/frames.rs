//! The frame reader: however the bytes arrive, the frames are those that stand in them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use ottla_wire::frame;
use tokio::io::{AsyncRead, ReadBuf};

use super::intake::Intake;

const FRAME_BYTES_MAX: usize = 4096;

/// A socket that gives so many bytes at a time, and has none every other time.
struct Dribble<'a> {
    bytes: &'a [u8],
    steps: &'a [u8],
    turn: usize,
}

impl AsyncRead for Dribble<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.turn += 1;
        if self.turn.is_multiple_of(2) && !self.bytes.is_empty() {
            return Poll::Pending;
        }
        let step = self.steps.get(self.turn / 2 % self.steps.len().max(1)).copied().unwrap_or(7);
        let step = (usize::from(step) + 1).min(into.remaining()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(step);
        into.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

/// The frames that stand in the bytes, and whether something that is no frame follows.
fn frames_of(mut bytes: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut frames = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let Ok(length) = frame::length(*length, FRAME_BYTES_MAX) else { return (frames, true) };
        let Some((frame, rest)) = rest.split_at_checked(length) else { break };
        frames.push(frame);
        bytes = rest;
    }
    (frames, false)
}

/// The first bytes say how the others arrive.
pub fn check(bytes: &[u8]) {
    let (steps, bytes) = bytes.split_at(bytes.len().min(4));
    let (expected, is_refused) = frames_of(bytes);
    let mut socket = Dribble { bytes, steps, turn: 0 };
    let mut intake = Intake::new(FRAME_BYTES_MAX);
    let mut cx = Context::from_waker(Waker::noop());
    let (mut found, mut refused) = (Vec::new(), false);
    'arrive: loop {
        match intake.poll_fill(&mut socket, usize::MAX, &mut cx) {
            Poll::Ready(Ok(0)) => break,
            Poll::Ready(Ok(_)) | Poll::Pending => (),
            Poll::Ready(Err(error)) => panic!("{error}"),
        }
        loop {
            match intake.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_) => {
                    refused = true;
                    break 'arrive;
                }
            }
        }
    }
    assert_eq!(
        (&found[..], refused),
        (&expected.iter().map(|f| (*f).into()).collect::<Vec<bytes::BytesMut>>()[..], is_refused)
    );
    for frame in found {
        let whole = frame.len();
        if let Ok((_, body)) = frame::open(frame) {
            assert!(body.len() < whole);
        }
    }
}
