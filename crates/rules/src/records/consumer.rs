//! The records of groups of the consumer protocol (KIP-848), all of version 0.

use bytes::Bytes;

use crate::{
    ids::TopicId,
    records::codec::{Read, Write},
};

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partitions' numbers.
    pub partitions: Vec<i32>,
}

/// A member as it described itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConsumerMemberValue {
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// Its rack.
    pub rack_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// The topics it subscribed to by name.
    pub topic_names: Vec<String>,
    /// The pattern it subscribed to.
    pub topic_regex: Option<String>,
    /// How long it may take to give partitions up, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// The assignor it wants.
    pub server_assignor: Option<String>,
    /// What it said when it came by the classic protocol.
    pub classic: Option<ClassicMemberValue>,
}

/// A member of a consumer group that speaks the classic protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMemberValue {
    /// After how long a silence it is given up, in milliseconds.
    pub session_timeout_ms: i32,
    /// The ways of assigning that it supports.
    pub protocols: Vec<(String, Bytes)>,
}

/// Where a member stands between what it owns and what it should own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It owns what it should.
    Stable = 1,
    /// It must first give partitions up.
    UnrevokedPartitions = 2,
    /// It waits for partitions that others still own.
    UnreleasedPartitions = 3,
}

/// What a member owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// Its epoch.
    pub member_epoch: i32,
    /// The epoch before that: an answer may have been lost.
    pub previous_epoch: i32,
    /// Where it stands.
    pub state: MemberState,
    /// What it owns.
    pub assigned: Vec<Held>,
    /// What it is giving up.
    pub pending_revocation: Vec<Held>,
}

/// Partitions of one topic that a member owns (KIP-1251).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partitions' numbers, each with the epoch in which it was assigned.
    pub partitions: Vec<(i32, i32)>,
}

/// The topics that a pattern stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegexValue {
    /// Their names.
    pub topics: Vec<String>,
    /// The version of the metadata that was looked into.
    pub version: i64,
    /// When, Unix milliseconds.
    pub timestamp: i64,
}

fn put_partitions(value: Write, list: &[TopicPartitions]) -> Write {
    value.list(list, |value, topic| {
        value.uuid(topic.topic_id.0).list(&topic.partitions, |value, index| value.i32(*index)).tags()
    })
}

fn take_partitions(bytes: &mut Read<'_>) -> Option<Vec<TopicPartitions>> {
    bytes.list(|bytes| {
        let topic_id = TopicId(bytes.uuid()?);
        let partitions = bytes.list(Read::i32)?;
        bytes.skip_tags()?;
        Some(TopicPartitions { topic_id, partitions })
    })
}

fn put_held(value: Write, list: &[Held]) -> Write {
    value.list(list, |value, topic| {
        let value =
            value.uuid(topic.topic_id.0).list(&topic.partitions, |value, (index, _)| value.i32(*index));
        let epochs = Write::tagged().list(&topic.partitions, |value, (_, epoch)| value.i32(*epoch));
        value.tag(0, (!topic.partitions.is_empty()).then_some(epochs))
    })
}

/// Where no epoch was written, the member's own counts.
fn take_held(bytes: &mut Read<'_>, member_epoch: i32) -> Option<Vec<Held>> {
    bytes.list(|bytes| {
        let topic_id = TopicId(bytes.uuid()?);
        let partitions = bytes.list(Read::i32)?;
        let mut epochs = Vec::new();
        bytes.tags(|tag, mut field| {
            if tag == 0 {
                epochs = field.list(Read::i32)?;
            }
            Some(())
        })?;
        let epochs = epochs.into_iter().chain(std::iter::repeat(member_epoch));
        Some(Held { topic_id, partitions: partitions.into_iter().zip(epochs).collect() })
    })
}

pub(super) fn encode_target(partitions: &[TopicPartitions]) -> Vec<u8> {
    put_partitions(Write::new(0, true), partitions).tags().done()
}

