//! Incremental fetch sessions (KIP-227): what a client asked for before it need not say again, and is not told again.
//!
//! ```text
//!   epoch 0   everything listed is answered, and remembered under a new id      -> create
//!   epoch n   id and number must fit; what is listed is added or changed        -> open, then news
//!             answered is only what has news: records, a moved bound, an error
//!   epoch -1  the session is closed; what is listed is answered this once
//! ```
//!
//! The rules are those of Kafka's `FetchSessionCache` and `FetchManager`; sessions of followers are not among them, because
//! nodes of ours replicate by other means.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    ids::TopicId,
    limits::{FETCH_SESSION_EVICTION_MS, FETCH_SESSIONS_BYTES_MAX},
    time::Now,
};

#[cfg(test)]
mod tests;

/// The epoch of a request that opens a session.
pub const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that closes its session, or has none.
pub const FINAL_EPOCH: i32 = -1;
/// The id that stands for "no session".
pub const NO_SESSION: i32 = 0;

/// What one remembered partition takes beside its topic's name, in bytes, about.
const PARTITION_BYTES: usize = 200;

/// A topic as a client calls it: by name before version 13 of Fetch, by id since.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicKey {
    /// By name.
    Name(Arc<str>),
    /// By id.
    Id(TopicId),
}

/// A partition as a client calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionKey {
    /// The topic.
    pub topic: TopicKey,
    /// The partition's number.
    pub index: i32,
}

/// What a client wants of one partition; the fields of the request, as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The first offset wanted.
    pub fetch_offset: i64,
    /// How many bytes of it an answer should have at most.
    pub bytes_max: i32,
    /// The leader epoch that the client knows; -1 when it knows none.
    pub current_leader_epoch: i32,
    /// The leader epoch of its last record; -1 for none.
    pub last_fetched_epoch: i32,
}

/// A Fetch request, as far as sessions are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The session; [`NO_SESSION`] for none.
    pub id: i32,
    /// The number of the request in it.
    pub epoch: i32,
    /// Whether topics are named by id.
    pub by_id: bool,
    /// What is listed.
    pub wishes: Vec<(PartitionKey, Wish)>,
    /// What the session may forget.
    pub forgotten: Vec<PartitionKey>,
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Everything listed is to be answered, and nothing remembered.
    Sessionless(Vec<(PartitionKey, Wish)>),
    /// Everything listed is to be answered, and remembered if there is room.
    Full(Vec<(PartitionKey, Wish)>),
    /// Everything remembered is to be looked at, in this order, and answered where there is news.
    Incremental {
        /// The session.
        id: i32,
        /// Its epoch from now on.
        epoch: i32,
        /// What it remembers. Whoever had records last stands last, so that each has its turn.
        wishes: Vec<(PartitionKey, Wish)>,
    },
}

/// What one partition answers, as far as sessions are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// There are records.
    pub has_records: bool,
    /// There is an error, or logs that part: never withheld.
    pub is_urgent: bool,
    /// The high watermark; -1 with an error.
    pub high_watermark: i64,
    /// The log start; -1 with an error.
    pub log_start: i64,
}

/// Why a session cannot go on; clients then begin a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// There is no such session, or it was evicted (FETCH_SESSION_ID_NOT_FOUND).
    #[error("there is no such fetch session")]
    NotFound,
    /// The request is not the next of its session (INVALID_FETCH_SESSION_EPOCH).
    #[error("the fetch session expects another epoch")]
    Epoch,
    /// The session names topics the other way (FETCH_SESSION_TOPIC_ID_ERROR).
    #[error("the fetch session names topics by other means")]
    TopicIds,
}

/// The sessions of one node.
#[derive(Debug)]
pub struct FetchSessions {
    slots: usize,
    bytes_max: usize,
    bytes: usize,
    sessions: BTreeMap<i32, Session>,
    /// The same, by when they were last used: the one unused longest is first.
    by_use: BTreeMap<(u64, i32), ()>,
    evicted: u64,
}

