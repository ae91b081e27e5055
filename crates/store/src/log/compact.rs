//! Compaction of one log: reads closed segments and writes others, in steps, away from the log's owner.
//!
//! What is decided is decided by `rules::compaction`; here are the files. Nothing of the log changes: each rewritten segment
//! lies beside it, under names that end with `.cleaned`, until the owner puts it in its place ([`super::swap`]).

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Weak},
};

use ottla_rules::{
    batch::Header,
    compaction::{
        self, Piece, Policy, Round,
        filter::{Filter, Horizon, LastBatches, Verdict},
        group,
        index::Index,
        map::OffsetMap,
    },
    ids::Offset,
    producers::ProducerEntry,
    time::Now,
};

use super::{
    Log, LogError, SYNC_COPY,
    aborted::AbortedLook,
    config::LogConfig,
    failed,
    index::Entry,
    recover,
    salvage::{Reading, Taken},
    segment::{Active, NO_TIMESTAMP, Segment},
};
use crate::{
    claims::Claim,
    facts::{self, Facts},
    files::SegmentFiles,
    layout::Part,
};

/// How compaction works, whatever the log.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Memory for the keys of one round (`log.cleaner.dedupe.buffer.size`, shared by the cleaners).
    pub map_bytes_max: usize,
    /// How full that may get, from 0 to 1 (`log.cleaner.io.buffer.load.factor`).
    pub map_load_factor: f64,
    /// Bytes read, and written, at once (`log.cleaner.io.buffer.size`, shared by the cleaners).
    pub buffer_bytes: usize,
    /// What one packed batch may unpack to.
    pub unpacked_bytes_max: usize,
}

/// How far a step has come.
pub enum Progress {
    /// Go on after so many bytes, read and written.
    More(u64),
    /// A segment is written: to be put in its place before the next step.
    Written(Rewritten),
    /// The round is over: the log is compacted up to here. None when its owner is gone.
    Over(Option<Offset>),
}

/// A segment that was written anew, beside the log.
pub struct Rewritten {
    pub(super) old: Vec<Segment>,
    pub(super) new: Segment,
    /// Where the last of the old ones ends.
    pub(super) upto: Offset,
    n_gone: u64,
}

/// One round of compaction. See the module.
pub struct Compaction {
    facts: Facts,
    aborted: AbortedLook,
    life: Weak<()>,
    _claim: Claim,
    config: LogConfig,
    tuning: Tuning,
    round: Round,
    last: LastBatches,
    horizon: Horizon,
    /// The closed segments below the round's end, and where each ends.
    sources: Vec<(Segment, Offset)>,
    pass: Pass,
}

enum Pass {
    Index { index: Box<Index>, at: usize, scan: Option<Reading> },
    Filter { filter: Box<Filter>, groups: VecDeque<Range<usize>>, writing: Option<Box<Writing>> },
    Over,
}

/// A segment that is being written.
struct Writing {
    group: Range<usize>,
    at: usize,
    scan: Option<Reading>,
    out: Active,
    /// Judged and not yet written.
    buffer: Vec<u8>,
    has_changed: bool,
    n_gone: u64,
}

impl Log {
    /// Whether this log is worth a round of compaction now. `limit` is the last stable offset.
    #[must_use]
    pub fn wants_compaction(&self, policy: &Policy, limit: Offset, now: Now) -> Option<Round> {
        let pieces: Vec<_> = self.closed.iter().map(Segment::piece).collect();
        let end = self.active.as_ref().map_or(self.end, |active| active.segment.base());
        // What the facts do not know as synced may be replayed from the journal.
        let limit = limit.min(self.checkpointed).min(self.recovery_point);
        let clean_upto = self.compacted.clean_upto;
        compaction::choose(
            &compaction::Log { pieces: &pieces, end, start: self.start, clean_upto, limit },
            policy,
            now,
        )
    }

