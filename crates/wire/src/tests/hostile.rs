//! Bytes from strangers: an error or a message, never a panic, never more memory than a multiple of the bytes.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use bytes::{Bytes, BytesMut};

use super::{arbitrary, encoded, every_message};
use crate::{
    DecodeError, Field, Message, Reader, Writer, messages as ours,
    produce::{PartitionProduceData, ProduceRequest, TopicProduceData},
    reader::{ALLOWANCE_AT_LEAST, ALLOWANCE_PER_BYTE, ELEMENTS_MAX, TAGS_MAX, TEXT_BYTES_MAX},
};

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Counts what each thread holds.
struct Counted;

// SAFETY: all memory is the system allocator's; only numbers are added.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no counters any more; nobody looks at it then.
        let held = HELD.try_with(|held| held.replace(held.get().wrapping_add(layout.size()))).unwrap_or(0);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.wrapping_add(layout.size()))));
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| held.set(held.get().wrapping_sub(layout.size())));
        // SAFETY: `at` came from `alloc` above, that is from the system.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTED: Counted = Counted;

/// What `run` held at its worst, in bytes.
fn peak_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = run();
    (result, PEAK.get().saturating_sub(before))
}

/// Text that is not UTF-8 grows threefold at most; a growing string doubles.
const TEXT_FACTOR: usize = 6;

/// What `read` makes of these bytes, having held no more memory on the way than the promised multiple of them.
pub(super) fn read_within_bounds<T>(
    name: &str,
    bytes: &[u8],
    read: impl FnOnce() -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let (read, peak) = peak_of(read);
    let allowed = bytes.len() * (ALLOWANCE_PER_BYTE + TEXT_FACTOR) + ALLOWANCE_AT_LEAST;
    assert!(peak <= allowed, "{name}: {peak} bytes held for a message of {}: {bytes:?}", bytes.len());
    read
}

/// A large message of equal bytes with one large count in it: dense arrays, as far as they are believed.
fn check_dense<M: Message + Field>() {
    const BYTES: usize = 128 * 1024;
    for version in [M::MIN_VERSION, M::MAX_VERSION] {
        for (fill, at) in [0, 1, 2, 3, 8].into_iter().flat_map(|fill| (0..24).map(move |at| (fill, at))) {
            let mut bytes = vec![fill; BYTES];
            let count = 60_000u32;
            match version >= M::FLEXIBLE_FROM {
                true => bytes[at..at + 3].copy_from_slice(&[0xe1, 0xd4, 0x03]),
                false => bytes[at..at + 4].copy_from_slice(&count.to_be_bytes()),
            }
            let bytes = Bytes::from(bytes);
            let name = format!("{} v{version}, filled with {fill}, count at {at}", M::NAME);
            let (_, peak) = peak_of(|| M::decode(&mut Reader::new(&bytes), version));
            assert!(
                peak <= BYTES * (ALLOWANCE_PER_BYTE + TEXT_FACTOR) + ALLOWANCE_AT_LEAST,
                "{name}: {peak}"
            );
        }
    }
}

macro_rules! check_each_dense {
    ($($api:ident::$message:ident),*) => { $( check_dense::<ours::$api::$message>(); )* };
}

#[test]
fn dense_arrays_are_bounded_too() {
    every_message!(check_each_dense);
}

#[test]
fn cut_messages_are_refused() {
    let response: ours::metadata::MetadataResponse = arbitrary(5, 12);
    let bytes = encoded(&response, 12);
    for end in 0..bytes.len() {
        let cut = bytes.slice(..end);
        assert!(
            <ours::metadata::MetadataResponse as crate::Decode>::decode(&mut Reader::new(&cut), 12).is_err()
        );
    }
}

#[test]
fn many_partitions_without_records_are_bounded() {
    let partitions = vec![PartitionProduceData::default(); 200_000];
    let topic = TopicProduceData { partition_data: partitions, ..Default::default() };
    let bytes = encoded(&ProduceRequest { topic_data: vec![topic], ..Default::default() }, 9);
    let body = BytesMut::from(&bytes[..]);
    let (refused, peak) = peak_of(|| ProduceRequest::decode(body, 9));
    assert!(matches!(refused, Err(DecodeError::TooMany { count: 200_000, .. })));
    assert!(peak < 1024, "{peak}");

    // With the smallest batch that exists, as many are taken.
    let batch = BytesMut::from(&[0; 61][..]);
    let partitions = vec![PartitionProduceData { index: 0, records: Some(batch) }; 20_000];
    let topic = TopicProduceData { partition_data: partitions, ..Default::default() };
    let bytes = encoded(&ProduceRequest { topic_data: vec![topic], ..Default::default() }, 9);
    let body = BytesMut::from(&bytes[..]);
    let (taken, peak) = peak_of(|| ProduceRequest::decode(body, 9));
    assert_eq!(taken.unwrap().topic_data[0].partition_data.len(), 20_000);
    assert!(peak <= bytes.len() * ALLOWANCE_PER_BYTE, "{peak} for {}", bytes.len());
}

