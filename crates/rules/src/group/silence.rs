//! Members that are silent, and since when: a fact in the log, so that it outlives the coordinator.
//!
//! ```text
//!   loaded --(a heartbeat is overdue)--> a note of each member that was not heard since --(heard again, or gone)--> taken back
//! ```
//!
//! A coordinator that has just read its log gives each member a whole session, for it cannot know when it was heard last. Where
//! nothing else is remembered, a broker that restarts more often than a session lasts never gives a dead member up. With a note
//! the session of a member ends when it would have ended had nobody restarted since then; but not before the member has had the
//! time for one heartbeat, so that it can be back after an outage of any length.
//!
//! As long as all members are heard nothing is written, and nothing is looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ask, Effect, Group, Parked};
use crate::{
    planted::{Bug, is},
    records::GroupRecord,
    time::{Deadline, Now},
};

/// A classic member is silent after so much of its session without a word: what Kafka advises as the longest time between its
/// heartbeats, which the broker is not told.
const CLASSIC_SHARE: u64 = 3;

/// But after so long at the most: twice the default time between two heartbeats.
const CLASSIC_MS_MAX: u64 = 6_000;

/// How late a heartbeat of the consumer protocol may be, as long as that is less than the time between two.
const LATE_MS: u64 = 1_000;

/// How long to wait before what could not be written is written again.
const AGAIN_MS: u64 = 5_000;

/// So many notes are written at once; more go behind them in records of their own.
const NOTES_MAX: usize = 100;

/// The times of one member, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// After how long a silence it is given up.
    pub(super) session_ms: u64,
    /// How long it has at least after the log was read.
    grace_ms: u64,
    /// After how long without a word since then it is silent.
    quiet_ms: u64,
}

impl Terms {
    /// Of a member of the classic protocol.
    pub(super) fn of_classic(session_timeout_ms: i32) -> Self {
        let session_ms = u64::try_from(session_timeout_ms).unwrap_or(0);
        let quiet_ms = (session_ms / CLASSIC_SHARE).min(CLASSIC_MS_MAX);
        Self { session_ms, grace_ms: quiet_ms, quiet_ms }
    }

    /// Of a member of the consumer protocol, which is told how often to send heartbeats.
    pub(super) fn of_consumer(session_ms: u64, heartbeat_ms: i32) -> Self {
        let grace_ms = u64::try_from(heartbeat_ms).unwrap_or(0);
        Self { session_ms, grace_ms, quiet_ms: grace_ms.saturating_add(grace_ms.min(LATE_MS)) }
    }
}

/// What is noted about the members of a group.
#[derive(Default)]
pub(super) struct Silence {
    /// Who is silent, and since when (Unix ms).
    since: BTreeMap<String, i64>,
    /// About whom the log does not say what is so.
    owed: BTreeSet<String>,
    /// The same, of whom it could not be told: later once more.
    failed: BTreeSet<String>,
    /// What is on its way into the log, by ticket.
    sent: Vec<(u64, Vec<String>)>,
    /// When the log was read.
    loaded: Now,
    wakes: Option<Deadline>,
}

impl Silence {
    /// Takes in what the log says about a member.
    pub(super) fn replay(&mut self, member: String, since_ms: Option<i64>) {
        match since_ms {
            Some(since_ms) => drop(self.since.insert(member, since_ms)),
            None => drop(self.since.remove(&member)),
        }
    }

    /// The log has been read to its end. Notes of nobody are dropped, as a broker leaves them that does not know what they are.
    fn loaded(&mut self, now: Now, is_member: impl Fn(&str) -> bool) {
        self.loaded = now;
        self.drop_gone(is_member);
        // The clock was set back: the future would never be over.
        for (id, since_ms) in self.since.iter_mut().filter(|(_, since_ms)| **since_ms > now.wall_ms) {
            *since_ms = now.wall_ms;
            self.owed.insert(id.clone());
        }
        self.wakes = (!self.owed.is_empty()).then_some(now.after(AGAIN_MS));
    }

    /// When the session of a member ends, now that the log has been read.
    pub(super) fn session(&self, id: &str, terms: Terms) -> Deadline {
        let Some(since_ms) = self.since.get(id) else { return self.loaded.after(terms.session_ms) };
        let gone_ms = u64::try_from(self.loaded.wall_ms.saturating_sub(*since_ms)).unwrap_or(0);
        self.loaded.after(terms.session_ms.saturating_sub(gone_ms).max(terms.grace_ms))
    }

    /// Nothing is noted, and nothing has to be said.
    pub(super) fn is_empty(&self) -> bool {
        self.since.is_empty() && self.owed.is_empty() && self.failed.is_empty()
    }

    /// A member is silent from now on. One that is so already stays it since then.
    pub(super) fn note(&mut self, id: &str, since_ms: i64) {
        if !self.since.contains_key(id) {
            self.since.insert(id.to_owned(), since_ms);
            self.owed.insert(id.to_owned());
        }
    }

