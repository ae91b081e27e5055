//! Produce (key 0), versions 3 to 13 (advertised from 0, see below).
//!
//! Promises: offsets are dense; batches of one connection keep their order; acks=all waits for the in-sync set.
//! Versions: 5 log start in the answer. 7 zstd. 8 errors per record. 9 flexible. 10 the current leader beside
//! NOT_LEADER_OR_FOLLOWER (KIP-951). 11 TRANSACTION_ABORTABLE. 12 partitions join by this, CONCURRENT_TRANSACTIONS (KIP-890).
//! 13 topic ids.
//! Clients: librdkafka turns compression off unless version 0 is advertised.
//!
//! A plain function: every batch is with its partition when it returns, and nothing is waited for. The answers
//! come back through the connection's reply queue, each under the tag of its slot.
//!
//! Except batches that take long to unpack: another thread looks at those, and until they are with their partitions
//! too the connection begins nothing else ([`Produced::is_unpacking`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use ottla_actors::partition::Append;
use ottla_actors::stage::reply::{Replies, Reply};
use ottla_rules::batch::{Batch, BatchError, Codec, Header, Parsed};
use ottla_rules::cluster::{Image, Topic};
use ottla_rules::floods::Manner;
use ottla_rules::ids::{PartitionId, TopicId};
use ottla_rules::partition::{Acks, AppendError, Appended, Joining};
use ottla_rules::residence::Residence;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::time::Now;
use ottla_rules::topic::is_internal;
use ottla_rules::transaction::TransactionError;
use ottla_wire::api::ApiKey;
use ottla_wire::codes::Code;
use ottla_wire::header::RequestHeader;
use ottla_wire::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceResponse,
    TopicProduceResponse,
};
use ottla_wire::produce::ProduceRequest;

use self::unpacking::{ON_SHARD_BYTES_MAX, Unpacking};
use super::{Call, Close, Response};
use crate::server::{Server, TopicRules};

mod unpacking;

/// What a partition says to one batch.
pub(crate) type AppendReply = Result<Appended, AppendError>;

/// Whoever calls itself so may write to internal topics (Kafka's `AdminUtils.ADMIN_CLIENT_ID`).
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// The appends of one connection: where they are answered, and where they go.
pub(crate) struct Appends {
    /// The partitions' answers, each under the tag of its slot.
    pub(crate) replies: Arc<Replies<AppendReply>>,
    next_tag: u64,
    /// Where the connection should live.
    pub(crate) residence: Residence,
    /// How its client appends.
    pub(crate) manner: Manner,
}

impl Appends {
    /// None yet, of a connection that lives where `residence` says.
    pub(crate) fn new(residence: Residence) -> Appends {
        Appends { replies: Replies::new(), next_tag: 0, residence, manner: Manner::Other }
    }
}

/// The version from which zstd may be used (KIP-110).
const ZSTD_FROM: i16 = 7;
/// The version from which topics are named by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// The version from which a partition joins a transaction by being written to (KIP-890).
const JOINS_FROM: i16 = 12;
/// The version from which clients know TRANSACTION_ABORTABLE (KIP-890).
const ABORTABLE_FROM: i16 = 11;
/// The version from which the current leader stands beside an error (KIP-951).
const LEADER_FROM: i16 = 10;

/// A Produce whose batches are with their partitions.
pub(crate) struct Produced {
    server: Arc<Server>,
    reached: SocketAddr,
    header: RequestHeader,
    answers: bool,
    first_tag: u64,
    waiting: usize,
    topics: Vec<(String, TopicId)>,
    slots: Vec<Slot>,
    counter: Counter,
    unpacking: Vec<Unpacking>,
}

/// Where batches that are good are handed over to their partitions.
struct Counter {
    server: Arc<Server>,
    acks: Option<Acks>,
    patience_ms: u64,
    replies: Arc<Replies<AppendReply>>,
    transaction: Option<Joining>,
    manner: Manner,
}

