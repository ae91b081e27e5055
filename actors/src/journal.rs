//! JournalActor: the journal of one data directory; one sync for everyone (group commit).
//!
//! ```text
//!   Harden --(mailbox drained, no sync under way)--> one write --> sync --> Synced --> Persisted to each partition
//!      ^                                                             |
//!      '------------- what came in meanwhile is the next burst ------'
//! ```
//!
//! The sync is asked of the host and answered by a message. On a machine it blocks this actor's thread, which is its own;
//! in a simulation everything that can happen during a sync happens.

use std::{collections::BTreeMap, io, mem, sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, Handler};
use ottla_rules::{
    batch::Stamped,
    ids::{LeaderEpoch, Offset, PartitionId},
    planted,
    queue::Queue,
    time::Deadline,
    turns::{self, Turn, Turns},
};
use ottla_store::journal::{
    Job, JobDone, Journal, JournalError, Need,
    entry::{Entry, EntryKind},
};

use crate::{
    partition::{Checkpoint, PartitionAddr, PersistFailed, Persisted},
    shared::Shared,
    stage::messages,
};

/// Makes written batches safe.
pub(crate) struct Harden {
    pub(crate) partition: PartitionId,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) batches: Vec<Stamped>,
    /// They came while connections flooded the partition, and of nobody who asks one by one.
    pub(crate) is_flood: bool,
    /// How long small ones of this partition have waited, in microseconds, until it knew that they are safe.
    pub(crate) waited_us: Option<u64>,
    /// Told `Persisted`.
    pub(crate) to: PartitionAddr,
}

/// A partition's segments hold, synced, everything of it below this mark.
pub(crate) struct Settled {
    pub(crate) partition: PartitionId,
    pub(crate) upto: u64,
    /// Where its segments, synced, end.
    pub(crate) end: Offset,
}

/// A topic is gone: nothing of this partition is to be replayed.
pub(crate) struct Forgotten {
    pub(crate) partition: PartitionId,
}

/// The sync of the burst under way is over.
struct SyncDone(io::Result<()>);

/// A journal file was wiped or made.
struct JobEnded(JobDone);

/// The mailbox is drained: write what waits.
struct Commit;

messages!(Harden, Settled, Forgotten, SyncDone, JobEnded, Commit);

/// One batch that waits for its place.
struct Waiting {
    entry: Entry,
    end: Offset,
    to: PartitionAddr,
}

/// The actor of one data directory's journal.
pub struct JournalActor {
    shared: Arc<Shared>,
    journal: Journal,
    waiting: Queue<Waiting>,
    /// Who of them goes with the next sync.
    turns: Turns,
    /// Whom to tell when the sync under way is over.
    in_flight: Option<Vec<(PartitionId, PartitionAddr, Offset)>>,
    /// A message is under way that will have what waits written.
    is_called: bool,
    /// Large batches rest, and who wakes them up is under way.
    rests_until: Option<Deadline>,
    /// Nothing fits until something is settled or a file is made.
    is_stuck: bool,
    /// What partitions were asked to settle and have not. One that was not there, or was being recovered, did not hear it:
    /// it is asked again when it reports.
    asked: BTreeMap<PartitionId, u64>,
    /// What opening the journal asked for.
    at_start: Vec<Need>,
}

impl Actor for JournalActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let needs = mem::take(&mut self.at_start);
        self.see_to(needs, ctx);
        self.tell_how_it_is();
    }
}

impl JournalActor {
    pub(crate) fn new(shared: Arc<Shared>, journal: Journal, at_start: Vec<Need>) -> Self {
        let (waiting, in_flight) = (Queue::default(), None);
        let asked = BTreeMap::new();
        Self {
            shared,
            journal,
            waiting,
            turns: Turns::default(),
            in_flight,
            is_called: false,
            rests_until: None,
            is_stuck: false,
            asked,
            at_start,
        }
    }

