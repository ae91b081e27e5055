//! What a group has committed.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cluster::Image,
    ids::{Offset, TopicId},
    records::OffsetValue,
};

/// The committed offsets of one group, by topic and partition.
///
/// Groups are many and may have committed for many partitions, so an offset takes little: see
/// [`Committed`], and text only where there is some.
#[derive(Debug, Default)]
pub struct Offsets {
    topics: BTreeMap<Box<str>, BTreeMap<i32, Committed>>,
    len: usize,
}

/// One committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the last record that was read; -1 when the client did not know.
    pub leader_epoch: i32,
    /// What the client wanted to remember with it.
    pub metadata: Box<str>,
    /// The topic's id when it was committed; zero when that is not known.
    pub topic_id: TopicId,
    commit_timestamp: i64,
    /// -1: as the broker's retention says.
    expire_timestamp: i64,
    /// Where its record stands in the log: of two commits the one that was written later counts.
    at: Offset,
}

/// What is said about the offset of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Nothing was committed.
    Nothing,
    /// This was.
    Offset(Committed),
    /// A transaction that has not ended may change it (UNSTABLE_OFFSET_COMMIT). Said to those alone who want to know.
    Unstable,
}

/// What was committed for one topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// The topic's name.
    pub topic: String,
    /// The partitions.
    pub partitions: Vec<(i32, Lookup)>,
}

/// From when on an offset is unused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpiryClock {
    /// Since it was committed.
    Committed,
    /// Since the group is empty, Unix milliseconds.
    Empty(i64),
    /// Since it was committed, unless the group reads the topic.
    Unsubscribed(Vec<String>),
}

impl Offsets {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A committed offset, whose record stands at `at`, takes the place of the one before.
    pub fn put(&mut self, topic: &str, partition: i32, value: OffsetValue, at: Offset) {
        let OffsetValue { offset, leader_epoch, metadata, commit_timestamp, expire_timestamp, topic_id } =
            value;
        let metadata = metadata.into_boxed_str();
        let committed =
            Committed { offset, leader_epoch, metadata, commit_timestamp, expire_timestamp, topic_id, at };
        self.insert(topic, partition, committed);
    }

    /// A transaction was committed: its offsets take the place of those that were written before them (Kafka's
    /// `OffsetMetadataManager`: the place of the record decides, not that of the marker).
    pub fn take_newer(&mut self, others: Offsets) {
        for (topic, partitions) in others.topics {
            for (partition, committed) in partitions {
                if self.get(&topic, partition).is_none_or(|there| there.at < committed.at) {
                    self.insert(&topic, partition, committed);
                }
            }
        }
    }

    fn insert(&mut self, topic: &str, partition: i32, committed: Committed) {
        let partitions = match self.topics.get_mut(topic) {
            Some(partitions) => partitions,
            None => self.topics.entry(topic.into()).or_default(),
        };
        self.len += usize::from(partitions.insert(partition, committed).is_none());
    }

    /// Forgets one.
    pub fn remove(&mut self, topic: &str, partition: i32) {
        let Some(partitions) = self.topics.get_mut(topic) else { return };
        self.len -= usize::from(partitions.remove(&partition).is_some());
        if partitions.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// One committed offset.
    #[must_use]
    pub fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.topics.get(topic)?.get(&partition)
    }

    /// Every partition that has one.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i32)> {
        self.topics
            .iter()
            .flat_map(|(topic, partitions)| partitions.keys().map(move |index| (&**topic, *index)))
    }

    /// Those of topics that the image does not know: by id, or by name where no id was kept.
    #[must_use]
    pub fn of_unknown_topics(&self, image: &Image) -> Vec<(String, i32)> {
        let mut unknown = Vec::new();
        for (topic, partitions) in &self.topics {
            let gone = partitions.iter().filter(|(_, committed)| !is_known(topic, committed.topic_id, image));
            unknown.extend(gone.map(|(index, _)| ((**topic).to_owned(), *index)));
        }
        unknown
    }

    /// What was committed for these partitions, or all there is; nothing is told of those that are `unstable`.
    #[must_use]
    pub fn fetch(
        &self,
        asked: Option<Vec<(String, Vec<i32>)>>,
        unstable: &BTreeSet<(&str, i32)>,
    ) -> Vec<Fetched> {
        let Some(asked) = asked else {
            let all = self.topics.iter().map(|(topic, partitions)| Fetched {
                topic: (**topic).to_owned(),
                partitions: partitions
                    .keys()
                    .map(|index| (*index, self.look_up(topic, *index, unstable)))
                    .collect(),
            });
            return all.collect();
        };
        let fetched = asked.into_iter().map(|(topic, indexes)| Fetched {
            partitions: indexes
                .into_iter()
                .map(|index| (index, self.look_up(&topic, index, unstable)))
                .collect(),
            topic,
        });
        fetched.collect()
    }

    fn look_up(&self, topic: &str, partition: i32, unstable: &BTreeSet<(&str, i32)>) -> Lookup {
        if unstable.contains(&(topic, partition)) {
            return Lookup::Unstable;
        }
        self.get(topic, partition).cloned().map_or(Lookup::Nothing, Lookup::Offset)
    }

    /// Those that nobody has used for `retention_ms`.
    #[must_use]
    pub fn expired(&self, clock: &ExpiryClock, retention_ms: i64, now_ms: i64) -> Vec<(String, i32)> {
        let is_old = |topic: &str, committed: &Committed| {
            let since = match clock {
                // An offset that was set while the group was empty counts from then: Kafka would drop it early.
                ExpiryClock::Empty(since) => committed.commit_timestamp.max(*since),
                ExpiryClock::Unsubscribed(read) if read.iter().any(|name| name == topic) => return false,
                ExpiryClock::Committed | ExpiryClock::Unsubscribed(_) => committed.commit_timestamp,
            };
            match committed.expire_timestamp {
                at if at >= 0 => now_ms >= at,
                _ => now_ms.saturating_sub(since) >= retention_ms,
            }
        };
        let mut old = Vec::new();
        for (topic, partitions) in &self.topics {
            let doomed = partitions.iter().filter(|(_, committed)| is_old(topic, committed));
            old.extend(doomed.map(|(index, _)| ((**topic).to_owned(), *index)));
        }
        old
    }
}

/// Whether the image knows the topic of an offset: by its id, or by its name where no id was kept.
pub(super) fn is_known(topic: &str, id: TopicId, image: &Image) -> bool {
    match id {
        TopicId::ZERO => image.topic_named(topic).is_some(),
        id => image.topic(id).is_some(),
    }
}
