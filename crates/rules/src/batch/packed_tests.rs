//! Stories of packed batches: what is unpacked at the door, what is left for another thread, what is packed anew.

use super::build::{BatchBuilder, BuildRecord, seal};
use super::tests::{CODECS, NOON, parse, two, unpacked};
use super::*;

/// A batch of one record whose packed records somebody changed.
fn repackaged(codec: Codec, count: i32, change: impl FnOnce(&mut Vec<u8>)) -> BytesMut {
    let plain =
        (0..count).fold(BatchBuilder::new(), |batch, n| batch.record("k", n.to_string(), 1_000)).build();
    let mut packed = codec::pack(codec, &plain[HEADER_BYTES..]).unwrap();
    change(&mut packed);
    let mut bytes = BytesMut::from(&plain[..HEADER_BYTES]);
    bytes.extend_from_slice(&packed);
    let length = (bytes.len() - LENGTH_PREFIX_BYTES) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = codec as u8;
    seal(&mut bytes);
    bytes
}

/// What Kafka 4.3 answers was asked, codec by codec.
#[test]
fn packed_records_that_cannot_be_unpacked_are_refused() {
    for codec in &CODECS[1..] {
        let check = |what: &str, count, change: &dyn Fn(&mut Vec<u8>)| {
            let error = parse(repackaged(*codec, count, change)).unwrap_err();
            assert!(matches!(error, BatchError::Unpackable { .. }), "{codec:?}, {what}: {error:?}");
        };
        check("garbage", 2, &|packed| *packed = b"this is not packed at all".to_vec());
        check("cut in the middle", 5_000, &|packed| packed.truncate(packed.len() / 2));
        check("cut at the last byte", 5_000, &|packed| packed.truncate(packed.len() - 1));
        check("a few records, cut at the last byte", 2, &|packed| packed.truncate(packed.len() - 1));
    }
    for codec in [Codec::Snappy, Codec::Zstd] {
        let error = parse(repackaged(codec, 2, |packed| packed.extend_from_slice(b"garbage"))).unwrap_err();
        assert!(matches!(error, BatchError::Unpackable { .. }), "{codec:?}: {error:?}");
    }
    // What stands behind their last byte nobody reads, neither Kafka nor its clients.
    for codec in [Codec::Gzip, Codec::Lz4] {
        parse(repackaged(codec, 2, |packed| packed.extend_from_slice(b"garbage"))).unwrap();
    }
}

#[test]
fn packed_records_have_to_be_as_many_as_are_counted_and_whole() {
    for codec in &CODECS[1..] {
        let records = |records: &[u8], count: i32| {
            let packed = codec::pack(*codec, records).unwrap();
            let mut bytes = repackaged(*codec, count, |all| *all = packed);
            seal(&mut bytes);
            bytes
        };
        let plain = two().build();
        let plain = &plain[HEADER_BYTES..];
        parse(records(plain, 2)).unwrap();
        for (what, bytes) in [
            ("fewer than counted", records(plain, 3)),
            ("more than counted", records(plain, 1)),
            ("bytes behind the last", records(&[plain, &[0]].concat(), 2)),
            ("the last one cut", records(&plain[..plain.len() - 3], 2)),
            ("a negative length", records(&[&[1], plain].concat(), 2)),
            ("a length without end", records(&[&[0xff; 12], plain].concat(), 2)),
        ] {
            let error = parse(bytes).unwrap_err();
            assert!(matches!(error, BatchError::Invalid { .. }), "{codec:?}, {what}: {error:?}");
        }
    }
}

#[test]
fn the_members_of_a_gzip_stream_are_one() {
    let plain = two().build();
    let (one, other) = plain[HEADER_BYTES..].split_at(8);
    let packed = [one, other].map(|part| codec::pack(Codec::Gzip, part).unwrap()).concat();
    parse(repackaged(Codec::Gzip, 2, |all| *all = packed)).unwrap();
}

/// Longer than the window, with everything that can stand in it.
#[test]
fn a_long_record_goes_by_in_pieces() {
    let headers = vec![("h".repeat(40_000), Some(vec![7; 40_000])), (String::new(), None)];
    let long =
        BuildRecord { timestamp: 4_000, key: Some(vec![1; 50_000]), value: Some(vec![2; 99_999]), headers };
    for codec in &CODECS[1..] {
        let batch = two().push(long.clone()).record("c", "3", 3_000).codec(*codec).build();
        assert_eq!(parse(batch).unwrap().max_timestamp(), 4_000, "{codec:?}");
        let plain = two().push(long.clone()).build();
        for cut in [30, 60_000, 150_000, 160_000] {
            let packed = codec::pack(*codec, &plain[HEADER_BYTES..][..cut]).unwrap();
            let error = parse(repackaged(*codec, 3, |all| *all = packed)).unwrap_err();
            assert!(matches!(error, BatchError::Invalid { .. }), "{codec:?} cut at {cut}: {error:?}");
        }
    }
}

