//! Bytes out: answers gathered in order, written in as few calls as possible.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use ottla_host::{Pool, Socket};
use ottla_store::FileRange;
use tokio::io::AsyncWrite;

use crate::cold;

/// Pieces up to this size are copied together; larger ones leave from where they are.
const GATHER_BYTES: usize = 16 * 1024;

/// So much of a file is warmed up at a time: what one call of `sendfile` takes.
const WARM_BYTES: u64 = 1024 * 1024;

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

    /// How many bytes of it are in memory.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::File(_) => 0,
        }
    }
}

/// What one write has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes that have left.
    pub(crate) bytes: usize,
    /// So many of them were in memory.
    pub(crate) from_memory: usize,
}

enum Item {
    Gathered(BytesMut),
    Whole(Bytes),
    File(Sending),
}

/// A range of a file on its way: looked at, and warmed up where the disk would have to be waited for, piece by piece.
struct Sending {
    range: FileRange,
    /// Up to here nobody has to wait for the disk.
    warm_upto: u64,
    warming: Option<Pin<Box<dyn Future<Output = io::Result<()>>>>>,
}

/// Answers that are complete and not written yet.
pub(crate) struct Outbox {
    items: VecDeque<Item>,
    pool: Pool,
    bytes: usize,
}

impl Outbox {
    /// Nothing to write. What is cold is read by `pool`.
    pub(crate) fn new(pool: Pool) -> Outbox {
        Outbox { items: VecDeque::new(), bytes: 0, pool }
    }

    /// True when everything is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// True while the disk is waited for, and not the client.
    pub(crate) fn is_warming(&self) -> bool {
        matches!(self.items.front(), Some(Item::File(Sending { warming: Some(_), .. })))
    }

    /// Bytes that are not written yet, those in files included.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Adds one piece behind what is there.
    pub(crate) fn push(&mut self, piece: Piece) {
        if piece.len() == 0 {
            return;
        }
        self.bytes += piece.len();
        match piece {
            Piece::File(range) => {
                let warm_upto = range.at;
                self.items.push_back(Item::File(Sending { range, warm_upto, warming: None }));
            }
            Piece::Bytes(bytes) if bytes.len() > GATHER_BYTES => self.items.push_back(Item::Whole(bytes)),
            Piece::Bytes(bytes) => self.gather(bytes),
        }
    }

    /// A small piece: behind another small one it is copied to it; alone, as most answers are, it leaves as it is.
    fn gather(&mut self, bytes: Bytes) {
        match self.items.back_mut() {
            Some(Item::Gathered(last)) if last.len() + bytes.len() <= 4 * GATHER_BYTES => {
                last.extend_from_slice(&bytes);
            }
            Some(Item::Whole(first)) if first.len() <= GATHER_BYTES => {
                let mut both = BytesMut::with_capacity(2 * (first.len() + bytes.len()));
                both.extend_from_slice(first);
                both.extend_from_slice(&bytes);
                self.items.pop_back();
                self.items.push_back(Item::Gathered(both));
            }
            Some(Item::Gathered(_) | Item::Whole(_) | Item::File(_)) | None => {
                self.items.push_back(Item::Whole(bytes));
            }
        }
    }

    /// One write; of nothing only when there was nothing to write.
    pub(crate) fn poll_write(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Written>> {
        let Some(first) = self.items.front_mut() else { return Poll::Ready(Ok(Written::default())) };
        let (bytes, done) = match first {
            Item::Gathered(bytes) => ready!(write_some(socket, bytes, cx))?,
            Item::Whole(bytes) => ready!(write_some(socket, bytes, cx))?,
            Item::File(sending) => ready!(sending.send_some(socket, &self.pool, cx))?,
        };
        let from_memory = if matches!(first, Item::File(_)) { 0 } else { bytes };
        if done {
            self.items.pop_front();
        }
        self.bytes -= bytes;
        Poll::Ready(Ok(Written { bytes, from_memory }))
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

impl Sending {
    fn send_some(
        &mut self,
        socket: &mut Socket,
        pool: &Pool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(usize, bool)>> {
        if self.range.at >= self.warm_upto {
            ready!(self.warm(pool, cx))?;
        }
        let range = &mut self.range;
        let len = range.len.min(self.warm_upto - range.at);
        let sent = ready!(socket.poll_send_file(cx, &range.file, range.at, len))?;
        // The length is on the wire already: a file that ends early leaves no way but to close.
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        range.at += sent as u64;
        range.len -= sent as u64;
        Poll::Ready(Ok((sent, range.len == 0)))
    }

    /// Sees to it that the next piece is in the page cache.
    fn warm(&mut self, pool: &Pool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let piece = FileRange { len: self.range.len.min(WARM_BYTES), ..self.range.clone() };
        let upto = piece.at + piece.len;
        if self.warming.is_none() && !piece.file.is_warm(piece.at..upto) {
            self.warming = Some(Box::pin(cold::warm_up(pool, piece)));
        }
        if let Some(warming) = &mut self.warming {
            let warmed = ready!(warming.as_mut().poll(cx));
            self.warming = None;
            warmed?;
        }
        self.warm_upto = upto;
        Poll::Ready(Ok(()))
    }
}
