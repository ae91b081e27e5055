//! The log on a disk that forgets what was not synced, tears writes, and is full.

mod common;

use std::path::PathBuf;

use common::{NOTHING, batch, batches, bytes_of, config, place, read_all, sync};
use ottla_host::{Fault, Host, SimWorld};
use ottla_rules::{
    batch::Stamped,
    ids::{LeaderEpoch, Offset},
};
use ottla_store::{
    FactsKind, Log, LogError, MemoryFacts, Recovered, Store,
    journal::entry::{EntryKind, JournalEntry},
};

struct Node {
    world: SimWorld,
    facts: MemoryFacts,
    store: Store,
    log: Log,
}

impl Node {
    fn new(seed: u64) -> Self {
        let (world, facts) = (SimWorld::new(seed), MemoryFacts::new());
        let store = open(&world, &facts);
        let log = Log::create(&store, place(), config());
        Self { world, facts, store, log }
    }

    /// The power goes, and comes back.
    fn crash(self, draw: u64, journal: Vec<JournalEntry>) -> Result<(Self, Recovered), LogError> {
        let Self { world, facts, store, log } = self;
        drop((store, log));
        world.disk().crash();
        facts.crash(draw);
        let store = open(&world, &facts);
        let (log, recovered) = Log::recover(&store, place(), config(), journal)?;
        Ok((Self { world, facts, store, log }, recovered))
    }
}

fn open(world: &SimWorld, facts: &MemoryFacts) -> Store {
    let host = Host::simulated(world);
    Store::open(host.disk, PathBuf::from("/data"), FactsKind::Memory(facts.clone()), host.chance).unwrap()
}

fn journal_of(batches: &[Stamped]) -> Vec<JournalEntry> {
    let entry = |batch: &Stamped| JournalEntry {
        partition: place().id,
        epoch: LeaderEpoch(0),
        kind: EntryKind::Append { base: batch.base, bytes: batch.bytes.clone() },
        lap: 1,
        sequence: batch.base.0 as u64,
        file: 0,
        at: 0,
    };
    batches.iter().map(entry).collect()
}

#[test]
fn a_power_cut_takes_nothing_that_was_synced_and_leaves_no_hole() {
    for seed in 0..200 {
        let all = batches(0, 80, 40);
        let mut node = Node::new(seed);
        let synced = (seed % 60) as usize;
        node.log.append(&all[..synced]).unwrap();
        sync(&node.store, &mut node.log);
        node.log.append(&all[synced..70]).unwrap();

        let (mut node, recovered) = node.crash(seed, NOTHING).unwrap();
        let kept = recovered.end.0 as usize / 2;
        assert!((synced..=70).contains(&kept), "seed {seed}: {kept} of {synced}");
        assert_eq!(read_all(&node.log, Offset(0), 500), bytes_of(&all[..kept]), "seed {seed}");

        // And again, over what the first crash left behind.
        node.log.append(&all[kept..]).unwrap();
        let (node, recovered) = node.crash(seed / 3, NOTHING).unwrap();
        let kept = recovered.end.0 as usize / 2;
        assert!(kept >= synced, "seed {seed}: {kept} of {synced} after the second");
        assert_eq!(read_all(&node.log, Offset(0), 500), bytes_of(&all[..kept]), "seed {seed}");
    }
}

#[test]
fn with_the_journal_a_power_cut_takes_nothing_at_all() {
    for seed in 0..200 {
        let all = batches(0, 70, 40);
        let mut node = Node::new(seed);
        let synced = (seed % 60) as usize;
        node.log.append(&all[..synced]).unwrap();
        sync(&node.store, &mut node.log);
        node.log.append(&all[synced..]).unwrap();

        // The journal may reach back behind what was synced: its space is recycled late.
        let journal = journal_of(&all[synced.saturating_sub(seed as usize % 7)..]);
        let (node, recovered) = node.crash(seed, journal.clone()).unwrap();
        assert_eq!(recovered.end, Offset(140), "seed {seed}");
        assert_eq!(read_all(&node.log, Offset(0), 500), bytes_of(&all), "seed {seed}");
        let (_, again) = node.crash(seed, journal).unwrap();
        assert_eq!(again.end, Offset(140), "seed {seed}, a crash during recovery");
    }
}

