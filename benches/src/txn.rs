//! Read, process, write: each transaction reads 100 committed records, writes 100, and commits where it has read to.

use std::io;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ottla_rules::batch::build::seal;
use ottla_wire::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use ottla_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use ottla_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ottla_wire::messages::produce::ProduceResponse;
use ottla_wire::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse,
};
use ottla_wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

use crate::Options;
use crate::broker::Subject;
use crate::client::{self, Client, count, refuse};
use crate::commits::{GROUP, TRANSACTION, find, patiently};
use crate::load::{self, Load, Run};
use crate::rows::{self, in_turn, latencies, middle};
use crate::table::{Table, short};

/// The versions of clients that follow `transaction.version` 2: partitions join by being written to (KIP-890).
const INIT_PRODUCER_ID: i16 = 5;
const PRODUCE: i16 = 12;
const TXN_OFFSET_COMMIT: i16 = 5;
const END_TXN: i16 = 5;
const FETCH: i16 = 4;

const RECORDS: usize = 100;
const VALUE_BYTES: usize = 90;
const INPUT: &str = "txn-in";
const OUTPUT: &str = "txn-out";
const PARTITIONS: usize = 16;
/// Batches of 100 records in each partition of the input; read again and again.
const INPUT_BATCHES: usize = 64;
const READ_COMMITTED: i8 = 1;
/// What a client is answered while the markers of its last transaction are on their way: come again.
const CONCURRENT_TRANSACTIONS: i16 = 51;

/// One producer, then sixteen.
pub(crate) fn transactions(options: &Options, table: &mut Table) -> io::Result<()> {
    let subjects = rows::synced_and_peer(options)?;
    table.head(&[
        "100 records read, written and committed",
        "who",
        "transactions/s",
        "of the last",
        "CPU us/transaction",
        "of the last",
        "p50 / p99 us",
    ]);
    let batch = client::batch(RECORDS, VALUE_BYTES);
    for subject in &subjects {
        let mut client = Client::connect(&subject.address)?;
        client.topic(INPUT, PARTITIONS)?;
        client.topic(OUTPUT, PARTITIONS)?;
        find(subject, GROUP, "copiers")?;
        let requests = (PARTITIONS * INPUT_BATCHES) as u64;
        let load = Load { topic: INPUT, partitions: PARTITIONS, connections: 1, in_flight: 1, requests };
        load::produce(subject, load, &batch)?;
        // Whoever starts slowly is given time to.
        copy(subject, &batch, 4, if options.quick { 1_000 } else { 4_000 })?;
    }
    for producers in [1, 16] {
        let what = format!("{producers} producers");
        if !options.wants_row(&what) {
            continue;
        }
        let asked = if producers == 1 { 2_000 } else { 8_000 } / if options.quick { 4 } else { 1 };
        let runs = in_turn(&subjects, options.rounds(5), |subject| copy(subject, &batch, producers, asked))?;
        let last = runs.last().map_or((f64::NAN, f64::NAN), |runs| {
            (middle(runs, Run::requests_per_s), middle(runs, Run::cpu_us_per_request))
        });
        for (subject, runs) in subjects.iter().zip(&runs) {
            let (speed, cpu) = (middle(runs, Run::requests_per_s), middle(runs, Run::cpu_us_per_request));
            table.row(&[
                what.clone(),
                subject.name.to_owned(),
                short(speed),
                short(speed / last.0),
                short(cpu),
                short(cpu / last.1),
                latencies(runs),
            ]);
        }
    }
    Ok(())
}

/// So many transactions, by so many producers, each with a partition of its own to read and to write.
fn copy(subject: &Subject, batch: &[u8], producers: usize, asked: u64) -> io::Result<Run> {
    let left = AtomicU64::new(asked);
    let mut copiers =
        (0..producers).map(|number| Copier::begin(subject, number, batch)).collect::<io::Result<Vec<_>>>()?;
    let (cpu, began) = (subject.cpu(), Instant::now());
    let latencies = thread::scope(|scope| {
        let loops = copiers.iter_mut().map(|copier| {
            let left = &left;
            scope.spawn(move || {
                let mut latencies = Vec::new();
                while load::take_one(left) {
                    let since = Instant::now();
                    copier.transaction()?;
                    latencies.push(since.elapsed());
                }
                Ok(latencies)
            })
        });
        load::join_all(loops.collect())
    })?;
    let (took, cpu) = (began.elapsed(), subject.cpu().saturating_sub(cpu));
    Ok(load::run(0, latencies, took, cpu))
}

/// A consumer and a producer of one application.
struct Copier {
    id: String,
    partition: usize,
    /// Where it has read to.
    at: i64,
    consumer: Client,
    producer: Client,
    session: (i64, i16),
    batch: BytesMut,
}

