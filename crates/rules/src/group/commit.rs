//! Committing offsets, and forgetting them.

use std::collections::BTreeSet;

use crate::{
    cluster::Image,
    group::{
        Answer, Effect, Group, GroupError, Parked, WriteError,
        ask::{CommitOffset, CommitOffsets},
        offsets::is_known,
    },
    ids::{Offset, ProducerId},
    planted::{Bug, is},
    records::{GroupRecord, OffsetValue},
    time::Now,
};

/// One offset on its way into the log.
pub(super) struct Commit {
    topic: String,
    partition: i32,
    value: OffsetValue,
}

impl Commit {
    /// Which partition it is about.
    pub(super) fn place(&self) -> (&str, i32) {
        (&self.topic, self.partition)
    }

    pub(super) fn is_of_known_topic(&self, image: &Image) -> bool {
        is_known(&self.topic, self.value.topic_id, image)
    }
}

impl<R> Group<R> {
    pub(super) fn commit(&mut self, asked: CommitOffsets, to: R, now: Now, out: &mut Vec<Effect<R>>) {
        let allowed = self.members.check_commit(&asked, now);
        if let Err(error) = allowed {
            return out.push(Effect::Answer { to, with: Err(error) });
        }
        let expire_timestamp = match asked.retention_ms {
            keep if keep >= 0 => now.wall_ms.saturating_add(keep),
            _ => -1,
        };
        let mut answer = Vec::with_capacity(asked.offsets.len());
        let mut commits = Vec::with_capacity(asked.offsets.len());
        for offset in asked.offsets {
            if is_longer(&offset.metadata, self.config.metadata_bytes_max) {
                answer.push(Some(GroupError::MetadataTooLarge));
                continue;
            }
            answer.push(None);
            commits.push(commit_of(offset, now, expire_timestamp));
        }
        let commits = last_of_each(commits);
        if commits.is_empty() {
            return out.push(Effect::Answer { to, with: Ok(Answer::Committed(answer)) });
        }
        let record = |commit: &Commit| GroupRecord::Offset {
            group: self.id.clone(),
            topic: commit.topic.clone(),
            partition: commit.partition,
            value: Some(commit.value.clone()),
        };
        let records = commits.iter().map(record).collect();
        let producer = asked.transaction.as_ref().map(|transaction| transaction.session.producer);
        let to = Some(to);
        self.write_in(asked.transaction, records, Parked::Commit { to, commits, answer, producer }, out);
    }

    pub(super) fn committed(
        &mut self,
        to: Option<R>,
        producer: Option<ProducerId>,
        commits: Vec<Commit>,
        answer: Vec<Option<GroupError>>,
        result: Result<Offset, WriteError>,
        out: &mut Vec<Effect<R>>,
    ) {
        let with = result.map_err(GroupError::of_commit).map(|first| {
            for (Commit { topic, partition, value }, n) in commits.into_iter().zip(0..) {
                self.put(producer, &topic, partition, value, first.plus(n));
            }
            Answer::Committed(answer)
        });
        out.extend(to.map(|to| Effect::Answer { to, with }));
    }

    /// An offset is in the log: at once, or when its transaction is committed, it takes the place of the one before.
    pub(super) fn put(
        &mut self,
        producer: Option<ProducerId>,
        topic: &str,
        partition: i32,
        value: OffsetValue,
        at: Offset,
    ) {
        self.was_used = true;
        match producer {
            None => self.offsets.put(topic, partition, value, at),
            Some(_) if is(Bug::PendingOffsetsCount) => self.offsets.put(topic, partition, value, at),
            Some(producer) => self.pending.put(producer, topic, partition, value, at),
        }
    }

    pub(super) fn delete_offsets(&mut self, topics: Vec<(String, i32)>, to: R, out: &mut Vec<Effect<R>>) {
        let subscribed = match self.members.check_delete_offsets(self.is_blank()) {
            Ok(subscribed) => subscribed,
            Err(error) => return out.push(Effect::Answer { to, with: Err(error) }),
        };
        let mut answer = Vec::with_capacity(topics.len());
        let mut doomed = BTreeSet::new();
        // What is on its way to the log is there before its tombstone is.
        let pending: BTreeSet<_> = self.pending.iter().chain(self.parked_places()).collect();
        for (topic, partition) in topics {
            if subscribed.as_ref().is_none_or(|subscribed| subscribed.contains(&topic)) {
                answer.push(Some(GroupError::SubscribedToTopic));
                continue;
            }
            answer.push(None);
            let place = (&*topic, partition);
            if self.offsets.get(&topic, partition).is_some() || pending.contains(&place) {
                doomed.insert((topic, partition));
            }
        }
        if doomed.is_empty() {
            return out.push(Effect::Answer { to, with: Ok(Answer::OffsetsDeleted(answer)) });
        }
        let doomed: Vec<_> = doomed.into_iter().collect();
        let records = doomed.iter().map(|(topic, partition)| self.tombstone(topic, *partition)).collect();
        self.write(records, Parked::DeleteOffsets { to: Some(to), doomed, answer }, out);
    }
}

/// Of each partition what was said last: a small request that names one of them without end must not become as many records.
fn last_of_each(mut commits: Vec<Commit>) -> Vec<Commit> {
    if commits.len() > 1 {
        let mut seen = BTreeSet::new();
        let mut is_last: Vec<_> = commits.iter().rev().map(|commit| seen.insert(commit.place())).collect();
        commits.retain(|_| is_last.pop() == Some(true));
    }
    commits
}

/// Whether a text is longer than so much, as Java measures it: in units of UTF-16. There are never more of them than bytes.
fn is_longer(text: &str, most: usize) -> bool {
    text.len() > most && text.encode_utf16().count() > most
}

fn commit_of(offset: CommitOffset, now: Now, expire_timestamp: i64) -> Commit {
    let CommitOffset { topic, topic_id, partition, offset, leader_epoch, metadata } = offset;
    let commit_timestamp = now.wall_ms;
    let value = OffsetValue { offset, leader_epoch, metadata, commit_timestamp, expire_timestamp, topic_id };
    Commit { topic, partition, value }
}
