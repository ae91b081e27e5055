//! Rounds of compaction against a naive log that remembers everything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    filter::{Filter, Horizon, LastBatches, Verdict},
    index::Index,
    map::OffsetMap,
};
use crate::{
    batch::{
        Codec, Header,
        build::{BatchBuilder, BuildRecord},
        check_stored,
        marker::Marker,
        records::Records,
    },
    ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId},
    partition::transactions::Aborted,
    producers::Producers,
    time::Now,
};

const MAX: usize = 1 << 20;
const KEYS: u8 = 5;

/// What happens to a log.
#[derive(Clone, Debug)]
enum Step {
    /// A batch: producer (0 has no id), whether it is part of a transaction, codec, and of each record key and whether it has a
    /// value.
    Append { producer: i64, transactional: bool, codec: usize, records: Vec<(u8, bool)> },
    /// The producer's transaction ends.
    End { producer: i64, commit: bool },
    /// A new segment begins.
    Roll,
    /// A round of compaction with a map for so many keys.
    Compact { keys: usize },
    /// Time goes by.
    Pass { ms: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let records = prop::collection::vec((0..KEYS, prop::bool::weighted(0.8)), 1..5);
    let append =
        (0i64..4, any::<bool>(), 0usize..5, records).prop_map(|(producer, transactional, codec, records)| {
            Step::Append { producer, transactional: transactional && producer > 0, codec, records }
        });
    let one = prop_oneof![
        6 => append,
        2 => (1i64..4, any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit }),
        3 => Just(Step::Roll),
        2 => (1usize..8).prop_map(|keys| Step::Compact { keys }),
        1 => (1i64..60).prop_map(|ms| Step::Pass { ms }),
    ];
    prop::collection::vec(one, 1..80)
}

/// A record that was once written.
#[derive(Clone, Debug)]
struct Written {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    /// In a transaction that was aborted, and since when that is known.
    aborted: bool,
    /// When a round first passed it by.
    passed_ms: Option<i64>,
}

#[derive(Default)]
struct World {
    segments: Vec<Vec<Vec<u8>>>,
    bases: Vec<i64>,
    rows: Vec<Aborted>,
    producers: BTreeMap<i64, Session>,
    written: BTreeMap<i64, Written>,
    remembered: Option<Producers>,
    end: i64,
    now_ms: i64,
    clean_upto: i64,
    /// Records of batches that a round ended within.
    shared: BTreeSet<i64>,
}

#[derive(Default)]
struct Session {
    sequence: i32,
    /// Where its transaction begins, and its records.
    open: Option<(i64, Vec<i64>)>,
}

const RETENTION_MS: i64 = 50;

impl World {
    fn new() -> Self {
        let mut world = Self { now_ms: 1_000, remembered: Some(Producers::new(100)), ..Self::default() };
        world.roll();
        world
    }

    fn roll(&mut self) {
        if self.bases.last() != Some(&self.end) {
            self.segments.push(vec![]);
            self.bases.push(self.end);
        }
    }

    fn store(&mut self, batch: Vec<u8>) {
        let header = check_stored(&batch).unwrap();
        let now = Now { mono_ms: 0, wall_ms: self.now_ms };
        if let Some(producers) = &mut self.remembered {
            producers.update(&header, header.base_offset, header.max_timestamp, now);
            if header.attributes.is_control() {
                let marker = Marker::read(&batch).unwrap().unwrap();
                self.rows.extend(producers.marked(header.producer_id, header.base_offset, marker));
            }
        }
        self.segments.last_mut().unwrap().push(batch);
        self.end = header.end().0;
    }

    fn append(&mut self, producer: i64, transactional: bool, codec: usize, records: &[(u8, bool)]) {
        let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
        let mut builder = BatchBuilder::new().codec(codecs[codec]);
        let base = self.end;
        let session = self.producers.entry(producer).or_default();
        // Who has a transaction open writes nothing beside it.
        let transactional = transactional || session.open.is_some();
        if producer > 0 {
            builder = builder.producer(producer, 0, session.sequence);
            session.sequence += records.len() as i32;
        }
        if transactional {
            builder = builder.transactional();
        }
        for (offset, (key, has_value)) in (base..).zip(records) {
            let (key, timestamp) = (vec![*key], 500 + offset % 7);
            let value = has_value.then(|| offset.to_be_bytes().to_vec());
            let record =
                BuildRecord { timestamp, key: Some(key.clone()), value: value.clone(), headers: vec![] };
            builder = builder.push(record);
            let written = Written { key, value, timestamp, aborted: false, passed_ms: None };
            self.written.insert(offset, written);
            if transactional {
                session.open.get_or_insert((base, vec![])).1.push(offset);
            }
        }
        self.store(builder.stamped(Offset(base), LeaderEpoch(0)).bytes.to_vec());
    }

