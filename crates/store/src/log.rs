//! The log of one partition: segments of record batches in Kafka's own files.
//!
//! ```text
//!   start                                   recovery point          end
//!     |   closed segments    |  closed  |      :        active        |
//!     +----------------------+----------+------:----------------------+
//!         immutable, indexed by files          :  not known to be synced
//! ```
//!
//! The partition's owner alone appends, rolls and cuts. Readers get a [`slice::Slice`] or a [`lookup::TimeLookup`]: plain
//! values that find their bytes without the owner, because what lies below the high watermark never changes.

use std::{collections::VecDeque, io, path::PathBuf, sync::Arc};

use ottla_host::is_out_of_files;
use ottla_rules::{
    batch::Stamped,
    ids::{Offset, PartitionId, TopicId},
    retention::SegmentFacts,
};

use crate::{
    facts::{FactsError, compaction::Compacted},
    files::{Dir, SegmentFiles},
    layout::{self, Part},
    log::{
        config::LogConfig,
        segment::{Active, Segment},
    },
    store::Store,
};

pub mod aborted;
pub(crate) mod ahead;
pub(crate) mod chain;
pub mod compact;
pub mod config;
pub mod delete;
pub(crate) mod index;
pub(crate) mod load;
pub mod lookup;
pub(crate) mod mend;
pub mod read;
pub mod recover;
pub mod replay;
pub(crate) mod resume;
pub mod salvage;
pub(crate) mod scan;
pub(crate) mod segment;
pub mod slice;
pub mod swap;
pub mod sync;

/// Batches at the end of the log whose positions are remembered, so that readers at the tail need no index.
const RECENT_MAX: usize = 64;

/// Which partition, and under which name its files are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub id: PartitionId,
    /// The name of its topic.
    pub topic: Arc<str>,
}

impl Place {
    /// The name of the partition's directory, as in Kafka.
    #[must_use]
    pub fn dir_name(&self) -> String {
        format!("{}-{}", self.topic, self.id.index)
    }
}

/// What failed on the disk. The partition cannot go on as if nothing had happened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused. Nothing was appended; what was written was cut back.
    #[error("cannot {what} {}: {error}", .file.display())]
    Io {
        /// What was tried, a verb.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// What had been synced is not there any more, or is not what was written. Never guessed at: the partition stays
    /// offline until the file is put back or the partition is deleted.
    #[error("{} is damaged at byte {at}: {why}", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// Work that an owner before has left behind is not over yet: come again.
    #[error("the partition's files are still being renamed")]
    Busy,
    /// A sync has failed in the data directory, of whatever file: nothing that is read there can be made safe any more.
    #[error(
        "a sync has failed in the data directory, nothing in it can be made safe until the node starts again"
    )]
    Lost,
    /// What compaction would write has no room in a segment.
    #[error("{} cannot be compacted: what is left of it is larger than a segment may be", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// The facts could not be read or written.
    #[error(transparent)]
    Facts(#[from] FactsError),
}

/// What was tried when a sync failed.
pub(crate) const SYNC: &str = "sync";
/// The same, of a segment that compaction writes beside the log.
pub(crate) const SYNC_COPY: &str = "sync the copy";
/// The disk failed (`EIO`).
const EIO: i32 = 5;

impl LogError {
    /// Whether it is only that there is no room, on the disk or for another open file: once there is some, the same may be tried again.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            // Said by a sync it is about pages that the kernel has dropped, whatever room there is later.
            _ if self.is_failed_sync() => false,
            Self::Io { error, .. } => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
                    || is_out_of_files(error)
            }
            Self::Facts(error) => matches!(error, FactsError::Full(_)),
            Self::Damaged { .. } | Self::TooLarge { .. } | Self::Busy | Self::Lost => false,
        }
    }

    /// Whether a file is not there, and no wonder: retention has taken it meanwhile.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Io { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether it was only what compaction writes beside the log that could not be made safe: it is thrown away.
    #[must_use]
    pub fn is_failed_copy(&self) -> bool {
        matches!(self, Self::Io { what: SYNC_COPY, .. })
    }

    /// Whether it was a sync that failed: nothing in the data directory is to be believed any more.
    #[must_use]
    pub fn is_failed_sync(&self) -> bool {
        match self {
            Self::Io { what, error, .. } => *what == SYNC && !is_out_of_files(error),
            // They sync for themselves.
            Self::Facts(error) => matches!(error, FactsError::Unsynced(_)),
            Self::Damaged { .. } | Self::TooLarge { .. } | Self::Busy | Self::Lost => false,
        }
    }
}

