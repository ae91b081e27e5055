//! The records of `__consumer_offsets` (and, in [`transaction`], of `__transaction_state`), in Kafka's own formats: its
//! tools and formatters read what Ottla writes, and the other way round.
//!
//! A key begins with a 16-bit number that says what it is about; a value begins with its own version. A key without a
//! value (a tombstone) takes back what was said under it. What has an unknown number is skipped: a newer broker wrote it.

mod classic;
mod codec;
mod consumer;
mod offset;
pub mod protocol;
#[cfg(test)]
mod tests;
pub mod transaction;

pub use classic::{GroupValue, MemberValue};
pub use consumer::{
    ClassicMemberValue, ConsumerMemberValue, CurrentAssignment, Held, MemberState, RegexValue,
    TopicPartitions,
};
pub use offset::OffsetValue;

use codec::{Read, Write};

/// One record of `__consumer_offsets`. A value of `None` is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupRecord {
    /// An offset that a group has committed (keys 0 and 1).
    Offset {
        /// The group.
        group: String,
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// What was committed.
        value: Option<OffsetValue>,
    },
    /// A group of the classic protocol with its members (key 2).
    Group {
        /// The group.
        group: String,
        /// What it is.
        value: Option<GroupValue>,
    },
    /// A group of the consumer protocol: its epoch (key 3).
    ConsumerGroup {
        /// The group.
        group: String,
        /// The group epoch.
        epoch: Option<i32>,
    },
    /// A member of a consumer group as it described itself (key 5).
    ConsumerMember {
        /// The group.
        group: String,
        /// The member.
        member: String,
        /// What it said.
        value: Option<ConsumerMemberValue>,
    },
    /// The epoch of a consumer group's target assignment (key 6).
    TargetEpoch {
        /// The group.
        group: String,
        /// The assignment epoch.
        epoch: Option<i32>,
    },
    /// What one member of a consumer group should own (key 7).
    TargetMember {
        /// The group.
        group: String,
        /// The member.
        member: String,
        /// The partitions.
        partitions: Option<Vec<TopicPartitions>>,
    },
    /// What one member of a consumer group owns (key 8).
    CurrentMember {
        /// The group.
        group: String,
        /// The member.
        member: String,
        /// Its epochs and partitions.
        value: Option<CurrentAssignment>,
    },
    /// Which topics a pattern stands for (key 16).
    Regex {
        /// The group.
        group: String,
        /// The pattern.
        regex: String,
        /// The topics.
        value: Option<RegexValue>,
    },
    /// Since when a member of a group is silent (key 20308, Ottla's own). Kafka's brokers and tools, and builds of Ottla from before
    /// it, pass over it as over any kind that they do not know.
    Silence {
        /// The group.
        group: String,
        /// The member.
        member: String,
        /// Since when, Unix milliseconds.
        since_ms: Option<i64>,
    },
}

/// The number of the one kind that is not Kafka's ("OT" in ASCII), far from what Kafka counts up.
const SILENCE: i16 = 0x4f54;

/// A record that is not what its number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a coordinator record with the key number {number} cannot be read")]
pub struct BrokenRecord {
    /// The number that the key begins with; -1 when even that is missing.
    pub number: i16,
}

