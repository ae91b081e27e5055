//! OffsetFetch (key 9), versions 1 to 10.
//!
//! Promises: what was committed comes back with its leader epoch and metadata; a partition without a committed offset has offset -1
//! and no error, and so has a group that nobody knows. Who wants stable offsets is told UNSTABLE_OFFSET_COMMIT where a
//! transaction that has not ended may change one (KIP-447).
//! Versions: 2 null is all topics, an error at the top. 5 leader epochs. 6 flexible. 7 only stable offsets on demand. 8 many
//! groups. 9 members of the consumer protocol. 10 topic ids.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use futures_util::future::join_all;
use ottla_rules::group::offsets::{Fetched, Lookup};
use ottla_rules::group::{Answer, Ask};
use ottla_rules::ids::TopicId;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use super::Call;

/// The version from which many groups may be asked for.
const BATCH_FROM: i16 = 8;
/// The version from which topics are named by id.
const TOPIC_IDS_FROM: i16 = 10;
/// The version from which there is a place for an error of the whole group.
const TOP_ERROR_FROM: i16 = 2;

/// Fetches committed offsets. Every group is asked when this returns.
pub(crate) fn offset_fetch(
    call: &Call,
    version: i16,
    asked: OffsetFetchRequest,
) -> impl Future<Output = OffsetFetchResponse> + use<> {
    let stable = asked.require_stable;
    let groups = if version >= BATCH_FROM { asked.groups } else { vec![single(asked)] };
    let waiting: Vec<_> = each_once(groups).map(|group| fetch(call, version, stable, group)).collect();
    async move {
        let mut groups = join_all(waiting).await;
        if version >= BATCH_FROM {
            return OffsetFetchResponse { groups, ..Default::default() };
        }
        let group = groups.pop().unwrap_or_default();
        let topics = group.topics.into_iter().map(|topic| old_topic(topic, version, group.error_code));
        OffsetFetchResponse { topics: topics.collect(), error_code: group.error_code, ..Default::default() }
    }
}

/// Each group once, with each partition that is asked for anywhere in the request once: what was committed may be much longer than
/// the question for it.
fn each_once(groups: Vec<OffsetFetchRequestGroup>) -> impl Iterator<Item = OffsetFetchRequestGroup> {
    let mut seen: BTreeMap<_, BTreeSet<i32>> = BTreeMap::new();
    let mut merged: Vec<OffsetFetchRequestGroup> = Vec::new();
    let mut places = BTreeMap::new();
    for mut group in groups {
        let place = *places.entry(group.group_id.clone()).or_insert(merged.len());
        for topic in group.topics.iter_mut().flatten() {
            let of_it = seen.entry((place, topic.name.clone(), topic.topic_id)).or_default();
            topic.partition_indexes.retain(|index| of_it.insert(*index));
        }
        match merged.get_mut(place) {
            None => merged.push(group),
            Some(known) => {
                // Null is all that there is.
                let both = known.topics.take().zip(group.topics);
                known.topics = both.map(|(known, more)| known.into_iter().chain(more).collect());
            }
        }
    }
    merged.into_iter()
}

/// A request from when there was one group at a time.
fn single(asked: OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = asked.topics.map(|topics| {
        let topic = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..Default::default()
        });
        topic.collect()
    });
    OffsetFetchRequestGroup { group_id: asked.group_id, topics, ..Default::default() }
}

fn old_topic(topic: OffsetFetchResponseTopics, version: i16, group_code: i16) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|it| OffsetFetchResponsePartition {
        partition_index: it.partition_index,
        committed_offset: it.committed_offset,
        committed_leader_epoch: it.committed_leader_epoch,
        metadata: it.metadata,
        error_code: if !has_top_error(version) && group_code != 0 { group_code } else { it.error_code },
    });
    OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() }
}

/// A topic of the answer: its name and id as they were asked for, and what keeps it from being looked up.
struct Wanted {
    name: String,
    id: TopicId,
    indexes: Vec<i32>,
    refused: Option<Code>,
}

