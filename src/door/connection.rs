//! One connection: one task on a shard, which takes answers, writes, reads and begins requests until nothing
//! moves, and then sleeps until something does.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ottla_host::Socket;
use ottla_rules::floods::UnderWay;
use ottla_rules::limits::{
    ANSWER_TAKEN_MS_MAX, CONNECTION_BYTES_ALWAYS, REQUEST_ARRIVES_MS_MAX, UNTAKEN_BYTES_MAX,
};
use ottla_rules::{turns, turnstile};
use ottla_wire::frame::FrameError;
use tokio::time::Sleep;

use super::baggage::Baggage;
use super::credit::Share;
use super::guests::Guest;
use super::intake::Intake;
use super::line::Line;
use super::outbox::Outbox;
use super::pace::{Begun, Pace};
use super::tally::Counter;
use super::turnstile::Gate;
use super::vigil;
use crate::api::produce::{AppendReply, Appends, Produced};
use crate::api::{self, Call, Close, Request};

/// After so many rounds the other tasks of the shard have their turn.
const ROUNDS_MAX: usize = 32;

/// Also after so many requests have begun, and after so many bytes have come or gone: a connection that floods a shard
/// keeps it for a few tenths of a millisecond at a time, whatever it sends. Another's request meets several such turns on its
/// way: when it is read, before it is written and before it is answered.
const TURN_REQUESTS_MAX: usize = 64;
const TURN_BYTES_MAX: usize = 256 * 1024;

/// And after so many where it floods beside somebody who asks one by one: what begins together is synced together, and the other waits
/// for that too.
const FLOOD_REQUESTS_MAX: usize = TURN_REQUESTS_MAX / 2;

/// How much is read behind a request that waits for its turn: enough that a client's end is seen behind what clients
/// send while they wait, little enough that waiting costs no memory to speak of.
const AHEAD_BYTES: usize = 16 * 1024;

/// Whoever has taken too long over a request, while nobody waited for its room, is looked at again so often.
const STALLED_LOOK_MS: u64 = 250;

/// Why a connection ended. None of them is worth more than a debug line: clients come and go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ending {
    /// The client closed it.
    #[error("closed by the client")]
    Client,
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// What came is no frame.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A request that is answered by closing.
    #[error("{0}")]
    Request(#[from] Close),
    /// Silent for `connections.max.idle.ms`.
    #[error("idle for too long")]
    Idle,
    /// Half a request, which kept others waiting.
    #[error("the rest of a request did not come in time, and the room it takes is needed")]
    Stalled,
    /// Takes next to nothing of its answers, which keep others waiting.
    #[error("its answers are not taken, and the room they have is needed")]
    Untaken,
    /// The node is stopping and everything is answered.
    #[error("the node is stopping")]
    Leaving,
}

/// What became of a connection on a shard.
pub(crate) enum Parted {
    /// It is over.
    Ended(Ending),
    /// It goes on, on the shard of this number.
    Moved(Box<Baggage>, usize),
}

