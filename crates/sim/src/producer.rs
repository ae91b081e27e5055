//! One idempotent producer, as Kafka's clients are: batches in order, some of them unanswered, each sent again under its
//! sequence until it is acknowledged, also over a new connection and after the node was restarted.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use ottla_host::Chance;
use ottla_rules::ids::TopicId;
use ottla_wire::codes::Code;
use ottla_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ottla_wire::messages::produce::ProduceResponse;
use ottla_wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use tokio::task::spawn_local;

use crate::anomaly::Anomaly;
use crate::client::Client;
use crate::ledger::Mark;
use crate::plan::{LanePlan, between};
use crate::records::batch;
use crate::scene::Scene;

/// The first version that names topics by id: what was meant for a topic never goes to another one of the same name.
const PRODUCE: i16 = 13;
const INIT_PRODUCER_ID: i16 = 5;

/// What a producer knows across the lives of the node.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) plan: LanePlan,
    /// The producer id, and the record that has sequence 0 under it.
    id: Option<(i64, u32)>,
    /// The first record of the next new batch.
    next: u32,
    /// Sent and not acknowledged, oldest first: record numbers.
    unanswered: VecDeque<Range<u32>>,
}

/// How it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Acknowledged,
    /// The same again, later.
    Again,
    /// The broker does not know where this producer was: a power cut took that.
    Anew,
    /// The topic is gone.
    Over,
}