impl Copier {
    fn begin(subject: &Subject, partition: usize, batch: &[u8]) -> io::Result<Copier> {
        let id = format!("copier-{partition}");
        find(subject, TRANSACTION, &id)?;
        let (consumer, mut producer) =
            (Client::connect(&subject.address)?, Client::connect(&subject.address)?);
        let request = InitProducerIdRequest {
            transactional_id: Some(id.clone()),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let session = patiently(|| {
            let answer: InitProducerIdResponse = producer.ask(INIT_PRODUCER_ID, &request)?;
            refuse(answer.error_code).map(|()| (answer.producer_id, answer.producer_epoch))
        })?;
        Ok(Copier { id, partition, at: 0, consumer, producer, session, batch: BytesMut::from(batch) })
    }

    fn transaction(&mut self) -> io::Result<()> {
        let next = self.read()?;
        let (produce, commit) = (self.produce(), self.commit(next));
        // As clients do: the records are on their way when the offsets are sent after them.
        self.producer.send(&[&produce[..], &commit[..]].concat())?;
        let taken = (produced(&mut self.producer)?, offsets_taken(&mut self.producer)?);
        if !taken.0 {
            again(&mut self.producer, &produce, produced)?;
        }
        if !taken.1 {
            again(&mut self.producer, &commit, offsets_taken)?;
        }
        let end = EndTxnRequest {
            transactional_id: self.id.clone(),
            producer_id: self.session.0,
            producer_epoch: self.session.1,
            committed: true,
        };
        let ended: EndTxnResponse = patiently(|| {
            let answer: EndTxnResponse = self.producer.ask(END_TXN, &end)?;
            refuse(answer.error_code).map(|()| answer)
        })?;
        self.session = (ended.producer_id, ended.producer_epoch);
        self.at = next;
        Ok(())
    }

    /// One batch of what is committed.
    fn read(&mut self) -> io::Result<i64> {
        let at = self.at % i64::from(count(INPUT_BATCHES * RECORDS));
        let partition = FetchPartition {
            partition: count(self.partition),
            fetch_offset: at,
            // Less than a batch, of which the first one comes whole all the same.
            partition_max_bytes: 1_024,
            ..Default::default()
        };
        let topic = FetchTopic { topic: INPUT.into(), partitions: vec![partition], ..Default::default() };
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: 500,
            min_bytes: 1,
            isolation_level: READ_COMMITTED,
            topics: vec![topic],
            ..Default::default()
        };
        self.consumer.send(&client::encode(FETCH, &request))?;
        let mut end = None;
        client::each_batch(self.consumer.receive()?, |_, _, next, _| end = Some(next))?;
        let end = end.ok_or_else(|| io::Error::other("there is nothing to read"))?;
        Ok(self.at + end - at)
    }

    fn produce(&mut self) -> Bytes {
        let (id, epoch) = self.session;
        self.batch[21..23].copy_from_slice(&TRANSACTIONAL.to_be_bytes());
        self.batch[43..51].copy_from_slice(&id.to_be_bytes());
        self.batch[51..53].copy_from_slice(&epoch.to_be_bytes());
        self.batch[53..57].copy_from_slice(&0_i32.to_be_bytes());
        seal(&mut self.batch);
        let data = PartitionProduceData { index: count(self.partition), records: Some(self.batch.clone()) };
        let topic =
            TopicProduceData { name: OUTPUT.into(), partition_data: vec![data], ..Default::default() };
        let request = ProduceRequest {
            transactional_id: Some(self.id.clone()),
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![topic],
        };
        client::encode(PRODUCE, &request)
    }

    fn commit(&self, next: i64) -> Bytes {
        let partition = TxnOffsetCommitRequestPartition {
            partition_index: count(self.partition),
            committed_offset: next,
            committed_metadata: Some(String::new()),
            ..Default::default()
        };
        let topic = TxnOffsetCommitRequestTopic { name: INPUT.into(), partitions: vec![partition] };
        let request = TxnOffsetCommitRequest {
            transactional_id: self.id.clone(),
            group_id: "copiers".into(),
            producer_id: self.session.0,
            producer_epoch: self.session.1,
            topics: vec![topic],
            ..Default::default()
        };
        client::encode(TXN_OFFSET_COMMIT, &request)
    }
}

/// The attribute of batches that are part of a transaction.
const TRANSACTIONAL: i16 = 1 << 4;

/// Sends a request that was told to come again until it is taken.
fn again(
    client: &mut Client,
    request: &Bytes,
    taken: impl Fn(&mut Client) -> io::Result<bool>,
) -> io::Result<()> {
    loop {
        thread::sleep(Duration::from_millis(1));
        client.send(request)?;
        if taken(client)? {
            return Ok(());
        }
    }
}

/// Whether the records are taken; false: come again.
fn produced(client: &mut Client) -> io::Result<bool> {
    let answer: ProduceResponse = client.answer(PRODUCE)?;
    let mut codes =
        answer.responses.iter().flat_map(|topic| &topic.partition_responses).map(|row| row.error_code);
    taken(codes.find(|code| *code != 0))
}

fn offsets_taken(client: &mut Client) -> io::Result<bool> {
    let answer: TxnOffsetCommitResponse = client.answer(TXN_OFFSET_COMMIT)?;
    let mut codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|row| row.error_code);
    taken(codes.find(|code| *code != 0))
}

fn taken(refusal: Option<i16>) -> io::Result<bool> {
    match refusal {
        None => Ok(true),
        Some(CONCURRENT_TRANSACTIONS) => Ok(false),
        Some(code) => refuse(code).map(|()| true),
    }
}
