//! One consumer of one partition: in each life of the node it reads everything, for the ledger to judge, and then reads along.

use std::io;
use std::rc::Rc;

use ottla_rules::ids::TopicId;
use ottla_wire::Message;
use ottla_wire::codes::Code;
use ottla_wire::fetch::Records;
use ottla_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ottla_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use tokio::task::spawn_local;

use crate::anomaly::Anomaly;
use crate::client::Client;
use crate::ledger::Reading;
use crate::records::{Found, records_in};
use crate::scene::{Scene, TOPIC};

/// Names topics by id.
const FETCH: i16 = 13;
const LIST_OFFSETS: i16 = 8;
/// Asks ListOffsets for the log start.
const EARLIEST: i64 = -2;
/// Bytes of one fetch.
const FETCH_BYTES: i32 = 100_000;

/// Runs all consumers, those of each topic once it is there.
pub(crate) async fn consume_all(scene: Rc<Scene>) -> turmoil::Result {
    for of in 0..scene.plan.topics() {
        let topic = scene.wait_for_topic(of).await;
        for (index, partition) in (0..).zip(scene.plan.partitions_of(of)) {
            let reader = Reader { topic, of, index, partition };
            spawn_local(reader.consume(scene.clone()));
        }
    }
    std::future::pending().await
}

/// What a consumer reads.
#[derive(Clone, Copy)]
struct Reader {
    topic: TopicId,
    /// Which of the topics.
    of: usize,
    /// The partition's number within its topic.
    index: i32,
    /// The partition, counted over all topics.
    partition: usize,
}

/// Where a consumer is.
struct Position {
    next: i64,
    high_watermark: i64,
}

/// Why a consumer does not get on.
enum Stop {
    /// The connection is gone, or the partition is not there now.
    Pause,
    /// What it reads begins later now.
    Moved,
    /// The topic is gone.
    Over,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Pause
    }
}

struct Fetched {
    found: Found,
    high_watermark: i64,
}

impl Reader {
    async fn consume(self, scene: Rc<Scene>) {
        let mut position = None;
        loop {
            let stop = match Client::connect(&scene).await {
                Ok(mut client) => self.serve(&scene, &mut client, &mut position).await,
                Err(error) => Err(error.into()),
            };
            match stop {
                Err(Stop::Over) => return,
                Err(Stop::Moved) => position = None,
                Err(Stop::Pause) | Ok(()) => (),
            }
            scene.rest(20).await;
        }
    }

    /// Uses one connection as long as it lasts. `position` is where an earlier one was in this life.
    async fn serve(
        self,
        scene: &Scene,
        client: &mut Client,
        at: &mut Option<(u64, Position)>,
    ) -> Result<(), Stop> {
        loop {
            let life = scene.life.get();
            match at {
                Some((since, position)) if *since == life => self.follow(scene, client, position).await?,
                _ => {
                    let position = self.read_all(scene, client).await?;
                    // Begun in an earlier life, it says nothing about this one.
                    if scene.life.get() == life {
                        scene.checked.borrow_mut()[self.partition] = life;
                        *at = Some((life, position));
                    }
                }
            }
        }
    }

    /// Reads from the log start to the high watermark, and has the ledger judge.
    async fn read_all(self, scene: &Scene, client: &mut Client) -> Result<Position, Stop> {
        let (low, order) = {
            let ledger = scene.ledger.borrow();
            (ledger.low(self.partition), ledger.order())
        };
        let begin_ms = scene.now_ms();
        let start = self.log_start(scene, client).await?;
        let (mut next, mut log) = (start, vec![]);
        loop {
            let Fetched { found, high_watermark } = self.fetch(scene, client, next, 0).await?;
            log.extend(found.records);
            if found.next >= high_watermark {
                scene.note(format_args!(
                    "partition {} has {} records from {start}",
                    self.partition,
                    log.len()
                ));
                let reading = Reading { start, low, order, begin_ms, log };
                let mut ledger = scene.ledger.borrow_mut();
                ledger.is_now(scene.now_ms());
                let told = ledger.check(self.partition, &reading);
                drop(ledger);
                scene.report(told);
                return Ok(Position { next: found.next, high_watermark });
            }
            if found.next == next {
                scene.report(Err(Anomaly::Unavailable(format!(
                    "nothing can be read at {}:{next}, the high watermark is {high_watermark}",
                    self.partition
                ))));
                return Err(Stop::Over);
            }
            next = found.next;
        }
    }

