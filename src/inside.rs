//! The way in: what the APIs ask of the actors, in one place.
//!
//! Everything is sent when a function here returns, and answered through the `Reply` inside. Where nobody is there to
//! ask, the reply is dropped, and a dropped reply answers by itself: NOT_LEADER_OR_FOLLOWER, which every client tries
//! again. So no API has to look first.

use std::io;
use std::sync::Arc;

use ottla_actors::stage::bell::Bell;
use ottla_actors::stage::reply::Reply;
use ottla_host::File;
use ottla_rules::batch::Batch;
use ottla_rules::cluster::{Command, CommandError, Image};
use ottla_rules::ids::{LeaderEpoch, Offset, PartitionId, ProducerId};
use ottla_rules::partition::{Acks, AppendError, Appended, DeleteError, ReadAsk, ReadBounds, ReadError};

/// One batch for one partition.
pub(crate) struct Append {
    /// The batch, checked.
    pub(crate) batch: Batch,
    /// Who must have it before the answer.
    pub(crate) acks: Acks,
    /// How long the producer waits.
    pub(crate) patience_ms: u64,
    /// Whom to answer.
    pub(crate) reply: Reply<Result<Appended, AppendError>>,
}

/// What can be read from one partition, and who is to be woken when there is more.
pub(crate) struct PlanRead {
    /// The question.
    pub(crate) ask: ReadAsk,
    /// How much at most.
    pub(crate) bytes_max: usize,
    /// Rung once there is more than the plan has, within so many milliseconds.
    pub(crate) bell: Option<(Bell, u64)>,
    /// Whom to answer.
    pub(crate) reply: Reply<Result<ReadPlan, ReadError>>,
}

/// What may be read now. The owner is not needed to read it.
pub(crate) struct ReadPlan {
    /// Where the log stands.
    pub(crate) bounds: ReadBounds,
    /// Where the batches are, if there are any.
    pub(crate) slice: Option<Box<dyn ReadSlice>>,
}

/// Finds whole batches; what it finds never changes.
pub(crate) trait ReadSlice: Send {
    /// The batches as a range of a file, together no longer than `bytes_max`; but one batch, whatever its size, if
    /// `at_least_one`.
    fn read(&self, bytes_max: usize, at_least_one: bool) -> io::Result<FileRange>;
}

/// Whole batches on the disk.
#[derive(Clone, Debug)]
pub(crate) struct FileRange {
    /// The file; it stays readable while this is held.
    pub(crate) file: File,
    /// Where the first batch begins.
    pub(crate) at: u64,
    /// How many bytes; 0 when there is no batch.
    pub(crate) len: u64,
}

/// Which offset is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The end: the high watermark, or the last stable offset.
    Latest,
    /// Where the log begins.
    Earliest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The first record at or after this time, Unix milliseconds.
    At(i64),
}

/// A look-up of one offset.
pub(crate) struct LookUp {
    /// Which one.
    pub(crate) wanted: Wanted,
    /// Only up to the last stable offset.
    pub(crate) committed_only: bool,
    /// The reign that the client believes in.
    pub(crate) current_epoch: Option<LeaderEpoch>,
    /// Whom to answer; `None`: no record is like that.
    pub(crate) reply: Reply<Result<Option<LookedUp>, ReadError>>,
}

/// An offset that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LookedUp {
    /// The offset.
    pub(crate) offset: Offset,
    /// The record's timestamp, Unix milliseconds; -1 for the ends of the log.
    pub(crate) timestamp: i64,
    /// The reign under which the record was appended; for the ends, the one that counts there.
    pub(crate) epoch: LeaderEpoch,
}

/// The deletion of the records before an offset.
pub(crate) struct DeleteBefore {
    /// Up to here; `None`: up to the high watermark.
    pub(crate) upto: Option<Offset>,
    /// Whom to answer, with the new log start.
    pub(crate) reply: Reply<Result<Offset, DeleteError>>,
}

/// A question for the end of a reign.
pub(crate) struct EpochEnd {
    /// Which reign.
    pub(crate) epoch: LeaderEpoch,
    /// The reign that the client believes in.
    pub(crate) current: Option<LeaderEpoch>,
    /// Whom to answer.
    pub(crate) reply: Reply<Result<(LeaderEpoch, Offset), ReadError>>,
}

/// Those who live in the house, as the doors see them.
pub(crate) trait Inside: Send + Sync {
    /// All facts at this moment.
    fn image(&self) -> Arc<Image>;
    /// Has the cluster decide; answered with the facts once they hold and are kept.
    fn submit(&self, command: Command, reply: Reply<Result<Arc<Image>, CommandError>>);
    /// Takes a producer id that nobody ever had.
    fn take_producer_id(&self, reply: Reply<Result<ProducerId, CommandError>>);
    /// Appends a batch.
    fn append(&self, partition: PartitionId, append: Append);
    /// Asks what can be read.
    fn plan_read(&self, partition: PartitionId, plan: PlanRead);
    /// Looks an offset up.
    fn look_up(&self, partition: PartitionId, look: LookUp);
    /// Deletes records.
    fn delete_before(&self, partition: PartitionId, delete: DeleteBefore);
    /// Asks where a reign ended.
    fn epoch_end(&self, partition: PartitionId, end: EpochEnd);
}
