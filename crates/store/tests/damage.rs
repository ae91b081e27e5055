//! Damage to the metadata: what was written is read, or the directory is refused with a sentence. Never something else, and
//! never an empty beginning, after which the files of all partitions would be deleted.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use ottla_host::{Chance, Disk};
use ottla_rules::ids::{Offset, PartitionId, ProducerEpoch, ProducerId, Sequence};
use ottla_rules::{
    cluster::{Change, Partition},
    ids::{LeaderEpoch, NodeId, TopicId},
    producers::{ProducerEntry, RememberedBatch},
};
use ottla_store::{
    FactsKind, OpenError, Store,
    facts::{checkpoint, checkpoint::Checkpoint, identity::Identity, image, producers},
};
use tempfile::TempDir;

fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open(Disk::machine(), dir.to_owned(), FactsKind::Sled, Chance::machine())
}

/// What must not change: who the directory is, and what it knows of the cluster.
type Known = (Identity, Vec<Change>, bool);

fn known(store: &Store) -> Result<Known, String> {
    let image = image::load(store.facts()).map_err(|error| error.to_string())?;
    Ok((store.identity(), image, store.was_clean()))
}

/// A directory with some metadata, each change flushed on its own, and other facts between them.
fn written() -> (TempDir, Known) {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path()).unwrap();
    store.claim(NodeId(1)).unwrap();
    store.mark_dirty().unwrap();
    for n in 0..30 {
        let id = TopicId([n; 16]);
        let name = format!("topic-{n}");
        let made = Change::TopicCreated { id, name, partitions: vec![], configs: BTreeMap::new() };
        image::keep(store.facts(), &[made]).unwrap();
        let partition = PartitionId { topic: id, index: 0 };
        let at = Checkpoint { recovery_point: Offset(i64::from(n)), log_start: Offset(0) };
        checkpoint::put(store.facts(), partition, at).unwrap();
        store.facts().flush().unwrap();
    }
    image::keep(store.facts(), &[Change::TopicDeleted { id: TopicId([3; 16]) }]).unwrap();
    store.mark_clean().unwrap();
    drop(store);
    let known = known(&open(root.path()).unwrap()).unwrap();
    assert_eq!(known.1.len(), 29);
    (root, known)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let there = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &there)
        } else {
            fs::copy(entry.path(), there).unwrap();
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Opens a copy that was damaged; whether it was refused.
fn refused(root: &TempDir, expected: &Known, damage: impl FnOnce(&Path), what: &str) -> bool {
    let spoiled = tempfile::tempdir().unwrap();
    copy(root.path(), spoiled.path());
    damage(spoiled.path());
    let found = open(spoiled.path()).map_err(|error| error.to_string()).and_then(|store| known(&store));
    match found {
        Ok(found) => {
            assert!(found == *expected, "{what}: the metadata is another one now, and nobody said so");
            false
        }
        Err(sentence) => {
            let dir = spoiled.path().display().to_string();
            assert!(sentence.contains(&dir) || sentence.contains("is damaged"), "{what}: {sentence}");
            true
        }
    }
}

#[test]
fn what_was_half_written_when_the_process_died_or_the_disk_was_full_is_passed_over() {
    let (root, before) = written();
    let facts = root.path().join(".ottla/facts");
    // sled writes what it knows under such a name first, and takes it for whole when it opens.
    for half in [&b""[..], b"half of what", &[0; 4096]] {
        fs::write(facts.join("snap.7FFFFFFFFFFFFFFF.generating"), half).unwrap();
        assert_eq!(known(&open(root.path()).unwrap()).unwrap(), before, "{} bytes", half.len());
    }
}

#[test]
fn many_producers_make_no_file_that_nobody_syncs() {
    let root = tempfile::tempdir().unwrap();
    let batch =
        RememberedBatch { base: Offset(1), base_sequence: Sequence(0), last_offset_delta: 0, timestamp: 2 };
    let one = |id| ProducerEntry {
        id: ProducerId(id),
        epoch: ProducerEpoch(0),
        last_write_ms: 3,
        next_sequence: Sequence(1),
        coordinator_epoch: -1,
        open_since: None,
        batches: vec![batch; 5],
    };
    let all: Vec<_> = (0..3_000).map(one).collect();
    let partition = |index| PartitionId { topic: TopicId([1; 16]), index };
    let counts = |index: i32| if index == 7 { 3_000 } else { 20 + index as usize };
    let store = open(root.path()).unwrap();
    for turn in 1..=2 {
        for index in 0..40 {
            producers::put(store.facts(), partition(index), Offset(turn), &all[..counts(index)]).unwrap();
        }
        store.facts().flush().unwrap();
    }
    drop(store);
    assert_eq!(fs::read_dir(root.path().join(".ottla/facts/blobs")).unwrap().count(), 0);
    let store = open(root.path()).unwrap();
    for index in 0..40 {
        let (end, found) = producers::get(store.facts(), partition(index)).unwrap().unwrap();
        assert_eq!((end, found.len()), (Offset(2), counts(index)));
    }
}

#[test]
fn a_flipped_bit_is_found_or_harms_nobody() {
    let (root, expected) = written();
    let own = root.path().join(".ottla");
    let db = own.join("facts/db");
    let len = fs::read(&db).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut n_refused = 0;
    // A fixed walk over everything written, every bit of a byte in turn.
    for n in 0..100 {
        let (at, bit) = (n * (len / 100) + n % (len / 100), n % 8);
        n_refused += usize::from(refused(
            &root,
            &expected,
            |dir| {
                let path = dir.join(".ottla/facts/db");
                let mut bytes = fs::read(&path).unwrap();
                bytes[at] ^= 1 << bit;
                fs::write(&path, bytes).unwrap();
            },
            &format!("bit {bit} of byte {at} of {len}"),
        ));
    }
    assert!(n_refused > 50, "most of the flips must have hit something: {n_refused}");
}

#[test]
fn a_file_that_is_gone_short_or_empty_is_missed() {
    let (root, expected) = written();
    for file in files(&root.path().join(".ottla")) {
        let name = file.strip_prefix(root.path()).unwrap().to_owned();
        let is_needed = name.starts_with(".ottla/facts") && name.ends_with("db");
        let gone = refused(&root, &expected, |dir| fs::remove_file(dir.join(&name)).unwrap(), "gone");
        // A half that holds nothing may go.
        let short = |dir: &Path| {
            let bytes = fs::read(dir.join(&name)).unwrap();
            fs::write(dir.join(&name), &bytes[..bytes.len() / 2]).unwrap();
        };
        let short = refused(&root, &expected, short, "short");
        let empty = refused(&root, &expected, |dir| fs::write(dir.join(&name), "").unwrap(), "empty");
        assert!(!is_needed || (gone && empty), "{}: {gone} {short} {empty}", name.display());
    }
    assert!(refused(
        &root,
        &expected,
        |dir| fs::remove_dir_all(dir.join(".ottla/facts")).unwrap(),
        "no facts"
    ));
}

#[test]
fn partitions_without_any_metadata_are_refused_and_not_deleted() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("payments-0")).unwrap();
    let sentence = open(root.path()).err().unwrap().to_string();
    assert!(sentence.contains("payments-0") && sentence.contains("no metadata"), "{sentence}");
    assert!(root.path().join("payments-0").exists());
}

