//! Fetch (key 1), versions 4 to 18.
//!
//! Promises: whole batches, beginning with the one that holds the offset; every partition that was asked for is
//! answered; the first batch is sent whatever its size, so that a consumer gets on (KIP-74); records are never
//! copied into an encoder.
//! Versions: 5 log start. 6 KAFKA_STORAGE_ERROR (before, it is NOT_LEADER_OR_FOLLOWER). 7 sessions (KIP-227): see `rules::fetch_sessions`. 9 leader epochs
//! (KIP-320). 12 flexible, diverging epochs. 13 topic ids. 16 node endpoints (KIP-951).
//! Clients: aborted transactions are null for read_uncommitted, an empty list for read_committed.
//!
//! A long poll is nothing but this future and a bell: when the bell rings it looks again, at what the bell has brought along.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use ottla_actors::partition::{PlanRead, ReadPlan, SharedPlan};
use ottla_actors::stage::bell::Bell;
use ottla_actors::stage::reply::Reply;
use ottla_host::is_out_of_files;
use ottla_rules::ids::{LeaderEpoch, NodeId, Offset, PartitionId};
use ottla_rules::partition::{ReadAsk, ReadError};
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::time::Deadline;
use ottla_store::FileRange;
use ottla_wire::api::ApiKey;
use ottla_wire::codes::Code;
use ottla_wire::fetch::{Chunk, Records};
use ottla_wire::header::RequestHeader;
use ottla_wire::messages::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
    FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use ottla_wire::{Decode, Reader, fetch};

use self::plan::{Plan, Room};
use self::session::Place;
use super::{Call, Close, Response};
use crate::door::{Piece, Turn};
use crate::server::Server;

mod plan;
mod session;
mod skipped;

/// The version from which topics are named by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// The version from which clients know KAFKA_STORAGE_ERROR.
const STORAGE_ERROR_FROM: i16 = 6;
/// The version from which the leader's address stands beside an error (KIP-951).
const ENDPOINTS_FROM: i16 = 16;
const READ_COMMITTED: i8 = 1;
/// So much of one answer may be read into memory, however many small ranges it has, and no more than answers may have of the node's credit:
/// what is not read leaves from its file.
const LOADED_BYTES_MAX: u64 = 8 << 20;
/// And where that is done because their files have the last descriptors, only for an answer that is not larger: the others come next time.
const RESCUED_BYTES_MAX: u64 = 1 << 20;

/// One partition that is asked for.
struct Wanted {
    topic: usize,
    index: i32,
    partition: Result<PartitionId, Code>,
    ask: ReadAsk,
    bytes_max: usize,
}

/// A fetch on its way.
struct Fetching {
    server: Arc<Server>,
    reached: SocketAddr,
    version: i16,
    committed_only: bool,
    bytes_min: usize,
    bytes_max: usize,
    descriptors_max: usize,
    deadline: Deadline,
    bell: Bell<Arc<SharedPlan>>,
    topics: Vec<FetchableTopicResponse>,
    wanted: Vec<Wanted>,
    place: Place,
}

/// What one partition has to say now.
type Planned = Result<Plan, Refusal>;

enum Refusal {
    Code(Code),
    Read(ReadError),
}

impl Refusal {
    fn code(&self) -> Code {
        match self {
            Refusal::Code(code) => *code,
            Refusal::Read(error) => Code::from(error),
        }
    }
}

/// Begins a Fetch: every partition is asked when this returns.
pub(crate) fn begin(call: &Call, header: RequestHeader, body: BytesMut) -> Result<Turn, Close> {
    let body = body.freeze();
    let mut asked = FetchRequest::decode(&mut Reader::new(&body), header.version)?;
    let place = match Place::take(&call.server, &mut asked, header.version >= TOPIC_IDS_FROM) {
        Ok(place) => place,
        Err(error) => {
            let body = FetchResponse { error_code: Code::from(&error).into(), ..Default::default() };
            return Ok(Turn::Answered(Response::of(&header, &body)?));
        }
    };
    let fetching = Fetching::new(call, header.version, asked, place);
    let first = fetching.ask();
    let answer = Box::pin(async move {
        let pieces = fetching.run(first, header.correlation_id).await;
        Ok(Response::in_pieces(pieces))
    });
    Ok(Turn::Wait { answer, droppable: true })
}