fn fetch(
    call: &Call,
    version: i16,
    stable: bool,
    asked: OffsetFetchRequestGroup,
) -> impl Future<Output = OffsetFetchResponseGroup> + use<> {
    let call = call.clone();
    let by_id = version >= TOPIC_IDS_FROM;
    let wanted: Option<Vec<_>> =
        asked.topics.map(|topics| topics.into_iter().map(|topic| want(&call, by_id, topic)).collect());
    let may = call.may(Operation::Describe, ResourceKind::Group, &asked.group_id);
    let answer = may.then(|| {
        let topics = wanted.as_ref().map(|wanted| {
            let good = wanted.iter().filter(|topic| topic.refused.is_none());
            good.map(|topic| (topic.name.clone(), topic.indexes.clone())).collect()
        });
        let epoch = asked.member_epoch;
        let reader = asked.member_id.filter(|_| epoch >= 0).map(|member| (member, epoch));
        call.server.ask_group(&asked.group_id, Ask::FetchOffsets { topics, reader, stable })
    });
    async move {
        let outcome = match answer {
            Some(answer) => answer.await.map_err(|error| Code::from(&error)),
            None => Err(Code::GroupAuthorizationFailed),
        };
        let (fetched, code) = match outcome {
            Ok(Answer::Offsets(fetched)) => (fetched, Code::None),
            Ok(_) => (Vec::new(), Code::UnknownServerError),
            Err(code) => (Vec::new(), code),
        };
        let topics = match wanted {
            None => all(&call, by_id, fetched),
            Some(_) if code != Code::None && has_top_error(version) => Vec::new(),
            Some(wanted) => in_order(wanted, fetched, by_id),
        };
        OffsetFetchResponseGroup { group_id: asked.group_id, topics, error_code: code.into() }
    }
}

/// Whether there is a place for an error of the whole group: then nothing is said of its partitions.
fn has_top_error(version: i16) -> bool {
    version >= TOP_ERROR_FROM
}

fn want(call: &Call, by_id: bool, asked: OffsetFetchRequestTopics) -> Wanted {
    let image = call.server.image();
    let name = if by_id {
        image.topic(asked.topic_id).map(|topic| topic.name.to_string())
    } else {
        Some(asked.name)
    };
    let refused = match &name {
        None => Some(Code::UnknownTopicId),
        Some(name) if !call.may(Operation::Describe, ResourceKind::Topic, name) => {
            Some(Code::TopicAuthorizationFailed)
        }
        Some(_) => None,
    };
    Wanted { name: name.unwrap_or_default(), id: asked.topic_id, indexes: asked.partition_indexes, refused }
}

/// The answers in the order of the questions.
fn in_order(wanted: Vec<Wanted>, fetched: Vec<Fetched>, by_id: bool) -> Vec<OffsetFetchResponseTopics> {
    let mut fetched = fetched.into_iter();
    let answers = wanted.into_iter().map(|topic| {
        let found = if topic.refused.is_none() { fetched.next() } else { None };
        let partitions = match found {
            Some(found) => {
                let of_this = |it| if by_id && is_of_other(&it, topic.id) { Lookup::Nothing } else { it };
                let partitions = found.partitions.into_iter();
                partitions.map(|(index, it)| partition(index, of_this(it))).collect()
            }
            None => {
                let code = topic.refused.unwrap_or(Code::None);
                topic.indexes.iter().map(|index| without_offset(*index, code)).collect()
            }
        };
        OffsetFetchResponseTopics { name: topic.name, topic_id: topic.id, partitions }
    });
    answers.collect()
}

/// Whether an offset was committed for a topic of that name that was there before: not for this one.
fn is_of_other(said: &Lookup, id: TopicId) -> bool {
    match said {
        Lookup::Offset(committed) => committed.topic_id != TopicId::ZERO && committed.topic_id != id,
        Lookup::Nothing | Lookup::Unstable => false,
    }
}

