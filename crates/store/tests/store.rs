//! A data directory: whose it is, and who may use it; and the facts, in sled and in memory alike.

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::mpsc, thread, time::Duration};

use common::place;
use ottla_host::{Chance, Disk};
use ottla_rules::ids::{LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId, Sequence};
use ottla_rules::partition::transactions::Aborted;
use ottla_rules::producers::{ProducerEntry, RememberedBatch};
use ottla_store::{
    Facts, FactsError, FactsKind, Log, MemoryFacts, OpenError, Store, Unknown,
    facts::{
        aborted,
        checkpoint::{self, Checkpoint},
        epochs, producers,
    },
};

fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open(Disk::machine(), dir.to_owned(), FactsKind::Sled, Chance::machine())
}

#[test]
fn a_directory_keeps_its_identity() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("new/data");
    let store = open(&dir).unwrap();
    assert!(!store.was_clean());
    store.claim(NodeId(4)).unwrap();
    store.mark_clean().unwrap();
    let identity = store.identity();
    assert_eq!(identity.cluster.len(), 22);
    drop(store);

    let store = open(&dir).unwrap();
    assert_eq!(store.identity(), identity);
    assert!(store.was_clean());
    let refused = store.claim(NodeId(5)).unwrap_err();
    assert!(refused.to_string().contains("belongs to node 4, not to node 5"), "{refused}");
    store.claim(NodeId(4)).unwrap();
    store.mark_dirty().unwrap();
    drop(store);
    assert!(!open(&dir).unwrap().was_clean());
}

#[test]
fn what_was_just_closed_is_opened_as_soon_as_the_threads_of_its_store_let_go() {
    let (disk, root) = (Disk::machine(), tempfile::tempdir().unwrap());
    let store = open(root.path()).unwrap();
    store.claim(NodeId(4)).unwrap();
    drop(store);
    let held = disk.lock_within(root.path().join(".ottla/facts/db"), Duration::from_secs(10)).unwrap();
    let (opening, is_opening) = mpsc::channel();
    let holder = thread::spawn(move || {
        is_opening.recv().unwrap();
        // As long as a thread of sled may take, and longer than an opening that does not wait.
        thread::sleep(Duration::from_millis(50));
        drop(held);
    });
    opening.send(()).unwrap();
    assert_eq!(open(root.path()).unwrap().identity().node, Some(NodeId(4)));
    holder.join().unwrap();
}

#[test]
fn one_process_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path()).unwrap();
    let refused = open(root.path()).err().unwrap();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(store);
    open(root.path()).unwrap();
}

#[test]
fn a_newer_format_is_refused() {
    let root = tempfile::tempdir().unwrap();
    drop(open(root.path()).unwrap());
    fs::write(root.path().join(".ottla/format"), "2\n").unwrap();
    let refused = open(root.path()).err().unwrap();
    assert!(
        refused.to_string().contains("has format \"2\", this version knows formats up to 1"),
        "{refused}"
    );
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "x").unwrap();
    let refused = open(&file.join("data")).err().unwrap();
    assert!(refused.to_string().starts_with("the data directory "), "{refused}");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write everywhere.
    if fs::write(root.path().join("probe"), "x").is_err() {
        assert!(matches!(open(root.path()), Err(OpenError::NotUsable { .. })));
    }
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

/// A producer with a transaction open.
fn producer() -> ProducerEntry {
    ProducerEntry {
        id: ProducerId(7),
        epoch: ProducerEpoch(2),
        last_write_ms: 55,
        next_sequence: Sequence(9),
        batches: vec![RememberedBatch {
            base: Offset(40),
            base_sequence: Sequence(8),
            last_offset_delta: 0,
            timestamp: 54,
        }],
        coordinator_epoch: 3,
        open_since: Some(Offset(40)),
    }
}

/// The nth of many aborted transactions.
fn aborted_row(n: i64) -> Aborted {
    Aborted {
        producer: ProducerId(n % 3),
        first: Offset(n * 10),
        last: Offset(n * 10 + 5),
        stable: Offset(n * 10 + 6),
    }
}

