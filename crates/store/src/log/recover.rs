//! Recovery: from what a stop or a crash left, back to a log.
//!
//! ```text
//!   facts: log start, recovery point, producers and epochs up to an offset
//!     files below the recovery point     taken as they are (their indexes are checked on use)
//!     files above it                     read batch by batch with CRC; cut at the first bad batch
//!   journal: what was acknowledged and did not reach the files
//! ```
//!
//! What was synced is never cut: below the recovery point a bad batch that the journal has is put back (`mend`); another one
//! is an error, and in a closed segment passed over.

use std::{collections::VecDeque, io, ops::Range, path::PathBuf, sync::Arc};

use ottla_host::patiently;
use ottla_rules::{
    batch::{self, Header, marker::Marker},
    ids::Offset,
    partition::epochs::EpochHistory,
    planted,
    producers::Producers,
};

use super::{
    Log, LogError, Place, SYNC,
    config::LogConfig,
    failed,
    load::load,
    replay::Replay,
    resume::resume,
    scan::{Found, Scan},
    segment::{Active, NO_TIMESTAMP, Segment},
};
use crate::{
    claims::Hold,
    facts::{self, FactsError, checkpoint::Checkpoint},
    files::SegmentFiles,
    layout::{self, Part},
    store::Store,
    suspect,
};

/// Bytes read at once.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;
/// A length beyond this is taken for a damaged one: it must not make us allocate.
const BATCH_BYTES_MAX: u64 = 256 << 20;

/// What recovery found out about a partition.
#[derive(Debug)]
pub struct Recovered {
    /// The first offset that may be read.
    pub log_start: Offset,
    /// The offset that the next record gets.
    pub end: Offset,
    /// The idempotent producers at the end of the log.
    pub producers: Producers,
    /// Where each leader epoch begins.
    pub epochs: EpochHistory,
    /// What was cut off, if anything was.
    pub cut: Option<Cut>,
    /// Offsets that no segment has, though compaction was not there: files are gone, or too short.
    pub missing: Vec<Range<Offset>>,
    /// Bytes of batches that were read.
    pub scanned_bytes: u64,
    /// Records that came from the journal.
    pub replayed: u64,
    /// Of some producers only the journal knew, because their records are deleted: keep them before it forgets.
    pub producers_from_journal: bool,
}

/// Bytes that a crash left and that are not a batch, or do not follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: PathBuf,
    /// Where it was cut.
    pub at: u64,
    /// What was there instead of a batch.
    pub why: String,
}

pub(crate) struct Recovery {
    pub(crate) log: Log,
    pub(crate) producers: Producers,
    pub(crate) epochs: EpochHistory,
    /// Producers and epochs are known up to here; later batches are played to them.
    pub(crate) known_upto: Offset,
    /// Batches that only the journal may have, in the order of the log, to be played between those of the segments.
    pub(crate) dead: VecDeque<(Header, Option<Marker>)>,
    /// What the facts said of start and recovery point was damaged: the files say where the log begins.
    checkpoint_lost: bool,
    /// Nothing says what was before the first segment, nor that it ever was.
    begins_late: bool,
    /// Nobody has written since a clean stop: there are no torn ends but that of the last segment.
    left_in_order: bool,
    cut: Option<Cut>,
    missing: Vec<Range<Offset>>,
    /// The segment read last has bytes that do not read back: nothing is written behind them.
    pub(crate) is_damaged: bool,
    scanned_bytes: u64,
    pub(crate) replayed: u64,
    pub(crate) producers_from_journal: bool,
}

/// How far a segment was read.
pub(crate) struct ReadUp {
    /// One past the last offset.
    pub(crate) end: Offset,
    /// Where in the file.
    pub(crate) at: u64,
    /// Why not to the end of the file.
    pub(crate) why: Option<String>,
}

impl Log {
    /// Opens a partition that may have been written before, and applies what the journal knows of it (`journal`, in its
    /// order). Reads as little as the facts allow: nothing to speak of after a clean stop.
    ///
    /// # Errors
    /// The partition cannot be served: the disk fails, or what was synced is not there as it was written.
    pub fn recover(
        store: &Store,
        place: Place,
        config: LogConfig,
        journal: Vec<impl Into<Replay>>,
    ) -> Result<(Self, Recovered), LogError> {
        // The actor before may have died while a segment was put in place.
        let Some(hold) = store.hold(place.id) else { return Err(LogError::Busy) };
        Self::recover_held(store, place, config, journal, &hold)
    }

