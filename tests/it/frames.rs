//! Bytes that are no requests. Kafka closes the connection; everyone else is served on.

use bytes::BytesMut;
use ottla_wire::api::ApiKey;
use ottla_wire::messages::api_versions::ApiVersionsResponse;
use ottla_wire::messages::metadata::{MetadataRequest, MetadataResponse};
use ottla_wire::{Decode, Reader, api};

use crate::broker::{Broker, data_dir};
use crate::client::{FETCH, PRODUCE, batch, encode, fetch_request, produce_request, raw};

const METADATA: i16 = 3;
const LIST_GROUPS: i16 = 16;
const API_VERSIONS: i16 = 18;

#[test]
fn what_is_no_request_closes_its_connection_and_no_other() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["socket.request.max.bytes=100000"]);
    let mut bystander = broker.client();
    bystander.create("t", 1, &[]);

    let whole = encode(1, 12, &MetadataRequest::default());
    let mut cut_short = whole[..whole.len() - 3].to_vec();
    cut_short[..4].copy_from_slice(&i32::try_from(whole.len() - 7).unwrap().to_be_bytes());
    let counts_lie = raw(METADATA, 8, 1, &i32::MAX.to_be_bytes());
    // A flexible ListGroups whose only state has 32,768 letters.
    let too_long = raw(LIST_GROUPS, 4, 1, &[&[2, 0x81, 0x80, 2][..], &[b'a'; 32_768], &[0]].concat());
    for (what, bytes) in [
        ("a negative length", (-1_i32).to_be_bytes().to_vec()),
        ("the lowest length", i32::MIN.to_be_bytes().to_vec()),
        ("no length", 0_i32.to_be_bytes().to_vec()),
        ("a length over the limit", 100_001_i32.to_be_bytes().to_vec()),
        ("the highest length", i32::MAX.to_be_bytes().to_vec()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec()),
        ("TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
        ("a frame without a header", [&3_i32.to_be_bytes()[..], &[0, 3, 0]].concat()),
        ("an unknown key", raw(999, 0, 1, &[])),
        ("a negative key", raw(-1, 0, 1, &[])),
        ("an API that is not served", raw(4, 0, 1, &[])),
        ("a version too high", raw(METADATA, 99, 1, &[])),
        ("a negative version", raw(METADATA, -1, 1, &[])),
        ("a Produce of version 0", raw(0, 0, 1, &[])),
        ("a body cut short", cut_short),
        ("a count of two billions", counts_lie),
        ("a text too long", too_long),
        ("zeros", [&64_i32.to_be_bytes()[..], &[0; 64]].concat()),
        ("ones", [&64_i32.to_be_bytes()[..], &[0xff; 64]].concat()),
    ] {
        let mut client = broker.client();
        client.send_bytes(&bytes);
        assert_eq!(client.next_frame(), None, "{what}");
    }
    let answer: MetadataResponse = bystander.ask(12, &MetadataRequest::default());
    assert_eq!(answer.brokers.len(), 1);
}

#[test]
fn what_came_before_is_answered_before_the_connection_is_closed() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    broker.client().create("t", 1, &[]);
    let metadata = encode(2, 12, &MetadataRequest::default());
    let bad = [
        ("no length", 0_i32.to_be_bytes().to_vec()),
        ("an unknown key", raw(999, 0, 1, &[])),
        ("a body cut short", raw(METADATA, 8, 1, &i32::MAX.to_be_bytes())),
    ];
    for ((what, bad), end) in bad.into_iter().zip(1..) {
        let mut client = broker.client();
        // The append waits for its sync while the next two are here already.
        let append = encode(1, PRODUCE, &produce_request("t", 0, -1, Some(batch(&["v"]))));
        client.send_bytes(&[&append[..], &metadata, &bad, &metadata].concat());
        let answered: Vec<_> = std::iter::from_fn(|| client.next_frame())
            .map(|frame| Reader::new(&frame).i32().unwrap())
            .collect();
        assert_eq!(answered, [1, 2], "{what}");

        // So is what waits for somebody else.
        let mut client = broker.client();
        let poll = encode(3, FETCH, &fetch_request("t", 0, end, 300));
        client.send_bytes(&[&poll[..], &bad].concat());
        let frame = client.next_frame();
        assert_eq!(frame.map(|frame| Reader::new(&frame).i32().unwrap()), Some(3), "{what}");
        assert_eq!(client.next_frame(), None, "{what}");
    }
}

#[test]
fn a_client_that_asks_in_a_newer_version_is_told_the_versions() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.send_bytes(&raw(API_VERSIONS, 77, 5, b"whatever a newer client says"));
    let frame = client.next_frame().unwrap();
    let mut reader = Reader::new(&frame);
    assert_eq!(reader.i32(), Ok(5));
    let answer = ApiVersionsResponse::decode(&mut reader, 0).unwrap();
    assert_eq!(answer.error_code, 35);
    let own = answer.api_keys.iter().find(|api| api.api_key == API_VERSIONS).unwrap();
    assert_eq!((own.min_version, own.max_version), (0, 4));

    // The same connection goes on, in a version of the answer.
    client.send_bytes(&raw(API_VERSIONS, 0, 6, &[]));
    let frame = client.next_frame().unwrap();
    let mut reader = Reader::new(&frame);
    assert_eq!(reader.i32(), Ok(6));
    let answer = ApiVersionsResponse::decode(&mut reader, 0).unwrap();
    assert_eq!(answer.error_code, 0);
    assert!(
        answer.api_keys.iter().any(|api| api.api_key == ApiKey::Produce.number() && api.min_version == 0)
    );
}

/// Every API in every version, with a body that is anything: answered or closed, and the broker lives.
#[test]
fn no_body_stops_the_broker() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["auto.create.topics.enable=false"]);
    let mut bystander = broker.client();
    bystander.create("t", 1, &[]);
    // Numbers without a pattern, the same in every run (xorshift).
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for key in (0..70).filter_map(ApiKey::from_number).filter_map(api::served) {
        for version in (0..20).filter(|version| key.takes(*version)) {
            let mut client = broker.client();
            for _ in 0..4 {
                // Small numbers make lists and strings that nearly fit, large ones lie about lengths.
                let small = draw() % 2 == 0;
                let byte = |_| if small { (draw() % 4) as u8 } else { draw() as u8 };
                let body: Vec<u8> = (0..60).map(byte).collect();
                client.send_bytes(&raw(key.key.number(), version, 1, &body));
            }
            client.end();
            while client.next_frame().is_some() {}
        }
    }
    assert_eq!(bystander.produce("t", 0, batch(&["still here"])).error_code, 0);
}

#[test]
fn requests_in_one_burst_are_answered_in_order() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let mut burst = BytesMut::new();
    for id in 100..120 {
        burst.extend_from_slice(&encode(id, 9, &produce_request("t", 0, -1, Some(batch(&["x"])))));
        burst.extend_from_slice(&encode(1000 + id, 12, &MetadataRequest::default()));
    }
    client.send_bytes(&burst);
    for id in 100..120 {
        assert_eq!(client.produced(id).base_offset, i64::from(id - 100));
        let _: MetadataResponse = client.receive(12, 1000 + id);
    }
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    for byte in encode(3, 12, &MetadataRequest::default()).iter() {
        client.send_bytes(&[*byte]);
    }
    let answer: MetadataResponse = client.receive(12, 3);
    assert_eq!(answer.error_code, 0);
}