impl Lane {
    pub(crate) fn new(plan: LanePlan) -> Self {
        Self { plan, id: None, next: 0, unanswered: VecDeque::new() }
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

/// Runs all producers, those of each topic once it is there.
pub(crate) async fn produce_all(scene: Rc<Scene>) -> turmoil::Result {
    for index in 0..scene.plan.topics() {
        let topic = scene.wait_for_topic(index).await;
        let of_topic = scene.plan.partitions_of(index);
        let lanes = (0..).zip(&scene.plan.lanes).filter(|(_, lane)| of_topic.contains(&lane.partition));
        for (lane, plan) in lanes {
            let writer = Writer { topic, lane, index: plan.partition - of_topic.start, of: index };
            spawn_local(writer.produce(scene.clone()));
        }
    }
    std::future::pending().await
}

/// Where a lane writes.
#[derive(Clone, Copy)]
struct Writer {
    topic: TopicId,
    lane: usize,
    /// The partition's number within its topic.
    index: usize,
    /// Which of the topics.
    of: usize,
}

/// Sent and not answered.
struct Sent {
    correlation_id: i32,
    numbers: Range<u32>,
    at_ms: u64,
    /// Power cuts before it.
    cuts: u32,
}

impl Writer {
    /// Runs the lane until all of its records are acknowledged or its topic is gone.
    async fn produce(self, scene: Rc<Scene>) {
        while !scene.lanes.borrow()[self.lane].is_done() {
            let connected = Client::connect(&scene).await;
            let served = match connected {
                Ok(client) => self.serve(&scene, client).await,
                Err(error) => Err(error),
            };
            match served {
                Ok(Verdict::Over) => return scene.note(format_args!("lane {} is over", self.lane)),
                Ok(Verdict::Acknowledged | Verdict::Again | Verdict::Anew) => (),
                Err(error) => scene.note(format_args!("lane {} is cut off: {}", self.lane, error.kind())),
            }
            scene.rest(40).await;
        }
    }

    /// Uses one connection as long as it lasts.
    async fn serve(self, scene: &Scene, mut client: Client) -> io::Result<Verdict> {
        let lane = || scene.lanes.borrow();
        let known = lane()[self.lane].id;
        if known.is_none() && !self.begin(scene, &mut client).await? {
            return Ok(Verdict::Again);
        }
        // What an earlier connection left unanswered comes first, in order.
        let mut again: VecDeque<Range<u32>> = lane()[self.lane].unanswered.iter().cloned().collect();
        let mut under_way = VecDeque::new();
        let LanePlan { window, rest_ms_max, .. } = lane()[self.lane].plan;
        // One at a time until the first answer, as Kafka's clients send again: a broker that knows nothing of a producer takes
        // whatever comes first, and that must not be the second batch because the first came before the partition was there.
        let mut open = 1;
        loop {
            while under_way.len() < open {
                let Some(numbers) = again.pop_front().or_else(|| self.fresh(scene)) else { break };
                let request = self.request(scene, numbers.clone());
                if scene.luck.below(scene.plan.drops_one_in) == 0 {
                    scene.note(format_args!("lane {} breaks off", self.lane));
                    client.break_off(PRODUCE, &request, scene.luck.u64()).await?;
                    return Ok(Verdict::Again);
                }
                let (at_ms, cuts) = (scene.now_ms(), scene.ledger.borrow().cuts());
                let correlation_id = client.send(PRODUCE, &request).await?;
                under_way.push_back(Sent { correlation_id, numbers, at_ms, cuts });
            }
            let Some(first) = under_way.pop_front() else { return Ok(Verdict::Acknowledged) };
            match self.settle(scene, &mut client, first).await? {
                Verdict::Acknowledged => {
                    open = window;
                    if scene.luck.below(3) == 0 {
                        scene.rest(rest_ms_max).await;
                    }
                }
                verdict => {
                    for other in under_way {
                        self.settle(scene, &mut client, other).await?;
                    }
                    if verdict == Verdict::Anew {
                        self.forget(scene);
                    }
                    return Ok(verdict);
                }
            }
        }
    }

    /// Takes a producer id; whether there was one.
    async fn begin(self, scene: &Scene, client: &mut Client) -> io::Result<bool> {
        let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
        let answer: InitProducerIdResponse = client.ask(INIT_PRODUCER_ID, &request).await?;
        scene.note(format_args!("lane {} is producer {}", self.lane, answer.producer_id));
        let mut lanes = scene.lanes.borrow_mut();
        let lane = &mut lanes[self.lane];
        if answer.error_code == Code::None.number() {
            let first = lane.unanswered.front().map_or(lane.next, |numbers| numbers.start);
            lane.id = Some((answer.producer_id, first));
        }
        Ok(lane.id.is_some())
    }

    fn fresh(self, scene: &Scene) -> Option<Range<u32>> {
        let mut lanes = scene.lanes.borrow_mut();
        let lane = &mut lanes[self.lane];
        (lane.next < lane.plan.records).then(|| lane.draw(&scene.luck))
    }

    fn request(self, scene: &Scene, numbers: Range<u32>) -> ProduceRequest {
        let lane = self.lane;
        scene.note(format_args!("lane {lane} sends {numbers:?}"));
        let mut ledger = scene.ledger.borrow_mut();
        ledger.is_now(scene.now_ms());
        ledger.send(lane, numbers.end);
        drop(ledger);
        let (id, first) = scene.lanes.borrow()[lane].id.unwrap_or_default();
        let sequence = i32::try_from(numbers.start - first).unwrap_or(i32::MAX);
        // A batch that is sent again has the size that it had.
        let plan = &scene.lanes.borrow()[lane].plan;
        let bytes = if numbers.start.is_multiple_of(3) { plan.third_bytes } else { plan.record_bytes };
        let records =
            batch(id, sequence, numbers.map(|number| Mark { lane, number }), bytes, scene.plan.deletes_keys);
        let data = PartitionProduceData {
            index: i32::try_from(self.index).unwrap_or(i32::MAX),
            records: Some(records),
        };
        let topic =
            TopicProduceData { topic_id: self.topic, partition_data: vec![data], ..Default::default() };
        let acks = if lane.is_multiple_of(2) { -1 } else { 1 };
        ProduceRequest { transactional_id: None, acks, timeout_ms: 30_000, topic_data: vec![topic] }
    }

    /// Waits for an answer and takes note of it.
    async fn settle(self, scene: &Scene, client: &mut Client, sent: Sent) -> io::Result<Verdict> {
        let answer: ProduceResponse = client.receive(PRODUCE, sent.correlation_id).await?;
        let numbers = sent.numbers;
        let answer = &answer.responses[0].partition_responses[0];
        let (lane, base) = (self.lane, answer.base_offset);
        let code = Code::from_number(answer.error_code).unwrap_or(Code::UnknownServerError);
        match code {
            Code::None => {
                scene.note(format_args!("lane {lane} has {numbers:?} at {base}"));
                if scene.failed_at_ms.get().is_some_and(|failed_ms| failed_ms < sent.at_ms) {
                    scene.report(Err(Anomaly::Unsafe { lane, offset: base }));
                }
                scene.lanes.borrow_mut()[lane].unanswered.retain(|other| *other != numbers);
                let told = scene.ledger.borrow_mut().acknowledge(lane, numbers, base, sent.cuts);
                scene.report(told);
                Ok(Verdict::Acknowledged)
            }
            _ => {
                scene.note(format_args!("lane {lane} has no answer for {numbers:?}: {code}"));
                Ok(self.judge(scene, code))
            }
        }
    }

    fn judge(self, scene: &Scene, code: Code) -> Verdict {
        let refuse = |what: Anomaly| {
            scene.report(Err(what));
            Verdict::Over
        };
        match code {
            Code::UnknownTopicId | Code::UnknownTopicOrPartition if scene.topic(self.of).is_leaving => {
                Verdict::Over
            }
            Code::UnknownTopicId | Code::UnknownTopicOrPartition => {
                refuse(Anomaly::Unavailable("the topic is gone".into()))
            }
            // Of what was under way behind a refused batch, the next ones come out of order: they are sent again in order.
            Code::OutOfOrderSequenceNumber if !scene.plan.page_cache => Verdict::Again,
            Code::OutOfOrderSequenceNumber | Code::UnknownProducerId => Verdict::Anew,
            Code::NotLeaderOrFollower | Code::KafkaStorageError | Code::RequestTimedOut => Verdict::Again,
            code => refuse(Anomaly::Unavailable(format!("lane {} is refused: {code}", self.lane))),
        }
    }

    /// Begins anew, under another producer id.
    fn forget(self, scene: &Scene) {
        let mut lanes = scene.lanes.borrow_mut();
        let lane = &mut lanes[self.lane];
        lane.id = None;
        let unanswered: Vec<u32> = lane.unanswered.iter().cloned().flatten().collect();
        scene.ledger.borrow_mut().begin_anew(self.lane, unanswered.into_iter());
    }
}