    fn end(&mut self, producer: i64, commit: bool) {
        let session = self.producers.entry(producer).or_default();
        let Some((_, offsets)) = session.open.take() else { return };
        for offset in offsets {
            self.written.get_mut(&offset).unwrap().aborted = !commit;
        }
        let marker = Marker { commit, coordinator_epoch: 0 };
        let now = Now { mono_ms: 0, wall_ms: self.now_ms };
        let batch = marker.batch(ProducerId(producer), ProducerEpoch(0), now);
        self.store(batch.stamp(Offset(self.end), LeaderEpoch(0), None).bytes.to_vec());
    }

    /// The first offset that may not be touched: where the first segment begins that is not wholly stable and closed.
    fn upper(&self) -> i64 {
        let open = self.producers.values().filter_map(|session| session.open.as_ref()).map(|open| open.0);
        let stable = open.min().unwrap_or(self.end);
        *self.bases.iter().rev().find(|base| **base <= stable).unwrap()
    }

    fn compact(&mut self, keys: usize) {
        let upper = self.upper();
        if upper <= self.clean_upto {
            return;
        }
        let map = OffsetMap::new(keys * 2 * super::map::ENTRY_BYTES, 0.5, keys as u64, [3, 4]);
        let mut index = Index::new(map, Offset(self.clean_upto), MAX);
        index.learn(self.rows.iter().copied());
        for (base, segment) in self.bases.iter().zip(&self.segments) {
            for batch in segment.iter().filter(|_| *base < upper) {
                let header = Header::read(batch).unwrap();
                // An index finds a place in the middle of a segment, or none and everything is read.
                if keys.is_multiple_of(2) || header.end().0 > self.clean_upto {
                    index.take(&header, batch).unwrap();
                }
            }
        }
        index.reached(Offset(upper));
        let last = LastBatches::of(&self.remembered.as_ref().unwrap().snapshot());
        let ms = RETENTION_MS as u64;
        let horizon = Horizon { now_ms: self.now_ms, tombstones_ms: ms, markers_ms: ms };
        let mut filter = Filter::new(index.into_map(), last, Offset(upper), horizon, MAX);
        filter.learn(self.rows.iter().copied());
        let end = filter.end().0;
        assert!(end > self.clean_upto, "a round makes progress");
        for (base, segment) in self.bases.iter().zip(&mut self.segments) {
            if *base >= end {
                break;
            }
            for batch in std::mem::take(segment) {
                let header = Header::read(&batch).unwrap();
                let judged = filter.judge(&header, &batch).unwrap();
                if judged.is_forgotten {
                    self.rows.retain(|row| row.last != header.base_offset);
                }
                match judged.verdict {
                    Verdict::Keep => segment.push(batch),
                    Verdict::Drop => (),
                    Verdict::Replace(other) => segment.push(other),
                }
            }
        }
        self.clean_upto = end;
        let headers = self.segments.iter().flatten().map(|batch| Header::read(batch).unwrap());
        let torn = headers.filter(|header| header.base_offset.0 < end && header.end().0 > end);
        self.shared.extend(torn.flat_map(|header| header.base_offset.0..header.end().0));
        let now_ms = self.now_ms;
        for (_, written) in self.written.range_mut(..end) {
            written.passed_ms.get_or_insert(now_ms);
        }
        self.check(upper);
    }