/// A connection that has been let in, on its shard.
pub(crate) struct Connection {
    socket: Socket,
    guest: Guest,
    call: Call,
    intake: Intake,
    line: Line,
    held: Option<(Request, usize)>,
    outbox: Outbox,
    share: Share,
    tally: Counter,
    appends: Appends,
    arrived: Vec<(u64, AppendReply)>,
    /// What was done since the shard looked at its sockets at our request.
    since: Since,
    /// Much was done: nothing more is before the shard has looked, and it is our turn.
    gate: Gate,
    /// Much was asked for, beside somebody who asks for little: nothing more is read or begun before it has rested.
    pace: Pace,
    /// The shard to which it moves once everything that has begun is answered; nothing begins until then.
    bound_for: Option<usize>,
    ended: bool,
    /// What came is no request. What came before it is answered, as it would be if that had been read later.
    broken: Option<Ending>,
    /// How often this thread had slept when the first request of those under way, or of the last ones, began.
    slept: u64,
    /// There was no room for what the client may have sent: its end is not seen by reading.
    is_blind: bool,
    /// Tells of the client's end while we are blind and something is waited for.
    hung_up: Option<Pin<Box<dyn Future<Output = ()>>>>,
    idle: Idle,
    /// Rings when a large request has been arriving for too long; `None` as soon as it is here.
    arriving: Option<Pin<Box<Sleep>>>,
    /// Rings when its client should have taken some of the answers that are in memory.
    taking: Option<Taking>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Since {
    requests: usize,
    bytes: usize,
}

impl Since {
    fn cost(self) -> u64 {
        turnstile::cost(self.requests, self.bytes)
    }
}

/// What a round has done.
#[derive(Clone, Copy, Debug)]
struct Round {
    moved: bool,
    /// What moved may let more move.
    again: bool,
}

/// How fast answers that are in memory are taken.
struct Taking {
    /// What has left since the alarm was set.
    bytes: usize,
    alarm: Pin<Box<Sleep>>,
}

/// The idle clock: armed once, and looked at again only when it rings.
struct Idle {
    idle_ms_max: u64,
    last_moved_ms: u64,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    /// A connection goes on here with what it brings along.
    ///
    /// # Errors
    /// When this thread's runtime cannot take the socket; the connection is closed then.
    pub(crate) fn settle(baggage: Baggage) -> io::Result<Connection> {
        let Baggage { socket, guest, call, intake, held, share, tally, appends, last_moved_ms } = baggage;
        let idle_ms_max = call.server.limits().idle_ms_max;
        let pool = call.server.host.pool.clone();
        Ok(Connection {
            socket: socket.attach()?,
            guest,
            call,
            intake,
            line: Line::default(),
            held,
            outbox: Outbox::new(pool),
            share,
            tally,
            appends,
            arrived: Vec::new(),
            since: Since::default(),
            gate: Gate::default(),
            pace: Pace::default(),
            bound_for: None,
            ended: false,
            broken: None,
            slept: 0,
            is_blind: false,
            hung_up: None,
            arriving: None,
            taking: None,
            idle: Idle { idle_ms_max, last_moved_ms, alarm: None },
        })
    }

    /// Serves it until it ends or moves.
    pub(crate) async fn serve(mut self) -> Parted {
        match poll_fn(|cx| self.poll(cx)).await {
            Ok(shard) => match self.pack() {
                Ok(baggage) => Parted::Moved(Box::new(baggage), shard),
                Err(error) => Parted::Ended(error.into()),
            },
            Err(ending) => {
                self.pace.leaves(self.guest.number(), &self.tally, &self.call.server.host.clock);
                Parted::Ended(ending)
            }
        }
    }

    fn pack(self) -> io::Result<Baggage> {
        let Connection { socket, guest, call, intake, held, share, tally, appends, idle, .. } = self;
        let (socket, last_moved_ms) = (socket.detach()?, idle.last_moved_ms);
        Ok(Baggage { socket, guest, call, intake, held, share, tally, appends, last_moved_ms })
    }

    /// Ready with the shard to move to, or with the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Ending>> {
        if self.gate.poll_turn(&self.tally, &self.call.server.host.clock, cx).is_pending() {
            return Poll::Pending;
        }
        let before = self.since.cost();
        self.guest.watch(cx);
        let mut moved_at_all = false;
        for _ in 0..ROUNDS_MAX {
            let round = match self.round(cx) {
                Ok(round) => round,
                Err(ending) => return Poll::Ready(Err(ending)),
            };
            // There may be more to do, and it is somebody else's turn.
            if self.has_had_enough() {
                break;
            }
            moved_at_all |= round.moved;
            if !round.again {
                self.spend(before);
                return self.rest(moved_at_all, cx);
            }
        }
        self.spend(before);
        self.idle.last_moved_ms = self.call.server.host.clock.mono_ms();
        // Somebody else's turn is also that of those whose requests are still in their sockets. A wake-up of our own, or by
        // an answer, would keep the shard from looking as long as there is work.
        self.since = Since::default();
        if self.pace.is_flood() || self.pace.begun() >= ROUNDS_MAX {
            self.turn_over(cx);
        }
        self.gate.get_in_line(&self.tally, &self.call.server.host.clock, cx);
        Poll::Pending
    }

    /// A turn is over, before which so much had been spent.
    fn spend(&mut self, before: u64) {
        let clock = &self.call.server.host.clock;
        let cost = self.since.cost().saturating_sub(before);
        self.gate.spend(cost, self.pace.is_one_by_one(), &self.tally, clock);
    }