    async fn log_start(self, scene: &Scene, client: &mut Client) -> Result<i64, Stop> {
        let partition =
            ListOffsetsPartition { partition_index: self.index, timestamp: EARLIEST, ..Default::default() };
        let topic = ListOffsetsTopic { name: TOPIC.into(), partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let answer: ListOffsetsResponse = self.ask(scene, client, LIST_OFFSETS, &request).await?;
        let found = &answer.topics[0].partitions[0];
        self.judge(scene, found.error_code)?;
        Ok(found.offset)
    }

    /// Reads along: what comes follows on what came, record by record where the log is not compacted.
    async fn follow(self, scene: &Scene, client: &mut Client, position: &mut Position) -> Result<(), Stop> {
        let low = scene.ledger.borrow().low(self.partition);
        let wait_ms = if scene.luck.below(2) == 0 { 0 } else { scene.luck.below(100) };
        let Position { next, high_watermark: before } = *position;
        let fetched = self.fetch(scene, client, next, i32::try_from(wait_ms).unwrap_or(0)).await?;
        let Fetched { found, high_watermark } = fetched;
        if high_watermark < before {
            let text = format!("the high watermark of {} fell from {before}", self.partition);
            scene.report(Err(Anomaly::Unavailable(text)));
        }
        if next < low && found.next > next {
            scene.report(Err(Anomaly::Returned { partition: self.partition, offset: next, low }));
        }
        if found.next > next {
            scene.note(format_args!("partition {} is read from {next} to {}", self.partition, found.next));
        }
        if let Some(gap) = found.gap.filter(|_| !scene.plan.compacted) {
            let (partition, expected, found) = (self.partition, gap.start, gap.end);
            scene.report(Err(Anomaly::Gap { partition, expected, found }));
        }
        let told = {
            let mut ledger = scene.ledger.borrow_mut();
            found.records.into_iter().try_for_each(|(at, mark)| ledger.tell(self.partition, at, mark))
        };
        scene.report(told);
        *position = Position { next: found.next, high_watermark };
        if wait_ms == 0 {
            scene.rest(40).await;
        }
        Ok(())
    }

    async fn fetch(
        self,
        scene: &Scene,
        client: &mut Client,
        from: i64,
        max_wait_ms: i32,
    ) -> Result<Fetched, Stop> {
        let partition = FetchPartition {
            partition: self.index,
            fetch_offset: from,
            partition_max_bytes: FETCH_BYTES,
            ..Default::default()
        };
        let topic = FetchTopic { topic_id: self.topic, partitions: vec![partition], ..Default::default() };
        let request = FetchRequest { max_wait_ms, min_bytes: 1, topics: vec![topic], ..Default::default() };
        let answer: FetchResponse = self.ask(scene, client, FETCH, &request).await?;
        self.judge(scene, answer.error_code)?;
        let data = &answer.responses[0].partitions[0];
        self.judge(scene, data.error_code)?;
        let found = match &data.records {
            Some(Records::Bytes(bytes)) => records_in(bytes, from).map_err(|what| {
                scene.report(Err(Anomaly::Corrupt(format!("{}:{from}: {what}", self.partition))));
                Stop::Over
            })?,
            Some(Records::Gap { .. }) | None => Found { next: from, ..Found::default() },
        };
        Ok(Fetched { found, high_watermark: data.high_watermark })
    }

    /// Asks, and takes no notice of an answer that comes in another life of the node: the network may have held it.
    async fn ask<Q: Message, A: Message>(
        self,
        scene: &Scene,
        client: &mut Client,
        version: i16,
        request: &Q,
    ) -> Result<A, Stop> {
        let life = scene.life.get();
        let answer = client.ask(version, request).await?;
        if scene.life.get() == life { Ok(answer) } else { Err(Stop::Pause) }
    }

    fn judge(self, scene: &Scene, code: i16) -> Result<(), Stop> {
        let refuse = |what: String| {
            scene.report(Err(Anomaly::Unavailable(what)));
            Err(Stop::Over)
        };
        let is_leaving = scene.topic(self.of).is_leaving;
        match Code::from_number(code).unwrap_or(Code::UnknownServerError) {
            Code::None => Ok(()),
            Code::UnknownTopicId | Code::UnknownTopicOrPartition if is_leaving => Err(Stop::Over),
            Code::UnknownTopicId | Code::UnknownTopicOrPartition => refuse("the topic is gone".into()),
            Code::OffsetOutOfRange => Err(Stop::Moved),
            Code::NotLeaderOrFollower => Err(Stop::Pause),
            // A lost data directory says so; what that means is judged after the restart.
            Code::KafkaStorageError if scene.sync_failed() || scene.is_short() => Err(Stop::Pause),
            code => refuse(format!("partition {} cannot be read: {code}", self.partition)),
        }
    }
}