    fn commit(&mut self, ctx: &mut Context<Self>) {
        if self.in_flight.is_some() || self.waiting.is_empty() || self.is_stuck || self.shared.is_lost() {
            return;
        }
        let turns = match self.turns.take(self.waiting.front(), self.shared.now()) {
            Turn::Go(turns) => turns,
            Turn::Rest(until) => return self.rest(until, ctx),
        };
        let burst: Vec<_> = turns.iter().map(|at| self.waiting.task(*at).entry.clone()).collect();
        let mut needs = Vec::new();
        let staged = match self.journal.append(&burst, &mut needs) {
            Ok(staged) => staged,
            Err(error) => return self.lose(&error),
        };
        self.is_stuck = staged.count < turns.len();
        let told = self.leave(&turns[..staged.count]);
        let written = burst.iter().take(staged.count);
        let journaled = &self.shared.journaled;
        journaled.wrote(written.map(|entry| batch_bytes(&entry.kind)).sum());
        self.tell_how_it_is();
        if let Some(file) = staged.file {
            journaled.syncs(self.shared.now());
            self.in_flight = Some(told);
            let me = ctx.address();
            let is_hurried = Turns::is_hurried(burst.iter().map(Entry::len).sum());
            let hurry = is_hurried.then(|| self.shared.store.disk().hurry());
            file.sync_then(Box::new(move |synced| {
                drop(hurry);
                me.do_send(SyncDone(synced));
            }));
        }
        self.see_to(needs, ctx);
        if self.is_stuck {
            self.go_around();
        }
    }

    /// Large batches have their turn then; a small one that comes before is not kept.
    fn rest(&mut self, until: Deadline, ctx: &mut Context<Self>) {
        if self.rests_until.replace(until) == Some(until) {
            return;
        }
        let rest = Duration::from_millis(until.0.saturating_sub(self.shared.now().mono_ms));
        ctx.run_later(rest, move |journal, ctx| {
            // Large ones that went behind a small one may rest anew: that has a wake-up of its own.
            if journal.rests_until == Some(until) {
                journal.rests_until = None;
                journal.commit(ctx);
            }
        });
    }

    /// Those at these places have been written and wait no more: who is to be told of them.
    fn leave(&mut self, written: &[usize]) -> Vec<(PartitionId, PartitionAddr, Offset)> {
        let left = self.waiting.leave(written).into_iter();
        left.map(|Waiting { entry, end, to }| (entry.partition, to, end)).collect()
    }

    /// No room: who waits is made safe by a sync of its own segments, so that an append never waits for somebody else's
    /// partition. What is safe that way leaves the queue when the partition reports.
    fn go_around(&self) {
        for partition in self.waiting.partitions() {
            self.shared.directory.tell(partition, Checkpoint { settle: None });
        }
    }

    fn see_to(&mut self, needs: Vec<Need>, ctx: &mut Context<Self>) {
        for need in needs {
            match need {
                Need::Run(job) => self.run(job, ctx),
                Need::Settle { partitions, upto } => {
                    let image = self.shared.directory.image();
                    for partition in partitions {
                        if image.partition(partition).is_some() {
                            self.asked.insert(partition, upto);
                            self.shared.directory.tell(partition, Checkpoint { settle: Some(upto) });
                        } else {
                            ctx.notify(Forgotten { partition });
                        }
                    }
                }
            }
        }
    }

    fn tell_how_it_is(&self) {
        self.shared.journaled.is(self.journal.bytes(), self.waiting.len());
    }

    fn run(&self, job: Job, ctx: &mut Context<Self>) {
        let me = ctx.address();
        self.shared.on_pool(move || me.do_send(JobEnded(job.run())));
    }

    /// Something was freed: what found no room before may find it now.
    fn retry(&mut self, needs: Vec<Need>, ctx: &mut Context<Self>) {
        self.see_to(needs, ctx);
        self.is_stuck = false;
        self.commit(ctx);
        self.tell_how_it_is();
    }

    /// The data directory is lost: nobody is told that anything is safe, now or later.
    fn lose(&mut self, error: &JournalError) {
        self.waiting.clear();
        self.in_flight = None;
        self.tell_how_it_is();
        self.shared.lose(error);
    }
}