#[derive(Debug)]
struct Session {
    by_id: bool,
    epoch: i32,
    created_ms: u64,
    used_ms: u64,
    bytes: usize,
    parts: BTreeMap<PartitionKey, Part>,
    /// Whose turn it is.
    order: BTreeMap<u64, PartitionKey>,
    next_place: u64,
}

#[derive(Debug)]
struct Part {
    wish: Wish,
    place: u64,
    high_watermark: i64,
    log_start: i64,
}

impl FetchSessions {
    /// No sessions yet, and room for `slots` (`max.incremental.fetch.session.cache.slots`).
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            slots,
            bytes_max: FETCH_SESSIONS_BYTES_MAX,
            bytes: 0,
            sessions: BTreeMap::new(),
            by_use: BTreeMap::new(),
            evicted: 0,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// How many partitions they remember.
    #[must_use]
    pub fn n_partitions(&self) -> usize {
        self.sessions.values().map(|session| session.parts.len()).sum()
    }

    /// How many had to go for others, or because they grew too large.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// [`SessionError`] when it belongs to a session and does not fit.
    pub fn open(&mut self, asked: Asked, now: Now) -> Result<Opened, SessionError> {
        let Asked { id, epoch, by_id, wishes, forgotten } = asked;
        if matches!(epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            self.remove(id);
            let is_final = epoch == FINAL_EPOCH;
            return Ok(if is_final { Opened::Sessionless(wishes) } else { Opened::Full(wishes) });
        }
        let session = self.sessions.get_mut(&id).ok_or(SessionError::NotFound)?;
        if session.epoch != epoch {
            return Err(SessionError::Epoch);
        }
        if session.by_id != by_id {
            return Err(SessionError::TopicIds);
        }
        self.bytes -= session.bytes;
        wishes.into_iter().for_each(|(key, wish)| session.want(key, wish, None));
        forgotten.iter().for_each(|key| session.forget(key));
        self.bytes += session.bytes;
        if session.parts.is_empty() {
            self.remove(id);
            return Ok(Opened::Sessionless(Vec::new()));
        }
        self.by_use.remove(&(session.used_ms, id));
        session.used_ms = now.mono_ms;
        self.by_use.insert((now.mono_ms, id), ());
        self.make_bytes(0, now);
        if self.bytes > self.bytes_max {
            self.evict(id);
            return Err(SessionError::NotFound);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return Err(SessionError::NotFound) };
        session.epoch = next_epoch(epoch);
        let wishes = session.order.values().map(|key| (key.clone(), session.parts[key].wish));
        Ok(Opened::Incremental { id, epoch: session.epoch, wishes: wishes.collect() })
    }

