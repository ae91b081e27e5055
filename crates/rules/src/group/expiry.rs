//! What is taken back: offsets that nobody uses, or whose topic is gone, and a group with the last of them.
//!
//! What time or a topic's end takes back goes in batches of a few: nobody waits for it, so that it need not be all or nothing, and a group
//! of any size can go (as in Kafka, where such records are spread over batches). Who asks for a deletion has it whole.

use std::collections::BTreeSet;

use super::{Effect, Group, GroupError, Parked, WriteError, commits_of};
use crate::{cluster::Image, ids::Offset, time::Now};

/// So many offsets are taken back at once; more go behind them in records of their own.
const DOOMED_MAX: usize = 20;

/// How long to wait before what could not be taken back is looked at again.
const AGAIN_MS: u64 = 5_000;

impl<R> Group<R> {
    /// Offsets of topics that are gone go, and old ones, and with the last of them a group without members. Called from time to time.
    pub fn expire(&mut self, now: Now, out: &mut Vec<Effect<R>>) {
        self.expire_at = None;
        if self.image.version() > 0 {
            self.forget_topics(&self.image.clone(), out);
        }
        let Some(clock) = self.members.expiry_clock() else { return };
        // A tombstone would also take back what is on its way, of a transaction or not: next time.
        let on_its_way: BTreeSet<_> = self.pending.iter().chain(self.parked_places()).collect();
        let mut doomed = self.offsets.expired(&clock, self.config.retention_ms, now.wall_ms);
        doomed.retain(|(topic, partition)| !on_its_way.contains(&(&**topic, *partition)));
        let all = doomed.len() == self.offsets.len() && on_its_way.is_empty() && self.parked.is_empty();
        if all && self.members.is_vacant() && !self.is_blank() {
            // The last few go with the group.
            let rest = doomed.split_off(doomed.len().saturating_sub(1) / DOOMED_MAX * DOOMED_MAX);
            self.write_doom(doomed, out);
            return self.write_end_with(rest, None, out);
        }
        self.write_doom(doomed, out);
    }

    pub(super) fn expire_again(&mut self, now: Now, out: &mut Vec<Effect<R>>) {
        if self.expire_at.is_some_and(|at| at.is_due(now)) {
            self.expire(now, out);
        }
    }

    /// Offsets are taken back, or could not be: then soon again, for who makes a topic of the same name anew must not find them.
    pub(super) fn expired(&mut self, doomed: &[(String, i32)], result: Result<Offset, WriteError>, now: Now) {
        match result {
            Ok(_) => self.forget(doomed),
            Err(WriteError::TooLarge) => (),
            Err(_) => self.expire_at = Some(now.after(AGAIN_MS)),
        }
    }

    /// What was committed for topics that the cluster does not know is taken back.
    pub fn forget_topics(&mut self, image: &Image, out: &mut Vec<Effect<R>>) {
        let mut doomed = self.offsets.of_unknown_topics(image);
        doomed.extend(self.pending.of_unknown_topics(image));
        // A commit that is on its way is safe before its tombstone is.
        let on_their_way = self.parked.iter().flat_map(|(_, parked)| commits_of(parked));
        doomed.extend(on_their_way.filter(|one| !one.is_of_known_topic(image)).map(|one| {
            let (topic, partition) = one.place();
            (topic.to_owned(), partition)
        }));
        doomed.sort_unstable();
        doomed.dedup();
        self.write_doom(doomed, out);
    }

    pub(super) fn delete(&mut self, to: R, out: &mut Vec<Effect<R>>) {
        if !self.members.is_vacant() {
            return out.push(Effect::Answer { to, with: Err(GroupError::NonEmpty) });
        }
        if self.is_blank() {
            return out.push(Effect::Answer { to, with: Err(GroupError::NotFound) });
        }
        self.write_end(Some(to), out);
    }

    /// All that is known is taken back.
    fn write_end(&mut self, to: Option<R>, out: &mut Vec<Effect<R>>) {
        // What is parked may become an offset before this is written: it goes too.
        let all: BTreeSet<_> =
            self.offsets.iter().chain(self.pending.iter()).chain(self.parked_places()).collect();
        let doomed = all.into_iter().map(|(topic, partition)| (topic.to_owned(), partition)).collect();
        self.write_end_with(doomed, to, out);
    }

    /// The group goes, and these offsets with it.
    fn write_end_with(&mut self, doomed: Vec<(String, i32)>, to: Option<R>, out: &mut Vec<Effect<R>>) {
        let offsets = doomed.iter().map(|(topic, partition)| self.tombstone(topic, *partition));
        let records = offsets.chain(self.members.tombstones(&self.id)).collect();
        self.write(records, Parked::Delete { to, doomed }, out);
    }

    /// Offsets that have no use any more are taken back.
    fn write_doom(&mut self, doomed: Vec<(String, i32)>, out: &mut Vec<Effect<R>>) {
        for some in doomed.chunks(DOOMED_MAX) {
            let records = some.iter().map(|(topic, partition)| self.tombstone(topic, *partition)).collect();
            self.write(records, Parked::Expire { doomed: some.to_vec() }, out);
        }
    }
}
