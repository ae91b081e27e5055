//! Which topics a group reads: names and patterns against what the cluster knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use super::Consumer;
use crate::{
    cluster::Image, group::GroupError, ids::TopicId, pattern::compile, records::ConsumerMemberValue,
};

/// The topics that the members read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscribed {
    /// The image that was looked into; 0: none yet.
    version: u64,
    /// By name: id, and how many partitions there are.
    pub(super) topics: BTreeMap<String, (TopicId, i32)>,
    /// What each pattern stands for.
    patterns: BTreeMap<String, BTreeSet<String>>,
}

impl Subscribed {
    /// Whether there is nothing in this image that was not looked into.
    pub(super) fn is_of(&self, image: &Image) -> bool {
        self.version == image.version()
    }
}

/// Whether a pattern can be used.
pub(super) fn check(pattern: &str) -> Result<(), GroupError> {
    match compile(pattern) {
        Err(_) if !pattern.is_empty() => Err(GroupError::InvalidRegex(pattern.to_owned())),
        _ => Ok(()),
    }
}

impl Consumer {
    /// Looks the subscriptions up; whether the topics, or their partitions, are others than before.
    pub(super) fn look_up(&mut self, image: &Image, changed: bool) -> bool {
        if !changed && self.subscribed.is_of(image) {
            return false;
        }
        let is_news = !self.subscribed.is_of(image);
        let mut patterns = BTreeMap::new();
        let mut topics = BTreeMap::new();
        let mut add = |name: &str| {
            if let Some(topic) = image.topic_named(name) {
                let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
                topics.insert(name.to_owned(), (topic.id, count));
            }
        };
        for member in self.members.values() {
            member.described.topic_names.iter().for_each(|name| add(name));
            let Some(pattern) = pattern_of(&member.described) else { continue };
            if patterns.contains_key(pattern) {
                continue;
            }
            let found = match self.subscribed.patterns.get(pattern) {
                Some(known) if !is_news => known.clone(),
                _ => matching(pattern, image),
            };
            found.iter().for_each(|name| add(name));
            patterns.insert(pattern.to_owned(), found);
        }
        // What a new coordinator has not seen before it knows from the target: that was made for what there was then.
        let first = self.subscribed.version == 0 && self.assignment_epoch > 0;
        let other = if first { !self.is_target_of(&topics) } else { topics != self.subscribed.topics };
        self.subscribed = Subscribed { version: image.version(), topics, patterns };
        other
    }

    /// Whether the target gives out exactly the partitions of these topics.
    fn is_target_of(&self, topics: &BTreeMap<String, (TopicId, i32)>) -> bool {
        let wanted = topics.values().flat_map(|(id, count)| (0..*count).map(|index| (*id, index)));
        wanted.collect::<BTreeSet<_>>() == self.target.values().flatten().copied().collect()
    }

    /// What the members read, by name; none before their patterns have been looked up. Of those who have left nothing counts.
    pub(super) fn read_names(&self) -> Option<BTreeSet<&str>> {
        let mut names = BTreeSet::new();
        for member in self.members.values() {
            names.extend(member.described.topic_names.iter().map(String::as_str));
            if let Some(pattern) = pattern_of(&member.described) {
                names.extend(self.subscribed.patterns.get(pattern)?.iter().map(String::as_str));
            }
        }
        Some(names)
    }

    /// Members have gone: what only they read would else look like a change when the topics are looked at next.
    pub(super) fn forget_unread(&mut self) {
        let mut topics = mem::take(&mut self.subscribed.topics);
        if let Some(read) = self.read_names() {
            topics.retain(|name, _| read.contains(name.as_str()));
        }
        self.subscribed.topics = topics;
    }

    /// The topics that one member reads, with the numbers of their partitions.
    pub(super) fn topics_of<'a>(
        &'a self,
        described: &'a ConsumerMemberValue,
    ) -> impl Iterator<Item = (TopicId, i32)> + use<'a> {
        let by_pattern = pattern_of(described).and_then(|pattern| self.subscribed.patterns.get(pattern));
        let names: BTreeSet<&String> =
            described.topic_names.iter().chain(by_pattern.into_iter().flatten()).collect();
        names.into_iter().filter_map(|name| self.subscribed.topics.get(name).copied())
    }
}

fn pattern_of(described: &ConsumerMemberValue) -> Option<&str> {
    described.topic_regex.as_deref().filter(|pattern| !pattern.is_empty())
}

/// The topics that a pattern stands for, the broker's own among them, as in Kafka.
fn matching(pattern: &str, image: &Image) -> BTreeSet<String> {
    let Ok(pattern) = compile(pattern) else { return BTreeSet::new() };
    let names = image.topics_by_name().map(|topic| &*topic.name);
    names.filter(|name| pattern.is_match(name)).map(str::to_owned).collect()
}