/// One partition's files. See the module.
pub struct Log {
    pub(crate) store: Store,
    pub(crate) place: Place,
    pub(crate) config: LogConfig,
    pub(crate) dir: Arc<Dir>,
    /// Whether the partition's directory is there.
    pub(crate) exists: bool,
    pub(crate) closed: VecDeque<Segment>,
    pub(crate) active: Option<Active>,
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    /// Everything below is synced.
    pub(crate) recovery_point: Offset,
    /// Everything below is synced, and the facts know it.
    pub(crate) checkpointed: Offset,
    /// How far the log is compacted.
    pub(crate) compacted: Compacted,
    /// Gone with this value: whoever compacts for it finds out.
    pub(crate) life: Arc<()>,
    /// A name in the directory came or went since it was last synced.
    pub(crate) dir_dirty: bool,
    /// A failed write may have left bytes behind the end.
    untrimmed: bool,
    /// Bytes behind the end were cut, and the disk may have them still.
    cut_unsynced: bool,
    /// Segments that a refused burst has begun, and whose files may be there still.
    refused: Vec<Arc<SegmentFiles>>,
    recent: VecDeque<Recent>,
    pub(crate) aborted: aborted::AbortedRows,
}

/// A batch of the active segment.
#[derive(Clone, Copy)]
pub(crate) struct Recent {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) position: u64,
}

/// What a log looked like before a burst.
struct Mark {
    closed: usize,
    active: Option<Offset>,
    size: u64,
    end: Offset,
}

impl Log {
    /// A partition that has no records yet. Touches nothing on the disk: the directory comes with the first append.
    #[must_use]
    pub fn create(store: &Store, place: Place, config: LogConfig) -> Self {
        let dir = Arc::new(store.dir_of(&place));
        Self {
            store: store.clone(),
            place,
            config,
            dir,
            exists: false,
            closed: VecDeque::new(),
            active: None,
            start: Offset::ZERO,
            end: Offset::ZERO,
            recovery_point: Offset::ZERO,
            checkpointed: Offset::ZERO,
            compacted: Compacted::default(),
            life: Arc::new(()),
            dir_dirty: false,
            untrimmed: false,
            cut_unsynced: false,
            refused: Vec::new(),
            recent: VecDeque::new(),
            aborted: aborted::AbortedRows::default(),
        }
    }