pub(super) fn decode_target(bytes: &mut Read<'_>) -> Option<Option<Vec<TopicPartitions>>> {
    let Some(mut bytes) = bytes.version(0..=0, 0)? else { return Some(None) };
    let partitions = take_partitions(&mut bytes)?;
    bytes.skip_tags()?;
    Some(Some(partitions))
}

impl ConsumerMemberValue {
    pub(super) fn encode(&self) -> Vec<u8> {
        let value = Write::new(0, true).nullable_text(self.instance_id.as_deref());
        let value = value.nullable_text(self.rack_id.as_deref());
        let value = value.text(&self.client_id).text(&self.client_host);
        let value = value.list(&self.topic_names, |value, name| value.text(name));
        let value = value.nullable_text(self.topic_regex.as_deref()).i32(self.rebalance_timeout_ms);
        let value = value.nullable_text(self.server_assignor.as_deref());
        let classic = self.classic.as_ref().map(|classic| {
            // A structure that may be null has a byte before it.
            let value = Write::tagged().i8(1).i32(classic.session_timeout_ms);
            let protocol = |value: Write, (name, data): &(String, Bytes)| value.text(name).blob(data).tags();
            value.list(&classic.protocols, protocol).tags()
        });
        value.tag(0, classic).done()
    }

    pub(super) fn decode(bytes: &mut Read<'_>) -> Option<Option<Self>> {
        let Some(mut bytes) = bytes.version(0..=0, 0)? else { return Some(None) };
        let mut value = Self {
            instance_id: bytes.nullable_text()?,
            rack_id: bytes.nullable_text()?,
            client_id: bytes.text()?,
            client_host: bytes.text()?,
            topic_names: bytes.list(Read::text)?,
            topic_regex: bytes.nullable_text()?,
            rebalance_timeout_ms: bytes.i32()?,
            server_assignor: bytes.nullable_text()?,
            classic: None,
        };
        bytes.tags(|tag, mut field| {
            if tag == 0 && field.i8()? > 0 {
                let session_timeout_ms = field.i32()?;
                let protocols = field.list(|field| {
                    let (name, data) = (field.text()?, Bytes::copy_from_slice(field.blob()?));
                    field.skip_tags()?;
                    Some((name, data))
                })?;
                value.classic = Some(ClassicMemberValue { session_timeout_ms, protocols });
            }
            Some(())
        })?;
        Some(Some(value))
    }
}

impl CurrentAssignment {
    pub(super) fn encode(&self) -> Vec<u8> {
        let value = Write::new(0, true).i32(self.member_epoch).i32(self.previous_epoch).i8(self.state as i8);
        let value = put_held(value, &self.assigned);
        put_held(value, &self.pending_revocation).tags().done()
    }

    pub(super) fn decode(bytes: &mut Read<'_>) -> Option<Option<Self>> {
        let Some(mut bytes) = bytes.version(0..=0, 0)? else { return Some(None) };
        let (member_epoch, previous_epoch) = (bytes.i32()?, bytes.i32()?);
        let state = match bytes.i8()? {
            0 | 1 => MemberState::Stable,
            2 => MemberState::UnrevokedPartitions,
            3 => MemberState::UnreleasedPartitions,
            _ => return None,
        };
        let assigned = take_held(&mut bytes, member_epoch)?;
        let pending_revocation = take_held(&mut bytes, member_epoch)?;
        bytes.skip_tags()?;
        Some(Some(Self { member_epoch, previous_epoch, state, assigned, pending_revocation }))
    }
}

impl RegexValue {
    pub(super) fn encode(&self) -> Vec<u8> {
        let value = Write::new(0, true).list(&self.topics, |value, name| value.text(name));
        value.i64(self.version).i64(self.timestamp).tags().done()
    }

    pub(super) fn decode(bytes: &mut Read<'_>) -> Option<Option<Self>> {
        let Some(mut bytes) = bytes.version(0..=0, 0)? else { return Some(None) };
        let topics = bytes.list(Read::text)?;
        let (version, timestamp) = (bytes.i64()?, bytes.i64()?);
        bytes.skip_tags()?;
        Some(Some(Self { topics, version, timestamp }))
    }
}