    /// Begins a round. None while another one, of an owner before, has not come to its end.
    #[must_use]
    pub fn compact(
        &self,
        round: Round,
        producers: &[ProducerEntry],
        horizon: Horizon,
        tuning: Tuning,
    ) -> Option<Compaction> {
        let claim = self.store.claim_compaction(self.place.id)?;
        let bases = self
            .closed
            .iter()
            .skip(1)
            .map(Segment::base)
            .chain(self.active.as_ref().map(|a| a.segment.base()));
        let sources: Vec<_> = self
            .closed
            .iter()
            .cloned()
            .zip(bases)
            .filter(|(segment, _)| segment.base() < round.upper)
            .collect();
        let offsets = u64::try_from(round.upper.0 - round.from.0).unwrap_or(0);
        let map = OffsetMap::new(tuning.map_bytes_max, tuning.map_load_factor, offsets, self.store.secret());
        let first = sources.partition_point(|(_, end)| *end <= round.from);
        let index = Box::new(Index::new(map, round.from, tuning.unpacked_bytes_max));
        Some(Compaction {
            facts: self.store.facts().clone(),
            aborted: self.aborted(),
            life: Arc::downgrade(&self.life),
            _claim: claim,
            config: self.config.clone(),
            tuning,
            round,
            last: LastBatches::of(producers),
            horizon,
            sources,
            pass: Pass::Index { index, at: first, scan: None },
        })
    }
}

impl Segment {
    /// As compaction sees it.
    fn piece(&self) -> Piece {
        let offsets = u64::from(self.offsets) * super::index::OffsetEntry::BYTES as u64;
        let times = u64::from(self.times) * super::index::TimeEntry::BYTES as u64;
        Piece {
            base: self.base(),
            bytes: self.size,
            index_bytes: offsets.max(times),
            // As retention has it: one is none where records have timestamps, the other where they have not.
            max_timestamp: if self.newest.timestamp > NO_TIMESTAMP {
                self.newest.timestamp
            } else {
                self.written_ms()
            },
            first_timestamp: self.first_timestamp,
        }
    }
}

impl Compaction {
    /// Goes on, about `bytes_max` bytes far. Blocks.
    ///
    /// # Errors
    /// A batch is damaged, and the log does not pass over damage; or the disk fails. Nothing of the log has changed then.
    pub fn step(&mut self, bytes_max: u64) -> Result<Progress, LogError> {
        if self.life.strong_count() == 0 {
            self.pass = Pass::Over;
        }
        let stepped = match &self.pass {
            Pass::Index { .. } => self.index(bytes_max),
            Pass::Filter { .. } => self.filter(bytes_max),
            Pass::Over => Ok(Progress::Over(None)),
        };
        if stepped.is_err() {
            self.abandon();
        }
        stepped
    }

    /// Removes what was written and not put in its place. Blocks.
    pub fn abandon(&mut self) {
        if let Pass::Filter { writing: Some(writing), .. } = &self.pass {
            // Left behind it is removed by the next recovery, or written over.
            let _ = writing.out.segment.files.unlink();
        }
        self.pass = Pass::Over;
    }

    fn index(&mut self, bytes_max: u64) -> Result<Progress, LogError> {
        let Pass::Index { index, at, scan } = &mut self.pass else { return Ok(Progress::Over(None)) };
        let mut done = 0;
        while done < bytes_max && !index.is_full() {
            let Some((segment, end)) = self.sources.get(*at) else { break };
            let open = match scan {
                Some(open) => open,
                None => {
                    index.learn(self.aborted.within(segment.base(), *end)?);
                    let from =
                        segment.files.position_before(self.round.from, segment.offsets, segment.size, false);
                    let from = from.map_err(failed("read", &segment.files, Part::Log))?;
                    let passes = self.config.passes_damage;
                    scan.insert(Reading::begin(segment, *end, from, self.tuning.buffer_bytes, passes)?)
                }
            };
            match open.next(segment, |header, batch| index.take(header, batch))? {
                Taken::Batch(bytes) | Taken::Lost(bytes) => done += bytes,
                Taken::Over => {
                    index.reached(*end);
                    *scan = None;
                    *at += 1;
                }
            }
        }
        if index.is_full() || *at == self.sources.len() {
            self.begin_filter();
        }
        Ok(Progress::More(done))
    }

