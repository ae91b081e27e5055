//! What was acknowledged is there after any crash, and nothing that was not written is.

use ottla_host::{Fault, Host, SimWorld};
use ottla_rules::ids::{LeaderEpoch, Offset, TopicId};
use proptest::prelude::*;

use super::{
    entry::{Entry, EntryKind},
    *,
};

const KIB: usize = 1024;

struct Bench {
    world: SimWorld,
    limits: StagingLimits,
    runs: u64,
}

impl Bench {
    fn new(seed: u64, bytes_max: u64) -> Self {
        Self { world: SimWorld::new(seed), limits: StagingLimits::of(bytes_max), runs: 0 }
    }

    fn disk(&self) -> Disk {
        Host::simulated(&self.world).disk
    }

    fn try_open(&mut self) -> Result<(Journal, Vec<JournalEntry>), JournalError> {
        self.runs += 1;
        Journal::open(self.disk(), "/data/journal".into(), self.limits, self.runs)
    }

    fn open(&mut self) -> (Journal, Vec<JournalEntry>) {
        self.try_open().unwrap()
    }

    fn crash(&self) {
        self.world.disk().crash();
    }

    /// Flips a byte of a journal file, on the platter.
    fn spoil(&self, number: FileNumber, at: u64) {
        let file = self
            .disk()
            .open(file::path(Path::new("/data/journal"), number), ottla_host::OpenMode::Write)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.pwrite_all(&[!byte[0]], at).unwrap();
        file.sync_data().unwrap();
    }
}

fn p(index: i32) -> PartitionId {
    PartitionId { topic: TopicId([9; 16]), index }
}

/// An append of partition `who`; `what` fills its bytes.
fn entry(who: i32, what: u8, len: usize) -> Entry {
    let kind = EntryKind::Append { base: Offset(i64::from(what)), bytes: vec![what; len].into() };
    Entry { partition: p(who), epoch: LeaderEpoch(3), kind }
}

fn write(journal: &mut Journal, burst: &[Entry]) -> Vec<Need> {
    let mut needs = vec![];
    let staged = journal.append(burst, &mut needs).unwrap();
    assert_eq!(staged.count, burst.len());
    staged.file.unwrap().sync_data().unwrap();
    needs
}

fn contents(found: Vec<JournalEntry>) -> Vec<Entry> {
    found
        .into_iter()
        .map(|JournalEntry { partition, epoch, kind, .. }| Entry { partition, epoch, kind })
        .collect()
}

/// Does everything that is needed until nothing is.
fn serve(journal: &mut Journal, mut needs: Vec<Need>) {
    while let Some(need) = needs.pop() {
        match need {
            Need::Settle { partitions, upto } => {
                for partition in partitions {
                    journal.settled(partition, upto, &mut needs);
                }
            }
            Need::Run(job) => journal.done(job.run(), &mut needs).unwrap(),
        }
    }
}

#[test]
fn what_was_synced_is_found_in_order_after_a_power_cut() {
    let mut bench = Bench::new(1, 1 << 20);
    let (mut journal, found) = bench.open();
    assert_eq!(found, []);
    let start =
        Entry { partition: p(1), epoch: LeaderEpoch(3), kind: EntryKind::MoveStart { to: Offset(5) } };
    let cut = Entry { kind: EntryKind::Truncate { to: Offset(7) }, ..start.clone() };
    let burst = [entry(0, 1, 100), start, entry(1, 2, 0), cut];
    write(&mut journal, &burst);

    bench.crash();

    assert_eq!(contents(bench.open().1), burst);
}

#[test]
fn the_same_files_are_used_again_for_ever() {
    let mut bench = Bench::new(2, 1 << 20);
    let (mut journal, _) = bench.open();
    for n in 0..100 {
        let needs = write(&mut journal, &[entry(0, n, 100 * KIB)]);
        serve(&mut journal, needs);
    }
    assert_eq!(journal.bytes(), 1 << 20);
    bench.crash();

    let found = contents(bench.open().1);

    let first = 100 - found.len() as u8;
    assert!(found.len() < 10, "old laps are given up");
    assert_eq!(
        found,
        (first..100).map(|n| entry(0, n, 100 * KIB)).collect::<Vec<_>>(),
        "no stale entry is among them"
    );
}

#[test]
fn a_torn_end_ends_the_journal() {
    let mut bench = Bench::new(3, 1 << 20);
    let (mut journal, _) = bench.open();
    write(&mut journal, &[entry(0, 1, 1000), entry(0, 2, 1000), entry(0, 3, 1000)]);

    bench.spoil(0, 1_500);

    assert_eq!(
        contents(bench.open().1),
        [entry(0, 1, 1000)],
        "what follows the torn entry has no order any more"
    );
}