impl Counter {
    /// Says on which shard the partition lives.
    fn hand_over(&self, partition: PartitionId, batch: Batch, tag: u64) -> Result<Option<usize>, Outcome> {
        let acks = self.acks.ok_or_else(|| Outcome::refused(Code::InvalidRequiredAcks, None))?;
        let (patience_ms, transaction) = (self.patience_ms, self.transaction.clone());
        if transaction.is_none() && batch.header().attributes.is_transactional() {
            return Err(Outcome::refused(Code::TransactionalIdAuthorizationFailed, None));
        }
        // Dropped unanswered it would answer by itself.
        let reply = Reply::queued(Arc::clone(&self.replies), tag);
        let append = Append { batch, acks, patience_ms, transaction, manner: self.manner, reply };
        Ok(self.server.directory.tell_where(partition, append))
    }
}

/// One partition of the request.
struct Slot {
    topic: usize,
    partition: PartitionId,
    /// What it takes from the wire, if the partition syncs before it answers.
    durable_bytes: usize,
    outcome: Option<Outcome>,
}

/// What became of one partition's batch.
enum Outcome {
    Appended(Appended),
    Refused { code: Code, message: Option<String>, records: Vec<(i32, String)> },
}

/// Where a Produce stands.
pub(crate) enum Settled {
    /// Some partition has not answered.
    NotYet,
    /// All have; this is the answer.
    Answer(Response),
    /// All have, and acks=0 wants none.
    Silent,
    /// acks=0 and something went wrong: Kafka closes the connection, so that the client asks for metadata. Or no frame can hold
    /// the answer.
    Close(Close),
}

impl Outcome {
    fn refused(code: Code, message: impl Into<Option<String>>) -> Outcome {
        Outcome::Refused { code, message: message.into(), records: Vec::new() }
    }
}

impl From<BatchError> for Outcome {
    fn from(error: BatchError) -> Outcome {
        let code = Code::from(&error);
        let message = Some(error.to_string());
        let records = match error {
            BatchError::Invalid { records, .. } | BatchError::Timestamp { records } => records,
            _ => Vec::new(),
        };
        Outcome::Refused { code, message, records }
    }
}

/// Begins a Produce: checks what can be checked here and sends every good batch to its partition.
pub(crate) fn begin(
    call: &Call,
    header: RequestHeader,
    body: BytesMut,
    appends: &mut Appends,
) -> Result<Produced, Close> {
    let request = ProduceRequest::decode(body, header.version)?;
    let first_tag = appends.next_tag;
    let acks = match request.acks {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    };
    let counter = Counter {
        server: Arc::clone(&call.server),
        acks,
        patience_ms: u64::try_from(request.timeout_ms).unwrap_or(0),
        replies: Arc::clone(&appends.replies),
        transaction: joining(call, header.version, request.transactional_id.as_deref()),
        manner: appends.manner,
    };
    let mut produced = Produced {
        server: Arc::clone(&call.server),
        reached: call.reached,
        answers: acks != Some(Acks::None),
        header,
        first_tag,
        waiting: 0,
        topics: Vec::with_capacity(request.topic_data.len()),
        slots: Vec::new(),
        counter,
        unpacking: Vec::new(),
    };
    let records = produced.lay_out(request);
    if produced.counter.transaction.is_none() && records.iter().flatten().any(|batch| is_transactional(batch))
    {
        // As in Kafka nothing of it is written then.
        let refused = || Some(Outcome::refused(Code::TransactionalIdAuthorizationFailed, None));
        produced.slots.iter_mut().for_each(|slot| slot.outcome = refused());
        appends.next_tag += produced.slots.len() as u64;
        return Ok(produced);
    }
    let mut desk = Desk::new(call, &produced.header);
    for (at, records) in records.into_iter().enumerate() {
        let slot = &mut produced.slots[at];
        let (name, _) = &produced.topics[slot.topic];
        let checked = desk.check(name, at, slot, records);
        let sent = checked.and_then(|checked| match checked {
            Checked::Whole(batch) => produced.counter.hand_over(slot.partition, batch, first_tag + at as u64),
            Checked::Long(unpacking) => {
                produced.unpacking.push(unpacking);
                Ok(call.server.directory.shard_of(slot.partition))
            }
        });
        match sent {
            Ok(shard) => {
                produced.waiting += 1;
                shard.into_iter().for_each(|shard| appends.residence.appended(shard));
            }
            Err(outcome) => slot.outcome = Some(outcome),
        }
    }
    appends.next_tag += produced.slots.len() as u64;
    Ok(produced)
}