    /// As [`Log::recover`], for who has the files already, and for longer than this takes.
    ///
    /// # Errors
    /// As there.
    pub fn recover_held(
        store: &Store,
        place: Place,
        config: LogConfig,
        journal: Vec<impl Into<Replay>>,
        _hold: &Hold,
    ) -> Result<(Self, Recovered), LogError> {
        let mut recovery = Recovery::begin(store, place, config)?;
        let journal: Vec<Replay> = journal.into_iter().map(Into::into).collect();
        let mut bases = recovery.log.list_segments()?;
        recovery.find_dead(&journal);
        recovery.play_dead_segments(&bases)?;
        recovery.mend_segments(&mut bases, &journal)?;
        recovery.begin_late(&bases, &journal)?;
        recovery.read_segments(&bases)?;
        recovery.play_dead_below(Offset(i64::MAX))?;
        recovery.settle()?;
        recovery.replay(journal)?;
        recovery.finish()
    }

    /// The base offsets of the segments in the partition's directory, in order. Removes what is left over of others.
    fn list_segments(&mut self) -> Result<Vec<Offset>, LogError> {
        let store = self.store.clone();
        let path = self.dir.path();
        if !store.disk().exists(&path) {
            return Ok(vec![]);
        }
        let failed = |what| {
            let file = path.clone();
            move |error| LogError::Io { what, file, error }
        };
        if super::read_metadata(&store, &path)?.is_some_and(|topic| topic != self.place.id.topic)
            && !planted::is(planted::Bug::DeletedTopicRead)
        {
            // An earlier topic of the same name was deleted, and its files were not yet.
            let away = super::delete::rename_away(&store, &self.dir, &self.place.dir_name())?;
            store.disk().remove_dir_all(&away).map_err(failed("remove"))?;
            self.dir = Arc::new(store.dir_of(&self.place));
            return Ok(vec![]);
        }
        self.compacted = super::swap::finish_pending(&store, &path, self.place.id)?;
        // All below was synced when it was rewritten, whatever else is known.
        self.recovery_point = self.recovery_point.max(self.compacted.touched);
        let names = store.disk().list(&path).map_err(failed("list"))?;
        let mut bases = vec![];
        for name in names.iter().map(|entry| &entry.name) {
            match layout::read_name(name) {
                layout::Entry::Segment(base, Part::Log) => bases.push(base),
                layout::Entry::Stray => match store.disk().remove_file(path.join(name)) {
                    // Whoever had it before may be about to remove it, too.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                    removed => removed.map_err(failed("remove"))?,
                },
                layout::Entry::Segment(_, Part::Index | Part::TimeIndex) | layout::Entry::Other => (),
            }
        }
        bases.sort_unstable();
        if !bases.is_empty() {
            self.exists = true;
            // A process that was killed may have left names that no sync has covered yet.
            self.dir_dirty = bases.last() >= Some(&self.recovery_point);
            if super::read_metadata(&store, &path)?.is_none() {
                super::write_metadata(&store, &path, self.place.id.topic)?;
            }
        }
        Ok(bases)
    }
}

impl Recovery {
    /// Takes what the facts say; what of them is damaged is rebuilt from the log.
    fn begin(store: &Store, place: Place, config: LogConfig) -> Result<Self, LogError> {
        let facts = store.facts();
        let checkpoint = or_rebuild(facts::checkpoint::get(facts, place.id), &place)?;
        let checkpoint_lost = checkpoint.is_none();
        let left_in_order = store.was_clean() && !store.was_recovered(place.id);
        let producers = or_rebuild(facts::producers::get(facts, place.id), &place)?.flatten();
        let epochs = or_rebuild(facts::epochs::get(facts, place.id), &place)?;
        let Checkpoint { recovery_point, log_start } = checkpoint.flatten().unwrap_or_default();
        let aborted =
            or_rebuild(facts::aborted::within(facts, place.id, Offset::ZERO, Offset(i64::MAX)), &place)?;
        let max = config.producers_max;
        let (known_upto, producers, epochs) = match (producers, epochs, &aborted) {
            (Some((upto, producers)), Some(epochs), Some(_)) => {
                (upto, Producers::from_snapshot(producers, max), EpochHistory::from_rows(epochs))
            }
            _ => (Offset::ZERO, Producers::new(max), EpochHistory::new()),
        };
        // What is found in the log from here on is put again; a marker that the crash took is not to be remembered.
        if aborted.as_ref().is_none_or(|rows| !rows.is_empty()) {
            facts::aborted::forget_from(facts, place.id, known_upto)?;
        }
        let mut log = Log::create(store, place, config);
        log.aborted.saved = aborted.is_some_and(|rows| rows.iter().any(|row| row.last < known_upto));
        log.start = log_start;
        log.recovery_point = recovery_point;
        log.checkpointed = recovery_point.min(known_upto);
        Ok(Self {
            log,
            producers,
            epochs,
            known_upto,
            dead: VecDeque::new(),
            checkpoint_lost,
            begins_late: false,
            left_in_order,
            cut: None,
            missing: vec![],
            is_damaged: false,
            scanned_bytes: 0,
            replayed: 0,
            producers_from_journal: false,
        })
    }