    /// One round: what is answered leaves before anything else begins.
    fn round(&mut self, cx: &mut Context<'_>) -> Result<Round, Ending> {
        let mut left = self.take_replies(cx);
        left |= self.line.hand_over(cx);
        left |= self.finish(cx)?;
        left |= self.write(cx)?;
        let mut came = self.read(cx)?;
        came |= self.begin_or_break();
        // Room that came free is nothing to somebody who had enough: mostly one round is all that an answer takes.
        let wants_room = self.is_blind || self.held.is_some() || self.intake.len() > 0;
        Ok(Round { moved: left || came, again: came || left && wants_room })
    }

    fn take_replies(&mut self, cx: &Context<'_>) -> bool {
        if !self.line.has_appends() {
            return false;
        }
        self.appends.replies.take(cx.waker(), &mut self.arrived);
        let moved = !self.arrived.is_empty();
        for (tag, reply) in self.arrived.drain(..) {
            self.line.settle(tag, reply);
        }
        moved
    }

    /// Moves what is answered from the front of the line to the outbox.
    fn finish(&mut self, cx: &mut Context<'_>) -> Result<bool, Ending> {
        let mut moved = false;
        while let Poll::Ready(finished) = self.line.poll_front(cx) {
            moved = true;
            let finished = match finished {
                Ok(finished) => finished,
                Err(close) => return Err(self.close(close, cx)),
            };
            let (who, clock) = (self.guest.number(), &self.call.server.host.clock);
            self.pace.answered(who, finished.request_bytes, &self.tally, clock);
            self.share.give(finished.request_bytes);
            let Some(response) = finished.response else { continue };
            self.share.take(response.bytes_in_memory());
            for piece in response.into_pieces() {
                self.outbox.push(piece);
            }
        }
        Ok(moved)
    }