#[test]
fn much_metadata_makes_no_file_that_nobody_syncs() {
    let root = tempfile::tempdir().unwrap();
    let leader = NodeId(1_001);
    let partition = Partition {
        leader,
        epoch: LeaderEpoch(0),
        incarnation: 130,
        replicas: vec![leader],
        isr: vec![leader],
    };
    let id = |n| TopicId([n; 16]);
    let made = (0..40).map(|n| Change::TopicCreated {
        id: id(n),
        name: format!("topic-{n}"),
        partitions: vec![partition.clone(); 1_000],
        configs: BTreeMap::new(),
    });
    let list = |n: u8| BTreeMap::from([("throttled".to_owned(), n.to_string().repeat(160_000))]);
    let store = open(root.path()).unwrap();
    for made in made {
        image::keep(store.facts(), &[made]).unwrap();
    }
    for n in 0..20 {
        image::keep(store.facts(), &[Change::TopicConfigured { id: id(1), configs: list(n % 7) }]).unwrap();
    }
    image::keep(store.facts(), &[Change::TopicDeleted { id: id(3) }]).unwrap();
    let before = known(&store).unwrap();
    store.mark_clean().unwrap();
    drop(store);
    assert_eq!(fs::read_dir(root.path().join(".ottla/facts/blobs")).unwrap().count(), 0);
    let after = known(&open(root.path()).unwrap()).unwrap();
    assert_eq!((after.1.len(), &after.1), (40, &before.1));
}