/// Whether a batch says that it is part of a transaction; nothing of it is checked.
fn is_transactional(batch: &[u8]) -> bool {
    Header::read(batch).is_ok_and(|header| header.attributes.is_transactional())
}

/// The transaction of a request, if it names one that its caller may write.
fn joining(call: &Call, version: i16, id: Option<&str>) -> Option<Joining> {
    let id = id.filter(|id| call.may(Operation::Write, ResourceKind::TransactionalId, id))?;
    Some(Joining { id: id.into(), implicit: version >= JOINS_FROM })
}

impl Produced {
    /// One slot per partition, and the records of each. Where a partition stands twice in a request the later
    /// records take the place of the earlier, as in Kafka, which keeps them in a map.
    fn lay_out(&mut self, request: ProduceRequest) -> Vec<Option<BytesMut>> {
        let mut records = Vec::new();
        let mut topics: BTreeMap<(String, TopicId), usize> = BTreeMap::new();
        let mut seen: BTreeMap<(usize, i32), usize> = BTreeMap::new();
        for data in request.topic_data {
            let topic = *topics.entry((data.name.clone(), data.topic_id)).or_insert_with(|| {
                self.topics.push((data.name, data.topic_id));
                self.topics.len() - 1
            });
            for partition in data.partition_data {
                let id = PartitionId { topic: self.topics[topic].1, index: partition.index };
                let slot = *seen.entry((topic, partition.index)).or_insert_with(|| {
                    self.slots.push(Slot { topic, partition: id, durable_bytes: 0, outcome: None });
                    records.push(None);
                    self.slots.len() - 1
                });
                records[slot] = partition.records;
            }
        }
        records
    }

    /// The tag of its first slot.
    pub(crate) fn first_tag(&self) -> u64 {
        self.first_tag
    }

    /// The partitions that have a batch of it, or will, and sync it before they answer, and how many bytes it has.
    pub(crate) fn durable(&self) -> impl Iterator<Item = (PartitionId, usize)> + Clone {
        let is_on_its_way = |slot: &&Slot| slot.outcome.is_none() && slot.durable_bytes > 0;
        self.slots.iter().filter(is_on_its_way).map(|slot| (slot.partition, slot.durable_bytes))
    }

    /// Whether its client waits for an answer.
    pub(crate) fn is_awaited(&self) -> bool {
        self.answers
    }

    /// True while some batch is not with its partition: nothing may be begun behind it.
    pub(crate) fn is_unpacking(&self) -> bool {
        !self.unpacking.is_empty()
    }

    /// Hands over what has been unpacked by now; whether there was any.
    pub(crate) fn hand_over(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.unpacking.len();
        let (slots, counter) = (&mut self.slots, &self.counter);
        self.unpacking.retain_mut(|unpacking| {
            let Poll::Ready(found) = unpacking.poll(cx) else { return true };
            let slot = &mut slots[unpacking.slot];
            let sent = match found {
                Some(Ok(batch)) => {
                    counter.hand_over(slot.partition, batch, self.first_tag + unpacking.slot as u64)
                }
                Some(Err(error)) => Err(named(error, &unpacking.topic, slot.partition.index).into()),
                None => Err(Outcome::refused(Code::UnknownServerError, None)),
            };
            if let Err(outcome) = sent {
                slot.outcome = Some(outcome);
                self.waiting -= 1;
            }
            false
        });
        self.unpacking.len() < before
    }

    /// A partition has answered.
    pub(crate) fn settle(&mut self, tag: u64, reply: AppendReply) {
        let at = usize::try_from(tag - self.first_tag).unwrap_or(usize::MAX);
        let slot = self.slots.get_mut(at).filter(|slot| slot.outcome.is_none());
        let Some(slot) = slot else { return };
        slot.outcome = Some(match reply {
            Ok(appended) => Outcome::Appended(appended),
            Err(error) => Outcome::refused(known(&error, self.header.version), Some(error.to_string())),
        });
        self.waiting -= 1;
    }

