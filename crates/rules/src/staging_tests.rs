use proptest::prelude::*;

use super::*;
use crate::ids::TopicId;

const KIB: u64 = 1024;

fn p(index: i32) -> PartitionId {
    PartitionId { topic: TopicId([7; 16]), index }
}

fn staging(bytes_max: u64) -> Staging {
    Staging::new(StagingLimits::of(bytes_max), &Staging::first_files().collect(), Vec::new())
}

#[test]
fn a_burst_goes_into_one_file_as_far_as_it_fits() {
    let mut staging = staging(KIB * KIB);
    let mut out = vec![];
    let burst = [(p(0), 100 * KIB), (p(1), 100 * KIB), (p(0), 100 * KIB)];

    let first = staging.place(&burst, &mut out);
    let rest = staging.place(&burst[2..], &mut out);

    assert_eq!(first, Some(Place { file: 0, at: 0, lap: 1, sequence: 1, count: 2, begins: true }));
    assert_eq!(rest, Some(Place { file: 1, at: 0, lap: 2, sequence: 3, count: 1, begins: true }));
    assert_eq!(out, []);
}

#[test]
fn a_file_is_used_again_once_everyone_in_it_is_synced_and_it_is_wiped() {
    let mut staging = staging(KIB * KIB);
    let mut out = vec![];
    for n in 0..3 {
        assert!(staging.place(&[(p(n), 200 * KIB)], &mut out).is_some());
    }
    let settle = Chore::Settle { partitions: vec![p(0)], upto: 3 };
    assert_eq!(out, [settle], "two are sealed, one is free: time to settle the oldest");
    out.clear();

    assert!(staging.place(&[(p(3), 200 * KIB)], &mut out).is_some());
    assert_eq!(out, [Chore::Settle { partitions: vec![p(1)], upto: 4 }], "the bound allows no growth");
    out.clear();
    assert_eq!(staging.place(&[(p(0), 200 * KIB)], &mut out), None);
    out.clear();

    staging.settled(p(1), 4, &mut out);
    assert_eq!(out, [], "the oldest goes first");
    staging.settled(p(0), 3, &mut out);
    assert_eq!(out, [Chore::Wipe { file: 0 }]);
    assert_eq!(staging.place(&[(p(0), 200 * KIB)], &mut vec![]), None, "not before it is wiped");
    out.clear();

    staging.wiped(0, &mut out);
    assert_eq!(out, [Chore::Wipe { file: 1 }]);
    let place = staging.place(&[(p(0), 200 * KIB)], &mut vec![]).unwrap();
    assert_eq!((place.file, place.at, place.lap, place.sequence), (0, 0, 5, 5));
}

#[test]
fn the_sync_of_a_segment_settles_every_lap_before_it() {
    let mut staging = staging(KIB * KIB);
    let mut out = vec![];
    for _ in 0..3 {
        assert!(staging.place(&[(p(0), 100 * KIB), (p(1), 100 * KIB)], &mut out).is_some());
    }
    assert_eq!(out, [Chore::Settle { partitions: vec![p(0), p(1)], upto: 5 }], "asked for the oldest");
    out.clear();

    staging.settled(p(0), 5, &mut out);
    staging.settled(p(1), 5, &mut out);
    staging.wiped(0, &mut out);

    assert_eq!(out, [Chore::Wipe { file: 0 }, Chore::Wipe { file: 1 }], "nobody was asked a second time");
}

#[test]
fn files_grow_where_many_partitions_share_them() {
    let mut staging = staging(64 * KIB * KIB);
    let burst: Vec<_> = (0..10).map(|index| (p(index), 20 * KIB)).collect();
    let mut out = vec![];
    for (file, bytes) in [(4, 512 * KIB), (5, 1024 * KIB)] {
        while out.is_empty() {
            assert!(staging.place(&burst, &mut out).is_some());
        }
        assert_eq!(out, [Chore::Grow { file, bytes }]);
        staging.grown(file);
        out.clear();
    }
    while out.is_empty() {
        assert!(staging.place(&burst, &mut out).is_some());
    }
    assert!(
        !out.iter().any(|chore| matches!(chore, Chore::Grow { .. })),
        "a megabyte is enough for ten: {out:?}"
    );
}