impl Fetching {
    fn new(call: &Call, version: i16, asked: FetchRequest, place: Place) -> Fetching {
        let server = &call.server;
        let wait_ms = u64::try_from(asked.max_wait_ms).unwrap_or(0);
        let limits = server.limits();
        let bytes_max = usize::try_from(asked.max_bytes).unwrap_or(0).min(limits.fetch_bytes_max);
        let mut fetching = Fetching {
            server: Arc::clone(server),
            reached: call.reached,
            version,
            committed_only: asked.isolation_level == READ_COMMITTED,
            bytes_min: usize::try_from(asked.min_bytes).unwrap_or(0).min(bytes_max),
            bytes_max,
            descriptors_max: limits.descriptors_to_keep(),
            deadline: server.now().after(wait_ms),
            bell: Bell::new(),
            topics: Vec::with_capacity(asked.topics.len()),
            wanted: Vec::new(),
            place,
        };
        // Node to node we have our own protocol; to a Kafka broker that fetches as a replica we are no leader.
        let is_replica = asked.replica_id >= 0 || asked.replica_state.replica_id >= 0;
        for topic in asked.topics {
            fetching.want(call, topic, is_replica);
        }
        fetching
    }

    fn want(&mut self, call: &Call, asked: FetchTopic, is_replica: bool) {
        let image = self.server.image();
        let found = if self.version >= TOPIC_IDS_FROM {
            image.topic(asked.topic_id).ok_or(Code::UnknownTopicId)
        } else {
            image.topic_named(&asked.topic).ok_or(Code::UnknownTopicOrPartition)
        };
        let found = found.and_then(|topic| {
            let may = call.may(Operation::Read, ResourceKind::Topic, &topic.name);
            if may { Ok(topic) } else { Err(Code::TopicAuthorizationFailed) }
        });
        for FetchPartition {
            partition: index,
            current_leader_epoch,
            fetch_offset,
            last_fetched_epoch,
            partition_max_bytes,
            ..
        } in asked.partitions
        {
            let partition = match &found {
                Err(code) => Err(*code),
                Ok(_) if is_replica => Err(Code::NotLeaderOrFollower),
                Ok(topic) => {
                    let id = PartitionId { topic: topic.id, index };
                    image.partition(id).map(|_| id).ok_or(Code::UnknownTopicOrPartition)
                }
            };
            self.wanted.push(Wanted {
                topic: self.topics.len(),
                index,
                partition,
                ask: ReadAsk {
                    from: Offset(fetch_offset),
                    current_epoch: epoch(current_leader_epoch),
                    last_fetched_epoch: epoch(last_fetched_epoch),
                    committed_only: self.committed_only,
                },
                bytes_max: usize::try_from(partition_max_bytes).unwrap_or(0),
            });
        }
        self.topics.push(FetchableTopicResponse {
            topic: asked.topic,
            topic_id: asked.topic_id,
            partitions: Vec::new(),
        });
    }

    /// Asks every partition; the future only waits for their answers.
    fn ask(&self) -> impl Future<Output = Vec<Planned>> + use<> {
        let waits = self.bytes_min > 0 && !self.deadline.is_due(self.server.now());
        let is_alone = self.wanted.len() == 1;
        let asked: Vec<_> = self
            .wanted
            .iter()
            .map(|wanted| {
                let partition = wanted.partition.map_err(Refusal::Code)?;
                let (reply, answer) = Reply::once();
                let bell = waits.then(|| self.bell.pull());
                let bytes_max = wanted.bytes_max.min(self.bytes_max);
                let question = PlanRead { ask: wanted.ask, bytes_max, bell, is_alone, reply };
                self.server.directory.tell(partition, question);
                Ok(answer)
            })
            .collect();
        join_all(asked.into_iter().map(|answer| async move {
            match answer {
                Ok(answer) => answer.await.map(Plan::Own).map_err(Refusal::Read),
                Err(refusal) => Err(refusal),
            }
        }))
    }

