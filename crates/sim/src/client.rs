//! A client of the node: one connection over the simulated network, Kafka's protocol on it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use ottla_host::Socket;
use ottla_wire::header::{RequestHeader, decode_response_header};
use ottla_wire::{Message, Reader, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::plan::PORT;
use crate::scene::{NODE, Scene};

/// How long a client waits for a connection or an answer before it gives the connection up.
const PATIENCE_MS: u64 = 1_000;
/// An answer is not longer.
const ANSWER_BYTES_MAX: usize = 1 << 24;

/// One connection.
pub(crate) struct Client {
    socket: Socket,
    next_id: i32,
    patience_ms: u64,
}

impl Client {
    /// Connects to the node. What is wrong with a connection is never an anomaly: the client tries again.
    pub(crate) async fn connect(scene: &Scene) -> io::Result<Client> {
        let socket = within(PATIENCE_MS, scene.host.net.connect(format_args!("{NODE}:{PORT}"))).await?;
        Ok(Client { socket, next_id: 1, patience_ms: PATIENCE_MS })
    }

    /// From now on each step of a request may take so long.
    pub(crate) fn wait_for_ms(&mut self, ms: u64) {
        self.patience_ms = ms;
    }

    /// Sends a request; its correlation id.
    pub(crate) async fn send<Q: Message>(&mut self, version: i16, request: &Q) -> io::Result<i32> {
        let frame = self.encode(version, request);
        within(self.patience_ms, self.socket.write_all(&frame)).await?;
        Ok(self.next_id - 1)
    }

    /// Sends the first part of a request and closes the connection.
    pub(crate) async fn break_off<Q: Message>(
        mut self,
        version: i16,
        request: &Q,
        part: u64,
    ) -> io::Result<()> {
        let frame = self.encode(version, request);
        let cut = usize::try_from(part % frame.len() as u64).unwrap_or(0);
        within(self.patience_ms, self.socket.write_all(&frame[..cut])).await
    }

    fn encode<Q: Message>(&mut self, version: i16, request: &Q) -> Bytes {
        let correlation_id = self.next_id;
        self.next_id += 1;
        let header = RequestHeader { key: Q::KEY, version, correlation_id, client_id: Some("sim".into()) };
        frame::request(&header, request)
    }

    /// The answer with this correlation id, which must be the next.
    pub(crate) async fn receive<A: Message>(&mut self, version: i16, id: i32) -> io::Result<A> {
        let frame = within(self.patience_ms, self.next_frame()).await?;
        let mut reader = Reader::new(&frame);
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let got = decode_response_header(&mut reader, A::KEY, version).map_err(|e| wrong(e.to_string()))?;
        assert_eq!(got, id, "answers come in the order of the requests");
        let answer = A::decode(&mut reader, version).map_err(|error| wrong(error.to_string()))?;
        assert_eq!(reader.remaining(), 0, "bytes behind the answer");
        Ok(answer)
    }

    async fn next_frame(&mut self) -> io::Result<Bytes> {
        let mut prefix = [0; frame::LENGTH_BYTES];
        self.socket.read_exact(&mut prefix).await?;
        let wrong = |error: frame::FrameError| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut frame = vec![0; frame::length(prefix, ANSWER_BYTES_MAX).map_err(wrong)?];
        self.socket.read_exact(&mut frame).await?;
        Ok(frame.into())
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn ask<Q: Message, A: Message>(&mut self, version: i16, request: &Q) -> io::Result<A> {
        let id = self.send(version, request).await?;
        self.receive(version, id).await
    }
}

async fn within<T>(ms: u64, io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(Duration::from_millis(ms), io).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
