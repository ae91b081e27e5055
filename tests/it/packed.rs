//! Packed batches: looked into at the door, kept in order, packed anew where the topic says so.

use bytes::BytesMut;
use ottla_rules::batch::build::{BatchBuilder, BuildRecord, seal};
use ottla_rules::batch::{Codec, Walk};
use ottla_wire::fetch::Records;

use crate::broker::{Broker, data_dir};
use crate::client::{FETCH, PRODUCE, TIME, batch, fetch_request, produce_request};

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const UNKNOWN_SERVER_ERROR: i16 = -1;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_RECORD: i16 = 87;

/// A batch of two packed records with other bytes in their place, and everything else fitting.
fn repackaged(codec: Codec, change: impl FnOnce(&mut Vec<u8>)) -> BytesMut {
    let good = BatchBuilder::new().codec(codec).record("a", "1", TIME).record("b", "2", TIME).build();
    let mut packed = good[61..].to_vec();
    change(&mut packed);
    let mut bytes = BytesMut::from(&good[..61]);
    bytes.extend_from_slice(&packed);
    let length = i32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    seal(&mut bytes);
    bytes
}

fn of_zeros(codec: Codec, bytes: usize) -> BytesMut {
    let record = BuildRecord { timestamp: TIME, value: Some(vec![0; bytes]), ..BuildRecord::default() };
    BatchBuilder::new().codec(codec).push(record).build()
}

#[test]
fn one_packed_batch_that_is_garbage_stops_no_consumer_because_it_is_not_taken() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["records.unpacked.bytes.max=20000000", "message.max.bytes=10000000"]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    for codec in CODECS {
        let mut wrong_count = repackaged(codec, |_| ());
        wrong_count[26] = 2;
        wrong_count[60] = 3;
        seal(&mut wrong_count);
        for (what, records, code) in [
            (
                "garbage",
                repackaged(codec, |packed| *packed = b"no packed records".to_vec()),
                UNKNOWN_SERVER_ERROR,
            ),
            ("cut off", repackaged(codec, |packed| packed.truncate(packed.len() - 1)), UNKNOWN_SERVER_ERROR),
            ("a wrong count", wrong_count, INVALID_RECORD),
            ("a bomb", of_zeros(codec, 30_000_000), MESSAGE_TOO_LARGE),
        ] {
            let answer = client.produce("t", 0, records);
            assert_eq!(answer.error_code, code, "{what} in {codec:?}: {:?}", answer.error_message);
            assert!(answer.error_message.is_some(), "{what} in {codec:?}");
        }
    }
    assert_eq!(client.produce("t", 0, batch(&["good"])).base_offset, 0);
    assert_eq!(client.values("t", 0, 0), ["good"]);
}

#[test]
fn a_batch_that_takes_long_to_unpack_keeps_its_place() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    // All sent before the first answer is read: many megabytes to unpack, then one record.
    let mut sent = Vec::new();
    for round in 0..8 {
        let long = of_zeros(CODECS[round % 4], 4 << 20);
        sent.push(client.send(PRODUCE, &produce_request("t", 0, -1, Some(long))));
        sent.push(client.send(PRODUCE, &produce_request("t", 0, -1, Some(batch(&["short"])))));
    }
    let offsets: Vec<_> = sent.into_iter().map(|id| client.produced(id).base_offset).collect();
    assert_eq!(offsets, (0..16).collect::<Vec<_>>());
}

#[test]
fn nobody_is_answered_wrongly_while_others_unpack() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["message.max.bytes=10000000"]);
    let mut busy = broker.client();
    busy.create("t", 1, &[]);
    let id = busy.send(PRODUCE, &produce_request("t", 0, -1, Some(of_zeros(Codec::Gzip, 100 << 20))));
    let mut other = broker.client();
    assert_eq!(other.produce("t", 0, batch(&["quick"])).error_code, 0);
    assert_eq!(busy.produced(id).error_code, 0);
    // A client that has left is owed nothing, and what it sent does no harm.
    busy.send(PRODUCE, &produce_request("t", 0, 1, Some(of_zeros(Codec::Gzip, 50 << 20))));
    drop(busy);
    assert_eq!(other.produce("t", 0, batch(&["still here"])).error_code, 0);
}

#[test]
fn a_topic_has_its_records_packed_as_it_says() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    let kinds = [
        ("gzip", Codec::Gzip),
        ("snappy", Codec::Snappy),
        ("lz4", Codec::Lz4),
        ("zstd", Codec::Zstd),
        ("uncompressed", Codec::None),
    ];
    let long = "long".repeat(100_000);
    for (kind, wanted) in kinds {
        client.create(kind, 1, &[("compression.type", kind)]);
        let mut sent = Vec::new();
        for codec in CODECS.into_iter().chain([Codec::None]) {
            // Some fit into what a shard does by itself, some do not.
            for value in ["short", &long] {
                let records = BatchBuilder::new().codec(codec).value(value, TIME).build();
                assert_eq!(client.produce(kind, 0, records).error_code, 0, "{codec:?} into {kind}");
                sent.push(value.to_owned());
            }
        }
        assert_eq!(client.values(kind, 0, 0), sent, "{kind}");
        let id = client.send(FETCH, &fetch_request(kind, 0, 0, 0));
        let Some(Records::Bytes(bytes)) = client.fetched(id).records else { panic!("no records") };
        for at in Walk::over(&bytes) {
            assert_eq!(at.unwrap().1.attributes.codec(), Ok(wanted), "{kind}");
        }
    }
}
