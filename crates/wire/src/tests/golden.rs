//! Bytes written down by hand, where versions and headers have quirks.

use bytes::{BufMut, Bytes, BytesMut};

use super::{decoded, encoded};
use crate::{
    DecodeError, Reader, Writer,
    api::{ApiKey, SERVED, served},
    codes::Code,
    frame::{self, FrameError},
    header::{RequestHeader, encode_response_header},
    messages::api_versions::{
        ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
    },
};

fn answer() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: Code::UnsupportedVersion.number(),
        api_keys: vec![ApiVersion { api_key: 18, min_version: 0, max_version: 4 }],
        throttle_time_ms: 5,
        ..Default::default()
    }
}

#[test]
fn an_api_versions_answer_grows_with_its_version() {
    let classic = b"\x00\x23\x00\x00\x00\x01\x00\x12\x00\x00\x00\x04";
    assert_eq!(encoded(&answer(), 0), classic[..]);
    for version in [1, 2] {
        assert_eq!(encoded(&answer(), version), [&classic[..], b"\x00\x00\x00\x05"].concat());
    }
    for version in [3, 4] {
        assert_eq!(
            encoded(&answer(), version),
            b"\x00\x23\x02\x00\x12\x00\x00\x00\x04\x00\x00\x00\x00\x05\x00"[..],
            "one entry is 2, each structure ends with its tags"
        );
    }
}

#[test]
fn features_are_tagged_fields_of_the_answer() {
    let mut answer = answer();
    answer.supported_features =
        vec![SupportedFeatureKey { name: "a".into(), min_version: 0, max_version: 2 }];
    answer.finalized_features_epoch = 9;
    answer.finalized_features =
        vec![FinalizedFeatureKey { name: "a".into(), max_version_level: 2, min_version_level: 1 }];

    let bytes = encoded(&answer, 4);

    let tags = b"\x03\x00\x08\x02\x02a\x00\x00\x00\x02\x00\x01\x08\x00\x00\x00\x00\x00\x00\x00\x09\x02\x08\x02\x02a\x00\x02\x00\x01\x00";
    assert!(bytes.ends_with(tags), "{bytes:?}");
    assert_eq!(decoded::<ApiVersionsResponse>(&bytes, 4), answer);
    assert_eq!(encoded(&answer, 2).len(), 16, "versions without tags leave them out");
}

#[test]
fn an_api_versions_request_names_the_client_from_version_3() {
    let named = ApiVersionsRequest { client_software_name: "x".into(), client_software_version: "1".into() };
    for version in 0..3 {
        assert_eq!(encoded(&named, version), b""[..]);
        assert_eq!(decoded::<ApiVersionsRequest>(&Bytes::new(), version), ApiVersionsRequest::default());
    }
    for version in [3, 4] {
        assert_eq!(encoded(&named, version), b"\x02x\x021\x00"[..]);
    }
}

#[test]
fn the_answer_to_api_versions_always_has_the_old_header() {
    let header = |key, version| {
        let mut writer = Writer::new();
        encode_response_header(&mut writer, key, version, 1);
        writer.into_bytes()
    };
    assert_eq!(header(ApiKey::ApiVersions, 4), b"\0\0\0\x01"[..]);
    assert_eq!(header(ApiKey::Metadata, 8), b"\0\0\0\x01"[..]);
    assert_eq!(header(ApiKey::Metadata, 9), b"\0\0\0\x01\0"[..]);
}

#[test]
fn the_client_id_is_never_compact() {
    let header = RequestHeader {
        key: ApiKey::ApiVersions,
        version: 3,
        correlation_id: 7,
        client_id: Some("me".to_owned()),
    };
    let body = ApiVersionsRequest { client_software_name: "x".into(), client_software_version: "1".into() };

    let sent = frame::request(&header, &body);

    assert_eq!(sent, b"\0\0\0\x12\0\x12\0\x03\0\0\0\x07\0\x02me\0\x02x\x021\0"[..]);
    let (read, rest) = frame::open(BytesMut::from(&sent[4..])).unwrap();
    assert_eq!(read, header);
    assert_eq!(rest, b"\x02x\x021\0"[..]);
}

#[test]
fn a_header_may_name_a_version_that_nobody_has() {
    let mut bytes = BytesMut::new();
    bytes.put_slice(b"\0\x12\0\x63\0\0\0\x07\xff\xff\0 anything");
    let (header, _) = frame::open(bytes).unwrap();
    assert_eq!((header.version, header.correlation_id, header.client_id), (99, 7, None));
    assert!(!served(ApiKey::ApiVersions).unwrap().takes(99));
}

#[test]
fn a_header_of_an_unknown_api_is_refused() {
    let mut reader = Reader::over(b"\x03\xe7\0\0\0\0\0\x01\xff\xff");
    assert_eq!(RequestHeader::decode(&mut reader), Err(DecodeError::UnknownKey { key: 999 }));
}

#[test]
fn tags_that_nobody_knows_are_skipped() {
    // In the header (tag 5) and in the body (tag 77).
    let frame = BytesMut::from(&b"\0\x12\0\x03\0\0\0\x07\xff\xff\x01\x05\x02hi\x02x\x021\x01\x4d\x03abc"[..]);
    let (_, body) = frame::open(frame).unwrap();
    let request = decoded::<ApiVersionsRequest>(&body.freeze(), 3);
    assert_eq!((&*request.client_software_name, &*request.client_software_version), ("x", "1"));
}

#[test]
fn a_frame_is_neither_empty_nor_endless() {
    assert_eq!(frame::length([0, 0, 0, 8], 8), Ok(8));
    assert_eq!(frame::length([0, 0, 0, 9], 8), Err(FrameError::TooLong { length: 9, max: 8 }));
    assert_eq!(frame::length([0, 0, 0, 0], 8), Err(FrameError::Empty));
    assert_eq!(frame::length([0xff; 4], 8), Err(FrameError::Negative { length: -1 }));
}

#[test]
fn produce_alone_is_advertised_lower_than_it_is_served() {
    for served in SERVED {
        let lowest = if served.key == ApiKey::Produce { 0 } else { served.min };
        assert_eq!(served.advertised_min, lowest, "{:?}", served.key);
    }
    assert!(SERVED.is_sorted_by_key(|served| served.key));
    assert!(!served(ApiKey::Produce).unwrap().takes(2));
}

#[test]
fn keys_and_codes_have_no_gaps() {
    assert!(ApiKey::ALL.iter().map(|key| key.number()).eq(0..=94));
    assert!(Code::ALL.iter().map(|code| code.number()).eq(-1..=133));
    assert_eq!(Code::from_number(45), Some(Code::OutOfOrderSequenceNumber));
    assert_eq!(Code::OutOfOrderSequenceNumber.name(), "OUT_OF_ORDER_SEQUENCE_NUMBER");
    assert_eq!(Code::from_number(134), None);
}

#[test]
fn a_sentence_too_long_for_its_length_is_cut_between_characters() {
    for flexible in [false, true] {
        let mut writer = Writer::new();
        writer.nullable_string(Some(&"ß".repeat(20_000)), flexible);
        let bytes = writer.into_bytes();
        let text = Reader::new(&bytes).nullable_string(flexible).unwrap().unwrap();
        assert_eq!(text, "ß".repeat(16_383));
    }
}