/// The promises of the facts, for whichever keeps them.
fn keeps_facts(kind: &FactsKind, dir: &Path) {
    let id = place().id;
    let producer = producer();
    let rows = |rows: &[(i32, i64)]| -> Vec<_> {
        rows.iter().map(|(epoch, start)| (LeaderEpoch(*epoch), Offset(*start))).collect()
    };
    let known = Checkpoint { recovery_point: Offset(41), log_start: Offset(3) };
    {
        let facts = Facts::open(kind.clone(), &Disk::machine(), dir).unwrap();
        assert_eq!(checkpoint::get(&facts, id).unwrap(), None);
        checkpoint::put(&facts, id, known).unwrap();
        producers::put(&facts, id, Offset(41), std::slice::from_ref(&producer)).unwrap();
        epochs::replace(&facts, id, &rows(&[(0, 0), (3, 10), (256, 20)])).unwrap();
        epochs::replace(&facts, id, &rows(&[(3, 12), (256, 20)])).unwrap();
        assert!(aborted::is_empty(&facts, id).unwrap());
        (0..200).for_each(|n| aborted::put(&facts, id, aborted_row(n)).unwrap());
        facts.put(b"x/1", b"one").unwrap();
        facts.put(b"x/2", b"").unwrap();
        facts.put(b"y", b"other").unwrap();
        facts.remove(b"not there").unwrap();
        facts.flush().unwrap();
    }
    let facts = Facts::open(kind.clone(), &Disk::machine(), dir).unwrap();
    assert_eq!(checkpoint::get(&facts, id).unwrap(), Some(known));
    assert_eq!(producers::get(&facts, id).unwrap(), Some((Offset(41), vec![producer])));
    assert_eq!(epochs::get(&facts, id).unwrap(), rows(&[(3, 12), (256, 20)]));
    let within = |from, upto| {
        let rows = aborted::within(&facts, id, Offset(from), Offset(upto)).unwrap();
        rows.iter().map(|row| row.last.0 / 10).collect::<Vec<_>>()
    };
    assert_eq!(within(106, 127), [11, 12, 13], "up to the row after which none can matter");
    assert_eq!(within(0, i64::MAX), (0..200).collect::<Vec<_>>());
    aborted::forget_before(&facts, id, Offset(105)).unwrap();
    aborted::forget_from(&facts, id, Offset(1915)).unwrap();
    assert_eq!(within(0, i64::MAX), (10..191).collect::<Vec<_>>());
    aborted::remove(&facts, id).unwrap();
    assert!(aborted::is_empty(&facts, id).unwrap());
    let listed = [(b"x/1".to_vec(), b"one".to_vec()), (b"x/2".to_vec(), vec![])];
    assert_eq!(facts.scan_prefix(b"x/").unwrap(), listed);
    facts.remove_prefix(b"x/").unwrap();
    assert_eq!(facts.scan_prefix(b"x/").unwrap(), []);
    assert_eq!(facts.get(b"y").unwrap().as_deref(), Some(&b"other"[..]));

    // What was asked for earlier may come later.
    let advance = |recovery_point, log_start| {
        let checkpoint = Checkpoint { recovery_point: Offset(recovery_point), log_start: Offset(log_start) };
        checkpoint::advance(&facts, id, checkpoint).unwrap();
        let now = checkpoint::get(&facts, id).unwrap().unwrap();
        (now.recovery_point.0, now.log_start.0)
    };
    assert_eq!(advance(50, 1), (50, 3), "a start never moves back");
    assert_eq!(advance(40, 7), (50, 7), "nor does a recovery point");
    thread::scope(|threads| {
        threads.spawn(|| assert!((51..1000).all(|point| advance(point, 0).0 == point)));
        threads.spawn(|| assert!((8..900).all(|start| advance(0, start).1 == start)));
    });
    assert_eq!(advance(0, 0), (999, 899), "whoever else moves the other");
    let key = facts.scan_prefix(b"c/").unwrap()[0].0.clone();
    for spoiled in [&b""[..], b"\x09", b"\x01short", b"\x01sixteen bytes and then some"] {
        facts.put(&key, spoiled).unwrap();
        let error = checkpoint::get(&facts, id).unwrap_err();
        assert!(matches!(error, FactsError::Damaged { .. }), "{error}");
    }
}