#[test]
fn deleted_segments_stay_deleted_and_the_end_stays_where_it_was() {
    for seed in 0..100 {
        let all = batches(0, 60, 40);
        let mut node = Node::new(seed);
        node.log.append(&all).unwrap();
        node.log.roll(Offset(120)).unwrap();
        sync(&node.store, &mut node.log);
        let doomed = node.log.delete_segments(Offset(120)).unwrap();
        doomed.mark().unwrap();
        doomed.unlink().unwrap();
        let (_, recovered) = node.crash(seed, NOTHING).unwrap();
        assert_eq!((recovered.log_start, recovered.end), (Offset(120), Offset(120)), "seed {seed}");
    }
}

#[test]
fn on_a_full_disk_a_burst_is_cut_back_whole() {
    for room in (0..4_000).step_by(97) {
        let all = batches(0, 60, 40);
        let mut node = Node::new(room);
        node.log.append(&all[..10]).unwrap();
        node.world.disk().break_below("/data/payments-3", Fault::NoSpaceAfter(room));
        let before = node.log.end();
        assert!(node.log.append(&all[10..]).is_err());
        assert_eq!(node.log.end(), before);
        assert_eq!(read_all(&node.log, Offset(0), 500), bytes_of(&all[..10]), "room for {room}");

        node.world.disk().heal();
        node.log.append(&all[10..]).unwrap();
        assert_eq!(read_all(&node.log, Offset(0), 500), bytes_of(&all), "room for {room}");
        sync(&node.store, &mut node.log);
        let (node, recovered) = node.crash(room, NOTHING).unwrap();
        assert_eq!((recovered.end, recovered.cut), (Offset(120), None));
        assert_eq!(read_all(&node.log, Offset(0), 500), bytes_of(&all), "room for {room}");
    }
}

#[test]
fn what_was_refused_does_not_come_back_after_a_kill() {
    for room in (0..4_000).step_by(97) {
        let all = batches(0, 60, 40);
        let mut node = Node::new(room);
        node.log.append(&all[..10]).unwrap();
        node.world.disk().break_below("/data/payments-3", Fault::NoSpaceAfter(room));
        assert!(node.log.append(&all[10..]).is_err());

        let Node { world, facts, store, log } = node;
        drop((store, log));
        world.disk().heal();
        let store = open(&world, &facts);
        let (log, found) = Log::recover(&store, place(), config(), NOTHING).unwrap();
        assert_eq!((found.end, found.cut), (Offset(20), None), "room for {room}");
        assert_eq!(read_all(&log, Offset(0), 500), bytes_of(&all[..10]), "room for {room}");
    }
}

#[test]
fn a_segment_of_a_refused_burst_that_cannot_be_removed_is_empty_and_in_nobodys_way() {
    for (n, is_killed) in (4..16).flat_map(|n| [(n, true), (n, false)]) {
        // The same offsets in smaller batches: they have room where the burst had none.
        let (all, others) = (batches(0, 40, 40), batches(2 * n as i64, 50, 1));
        let mut node = Node::new(n as u64);
        node.log.append(&all[..n]).unwrap();
        sync(&node.store, &mut node.log);
        node.world.disk().break_below("/data/payments-3", Fault::NoSpaceAfter(2_500));
        node.world.disk().break_below("/data/payments-3", Fault::FailRemoves);
        assert!(node.log.append(&all[n..]).is_err());
        if is_killed {
            node.world.disk().heal();
            let Node { world, facts, store, log } = node;
            drop((store, log));
            let (_, found) = Log::recover(&open(&world, &facts), place(), config(), NOTHING).unwrap();
            assert_eq!(found.end, Offset(2 * n as i64), "{n}");
            continue;
        }
        assert!(node.log.append(&others).is_err(), "it would be in the way");
        node.world.disk().heal();
        node.log.append(&others).unwrap();
        let expected = [bytes_of(&all[..n]), bytes_of(&others)].concat();
        sync(&node.store, &mut node.log);
        let (node, found) = node.crash(n as u64, NOTHING).unwrap();
        assert_eq!((found.end, found.cut), (Offset(2 * n as i64 + 100), None), "{n}");
        assert!(read_all(&node.log, Offset(0), 500) == expected, "{n}");
    }
}