    async fn run(mut self, first: impl Future<Output = Vec<Planned>>, correlation_id: i32) -> Vec<Piece> {
        let mut plans = first.await;
        // Whoever was rung is watched for only when it asks again.
        let mut is_watched = true;
        loop {
            let found = self.read(&plans).await;
            let is_over = self.deadline.is_due(self.server.now());
            // As in Kafka, who asks for nothing waits for nothing: a consumer closes its session so.
            if is_over || self.wanted.is_empty() || found.is_enough(self.bytes_min) {
                return self.answer(plans, found, correlation_id).await;
            }
            let brought = if is_watched { self.woken().await } else { None };
            is_watched = brought.is_none();
            plans = match brought {
                Some(shared) => vec![Ok(Plan::Shared(shared))],
                None => self.ask_again().await,
            };
        }
    }

    /// Asks every partition with another bell: those that were not news go on watching for nobody, and forget it.
    async fn ask_again(&mut self) -> Vec<Planned> {
        self.bell = Bell::new();
        self.ask().await
    }

    /// Waits for the bell, as long as there is time; what it brings along.
    async fn woken(&self) -> Option<Arc<SharedPlan>> {
        tokio::select! {
            brought = self.bell.rung() => brought,
            () = self.server.host.clock.sleep_until(self.deadline.0) => None,
        }
    }

    /// Finds the whole batches of every plan, within the bytes of the request.
    async fn read(&self, plans: &[Planned]) -> Found {
        let mut found = Found { ranges: Vec::with_capacity(plans.len()), bytes: 0, is_urgent: false };
        for (plan, wanted) in plans.iter().zip(&self.wanted) {
            let Ok(plan) = plan else {
                found.is_urgent = true;
                found.ranges.push(Ok(None));
                continue;
            };
            let left = self.bytes_max.saturating_sub(found.bytes);
            let room = left.min(wanted.bytes_max);
            let range = match left > 0 || found.bytes == 0 {
                true => plan.find(&self.server.host.pool, room, found.bytes == 0).await,
                false => Ok(None),
            };
            let range = match range {
                // An answer keeps its files open, or their bytes. As many as there is room for, and the others next time.
                Err(error) if is_out_of_files(&error) && found.bytes > 0 => Ok(None),
                Ok(Some(range)) if found.bytes > 0 && self.keeps_too_much(&range, found.bytes) => Ok(None),
                range => range,
            };
            // Where a maximum or a segment's end leaves something behind, waiting brings no more; and only whole batches are
            // counted, of which a minimum may lack a part.
            let leaves_more = match &range {
                Ok(Some(range)) => {
                    found.bytes += usize::try_from(range.len).unwrap_or(usize::MAX);
                    plan.slice.as_ref().is_some_and(|slice| slice.leaves_more(range, room))
                }
                Ok(None) => plan.slice.is_some() && found.bytes > 0,
                Err(_) => false,
            };
            found.is_urgent |= leaves_more || range.is_err() || plan.bounds.diverging.is_some();
            found.ranges.push(range);
        }
        found
    }

    /// Whether a range would have to be read into memory, since its file has one of the last descriptors, and is too large for that.
    fn keeps_too_much(&self, range: &FileRange, before: usize) -> bool {
        plan::takes_one_of_the_last(range, self.descriptors_max)
            && range.len.saturating_add(before as u64) > RESCUED_BYTES_MAX
    }

