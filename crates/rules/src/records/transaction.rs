//! The records of `__transaction_state`: one per transactional id (Kafka's `TransactionLogKey`, `TransactionLogValue`, read
//! in versions 0 and 1, written in 1).

use std::collections::BTreeMap;

use super::{
    BrokenRecord,
    codec::{Read, Write},
};
use crate::{
    ids::{ProducerEpoch, ProducerId},
    transaction::{Facts, Protocol, Status, TopicPartition},
};

/// The key of an id's record.
#[must_use]
pub fn encode_key(id: &str) -> Vec<u8> {
    Write::new(0, false).text(id).done()
}

/// The value of an id's record.
#[must_use]
pub fn encode_value(facts: &Facts) -> Vec<u8> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &facts.partitions {
        topics.entry(&partition.topic).or_default().push(partition.index);
    }
    let topics: Vec<_> = topics.into_iter().collect();
    let value = Write::new(1, true).i64(facts.producer.0).i16(facts.epoch.0).i32(facts.timeout_ms);
    let value = value.i8(facts.status.number()).list(&topics, |value, (topic, partitions)| {
        value.text(topic).list(partitions, |value, index| value.i32(*index)).tags()
    });
    let mut tagged = Vec::new();
    for (tag, producer) in [(0, facts.previous), (1, facts.next)] {
        if producer != ProducerId::NONE {
            tagged.push((tag, Write::tagged().i64(producer.0)));
        }
    }
    tagged.push((2, Write::tagged().i16(facts.protocol as i16)));
    value.i64(facts.updated_ms).i64(facts.started_ms).tagged_fields(tagged).done()
}

/// The id of a record, and what it says; inner none is a tombstone. Outer none when the kind of the record or the version
/// of its value is unknown.
///
/// # Errors
/// [`BrokenRecord`] when key or value are cut off or garbled.
pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<(String, Option<Facts>)>, BrokenRecord> {
    let broken = BrokenRecord { number: 0 };
    let mut key = Read::new(key);
    if key.i16().ok_or(broken)? != 0 {
        return Ok(None);
    }
    let id = key.text().ok_or(broken)?;
    let Some(value) = value else { return Ok(Some((id, None))) };
    match decode_value(&mut Read::new(value)).ok_or(broken)? {
        Some(facts) => Ok(Some((id, Some(facts)))),
        None => Ok(None),
    }
}

fn decode_value(bytes: &mut Read<'_>) -> Option<Option<Facts>> {
    let Some(mut bytes) = bytes.version(0..=1, 1)? else { return Some(None) };
    let producer = ProducerId(bytes.i64()?);
    let epoch = ProducerEpoch(bytes.i16()?);
    let timeout_ms = bytes.i32()?;
    let status = bytes.i8()?;
    let status = Status::ALL.into_iter().find(|known| known.number() == status)?;
    let topics = bytes.list(|bytes| {
        let topic = bytes.text()?;
        let partitions = bytes.list(Read::i32)?;
        bytes.skip_tags()?;
        Some((topic, partitions))
    })?;
    let partitions = topics.into_iter().flat_map(|(topic, indexes)| {
        indexes.into_iter().map(move |index| TopicPartition { topic: topic.clone(), index })
    });
    let (updated_ms, started_ms) = (bytes.i64()?, bytes.i64()?);
    let (mut previous, mut next, mut level) = (ProducerId::NONE, ProducerId::NONE, 0);
    bytes.tags(|tag, mut field| {
        match tag {
            0 => previous = ProducerId(field.i64()?),
            1 => next = ProducerId(field.i64()?),
            2 => level = field.i16()?,
            _ => (),
        }
        Some(())
    })?;
    let protocol = if level >= Protocol::V2 as i16 { Protocol::V2 } else { Protocol::V1 };
    let partitions = partitions.collect();
    Some(Some(Facts {
        producer,
        previous,
        next,
        epoch,
        timeout_ms,
        status,
        partitions,
        updated_ms,
        started_ms,
        protocol,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let partition = |topic: &str, index| TopicPartition { topic: topic.into(), index };
        Facts {
            producer: ProducerId(7),
            previous: ProducerId(5),
            next: ProducerId::NONE,
            epoch: ProducerEpoch(3),
            timeout_ms: 60_000,
            status: Status::Ongoing,
            partitions: [partition("one", 0), partition("one", 4), partition("two", 1)].into(),
            updated_ms: 1_000,
            started_ms: 900,
            protocol: Protocol::V2,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let plain = Facts {
            partitions: Default::default(),
            previous: ProducerId::NONE,
            protocol: Protocol::V1,
            ..facts()
        };
        for facts in [facts(), plain] {
            let (key, value) = (encode_key("orders"), encode_value(&facts));
            assert_eq!(decode(&key, Some(&value)), Ok(Some(("orders".to_owned(), Some(facts)))));
            for cut in 0..value.len() {
                assert!(decode(&key, Some(&value[..cut])).is_err(), "cut at {cut}");
            }
        }
        assert_eq!(decode(&encode_key("orders"), None), Ok(Some(("orders".to_owned(), None))));
    }

    /// Written by Kafka 4.3.1's own generated classes for the same facts.
    #[test]
    fn a_record_has_kafkas_bytes() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&encode_key("orders")), KAFKAS_KEY);
        assert_eq!(hex(&encode_value(&facts())), KAFKAS_VALUE);
    }

    const KAFKAS_KEY: &str = "000000066f7264657273";
    const KAFKAS_VALUE: &str = "0001000000000000000700030000ea600103046f6e65030000000000000004000474776f0200000001000000\
         0000000003e80000000000000384020008000000000000000502020002";
}
