//! What members of the classic protocol say to each other: subscriptions and assignments, as Kafka's consumers write them.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::scene::TOPIC;

/// The version with which members began to say what they own.
const SUBSCRIPTION: i16 = 1;

/// A subscription to the topic. `generation` makes each one different from the last, as those of later versions are.
pub(super) fn subscription(generation: i32, owned: impl Iterator<Item = i32>) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(SUBSCRIPTION);
    bytes.put_i32(1);
    put_topic(&mut bytes);
    bytes.put_i32(4);
    bytes.put_i32(generation);
    put_partitions(&mut bytes, owned);
    bytes.freeze()
}

/// What a subscription says is owned.
pub(super) fn owned_in(mut subscription: Bytes) -> Vec<i32> {
    if subscription.len() < 2 + 4 + 2 + TOPIC.len() + 8 {
        return vec![];
    }
    subscription.advance(2 + 4 + 2 + TOPIC.len() + 8);
    partitions_in(&mut subscription)
}

/// An assignment of partitions of the topic.
pub(super) fn assignment(partitions: impl Iterator<Item = i32>) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    put_partitions(&mut bytes, partitions);
    bytes.put_i32(-1);
    bytes.freeze()
}

/// The partitions of an assignment; none in one of no bytes.
pub(super) fn assigned_in(mut assignment: Bytes) -> Vec<i32> {
    if assignment.len() < 2 {
        return vec![];
    }
    assignment.advance(2);
    partitions_in(&mut assignment)
}

fn put_topic(bytes: &mut BytesMut) {
    bytes.put_i16(i16::try_from(TOPIC.len()).unwrap_or(0));
    bytes.put_slice(TOPIC.as_bytes());
}

fn put_partitions(bytes: &mut BytesMut, partitions: impl Iterator<Item = i32>) {
    let partitions: Vec<_> = partitions.collect();
    bytes.put_i32(1);
    put_topic(bytes);
    bytes.put_i32(i32::try_from(partitions.len()).unwrap_or(0));
    partitions.into_iter().for_each(|index| bytes.put_i32(index));
}

fn partitions_in(bytes: &mut Bytes) -> Vec<i32> {
    if bytes.remaining() < 4 + 2 + TOPIC.len() + 4 {
        return vec![];
    }
    bytes.advance(4 + 2 + TOPIC.len());
    let count = usize::try_from(bytes.get_i32()).unwrap_or(0);
    (0..count.min(bytes.remaining() / 4)).map(|_| bytes.get_i32()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        assert_eq!(owned_in(subscription(7, [1, 3].into_iter())), [1, 3]);
        assert_eq!(assigned_in(assignment([0, 2].into_iter())), [0, 2]);
        assert_eq!(assigned_in(Bytes::new()), [0; 0]);
    }
}
