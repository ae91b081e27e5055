//! What readers ask a partition. The owner only plans; whoever asked reads, because what lies below the high watermark
//! never changes.

use std::sync::Arc;

use actix::{Context, Handler};
use bytes::Bytes;
use ottla_rules::{
    ids::{LeaderEpoch, Offset},
    partition::{Heard, Moment, ReadAsk, ReadBounds, ReadError},
    planted,
};
use ottla_store::{AbortedLook, FileRange, Slice};
use tokio::sync::OnceCell;

use super::{PartitionActor, State};
use crate::stage::{bell::Pull, messages, reply::Reply};

/// Asks what can be read.
#[derive(Debug)]
pub struct PlanRead {
    /// The question.
    pub ask: ReadAsk,
    /// How many bytes at most.
    pub bytes_max: usize,
    /// Rung once there is more than the plan has.
    pub bell: Option<Pull<Arc<SharedPlan>>>,
    /// Nobody else is asked: the bell brings the next plan along.
    pub is_alone: bool,
    /// Whom to answer.
    pub reply: Reply<Result<ReadPlan, ReadError>>,
}

/// What may be read by all who have asked the same and were rung together: what one of them has found and read is there for the others.
#[derive(Debug)]
pub struct SharedPlan {
    /// The plan.
    pub plan: ReadPlan,
    /// Where its whole batches are.
    pub range: OnceCell<FileRange>,
    /// These batches, where they are small.
    pub bytes: OnceCell<Bytes>,
}

/// Who waits for one partition.
#[derive(Debug)]
pub(super) struct Waiting {
    pull: Pull<Arc<SharedPlan>>,
    /// What it asked, when its bell is to bring the answer along.
    question: Option<(ReadAsk, usize)>,
}

impl Heard for Waiting {
    fn is_heard(&self) -> bool {
        self.pull.is_heard()
    }
}

/// What may be read now.
#[derive(Debug)]
pub struct ReadPlan {
    /// Where the log stands.
    pub bounds: ReadBounds,
    /// Where the batches are, if there are any.
    pub slice: Option<Slice>,
    /// For a reader of committed records: where it finds out what to skip.
    pub aborted: Option<AbortedLook>,
}

/// Which offset is looked up (ListOffsets).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The end: the high watermark, or the last stable offset.
    Latest,
    /// Where the log begins.
    Earliest,
    /// The very end, what is not safe yet included: for those who wait for that.
    End,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The first record at or after this time, Unix milliseconds.
    At(i64),
}

/// Looks an offset up.
#[derive(Debug)]
pub struct LookUp {
    /// Which one.
    pub wanted: Wanted,
    /// Only up to the last stable offset.
    pub committed_only: bool,
    /// The reign that the client believes in.
    pub current_epoch: Option<LeaderEpoch>,
    /// Whom to answer; none: no record is like that.
    pub reply: Reply<Result<Option<LookedUp>, ReadError>>,
}

/// An offset that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookedUp {
    /// The offset.
    pub offset: Offset,
    /// The record's timestamp, Unix milliseconds; -1 for the ends of the log.
    pub timestamp: i64,
    /// The reign under which the record was appended; for the ends, the one that counts there.
    pub epoch: LeaderEpoch,
}

/// Where reigns ended, in the order in which they were asked for.
pub type Ends = Result<Vec<Result<(LeaderEpoch, Offset), ReadError>>, ReadError>;

/// Asks where reigns ended (OffsetForLeaderEpoch).
#[derive(Debug)]
pub struct EpochEnds {
    /// Which reigns, and the one that the client believes in each time.
    pub asked: Vec<(LeaderEpoch, Option<LeaderEpoch>)>,
    /// Whom to answer.
    pub reply: Reply<Ends>,
}

/// Asks how much there is (DescribeLogDirs).
#[derive(Debug)]
pub struct Weigh {
    /// Whom to answer, with the bytes of all segments.
    pub reply: Reply<Result<u64, ReadError>>,
}

messages!(PlanRead, LookUp, EpochEnds, Weigh);

impl Handler<PlanRead> for PartitionActor {
    type Result = ();

    fn handle(&mut self, plan: PlanRead, ctx: &mut Context<Self>) {
        let PlanRead { ask, bytes_max, bell, is_alone, reply } = plan;
        let plan = match self.plan(ask, bytes_max) {
            Ok(plan) => plan,
            Err(error) => return reply.send(Err(error)),
        };
        let upto = plan.bounds.upto;
        reply.send(Ok(plan));
        if let Some(pull) = bell {
            let waiting = Waiting { pull, question: is_alone.then_some((ask, bytes_max)) };
            // A reader too many is not watched for: it is answered with what there is when its time is over.
            self.step(ctx, |leader, _, out| {
                let _ = leader.watch(waiting, upto, ask.committed_only, out);
            });
        }
    }
}