    /// Closes; answers before the one that went wrong leave if the socket takes them now.
    fn close(&mut self, close: Close, cx: &mut Context<'_>) -> Ending {
        self.since = Since::default();
        // The outcome changes nothing: the connection ends here either way.
        let _ = self.write(cx);
        close.into()
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, Ending> {
        let mut moved = false;
        while !self.outbox.is_empty() && self.since.bytes < TURN_BYTES_MAX {
            let Poll::Ready(written) = self.outbox.poll_write(&mut self.socket, cx)? else { break };
            self.share.give(written.from_memory);
            self.tally.written(written.bytes);
            self.since.bytes += written.bytes;
            if let Some(taking) = &mut self.taking {
                taking.bytes += written.bytes;
            }
            moved = true;
        }
        Ok(moved)
    }

    /// True when the client should take the answers it has before it is served further.
    fn is_untaken(&self) -> bool {
        self.outbox.len() > UNTAKEN_BYTES_MAX
    }

    fn requests_max(&self) -> usize {
        if self.pace.is_flood() { FLOOD_REQUESTS_MAX } else { TURN_REQUESTS_MAX }
    }

    fn has_had_enough(&self) -> bool {
        self.since.requests >= self.requests_max() || self.since.bytes >= TURN_BYTES_MAX
    }

    fn may_begin(&mut self) -> bool {
        let has_turn = self.since.requests < self.requests_max() && !self.pace.is_resting();
        let has_enough = self.pace.has_enough(&self.call.server.host.clock);
        has_turn && !has_enough && self.bound_for.is_none() && self.broken.is_none() && !self.is_untaken()
    }

    /// Begins what is here. Nothing more is read or begun behind what is no request.
    fn begin_or_break(&mut self) -> bool {
        self.begin().unwrap_or_else(|why| {
            self.broken = Some(why);
            self.ended = true;
            // Nothing more is read: whether the client is there has to be asked.
            self.is_blind = true;
            true
        })
    }

    /// Begins the requests that are here and whose turn it is.
    fn begin(&mut self) -> Result<bool, Ending> {
        let mut moved = false;
        while self.may_begin() {
            let (request, bytes) = match self.held.take() {
                Some(held) => held,
                None => match self.intake.next_frame()? {
                    Some(frame) => {
                        self.arriving = None;
                        let bytes = frame.len() + 4;
                        (Request::read(frame)?, bytes)
                    }
                    None => return Ok(moved),
                },
            };
            let key = request.header.key;
            if !self.line.admits(key) {
                self.held = Some((request, bytes));
                return Ok(moved);
            }
            self.tally.asked(key);
            if self.line.is_empty() {
                self.slept = ottla_host::sleeps();
            }
            self.start(request, bytes)?;
            self.bound_for = self.appends.residence.settle();
            self.since.requests += 1;
            moved = true;
        }
        Ok(moved)
    }

    /// Begins a request of so many bytes.
    fn start(&mut self, request: Request, bytes: usize) -> Result<(), Ending> {
        let key = request.header.key;
        let is_alone = self.line.is_empty() && self.intake.len() == 0;
        let (who, clock) = (self.guest.number(), &self.call.server.host.clock);
        self.appends.manner = self.pace.manner();
        let turn = api::begin(&self.call, request, &mut self.appends)?;
        // A consumer asks for much in few bytes.
        let is_little = turns::is_small(bytes as u64) && self.gate.is_light();
        let produced = turn.produced();
        let is_awaited = produced.is_some_and(Produced::is_awaited);
        let appends = produced.into_iter().flat_map(Produced::durable);
        let begun = Begun { who, bytes, is_alone, is_little, is_awaited, appends };
        self.pace.begins(begun, &self.tally, clock);
        self.line.push(key, turn, bytes);
        Ok(())
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Ending> {
        // Looked at whatever else is so: nothing begins before it is over.
        let is_resting = self.pace.poll_rest(cx);
        if is_resting {
            // As it was before the rest says nothing: answers may have left meanwhile.
            self.is_blind = false;
        }
        // What has begun to arrive goes on, unless it rests: its client may be waited for.
        let has_enough = self.pace.has_enough(&self.call.server.host.clock) && !self.share.is_ahead();
        if has_enough {
            self.is_blind = false;
        }
        if is_resting || has_enough || self.ended || self.bound_for.is_some() || self.guest.should_leave() {
            self.share.wait_no_more();
            return Ok(false);
        }
        let room = self.room(cx);
        self.is_blind = room == 0;
        if self.is_blind {
            return Ok(false);
        }
        // Looked at first: who has sent nothing takes no buffer.
        if self.socket.poll_read_ready(cx)?.is_pending() {
            self.intake.rest();
            return Ok(false);
        }
        match self.intake.poll_fill(&mut self.socket, room, cx)? {
            Poll::Pending => Ok(false),
            Poll::Ready(0) => {
                self.ended = true;
                Ok(true)
            }
            Poll::Ready(came) => {
                self.share.came(came);
                self.tally.read(came);
                self.since.bytes += came;
                Ok(true)
            }
        }
    }

    /// How many bytes may be read now.
    fn room(&mut self, cx: &Context<'_>) -> usize {
        // Behind a request that waits for its turn only so much is read that its client's end is seen, and behind a long poll: what
        // cannot begin for days may be large.
        let is_waiting = self.held.is_some() || self.line.is_closed();
        if self.is_untaken() || is_waiting && self.intake.len() >= AHEAD_BYTES {
            self.share.wait_no_more();
            return 0;
        }
        let is_owed = is_waiting || !self.line.is_empty() || !self.outbox.is_empty();
        match self.intake.rest_of_large() {
            _ if is_waiting => self.share.room(is_owed, cx).min(AHEAD_BYTES),
            Some(rest) => self.share.room_for(rest, is_owed, cx),
            None => self.share.room(is_owed, cx),
        }
    }

    /// Nothing moves any more: is it over, or is something waited for?
    fn rest(&mut self, moved_at_all: bool, cx: &mut Context<'_>) -> Poll<Result<usize, Ending>> {
        if let Some(shard) = self.bound_for
            && self.line.is_empty()
            && self.outbox.is_empty()
        {
            return Poll::Ready(Ok(shard));
        }
        let is_leaving = self.guest.should_leave();
        // While it rests there may be requests here that have not begun.
        if (self.ended || is_leaving) && !self.pace.is_resting() {
            let nothing_owed = self.held.is_none() && self.outbox.is_empty() && self.line.is_empty();
            // Who has sent nonsense may be there to take what it asked for before.
            let is_gone = self.broken.is_none() && self.line.is_droppable();
            if nothing_owed || is_gone && self.outbox.is_empty() {
                let otherwise = if self.ended { Ending::Client } else { Ending::Leaving };
                return Poll::Ready(Err(self.broken.take().unwrap_or(otherwise)));
            }
        }
        if self.is_stalled(cx) {
            return Poll::Ready(Err(Ending::Stalled));
        }
        if self.is_not_taken(cx) {
            return Poll::Ready(Err(Ending::Untaken));
        }
        if moved_at_all {
            self.tell_vigil();
            self.turn_over(cx);
        }
        // Nobody is idle who waits for an answer, and the answer is a move.
        if !self.line.is_empty() {
            return self.watch_for_end(cx).map(Err);
        }
        let clock = &self.call.server.host.clock;
        if moved_at_all {
            self.idle.last_moved_ms = clock.mono_ms();
        }
        // Once it has been asked it wakes this task, and there is no need to ask again before it rings.
        if self.idle.alarm.as_ref().is_some_and(|alarm| !alarm.is_elapsed()) {
            return Poll::Pending;
        }
        loop {
            let due_ms = self.idle.last_moved_ms.saturating_add(self.idle.idle_ms_max);
            if due_ms == u64::MAX {
                return Poll::Pending;
            }
            let alarm = self.idle.alarm.get_or_insert_with(|| Box::pin(clock.sleep_until(due_ms)));
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.idle.alarm = None;
            if clock.mono_ms() >= due_ms {
                return Poll::Ready(Err(Ending::Idle));
            }
        }
    }

    fn turn_over(&mut self, cx: &mut Context<'_>) {
        let (who, clock) = (self.guest.number(), &self.call.server.host.clock);
        let under_way = UnderWay { requests: self.line.len(), bytes: self.share.held() };
        self.pace.turn_over(who, under_way, &self.tally, clock, cx);
        if self.pace.is_resting() {
            // What begins when it has rested is a turn of its own.
            self.since = Since::default();
        }
    }

    /// Says that this connection rests. While something is under way and the shard is awake, whoever is to answer has yet to have
    /// its turn: that is no rest.
    fn tell_vigil(&self) {
        let is_answered = self.line.is_empty() && self.outbox.is_empty();
        let at_once = self.slept == ottla_host::sleeps();
        if is_answered || !at_once {
            vigil::rests(&self.tally, self.guest.number(), is_answered && at_once);
        }
    }

    /// Whether a large request has been arriving for too long and somebody waits for the room that it takes.
    fn is_stalled(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.share.is_ahead() {
            self.arriving = None;
            return false;
        }
        let clock = &self.call.server.host.clock;
        let in_ms = |ms: u64| Box::pin(clock.sleep_until(clock.mono_ms() + ms));
        while self.arriving.get_or_insert_with(|| in_ms(REQUEST_ARRIVES_MS_MAX)).as_mut().poll(cx).is_ready()
        {
            if self.share.is_short() {
                return true;
            }
            self.arriving = Some(in_ms(STALLED_LOOK_MS));
        }
        false
    }

    /// Whether answers have been in memory for too long whose client takes next to nothing, and somebody waits for the room that they take.
    fn is_not_taken(&mut self, cx: &mut Context<'_>) -> bool {
        if self.outbox.is_empty() || self.outbox.is_warming() || self.share.held() <= CONNECTION_BYTES_ALWAYS
        {
            self.taking = None;
            return false;
        }
        let clock = &self.call.server.host.clock;
        let from_now =
            || Taking { bytes: 0, alarm: Box::pin(clock.sleep_until(clock.mono_ms() + ANSWER_TAKEN_MS_MAX)) };
        while self.taking.get_or_insert_with(from_now).alarm.as_mut().poll(cx).is_ready() {
            let taken = self.taking.take().map_or(0, |taking| taking.bytes);
            if taken < UNTAKEN_BYTES_MAX && self.share.is_short() {
                return true;
            }
        }
        false
    }

    /// A long poll is nothing to a client that is gone, and what it holds others may use: its end is noticed also where
    /// unread bytes lie before it. Appends are another matter: they are answered, as Kafka does, since whoever has only
    /// stopped sending may still read.
    fn watch_for_end(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        if !self.is_blind || !self.line.is_droppable() {
            self.hung_up = None;
            return Poll::Pending;
        }
        let watch = match self.hung_up.take() {
            Some(watch) => watch,
            // Without a file descriptor to spare the end of the poll will do.
            None => match self.socket.hung_up(self.call.server.limits().descriptors_to_keep()) {
                Ok(watch) => watch,
                Err(_) => return Poll::Pending,
            },
        };
        self.hung_up.insert(watch).as_mut().poll(cx).map(|()| Ending::Client)
    }
}
