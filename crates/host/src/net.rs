//! Sockets: the kernel's on a machine, turmoil's in a simulation.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::{Domain, Protocol, SockRef, Type};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, lookup_host};

use crate::disk::File;

/// What the kernel takes for a peer that does not read: without a bound some megabytes, and a thousand such peers then
/// take all the memory that it has for TCP, of every connection of the machine. Who reads is sent more in time.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT_BYTES_MAX: u32 = 256 * 1024;

/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 1024;
/// Most that one `sendfile` moves, so that one fast reader does not keep a thread to itself.
const SEND_FILE_MAX: u64 = 1024 * 1024;

/// The network of a host.
#[derive(Clone, Copy, Debug)]
pub struct Net(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Machine,
    #[cfg(feature = "sim")]
    Simulated,
}

impl Net {
    /// The kernel's TCP.
    #[must_use]
    pub fn machine() -> Self {
        Self(Kind::Machine)
    }

    #[cfg(feature = "sim")]
    pub(crate) fn simulated() -> Self {
        Self(Kind::Simulated)
    }

    /// Listens on an address; port 0 takes a free port. A simulated host listens on all its addresses whichever is named.
    ///
    /// # Errors
    /// One sentence that names the address, fit for a person: the address is taken, not ours, or not permitted.
    pub async fn bind(&self, address: SocketAddr) -> io::Result<Listener> {
        let bound = match self.0 {
            Kind::Machine => bind_machine(address).map(|listener| Listener(ListenerKind::Machine(listener))),
            #[cfg(feature = "sim")]
            Kind::Simulated => bind_simulated(address).await,
        };
        bound.map_err(|error| explain_bind(address, &error))
    }

    /// Connects to `host:port`, a name or an address.
    ///
    /// # Errors
    /// One sentence that names the address: the name is unknown, nobody listens there, or it cannot be reached.
    pub async fn connect(&self, address: impl Display) -> io::Result<Socket> {
        let address = address.to_string();
        let connected = match self.0 {
            Kind::Machine => connect_machine(&address).await,
            #[cfg(feature = "sim")]
            Kind::Simulated => {
                turmoil::net::TcpStream::connect(address.as_str()).await.and_then(Socket::simulated)
            }
        };
        connected
            .map_err(|error| io::Error::new(error.kind(), format!("cannot connect to {address}: {error}")))
    }
}

fn bind_machine(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted node must get its port back while old connections still linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    // Every address is every address of both kinds, as in Java, whatever the machine's `net.ipv6.bindv6only` says.
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn connect_machine(address: &str) -> io::Result<Socket> {
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host(address).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let peer = stream.peer_addr()?;
                return Socket::machine(stream, peer);
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cfg(feature = "sim")]
async fn bind_simulated(mut address: SocketAddr) -> io::Result<Listener> {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    // turmoil knows no interfaces besides "any" and loopback.
    if !address.ip().is_loopback() {
        let any = match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        address.set_ip(any);
    }
    turmoil::net::TcpListener::bind(address).await.map(|listener| Listener(ListenerKind::Simulated(listener)))
}

fn explain_bind(address: SocketAddr, error: &io::Error) -> io::Error {
    let next = match error.kind() {
        io::ErrorKind::AddrInUse => "; stop the process that holds it or configure another port",
        io::ErrorKind::AddrNotAvailable => {
            "; configure an address of this machine, or 0.0.0.0 for all of them"
        }
        io::ErrorKind::PermissionDenied => "; configure a port above 1023 or grant CAP_NET_BIND_SERVICE",
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{next}"))
}

/// A bound address where connections arrive. Belongs to the runtime it was bound on.
#[derive(Debug)]
pub struct Listener(ListenerKind);

enum ListenerKind {
    Machine(TcpListener),
    #[cfg(feature = "sim")]
    Simulated(turmoil::net::TcpListener),
}

impl std::fmt::Debug for ListenerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Machine(listener) => listener.fmt(f),
            #[cfg(feature = "sim")]
            Self::Simulated(_) => f.write_str("simulated"),
        }
    }
}

