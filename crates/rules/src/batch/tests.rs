//! Stories of batches: what is taken, what is refused, and that the bytes are Kafka's.

use proptest::prelude::*;

use super::build::{BatchBuilder, BuildRecord, seal};
use super::records::{Records, find_max_timestamp, find_timestamp};
use super::*;

pub(super) const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
pub(super) const NOON: Now = Now { mono_ms: 0, wall_ms: 43_200_000 };
const UNPACKED_MAX: usize = 1 << 20;

/// One batch for each codec, written by Kafka's Java library: see `fixtures/Fixtures.java`.
const BY_JAVA: &str = include_str!("fixtures/java.txt");

pub(super) fn parse(bytes: BytesMut) -> Result<Batch, BatchError> {
    Batch::parse(bytes, &BatchRules::default(), NOON)
}

pub(super) fn two() -> BatchBuilder {
    BatchBuilder::new().record("a", "1", 1_000).record("b", "2", 2_000)
}

/// The batch after somebody wrote `patch` at `at`, with a CRC that fits again.
fn patched(builder: &BatchBuilder, at: usize, patch: &[u8]) -> BytesMut {
    let mut bytes = builder.build();
    bytes[at..at + patch.len()].copy_from_slice(patch);
    seal(&mut bytes);
    bytes
}

pub(super) fn unpacked(batch: &[u8]) -> Result<Vec<BuildRecord>, BatchError> {
    let mut records = Records::of(batch, UNPACKED_MAX)?;
    let mut all = vec![];
    while let Some(record) = records.next()? {
        all.push(BuildRecord {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: vec![],
        });
    }
    Ok(all)
}

#[test]
fn batches_of_the_java_client_are_read() {
    for (line, codec) in BY_JAVA.lines().zip(CODECS) {
        let (name, hex) = line.split_once(' ').unwrap();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: BytesMut = (0..hex.len()).step_by(2).map(byte).collect();
        let batch = parse(bytes).unwrap();
        assert_eq!(batch.header().attributes.codec(), Ok(codec), "{name}");
        let header = batch.header();
        assert_eq!((header.producer_id.0, header.producer_epoch.0, header.base_sequence.0), (4711, 2, 5));
        assert_eq!((batch.n_records(), batch.max_timestamp()), (3, 3_000));

        let stored = batch.stamp(Offset(40), LeaderEpoch(1), None);
        let records = unpacked(&stored.bytes).unwrap();
        assert_eq!(records[0].key.as_deref(), Some(b"key".as_slice()), "{name}");
        assert_eq!(records[0].value.as_deref(), Some(b"value".as_slice()), "{name}");
        assert_eq!(
            (records[1].key.as_deref(), records[1].value.as_deref()),
            (None, Some([b'v'; 100].as_slice()))
        );
        assert_eq!((records[2].timestamp, records[2].value.as_deref()), (2_000, None));
        assert_eq!(find_timestamp(&stored.bytes, 1_001, UNPACKED_MAX), Ok(Some((Offset(41), 3_000))));
    }
    assert_eq!(BY_JAVA.lines().count(), CODECS.len());
}

/// The uncompressed batch of the Java library, byte for byte.
#[test]
fn the_builder_writes_what_the_java_client_writes() {
    let headers = vec![("full".to_owned(), Some(b"h".to_vec())), ("empty".to_owned(), None)];
    let gone = BuildRecord { timestamp: 2_000, key: Some(b"gone".to_vec()), value: None, headers };
    let built = BatchBuilder::new()
        .producer(4711, 2, 5)
        .record("key", "value", 1_000)
        .value("v".repeat(100), 3_000)
        .push(gone)
        .build();
    let hex: String = built.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(BY_JAVA.lines().next(), Some(format!("none {hex}").as_str()));
}

#[test]
fn raw_snappy_is_read_too() {
    let plain = two().build();
    let packed = snap::raw::Encoder::new().compress_vec(&plain[HEADER_BYTES..]).unwrap();
    let mut bytes = BytesMut::from(&plain[..HEADER_BYTES]);
    bytes.extend_from_slice(&packed);
    let length = (bytes.len() - LENGTH_PREFIX_BYTES) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = 2;
    seal(&mut bytes);
    assert_eq!(unpacked(&bytes), unpacked(&plain));
}