    /// What a reader finds: all records, and those that one of committed records takes.
    fn read(&self) -> (BTreeMap<i64, Seen>, BTreeSet<i64>) {
        let (mut all, mut committed) = (BTreeMap::new(), BTreeSet::new());
        let (mut rows, mut skipped) = (self.rows.clone(), BTreeSet::new());
        let mut before = 0;
        for batch in self.segments.iter().flatten() {
            let header = check_stored(batch).unwrap();
            assert!(header.base_offset.0 >= before, "in order");
            before = header.end().0;
            for row in rows.extract_if(.., |row| row.first < header.end()) {
                skipped.insert(row.producer);
            }
            if header.attributes.is_control() {
                if header.count > 0 && !Marker::read(batch).unwrap().unwrap().commit {
                    skipped.remove(&header.producer_id);
                }
                continue;
            }
            let is_skipped = header.attributes.is_transactional() && skipped.contains(&header.producer_id);
            let mut records = Records::of(batch, MAX).unwrap();
            while let Some(record) = records.next().unwrap() {
                let offset = header.base_offset.0 + i64::from(record.offset_delta);
                let value = record.value.map(<[u8]>::to_vec);
                all.insert(offset, (record.key.unwrap().to_vec(), value, record.timestamp));
                if !is_skipped {
                    committed.insert(offset);
                }
            }
        }
        (all, committed)
    }

    fn check(&self, upper: i64) {
        let (all, committed) = self.read();
        let mut last = BTreeMap::new();
        for (offset, written) in self.written.range(..self.clean_upto).filter(|(_, written)| !written.aborted)
        {
            last.insert(&written.key, *offset);
        }
        for (offset, written) in &self.written {
            let seen = all.get(offset);
            if let Some(seen) = seen {
                let as_written = (written.key.clone(), written.value.clone(), written.timestamp);
                assert_eq!(*seen, as_written, "at {offset}: what is there is what was written there");
            }
            if *offset >= self.clean_upto {
                assert!(seen.is_some(), "{offset} is above what was compacted");
                continue;
            }
            let is_last = last.get(&written.key) == Some(offset);
            // Its batch was passed by in part before, and got its horizon then.
            let is_shared = self.shared.contains(offset);
            let is_over = written.passed_ms.is_some_and(|passed| passed + RETENTION_MS <= self.now_ms);
            match (is_last, &written.value) {
                (false, _) => assert_eq!(seen, None, "{offset} is superseded, or aborted"),
                (true, Some(_)) => assert!(committed.contains(offset), "{offset} is the last of its key"),
                (true, None) if is_over => assert_eq!(seen, None, "the tombstone at {offset} stays too long"),
                (true, None) => {
                    assert!(seen.is_some() || is_shared, "the tombstone at {offset} goes too early")
                }
            }
        }
        for offset in &committed {
            assert!(!self.written[offset].aborted, "{offset} was aborted");
        }
        for (offset, _) in all.iter().filter(|(offset, _)| !committed.contains(offset)) {
            assert!(self.written[offset].aborted, "{offset} is withheld from a reader of committed records");
        }
        self.check_producers();
        let below = self.segments.iter().flatten().map(|batch| Header::read(batch).unwrap().end().0);
        assert_eq!(below.filter(|end| *end <= upper).max(), Some(upper), "where the round ended is known");
    }

    /// Whoever reads the log from its beginning knows what comes next of every producer, and which of them have a transaction
    /// open: none that has ended, though what is left of it are batches without records.
    fn check_producers(&self) {
        let mut again = Producers::new(100);
        for batch in self.segments.iter().flatten() {
            let header = Header::read(batch).unwrap();
            again.replay(&header);
            if header.attributes.is_control()
                && let Some(marker) = Marker::read(batch).ok().flatten()
            {
                again.marked(header.producer_id, header.base_offset, marker);
            }
        }
        let told = |producers: &Producers| {
            let mut told: Vec<_> = producers
                .snapshot()
                .iter()
                .map(|entry| (entry.id, entry.epoch, entry.next_sequence, entry.open_since))
                .collect();
            told.sort();
            told
        };
        assert_eq!(told(&again), told(self.remembered.as_ref().unwrap()));
    }
}

/// Key, value, timestamp.
type Seen = (Vec<u8>, Option<Vec<u8>>, i64);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn of_every_key_the_last_record_stays_where_it_was(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Append { producer, transactional, codec, records } => {
                    world.append(producer, transactional, codec, &records);
                }
                Step::End { producer, commit } => world.end(producer, commit),
                Step::Roll => world.roll(),
                Step::Compact { keys } => world.compact(keys),
                Step::Pass { ms } => world.now_ms += ms,
            }
        }
        world.roll();
        for _ in 0..3 {
            // Until everything that can be is compacted.
            while world.upper() > world.clean_upto {
                world.compact(100);
            }
            world.now_ms += RETENTION_MS;
            world.append(0, false, 0, &[(0, true)]);
            world.roll();
        }
    }
}