#[test]
fn sled_keeps_facts() {
    let root = tempfile::tempdir().unwrap();
    keeps_facts(&FactsKind::Sled, root.path());
}

#[test]
fn memory_keeps_facts() {
    keeps_facts(&FactsKind::Memory(MemoryFacts::new()), Path::new("unused"));
}

#[test]
fn a_crash_takes_a_tail_of_what_was_not_flushed() {
    for draw in 0..8 {
        let memory = MemoryFacts::new();
        let facts =
            Facts::open(FactsKind::Memory(memory.clone()), &Disk::machine(), Path::new("unused")).unwrap();
        facts.put(b"a", b"safe").unwrap();
        facts.flush().unwrap();
        for key in [b"b", b"c", b"d"] {
            facts.put(key, b"unsafe").unwrap();
        }
        memory.crash(draw);
        let left = facts.scan_prefix(b"").unwrap().len();
        assert_eq!(left, 1 + draw as usize % 4);
        assert!(facts.get(b"a").unwrap().is_some());
    }
}

#[test]
fn on_a_full_disk_a_deleted_partition_makes_room_and_is_forgotten_later() {
    let all = common::batches(0, 4, 40);
    for has_owner in [true, false] {
        let (dir, facts) = common::written(&all, 2, &common::config());
        let store = common::open(dir.path(), &facts);
        facts.set_full(true);
        if has_owner {
            facts.set_full(false);
            let (log, _) = Log::recover(&store, place(), common::config(), common::NOTHING).unwrap();
            facts.set_full(true);
            log.remove().unwrap().unlink().unwrap();
        } else {
            store.remove(&place()).unwrap();
        }
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [".ottla"], "has an owner: {has_owner}");
        facts.set_full(false);
        drop(store);

        let store = common::open(dir.path(), &facts);
        assert!(checkpoint::get(store.facts(), place().id).unwrap().is_some());
        store.forget_unknown(|_| true).unwrap();
        assert!(checkpoint::get(store.facts(), place().id).unwrap().is_some(), "it is known");
        store.forget_unknown(|_| false).unwrap();
        for kind in [b"c/", b"e/", b"p/"] {
            assert!(store.facts().scan_prefix(kind).unwrap().is_empty(), "has an owner: {has_owner}");
        }
    }
}

#[test]
fn what_the_metadata_never_knew_is_put_aside_and_what_it_has_deleted_is_removed() {
    let all = common::batches(0, 4, 40);
    for has_checkpoint in [true, false] {
        let (dir, facts) = common::written(&all, 2, &common::config());
        // Without: the metadata of a copy, put back under a topic that is younger.
        let facts = if has_checkpoint { facts } else { common::facts_of_before() };
        let store = common::open(dir.path(), &facts);
        assert_eq!(store.remove_unknown(|_, _| true).unwrap(), Unknown::default());

        let found = store.remove_unknown(|_, _| false).unwrap();

        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> =
            names.filter(|name| name != ".ottla").map(|name| name.into_string().unwrap()).collect();
        assert_eq!(found.removed.len(), usize::from(has_checkpoint));
        assert_eq!(left, found.put_aside[..], "has a checkpoint: {has_checkpoint}");
        for aside in &found.put_aside {
            assert!(aside.starts_with("payments-3.") && aside.ends_with("-stray"), "{aside}");
            assert!(fs::metadata(dir.path().join(aside).join("00000000000000000000.log")).unwrap().len() > 0);
        }
        drop(store);
        let store = common::open(dir.path(), &facts);
        assert_eq!(store.remove_unknown(|_, _| false).unwrap(), Unknown::default(), "not touched any more");
    }
}
