//! A Fetch and its session: what the session adds to the request, and what it takes from the answer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, PoisonError};

use ottla_rules::fetch_sessions::{
    Answer, Asked, FINAL_EPOCH, FetchSessions, NO_SESSION, Opened, PartitionKey, SessionError, TopicKey, Wish,
};
use ottla_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};

use crate::server::Server;

/// Where one request stands with its session.
pub(super) enum Place {
    /// It has none and wants none.
    Sessionless,
    /// It asks for one: what it lists will be remembered.
    Full { by_id: bool, wishes: Vec<(PartitionKey, Wish)> },
    /// It goes on with one.
    Incremental { id: i32, epoch: i32, keys: Vec<PartitionKey> },
}

impl Place {
    /// Looks up the session of a request and puts into it what the session remembers.
    pub(super) fn take(
        server: &Server,
        asked: &mut FetchRequest,
        by_id: bool,
    ) -> Result<Place, SessionError> {
        merge(&mut asked.topics, by_id);
        let (id, epoch) = (asked.session_id, asked.session_epoch);
        if (id, epoch) == (NO_SESSION, FINAL_EPOCH) {
            return Ok(Place::Sessionless);
        }
        let request =
            Asked { id, epoch, by_id, wishes: wishes(asked, by_id), forgotten: forgotten(asked, by_id) };
        match with(server, |sessions| sessions.open(request, server.now()))? {
            Opened::Sessionless(wishes) => {
                asked.topics = topics(&wishes);
                Ok(Place::Sessionless)
            }
            Opened::Full(wishes) => Ok(Place::Full { by_id, wishes }),
            Opened::Incremental { id, epoch, wishes } => {
                asked.topics = topics(&wishes);
                let keys = wishes.into_iter().map(|(key, _)| key).collect();
                Ok(Place::Incremental { id, epoch, keys })
            }
        }
    }

    /// The id to answer with, and what of the answers, which stand in the request's order, is to be sent: none is all.
    pub(super) fn settle(
        self,
        server: &Server,
        answers: &[PartitionData],
    ) -> Result<(i32, Option<Vec<bool>>), SessionError> {
        let answers = answers.iter().map(answer);
        match self {
            Place::Sessionless => Ok((NO_SESSION, None)),
            Place::Full { by_id, wishes } => {
                let all = wishes.into_iter().zip(answers).map(|((key, wish), answer)| (key, wish, answer));
                let draw = || server.host.chance.u64() as i32;
                Ok((with(server, |sessions| sessions.create(by_id, all, draw, server.now())), None))
            }
            Place::Incremental { id, epoch, keys } => {
                let all: Vec<_> = keys.into_iter().zip(answers).collect();
                Ok((id, Some(with(server, |sessions| sessions.news(id, epoch, &all))?)))
            }
        }
    }
}

/// Each partition once, where it was named first and with what was asked for last, as in Kafka, which keeps them in a map: a small request
/// that names one of them without end must not become as many readers of it.
fn merge(topics: &mut Vec<FetchTopic>, by_id: bool) {
    if topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() > 1 {
        let mut merged: Vec<FetchTopic> = Vec::with_capacity(topics.len());
        let mut firsts: BTreeMap<TopicKey, usize> = BTreeMap::new();
        let mut places: BTreeMap<(usize, i32), (usize, usize)> = BTreeMap::new();
        for mut topic in std::mem::take(topics) {
            let at = merged.len();
            let first = *firsts.entry(topic_key(&topic.topic, topic.topic_id, by_id)).or_insert(at);
            let mut kept = Vec::with_capacity(topic.partitions.len());
            for partition in topic.partitions {
                match places.entry((first, partition.partition)) {
                    Entry::Vacant(entry) => {
                        entry.insert((at, kept.len()));
                        kept.push(partition);
                    }
                    Entry::Occupied(entry) if entry.get().0 == at => kept[entry.get().1] = partition,
                    Entry::Occupied(entry) => merged[entry.get().0].partitions[entry.get().1] = partition,
                }
            }
            topic.partitions = kept;
            merged.push(topic);
        }
        *topics = merged;
    }
    topics.retain(|topic| !topic.partitions.is_empty());
}

/// No panic can leave the sessions half changed that would matter: clients begin anew.
fn with<T>(server: &Server, what: impl FnOnce(&mut FetchSessions) -> T) -> T {
    what(&mut server.common.fetch_sessions.lock().unwrap_or_else(PoisonError::into_inner))
}

fn topic_key(name: &str, id: ottla_rules::ids::TopicId, by_id: bool) -> TopicKey {
    if by_id { TopicKey::Id(id) } else { TopicKey::Name(Arc::from(name)) }
}

fn wishes(asked: &FetchRequest, by_id: bool) -> Vec<(PartitionKey, Wish)> {
    let of_topic = |topic: &FetchTopic| {
        let key = topic_key(&topic.topic, topic.topic_id, by_id);
        let wishes = topic.partitions.iter().map(move |partition| {
            let wish = Wish {
                fetch_offset: partition.fetch_offset,
                bytes_max: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            };
            (PartitionKey { topic: key.clone(), index: partition.partition }, wish)
        });
        wishes.collect::<Vec<_>>()
    };
    asked.topics.iter().flat_map(of_topic).collect()
}

fn forgotten(asked: &FetchRequest, by_id: bool) -> Vec<PartitionKey> {
    let all = asked.forgotten_topics_data.iter().flat_map(|topic| {
        let key = topic_key(&topic.topic, topic.topic_id, by_id);
        topic.partitions.iter().map(move |index| PartitionKey { topic: key.clone(), index: *index })
    });
    all.collect()
}

/// Neighbours of one topic stand together, as in Kafka: the order counts more than the grouping.
fn topics(wishes: &[(PartitionKey, Wish)]) -> Vec<FetchTopic> {
    let of_one = |of_one: &[(PartitionKey, Wish)]| {
        let mut topic = FetchTopic::default();
        match of_one.first().map(|(key, _)| &key.topic) {
            Some(TopicKey::Name(name)) => topic.topic = name.to_string(),
            Some(TopicKey::Id(id)) => topic.topic_id = *id,
            None => (),
        }
        let partitions = of_one.iter().map(|(key, wish)| FetchPartition {
            partition: key.index,
            fetch_offset: wish.fetch_offset,
            partition_max_bytes: wish.bytes_max,
            current_leader_epoch: wish.current_leader_epoch,
            last_fetched_epoch: wish.last_fetched_epoch,
            ..Default::default()
        });
        topic.partitions = partitions.collect();
        topic
    };
    wishes.chunk_by(|(one, _), (other, _)| one.topic == other.topic).map(of_one).collect()
}

fn answer(data: &PartitionData) -> Answer {
    Answer {
        has_records: data.records.as_ref().is_some_and(|records| !records.is_empty()),
        is_urgent: data.error_code != 0 || data.diverging_epoch.epoch >= 0,
        high_watermark: data.high_watermark,
        log_start: data.log_start_offset,
    }
}