    /// How many segments lie below the start, whole: DeleteRecords or retention, and then a crash.
    pub(crate) fn count_dead(&self, bases: &[Offset]) -> usize {
        bases.partition_point(|base| *base <= self.log.start).saturating_sub(1)
    }

    fn read_segments(&mut self, bases: &[Offset]) -> Result<(), LogError> {
        let (dead, bases) = bases.split_at(self.count_dead(bases));
        for base in dead {
            self.remove(&SegmentFiles::new(self.log.dir.clone(), *base))?;
        }
        let trusted = self.known_upto.min(self.log.recovery_point);
        // The first segment holds the start, or else the one that did is lost.
        let mut expected = match bases.first() {
            Some(first) if *first <= self.log.start || self.checkpoint_lost || self.begins_late => *first,
            Some(_) | None => self.log.start,
        };
        for (at, base) in bases.iter().enumerate() {
            let files = SegmentFiles::new(self.log.dir.clone(), *base);
            if self.cut.is_some() {
                self.remove(&files)?;
                continue;
            }
            let fits = *base == expected || (*base > expected && *base < self.log.recovery_point);
            if !fits {
                let why = format!("it begins at {base}, the log before it ends at {expected}");
                self.cut_or_refuse(&files, 0, expected, why, false)?;
                self.remove(&files)?;
                continue;
            }
            self.miss(expected, *base);
            let next = bases.get(at + 1).copied().filter(|next| *next <= trusted);
            let loaded = next.and_then(|next| {
                // Compaction leaves its segments shorter than they were.
                let end = Some(next).filter(|next| *next > self.log.compacted.touched);
                load(&files, self.log.config.index_interval_bytes, end)
            });
            match (next, loaded) {
                (Some(next), Some(segment)) => {
                    self.close_active()?;
                    self.log.closed.push_back(segment);
                    expected = next;
                }
                _ => expected = self.read_segment(files, trusted, bases.get(at + 1).copied())?,
            }
        }
        self.log.end = expected;
        // Readers find their way around damage in closed segments.
        if self.is_damaged { self.log.roll(expected) } else { Ok(()) }
    }

    /// Whether after a clean stop the facts know nothing of segments that begin behind their start, and the journal nothing of what would be
    /// before: the facts are older than the files, put back from a copy. That is kept before anything else is: the next start may follow a crash.
    fn begin_late(&mut self, bases: &[Offset], journal: &[Replay]) -> Result<(), LogError> {
        let start = self.log.start;
        let Some(first) = bases.first().filter(|first| **first > start.max(self.log.recovery_point)) else {
            return Ok(());
        };
        if self.left_in_order && !journal.iter().any(|entry| entry.begins_by(start)) {
            self.begins_late = true;
            self.missing.push(start..*first);
            let (facts, id) = (self.log.store.facts(), self.log.place.id);
            let known = Checkpoint { recovery_point: self.log.recovery_point, log_start: *first };
            facts::checkpoint::advance(facts, id, known)?;
            facts.flush()?;
        }
        Ok(())
    }

    /// Takes note of a hole before the segment that begins at `base`.
    fn miss(&mut self, expected: Offset, base: Offset) {
        let from = expected.max(self.log.compacted.touched).max(self.log.start);
        if from < base {
            self.missing.push(from..base);
        }
    }