    /// The keys are known: the second pass begins.
    fn begin_filter(&mut self) {
        let Pass::Index { index, .. } = std::mem::replace(&mut self.pass, Pass::Over) else { return };
        let last = std::mem::take(&mut self.last);
        let unpacked = self.tuning.unpacked_bytes_max;
        let filter = Filter::new(index.into_map(), last, self.round.upper, self.horizon, unpacked);
        let within = self.sources.iter().filter(|(segment, _)| segment.base() < filter.end());
        let pieces: Vec<_> = within.map(|(segment, _)| segment.piece()).collect();
        let upto = pieces.len().checked_sub(1).map_or(Offset::ZERO, |last| self.sources[last].1);
        let LogConfig { segment_bytes, segment_index_bytes, .. } = self.config;
        let groups = group(&pieces, upto, segment_bytes, segment_index_bytes).into();
        self.pass = Pass::Filter { filter: Box::new(filter), groups, writing: None };
    }

    fn filter(&mut self, bytes_max: u64) -> Result<Progress, LogError> {
        let Pass::Filter { filter, groups, writing } = &mut self.pass else {
            return Ok(Progress::Over(None));
        };
        let mut done = 0;
        while done < bytes_max {
            let current = match writing {
                Some(current) => current,
                None => {
                    let Some(group) = groups.pop_front() else {
                        let end = filter.end();
                        self.pass = Pass::Over;
                        return Ok(Progress::Over(Some(end)));
                    };
                    let first = &self.sources[group.start].0;
                    writing.insert(Box::new(Writing::begin(first, group)?))
                }
            };
            let Some((segment, end)) = self.sources[..current.group.end].get(current.at) else {
                let Some(written) = writing.take() else { break };
                if let Some(rewritten) = written.finish(&self.sources)? {
                    return Ok(Progress::Written(rewritten));
                }
                continue;
            };
            let scan = match &mut current.scan {
                Some(scan) => scan,
                None => {
                    filter.learn(self.aborted.within(segment.base(), *end)?);
                    let passes = self.config.passes_damage;
                    current.scan.insert(Reading::begin(segment, *end, 0, self.tuning.buffer_bytes, passes)?)
                }
            };
            let (out, buffer) = (&mut current.out, &mut current.buffer);
            let (partition, facts) = (self.aborted.partition(), &self.facts);
            let mut forgotten = None;
            let taken = scan.next(segment, |header, batch| {
                let judged = filter.judge(header, batch)?;
                current.n_gone += u64::try_from(judged.n_gone).unwrap_or(0);
                current.has_changed |= judged.verdict != Verdict::Keep;
                forgotten = judged.is_forgotten.then_some(header.base_offset);
                match judged.verdict {
                    Verdict::Keep => put(out, buffer, header, batch, &self.config),
                    Verdict::Replace(other) => put(out, buffer, &Header::read(&other)?, &other, &self.config),
                    Verdict::Drop => (),
                }
                Ok(())
            })?;
            if let Some(last) = forgotten {
                // Earlier in the facts than the fact that puts this segment in its place.
                facts::aborted::forget_one(facts, partition, last)?;
            }
            match taken {
                Taken::Batch(bytes) => done += bytes,
                Taken::Lost(bytes) => {
                    current.has_changed = true;
                    done += bytes;
                }
                Taken::Over => {
                    current.scan = None;
                    current.at += 1;
                }
            }
            if current.buffer.len() >= self.tuning.buffer_bytes {
                done += current.buffer.len() as u64;
                current.flush()?;
            }
        }
        Ok(Progress::More(done))
    }
}