    /// The first offset that may be read.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.start
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Everything below was synced when last heard of.
    #[must_use]
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// Bytes of batches in all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.all().map(|segment| segment.size).sum()
    }

    /// Another configuration from the next append on.
    pub fn configure(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// Writes batches at the end, in one write per segment. Their offsets must go on where the log ends.
    ///
    /// # Errors
    /// Nothing of the burst is in the log then: what was written of it is cut back.
    pub fn append(&mut self, batches: &[Stamped]) -> Result<(), LogError> {
        let mark = self.mark();
        let done = self.append_all(batches);
        if done.is_err() {
            self.cut_back(&mark);
        }
        done
    }

    fn append_all(&mut self, batches: &[Stamped]) -> Result<(), LogError> {
        let mut rest = batches;
        while !rest.is_empty() {
            let (fitting, others) = self.make_room(rest)?;
            self.write(fitting)?;
            rest = others;
        }
        Ok(())
    }

    /// Begins a segment where the first of these batches has no room in the active one: those that go into it, one at least,
    /// and the others.
    fn make_room<'a>(&mut self, batches: &'a [Stamped]) -> Result<(&'a [Stamped], &'a [Stamped]), LogError> {
        let Some(first) = batches.first() else { return Ok((batches, batches)) };
        self.reread()?;
        assert_eq!(first.base, self.end, "a batch does not follow the end of {}", self.place.dir_name());
        if self.active.is_none() || self.is_full(first, 0) {
            self.roll(first.base)?;
        }
        let mut bytes = 0;
        let fitting = |batch: &&Stamped| {
            let fits = bytes == 0 || !self.is_full(batch, bytes);
            bytes += batch.bytes.len() as u64;
            fits
        };
        Ok(batches.split_at(batches.iter().take_while(fitting).count()))
    }

    /// Writes batches that fit into the active segment, but for what was written ahead of them.
    fn write(&mut self, batches: &[Stamped]) -> Result<(), LogError> {
        let done = self.written_ahead(batches);
        let file = self.tail()?;
        let Some(active) = &mut self.active else { return Ok(()) };
        let bytes = ahead::range_of(batches, done, u64::MAX);
        let written = file.pwritev_all(&bytes, active.segment.size + done).map_err(io::Error::from);
        written.map_err(failed("write to", &active.segment.files, Part::Log))?;
        active.ahead = None;
        active.segment.dirty = true;
        for batch in batches {
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(Recent { base: batch.base, end: batch.end, position: active.segment.size });
            active.add_stamped(batch, self.config.index_interval_bytes);
            self.end = batch.end;
        }
        if active.offsets.is_due() {
            // An index that lacks entries is slower, not wrong: no reason to refuse records that are written.
            if let Err(error) = active.flush_indexes() {
                log::warn!(partition:% = self.place.dir_name(), error:% = error; "index entries not written");
            }
        }
        Ok(())
    }

    /// Which partition this is.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.place.id
    }

    /// What retention needs to know of each segment, in order, the one that is written to last.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentFacts> {
        let bases: Vec<_> = self.all().map(Segment::base).skip(1).chain([self.end]).collect();
        // How young it is nobody knows before it has been read.
        let unread =
            self.active.as_ref().filter(|active| active.is_unread).map(|active| active.segment.base());
        let facts = self.all().zip(bases).map(|(segment, end)| SegmentFacts {
            base: segment.base(),
            end,
            bytes: segment.size,
            max_timestamp: if unread == Some(segment.base()) { i64::MAX } else { segment.newest.timestamp },
            modified_ms: segment.written_ms(),
        });
        facts.collect()
    }

    /// Begins a new segment at the end of the log; the one before is closed.
    pub fn roll(&mut self, base: Offset) -> Result<(), LogError> {
        assert_eq!(base, self.end, "a segment begins where the log ends");
        self.ensure_dir()?;
        self.reread()?;
        if self.active.as_ref().is_some_and(|active| active.segment.size == 0) {
            return Ok(());
        }
        self.cut_tail()?;
        self.remove_refused()?;
        self.settle_cut()?;
        if let Some(active) = &mut self.active {
            active.close().map_err(failed("close", &active.segment.files, Part::Index))?;
            if self.config.preallocate
                && let Ok(log) = active.segment.files.open(Part::Log)
            {
                // Left behind they are only taken for longer: until the segment goes.
                let _ = log.set_len(active.segment.size);
            }
        }
        let files = SegmentFiles::new(self.dir.clone(), base);
        self.dir_dirty = true;
        // Without all of its files it is none, and the one before may yet grow beyond where it would have begun.
        let created = self.create_empty(&files);
        if created.is_err() && files.unlink().is_err() && files.open(Part::Log).is_ok() {
            self.refused.push(files.clone());
        }
        let is_new = created?;
        self.recent.clear();
        let mut active = Active::new(Segment::new(files));
        active.segment.dirty_indexes = !is_new;
        active.jitter_ms = self.store.draw_below(self.config.segment_jitter_ms);
        if let Some(full) = self.active.replace(active) {
            self.closed.push_back(full.segment);
        }
        Ok(())
    }

    /// Creates the files of a new segment; whether there was nothing in them.
    fn create_empty(&self, files: &Arc<SegmentFiles>) -> Result<bool, LogError> {
        let mut is_new = true;
        for part in Part::ALL {
            let file = files.create(part).map_err(failed("create", files, part))?;
            // Left by a deletion or a crash: a new segment begins empty.
            is_new &= !segment::trim(&file, 0).map_err(failed("cut", files, part))?;
            if self.config.preallocate && part == Part::Log {
                // Blocks only, not the length, which Kafka sets too: so nothing but records is ever in the file.
                file.reserve(self.config.segment_bytes);
            }
        }
        Ok(is_new)
    }

    /// Whether the active segment, with `more` bytes added, has no room for `batch`.
    fn is_full(&self, batch: &Stamped, more: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.is_full(batch, more, &self.config))
    }

    /// Creates the partition's directory, and in it what says whose it is.
    fn ensure_dir(&mut self) -> Result<(), LogError> {
        if self.exists {
            return Ok(());
        }
        let disk = self.store.disk();
        let path = self.dir.path();
        let failed = |error: io::Error| {
            // What only a sync can say, that of the directory above.
            let what = if error.raw_os_error() == Some(EIO) { SYNC } else { "create" };
            LogError::Io { what, file: path.clone(), error }
        };
        disk.create_dir_all(&path).map_err(failed)?;
        write_metadata(&self.store, &path, self.place.id.topic)?;
        self.exists = true;
        Ok(())
    }

    fn mark(&self) -> Mark {
        Mark {
            closed: self.closed.len(),
            active: self.active.as_ref().map(|active| active.segment.base()),
            size: self.active.as_ref().map_or(0, |active| active.segment.size),
            end: self.end,
        }
    }

    /// Back to what the log was before a burst of which a part may have been written.
    fn cut_back(&mut self, mark: &Mark) {
        let grown =
            self.end > mark.end || self.active.as_ref().map(|active| active.segment.base()) != mark.active;
        self.untrimmed = true;
        if !grown {
            // The usual case: the only write failed, and nothing was counted.
            return self.take_back();
        }
        self.recent.clear();
        self.end = mark.end;
        let mut begun: Vec<Segment> = self.closed.drain(mark.closed..).collect();
        begun.extend(self.active.take().map(|active| active.segment));
        for segment in begun {
            if Some(segment.base()) == mark.active {
                self.active = Some(resume::reopen(segment, mark.size, &self.config).0);
            } else {
                self.refused.push(segment.files);
            }
        }
        self.take_back();
    }
}