#[test]
fn a_stamp_leaves_what_is_under_the_crc_alone() {
    let sent = two().build();
    let stored = parse(sent.clone()).unwrap().stamp(Offset(7), LeaderEpoch(3), None);
    assert_eq!(stored.bytes[16..], sent[16..]);
    assert_eq!((stored.base, stored.end, stored.max_timestamp), (Offset(7), Offset(9), 2_000));
    let header = check_stored(&stored.bytes).unwrap();
    assert_eq!(
        (header.base_offset, header.leader_epoch, header.end()),
        (Offset(7), LeaderEpoch(3), Offset(9))
    );
}

#[test]
fn log_append_time_is_stamped_on_every_record() {
    for codec in CODECS {
        let stored = parse(two().codec(codec).build()).unwrap().stamp(Offset(7), LeaderEpoch(0), Some(5_000));
        let header = check_stored(&stored.bytes).unwrap();
        assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!((header.max_timestamp, stored.max_timestamp), (5_000, 5_000));
        assert!(unpacked(&stored.bytes).unwrap().iter().all(|record| record.timestamp == 5_000));
        assert_eq!(find_timestamp(&stored.bytes, 5_000, UNPACKED_MAX), Ok(Some((Offset(7), 5_000))));
        assert_eq!(find_max_timestamp(&stored.bytes, UNPACKED_MAX), Ok(Some((Offset(7), 5_000))));
    }
}

#[test]
fn a_max_timestamp_that_cannot_be_is_corrected() {
    for codec in CODECS {
        for wrong in [-1i64, 0, 999] {
            let batch = parse(patched(&two().codec(codec), 35, &wrong.to_be_bytes())).unwrap();
            assert_eq!(batch.max_timestamp(), 2_000, "{codec:?} with {wrong}");
            let header = check_stored(&batch.stamp(Offset(0), LeaderEpoch(0), None).bytes).unwrap();
            assert_eq!(header.max_timestamp, 2_000);
        }
    }
}

#[test]
fn what_breaks_a_rule_of_the_format_is_refused() {
    fn check(name: &str, bytes: BytesMut, code: &str) {
        let error = parse(bytes).map(|_| ()).expect_err(name);
        assert!(format!("{error:?}").starts_with(code), "{name}: {error:?}");
    }
    let good = two().build();
    let twice = [good.as_ref(), good.as_ref()].concat();
    check("nothing", BytesMut::new(), "Invalid");
    check("half a batch", BytesMut::from(&good[..good.len() - 1]), "Invalid");
    check("two batches", BytesMut::from(twice.as_slice()), "Invalid");
    check("a base offset", patched(&two(), 0, &7i64.to_be_bytes()), "Invalid");
    check("a negative length", patched(&two(), 8, &(-1i32).to_be_bytes()), "Corrupt");
    check("less than a header", patched(&two(), 8, &20i32.to_be_bytes()), "Corrupt");
    check("format 1", patched(&two(), 16, &[1]), "Magic");
    check("format 3", patched(&two(), 16, &[3]), "Corrupt");
    check(
        "a wrong CRC",
        {
            let mut bytes = good.clone();
            bytes[70] ^= 1;
            bytes
        },
        "Corrupt",
    );
    check("codec 5", patched(&two(), 21, &5i16.to_be_bytes()), "UnsupportedCodec");
    check("LogAppendTime", patched(&two(), 21, &8i16.to_be_bytes()), "Timestamp");
    check("no offsets", patched(&two(), 23, &(-1i32).to_be_bytes()), "Invalid");
    check("more offsets than records", patched(&two(), 23, &2i32.to_be_bytes()), "Invalid");
    check("no records", patched(&two(), 57, &0i32.to_be_bytes()), "Invalid");
    let three = [[0, 0, 0, 2].as_slice(), &good[27..57], &[0, 0, 0, 3]].concat();
    check("fewer records than counted", patched(&two(), 23, &three), "Invalid");
    let one = [[0, 0, 0, 0].as_slice(), &good[27..57], &[0, 0, 0, 1]].concat();
    check("more records than counted", patched(&two(), 23, &one), "Invalid");
    check("a control batch", two().control().build(), "Invalid");
    check("a producer without sequence", two().producer(1, 0, -1).build(), "Invalid");
    check("offset deltas that jump", patched(&two(), HEADER_BYTES + 3, &[2]), "Invalid");
    check("a record longer than the batch", patched(&two(), HEADER_BYTES, &[126]), "Invalid");
    parse(two().transactional().producer(1, 0, 0).build()).expect("transactions are the leader's business");
}