    async fn answer(mut self, plans: Vec<Planned>, found: Found, correlation_id: i32) -> Vec<Piece> {
        let mut room = Room {
            bytes: LOADED_BYTES_MAX,
            loading: self.server.common.credit.loading(),
            // The first range is read whatever its size; what follows it is held to less before.
            rescued_bytes: LOADED_BYTES_MAX,
            descriptors_max: self.descriptors_max,
        };
        let mut loaded = Vec::with_capacity(found.ranges.len());
        for (plan, range) in plans.iter().zip(found.ranges) {
            let skipped = match (plan, &range) {
                (Ok(plan), Ok(Some(range))) => skipped::of(&self.server.host.pool, plan, range).await,
                _ => Ok(Vec::new()),
            };
            let piece = match (plan, range) {
                (Ok(plan), Ok(Some(range))) => {
                    plan.load(&self.server.host.pool, range, &mut room).await.map(Some)
                }
                (_, range) => range.map(|_| None),
            };
            loaded.push(piece.and_then(|piece| Ok((piece, skipped?))));
        }
        let mut pieces = Vec::new();
        let mut endpoints = Vec::new();
        let wanted = std::mem::take(&mut self.wanted);
        let mut answers = Vec::with_capacity(wanted.len());
        for ((wanted, plan), piece) in wanted.iter().zip(plans).zip(loaded) {
            let mut data = match plan
                .and_then(|plan| piece.map(|piece| (plan, piece)).map_err(|error| unreadable(wanted, &error)))
            {
                Ok((plan, (piece, skipped))) => self.data(&plan, piece, skipped, &mut pieces),
                Err(refusal) => self.refused(wanted, &refusal, &mut endpoints),
            };
            data.partition_index = wanted.index;
            answers.push(data);
        }
        let place = std::mem::replace(&mut self.place, Place::Sessionless);
        let body = match place.settle(&self.server, &answers) {
            // Another request went on with the session meanwhile, or it was evicted.
            Err(error) => FetchResponse { error_code: Code::from(&error).into(), ..Default::default() },
            Ok((session_id, news)) => FetchResponse {
                session_id,
                responses: self.gather(&wanted, answers, news),
                node_endpoints: if self.version >= ENDPOINTS_FROM { endpoints } else { Vec::new() },
                ..Default::default()
            },
        };
        let mut pieces: Vec<Option<Piece>> = pieces.into_iter().map(Some).collect();
        let chunks = fetch::response(self.version, correlation_id, &body);
        let filled = chunks.into_iter().filter_map(|chunk| match chunk {
            Chunk::Bytes(bytes) => Some(Piece::Bytes(bytes)),
            Chunk::Records { index, .. } => pieces.get_mut(index).and_then(Option::take),
        });
        filled.collect()
    }

    /// The answers under their topics; with `news`, only those that have any.
    fn gather(
        &mut self,
        wanted: &[Wanted],
        answers: Vec<PartitionData>,
        news: Option<Vec<bool>>,
    ) -> Vec<FetchableTopicResponse> {
        let mut topics = std::mem::take(&mut self.topics);
        let is_news = |at: usize| news.as_ref().is_none_or(|news| news[at]);
        for (at, (wanted, data)) in wanted.iter().zip(answers).enumerate() {
            if is_news(at) {
                topics[wanted.topic].partitions.push(data);
            }
        }
        if news.is_some() {
            topics.retain(|topic| !topic.partitions.is_empty());
        }
        topics
    }