impl Log {
    /// Cuts the log at `to`, which is where a batch begins; the recovery point goes back with it.
    pub(crate) fn truncate(&mut self, to: Offset) -> Result<(), LogError> {
        let mut cut: Vec<Segment> = self.active.take().map(|active| active.segment).into_iter().collect();
        let whole = self.closed.partition_point(|segment| segment.base() < to);
        // The last segment that begins below is cut in its middle, and written to from now on.
        let torn = whole.checked_sub(1).filter(|_| cut.first().is_none_or(|active| active.base() >= to));
        cut.splice(0..0, self.closed.drain(torn.unwrap_or(whole)..));
        self.recent.clear();
        self.end = to;
        self.recovery_point = self.recovery_point.min(to);
        self.dir_dirty = true;
        for segment in cut {
            let files = segment.files.clone();
            if segment.base() >= to {
                files.unlink().map_err(failed("remove", &files, Part::Log))?;
                continue;
            }
            let at = find_end(&segment, to).map_err(failed("read", &files, Part::Log))?;
            let log = files.open(Part::Log).map_err(failed("open", &files, Part::Log))?;
            log.set_len(at).map_err(failed("cut", &files, Part::Log))?;
            self.active = Some(resume::reopen(segment, at, &self.config).0);
        }
        Ok(())
    }