    /// Where it stands now. The answer is made once.
    pub(crate) fn settled(&mut self) -> Settled {
        if self.waiting > 0 {
            return Settled::NotYet;
        }
        if self.answers {
            let body = self.answer();
            return Response::of(&self.header, &body).map_or_else(Settled::Close, Settled::Answer);
        }
        let refused = |slot: &Slot| match slot.outcome {
            Some(Outcome::Refused { code, .. }) => Some((code, slot.partition)),
            Some(Outcome::Appended(_)) | None => None,
        };
        let wrong: Vec<_> = self.slots.iter().filter_map(refused).collect();
        wrong.iter().for_each(|(code, _)| self.server.common.refused(ApiKey::Produce, *code));
        match wrong.first().map(|(code, partition)| format!("{code:?} for {partition}")) {
            Some(why) => Settled::Close(Close::Unanswerable(why)),
            None => Settled::Silent,
        }
    }

    fn answer(&mut self) -> ProduceResponse {
        let mut response = ProduceResponse::default();
        for (name, topic_id) in &mut self.topics {
            let name = std::mem::take(name);
            response.responses.push(TopicProduceResponse { name, topic_id: *topic_id, ..Default::default() });
        }
        for slot in std::mem::take(&mut self.slots) {
            let answer = match slot.outcome {
                Some(Outcome::Appended(appended)) => of_appended(slot.partition.index, &appended),
                Some(Outcome::Refused { code, message, records }) => {
                    self.server.common.refused(ApiKey::Produce, code);
                    let mut answer = of_refused(slot.partition.index, code, message, records);
                    if code == Code::NotLeaderOrFollower && self.header.version >= LEADER_FROM {
                        answer.current_leader = self.leader_of(slot.partition, &mut response.node_endpoints);
                    }
                    answer
                }
                // Nothing waits any more, so every slot has its outcome; a hole would be our own fault.
                None => of_refused(slot.partition.index, Code::UnknownServerError, None, Vec::new()),
            };
            response.responses[slot.topic].partition_responses.push(answer);
        }
        response
    }

    fn leader_of(&self, partition: PartitionId, endpoints: &mut Vec<NodeEndpoint>) -> LeaderIdAndEpoch {
        let Some((leader, epoch)) = self.server.leader_of(partition) else {
            return LeaderIdAndEpoch::default();
        };
        for broker in self
            .server
            .brokers(&self.server.image(), self.reached)
            .iter()
            .filter(|broker| broker.node == leader)
        {
            if endpoints.iter().all(|endpoint| endpoint.node_id != leader.0) {
                let (host, port, rack) = (broker.host.clone(), broker.port, broker.rack.clone());
                endpoints.push(NodeEndpoint { node_id: leader.0, host, port, rack });
            }
        }
        LeaderIdAndEpoch { leader_id: leader.0, leader_epoch: epoch.0 }
    }
}

/// The error as clients of this version know it. What the transaction's coordinator says they know by versions (Kafka's
/// `TransactionSupportedOperation`).
fn known(error: &AppendError, version: i16) -> Code {
    match error {
        AppendError::NotJoined(TransactionError::NotInTransaction) if version < ABORTABLE_FROM => {
            Code::InvalidTxnState
        }
        // Who begins a transaction by writing often comes while the last one is being ended, and knows what to do.
        AppendError::NotJoined(TransactionError::Concurrent) if version >= JOINS_FROM => {
            Code::ConcurrentTransactions
        }
        error => error.into(),
    }
}

fn of_appended(index: i32, appended: &Appended) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: Code::None.into(),
        base_offset: appended.base.0,
        log_append_time_ms: appended.append_time,
        log_start_offset: appended.log_start.0,
        ..Default::default()
    }
}

fn of_refused(
    index: i32,
    code: Code,
    message: Option<String>,
    records: Vec<(i32, String)>,
) -> PartitionProduceResponse {
    let record_errors = records.into_iter().map(|(batch_index, message)| BatchIndexAndErrorMessage {
        batch_index,
        batch_index_error_message: Some(message),
    });
    PartitionProduceResponse {
        index,
        error_code: code.into(),
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        record_errors: record_errors.collect(),
        error_message: message,
        ..Default::default()
    }
}

/// What one request's batches are checked by.
struct Desk<'a> {
    call: &'a Call,
    version: i16,
    /// Kafka's own tools may write to the broker's own topics.
    is_admin: bool,
    now: Now,
    image: Arc<Image>,
    /// How many bytes may still be unpacked here.
    patience: usize,
}