#[test]
fn what_follows_the_batch_and_is_none_falls_away() {
    let mut bytes = two().build();
    let len = bytes.len();
    bytes.extend_from_slice(&[0; 11]);
    assert_eq!(parse(bytes).unwrap().len(), len);
}

#[test]
fn sizes_are_limited() {
    let bytes = two().build();
    let len = bytes.len();
    let rules = BatchRules { bytes_max: len - 1, ..BatchRules::default() };
    let error = Batch::parse(bytes.clone(), &rules, NOON).unwrap_err();
    assert_eq!(error, BatchError::TooLarge { bytes: len, max: len - 1 });
    let rules = BatchRules { segment_bytes_max: len - 1, ..BatchRules::default() };
    let error = Batch::parse(bytes, &rules, NOON).unwrap_err();
    assert_eq!(error, BatchError::TooLargeForSegment { bytes: len, max: len - 1 });
}

#[test]
fn a_compacted_topic_names_the_records_without_a_key() {
    let rules = BatchRules { compacted: true, ..BatchRules::default() };
    for codec in CODECS {
        let bytes = two().value("no key", 3_000).codec(codec).build();
        let Err(BatchError::Invalid { records, .. }) = Batch::parse(bytes, &rules, NOON) else {
            panic!("{codec:?}")
        };
        assert_eq!(records, [(2, "Compacted topic cannot accept message without key".to_owned())]);
        Batch::parse(two().codec(codec).build(), &rules, NOON).unwrap();
    }
}

#[test]
fn records_outside_of_the_window_of_timestamps_are_named() {
    let rules = BatchRules { before_max_ms: 100, after_max_ms: 10, ..BatchRules::default() };
    let now = NOON.wall_ms;
    for codec in CODECS {
        let builder = BatchBuilder::new().codec(codec);
        let bytes = builder
            .value("old", now - 101)
            .value("fine", now)
            .value("new", now + 11)
            .value("none", -1)
            .build();
        let Err(BatchError::Timestamp { records }) = Batch::parse(bytes, &rules, NOON) else {
            panic!("{codec:?}")
        };
        assert_eq!(records.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(
            records[0].1,
            "Timestamp 43199899 of message with offset 0 is out of range. \
             The timestamp should be within [43199900, 43200010]"
        );
    }
    let rules = BatchRules { timestamp_type: TimestampType::LogAppendTime, ..rules };
    Batch::parse(two().build(), &rules, NOON).expect("the leader's own time replaces them");
}

#[test]
fn a_bomb_is_refused_at_the_bound() {
    let rules = BatchRules { bytes_max: 1 << 20, unpacked_bytes_max: 1 << 16, ..BatchRules::default() };
    for codec in &CODECS[1..] {
        let bytes = BatchBuilder::new().codec(*codec).record("k", vec![0; 8 << 20], 1).build();
        let error = Batch::parse(bytes, &rules, NOON).unwrap_err();
        assert_eq!(error, BatchError::UnpacksTooLarge { max: 1 << 16 }, "{codec:?}");
    }
}

#[test]
fn a_walk_ends_where_no_whole_batch_is_left() {
    let (first, second) =
        (two().stamped(Offset(0), LeaderEpoch(0)), two().stamped(Offset(2), LeaderEpoch(0)));
    let run = [first.bytes.as_ref(), second.bytes.as_ref()].concat();
    for cut in 0..=run.len() {
        let mut walk = Walk::over(&run[..cut]);
        let found: Vec<_> =
            walk.by_ref().map(|found| found.unwrap()).map(|(at, header)| (at, header.end())).collect();
        let whole = [(0, Offset(2)), (first.bytes.len(), Offset(4))];
        let n = cut / first.bytes.len();
        assert_eq!(found, whole[..n], "cut at {cut}");
        assert_eq!(walk.position(), n * first.bytes.len());
    }
    let zeros = [first.bytes.as_ref(), &[0; 100]].concat();
    let mut walk = Walk::over(&zeros);
    assert!(walk.next().is_some_and(|found| found.is_ok()));
    assert!(walk.next().is_some_and(|found| found.is_err()));
    assert!(walk.next().is_none());
}

fn any_record() -> impl Strategy<Value = BuildRecord> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..300));
    let headers = prop::collection::vec(("[a-z]{0,4}", bytes()), 0..3);
    (-1..50i64, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| {
        let timestamp = if timestamp < 0 { -1 } else { NOON.wall_ms - timestamp };
        BuildRecord { timestamp, key, value, headers }
    })
}

