//! Random values, every message, every version: Kafka's other Rust codec reads what we wrote and writes the same bytes.

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages as theirs,
    protocol::{Decodable, Encodable, Message as TheirMessage},
};
use ottla_rules::ids::TopicId;

use super::{Dice, arbitrary, decoded, encoded, every_message, java, rolls};
use crate::{
    Field, Message, Shape,
    fetch::{self, Chunk, Records},
    frame,
    header::decode_response_header,
    messages as ours,
    produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
    reader::Reader,
};

/// Random instances of each message in each version.
fn seeds() -> u64 {
    rolls("OTTLA_INSTANCES", 150)
}

fn their_bytes<T: Encodable>(message: &T, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

/// Our bytes are read by the others to their end, and written again as they were.
fn agree<O: Message, T: Decodable + Encodable>(message: &O, version: i16, seed: u64) -> Bytes {
    let bytes = encoded(message, version);
    let mut rest = bytes.clone();
    let read = T::decode(&mut rest, version)
        .unwrap_or_else(|error| panic!("{} v{version} seed {seed}: {error}", O::NAME));
    assert!(rest.is_empty(), "{} v{version} seed {seed}: they leave bytes behind", O::NAME);
    assert_eq!(their_bytes(&read, version), bytes, "{} v{version} seed {seed}", O::NAME);
    bytes
}

fn check<O, T>()
where
    O: Message + Field + PartialEq + std::fmt::Debug,
    T: Decodable + Encodable + TheirMessage,
{
    assert!(O::MIN_VERSION >= T::VERSIONS.min, "{}", O::NAME);
    for version in O::MIN_VERSION..=O::MAX_VERSION {
        let theirs_has_it = version <= T::VERSIONS.max;
        assert!(
            theirs_has_it || java::has_written(O::NAME, version),
            "nobody vouches for {} v{version}",
            O::NAME
        );
        for seed in 0..seeds() {
            let message: O = arbitrary(seed, version);
            let bytes = if theirs_has_it {
                agree::<O, T>(&message, version, seed)
            } else {
                encoded(&message, version)
            };
            assert_eq!(decoded::<O>(&bytes, version), message, "{} v{version} seed {seed}", O::NAME);
        }
    }
}

macro_rules! check_each {
    ($($api:ident::$message:ident),*) => { $( check::<ours::$api::$message, theirs::$message>(); )* };
}

#[test]
fn every_message_is_what_the_others_read_and_write() {
    every_message!(check_each);
}

macro_rules! compare_defaults {
    ($($api:ident::$message:ident),*) => { $(
        let theirs = <theirs::$message as TheirMessage>::VERSIONS;
        for version in <ours::$api::$message>::MIN_VERSION..=<ours::$api::$message>::MAX_VERSION.min(theirs.max) {
            let bytes = encoded(&<ours::$api::$message>::default(), version);
            let theirs = their_bytes(&<theirs::$message>::default(), version);
            assert_eq!(bytes, theirs, "{} v{version}", stringify!($message));
        }
    )* };
}

#[test]
fn nothing_said_means_the_same() {
    every_message!(compare_defaults);
}

fn produce_request(seed: u64, version: i16) -> ProduceRequest {
    let mut dice = Dice::new(seed);
    let shape = Shape { version, flexible: version >= ProduceRequest::FLEXIBLE_FROM, nullable: true };
    let (by_id, dice) = (version >= 13, &mut dice);
    ProduceRequest {
        transactional_id: Field::arbitrary(dice, shape),
        acks: Field::arbitrary(dice, shape),
        timeout_ms: Field::arbitrary(dice, shape),
        topic_data: dice.list(|dice| TopicProduceData {
            name: if by_id { String::new() } else { dice.text() },
            topic_id: if by_id { Field::arbitrary(dice, shape) } else { TopicId::ZERO },
            partition_data: dice.list(|dice| PartitionProduceData {
                index: Field::arbitrary(dice, shape),
                records: Option::<Bytes>::arbitrary(dice, shape).map(BytesMut::from),
            }),
        }),
    }
}

#[test]
fn produce_requests_are_what_the_others_read_and_write() {
    for version in ProduceRequest::MIN_VERSION..=ProduceRequest::MAX_VERSION {
        for seed in 0..seeds() {
            let request = produce_request(seed, version);
            let bytes = agree::<_, theirs::ProduceRequest>(&request, version, seed);
            let read = ProduceRequest::decode(BytesMut::from(bytes), version);
            assert_eq!(read.as_ref(), Ok(&request), "v{version} seed {seed}");
        }
    }
}

#[test]
fn records_leave_a_produce_frame_uncopied() {
    let mut request = produce_request(3, 9);
    let records = |text: &str| PartitionProduceData { index: 0, records: Some(text.as_bytes().into()) };
    request.topic_data = vec![TopicProduceData {
        partition_data: vec![records("one"), records("three")],
        ..Default::default()
    }];
    let frame = BytesMut::from(encoded(&request, 9));
    let place = frame.as_ptr_range();

    let read = ProduceRequest::decode(frame, 9).unwrap();

    assert_eq!(read, request);
    for partition in &read.topic_data[0].partition_data {
        assert!(place.contains(&partition.records.as_ref().unwrap().as_ptr()));
    }
}

/// The same response with gaps instead of records, and the records by index.
fn hollow(mut response: ours::fetch::FetchResponse) -> (ours::fetch::FetchResponse, Vec<Bytes>) {
    let mut taken = Vec::new();
    for partition in response.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if let Some(Records::Bytes(bytes)) = &partition.records {
            let gap = Records::Gap { index: taken.len(), len: bytes.len() };
            taken.push(bytes.clone());
            partition.records = Some(gap);
        }
    }
    (response, taken)
}

#[test]
fn a_fetch_response_with_its_gaps_filled_is_the_response_with_its_records() {
    type FetchResponse = ours::fetch::FetchResponse;
    for version in FetchResponse::MIN_VERSION..=FetchResponse::MAX_VERSION {
        for seed in 0..seeds() {
            let whole: FetchResponse = arbitrary(seed, version);
            let (response, records) = hollow(whole.clone());

            let mut sent = BytesMut::new();
            for chunk in fetch::response(version, 7, &response) {
                match chunk {
                    Chunk::Bytes(bytes) => sent.extend_from_slice(&bytes),
                    Chunk::Records { index, len } => {
                        assert!(len > 0 && len == records[index].len());
                        sent.extend_from_slice(&records[index]);
                    }
                }
            }

            let sent = sent.freeze();
            assert_eq!(sent, frame::response(version, 7, &whole).unwrap(), "v{version} seed {seed}");
            let (length, frame) = sent.split_first_chunk().unwrap();
            assert_eq!(frame::length(*length, frame.len()), Ok(frame.len()));
            let mut reader = Reader::over(frame);
            assert_eq!(decode_response_header(&mut reader, FetchResponse::KEY, version), Ok(7));
            assert_eq!(<FetchResponse as crate::Decode>::decode(&mut reader, version), Ok(whole));
        }
    }
}