    /// A member was heard.
    fn end(&mut self, id: &str) {
        if self.since.remove(id).is_some() {
            self.owed.insert(id.to_owned());
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.wakes
    }

    fn drop_gone(&mut self, is_member: impl Fn(&str) -> bool) {
        self.owed.extend(self.since.extract_if(.., |id, _| !is_member(id)).map(|(id, _)| id));
    }

    /// These were not heard since the log was read: who should have been is noted.
    fn look(&mut self, unheard: &[(&str, Terms)], now: Now) {
        self.owed.append(&mut self.failed);
        let since_ms = self.loaded.wall_ms;
        for (id, terms) in unheard {
            if self.loaded.after(terms.quiet_ms).is_due(now) {
                self.note(id, since_ms);
            }
        }
        self.wakes = self.next_look(unheard);
    }

    /// When the next of them is silent.
    fn next_look(&self, unheard: &[(&str, Terms)]) -> Option<Deadline> {
        let waits = unheard.iter().filter(|(id, _)| !self.since.contains_key(*id));
        waits.map(|(_, terms)| self.loaded.after(terms.quiet_ms)).min()
    }

    fn say(&mut self, group: &str, ticket: u64, records: &mut Vec<GroupRecord>) {
        let some: Vec<_> = self.owed.iter().take(NOTES_MAX).cloned().collect();
        if some.is_empty() {
            return;
        }
        for id in &some {
            self.owed.remove(id);
            let (group, since_ms) = (group.to_owned(), self.since.get(id).copied());
            records.push(GroupRecord::Silence { group, member: id.clone(), since_ms });
        }
        self.sent.push((ticket, some));
    }

    /// The records of a ticket are safe, or are not: then what is so by then is said once more.
    pub(super) fn written(&mut self, ticket: u64, is_safe: bool, now: Now) {
        let Some(at) = self.sent.iter().position(|(sent, _)| *sent == ticket) else { return };
        let (_, ids) = self.sent.swap_remove(at);
        if !is_safe {
            self.failed.extend(ids);
            self.wakes = self.wakes.into_iter().chain([now.after(AGAIN_MS)]).min();
        }
    }
}

impl<R> Group<R> {
    /// The log has been read to its end: members have their sessions from now on, or what is left of them.
    pub fn loaded(&mut self, now: Now) {
        self.silence.loaded(now, |id| self.members.was_heard(id).is_some());
        self.members.loaded(&self.config, &self.silence, now);
        let look = self.silence.next_look(&self.members.unheard(&self.config));
        self.silence.wakes = self.silence.wakes.into_iter().chain(look).min();
    }

    /// Whether nobody would miss it, the log included.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_blank() && self.silence.is_empty()
    }

    /// Who asks, if that may end somebody's silence.
    pub(super) fn speaker(&self, ask: &Ask) -> Option<String> {
        if self.silence.since.is_empty() {
            return None;
        }
        let id = match ask {
            Ask::Join(join) => &join.member_id,
            Ask::Sync(sync) => &sync.member_id,
            Ask::Heartbeat(beat) => &beat.member_id,
            Ask::ConsumerHeartbeat(beat) => &beat.member_id,
            Ask::Commit(commit) => &commit.member_id,
            Ask::Leave(_)
            | Ask::Describe
            | Ask::ConsumerDescribe
            | Ask::FetchOffsets { .. }
            | Ask::DeleteOffsets { .. }
            | Ask::Delete => return None,
        };
        Some(id.clone())
    }

    /// Who has asked is silent no longer, unless it was refused.
    pub(super) fn listen_to(&mut self, speaker: Option<String>, out: &mut Vec<Effect<R>>) {
        let heard = speaker.filter(|id| self.members.was_heard(id) == Some(true) && !is(Bug::SilenceKept));
        if let Some(id) = heard {
            self.silence.end(&id);
        }
        self.say_silence(out);
    }

    pub(super) fn look_for_silence(&mut self, now: Now, out: &mut Vec<Effect<R>>) {
        if self.silence.next_deadline().is_some_and(|deadline| deadline.is_due(now)) {
            self.silence.look(&self.members.unheard(&self.config), now);
        }
        self.say_silence(out);
    }

    /// What goes with records about members: notes about those who have gone with them.
    pub(super) fn say_with(&mut self, ticket: u64, records: &mut Vec<GroupRecord>) {
        if !self.silence.is_empty() {
            self.silence.drop_gone(|id| self.members.was_heard(id).is_some());
            self.silence.say(&self.id, ticket, records);
        }
    }

    fn say_silence(&mut self, out: &mut Vec<Effect<R>>) {
        while !self.silence.owed.is_empty() {
            // They come with it.
            self.write(Vec::new(), Parked::Noted, out);
        }
    }
}
