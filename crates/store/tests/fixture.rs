//! Files as an earlier build left them must stay readable. The fixture is made anew only when the format changes:
//! `cargo test -p ottla-store --test fixture -- --ignored`, and then `store::FORMAT` counts up.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{NOTHING, config, open, place, read_all, sync};
use ottla_rules::{
    batch::{Codec, Stamped, build::BatchBuilder},
    ids::{LeaderEpoch, Offset},
};
use ottla_store::{Log, MemoryFacts};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1")
}

/// Every codec, three segments, a producer, two epochs.
fn batches() -> Vec<Stamped> {
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    let builder = |n: i64| {
        let codec = codecs[n as usize % 5];
        let records = (0..3).fold(BatchBuilder::new().codec(codec), |builder, i| {
            builder.record(format!("key-{i}"), vec![b'a' + n as u8 % 26; 60], 1_700_000_000_000 + 10 * n + i)
        });
        if n % 4 == 0 { records.producer(77, 0, (n / 4 * 3) as i32) } else { records }
    };
    (0..40).map(|n| builder(n).stamped(Offset(3 * n), LeaderEpoch(i32::from(n >= 20)))).collect()
}

#[test]
#[ignore = "writes the committed fixture anew: by hand, when a new format gets one of its own"]
fn make() {
    let _ = fs::remove_dir_all(fixture());
    fs::create_dir_all(fixture()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), &MemoryFacts::new());
    let mut log = Log::create(&store, place(), config());
    log.append(&batches()).unwrap();
    sync(&store, &mut log);
    for entry in fs::read_dir(dir.path().join("payments-3")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), fixture().join(entry.file_name())).unwrap();
    }
}

fn copied_into(prepare: impl FnOnce(&Path)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    fs::create_dir(dir.path().join("payments-3")).unwrap();
    for entry in fs::read_dir(fixture()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join("payments-3").join(entry.file_name())).unwrap();
    }
    dir
}

#[test]
fn files_of_format_1_are_read() {
    // The directory is ours before they come into it: partitions in a directory without metadata are refused.
    let facts = MemoryFacts::new();
    let dir = copied_into(|dir| drop(open(dir, &facts)));
    let store = open(dir.path(), &facts);
    let (log, recovered) = Log::recover(&store, place(), config(), NOTHING).unwrap();
    assert_eq!((recovered.end, recovered.cut), (Offset(120), None));
    assert_eq!(recovered.epochs.rows(), [(LeaderEpoch(0), Offset(0)), (LeaderEpoch(1), Offset(60))]);
    assert_eq!(recovered.producers.snapshot()[0].next_sequence.0, 30);
    // Offsets in packed batches count too: the bytes of packed batches are the fixture's, not this build's.
    for from in [0, 31, 62, 119] {
        assert!(!read_all(&log, Offset(from), 400).is_empty());
    }
    let found = log.lookup(1_700_000_000_000 + 311, Offset(120), 1 << 20).run().unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp), (Offset(94), 1_700_000_000_311));
}

#[test]
fn what_is_written_today_is_what_was_written_then() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), &MemoryFacts::new());
    let mut log = Log::create(&store, place(), config());
    log.append(&batches()[..1]).unwrap();
    let first = log.locate(Offset(0), Offset(3), 1_000).unwrap().read(true).unwrap().read().unwrap();
    let then = fs::read(fixture().join("00000000000000000000.log")).unwrap();
    assert_eq!(then[..first.len()], first);
}