impl Listener {
    /// The next connection, with TCP_NODELAY and keep-alive on. Cancel safe.
    ///
    /// # Errors
    /// As the kernel gives them. Out of file descriptors is one: the connection stays in the backlog, and the caller
    /// should pause before it asks again. A connection that was reset before it was accepted is another: ask again.
    pub async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let socket = match &self.0 {
            ListenerKind::Machine(listener) => {
                let (stream, peer) = listener.accept().await?;
                Socket::machine(stream, peer)
                    .map_err(|error| io::Error::new(io::ErrorKind::ConnectionAborted, error))?
            }
            #[cfg(feature = "sim")]
            ListenerKind::Simulated(listener) => Socket::simulated(listener.accept().await?.0)?,
        };
        let peer = socket.peer_addr();
        Ok((socket, peer))
    }

    /// Where it listens, with the port that was really taken.
    ///
    /// # Errors
    /// When the kernel no longer knows.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            ListenerKind::Machine(listener) => listener.local_addr(),
            #[cfg(feature = "sim")]
            ListenerKind::Simulated(listener) => listener.local_addr(),
        }
    }
}

/// One connection: reads and writes as tokio's, and sends pieces of files. Belongs to the runtime it was made on until
/// it is detached.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    local: SocketAddr,
    peer: SocketAddr,
}

#[derive(Debug)]
enum Stream {
    Machine(TcpStream),
    #[cfg(feature = "sim")]
    Simulated(turmoil::net::TcpStream),
}

impl Socket {
    /// The peer's address is that of when it came: of a connection that was reset since, the kernel knows none.
    fn machine(stream: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // A peer that vanished without a word would otherwise hold its connection for ever.
        SockRef::from(&stream).set_keepalive(true)?;
        // Where there is no such option the kernel's own bound counts.
        #[cfg(any(target_os = "android", target_os = "linux"))]
        SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        let local = stream.local_addr()?;
        Ok(Self { stream: Stream::Machine(stream), local, peer })
    }

    #[cfg(feature = "sim")]
    fn simulated(stream: turmoil::net::TcpStream) -> io::Result<Self> {
        let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(Self { stream: Stream::Simulated(stream), local, peer })
    }

    /// The number of its descriptor: the lowest that was free when it came. None in a simulation.
    #[must_use]
    pub fn descriptor(&self) -> Option<usize> {
        match &self.stream {
            Stream::Machine(stream) => usize::try_from(stream.as_raw_fd()).ok(),
            #[cfg(feature = "sim")]
            Stream::Simulated(_) => None,
        }
    }

    /// Our end.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The other end.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Whether a read is worth a try: there are bytes, or the end of the stream, as far as this thread's runtime has heard. In a
    /// simulation it always is.
    ///
    /// # Errors
    /// When the runtime ends.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Machine(stream) => stream.poll_read_ready(cx),
            #[cfg(feature = "sim")]
            Stream::Simulated(_) => Poll::Ready(Ok(())),
        }
    }

    /// Sends bytes `at..at + len` of a file, or the first part of them, without bringing them into the process
    /// (`sendfile`; in a simulation a read and a write). Answers how many left; never 0 unless `len` is 0.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before `at + 1`; else what the socket or the disk says.
    pub fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        at: u64,
        len: u64,
    ) -> Poll<io::Result<usize>> {
        // The cast loses nothing: the minimum is small.
        #[allow(clippy::cast_possible_truncation)]
        let count = len.min(SEND_FILE_MAX) as usize;
        if count == 0 {
            return Poll::Ready(Ok(0));
        }
        match &mut self.stream {
            Stream::Machine(stream) => match file.machine_fd() {
                Some(file) => poll_send_fd(stream, cx, file, at, count),
                None => poll_send_copy(Pin::new(stream), cx, file, at, count),
            },
            #[cfg(feature = "sim")]
            Stream::Simulated(stream) => poll_send_copy(Pin::new(stream), cx, file, at, count),
        }
    }

    /// Sends all of `at..at + len` of a file. Not cancel safe: how much had left is lost.
    ///
    /// # Errors
    /// As [`Socket::poll_send_file`].
    pub async fn send_file(&mut self, file: &File, at: u64, len: u64) -> io::Result<()> {
        let mut sent = 0;
        while sent < len {
            sent +=
                std::future::poll_fn(|cx| self.poll_send_file(cx, file, at + sent, len - sent)).await? as u64;
        }
        Ok(())
    }

    /// A future that ends once the other side has closed or reset the connection, also while bytes that it sent before
    /// lie there unread (as far as the kernel could take them: the end comes behind them). Owns a handle of its own (one file descriptor while it lives), so the socket stays usable. In a
    /// simulation it never ends: nobody is told there of what lies behind unread bytes.
    ///
    /// # Errors
    /// When there is no file descriptor left, or none below `descriptors_max`.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn hung_up(&self, descriptors_max: usize) -> io::Result<Pin<Box<dyn Future<Output = ()>>>> {
        match &self.stream {
            Stream::Machine(stream) => {
                let handle = stream.as_fd().try_clone_to_owned()?;
                if usize::try_from(handle.as_raw_fd()).is_ok_and(|number| number >= descriptors_max) {
                    return Err(io::Error::from_raw_os_error(libc::EMFILE));
                }
                let watched = TcpStream::from_std(handle.into())?;
                Ok(Box::pin(async move {
                    // Whoever waits for urgent bytes is told of the end as well, and not of other bytes. Nobody sends
                    // urgent ones: who does is hung up on.
                    //
                    // An error here is one of the runtime, which ends: so does whoever waits.
                    let _ = watched.ready(Interest::PRIORITY).await;
                }))
            }
            #[cfg(feature = "sim")]
            Stream::Simulated(_) => Ok(Box::pin(std::future::pending())),
        }
    }

    /// Takes the connection off this thread's runtime, to be attached to another thread's. Do it between bursts: a
    /// move costs under 10 us. In a simulation there is one thread and nothing happens.
    ///
    /// # Errors
    /// When the runtime will not let go of it; the connection is closed then.
    pub fn detach(self) -> io::Result<DetachedSocket> {
        let stream = match self.stream {
            Stream::Machine(stream) => DetachedStream::Machine(stream.into_std()?),
            #[cfg(feature = "sim")]
            Stream::Simulated(stream) => DetachedStream::Simulated(stream),
        };
        Ok(DetachedSocket { stream, local: self.local, peer: self.peer })
    }
}