impl Handler<Harden> for JournalActor {
    type Result = ();

    fn handle(&mut self, harden: Harden, ctx: &mut Context<Self>) {
        let Harden { partition, epoch, batches, is_flood, waited_us, to } = harden;
        if self.shared.is_lost() {
            return to.do_send(PersistFailed);
        }
        if self.in_flight.is_none() && !mem::replace(&mut self.is_called, true) {
            // Runs once the mailbox is drained: one write and one sync for the burst.
            ctx.notify(Commit);
        }
        let now = self.shared.now();
        if let Some(us) = waited_us {
            self.turns.waited(us);
        }
        for batch in batches {
            let kind = EntryKind::Append { base: batch.base, bytes: batch.bytes };
            let entry = Entry { partition, epoch, kind };
            let one = turns::Waiting { partition, bytes: entry.len(), is_flood };
            self.turns.came(one, now);
            self.waiting.push(one, Waiting { entry, end: batch.end, to: to.clone() });
        }
        self.tell_how_it_is();
        if self.is_stuck {
            self.shared.directory.tell(partition, Checkpoint { settle: None });
        }
    }
}

impl Handler<Commit> for JournalActor {
    type Result = ();

    fn handle(&mut self, Commit: Commit, ctx: &mut Context<Self>) {
        self.is_called = false;
        self.commit(ctx);
    }
}

impl Handler<SyncDone> for JournalActor {
    type Result = ();

    fn handle(&mut self, SyncDone(synced): SyncDone, ctx: &mut Context<Self>) {
        let batches = synced.is_ok().then(|| self.in_flight.as_ref().map_or(0, Vec::len));
        self.shared.journaled.synced(batches);
        if let Err(error) = synced
            && !planted::is(planted::Bug::FailedSyncIgnored)
        {
            self.journal.sync_failed();
            log::error!(error:% = error; "the journal cannot be synced");
            return self.lose(&JournalError::Lost);
        }
        self.journal.synced();
        self.turns.synced(self.shared.now());
        // One message a partition: a later end covers the earlier ones, which come in order.
        let mut ends = BTreeMap::new();
        for (partition, to, end) in mem::take(&mut self.in_flight).unwrap_or_default() {
            ends.insert(partition, (to, end));
        }
        for (to, end) in ends.into_values() {
            to.do_send(Persisted { end });
        }
        self.commit(ctx);
    }
}

impl Handler<Settled> for JournalActor {
    type Result = ();

    fn handle(&mut self, Settled { partition, upto, end }: Settled, ctx: &mut Context<Self>) {
        if let Some(asked) = self.asked.get(&partition).copied() {
            if asked <= upto {
                self.asked.remove(&partition);
            } else {
                self.shared.directory.tell(partition, Checkpoint { settle: Some(asked) });
            }
        }
        self.waiting.leave_of(partition, |one| one.end <= end);
        let mut needs = Vec::new();
        self.journal.settled(partition, upto, &mut needs);
        self.retry(needs, ctx);
    }
}

impl Handler<Forgotten> for JournalActor {
    type Result = ();

    fn handle(&mut self, Forgotten { partition }: Forgotten, ctx: &mut Context<Self>) {
        self.asked.remove(&partition);
        self.waiting.leave_of(partition, |_| true);
        let mut needs = Vec::new();
        self.journal.forgotten(partition, &mut needs);
        self.retry(needs, ctx);
    }
}

impl Handler<JobEnded> for JournalActor {
    type Result = ();

    fn handle(&mut self, JobEnded(done): JobEnded, ctx: &mut Context<Self>) {
        let mut needs = Vec::new();
        match self.journal.done(done, &mut needs) {
            Ok(()) => self.retry(needs, ctx),
            Err(error) => self.lose(&error),
        }
    }
}

fn batch_bytes(kind: &EntryKind) -> u64 {
    match kind {
        EntryKind::Append { bytes, .. } => bytes.len() as u64,
        EntryKind::MoveStart { .. } | EntryKind::Truncate { .. } => 0,
    }
}
