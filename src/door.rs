//! The door: listen, let in, and serve each connection on a shard.
//!
//! ```text
//!   accept loop (control)  --admit-->  guest  --a shard in turn-->  connection: one task
//!                                                                    |  intake -> line -> outbox
//!                                                                    '- byte credit over all three
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};
use ottla_actors::stage::shards::Shard;
use ottla_host::{Listener, Socket, is_out_of_files};
use ottla_rules::rights::Caller;

use self::baggage::Baggage;
use self::connection::{Connection, Ending, Parted};
use self::credit::Share;
pub(crate) use self::credit::{Credit, Loading};
use self::guests::Guests;
pub(crate) use self::line::Turn;
pub(crate) use self::outbox::Piece;
use self::tally::{Counter, Tally, Totals};
use crate::api::{Call, Close};
use crate::server::Server;

mod baggage;
mod connection;
mod credit;
mod guests;
mod intake;
mod line;
mod outbox;
mod pace;
mod tally;
mod turnstile;
mod vigil;

/// How long the accept loop rests when the kernel has no file descriptor left: one connection or segment file that is
/// closed meanwhile is enough to go on.
const REST_MS: u64 = 100;

/// What all doors of one node share: who is here and how much they hold, by whichever door they came.
#[derive(Clone, Debug)]
pub(crate) struct Hall {
    guests: Arc<Guests>,
    credit: Arc<Credit>,
    /// One for each shard.
    tallies: Arc<[Tally]>,
}

impl Hall {
    /// Nobody yet, within this credit.
    pub(crate) fn new(credit: Arc<Credit>, shards: usize) -> Hall {
        Hall { guests: Guests::new(), credit, tallies: (0..shards).map(|_| Tally::default()).collect() }
    }

    /// What has come through so far.
    pub(crate) fn totals(&self) -> Totals {
        Totals::of(&self.tallies)
    }

    /// The byte credit in use, and all of it.
    pub(crate) fn credit(&self) -> (usize, usize) {
        (self.credit.used(), self.credit.bytes_max())
    }

    /// True once everyone has been asked to leave.
    pub(crate) fn is_leaving(&self) -> bool {
        self.guests.are_leaving()
    }

    /// How many are connected.
    pub(crate) fn count(&self) -> usize {
        self.guests.count()
    }

    /// Asks everyone to leave, and lets nobody in any more.
    pub(crate) fn send_off(&self) {
        self.guests.send_off();
    }

    /// Returns once everyone has left.
    pub(crate) async fn all_left(&self) {
        self.guests.all_left().await;
    }
}

/// One listening address.
pub(crate) struct Door {
    server: Arc<Server>,
    hall: Hall,
    shards: Vec<Shard>,
    name: String,
}

impl Door {
    /// A door to `server`, into `hall`, whose connections live on `shards`, in turn. `name` is the listener's.
    pub(crate) fn new(server: Arc<Server>, hall: Hall, shards: Vec<Shard>, name: &str) -> Arc<Door> {
        Arc::new(Door { hall, shards, name: name.to_owned(), server })
    }

    /// Lets people in until they are sent off. Runs on the control arbiter.
    pub(crate) async fn keep(self: Arc<Door>, listener: Listener) {
        let mut next = 0;
        while !self.hall.guests.are_leaving() {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    // A listener for both kinds of addresses shows the older kind in the newer one's clothes.
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    self.admit(socket, peer, next);
                    next = (next + 1) % self.shards.len().max(1);
                }
                Err(error) => self.rest(&error).await,
            }
        }
    }

    fn admit(self: &Arc<Door>, socket: Socket, peer: SocketAddr, shard: usize) {
        let limits = self.server.limits();
        // Dropping the socket closes it: Kafka does not say why either.
        if socket.descriptor().is_some_and(|number| number >= limits.descriptors_to_keep()) {
            // Who comes next may find room where a segment was only kept open.
            self.server.host.disk.make_room();
            return debug!(peer:% = peer; "connection refused, the last descriptors are for the disk");
        }
        let guest = match self.hall.guests.admit(peer.ip(), &limits) {
            Ok(guest) => guest,
            Err(refused) => return debug!(peer:% = peer, error:% = refused; "connection refused"),
        };
        let caller =
            Caller { principal: "User:ANONYMOUS".to_owned(), listener: self.name.clone(), host: peer.ip() };
        let (server, reached) = (Arc::clone(&self.server), socket.local_addr());
        let call = Call { server, caller, client_host: format!("/{}", peer.ip()).into(), reached };
        let share = Share::new(Arc::clone(&self.hall.credit), limits.connection_bytes_max);
        let tally = Counter { tallies: Arc::clone(&self.hall.tallies), shard };
        tally.connected();
        match socket.detach() {
            Ok(socket) => self.send_to(shard, Baggage::new(socket, guest, call, share, tally), peer),
            Err(error) => debug!(peer:% = peer, error:% = error; "connection lost"),
        }
    }

    /// Lets a connection go on, on this shard.
    fn send_to(self: &Arc<Door>, shard: usize, mut baggage: Baggage, peer: SocketAddr) {
        baggage.tally.shard = shard;
        let Some(shard) = self.shards.get(shard) else { return };
        let door = Arc::clone(self);
        shard.spawn(move || door.serve(baggage, peer));
    }

    async fn serve(self: Arc<Door>, baggage: Baggage, peer: SocketAddr) {
        let connection = match Connection::settle(baggage) {
            Ok(connection) => connection,
            Err(error) => return debug!(peer:% = peer, error:% = error; "connection lost"),
        };
        match connection.serve().await {
            // Not the client's doing alone: a person should know.
            Parted::Ended(Ending::Request(why @ Close::TooLong(_))) => {
                warn!(peer:% = peer, why:% = why; "connection closed")
            }
            Parted::Ended(why) => debug!(peer:% = peer, why:% = why; "connection closed"),
            Parted::Moved(baggage, shard) => {
                debug!(peer:% = peer, shard; "connection moved");
                self.send_to(shard, *baggage, peer);
            }
        }
    }

    /// What accept can fail with is either one connection's bad luck or a lack of file descriptors, which passes.
    async fn rest(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        // A segment that is only kept open is closed for somebody who comes.
        if is_out_of_files(error) && self.server.host.disk.make_room() {
            return;
        }
        warn!(error:% = error, open = self.hall.guests.count(); "cannot accept, trying again");
        tokio::time::sleep(Duration::from_millis(REST_MS)).await;
    }
}
