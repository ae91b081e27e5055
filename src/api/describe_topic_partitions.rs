//! DescribeTopicPartitions (key 75), version 0 (KIP-966).
//!
//! Promises: topics in the order of their names, at most so many partitions in one answer, and where to go on. A page
//! that begins where the one before ended leaves out nothing that was there all the time.
//! Clients: Java's Admin describes topics by it, page by page.

use std::collections::BTreeSet;

use ottla_rules::cluster::{Image, Topic};
use ottla_rules::rights::{Operation, ResourceKind, authorized_operations};
use ottla_rules::topic::{check_name, is_internal};
use ottla_wire::codes::Code;
use ottla_wire::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, TopicRequest,
};

use super::Call;

/// One page of topics.
pub(crate) fn describe_topic_partitions(
    call: &Call,
    asked: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = call.server.image();
    let is_all = asked.topics.is_empty();
    let leads_nowhere = |cursor: &Cursor| {
        let stands_there = |topic: &TopicRequest| topic.name == cursor.topic_name;
        cursor.partition_index < 0 || !(is_all || asked.topics.iter().any(stands_there))
    };
    if asked.cursor.as_ref().is_some_and(leads_nowhere) {
        let refused = asked.topics.into_iter().map(|topic| refuse(Code::InvalidRequest, topic.name));
        return DescribeTopicPartitionsResponse { topics: refused.collect(), ..Default::default() };
    }
    let cursor = asked.cursor.unwrap_or_default();
    let names: BTreeSet<&str> = if is_all {
        image.topics_by_name().map(|topic| &*topic.name).collect()
    } else {
        asked.topics.iter().map(|topic| topic.name.as_str()).collect()
    };
    let (seen, hidden): (Vec<_>, Vec<_>) = names
        .range(cursor.topic_name.as_str()..)
        .partition(|name| call.may(Operation::Describe, ResourceKind::Topic, name));
    let max = call.server.settings(&image).int("max.request.partition.size.limit");
    let max = max.min(asked.response_partition_limit.into()).max(1);
    let mut page = page(&image, seen.into_iter().copied(), &cursor, usize::try_from(max).unwrap_or(1));
    for topic in &mut page.topics {
        let name = topic.name.as_deref().unwrap_or_default();
        topic.topic_authorized_operations = authorized_operations(&call.caller, ResourceKind::Topic, name);
    }
    if !is_all {
        let hidden =
            hidden.into_iter().map(|name| refuse(Code::TopicAuthorizationFailed, (*name).to_owned()));
        page.topics.extend(hidden);
    }
    page
}

/// The topics of these names from the cursor on, up to so many partitions.
fn page<'a>(
    image: &Image,
    names: impl Iterator<Item = &'a str>,
    cursor: &Cursor,
    max: usize,
) -> DescribeTopicPartitionsResponse {
    let mut page = DescribeTopicPartitionsResponse::default();
    let mut left = max;
    for name in names {
        let go_on_at = |index: usize| {
            let partition_index = i32::try_from(index).unwrap_or(i32::MAX);
            Some(Cursor { topic_name: name.to_owned(), partition_index })
        };
        if left == 0 {
            page.next_cursor = go_on_at(0);
            break;
        }
        let Some(topic) = image.topic_named(name) else {
            let is_name = check_name(name).is_ok();
            let code = if is_name { Code::UnknownTopicOrPartition } else { Code::InvalidTopicException };
            page.topics.push(refuse(code, name.to_owned()));
            continue;
        };
        let from = if name == cursor.topic_name { cursor.partition_index } else { 0 };
        let from = usize::try_from(from).unwrap_or(0);
        let described = describe(image, topic, from, left);
        let next = from + described.partitions.len();
        left -= described.partitions.len();
        page.topics.push(described);
        if next < topic.partitions.len() {
            page.next_cursor = go_on_at(next);
            break;
        }
    }
    page
}

fn describe(image: &Image, topic: &Topic, from: usize, max: usize) -> DescribeTopicPartitionsResponseTopic {
    let partitions = topic.partitions.iter().zip(0..).skip(from).take(max).map(|(partition, index)| {
        DescribeTopicPartitionsResponsePartition {
            error_code: Code::None.into(),
            partition_index: index,
            leader_id: partition.leader.0,
            leader_epoch: image.leader_epoch(partition).0,
            replica_nodes: partition.replicas.iter().map(|node| node.0).collect(),
            isr_nodes: partition.isr.iter().map(|node| node.0).collect(),
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: Vec::new(),
        }
    });
    DescribeTopicPartitionsResponseTopic {
        error_code: Code::None.into(),
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        partitions: partitions.collect(),
        is_internal: is_internal(&topic.name),
        ..Default::default()
    }
}

fn refuse(code: Code, name: String) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.into(),
        is_internal: is_internal(&name),
        name: Some(name),
        ..Default::default()
    }
}