impl Rewritten {
    /// Bytes of the segments before, and after.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.old.iter().map(|segment| segment.size).sum(), self.new.size)
    }

    /// Records that are gone.
    #[must_use]
    pub fn n_gone(&self) -> u64 {
        self.n_gone
    }

    /// Removes what was written. Blocks.
    pub fn abandon(self) {
        // Left behind it is removed by the next recovery, or written over.
        let _ = self.new.files.unlink();
    }
}

impl Writing {
    fn begin(first: &Segment, group: Range<usize>) -> Result<Self, LogError> {
        let files = SegmentFiles::cleaned(first.files.dir().clone(), first.base());
        for part in Part::ALL {
            let file = files.create(part).map_err(failed("create", &files, part))?;
            // A round before may have been interrupted.
            super::segment::trim(&file, 0).map_err(failed("cut", &files, part))?;
        }
        let (at, out) = (group.start, Active::new(Segment::new(files)));
        Ok(Self { group, at, scan: None, out, buffer: Vec::new(), has_changed: false, n_gone: 0 })
    }

    /// Writes what was judged.
    fn flush(&mut self) -> Result<(), LogError> {
        let files = &self.out.segment.files;
        let at = self.out.segment.size - self.buffer.len() as u64;
        let too_large = || LogError::TooLarge { file: files.path(Part::Log) };
        i32::try_from(self.out.segment.size).map_err(|_| too_large())?;
        let file = files.open(Part::Log).map_err(failed("open", files, Part::Log))?;
        let written = file.pwrite_all(&self.buffer, at).map_err(std::io::Error::from);
        written.map_err(failed("write to", files, Part::Log))?;
        self.buffer.clear();
        let files = files.clone();
        self.out.flush_indexes().map_err(failed("write to", &files, Part::Index))
    }

    /// The segment, whole and synced; none when it would be what it was.
    fn finish(mut self, sources: &[(Segment, Offset)]) -> Result<Option<Rewritten>, LogError> {
        let files = self.out.segment.files.clone();
        if !self.has_changed && self.group.len() == 1 {
            files.unlink().map_err(failed("remove", &files, Part::Log))?;
            return Ok(None);
        }
        if let Err(error) = self.make_safe() {
            // Left behind it is written over by the next round.
            let _ = files.unlink();
            return Err(error);
        }
        let group = &sources[self.group.clone()];
        let old: Vec<_> = group.iter().map(|(segment, _)| segment.clone()).collect();
        let mut new = self.out.segment;
        new.dirty = false;
        if new.newest.timestamp == NO_TIMESTAMP {
            // It is as old as the youngest of those it is made of.
            new.modified_ms = old.iter().map(Segment::written_ms).filter(|ms| *ms < i64::MAX).max();
        }
        let upto = group.last().map_or(new.base(), |(_, end)| *end);
        Ok(Some(Rewritten { old, new, upto, n_gone: self.n_gone }))
    }

    /// Writes the rest, and syncs it. Where that fails it is the copy that is in doubt: nobody has read from it, and the log is as it was.
    fn make_safe(&mut self) -> Result<(), LogError> {
        self.flush()?;
        let files = self.out.segment.files.clone();
        self.out.close().map_err(failed("close", &files, Part::Index))?;
        for part in Part::ALL {
            let file = files.open(part).map_err(failed("open", &files, part))?;
            if part == Part::Log {
                file.write_out(0..self.out.segment.size).map_err(failed(SYNC_COPY, &files, part))?;
            }
            file.sync_data().map_err(failed(SYNC_COPY, &files, part))?;
        }
        Ok(())
    }
}

/// Counts in a batch that stays, and keeps its bytes until enough are together.
fn put(out: &mut Active, buffer: &mut Vec<u8>, header: &Header, batch: &[u8], config: &LogConfig) {
    let last = header.end().plus(-1);
    out.add(last, batch.len() as u64, recover::indexed_timestamp(header), config.index_interval_bytes);
    buffer.extend_from_slice(batch);
}