#[test]
fn a_hole_before_the_end_is_named_and_not_guessed_at() {
    let mut bench = Bench::new(4, 1 << 20);
    let (mut journal, _) = bench.open();
    write(&mut journal, &[entry(0, 1, 1000), entry(0, 2, 200 * KIB)]);
    write(&mut journal, &[entry(0, 3, 200 * KIB)]);

    bench.spoil(0, 5_000);

    let error = bench.try_open().unwrap_err();
    let JournalError::Damaged { file, at, .. } = error else { panic!("{error}") };
    assert_eq!((file, at), (file::path(Path::new("/data/journal"), 0), 1_000 + ENTRY_HEADER_BYTES as u64));
}

#[test]
fn a_lap_that_a_crash_tore_at_its_beginning_leaves_nothing_behind() {
    let mut bench = Bench::new(5, 1 << 20);
    let (mut journal, _) = bench.open();
    write(&mut journal, &[entry(0, 1, 1000), entry(0, 2, 1000), entry(0, 3, 1000)]);
    bench.spoil(0, 100);

    let (mut journal, found) = bench.open();
    assert_eq!(found, []);
    write(&mut journal, &[entry(0, 4, 1000)]);

    assert_eq!(
        contents(bench.open().1),
        [entry(0, 4, 1000)],
        "the same lap, the same sequence, but another salt"
    );
}

#[test]
fn a_killed_process_leaves_its_last_lap_in_the_page_cache_and_the_next_one_syncs_it() {
    let mut bench = Bench::new(10, 1 << 20);
    let (mut journal, _) = bench.open();
    let unsynced = journal.append(&[entry(0, 1, 1000)], &mut vec![]).unwrap();
    assert_eq!(unsynced.count, 1);
    drop(journal);

    let (mut journal, found) = bench.open();
    assert_eq!(found.len(), 1);
    write(&mut journal, &[entry(0, 2, 1000)]);
    bench.crash();

    assert_eq!(contents(bench.open().1), [entry(0, 1, 1000), entry(0, 2, 1000)]);
}

#[test]
fn an_entry_without_room_is_not_taken_and_the_journal_grows_for_it() {
    let mut bench = Bench::new(6, 64 << 20);
    let (mut journal, _) = bench.open();
    let mut needs = vec![];
    let staged = journal.append(&[entry(0, 1, 1000), entry(0, 2, 300 * KIB)], &mut needs).unwrap();
    assert_eq!(staged.count, 1);
    serve(&mut journal, needs);

    write(&mut journal, &[entry(0, 2, 300 * KIB)]);

    bench.crash();
    assert_eq!(contents(bench.open().1), [entry(0, 1, 1000), entry(0, 2, 300 * KIB)]);
}

#[test]
fn a_full_disk_leaves_the_journal_as_it_is() {
    let mut bench = Bench::new(7, 64 << 20);
    let (mut journal, _) = bench.open();
    let mut needs = vec![];
    assert_eq!(journal.append(&[entry(0, 2, 300 * KIB)], &mut needs).unwrap().count, 0);
    bench.world.disk().break_below("/", Fault::NoSpaceAfter(0));

    serve(&mut journal, needs);

    assert_eq!(journal.bytes(), 1 << 20);
    write(&mut journal, &[entry(0, 1, 1000)]);
}

#[test]
fn a_failed_sync_is_the_end_of_the_journal() {
    let mut bench = Bench::new(8, 1 << 20);
    let (mut journal, _) = bench.open();
    write(&mut journal, &[entry(0, 1, 200 * KIB)]);
    bench.world.disk().break_below("/data/journal", Fault::FailNextSync);

    let error = journal.append(&[entry(0, 2, 200 * KIB)], &mut vec![]).unwrap_err();

    assert!(matches!(error, JournalError::Io { what: "sync", .. }), "{error}");
    let after = journal.append(&[entry(0, 3, 10)], &mut vec![]).unwrap_err();
    assert!(matches!(after, JournalError::Lost));
}

#[test]
fn what_an_offline_partition_has_not_taken_stays_over_starts() {
    let mut bench = Bench::new(9, 1 << 20);
    let (mut journal, _) = bench.open();
    write(&mut journal, &[entry(0, 1, 1000), entry(1, 2, 1000)]);

    let (mut journal, found) = bench.open();
    assert_eq!(found.len(), 2);
    let mut needs = vec![];
    journal.settled(p(1), found[1].sequence + 1, &mut needs);
    assert!(needs.is_empty(), "partition 0 is offline");
    bench.crash();

    let (mut journal, found) = bench.open();
    assert_eq!(by_partition(found)[&p(0)].len(), 1);
    journal.forgotten(p(0), &mut needs);
    journal.forgotten(p(1), &mut needs);
    serve(&mut journal, needs);
    bench.crash();
    assert_eq!(bench.open().1, []);
}