/// A live connection on its way from one thread to another: nobody is told of what arrives until it is attached.
#[derive(Debug)]
pub struct DetachedSocket {
    stream: DetachedStream,
    local: SocketAddr,
    peer: SocketAddr,
}

#[derive(Debug)]
enum DetachedStream {
    Machine(std::net::TcpStream),
    #[cfg(feature = "sim")]
    Simulated(turmoil::net::TcpStream),
}

impl DetachedSocket {
    /// Gives the connection to the runtime of this thread. Bytes that arrived meanwhile are found at the first read.
    ///
    /// # Errors
    /// When the runtime cannot take it; the connection is closed then.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled.
    pub fn attach(self) -> io::Result<Socket> {
        let stream = match self.stream {
            DetachedStream::Machine(stream) => Stream::Machine(TcpStream::from_std(stream)?),
            #[cfg(feature = "sim")]
            DetachedStream::Simulated(stream) => Stream::Simulated(stream),
        };
        Ok(Socket { stream, local: self.local, peer: self.peer })
    }
}

fn poll_send_fd(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    file: &std::fs::File,
    at: u64,
    count: usize,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        let mut from = at;
        let sent = stream.try_io(Interest::WRITABLE, || {
            rustix::fs::sendfile(stream, file, Some(&mut from), count).map_err(io::Error::from)
        });
        match sent {
            Ok(0) => return Poll::Ready(Err(ends_early(at))),
            Ok(sent) => return Poll::Ready(Ok(sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Small enough that the socket takes most of it: what it does not take is read again.
const COPY_MAX: usize = 64 * 1024;

fn poll_send_copy(
    stream: Pin<&mut impl AsyncWrite>,
    cx: &mut Context<'_>,
    file: &File,
    at: u64,
    count: usize,
) -> Poll<io::Result<usize>> {
    let mut buffer = vec![0; count.min(COPY_MAX)];
    match file.pread(&mut buffer, at)? {
        0 => Poll::Ready(Err(ends_early(at))),
        read => stream.poll_write(cx, &buffer[..read]),
    }
}

fn ends_early(at: u64) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the file to send ends before byte {at}"))
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Machine(stream) => Pin::new(stream).poll_read(cx, into),
            #[cfg(feature = "sim")]
            Stream::Simulated(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Machine(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "sim")]
            Stream::Simulated(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Machine(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            #[cfg(feature = "sim")]
            Stream::Simulated(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Machine(stream) => stream.is_write_vectored(),
            #[cfg(feature = "sim")]
            Stream::Simulated(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Machine(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "sim")]
            Stream::Simulated(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Machine(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "sim")]
            Stream::Simulated(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