    /// Reads a segment from `trusted` on (all of it when its indexes do not help), makes it the active one, and returns
    /// where it ends. `bound` is where the next one begins.
    fn read_segment(
        &mut self,
        files: Arc<SegmentFiles>,
        trusted: Offset,
        bound: Option<Offset>,
    ) -> Result<Offset, LogError> {
        let log = files.open(Part::Log).map_err(failed("open", &files, Part::Log))?;
        let len = log.len().map_err(failed("read", &files, Part::Log))?;
        let mut active = resume(Segment::new(files.clone()), trusted, len);
        let from = active.segment.size;
        self.is_damaged = false;
        let passes = self.log.config.passes_damage || bound.is_some_and(|next| next <= trusted);
        let ReadUp { end, at, why } = match passes {
            true => self.read_damaged_segment(&mut active, len, bound)?,
            false => self.read_sound_segment(&mut active, len)?,
        };
        if let Some(why) = why {
            self.cut_or_refuse(&files, at, end, why, bound.is_none())?;
            log.set_len(at).map_err(failed("cut", &files, Part::Log))?;
            // Synced at once: else the rest could come back behind new batches of the same length.
            log.sync_data().map_err(failed(SYNC, &files, Part::Log))?;
        }
        active.segment.dirty = end > self.log.recovery_point || self.cut.is_some();
        if active.segment.dirty && self.log.store.is_suspect() {
            let again = suspect::write_again(&log, from..at);
            again.map_err(failed("write again", &files, Part::Log))?;
            active.renew_indexes().map_err(failed("write again", &files, Part::Index))?;
        }
        self.close_active()?;
        self.log.active = Some(active);
        Ok(end)
    }

    /// Up to the first byte that is no batch in its place.
    fn read_sound_segment(&mut self, active: &mut Active, len: u64) -> Result<ReadUp, LogError> {
        let files = active.segment.files.clone();
        let read = || failed("read", &files, Part::Log);
        let log = files.open(Part::Log).map_err(failed("open", &files, Part::Log))?;
        let mut scan = Scan::new(log, active.segment.size, len, CHUNK_BYTES);
        let mut end = if active.segment.size == 0 { Some(files.base) } else { None };
        let why = loop {
            if scan.position() == len {
                break None;
            }
            let found = match self.next_batch(&mut scan, end).map_err(read())? {
                Ok(found) => found,
                Err(why) => break Some(why),
            };
            end = Some(found.header.end());
            let marker = marker_of(&found.header, scan.bytes_of(&found).map_err(read())?);
            self.count_in(active, &found.header, marker)?;
        };
        // Without a batch from the index entry on, the entry itself would not have been accepted.
        Ok(ReadUp { end: end.unwrap_or(files.base), at: scan.position(), why })
    }

    /// The segment read last is not the last one.
    fn close_active(&mut self) -> Result<(), LogError> {
        let Some(mut active) = self.log.active.take() else { return Ok(()) };
        active.close().map_err(failed("write", &active.segment.files, Part::Index))?;
        self.log.closed.push_back(active.segment);
        Ok(())
    }

    /// The next batch, or why there is none. `end` is where the batch before it ends, when known.
    fn next_batch(&self, scan: &mut Scan, end: Option<Offset>) -> io::Result<Result<Found, String>> {
        let position = scan.position();
        let refuse = |scan: &mut Scan, why: String| {
            scan.seek(position);
            Ok(Err(why))
        };
        let Some(found) = scan.next_header()? else {
            return refuse(scan, "it does not hold a whole batch there".to_owned());
        };
        let base = found.header.base_offset;
        // Compaction leaves gaps, and works only on what is synced.
        let follows = end.is_none_or(|end| base == end || (base > end && base < self.log.recovery_point));
        if !follows {
            return refuse(
                scan,
                format!(
                    "the batch there has offset {base}, the one before it ends at {}",
                    end.unwrap_or(base)
                ),
            );
        }
        if found.end() - found.position > BATCH_BYTES_MAX {
            return refuse(scan, "the batch there is larger than any may be".to_owned());
        }
        if planted::is(planted::Bug::TornTailAccepted) {
            return Ok(Ok(found));
        }
        match batch::check_stored(scan.bytes_of(&found)?) {
            Ok(_) => Ok(Ok(found)),
            Err(error) => refuse(scan, error.to_string()),
        }
    }

    /// Takes note of a batch that is in the segment.
    pub(crate) fn count_in(
        &mut self,
        active: &mut Active,
        header: &Header,
        marker: Option<Marker>,
    ) -> Result<(), LogError> {
        self.scanned_bytes += header.size() as u64;
        let interval = self.log.config.index_interval_bytes;
        active.add(header.end().plus(-1), header.size() as u64, indexed_timestamp(header), interval);
        if active.offsets.is_due() && active.flush_indexes().is_err() {
            log::warn!(partition:% = self.log.place.dir_name(); "index entries not written");
        }
        self.play(header, marker)
    }

    /// Plays a stored batch to the producers and epochs, unless they know it, behind those that only the journal has of what comes
    /// before. The marker is what a control batch says.
    pub(crate) fn play(&mut self, header: &Header, marker: Option<Marker>) -> Result<(), LogError> {
        self.play_dead_below(header.base_offset)?;
        self.dead.pop_front_if(|(dead, _)| dead.base_offset == header.base_offset);
        self.play_one(header, marker)
    }