#[test]
fn what_was_journaled_after_the_sync_began_keeps_its_lap() {
    let mut staging = staging(KIB * KIB);
    let mut out = vec![];
    assert!(staging.place(&[(p(0), 100 * KIB)], &mut out).is_some());
    assert!(staging.place(&[(p(0), 100 * KIB)], &mut out).is_some());
    assert!(staging.place(&[(p(1), 200 * KIB)], &mut out).is_some());

    staging.settled(p(0), 2, &mut out);

    assert_eq!(out, [], "sequence 2 was not covered");
    staging.settled(p(0), 3, &mut out);
    assert_eq!(out, [Chore::Wipe { file: 0 }]);
}

#[test]
fn it_grows_in_the_background_when_free_files_run_out() {
    let mut staging = staging(64 * KIB * KIB);
    let mut out = vec![];
    for n in 0..3 {
        assert!(staging.place(&[(p(n), 200 * KIB)], &mut out).is_some());
    }
    assert_eq!(
        out.iter().find(|chore| matches!(chore, Chore::Grow { .. })),
        Some(&Chore::Grow { file: 4, bytes: 512 * KIB })
    );
    staging.grown(4);
    assert_eq!(
        staging.place(&[(p(0), 200 * KIB)], &mut out).map(|place| place.file),
        Some(4),
        "the largest is next"
    );
}

#[test]
fn little_stays_unsettled_though_the_journal_has_room() {
    const MIB: u64 = KIB * KIB;
    let files = (0..16).map(|file| (file, 32 * MIB)).collect();
    let mut staging = Staging::new(StagingLimits::of(1024 * MIB), &files, Vec::new());
    let mut out = vec![];
    for _ in 0..2 {
        assert!(staging.place(&[(p(0), 30 * MIB)], &mut out).is_some());
    }
    assert_eq!(out, [], "one lap is sealed");

    assert!(staging.place(&[(p(1), 30 * MIB)], &mut out).is_some());

    assert_eq!(out, [Chore::Settle { partitions: vec![p(0)], upto: 3 }], "of two the older one");
}

#[test]
fn files_stay_small_where_no_entry_needs_more() {
    let files = (0..4).map(|file| (file, 32 * KIB * KIB)).collect();
    let mut staging = Staging::new(StagingLimits::of(1 << 30), &files, Vec::new());
    let mut out = vec![];
    for _ in 0..3 {
        assert!(staging.place(&[(p(0), 30 * KIB * KIB)], &mut out).is_some());
    }
    assert!(out.contains(&Chore::Grow { file: 4, bytes: 32 * KIB * KIB }), "{out:?}");
    staging.grown(4);
    out.clear();

    assert_eq!(staging.place(&[(p(0), 40 * KIB * KIB)], &mut out), None);

    assert!(out.contains(&Chore::Grow { file: 5, bytes: 64 * KIB * KIB }), "{out:?}");
}

#[test]
fn a_large_entry_is_given_a_file_of_its_size_and_a_huge_one_none() {
    let mut staging = staging(64 * KIB * KIB);
    let mut out = vec![];
    assert_eq!(staging.place(&[(p(0), 3 * KIB * KIB)], &mut out), None);
    assert_eq!(out, [Chore::Grow { file: 4, bytes: 4 * KIB * KIB }]);
    staging.grown(4);
    assert!(staging.place(&[(p(0), 3 * KIB * KIB)], &mut out).is_some());
    out.clear();
    assert_eq!(staging.place(&[(p(0), 9 * KIB * KIB)], &mut out), None);
    assert!(!out.iter().any(|chore| matches!(chore, Chore::Grow { .. })), "no file may be so large");
}