impl PartitionActor {
    fn plan(&self, ask: ReadAsk, bytes_max: usize) -> Result<ReadPlan, ReadError> {
        let (leader, log) = match &self.state {
            State::Recovering { .. } => return Err(ReadError::NotHere),
            State::Offline => return Err(ReadError::Storage),
            State::Leading { leader, log } => (leader, log),
        };
        let bounds = leader.plan_read(ask)?;
        let slice = log.locate(bounds.from, bounds.upto, bytes_max);
        let aborted = ask.committed_only.then(|| log.aborted());
        Ok(ReadPlan { bounds, slice, aborted })
    }

    /// Rings for whom there is something to read, and brings along what it would ask for next.
    pub(super) fn ring(&mut self) {
        if self.rung.is_empty() {
            return;
        }
        let mut moment = Moment::default();
        for Waiting { pull, question } in std::mem::take(&mut self.rung) {
            // Most readers that had something to read have left.
            if !pull.is_heard() {
                continue;
            }
            let news = question.and_then(|question| {
                moment.answer(question, |(ask, bytes_max)| {
                    let mut ask = *ask;
                    if planted::is(planted::Bug::BellSkips) {
                        ask.from = ask.from.plus(1);
                    }
                    // A refusal it hears when it asks for itself.
                    self.plan(ask, *bytes_max).ok().map(|plan| {
                        Arc::new(SharedPlan { plan, range: OnceCell::new(), bytes: OnceCell::new() })
                    })
                })
            });
            self.peal.add(pull, news);
        }
        self.peal.ring();
    }
}

impl Handler<EpochEnds> for PartitionActor {
    type Result = ();

    fn handle(&mut self, EpochEnds { asked, reply }: EpochEnds, _: &mut Context<Self>) {
        match &self.state {
            State::Recovering { .. } => (),
            State::Offline => reply.send(Err(ReadError::Storage)),
            State::Leading { leader, .. } => {
                let ends = asked.into_iter().map(|(epoch, current)| leader.epoch_end(epoch, current));
                reply.send(Ok(ends.collect()));
            }
        }
    }
}

impl Handler<Weigh> for PartitionActor {
    type Result = ();

    fn handle(&mut self, weigh: Weigh, _: &mut Context<Self>) {
        match &self.state {
            State::Recovering { .. } => (),
            State::Offline => weigh.reply.send(Err(ReadError::Storage)),
            State::Leading { log, .. } => weigh.reply.send(Ok(log.size_bytes())),
        }
    }
}

impl Handler<LookUp> for PartitionActor {
    type Result = ();

    fn handle(&mut self, look: LookUp, _: &mut Context<Self>) {
        let LookUp { wanted, committed_only, current_epoch, reply } = look;
        let (leader, log) = match &self.state {
            State::Recovering { .. } => return,
            State::Offline => return reply.send(Err(ReadError::Storage)),
            State::Leading { leader, log } => (leader, log),
        };
        if let Err(error) = leader.check_epoch(current_epoch) {
            return reply.send(Err(error));
        }
        let upto = if committed_only { leader.stable() } else { leader.high_watermark() };
        let unpacked_max = self.charge.shared.limits().records_unpacked_bytes_max;
        let search = match wanted {
            Wanted::Latest => {
                let found = LookedUp { offset: upto, timestamp: -1, epoch: leader.epoch() };
                return reply.send(Ok(Some(found)));
            }
            Wanted::Earliest => {
                let offset = leader.log_start();
                let epoch = leader.epochs().of(offset).unwrap_or(leader.epoch());
                return reply.send(Ok(Some(LookedUp { offset, timestamp: -1, epoch })));
            }
            Wanted::End => {
                // After a failed sync what is above the high watermark never becomes safe, and nobody is to wait for it.
                let is_lost = self.charge.shared.is_lost();
                let offset = if is_lost { leader.high_watermark() } else { leader.end() };
                let found = LookedUp { offset, timestamp: -1, epoch: leader.epoch() };
                return reply.send(Ok(Some(found)));
            }
            Wanted::MaxTimestamp => log.max_timestamp_lookup(upto, unpacked_max),
            Wanted::At(timestamp) => log.lookup(timestamp, upto, unpacked_max),
        };
        let id = self.id();
        self.charge.shared.on_pool(move || {
            let found = search.run().map_err(|error| {
                log::error!(partition:% = id, error:% = error; "looking a time up failed");
                ReadError::Storage
            });
            reply.send(found.map(|found| {
                found.map(|f| LookedUp { offset: f.offset, timestamp: f.timestamp, epoch: f.epoch })
            }));
        });
    }
}
