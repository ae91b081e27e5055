//! Exactly once: copiers that read numbers, write each into every partition, and commit what they have read, all in one transaction.
//!
//! What a copier reads is made up: the number that comes next is the offset that its group has committed. So the committed
//! offset says how many numbers are in every partition, each once and in order, and nothing else is there for whoever reads
//! what is committed.
//!
//! Some sessions end at the first trouble, and the next one makes an end of what they left; others go on over it.

mod line;

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use ottla_rules::batch::Walk;
use ottla_rules::ids::TopicId;
use ottla_wire::codes::Code;
use ottla_wire::fetch::Records;
use ottla_wire::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use ottla_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use ottla_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ottla_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use ottla_wire::messages::produce::ProduceResponse;
use ottla_wire::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse,
};
use ottla_wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use tokio::task::spawn_local;

use self::line::Line;
use crate::anomaly::Anomaly;
use crate::client::Client;
use crate::ledger::Mark;
use crate::plan::between;
use crate::records::{records_in, transactional_batch};
use crate::scene::{Scene, TOPIC};

const PRODUCE: i16 = 13;
const FETCH: i16 = 13;
const FIND_COORDINATOR: i16 = 4;
const INIT_PRODUCER_ID: i16 = 5;
const END_TXN: i16 = 5;
const TXN_OFFSET_COMMIT: i16 = 5;
const OFFSET_FETCH: i16 = 8;
const READ_COMMITTED: i8 = 1;

/// Numbers that a copier copies.
pub(crate) const NUMBERS: u32 = 40;
/// The lanes of records that were aborted begin here: nobody may see one.
const ABORTED: usize = 1_000;
const RECORD_BYTES: usize = 40;
const FETCH_BYTES: i32 = 100_000;

/// What is known of the copies, whatever node says it.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// Of each copier: the offset that was acknowledged as committed, and the largest that may have been.
    offsets: Vec<(i64, i64)>,
    /// Of each partition and copier: how many numbers were seen.
    seen: Vec<Vec<u32>>,
    /// Of each partition: the life in which it was last read from its beginning.
    checked: Vec<u64>,
}

impl Copies {
    pub(crate) fn new(copiers: usize, partitions: usize) -> Self {
        Self {
            offsets: vec![(0, 0); copiers],
            seen: vec![vec![0; copiers]; partitions],
            checked: vec![0; partitions],
        }
    }

    /// Everything is copied, and was seen.
    pub(crate) fn is_done(&self) -> bool {
        self.offsets.iter().all(|(acked, _)| *acked == i64::from(NUMBERS))
            && self.seen.iter().flatten().all(|count| *count == NUMBERS)
    }

    pub(crate) fn is_checked(&self, life: u64) -> bool {
        self.checked.iter().all(|checked| *checked == life)
    }

    /// A stable offset was read.
    fn stands_at(&self, copier: usize, offset: i64) -> Result<(), Anomaly> {
        let (acked, sent) = self.offsets[copier];
        if (acked..=sent).contains(&offset) {
            return Ok(());
        }
        let text = format!("copier {copier} stands at {offset}, {acked} was acknowledged and {sent} sent");
        Err(Anomaly::NotOnce(text))
    }

    /// A partition was read from its beginning: everything that is committed.
    fn read(&mut self, partition: usize, marks: &[(i64, Mark)], life: u64) -> Result<(), Anomaly> {
        let mut counts = vec![0; self.offsets.len()];
        for (offset, mark) in marks {
            let wrong = |what: &str| Anomaly::NotOnce(format!("{mark} at {partition}:{offset} {what}"));
            let count = counts.get_mut(mark.lane).ok_or_else(|| wrong("was aborted"))?;
            if *count != mark.number {
                return Err(wrong(if mark.number < *count {
                    "is there twice"
                } else {
                    "has no record before it"
                }));
            }
            *count += 1;
        }
        for (copier, count) in counts.iter().enumerate() {
            let before = self.seen[partition][copier];
            if *count < before || i64::from(*count) > self.offsets[copier].1 {
                let text = format!("copier {copier} has {count} records in {partition}, {before} were seen");
                return Err(Anomaly::NotOnce(text));
            }
        }
        self.seen[partition] = counts;
        self.checked[partition] = life;
        Ok(())
    }
}

/// Runs all copiers.
pub(crate) async fn copy_all(scene: Rc<Scene>) -> turmoil::Result {
    let topic = scene.wait_for_topic(0).await;
    for number in 0..scene.plan.copiers {
        let copier = Copier { topic, number };
        spawn_local(copier.copy(scene.clone()));
    }
    std::future::pending().await
}

/// Reads everything that is committed, again and again.
pub(crate) async fn watch_all(scene: Rc<Scene>) -> turmoil::Result {
    let topic = scene.wait_for_topic(0).await;
    for partition in 0..scene.plan.partitions {
        spawn_local(watch(scene.clone(), topic, partition));
    }
    std::future::pending().await
}