#[test]
fn counts_are_capped_before_anything_is_allocated() {
    let huge = Bytes::from_static(b"\x7f\xff\xff\xff and little behind it");
    let (refused, peak) = peak_of(|| Reader::new(&huge).count(false, 24));
    assert!(matches!(refused, Err(DecodeError::TooMany { count: 0x7fff_ffff, .. })));
    assert_eq!(peak, 0);

    let mut many = ((ELEMENTS_MAX + 1) as i32).to_be_bytes().to_vec();
    many.resize(2 * ELEMENTS_MAX, 0);
    assert!(matches!(
        Reader::over(&many).count(false, 1),
        Err(DecodeError::TooMany { allowed: ELEMENTS_MAX, .. })
    ));

    let mut tags = b"\x91\x4e".to_vec(); // 10,001
    tags.resize(3 * TAGS_MAX, 0);
    assert!(matches!(
        Reader::over(&tags).tagged_fields(|_, _| Ok(())),
        Err(DecodeError::TooMany { count: 10_001, allowed: TAGS_MAX, .. })
    ));
}

#[test]
fn arrays_share_one_allowance() {
    // 200,000 empty strings: 200 kB here, 4.8 MB in memory, more than sixteen times as much.
    let mut topics = 200_000i32.to_be_bytes().to_vec();
    topics.resize(4 + 200_000, 1);
    let mut reader = Reader::over(&topics);
    assert!(matches!(reader.count(false, size_of::<String>()), Err(DecodeError::TooMany { .. })));
}

#[test]
fn a_varint_has_five_bytes_at_most() {
    let read = |bytes: &[u8]| Reader::over(bytes).unsigned_varint();
    assert_eq!(read(b"\xff\xff\xff\xff\x0f"), Ok(u32::MAX));
    assert_eq!(read(b"\xff\xff\xff\xff\x10"), Err(DecodeError::Varint { at: 0 }));
    assert_eq!(read(b"\x80"), Err(DecodeError::Truncated { at: 1, needed: 1, end: 1 }));
}

#[test]
fn a_text_has_32767_bytes_at_most_however_it_is_written() {
    let read = |letter: u8, length: usize| {
        let mut writer = Writer::new();
        writer.length(Some(length), true);
        writer.raw(&vec![letter; length]);
        let bytes = writer.into_bytes();
        Reader::new(&bytes).nullable_string(true).map(|text| text.map(|text| text.len()))
    };
    assert_eq!(read(b'a', TEXT_BYTES_MAX), Ok(Some(TEXT_BYTES_MAX)));
    assert_eq!(read(b'a', 32_768), Err(DecodeError::TextTooLong { at: 3, length: 32_768 }));
    // What is not UTF-8 becomes U+FFFD, of three bytes.
    assert_eq!(read(0xff, 10_922), Ok(Some(32_766)));
    assert_eq!(read(0xff, 10_923), Err(DecodeError::TextTooLong { at: 2, length: 32_769 }));

    // Bytes are no text.
    let mut writer = Writer::new();
    writer.nullable_bytes(Some(&[b'a'; 40_000]), true);
    let bytes = writer.into_bytes();
    assert_eq!(Reader::new(&bytes).nullable_bytes(true).unwrap().unwrap().len(), 40_000);
}

#[test]
fn null_stands_only_where_it_may() {
    let null_topics = Bytes::from_static(b"\xff\xff\xff\xff\0\0\0\0");
    type MetadataRequest = ours::metadata::MetadataRequest;
    let read = |version| <MetadataRequest as crate::Decode>::decode(&mut Reader::new(&null_topics), version);
    assert_eq!(read(0), Err(DecodeError::Null { at: 0 }));
    assert_eq!(read(1).map(|request| request.topics), Ok(None));
}
