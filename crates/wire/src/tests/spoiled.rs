//! Mutated messages: the same verdict as the other codec's, the same meaning where both read it, no panic, and never more
//! memory than a small multiple of the bytes.
//!
//! `OTTLA_MUTATED_FRAMES` says how many for each message and version.

use std::fmt::Debug;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages as theirs,
    protocol::{Decodable, Encodable, Message as TheirMessage},
};

use super::{Dice, arbitrary, encoded, every_message, hostile::read_within_bounds, rolls};
use crate::{
    DecodeError, Field, Message, Reader, frame, messages as ours,
    produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
};

fn mutations() -> u64 {
    rolls("OTTLA_MUTATED_FRAMES", 200)
}

/// One of the things that happen to bytes.
fn spoil(bytes: &mut Vec<u8>, dice: &mut Dice) {
    if bytes.is_empty() {
        return bytes.push(dice.number() as u8);
    }
    let at = dice.below(bytes.len());
    match dice.below(5) {
        0 => bytes.truncate(at),
        1 => bytes[at] = dice.number() as u8,
        2 => bytes[at] = *[0x7f, 0x80, 0xff].get(dice.below(3)).unwrap_or(&0),
        // Where a length may be: 2^31 - 1, or the varint of it.
        3 => drop(bytes.splice(at.., [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x07])),
        _ => bytes.insert(at, dice.number() as u8),
    }
}

fn spoiled(whole: &[u8], dice: &mut Dice) -> Bytes {
    let mut bytes = whole.to_vec();
    for _ in 0..=dice.below(3) {
        spoil(&mut bytes, dice);
    }
    Bytes::from(bytes)
}

/// What the other codec reads, written again: unknown tags stay in it, but ours skips those.
fn their_reading<T: Decodable + Encodable>(bytes: &Bytes, version: i16) -> Option<(Bytes, usize)> {
    let mut rest = bytes.clone();
    let read = T::decode(&mut rest, version).ok()?;
    let mut again = BytesMut::new();
    read.encode(&mut again, version).ok()?;
    Some((again.freeze(), rest.remaining()))
}

/// Compares what both make of the same bytes.
///
/// Left out is what the other codec gets wrong or does not check: it allocates what a count claims, which can end the
/// process; it takes varints of more than 32 bits; it takes null in versions that have none; it believes the length of
/// a tagged field only where it does not know the tag. So flexible versions are compared where the bytes are as we would write them, the others wherever neither a count nor null was refused.
fn compare<O, T>(read: &Result<(O, usize), DecodeError>, bytes: &Bytes, version: i16)
where
    O: Message + PartialEq + Debug,
    T: Decodable + Encodable,
{
    let is_flexible = version >= O::FLEXIBLE_FROM;
    match read {
        Ok((message, rest)) => {
            let own = encoded(message, version);
            if is_flexible && !bytes.starts_with(&own) {
                return;
            }
            let Some((again, their_rest)) = their_reading::<T>(bytes, version) else {
                // Java and we read bytes that are not UTF-8 as U+FFFD, the other codec refuses them.
                assert!(has_replaced_text(&own), "{} v{version}: only the others refuse {bytes:?}", O::NAME);
                return;
            };
            assert_eq!(*rest, their_rest, "{} v{version}: {bytes:?}", O::NAME);
            let same = O::decode(&mut Reader::new(&again), version);
            assert_eq!(same.as_ref(), Ok(message), "{} v{version}: {bytes:?}", O::NAME);
        }
        Err(DecodeError::TooMany { .. } | DecodeError::Null { .. }) => (),
        Err(_) if is_flexible => (),
        Err(error) => {
            let theirs = their_reading::<T>(bytes, version);
            assert!(theirs.is_none(), "{} v{version}: only we refuse ({error}) {bytes:?}", O::NAME);
        }
    }
}

fn has_replaced_text(own: &Bytes) -> bool {
    own.windows(3).any(|three| three == "\u{fffd}".as_bytes())
}

fn check<O, T>() -> u64
where
    O: Message + Field + PartialEq + Debug,
    T: Decodable + Encodable + TheirMessage,
{
    let mut dice = Dice::new(O::KEY.number() as u64);
    for version in O::MIN_VERSION..=O::MAX_VERSION {
        for seed in 0..mutations() {
            let bytes = spoiled(&encoded(&arbitrary::<O>(seed, version), version), &mut dice);
            let read = read_within_bounds(O::NAME, &bytes, || {
                let mut reader = Reader::new(&bytes);
                O::decode(&mut reader, version).map(|message| (message, reader.remaining()))
            });
            if version <= T::VERSIONS.max {
                compare::<O, T>(&read, &bytes, version);
            }
        }
        assert!(O::decode(&mut Reader::over(&[]), O::MAX_VERSION + 1).is_err());
    }
    mutations() * (O::MAX_VERSION - O::MIN_VERSION + 1).unsigned_abs() as u64
}

macro_rules! check_each {
    ($($api:ident::$message:ident),*) => { [$( check::<ours::$api::$message, theirs::$message>() ),*] };
}

#[test]
fn spoiled_messages_get_the_others_verdict_and_do_no_harm() {
    let tried: u64 = every_message!(check_each).iter().sum();
    println!("mutated messages: {tried}");
}

#[test]
fn spoiled_produce_requests_do_no_harm() {
    let records =
        |text: &'static str| PartitionProduceData { index: 1, records: Some(text.as_bytes().into()) };
    let request = ProduceRequest {
        topic_data: vec![
            TopicProduceData {
                name: "t".into(),
                partition_data: vec![records("abcdef"), records("")],
                ..Default::default()
            },
            TopicProduceData {
                name: "u".into(),
                partition_data: vec![PartitionProduceData::default(), records("x")],
                ..Default::default()
            },
        ],
        ..Default::default()
    };
    let mut dice = Dice::new(0);
    for version in ProduceRequest::MIN_VERSION..=ProduceRequest::MAX_VERSION {
        let whole = encoded(&request, version);
        for _ in 0..10 * mutations() {
            let bytes = spoiled(&whole, &mut dice);
            let body = BytesMut::from(&bytes[..]);
            let _ = read_within_bounds("ProduceRequest", &bytes, || ProduceRequest::decode(body, version));
        }
        for end in 0..whole.len() {
            assert!(ProduceRequest::decode(BytesMut::from(&whole[..end]), version).is_err());
        }
    }
}

#[test]
fn noise_is_no_frame() {
    let mut dice = Dice::new(11);
    for _ in 0..100 * mutations() {
        let length = dice.below(40);
        let bytes: Vec<u8> = (0..length).map(|_| dice.number() as u8).collect();
        let _ = frame::open(BytesMut::from(&bytes[..]));
    }
}