/// One of those who copy.
#[derive(Clone, Copy)]
struct Copier {
    topic: TopicId,
    number: usize,
}

/// A producer's session, and where its group stands.
struct Session {
    producer: i64,
    epoch: i16,
    sequence: i32,
    position: u32,
}

/// What ends a session: anything but success. The next one makes an end of what it left.
struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self
    }
}

fn good(code: i16) -> Result<(), Over> {
    if code == Code::None.number() { Ok(()) } else { Err(Over) }
}

impl Copier {
    fn id(self) -> String {
        format!("copier-{}", self.number)
    }

    async fn copy(self, scene: Rc<Scene>) {
        loop {
            let _ = self.serve(&scene, &mut Line::new(&scene)).await;
            scene.note(format_args!("copier {} begins again", self.number));
            scene.rest(40).await;
        }
    }

    /// One session, as long as it goes on.
    async fn serve(self, scene: &Scene, line: &mut Line<'_>) -> Result<(), Over> {
        self.find_coordinators(line).await?;
        let request = InitProducerIdRequest {
            transactional_id: Some(self.id()),
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
        };
        let codes = |begun: &InitProducerIdResponse| vec![begun.error_code];
        let begun = line.ask(INIT_PRODUCER_ID, &request, codes).await?;
        let position = self.position(line).await?;
        let mut session =
            Session { producer: begun.producer_id, epoch: begun.producer_epoch, sequence: 0, position };
        while session.position < NUMBERS {
            self.transact(line, &mut session).await?;
            scene.rest(20).await;
        }
        // Nothing is left to do but to look whether it stays so.
        loop {
            scene.rest(100).await;
            self.position(line).await?;
        }
    }

    async fn find_coordinators(self, line: &mut Line<'_>) -> Result<(), Over> {
        for key_type in [0, 1] {
            let coordinator_keys = vec![self.id()];
            let request = FindCoordinatorRequest { key_type, coordinator_keys, ..Default::default() };
            let codes = |found: &FindCoordinatorResponse| vec![found.coordinators[0].error_code];
            line.ask(FIND_COORDINATOR, &request, codes).await?;
        }
        Ok(())
    }

