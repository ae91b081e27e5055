//! Bugs that can be planted on purpose, so that the simulation can prove that it would notice them.
//!
//! Without the cargo feature `planted-bugs` [`is`] is a constant `false` and nothing of this is compiled in.

/// A bug that somebody once made, or could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The leader answers in durable mode before the journal's sync.
    AckBeforeSync,
    /// Recovery keeps a last batch whose CRC is wrong.
    TornTailAccepted,
    /// The journal replays entries of an earlier lap over the same file.
    StaleLapReplayed,
    /// A producer's batches are not remembered, so that a retry is stored twice.
    DedupForgotten,
    /// DeleteRecords is answered, and the new log start is only in memory.
    StartForgotten,
    /// The journal's sync fails and is taken for a good one.
    FailedSyncIgnored,
    /// The next process believes what a failed sync left in the page cache.
    FailedSyncForgotten,
    /// Offsets of a transaction count before its marker is there.
    PendingOffsetsCount,
    /// Offsets of transactions are not remembered when the log is read again.
    PendingOffsetsForgotten,
    /// Readers are not told what was aborted.
    AbortedForgotten,
    /// One partition of a transaction is told the other outcome.
    MarkerTurned,
    /// A batch joins the transaction before its own, whose marker is late.
    LateMarkerIgnored,
    /// A partition is given to a member of a consumer group while another still has it.
    GivenBeforeRevoked,
    /// A commit is taken of a member that is behind its group.
    StaleCommitTaken,
    /// A committed offset is not remembered when the log is read again.
    OffsetForgotten,
    /// A heartbeat from before counts for the session of a member.
    ZombieKept,
    /// A member is expelled before its session is over.
    SessionCutShort,
    /// A member that is heard again is silent for the next coordinator still.
    SilenceKept,
    /// A partition takes the files of a deleted topic of the same name for its own.
    DeletedTopicRead,
    /// Recovery does not do again what a crash interrupted while a compacted segment was put in its place.
    SwapForgotten,
    /// Readers that were rung for begin behind the first record that they have not read.
    BellSkips,
    /// The producer of a batch for which there was no room is remembered as if it had been written.
    RefusedRemembered,
    /// DeleteRecords is answered although the facts have no room for the new log start.
    UnkeptStartTold,
    /// A compacted segment counts although its files could not be renamed.
    FailedRenameIgnored,
    /// Tombstones go with the first round of compaction that meets them.
    TombstoneCutShort,
    /// Compaction does not count a tombstone as the last record of its key.
    TombstonePassedOver,
    /// Names for which no file could be opened to sync them are taken for synced.
    UnopenedTakenForSynced,
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug, or none, in everything that runs on this thread from now on. A simulated world is one thread,
/// so worlds that run side by side do not infect each other.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted on this thread.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted: never, in a build without the feature `planted-bugs`.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