    /// Nothing is left, and the log goes on at `at`. The files are the caller's to remove.
    pub(crate) fn forget_segments(&mut self, at: Offset) {
        self.closed.clear();
        self.active = None;
        self.recent.clear();
        (self.start, self.end) = (at, at);
        self.recovery_point = self.recovery_point.min(at);
        self.dir_dirty = true;
    }

    /// All segments in order.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.closed.iter().chain(self.active.as_ref().map(|active| &active.segment))
    }

    /// The batches of the active segment whose positions are known, oldest first.
    pub(crate) fn recent(&self) -> &VecDeque<Recent> {
        &self.recent
    }
}

/// Where in the segment the batch with offset `to` begins.
fn find_end(segment: &Segment, to: Offset) -> io::Result<u64> {
    let at = segment.files.position_before(to, segment.offsets, segment.size, false)?;
    let mut scan = scan::Scan::new(segment.files.open(Part::Log)?, at, segment.size, slice::LOOK_BYTES);
    while let Some(found) = scan.next_header()? {
        if found.header.end() > to {
            return Ok(found.position);
        }
    }
    Ok(scan.position())
}

/// Kafka's `partition.metadata`, safe on the disk when this returns.
pub(crate) fn write_metadata(store: &Store, dir: &std::path::Path, topic: TopicId) -> Result<(), LogError> {
    let path = dir.join(layout::PARTITION_METADATA);
    let failed = |what| {
        let file = path.clone();
        move |error| LogError::Io { what, file, error }
    };
    let file = store.disk().open(&path, ottla_host::OpenMode::Create).map_err(failed("create"))?;
    let text = format!("version: 0\ntopic_id: {topic}");
    file.pwrite_all(text.as_bytes(), 0).map_err(|error| failed("write")(error.into()))?;
    file.set_len(text.len() as u64).map_err(failed("write"))?;
    file.sync_data().map_err(failed(SYNC))?;
    // One file at a time: there may be no room for two.
    drop(file);
    store.disk().sync_dir(dir).map_err(failed(SYNC))
}

/// The topic id that a partition's directory belongs to, when it says so.
///
/// # Errors
/// There is no room for one more open file: that it does not say so is another matter.
pub(crate) fn read_metadata(store: &Store, dir: &std::path::Path) -> Result<Option<TopicId>, LogError> {
    let path = dir.join(layout::PARTITION_METADATA);
    let mut bytes = [0; 256];
    let opened = store.disk().open(&path, ottla_host::OpenMode::Read);
    let n = match opened.and_then(|file| file.pread(&mut bytes, 0)) {
        Err(error) if is_out_of_files(&error) => {
            return Err(LogError::Io { what: "open", file: path, error });
        }
        read => read.unwrap_or(0),
    };
    let text = std::str::from_utf8(&bytes[..n]).unwrap_or_default();
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id:"));
    Ok(id.and_then(|id| id.trim().parse().ok()))
}

/// Wraps an error of the operating system with what was tried on which file.
pub(crate) fn failed(
    what: &'static str,
    files: &Arc<SegmentFiles>,
    part: Part,
) -> impl FnOnce(io::Error) -> LogError + use<> {
    let files = files.clone();
    move |error| LogError::Io { what, file: files.path(part), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_for_which_there_was_no_room_has_failed_for_good() {
        let full =
            |what| LogError::Io { what, file: PathBuf::new(), error: io::ErrorKind::StorageFull.into() };
        assert!(full("write to").is_full() && !full("write to").is_failed_sync());
        assert!(full(SYNC).is_failed_sync() && !full(SYNC).is_full());
        let failed = LogError::Facts(FactsError::Unsynced("the disk is broken".into()));
        assert!(failed.is_failed_sync() && !failed.is_full());
        let unread = LogError::Facts(FactsError::Failed("a page is damaged".into()));
        assert!(!unread.is_failed_sync(), "that is for whoever needs the page");
    }
}