    pub(crate) fn play_one(&mut self, header: &Header, marker: Option<Marker>) -> Result<(), LogError> {
        if header.base_offset < self.known_upto {
            return Ok(());
        }
        if header.has_producer() {
            self.producers.replay(header);
        }
        if let Some(marker) = marker
            && let Some(row) = self.producers.marked(header.producer_id, header.base_offset, marker)
        {
            facts::aborted::put(self.log.store.facts(), self.log.place.id, row)?;
            self.log.aborted.saved = true;
        }
        if header.leader_epoch.0 >= 0
            && self.epochs.latest().is_none_or(|latest| latest < header.leader_epoch)
        {
            self.epochs.remember(header.leader_epoch, header.base_offset);
        }
        Ok(())
    }

    /// Notes a cut at `at`, where the log would end at `end`; refuses to cut what was synced, and after a clean stop whatever is not the
    /// end of the last segment: the facts may be older than the files.
    fn cut_or_refuse(
        &mut self,
        files: &Arc<SegmentFiles>,
        at: u64,
        end: Offset,
        why: String,
        is_last: bool,
    ) -> Result<(), LogError> {
        let file = files.path(Part::Log);
        if end < self.log.recovery_point || self.left_in_order && !is_last {
            return Err(LogError::Damaged { file, at, why });
        }
        self.log.dir_dirty = true;
        self.cut = Some(Cut { file, at, why });
        Ok(())
    }

    pub(crate) fn remove(&mut self, files: &Arc<SegmentFiles>) -> Result<(), LogError> {
        self.log.dir_dirty = true;
        files.unlink().map_err(failed("remove", files, Part::Log))
    }

    /// Start and end agree with the facts and with each other.
    fn settle(&mut self) -> Result<(), LogError> {
        let log = &mut self.log;
        if log.end.max(log.start) < log.recovery_point {
            let why =
                format!("the log ends at offset {}, but was synced up to {}", log.end, log.recovery_point);
            let last =
                log.active.as_ref().map(|active| (active.segment.files.path(Part::Log), active.segment.size));
            let (file, at) = last.unwrap_or((log.dir.path(), 0));
            return Err(LogError::Damaged { file, at, why });
        }
        if log.end < log.start {
            // Everything that is there lies below the start: an old tail, of no use.
            for files in log.all().map(|segment| segment.files.clone()).collect::<Vec<_>>() {
                files.unlink().map_err(failed("remove", &files, Part::Log))?;
            }
            log.forget_segments(log.start);
        }
        let first = log.all().next().map_or(log.end, Segment::base);
        log.start = log.start.max(first);
        if self.cut.is_some() {
            let path = log.dir.path();
            let synced = patiently(|| log.store.disk().sync_dir(&path));
            synced.map_err(|error| LogError::Io { what: SYNC, file: path, error })?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Log, Recovered), LogError> {
        let log = &mut self.log;
        self.epochs.cut(log.end);
        self.epochs.move_start(log.start);
        if log.aborted.saved {
            facts::aborted::forget_before(log.store.facts(), log.place.id, log.start)?;
        }
        log.store.note_recovered(log.place.id);
        let recovered = Recovered {
            log_start: log.start,
            end: log.end,
            producers: self.producers,
            epochs: self.epochs,
            cut: self.cut,
            missing: self.missing,
            scanned_bytes: self.scanned_bytes,
            replayed: self.replayed,
            producers_from_journal: self.producers_from_journal,
        };
        Ok((self.log, recovered))
    }
}

/// The timestamp by which a stored batch is found: what compaction has emptied is not.
pub(crate) fn indexed_timestamp(header: &Header) -> i64 {
    if header.count == 0 { NO_TIMESTAMP } else { header.max_timestamp }
}

/// What a control batch says; none when it is another kind of batch.
pub(crate) fn marker_of(header: &Header, batch: &[u8]) -> Option<Marker> {
    if !header.attributes.is_control() {
        return None;
    }
    // Only the broker writes control batches, and its CRC was right: what cannot be read is not ours to judge.
    Marker::read(batch).ok().flatten()
}

/// A damaged fact is as good as none; a failing store is not.
fn or_rebuild<T>(read: Result<T, FactsError>, place: &Place) -> Result<Option<T>, LogError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error @ FactsError::Damaged { .. }) => {
            log::warn!(partition:% = place.dir_name(), error:% = error; "rebuilding what a fact said");
            Ok(None)
        }
        Err(error @ (FactsError::Failed(_) | FactsError::Unsynced(_) | FactsError::Full(_))) => {
            Err(error.into())
        }
    }
}