/// One thing that may happen.
#[derive(Clone, Debug)]
enum Step {
    Append {
        who: i32,
        len: usize,
        count: usize,
    },
    Sync,
    /// The need at this place, of those not served yet.
    Serve {
        which: usize,
    },
    PowerCut,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3i32, 0..90 * KIB, 1..5usize).prop_map(|(who, len, count)| Step::Append { who, len, count }),
        5 => Just(Step::Sync),
        5 => (0..8usize).prop_map(|which| Step::Serve { which }),
        1 => Just(Step::PowerCut),
        1 => Just(Step::Kill),
    ]
}

/// What is known of each entry ever written, by sequence.
#[derive(Default)]
struct Model {
    written: BTreeMap<u64, Entry>,
    /// Everything below is acknowledged.
    safe: u64,
    /// Per partition: everything below is in synced segments.
    settled: BTreeMap<PartitionId, u64>,
}

impl Model {
    /// Judges what a start found, and takes it for the truth from now on.
    fn check(&mut self, found: &[JournalEntry], all_written: bool) -> Result<(), TestCaseError> {
        for pair in found.windows(2) {
            prop_assert_eq!(pair[0].sequence + 1, pair[1].sequence);
        }
        for entry in found {
            let JournalEntry { partition, epoch, kind, sequence, .. } = entry.clone();
            let written = self.written.get(&sequence);
            prop_assert_eq!(written, Some(&Entry { partition, epoch, kind }), "sequence {}", sequence);
        }
        let begin = found.first().map_or(u64::MAX, |first| first.sequence);
        let end = found.last().map_or(0, |last| last.sequence + 1);
        for (sequence, entry) in &self.written {
            let settled = self.settled.get(&entry.partition).is_some_and(|upto| sequence < upto);
            let needed = !settled && (all_written || *sequence < self.safe);
            prop_assert!(
                !needed || (begin..end).contains(sequence),
                "acknowledged entry {} is lost",
                sequence
            );
        }
        self.written.retain(|sequence, _| (begin..end).contains(sequence));
        self.safe = end;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Appends, syncs, settling, growth and reuse in any order, with crashes in between: an entry that was synced and
    /// is not settled is found, in its order; what is found was written, as it is found; no crash looks like damage.
    #[test]
    fn nothing_acknowledged_is_lost(seed: u64, steps in prop::collection::vec(step(), 1..120)) {
        let mut bench = Bench::new(seed, 2 << 20);
        let (mut journal, _) = bench.open();
        let (mut needs, mut unsynced, mut model) = (vec![], None, Model::default());
        let mut what = 0u8;
        for step in steps {
            match step {
                Step::Append { who, len, count } => {
                    let burst: Vec<_> = (0..count).map(|_| { what = what.wrapping_add(1); entry(who, what, len) }).collect();
                    let from = journal.next_sequence();
                    let staged = journal.append(&burst, &mut needs).unwrap();
                    prop_assert_eq!(staged.upto, from + staged.count as u64);
                    model.written.extend((from..).zip(burst.into_iter().take(staged.count)));
                    unsynced = staged.file.map(|file| (file, staged.upto)).or(unsynced);
                }
                Step::Sync => if let Some((file, upto)) = unsynced.take() {
                    file.sync_data().unwrap();
                    model.safe = upto;
                },
                Step::Serve { .. } if needs.is_empty() => (),
                Step::Serve { which } => match needs.remove(which % needs.len()) {
                    Need::Settle { partitions, upto } => for partition in partitions {
                        let known = model.settled.entry(partition).or_default();
                        *known = upto.max(*known);
                        journal.settled(partition, upto, &mut needs);
                    },
                    Need::Run(job) => journal.done(job.run(), &mut needs).unwrap(),
                },
                Step::PowerCut | Step::Kill => {
                    let killed = matches!(step, Step::Kill);
                    drop(journal);
                    if !killed {
                        bench.crash();
                    }
                    let found;
                    (journal, found) = bench.open();
                    model.check(&found, killed)?;
                    (needs, unsynced) = (vec![], None);
                    // Recovery: everyone has taken what was found.
                    for (partition, entries) in by_partition(found) {
                        let upto = entries.last().map_or(0, |last| last.sequence + 1);
                        model.settled.insert(partition, upto);
                        journal.settled(partition, upto, &mut needs);
                    }
                }
            }
        }
    }
}