/// Writes all of a burst ahead that can be.
fn write_ahead(log: &mut Log, burst: &[Stamped], bytes_max: usize) -> Result<(), LogError> {
    while log.write_ahead(burst, bytes_max)? {}
    Ok(())
}

#[test]
fn a_power_cut_while_a_burst_is_written_in_pieces_leaves_whole_batches() {
    for seed in 0..200 {
        let all = batches(0, 60, 40);
        let mut node = Node::new(seed);
        let synced = (seed % 40) as usize;
        node.log.append(&all[..synced]).unwrap();
        sync(&node.store, &mut node.log);
        write_ahead(&mut node.log, &all[synced..], 50 + seed as usize).unwrap();
        assert_eq!(node.log.end(), Offset(2 * synced as i64), "nobody is told");

        let (mut node, recovered) = node.crash(seed, NOTHING).unwrap();
        let kept = recovered.end.0 as usize / 2;
        assert!(kept >= synced, "seed {seed}: {kept} of {synced}");
        assert_eq!(read_all(&node.log, Offset(0), 500), bytes_of(&all[..kept]), "seed {seed}");
        node.log.append(&all[kept..]).unwrap();
        assert_eq!(read_all(&node.log, Offset(0), 500), bytes_of(&all), "seed {seed}");
    }
}

#[test]
fn on_a_full_disk_what_was_written_ahead_is_cut_back_and_others_may_take_its_place() {
    let mut refused = 0;
    for room in (0..4_000).step_by(97) {
        let all = batches(0, 60, 40);
        // Other batches with the same offsets.
        let others = batches(20, 30, 33);
        let mut node = Node::new(room);
        node.log.append(&all[..10]).unwrap();
        node.world.disk().break_below("/data/payments-3", Fault::NoSpaceAfter(room));
        let written = write_ahead(&mut node.log, &all[10..], 300).and_then(|()| node.log.append(&all[10..]));
        refused += usize::from(written.is_err());
        assert_eq!(read_all(&node.log, Offset(0), 500), bytes_of(&all[..10]), "room for {room}");

        node.world.disk().heal();
        node.log.append(&others).unwrap();
        let expected = [bytes_of(&all[..10]), bytes_of(&others)].concat();
        assert_eq!(read_all(&node.log, Offset(0), 500), expected, "room for {room}");
        sync(&node.store, &mut node.log);
        let (node, _) = node.crash(room, NOTHING).unwrap();
        assert_eq!(read_all(&node.log, Offset(0), 500), expected, "room for {room}");
    }
    assert_eq!(refused, 42, "no room is large enough");
}

#[test]
fn what_was_written_ahead_and_refused_does_not_come_back_in_place_of_what_was_acknowledged() {
    for seed in 0..200 {
        let (all, others) = (batches(0, 40, 40), batches(8, 12, 40 - seed as usize % 3));
        let mut node = Node::new(seed);
        node.log.append(&all[..4]).unwrap();
        // A sync for the journal begins, a part of a burst is written meanwhile and is on the disk with the rest.
        let point = node.log.sync_point().unwrap();
        assert!(node.log.write_ahead(&all[4..], 500).unwrap());
        point.sync().unwrap();
        point.checkpoint(&[], &[(LeaderEpoch(0), Offset(0))]).unwrap();
        node.log.synced(point.end());
        node.world.disk().break_below("/data/payments-3", Fault::NoSpaceAfter(0));
        assert!(write_ahead(&mut node.log, &all[4..], 500).is_err());

        node.world.disk().heal();
        node.log.append(&others).unwrap();
        let (node, _) = node.crash(seed, journal_of(&others)).unwrap();
        let expected = [bytes_of(&all[..4]), bytes_of(&others)].concat();
        assert!(read_all(&node.log, Offset(0), 500) == expected, "seed {seed}");
    }
}