fn any_batch() -> impl Strategy<Value = (BatchBuilder, Vec<BuildRecord>)> {
    (prop::collection::vec(any_record(), 1..20), prop::sample::select(CODECS.to_vec())).prop_map(
        |(records, codec)| {
            let builder = records.iter().cloned().fold(BatchBuilder::new().codec(codec), BatchBuilder::push);
            (builder, records)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_built_comes_back((builder, records) in any_batch(), base in 0..1_000_000i64) {
        let stored = parse(builder.build()).unwrap().stamp(Offset(base), LeaderEpoch(1), None);
        prop_assert_eq!(stored.end, Offset(base + records.len() as i64));
        prop_assert_eq!(stored.max_timestamp, records.iter().map(|record| record.timestamp).max().unwrap());
        prop_assert_eq!(Walk::over(&stored.bytes).count(), 1);
        let bare: Vec<_> = records.into_iter().map(|record| BuildRecord { headers: vec![], ..record }).collect();
        prop_assert_eq!(unpacked(&stored.bytes).unwrap(), bare);
    }

    #[test]
    fn a_lookup_by_time_finds_what_a_scan_finds((builder, records) in any_batch(), back in 0..60i64) {
        let stored = builder.stamped(Offset(9), LeaderEpoch(0));
        let at_least = NOON.wall_ms - back;
        let place = |at: usize| (Offset(9 + at as i64), records[at].timestamp);
        let first = records.iter().position(|record| record.timestamp >= at_least).map(place);
        prop_assert_eq!(find_timestamp(&stored.bytes, at_least, UNPACKED_MAX), Ok(first));
        let max = records.iter().map(|record| record.timestamp).max().filter(|max| *max >= 0);
        let first = max.and_then(|max| records.iter().position(|record| record.timestamp == max)).map(place);
        prop_assert_eq!(find_max_timestamp(&stored.bytes, UNPACKED_MAX), Ok(first));
    }

    #[test]
    fn a_changed_byte_is_noticed((builder, _) in any_batch(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut bytes = builder.build();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let under_crc = at >= 17;
        prop_assert!(check_stored(&bytes).is_err() || !under_crc);
        prop_assert!(parse(bytes).is_err() || (12..16).contains(&at), "only the leader epoch may change");
    }

    #[test]
    fn a_liar_with_a_fitting_crc_makes_nothing_panic(
        (builder, _) in any_batch(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        compacted: bool,
    ) {
        let mut bytes = builder.build();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        seal(&mut bytes);
        let read = unpacked(&bytes);
        let _ = find_max_timestamp(&bytes, UNPACKED_MAX);
        let _ = Walk::over(&bytes).count();
        let rules = BatchRules { compacted, unpacked_bytes_max: UNPACKED_MAX, ..BatchRules::default() };
        let stored = Batch::parse(bytes, &rules, NOON).map(|batch| batch.stamp(Offset(1), LeaderEpoch(1), Some(1)));
        prop_assert!(stored.is_err() || read.is_ok(), "what the door takes can be read");
    }

    #[test]
    fn noise_is_never_a_batch(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(check_stored(&noise).is_err());
        prop_assert!(parse(BytesMut::from(noise.as_slice())).is_err());
    }
}