/// Everything that was committed, of topics that the caller may see.
fn all(call: &Call, by_id: bool, fetched: Vec<Fetched>) -> Vec<OffsetFetchResponseTopics> {
    let image = call.server.image();
    let seen = fetched.into_iter().filter_map(|found| {
        let id = image.topic_named(&found.topic).map(|topic| topic.id);
        if by_id && id.is_none() || !call.may(Operation::Describe, ResourceKind::Topic, &found.topic) {
            return None;
        }
        let partitions = found.partitions.into_iter().map(|(index, it)| partition(index, it));
        let (name, topic_id) = (found.topic, id.unwrap_or_default());
        Some(OffsetFetchResponseTopics { name, topic_id, partitions: partitions.collect() })
    });
    seen.collect()
}

fn partition(index: i32, said: Lookup) -> OffsetFetchResponsePartitions {
    match said {
        Lookup::Offset(committed) => OffsetFetchResponsePartitions {
            partition_index: index,
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch,
            metadata: Some(committed.metadata.into()),
            error_code: Code::None.into(),
        },
        Lookup::Nothing => without_offset(index, Code::None),
        Lookup::Unstable => without_offset(index, Code::UnstableOffsetCommit),
    }
}

fn without_offset(index: i32, code: Code) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(String::new()),
        error_code: code.into(),
    }
}

#[cfg(test)]
mod tests {
    use ottla_rules::group::offsets::Offsets;
    use ottla_rules::ids::Offset;
    use ottla_rules::records::OffsetValue;

    use super::*;

    fn group(id: &str, topics: Option<&[(&str, &[i32])]>) -> OffsetFetchRequestGroup {
        let topic = |(name, indexes): &(&str, &[i32])| OffsetFetchRequestTopics {
            name: (*name).into(),
            partition_indexes: indexes.to_vec(),
            ..Default::default()
        };
        let topics = topics.map(|topics| topics.iter().map(topic).collect());
        OffsetFetchRequestGroup { group_id: id.into(), topics, ..Default::default() }
    }

    fn asked(groups: Vec<OffsetFetchRequestGroup>) -> Vec<(String, Option<Vec<i32>>)> {
        let indexes = |topics: Vec<OffsetFetchRequestTopics>| {
            topics.into_iter().flat_map(|topic| topic.partition_indexes).collect()
        };
        each_once(groups).map(|group| (group.group_id, group.topics.map(indexes))).collect()
    }

    #[test]
    fn an_error_of_the_group_stands_at_the_top_and_nothing_beside_it() {
        assert!(!has_top_error(1));
        assert!((2..=10).all(has_top_error));
    }

    #[test]
    fn an_offset_of_an_earlier_topic_of_the_name_is_no_reason_to_hide_the_others() {
        let (earlier, this) = (TopicId([1; 16]), TopicId([2; 16]));
        let value = |topic_id| OffsetValue {
            offset: 7,
            leader_epoch: 0,
            metadata: String::new(),
            commit_timestamp: 0,
            expire_timestamp: -1,
            topic_id,
        };
        let told = |ids: [TopicId; 2]| {
            let mut offsets = Offsets::default();
            for (index, id) in (0..).zip(ids) {
                offsets.put("t", index, value(id), Offset(0));
            }
            let fetched = offsets.fetch(Some(vec![("t".into(), vec![0, 1])]), &BTreeSet::new());
            let wanted = Wanted { name: "t".into(), id: this, indexes: vec![0, 1], refused: None };
            let topics = in_order(vec![wanted], fetched, true);
            let offset = |index: usize| topics[0].partitions[index].committed_offset;
            [offset(0), offset(1)]
        };
        assert_eq!(told([earlier, this]), [-1, 7]);
        assert_eq!(told([this, earlier]), [7, -1]);
        assert_eq!(told([this, TopicId::ZERO]), [7, 7], "of before there were ids");
    }

    #[test]
    fn what_is_named_again_and_again_is_answered_once() {
        let twice = [("t", [0, 1, 0, 0].as_slice()), ("t", &[1, 2])];
        let groups = vec![
            group("g", Some(&twice)),
            group("h", Some(&[("t", &[0])])),
            group("g", Some(&[("t", &[2, 3])])),
        ];
        assert_eq!(asked(groups), [("g".into(), Some(vec![0, 1, 2, 3])), ("h".into(), Some(vec![0]))]);
        let everything = vec![group("g", Some(&twice)), group("g", None)];
        assert_eq!(asked(everything), [("g".into(), None)]);
    }
}
