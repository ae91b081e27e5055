//! The names of things: nodes, topics, partitions, producers, offsets.
//!
//! Each is a type of its own, so that an offset is never added to an epoch. Numbers are Kafka's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A broker's id (`node.id`), chosen by the operator; never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub i32);

/// Counts the reigns over one partition; a later leader has a larger one. -1 on the wire means "not known".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaderEpoch(pub i32);

/// A topic's id: sixteen bytes that no other topic ever had, also not one of the same name (KIP-516).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId(pub [u8; 16]);

/// One partition of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    /// The topic it belongs to.
    pub topic: TopicId,
    /// Its number within the topic, from 0.
    pub index: i32,
}

/// Names a producer session; -1 is "none" (a batch without idempotence).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProducerId(pub i64);

/// Fences older sessions of one [`ProducerId`]; -1 is "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerEpoch(pub i16);

/// The number of a record within one producer's epoch; after 2^31 - 1 comes 0. -1 is "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub i32);

/// The place of a record in its partition. Ranges of offsets are half-open; `end` is one past the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl LeaderEpoch {
    /// The next reign.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl TopicId {
    /// The id that means "no id" on the wire.
    pub const ZERO: Self = Self([0; 16]);
}

impl ProducerId {
    /// What a batch without idempotence carries.
    pub const NONE: Self = Self(-1);
}

impl Sequence {
    /// The sequence `n` records later; wraps from 2^31 - 1 to 0 as Kafka's `DefaultRecordBatch.incrementSequence`.
    #[must_use]
    pub fn plus(self, n: i32) -> Self {
        Self(((i64::from(self.0) + i64::from(n)) & i64::from(i32::MAX)) as i32)
    }
}

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);

    /// The offset `n` records later.
    #[must_use]
    pub fn plus(self, n: i64) -> Self {
        Self(self.0 + n)
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Kafka's `Uuid` text: URL-safe base64 without padding, 22 characters.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.chunks(3) {
            let word =
                chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for place in 0..=chunk.len() {
                let sextet = word >> (18 - 6 * place) & 63;
                write!(f, "{}", ALPHABET[sextet as usize] as char)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 22 characters of URL-safe base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 22 characters of A-Z, a-z, 0-9, - and _")]
pub struct NotAnId;

impl FromStr for TopicId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() != 22 {
            return Err(NotAnId);
        }
        let mut bits = 0u128;
        let mut last = 0;
        for (at, letter) in text.bytes().enumerate() {
            let sextet = ALPHABET.iter().position(|a| *a == letter).ok_or(NotAnId)? as u128;
            if at < 21 {
                bits = bits << 6 | sextet;
            } else {
                last = sextet;
            }
        }
        Ok(Self((bits << 2 | last >> 4).to_be_bytes()))
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

macro_rules! display_as_number {
    ($($name:ident),*) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )* };
}
display_as_number!(NodeId, LeaderEpoch, ProducerId, ProducerEpoch, Sequence, Offset);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_id_is_written_as_kafka_writes_it() {
        let id = TopicId([0xfb, 0xff, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(id.to_string().len(), 22);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!("no".parse::<TopicId>(), Err(NotAnId));
    }

    #[test]
    fn a_sequence_wraps_to_zero() {
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(3), Sequence(1));
    }
}
