//! One idempotent producer, as Kafka's clients are: batches in order, some of them unanswered, each sent again under its
//! sequence until it is acknowledged, also after the node was restarted.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use ottla_actors::partition::Append;
use ottla_actors::stage::directory::Directory;
use ottla_actors::stage::reply::Reply;
use ottla_host::Chance;
use ottla_rules::batch::build::BatchBuilder;
use ottla_rules::batch::{Batch, BatchRules};
use ottla_rules::ids::PartitionId;
use ottla_rules::partition::{Acks, AppendError, Appended};
use ottla_rules::time::Now;

use crate::ledger::Mark;
use crate::life::Scene;
use crate::plan::{LanePlan, between};
use crate::reader::value;

/// How long a producer waits for an answer.
const PATIENCE_MS: u64 = 30_000;
/// When all records were written, simulation time: 2025-06-15.
const TIMESTAMP_MS: i64 = 1_750_000_000_000;

/// What a producer knows across the lives of the node.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) index: usize,
    pub(crate) plan: LanePlan,
    /// The first record of the next new batch.
    next: u32,
    /// Sent and not acknowledged, oldest first: record numbers, which are the sequences too.
    unanswered: VecDeque<Range<u32>>,
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Appended, AppendError>>>>;

impl Lane {
    pub(crate) fn new(index: usize, plan: LanePlan) -> Self {
        Self { index, plan, next: 0, unanswered: VecDeque::new() }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.next == self.plan.records && self.unanswered.is_empty()
    }

    /// The next new batch.
    fn draw(&mut self, luck: &Chance) -> Range<u32> {
        let most = self.plan.batch_records_max.min(self.plan.records - self.next);
        let size = u32::try_from(between(luck, 1, u64::from(most))).unwrap_or(1);
        let numbers = self.next..self.next + size;
        self.next = numbers.end;
        self.unanswered.push_back(numbers.clone());
        numbers
    }
}

/// Runs a lane until all of its records are acknowledged.
pub(crate) async fn produce(scene: Rc<Scene>, directory: Directory, partition: PartitionId, lane: usize) {
    // What an earlier life left unanswered comes first, in order.
    let mut again: VecDeque<Range<u32>> = scene.lanes.borrow()[lane].unanswered.iter().cloned().collect();
    let mut under_way: VecDeque<(Range<u32>, Answer)> = VecDeque::new();
    while !scene.lanes.borrow()[lane].is_done() {
        let window = scene.lanes.borrow()[lane].plan.window;
        while under_way.len() < window {
            let Some(numbers) = again.pop_front().or_else(|| fresh(&scene, lane)) else { break };
            let answer = send(&scene, &directory, partition, lane, numbers.clone());
            under_way.push_back((numbers, answer));
        }
        let Some((numbers, answer)) = under_way.pop_front() else { return };
        let refused = !settle(&scene, lane, numbers, answer.await);
        if refused {
            for (numbers, answer) in std::mem::take(&mut under_way) {
                settle(&scene, lane, numbers, answer.await);
            }
            rest(&scene, 40).await;
            again = scene.lanes.borrow()[lane].unanswered.iter().cloned().collect();
        } else if scene.luck.below(3) == 0 {
            let rest_ms_max = scene.lanes.borrow()[lane].plan.rest_ms_max;
            rest(&scene, rest_ms_max).await;
        }
    }
}

async fn rest(scene: &Scene, ms_max: u64) {
    let clock = &scene.host.clock;
    clock.sleep_until(clock.now().mono_ms + scene.luck.below(ms_max + 1)).await;
}

fn fresh(scene: &Scene, lane: usize) -> Option<Range<u32>> {
    let mut lanes = scene.lanes.borrow_mut();
    let lane = &mut lanes[lane];
    (lane.next < lane.plan.records).then(|| lane.draw(&scene.luck))
}

fn send(
    scene: &Scene,
    directory: &Directory,
    partition: PartitionId,
    lane: usize,
    numbers: Range<u32>,
) -> Answer {
    scene.note(format_args!("lane {lane} sends {numbers:?}"));
    scene.ledger.borrow_mut().send(lane, numbers.end);
    let batch = batch(scene, lane, numbers);
    let (reply, answer) = Reply::once();
    let acks = if lane.is_multiple_of(2) { Acks::All } else { Acks::Leader };
    directory.tell(partition, Append { batch, acks, patience_ms: PATIENCE_MS, reply });
    Box::pin(answer)
}

/// The same bytes each time the same batch is sent.
fn batch(scene: &Scene, lane: usize, numbers: Range<u32>) -> Batch {
    let record_bytes = scene.lanes.borrow()[lane].plan.record_bytes;
    let sequence = i32::try_from(numbers.start).unwrap_or(i32::MAX);
    let id = i64::try_from(lane).unwrap_or(i64::MAX);
    let builder = numbers.fold(BatchBuilder::new().producer(id, 0, sequence), |builder, number| {
        builder.value(value(Mark { lane, number }, record_bytes), TIMESTAMP_MS + i64::from(number))
    });
    let now = scene.host.clock.now();
    let now = Now { mono_ms: now.mono_ms, wall_ms: now.wall_ms };
    match Batch::parse(builder.build(), &BatchRules::default(), now) {
        Ok(batch) => batch,
        Err(error) => unreachable!("the builder makes valid batches: {error}"),
    }
}

/// Takes note of an answer; whether the batch is acknowledged.
fn settle(scene: &Scene, lane: usize, numbers: Range<u32>, answer: Result<Appended, AppendError>) -> bool {
    match answer {
        Ok(Appended { base, .. }) => {
            scene.note(format_args!("lane {lane} has {numbers:?} at {base}"));
            scene.lanes.borrow_mut()[lane].unanswered.retain(|other| *other != numbers);
            let told = scene.ledger.borrow_mut().acknowledge(lane, numbers, base.0);
            scene.report(told);
            true
        }
        Err(error) => {
            scene.note(format_args!("lane {lane} has no answer for {numbers:?}: {error}"));
            false
        }
    }
}