enum Checked {
    Whole(Batch),
    Long(Unpacking),
}

impl<'a> Desk<'a> {
    fn new(call: &'a Call, header: &RequestHeader) -> Desk<'a> {
        Desk {
            call,
            version: header.version,
            is_admin: header.client_id.as_deref() == Some(ADMIN_CLIENT_ID),
            now: call.server.now(),
            image: call.server.image(),
            patience: ON_SHARD_BYTES_MAX,
        }
    }

    /// The batch, if this partition exists and may take it, in Kafka's order of checks.
    fn check(
        &mut self,
        name: &str,
        at: usize,
        slot: &mut Slot,
        records: Option<BytesMut>,
    ) -> Result<Checked, Outcome> {
        let image = Arc::clone(&self.image);
        let topic = if self.version >= TOPIC_IDS_FROM {
            image.topic(slot.partition.topic).ok_or_else(|| Outcome::refused(Code::UnknownTopicId, None))?
        } else {
            image.topic_named(name).ok_or_else(|| Outcome::refused(Code::UnknownTopicOrPartition, None))?
        };
        if !self.call.may(Operation::Write, ResourceKind::Topic, &topic.name) {
            return Err(Outcome::refused(Code::TopicAuthorizationFailed, None));
        }
        slot.partition.topic = topic.id;
        if image.partition(slot.partition).is_none() {
            return Err(Outcome::refused(Code::UnknownTopicOrPartition, None));
        }
        if is_internal(&topic.name) && !self.is_admin {
            let message = format!("Cannot append to internal topic {}", topic.name);
            return Err(Outcome::refused(Code::InvalidTopicException, Some(message)));
        }
        self.parse(topic, at, slot, records)
    }

    fn parse(
        &mut self,
        topic: &Topic,
        at: usize,
        slot: &mut Slot,
        records: Option<BytesMut>,
    ) -> Result<Checked, Outcome> {
        let Some(records) = records.filter(|records| !records.is_empty()) else {
            let message = "a Produce request must have exactly one record batch for each partition";
            return Err(Outcome::refused(Code::InvalidRecord, Some(message.to_owned())));
        };
        if self.version < ZSTD_FROM
            && Header::read(&records).is_ok_and(|header| header.attributes.codec() == Ok(Codec::Zstd))
        {
            let message = "zstd is allowed from version 7 of Produce on";
            return Err(Outcome::refused(Code::UnsupportedCompressionType, Some(message.to_owned())));
        }
        let server = &self.call.server;
        let TopicRules { batch: rules, is_durable } = server.topic_rules(&self.image, topic);
        slot.durable_bytes = if is_durable { records.len() } else { 0 };
        let parsed = Batch::begin(records, &rules, self.now, &mut self.patience);
        Ok(match parsed.map_err(|error| named(error, &topic.name, slot.partition.index))? {
            Parsed::Whole(batch) => Checked::Whole(batch),
            Parsed::Long(long) => {
                let name = Arc::clone(&topic.name);
                Checked::Long(Unpacking::begin(&server.host, at, name, long, rules, self.now))
            }
        })
    }
}

/// Records without a key are blamed with the place where they miss it, as in Kafka's `LogValidator`.
fn named(error: BatchError, topic: &str, index: i32) -> BatchError {
    match error {
        BatchError::Invalid { reason, mut records } => {
            for (_, message) in &mut records {
                let _ = write!(message, " in topic partition {topic}-{index}");
            }
            BatchError::Invalid { reason, records }
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_coordinator_says_is_told_as_the_version_knows_it() {
        let check = |error, codes: [(i16, i16); 4]| {
            let told =
                codes.map(|(version, _)| (version, known(&AppendError::NotJoined(error), version).number()));
            assert_eq!(told, codes, "{error:?}");
        };
        check(TransactionError::NotInTransaction, [(3, 48), (10, 48), (11, 120), (12, 120)]);
        check(TransactionError::Concurrent, [(3, 19), (11, 19), (12, 51), (13, 51)]);
        check(TransactionError::Loading, [(3, 19), (11, 19), (12, 19), (13, 19)]);
        check(TransactionError::Fenced, [(3, 47), (11, 47), (12, 47), (13, 47)]);
    }
}