    /// Remembers a full request and its answers; the new session's id, or [`NO_SESSION`] where there is no room. `draw` gives
    /// any number.
    pub fn create(
        &mut self,
        by_id: bool,
        answered: impl IntoIterator<Item = (PartitionKey, Wish, Answer)>,
        mut draw: impl FnMut() -> i32,
        now: Now,
    ) -> i32 {
        let mut session = Session::new(by_id, now);
        answered.into_iter().for_each(|(key, wish, answer)| session.want(key, wish, Some(answer)));
        let is_empty = session.parts.is_empty();
        if is_empty || session.bytes > self.bytes_max {
            return NO_SESSION;
        }
        self.make_bytes(session.bytes, now);
        if self.bytes + session.bytes > self.bytes_max || !self.make_room(session.parts.len(), now) {
            return NO_SESSION;
        }
        let id = loop {
            let id = draw() & i32::MAX;
            if id != NO_SESSION && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        self.bytes += session.bytes;
        self.by_use.insert((now.mono_ms, id), ());
        self.sessions.insert(id, session);
        id
    }

    /// Which of these answers are news to the session, in their order; what is not need not be sent.
    ///
    /// # Errors
    /// [`SessionError`] when the session is gone, or another request has gone on with it meanwhile.
    pub fn news(
        &mut self,
        id: i32,
        epoch: i32,
        answers: &[(PartitionKey, Answer)],
    ) -> Result<Vec<bool>, SessionError> {
        let session = self.sessions.get_mut(&id).ok_or(SessionError::NotFound)?;
        if session.epoch != epoch {
            return Err(SessionError::Epoch);
        }
        Ok(answers.iter().map(|(key, answer)| session.is_news(key, *answer)).collect())
    }

    /// Stale sessions go, the one unused longest first, until there is room for so many bytes more. Their consumers were killed, most
    /// likely, and else nobody would have a session any more.
    fn make_bytes(&mut self, more: usize, now: Now) {
        while self.bytes + more > self.bytes_max
            && let Some(&(used_ms, unused)) = self.by_use.keys().next()
            && is_old(used_ms, now)
        {
            self.evict(unused);
        }
    }

    /// Whether one more session, of so many partitions, has a slot: a stale one goes, or else one that is two minutes old and
    /// no larger.
    fn make_room(&mut self, n_parts: usize, now: Now) -> bool {
        if self.sessions.len() < self.slots {
            return true;
        }
        let Some(&(used_ms, unused)) = self.by_use.keys().next() else { return false };
        if is_old(used_ms, now) {
            self.evict(unused);
            return true;
        }
        // Looked for one by one: there are few of them, and it happens only when all slots are taken.
        let old = self.sessions.iter().filter(|(_, session)| is_old(session.created_ms, now));
        let smallest = old.map(|(id, session)| (session.parts.len(), *id)).min();
        match smallest {
            Some((size, id)) if size <= n_parts => {
                self.evict(id);
                true
            }
            Some(_) | None => false,
        }
    }

    fn evict(&mut self, id: i32) {
        self.remove(id);
        self.evicted += 1;
    }

    fn remove(&mut self, id: i32) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.bytes -= session.bytes;
        self.by_use.remove(&(session.used_ms, id));
    }
}

fn is_old(since_ms: u64, now: Now) -> bool {
    now.mono_ms.saturating_sub(since_ms) > FETCH_SESSION_EVICTION_MS
}

impl Session {
    fn new(by_id: bool, now: Now) -> Self {
        Self {
            by_id,
            epoch: next_epoch(INITIAL_EPOCH),
            created_ms: now.mono_ms,
            used_ms: now.mono_ms,
            bytes: 0,
            parts: BTreeMap::new(),
            order: BTreeMap::new(),
            next_place: 0,
        }
    }

    /// Adds a partition, or changes what is wanted of it. Bounds that nobody was told of yet are news.
    fn want(&mut self, key: PartitionKey, wish: Wish, told: Option<Answer>) {
        if let Some(part) = self.parts.get_mut(&key) {
            part.wish = wish;
            return;
        }
        let (high_watermark, log_start) = told.map_or((-1, -1), |told| (told.high_watermark, told.log_start));
        let place = self.next_place;
        self.next_place += 1;
        self.bytes += bytes_of(&key);
        self.order.insert(place, key.clone());
        self.parts.insert(key, Part { wish, place, high_watermark, log_start });
    }

    fn forget(&mut self, key: &PartitionKey) {
        let Some(part) = self.parts.remove(key) else { return };
        self.order.remove(&part.place);
        self.bytes -= bytes_of(key);
    }

    fn is_news(&mut self, key: &PartitionKey, answer: Answer) -> bool {
        let Some(part) = self.parts.get_mut(key) else { return true };
        let has_moved = (part.high_watermark, part.log_start) != (answer.high_watermark, answer.log_start);
        part.high_watermark = answer.high_watermark;
        part.log_start = answer.log_start;
        if answer.is_urgent {
            // The end of an error is news, too.
            part.high_watermark = -1;
        }
        if answer.has_records {
            self.order.remove(&part.place);
            part.place = self.next_place;
            self.order.insert(self.next_place, key.clone());
            self.next_place += 1;
        }
        answer.has_records || answer.is_urgent || has_moved
    }
}

fn bytes_of(key: &PartitionKey) -> usize {
    PARTITION_BYTES
        + match &key.topic {
            TopicKey::Name(name) => name.len(),
            TopicKey::Id(_) => 0,
        }
}

/// Epochs go round without 0, which opens, and -1, which closes.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}