#[test]
fn a_segment_whose_times_had_no_room_for_a_while_is_as_young_as_its_youngest_record() {
    for is_over_when_it_is_closed in [true, false] {
        let all = batches(0, 11, 40);
        let mut node = Node::new(1);
        node.log.append(&all[..4]).unwrap();
        sync(&node.store, &mut node.log);
        node.log.append(&all[4..]).unwrap();
        let times = "/data/payments-3/00000000000000000000.timeindex";
        node.world.disk().break_below(times, Fault::NoSpaceAfter(0));
        node.log.sync_point().unwrap().sync().unwrap();
        if is_over_when_it_is_closed {
            node.world.disk().heal();
        }
        node.log.roll(Offset(22)).unwrap();
        node.world.disk().heal();
        sync(&node.store, &mut node.log);

        let youngest = |log: &Log| log.segments()[0].max_timestamp;
        assert_eq!(youngest(&node.log), 201);
        let (node, _) = node.crash(1, NOTHING).unwrap();
        assert_eq!(youngest(&node.log), 201, "{is_over_when_it_is_closed}");
    }
}

#[test]
fn a_segment_without_times_for_want_of_room_is_read_whole_for_its_largest() {
    let mut node = Node::new(1);
    // The largest is far from the end, behind which the indexes would say nothing.
    let all: Vec<_> = (0..11).map(|n| batch(2 * n, 2, 40, if n == 2 { 9_000 } else { 1_000 + n })).collect();
    node.log.append(&all).unwrap();
    let times = "/data/payments-3/00000000000000000000.timeindex";
    node.world.disk().break_below(times, Fault::NoSpaceAfter(0));
    node.log.roll(Offset(22)).unwrap();
    node.world.disk().heal();
    sync(&node.store, &mut node.log);
    assert_eq!(node.log.segments()[0].max_timestamp, 9_001);
    let (node, _) = node.crash(1, NOTHING).unwrap();
    assert_eq!(node.log.segments()[0].max_timestamp, 9_001);
}

#[test]
fn a_failed_sync_moves_nothing() {
    let mut node = Node::new(1);
    node.log.append(&batches(0, 5, 40)).unwrap();
    let point = node.log.sync_point().unwrap();
    node.world.disk().break_below("/data/payments-3", Fault::FailNextSync);
    assert!(point.sync().is_err());
    assert_eq!(node.log.recovery_point(), Offset(0));
}

#[test]
fn an_index_is_synced_when_it_has_changed_and_only_then() {
    let mut node = Node::new(1);
    let index = |base: i64, part: &str| format!("/data/payments-3/{base:020}.{part}");
    let broken = |world: &SimWorld, base| {
        world.disk().heal();
        world.disk().break_below(index(base, "index"), Fault::FailNextSync);
        world.disk().break_below(index(base, "timeindex"), Fault::FailNextSync);
    };
    node.log.append(&[batch(0, 1, 10, 0)]).unwrap();
    broken(&node.world, 0);
    node.log.sync_point().unwrap().sync().expect("the files of its indexes are empty, and new");
    node.log.append(&[batch(1, 1, 10, 0)]).unwrap();
    node.log.sync_point().unwrap().sync().expect("there is no entry yet");
    node.log.append(&batches(2, 4, 40)).unwrap();
    assert!(node.log.sync_point().unwrap().sync().is_err(), "there are entries");

    let mut node = Node::new(2);
    node.log.append(&[batch(0, 1, 10, 7)]).unwrap();
    node.log.sync_point().unwrap().sync().unwrap();
    node.log.roll(node.log.end()).unwrap();
    broken(&node.world, 0);
    assert!(node.log.sync_point().unwrap().sync().is_err(), "the time index has got its last entry");
    node.log.append(&[batch(1, 1, 10, 8)]).unwrap();
    broken(&node.world, 1);
    node.log.sync_point().unwrap().sync().expect("the new segment's indexes are empty");
}