    /// The number that comes next, once no transaction can change it.
    async fn position(self, line: &mut Line<'_>) -> Result<u32, Over> {
        let topic =
            OffsetFetchRequestTopics { name: TOPIC.into(), partition_indexes: vec![0], ..Default::default() };
        let group =
            OffsetFetchRequestGroup { group_id: self.id(), topics: Some(vec![topic]), ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
        let codes = |answer: &OffsetFetchResponse| {
            let of_topics = answer.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
            let of_topics = of_topics.map(|partition| partition.error_code);
            of_topics.chain([answer.groups[0].error_code]).collect()
        };
        let answer = line.ask(OFFSET_FETCH, &request, codes).await?;
        let offset = answer.groups[0].topics[0].partitions[0].committed_offset.max(0);
        let scene = line.scene;
        scene.note(format_args!("copier {} stands at {offset}", self.number));
        let right = scene.copies.borrow().stands_at(self.number, offset);
        scene.report(right);
        u32::try_from(offset).map_err(|_| Over)
    }

    /// One transaction, committed or aborted.
    async fn transact(self, line: &mut Line<'_>, session: &mut Session) -> Result<(), Over> {
        let scene = line.scene;
        let most = u64::from((NUMBERS - session.position).min(3));
        let count = u32::try_from(between(&scene.luck, 1, most)).unwrap_or(1);
        let (committed, offsets_first) = (scene.luck.below(4) > 0, scene.luck.below(2) == 0);
        let next = session.position + count;
        if offsets_first {
            self.commit_offset(line, session, next).await?;
        }
        self.write(line, session, session.position..next, committed).await?;
        if !offsets_first {
            self.commit_offset(line, session, next).await?;
        }
        let request = EndTxnRequest {
            transactional_id: self.id(),
            producer_id: session.producer,
            producer_epoch: session.epoch,
            committed,
        };
        if committed {
            scene.copies.borrow_mut().offsets[self.number].1 = i64::from(next);
        }
        let ended = line.ask(END_TXN, &request, |ended: &EndTxnResponse| vec![ended.error_code]).await?;
        scene.note(format_args!("copier {} has ended {count}: {committed}", self.number));
        (session.producer, session.epoch, session.sequence) = (ended.producer_id, ended.producer_epoch, 0);
        if committed {
            session.position = next;
            scene.copies.borrow_mut().offsets[self.number].0 = i64::from(next);
        }
        Ok(())
    }

    /// Writes numbers into every partition. Each partition counts its own sequences, in step with the others.
    async fn write(
        self,
        line: &mut Line<'_>,
        session: &mut Session,
        numbers: std::ops::Range<u32>,
        committed: bool,
    ) -> Result<(), Over> {
        let lane = if committed { self.number } else { ABORTED + self.number };
        let partition_data = (0..line.scene.plan.partitions).map(|index| {
            let marks = numbers.clone().map(|number| Mark { lane, number });
            let producer = (session.producer, session.epoch, session.sequence);
            let records = Some(transactional_batch(producer, marks, RECORD_BYTES));
            PartitionProduceData { index: i32::try_from(index).unwrap_or(i32::MAX), records }
        });
        let partition_data = partition_data.collect();
        let topic = TopicProduceData { topic_id: self.topic, partition_data, ..Default::default() };
        let transactional_id = Some(self.id());
        let request =
            ProduceRequest { transactional_id, acks: -1, timeout_ms: 30_000, topic_data: vec![topic] };
        let codes = |answer: &ProduceResponse| {
            answer.responses[0].partition_responses.iter().map(|partition| partition.error_code).collect()
        };
        line.ask(PRODUCE, &request, codes).await?;
        session.sequence += i32::try_from(numbers.len()).unwrap_or(0);
        Ok(())
    }

    async fn commit_offset(self, line: &mut Line<'_>, session: &Session, next: u32) -> Result<(), Over> {
        let partition = TxnOffsetCommitRequestPartition {
            committed_offset: i64::from(next),
            committed_leader_epoch: -1,
            ..Default::default()
        };
        let request = TxnOffsetCommitRequest {
            transactional_id: self.id(),
            group_id: self.id(),
            producer_id: session.producer,
            producer_epoch: session.epoch,
            generation_id: -1,
            topics: vec![TxnOffsetCommitRequestTopic { name: TOPIC.into(), partitions: vec![partition] }],
            ..Default::default()
        };
        let codes = |answer: &TxnOffsetCommitResponse| vec![answer.topics[0].partitions[0].error_code];
        line.ask(TXN_OFFSET_COMMIT, &request, codes).await.map(drop)
    }
}

async fn watch(scene: Rc<Scene>, topic: TopicId, partition: usize) {
    loop {
        let life = scene.life.get();
        if let Ok(mut client) = Client::connect(&scene).await
            && let Ok(marks) = read_committed(&mut client, topic, partition).await
            && scene.life.get() == life
        {
            let right = marks.map_err(Anomaly::Corrupt);
            let right = right.and_then(|marks| scene.copies.borrow_mut().read(partition, &marks, life));
            scene.report(right);
        }
        scene.rest(60).await;
    }
}

/// Everything of a partition that is committed, as a client sorts it out.
async fn read_committed(
    client: &mut Client,
    topic: TopicId,
    partition: usize,
) -> Result<Result<Vec<(i64, Mark)>, String>, Over> {
    let (mut marks, mut from) = (vec![], 0);
    loop {
        let asked = FetchPartition {
            partition: i32::try_from(partition).unwrap_or(i32::MAX),
            fetch_offset: from,
            partition_max_bytes: FETCH_BYTES,
            ..Default::default()
        };
        let topics = vec![FetchTopic { topic_id: topic, partitions: vec![asked], ..Default::default() }];
        let request = FetchRequest {
            max_bytes: FETCH_BYTES,
            isolation_level: READ_COMMITTED,
            topics,
            ..Default::default()
        };
        let mut answer: FetchResponse = client.ask(FETCH, &request).await?;
        good(answer.error_code)?;
        let data = answer.responses.remove(0).partitions.remove(0);
        good(data.error_code)?;
        let end = match kept(&data, from, &mut marks) {
            Ok(end) => end,
            Err(what) => return Ok(Err(what)),
        };
        match end {
            Some(end) if end > from => from = end,
            Some(_) | None => return Ok(Ok(marks)),
        }
    }
}

/// Takes what is not aborted out of an answer; where its records end.
fn kept(data: &PartitionData, from: i64, marks: &mut Vec<(i64, Mark)>) -> Result<Option<i64>, String> {
    let mut aborted = data.aborted_transactions.clone().unwrap_or_default().into_iter().peekable();
    let Some(Records::Bytes(bytes)) = &data.records else { return Ok(None) };
    // Markers and what was aborted are among the batches, so that there is no gap.
    if let Some(gap) = records_in(bytes, from)?.gap {
        return Err(format!("{gap:?} is missing in what is committed"));
    }
    let (mut skipping, mut end) = (vec![], None);
    for found in Walk::over(bytes) {
        let (at, header) = found.map_err(|error| error.to_string())?;
        end = Some(header.end().0);
        while let Some(row) = aborted.next_if(|row| row.first_offset < header.end().0) {
            skipping.push(row.producer_id);
        }
        if header.attributes.is_control() {
            skipping.retain(|producer| *producer != header.producer_id.0);
        } else if !skipping.contains(&header.producer_id.0) {
            let batch: Bytes = bytes.slice(at..at + header.size());
            marks.extend(records_in(&batch, header.base_offset.0)?.records);
        }
    }
    Ok(end)
}
