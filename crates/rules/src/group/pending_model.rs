//! Any order of commits, markers and deletions, in the log in any order that may be: what is known is what the log says.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    pending_tests::commit_in,
    tests::{Entry, World, commit, config},
    *,
};

#[derive(Clone, Debug)]
enum Event {
    Commit(i32, i64),
    CommitIn(i64, i32, i64),
    End(i64, bool),
    DeleteOffsets(i32),
    Delete,
    Expire,
    Pass(u64),
    /// One of those that may be the next in the log is, or is not written at all.
    Settle(usize, bool),
    /// One of those on their way takes too long.
    Late(usize),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let (producer, partition, offset) = (1..4i64, 0..3i32, 0..100i64);
    prop_oneof![
        2 => (partition.clone(), offset.clone()).prop_map(|(partition, offset)| Event::Commit(partition, offset)),
        4 => (producer.clone(), partition.clone(), offset)
            .prop_map(|(producer, partition, offset)| Event::CommitIn(producer, partition, offset)),
        2 => (producer, any::<bool>()).prop_map(|(producer, commit)| Event::End(producer, commit)),
        1 => partition.prop_map(Event::DeleteOffsets),
        1 => Just(Event::Delete),
        1 => Just(Event::Expire),
        1 => prop_oneof![Just(1), Just(600), Just(1_200)].prop_map(Event::Pass),
        6 => (0..6usize, prop::bool::weighted(0.9)).prop_map(|(which, good)| Event::Settle(which, good)),
        1 => (0..6usize).prop_map(Event::Late),
        1 => Just(Event::Restart),
    ]
}

/// Those without a transaction stand in the log in their order; every one with a transaction goes its own way.
fn settle(world: &mut World, which: usize, good: bool) {
    let first_plain = world.writing.iter().position(|writing| writing.producer.is_none());
    let may_be_next = |at: &usize| Some(*at) == first_plain || world.writing[*at].producer.is_some();
    let next: Vec<_> = (0..world.writing.len()).filter(may_be_next).collect();
    if !next.is_empty() {
        let result = if good { Ok(()) } else { Err(WriteError::NotAvailable) };
        world.settle_one(next[which % next.len()], result);
    }
}

/// What the log says, read the slow way: for each partition the last record that counts.
fn by_the_log(log: &[Entry]) -> BTreeMap<i32, i64> {
    let ended = |at: usize, by: ProducerId| {
        log[at..].iter().find_map(|entry| match entry {
            Entry::Marker(producer, commit) if *producer == by => Some(*commit),
            Entry::Marker(..) | Entry::Record(..) => None,
        })
    };
    let mut says = BTreeMap::new();
    for (at, entry) in log.iter().enumerate() {
        let Entry::Record(record, producer) = entry else { continue };
        let GroupRecord::Offset { partition, value, .. } = &**record else { continue };
        match (value, producer) {
            (None, _) => drop(says.remove(partition)),
            (Some(value), None) => drop(says.insert(*partition, value.offset)),
            (Some(value), Some(by)) if ended(at, *by) == Some(true) => {
                says.insert(*partition, value.offset);
            }
            (Some(_), Some(_)) => (),
        }
    }
    says
}

/// Which partitions are held by a transaction that has not ended.
fn held_by_the_log(log: &[Entry]) -> BTreeSet<i32> {
    let mut held: BTreeSet<(ProducerId, i32)> = BTreeSet::new();
    for entry in log {
        let (record, by) = match entry {
            Entry::Marker(by, _) => {
                held.retain(|(producer, _)| producer != by);
                continue;
            }
            Entry::Record(record, by) => (record, by),
        };
        match (&**record, by) {
            (GroupRecord::Offset { partition, value: None, .. }, _) => held.retain(|(_, it)| it != partition),
            (GroupRecord::Offset { partition, .. }, Some(by)) => drop(held.insert((*by, *partition))),
            _ => (),
        }
    }
    held.into_iter().map(|(_, partition)| partition).collect()
}

fn known(group: &Group<&str>) -> BTreeMap<i32, i64> {
    let offset = |(topic, partition)| (partition, group.offsets.get(topic, partition).unwrap().offset);
    group.offsets.iter().map(offset).collect()
}

fn held(group: &Group<&str>) -> BTreeSet<i32> {
    group.pending.iter().map(|(_, partition)| partition).collect()
}

proptest! {
    #[test]
    fn what_is_known_is_what_the_log_says(events in prop::collection::vec(event(), 1..80)) {
        let mut world = World::with(GroupConfig { retention_ms: 1_000, ..config() });
        world.slow = true;
        let (mut asked, mut lost) = (0, 0);
        for event in events {
            match event {
                Event::Commit(partition, offset) => {
                    asked += 1;
                    world.ask("tool", commit("", -1, partition, offset));
                }
                Event::CommitIn(producer, partition, offset) => {
                    asked += 1;
                    world.ask("tool", commit_in(ProducerId(producer), partition, offset));
                }
                Event::End(producer, commit) => world.mark(ProducerId(producer), commit),
                Event::DeleteOffsets(partition) => {
                    asked += 1;
                    world.ask("tool", Ask::DeleteOffsets { topics: vec![("t".into(), partition)] });
                }
                Event::Delete => {
                    asked += 1;
                    world.ask("tool", Ask::Delete);
                }
                Event::Expire => world.step(|group, now, out| group.expire(now, out)),
                Event::Pass(ms) => world.pass(ms),
                Event::Settle(which, good) => settle(&mut world, which, good),
                Event::Late(_) if world.writing.is_empty() => (),
                Event::Late(which) => world.late(which % world.writing.len()),
                Event::Restart => {
                    lost = asked - world.answers.len();
                    world.writing.clear();
                    world.group = world.rebuilt();
                }
            }
            prop_assert_eq!(known(&world.group), known(&world.rebuilt()));
            prop_assert_eq!(held(&world.group), held_by_the_log(&world.log));
            prop_assert_eq!(known(&world.group), by_the_log(&world.log));
        }
        while !world.writing.is_empty() {
            settle(&mut world, 0, true);
        }
        prop_assert_eq!(world.answers.len() + lost, asked, "somebody still waits, or was answered twice");
        for producer in 1..4 {
            world.mark(ProducerId(producer), false);
        }
        prop_assert!(held(&world.group).is_empty());
    }
}