#[test]
fn a_full_disk_stops_the_growth_until_space_is_given_back() {
    let mut staging = staging(64 * KIB * KIB);
    let mut out = vec![];
    assert_eq!(staging.place(&[(p(0), KIB * KIB)], &mut out), None);
    staging.not_grown(4);
    out.clear();
    assert_eq!(staging.place(&[(p(0), KIB * KIB)], &mut out), None);
    assert_eq!(out, []);
}

#[test]
fn found_laps_are_given_up_when_their_partitions_have_recovered() {
    let lap = |file, lap, end, who: &[(i32, u64)]| FoundLap {
        file,
        lap,
        end,
        partitions: who.iter().map(|(index, end)| (p(*index), *end)).collect(),
    };
    let found = vec![lap(2, 8, 40, &[(0, 39), (1, 40)]), lap(0, 9, 44, &[(1, 44)])];
    let mut staging = Staging::new(StagingLimits::of(KIB * KIB), &Staging::first_files().collect(), found);
    let mut out = vec![];

    let place = staging.place(&[(p(3), KIB)], &mut out).unwrap();
    assert_eq!(place, Place { file: 1, at: 0, lap: 10, sequence: 44, count: 1, begins: true });
    out.clear();

    staging.settled(p(1), 44, &mut out);
    assert_eq!(out, []);
    staging.forgotten(p(0), &mut out);
    assert_eq!(out, [Chore::Wipe { file: 2 }]);
    staging.wiped(2, &mut out);
    assert_eq!(out, [Chore::Wipe { file: 2 }, Chore::Wipe { file: 0 }]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever order things are reported in: entries of a lap never overlap, sequences have no gap, nothing that
    /// somebody may still need is overwritten, and the bound holds.
    #[test]
    fn nothing_needed_is_overwritten(steps in prop::collection::vec((0..6u8, 0..4i32, 1..300u64), 1..200)) {
        let limits = StagingLimits::of(3 * KIB * KIB);
        let mut staging = Staging::new(limits, &Staging::first_files().collect(), Vec::new());
        let (mut chores, mut next_sequence) = (Vec::new(), 1);
        // Per file: lap, and the entries in it that are not settled.
        let mut needed: BTreeMap<FileNumber, Vec<(PartitionId, u64)>> = BTreeMap::new();
        for (what, who, kib) in steps {
            let mut out = vec![];
            match what {
                0..3 => if let Some(place) = staging.place(&[(p(who), kib * KIB)], &mut out) {
                    prop_assert_eq!(place.sequence, next_sequence);
                    next_sequence += 1;
                    if place.begins {
                        prop_assert!(needed.get(&place.file).is_none_or(Vec::is_empty));
                    }
                    needed.entry(place.file).or_default().push((p(who), place.sequence));
                },
                _ if chores.is_empty() => (),
                _ => match chores.remove(kib as usize % chores.len()) {
                    Chore::Settle { partitions, upto } => for partition in partitions {
                        needed.values_mut().for_each(|entries| entries.retain(|(whose, at)| *whose != partition || *at >= upto));
                        staging.settled(partition, upto, &mut out);
                    },
                    Chore::Wipe { file } => {
                        prop_assert!(needed[&file].is_empty());
                        staging.wiped(file, &mut out);
                    }
                    Chore::Grow { file, .. } if what == 5 => staging.not_grown(file),
                    Chore::Grow { file, .. } => staging.grown(file),
                },
            }
            prop_assert!(staging.bytes() <= limits.bytes_max);
            chores.extend(out);
        }
        // Once all is reported, there is room again.
        while let Some(chore) = chores.pop() {
            match chore {
                Chore::Settle { partitions, upto } => partitions.into_iter().for_each(|who| staging.settled(who, upto, &mut chores)),
                Chore::Wipe { file } => staging.wiped(file, &mut chores),
                Chore::Grow { file, .. } => staging.grown(file),
            }
        }
        let mut out = vec![];
        if staging.place(&[(p(0), KIB)], &mut out).is_none() {
            chores.extend(out);
            prop_assert!(!chores.is_empty(), "stuck");
        }
    }
}