    fn data(
        &self,
        plan: &ReadPlan,
        piece: Option<Piece>,
        skipped: Vec<AbortedTransaction>,
        pieces: &mut Vec<Piece>,
    ) -> PartitionData {
        let records = match piece {
            None => Records::Bytes(Bytes::new()),
            Some(piece) => {
                let gap = Records::Gap { index: pieces.len(), len: piece.len() };
                pieces.push(piece);
                gap
            }
        };
        let diverging =
            plan.bounds.diverging.map(|(epoch, end)| EpochEndOffset { epoch: epoch.0, end_offset: end.0 });
        PartitionData {
            high_watermark: plan.bounds.high_watermark.0,
            last_stable_offset: plan.bounds.stable.0,
            log_start_offset: plan.bounds.log_start.0,
            diverging_epoch: diverging.unwrap_or_default(),
            aborted_transactions: self.committed_only.then_some(skipped),
            records: Some(records),
            ..Default::default()
        }
    }

    fn refused(
        &self,
        wanted: &Wanted,
        refusal: &Refusal,
        endpoints: &mut Vec<NodeEndpoint>,
    ) -> PartitionData {
        let code = refusal.code();
        self.server.common.refused(ApiKey::Fetch, code);
        let mut data = PartitionData {
            error_code: known(code, self.version).into(),
            // Kafka has none where the partition itself refused, and an empty list where it was not found.
            aborted_transactions: wanted.partition.is_err().then(Vec::new),
            high_watermark: -1,
            records: Some(Records::Bytes(Bytes::new())),
            ..Default::default()
        };
        let is_elsewhere = matches!(code, Code::NotLeaderOrFollower | Code::FencedLeaderEpoch);
        if let (true, Ok(partition)) = (is_elsewhere, wanted.partition)
            && let Some((leader, epoch)) = self.server.leader_of(partition)
        {
            data.current_leader = LeaderIdAndEpoch { leader_id: leader.0, leader_epoch: epoch.0 };
            self.name_endpoint(leader, endpoints);
        }
        data
    }

    fn name_endpoint(&self, leader: NodeId, endpoints: &mut Vec<NodeEndpoint>) {
        if endpoints.iter().any(|endpoint| endpoint.node_id == leader.0) {
            return;
        }
        let brokers = self.server.brokers(&self.server.image(), self.reached);
        let Some(broker) = brokers.iter().find(|broker| broker.node == leader) else { return };
        let (host, port, rack) = (broker.host.clone(), broker.port, broker.rack.clone());
        endpoints.push(NodeEndpoint { node_id: leader.0, host, port, rack });
    }
}

/// The code as clients of this version know it: older ones take KAFKA_STORAGE_ERROR for one that never ends (Kafka's
/// `maybeDownConvertStorageError`).
fn known(code: Code, version: i16) -> Code {
    if code == Code::KafkaStorageError && version < STORAGE_ERROR_FROM {
        Code::NotLeaderOrFollower
    } else {
        code
    }
}

/// What is there to be sent.
struct Found {
    ranges: Vec<io::Result<Option<FileRange>>>,
    bytes: usize,
    is_urgent: bool,
}

impl Found {
    fn is_enough(&self, bytes_min: usize) -> bool {
        self.is_urgent || self.bytes >= bytes_min
    }
}

/// What a consumer is told of bytes that cannot be read: that they are damaged, or that the disk refuses.
fn unreadable(wanted: &Wanted, error: &io::Error) -> Refusal {
    log::error!(partition:? = wanted.partition.ok(), offset:% = wanted.ask.from, error:% = error; "records cannot be read");
    Refusal::Code(match error.kind() {
        io::ErrorKind::InvalidData => Code::CorruptMessage,
        _ => Code::KafkaStorageError,
    })
}

/// -1 stands for "not known" and checks nothing.
fn epoch(number: i32) -> Option<LeaderEpoch> {
    (number >= 0).then_some(LeaderEpoch(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_old_versions_look_for_the_leader_where_the_disk_fails() {
        assert_eq!(known(Code::KafkaStorageError, 5), Code::NotLeaderOrFollower);
        assert_eq!(known(Code::KafkaStorageError, 6), Code::KafkaStorageError);
        assert_eq!(known(Code::CorruptMessage, 5), Code::CorruptMessage);
    }
}
