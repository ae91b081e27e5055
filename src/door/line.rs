//! Requests of one connection that are not answered yet, in the order they came.
//!
//! Kafka works on one request of a connection at a time and answers in order; clients that pipeline rely on it.
//! We do the same, except that consecutive Produce requests are sent to their partitions as they arrive, and consecutive
//! OffsetCommit requests to their groups, so that one sync covers them: partitions and groups keep arrival order, and
//! answers leave in order all the same.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use ottla_rules::limits::COMMITS_UNDER_WAY_MAX;
use ottla_wire::api::ApiKey;

use crate::api::produce::{AppendReply, Produced, Settled};
use crate::api::{Close, Response};

/// An answer that is being waited for; polled on the shard of its connection.
pub(crate) type Waiting = Pin<Box<dyn Future<Output = Result<Response, Close>>>>;

/// What became of a request when it was begun.
pub(crate) enum Turn {
    /// It is answered.
    Answered(Response),
    /// Its batches are with their partitions; the answers come through the connection's reply queue.
    Produce(Produced),
    /// It waits for something.
    Wait {
        /// Only waits: everything it had to send is sent.
        answer: Waiting,
        /// A long poll: nothing is lost when it is dropped because its client is gone or the node stops.
        droppable: bool,
    },
}

impl Turn {
    /// Its batches, of a Produce.
    pub(super) fn produced(&self) -> Option<&Produced> {
        match self {
            Turn::Produce(produced) => Some(produced),
            Turn::Answered(_) | Turn::Wait { .. } => None,
        }
    }
}

struct Place {
    key: ApiKey,
    turn: Turn,
    request_bytes: usize,
}

/// What has come to the front and is over.
pub(crate) struct Finished {
    /// What goes on the wire; a Produce with acks=0 is not answered.
    pub(crate) response: Option<Response>,
    /// The credit that its request held.
    pub(crate) request_bytes: usize,
}

/// The requests that are under way.
#[derive(Default)]
pub(crate) struct Line {
    places: VecDeque<Place>,
}

impl Line {
    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// True when nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// True when a request of this kind may begin behind those that are under way.
    pub(crate) fn admits(&self, key: ApiKey) -> bool {
        match self.places.back() {
            None => true,
            // The last one says it all: nothing of another kind begins behind it before it is answered.
            Some(Place { turn: Turn::Produce(last), .. }) => key == ApiKey::Produce && !last.is_unpacking(),
            Some(last) => {
                key == ApiKey::OffsetCommit
                    && last.key == ApiKey::OffsetCommit
                    && self.places.len() < COMMITS_UNDER_WAY_MAX
            }
        }
    }

    /// True while nothing at all may begin behind the last request: it waits, and not for what others of its kind wait for too.
    pub(crate) fn is_closed(&self) -> bool {
        let waits = |last: &Place| matches!(last.turn, Turn::Wait { .. }) && last.key != ApiKey::OffsetCommit;
        self.places.back().is_some_and(waits)
    }

    /// True while partitions owe answers to appends: what is behind a Produce is Produce.
    pub(crate) fn has_appends(&self) -> bool {
        self.places.front().is_some_and(|first| matches!(first.turn, Turn::Produce(_)))
    }

    /// Hands over the batches of the last request that have been unpacked by now; whether there were any.
    pub(crate) fn hand_over(&mut self, cx: &mut Context<'_>) -> bool {
        match self.places.back_mut() {
            Some(Place { turn: Turn::Produce(last), .. }) => last.is_unpacking() && last.hand_over(cx),
            Some(_) | None => false,
        }
    }

    /// True when nothing is lost by closing now.
    pub(crate) fn is_droppable(&self) -> bool {
        match self.places.front() {
            None => true,
            Some(first) => matches!(first.turn, Turn::Wait { droppable: true, .. }),
        }
    }

    /// A request has begun that holds `request_bytes` of credit.
    pub(crate) fn push(&mut self, key: ApiKey, turn: Turn, request_bytes: usize) {
        self.places.push_back(Place { key, turn, request_bytes });
    }

    /// A partition has answered the append with this tag.
    pub(crate) fn settle(&mut self, tag: u64, reply: AppendReply) {
        // Tags rise along the line, so the request is the last one that begins at or before the tag.
        let behind = self.places.partition_point(|place| match &place.turn {
            Turn::Produce(produced) => produced.first_tag() <= tag,
            Turn::Answered(_) | Turn::Wait { .. } => false,
        });
        let Some(index) = behind.checked_sub(1) else { return };
        if let Turn::Produce(produced) = &mut self.places[index].turn {
            produced.settle(tag, reply);
        }
    }

    /// Takes the first request off the line once it is over.
    pub(crate) fn poll_front(&mut self, cx: &mut Context<'_>) -> Poll<Result<Finished, Close>> {
        let Some(first) = self.places.front_mut() else { return Poll::Pending };
        let response = match &mut first.turn {
            Turn::Answered(response) => Some(std::mem::take(response)),
            Turn::Wait { answer, .. } => match answer.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(close)) => return Poll::Ready(Err(close)),
                Poll::Ready(Ok(response)) => Some(response),
            },
            Turn::Produce(produced) => match produced.settled() {
                Settled::NotYet => return Poll::Pending,
                Settled::Answer(response) => Some(response),
                Settled::Silent => None,
                Settled::Close(close) => return Poll::Ready(Err(close)),
            },
        };
        let request_bytes = first.request_bytes;
        self.places.pop_front();
        Poll::Ready(Ok(Finished { response, request_bytes }))
    }
}