impl GroupRecord {
    /// Whether it is about members of the consumer protocol, who move before their records are safe.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        !matches!(self, Self::Offset { .. } | Self::Group { .. } | Self::Silence { .. })
    }

    /// The group it is about.
    #[must_use]
    pub fn group(&self) -> &str {
        match self {
            Self::Offset { group, .. }
            | Self::Group { group, .. }
            | Self::ConsumerGroup { group, .. }
            | Self::ConsumerMember { group, .. }
            | Self::TargetEpoch { group, .. }
            | Self::TargetMember { group, .. }
            | Self::CurrentMember { group, .. }
            | Self::Regex { group, .. }
            | Self::Silence { group, .. } => group,
        }
    }

    /// Key and value as they are stored.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        match self {
            Self::Offset { group, topic, partition, value } => {
                let key = key(1, &[group, topic]).i32(*partition).done();
                (key, value.as_ref().map(OffsetValue::encode))
            }
            Self::Group { group, value } => (key(2, &[group]).done(), value.as_ref().map(GroupValue::encode)),
            Self::ConsumerGroup { group, epoch } => (key(3, &[group]).done(), epoch.map(encode_epoch)),
            Self::ConsumerMember { group, member, value } => {
                (key(5, &[group, member]).done(), value.as_ref().map(ConsumerMemberValue::encode))
            }
            Self::TargetEpoch { group, epoch } => (key(6, &[group]).done(), epoch.map(encode_epoch)),
            Self::TargetMember { group, member, partitions } => {
                (key(7, &[group, member]).done(), partitions.as_deref().map(consumer::encode_target))
            }
            Self::CurrentMember { group, member, value } => {
                (key(8, &[group, member]).done(), value.as_ref().map(CurrentAssignment::encode))
            }
            Self::Regex { group, regex, value } => {
                (key(16, &[group, regex]).done(), value.as_ref().map(RegexValue::encode))
            }
            Self::Silence { group, member, since_ms } => {
                (key(SILENCE, &[group, member]).done(), since_ms.map(encode_time))
            }
        }
    }

    /// Reads a record; none when its kind or the version of its value is unknown.
    ///
    /// # Errors
    /// [`BrokenRecord`] when key or value are cut off or garbled.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, BrokenRecord> {
        let mut key = Read::new(key);
        let number = key.i16().ok_or(BrokenRecord { number: -1 })?;
        let broken = BrokenRecord { number };
        let group = match number {
            0..=3 | 5..=8 | 16 | SILENCE => key.text().ok_or(broken)?,
            _ => return Ok(None),
        };
        let mut second = || key.text().ok_or(broken);
        // Outer none: cut off or garbled. Inner none: a version that nobody here knows.
        macro_rules! value_of {
            ($read:expr) => {
                match value.map(|bytes| Read::new(bytes)) {
                    None => None,
                    Some(mut bytes) => match $read(&mut bytes).ok_or(broken)? {
                        Some(value) => Some(value),
                        None => return Ok(None),
                    },
                }
            };
        }
        Ok(Some(match number {
            0 | 1 => {
                let topic = second()?;
                let partition = key.i32().ok_or(broken)?;
                Self::Offset { group, topic, partition, value: value_of!(OffsetValue::decode) }
            }
            2 => Self::Group { group, value: value_of!(GroupValue::decode) },
            3 => Self::ConsumerGroup { group, epoch: value_of!(decode_epoch) },
            5 => Self::ConsumerMember {
                group,
                member: second()?,
                value: value_of!(ConsumerMemberValue::decode),
            },
            6 => Self::TargetEpoch { group, epoch: value_of!(decode_epoch) },
            7 => Self::TargetMember {
                group,
                member: second()?,
                partitions: value_of!(consumer::decode_target),
            },
            8 => {
                Self::CurrentMember { group, member: second()?, value: value_of!(CurrentAssignment::decode) }
            }
            SILENCE => Self::Silence { group, member: second()?, since_ms: value_of!(decode_time) },
            _ => Self::Regex { group, regex: second()?, value: value_of!(RegexValue::decode) },
        }))
    }
}

fn key(number: i16, texts: &[&str]) -> Write {
    texts.iter().fold(Write::new(number, false), |key, text| key.text(text))
}

fn encode_epoch(epoch: i32) -> Vec<u8> {
    Write::new(0, true).i32(epoch).tags().done()
}

fn decode_epoch(bytes: &mut Read<'_>) -> Option<Option<i32>> {
    let Some(mut bytes) = bytes.version(0..=0, 0)? else { return Some(None) };
    let epoch = bytes.i32()?;
    bytes.skip_tags()?;
    Some(Some(epoch))
}

fn encode_time(ms: i64) -> Vec<u8> {
    Write::new(0, true).i64(ms).tags().done()
}

fn decode_time(bytes: &mut Read<'_>) -> Option<Option<i64>> {
    let Some(mut bytes) = bytes.version(0..=0, 0)? else { return Some(None) };
    let ms = bytes.i64()?;
    bytes.skip_tags()?;
    Some(Some(ms))
}