#[test]
fn what_takes_long_is_left_for_another_thread() {
    let rules = BatchRules::default();
    let begin = |bytes, patience: usize| {
        let mut left = patience;
        (Batch::begin(bytes, &rules, NOON, &mut left).unwrap(), patience - left)
    };
    // Half of it noise, so that it shrinks to about a half.
    let noise = (0..50_000).scan(1u32, |dice, _| {
        *dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*dice >> 24) as u8)
    });
    let value: Vec<u8> = noise.chain([0; 50_000]).collect();
    for codec in &CODECS[1..] {
        let batch = || BatchBuilder::new().codec(*codec).record("k", &value, 1).build();
        let (parsed, spent) = begin(batch(), 1 << 20);
        assert!(matches!(parsed, Parsed::Whole(_)), "{codec:?}");
        assert_eq!(spent, batch().len() * 8, "{codec:?}: as if it were packed eight to one");
        let (Parsed::Long(long), _) = begin(batch(), 90_000) else { panic!("{codec:?}") };
        assert_eq!(long.finish(&rules, NOON).unwrap().n_records(), 1);
        // One that is long already as it came is not begun at all.
        let (Parsed::Long(_), 0) = begin(batch(), 100) else { panic!("{codec:?}") };
        // Nor is a bomb, however small: not more than eight times its size is unpacked in a hurry.
        let bomb = BatchBuilder::new().codec(*codec).record("k", vec![0; 300_000], 1).build();
        let (Parsed::Long(_), 0..150_000) = begin(bomb, 1 << 20) else { panic!("{codec:?}") };
    }
    let plain = BatchBuilder::new().record("k", vec![0; 300_000], 1).build();
    assert!(matches!(begin(plain, 0), (Parsed::Whole(_), 0)));
}

#[test]
fn a_topic_with_another_codec_packs_anew() {
    for (from, to) in CODECS.into_iter().flat_map(|from| CODECS.map(|to| (from, to))) {
        let sent = two().producer(7, 3, 41).codec(from).value("v".repeat(70_000), 5_000);
        let rules = BatchRules { packing: Some(Packing::of(to)), ..BatchRules::default() };
        let stored = Batch::parse(sent.build(), &rules, NOON).unwrap().stamp(Offset(9), LeaderEpoch(2), None);
        let header = check_stored(&stored.bytes).unwrap();
        assert_eq!(header.attributes.codec(), Ok(to), "{from:?} to {to:?}");
        assert_eq!((header.producer_id.0, header.producer_epoch.0, header.base_sequence.0), (7, 3, 41));
        assert_eq!((header.count, header.max_timestamp, stored.end), (3, 5_000, Offset(12)));
        assert_eq!(unpacked(&stored.bytes), unpacked(&sent.build()), "{from:?} to {to:?}");
        if from == to {
            assert_eq!(stored.bytes[21..], sent.build()[21..], "what is packed right is left alone");
        }
    }
}

#[test]
fn what_grows_too_large_by_packing_anew_is_refused() {
    let sent = || BatchBuilder::new().codec(Codec::Zstd).record("k", vec![0; 5_000], 1).build();
    let rules =
        BatchRules { packing: Some(Packing::of(Codec::None)), bytes_max: 4_000, ..BatchRules::default() };
    let error = Batch::parse(sent(), &rules, NOON).unwrap_err();
    assert!(matches!(error, BatchError::TooLarge { bytes: 5_070..5_090, max: 4_000 }), "{error:?}");
    let rules = BatchRules { segment_bytes_max: 4_000, bytes_max: 6_000, ..rules };
    let error = Batch::parse(sent(), &rules, NOON).unwrap_err();
    assert!(matches!(error, BatchError::TooLargeForSegment { .. }), "{error:?}");
}

#[test]
fn the_level_counts_where_the_codec_has_one() {
    let text: String = (0..20_000).map(|n| (n * n % 977).to_string()).collect();
    let size = |codec, level| {
        let rules = BatchRules { packing: Some(Packing { codec, level }), ..BatchRules::default() };
        Batch::parse(BatchBuilder::new().value(&text, 1).build(), &rules, NOON).unwrap().len()
    };
    assert!(size(Codec::Gzip, 9) < size(Codec::Gzip, 1));
    assert!(size(Codec::Zstd, 19) < size(Codec::Zstd, -50));
}
