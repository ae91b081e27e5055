//! Bytes out: answers gathered in order, written in as few calls as possible.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use ottla_host::Socket;
use ottla_store::FileRange;
use tokio::io::AsyncWrite;

/// Pieces up to this size are copied together; larger ones leave from where they are.
const GATHER_BYTES: usize = 16 * 1024;

/// One piece of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Bytes that are in memory.
    Bytes(Bytes),
    /// A range of a file, which leaves by `sendfile` where there is one.
    File(FileRange),
}

impl Piece {
    /// How many bytes it puts on the wire.
    pub(crate) fn len(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::File(range) => usize::try_from(range.len).unwrap_or(usize::MAX),
        }
    }
}

#[derive(Debug)]
enum Item {
    Gathered(BytesMut),
    Whole(Bytes),
    File(FileRange),
}

/// Answers that are complete and not written yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    items: VecDeque<Item>,
}

impl Outbox {
    /// True when everything is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds one piece behind what is there.
    pub(crate) fn push(&mut self, piece: Piece) {
        if piece.len() == 0 {
            return;
        }
        match piece {
            Piece::File(range) => self.items.push_back(Item::File(range)),
            Piece::Bytes(bytes) if bytes.len() > GATHER_BYTES => self.items.push_back(Item::Whole(bytes)),
            Piece::Bytes(bytes) => self.gather(&bytes),
        }
    }

    fn gather(&mut self, bytes: &[u8]) {
        if let Some(Item::Gathered(last)) = self.items.back_mut()
            && last.len() + bytes.len() <= 4 * GATHER_BYTES
        {
            last.extend_from_slice(bytes);
            return;
        }
        self.items.push_back(Item::Gathered(BytesMut::from(bytes)));
    }

    /// One write. `Ready(n)`: `n` bytes have left (0 only when there was nothing to write).
    pub(crate) fn poll_write(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(first) = self.items.front_mut() else { return Poll::Ready(Ok(0)) };
        let (written, done) = match first {
            Item::Gathered(bytes) => ready!(write_some(socket, bytes, cx))?,
            Item::Whole(bytes) => ready!(write_some(socket, bytes, cx))?,
            Item::File(range) => ready!(send_some(socket, range, cx))?,
        };
        if done {
            self.items.pop_front();
        }
        Poll::Ready(Ok(written))
    }
}

fn write_some<B: Buf>(
    socket: &mut Socket,
    bytes: &mut B,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(usize, bool)>> {
    let written = ready!(Pin::new(socket).poll_write(cx, bytes.chunk()))?;
    if written == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    bytes.advance(written);
    Poll::Ready(Ok((written, !bytes.has_remaining())))
}

fn send_some(
    socket: &mut Socket,
    range: &mut FileRange,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(usize, bool)>> {
    let sent = ready!(socket.poll_send_file(cx, &range.file, range.at, range.len))?;
    // The length is on the wire already: a file that ends early leaves no way but to close.
    if sent == 0 {
        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
    }
    range.at += sent as u64;
    range.len -= sent as u64;
    Poll::Ready(Ok((sent, range.len == 0)))
}
