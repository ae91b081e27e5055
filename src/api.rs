//! The call table: from a frame to the function of its API, and from its answer to bytes.
//!
//! One file per API, named as Kafka names it. A function *sends while it is called* and returns its answer, or a
//! future that only waits; arrival order is then the connection's order. Every function takes the [`Call`] it is
//! made in, and asks it for rights before it says or does anything.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_rules::cluster::CommandError;
use ottla_rules::ids::PartitionId;
use ottla_rules::rights::{self, Caller, Operation, ResourceKind};
use ottla_rules::transaction::TransactionError;
use ottla_wire::api::ApiKey;
use ottla_wire::codes::Code;
use ottla_wire::header::RequestHeader;
use ottla_wire::{Decode, DecodeError, Message, Reader, api, frame};

use crate::door::{Piece, Turn};
use crate::server::Server;

mod add_offsets_to_txn;
mod add_partitions_to_txn;
pub(crate) mod alter_configs;
pub(crate) mod api_versions;
pub(crate) mod consumer_group_describe;
pub(crate) mod consumer_group_heartbeat;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_groups;
pub(crate) mod describe_log_dirs;
mod describe_producers;
pub(crate) mod describe_topic_partitions;
mod describe_transactions;
mod end_txn;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod heartbeat;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_config_resources;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
mod list_transactions;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod sync_group;
mod txn_offset_commit;
mod update_features;
mod write_txn_markers;

/// The name of the one cluster there is, as ACLs say it.
pub(crate) const CLUSTER: &str = "kafka-cluster";
/// A topic, as the resources of the configs APIs are numbered.
pub(crate) const TOPIC: i8 = 2;
/// A broker, or all of them.
pub(crate) const BROKER: i8 = 4;
/// What a broker logs.
pub(crate) const BROKER_LOGGER: i8 = 8;
/// What clients are asked to measure.
pub(crate) const CLIENT_METRICS: i8 = 16;
/// Groups, in the requests about settings.
pub(crate) const GROUP: i8 = 32;

/// Whose requests these are, and which node they are put to. One per connection.
#[derive(Clone)]
pub(crate) struct Call {
    /// The node.
    pub(crate) server: Arc<Server>,
    /// Who asks.
    pub(crate) caller: Caller,
    /// Where it asks from, as Kafka writes it: `/127.0.0.1`.
    pub(crate) client_host: Arc<str>,
    /// The address by which the client reached us.
    pub(crate) reached: SocketAddr,
}

impl Call {
    /// True when the caller may do this.
    pub(crate) fn may(&self, operation: Operation, resource: ResourceKind, name: &str) -> bool {
        rights::allowed(&self.caller, operation, resource, name)
    }

    /// The partition of a topic that is called by its name.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION when there is none.
    pub(crate) fn partition(&self, topic: &str, index: i32) -> Result<PartitionId, Code> {
        let image = self.server.image();
        let id = image.topic_named(topic).map(|topic| PartitionId { topic: topic.id, index });
        id.filter(|id| image.partition(*id).is_some()).ok_or(Code::UnknownTopicOrPartition)
    }
}

/// What came of a question that was put to an actor, or was refused before that. Dropped, the answer is not waited for.
pub(crate) async fn outcome_of<T, E>(
    asked: Result<impl Future<Output = Result<T, E>>, Code>,
) -> Result<T, Code>
where
    for<'error> Code: From<&'error E>,
{
    asked?.await.map_err(|error| Code::from(&error))
}

/// What a group keeps, in bytes of its own: those of the request share the buffer that the connection read it into, all of which
/// would be kept as long.
pub(crate) fn kept(named: impl Iterator<Item = (String, Bytes)>) -> Vec<(String, Bytes)> {
    named.map(|(name, bytes)| (name, Bytes::copy_from_slice(&bytes))).collect()
}

/// Whether the caller may do this to a group that is named as members name it: not by nothing.
pub(crate) fn group_right(call: &Call, operation: Operation, group: &str) -> Result<(), Code> {
    if !call.may(operation, ResourceKind::Group, group) {
        return Err(Code::GroupAuthorizationFailed);
    }
    if group.is_empty() { Err(Code::InvalidGroupId) } else { Ok(()) }
}

/// Each thing once that was asked for: a small request that names one of them without end must not become an answer without bound.
pub(crate) fn once<One, Key: Ord>(asked: Vec<One>, key: impl Fn(&One) -> Key) -> impl Iterator<Item = One> {
    let mut seen = BTreeSet::new();
    asked.into_iter().filter(move |one| seen.insert(key(one)))
}

/// The code of a refusal by a transaction's coordinator. Clients of old versions know only INVALID_PRODUCER_EPOCH for a
/// session that is over (KIP-588).
pub(crate) fn fenced_code(error: &TransactionError, knows_fenced: bool) -> Code {
    match error {
        TransactionError::Fenced if !knows_fenced => Code::InvalidProducerEpoch,
        error => error.into(),
    }
}

/// The code for a command on a topic that the client called by its name: of ids it knows nothing.
pub(crate) fn code_by_name(error: &CommandError) -> Code {
    if matches!(error, CommandError::UnknownTopic(_)) {
        return Code::UnknownTopicOrPartition;
    }
    error.into()
}

/// A request that is answered by closing its connection, as Kafka does.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Close {
    /// No API has this key, or none of ours.
    #[error("unknown API key {0}")]
    UnknownKey(i16),
    /// The API has no such version.
    #[error("{key:?} has no version {version}")]
    UnknownVersion {
        /// The API.
        key: ApiKey,
        /// What was asked for.
        version: i16,
    },
    /// The bytes are no such request.
    #[error("{0}")]
    Malformed(#[from] DecodeError),
    /// No frame can hold the answer.
    #[error("{0}")]
    TooLong(#[from] frame::AnswerTooLong),
    /// A Produce with acks=0 went wrong: closing is the only way to make its client look again.
    #[error("a Produce with acks=0 failed: {0}")]
    Unanswerable(String),
}

/// One request, its header read.
pub(crate) struct Request {
    /// Which API and version, and what to put on the answer.
    pub(crate) header: RequestHeader,
    /// The rest of the frame.
    pub(crate) body: BytesMut,
    /// An ApiVersions request of a version that we do not have: answered all the same.
    is_probe: bool,
}

impl Request {
    /// Reads the header of a frame.
    pub(crate) fn read(frame: BytesMut) -> Result<Request, Close> {
        let (number, version, correlation_id) = first_fields(&frame)?;
        let served = ApiKey::from_number(number).and_then(api::served).ok_or(Close::UnknownKey(number))?;
        if !served.takes(version) {
            let key = served.key;
            if key != ApiKey::ApiVersions {
                return Err(Close::UnknownVersion { key, version });
            }
            let header = RequestHeader { key, version: 0, correlation_id, client_id: None };
            return Ok(Request { header, body: BytesMut::new(), is_probe: true });
        }
        let (header, body) = frame::open(frame)?;
        Ok(Request { header, body, is_probe: false })
    }
}

/// Key, version and correlation id stand first in every header version.
fn first_fields(frame: &BytesMut) -> Result<(i16, i16, i32), DecodeError> {
    let mut reader = Reader::over(frame);
    Ok((reader.i16()?, reader.i16()?, reader.i32()?))
}

/// One answer on its way out, length and header included.
#[derive(Debug, Default)]
pub(crate) struct Response {
    head: Bytes,
    rest: Vec<Piece>,
}

impl Response {
    /// An answer that is all in memory.
    pub(crate) fn of(header: &RequestHeader, body: &impl Message) -> Result<Response, Close> {
        let head = frame::response(header.version, header.correlation_id, body)?;
        Ok(Response { head, rest: Vec::new() })
    }

    /// An answer in pieces, which begin with its length.
    pub(crate) fn in_pieces(rest: Vec<Piece>) -> Response {
        Response { head: Bytes::new(), rest }
    }

    /// How many bytes it holds in memory. Ranges of files hold none, however long they are.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        self.head.len() + self.rest.iter().map(Piece::bytes_in_memory).sum::<usize>()
    }

    /// What is to be written, in order.
    pub(crate) fn into_pieces(self) -> impl Iterator<Item = Piece> {
        std::iter::once(Piece::Bytes(self.head)).chain(self.rest)
    }
}

/// Begins one request: everything it has to send is sent when this returns.
pub(crate) fn begin(call: &Call, request: Request, appends: &mut produce::Appends) -> Result<Turn, Close> {
    if request.is_probe {
        return Ok(Turn::Answered(Response::of(&request.header, &api_versions::unsupported())?));
    }
    let version = request.header.version;
    match request.header.key {
        ApiKey::Produce => produce::begin(call, request.header, request.body, appends).map(Turn::Produce),
        ApiKey::Fetch => fetch::begin(call, request.header, request.body),
        ApiKey::ApiVersions => now(request, |asked| api_versions::api_versions(call, version, &asked)),
        ApiKey::Metadata => now(request, |asked| metadata::metadata(call, version, asked)),
        ApiKey::ListOffsets => later(request, |asked| list_offsets::list_offsets(call, version, asked)),
        ApiKey::CreateTopics => later(request, |asked| create_topics::create_topics(call, asked)),
        ApiKey::DeleteTopics => later(request, |asked| delete_topics::delete_topics(call, version, asked)),
        ApiKey::DeleteRecords => later(request, |asked| delete_records::delete_records(call, asked)),
        ApiKey::OffsetForLeaderEpoch => {
            later(request, |asked| offset_for_leader_epoch::offset_for_leader_epoch(call, asked))
        }
        ApiKey::DescribeConfigs => now(request, |asked| describe_configs::describe_configs(call, asked)),
        ApiKey::AlterConfigs => later(request, |asked| alter_configs::alter_configs(call, asked)),
        ApiKey::IncrementalAlterConfigs => {
            later(request, |asked| incremental_alter_configs::incremental_alter_configs(call, asked))
        }
        ApiKey::CreatePartitions => later(request, |asked| create_partitions::create_partitions(call, asked)),
        ApiKey::UpdateFeatures => later(request, |asked| update_features::update_features(call, asked)),
        ApiKey::DescribeCluster => {
            now(request, |asked| describe_cluster::describe_cluster(call, version, &asked))
        }
        ApiKey::DescribeLogDirs => later(request, |asked| describe_log_dirs::describe_log_dirs(call, &asked)),
        ApiKey::ListConfigResources => {
            now(request, |asked| list_config_resources::list_config_resources(call, version, &asked))
        }
        ApiKey::DescribeTopicPartitions => {
            now(request, |asked| describe_topic_partitions::describe_topic_partitions(call, asked))
        }
        _ => begin_in_group(call, request),
    }
}

/// The same, for the APIs of groups.
fn begin_in_group(call: &Call, mut request: Request) -> Result<Turn, Close> {
    let version = request.header.version;
    match request.header.key {
        ApiKey::FindCoordinator => {
            later(request, |asked| find_coordinator::find_coordinator(call, version, asked))
        }
        ApiKey::OffsetCommit => later(request, |asked| offset_commit::offset_commit(call, version, asked)),
        ApiKey::OffsetFetch => later(request, |asked| offset_fetch::offset_fetch(call, version, asked)),
        ApiKey::OffsetDelete => later(request, |asked| offset_delete::offset_delete(call, asked)),
        ApiKey::JoinGroup => {
            let client_id = request.header.client_id.take();
            poll(request, |asked| join_group::join_group(call, version, client_id, asked))
        }
        ApiKey::SyncGroup => poll(request, |asked| sync_group::sync_group(call, version, asked)),
        ApiKey::Heartbeat => later(request, |asked| heartbeat::heartbeat(call, asked)),
        ApiKey::LeaveGroup => later(request, |asked| leave_group::leave_group(call, version, asked)),
        ApiKey::DescribeGroups => {
            later(request, |asked| describe_groups::describe_groups(call, version, asked))
        }
        ApiKey::ListGroups => later(request, |asked| list_groups::list_groups(call, asked)),
        ApiKey::ConsumerGroupHeartbeat => {
            let client_id = request.header.client_id.take();
            later(request, |asked| {
                consumer_group_heartbeat::consumer_group_heartbeat(call, version, client_id, asked)
            })
        }
        ApiKey::ConsumerGroupDescribe => {
            later(request, |asked| consumer_group_describe::consumer_group_describe(call, asked))
        }
        ApiKey::DeleteGroups => later(request, |asked| delete_groups::delete_groups(call, asked)),
        _ => begin_in_transaction(call, request),
    }
}

/// The same, for the APIs of producers' sessions and transactions.
fn begin_in_transaction(call: &Call, request: Request) -> Result<Turn, Close> {
    let version = request.header.version;
    match request.header.key {
        ApiKey::InitProducerId => {
            later(request, |asked| init_producer_id::init_producer_id(call, version, &asked))
        }
        ApiKey::AddPartitionsToTxn => {
            later(request, |asked| add_partitions_to_txn::add_partitions_to_txn(call, version, asked))
        }
        ApiKey::AddOffsetsToTxn => {
            later(request, |asked| add_offsets_to_txn::add_offsets_to_txn(call, version, asked))
        }
        ApiKey::TxnOffsetCommit => {
            later(request, |asked| txn_offset_commit::txn_offset_commit(call, version, asked))
        }
        ApiKey::EndTxn => later(request, |asked| end_txn::end_txn(call, version, &asked)),
        ApiKey::WriteTxnMarkers => later(request, |asked| write_txn_markers::write_txn_markers(call, asked)),
        ApiKey::DescribeProducers => {
            later(request, |asked| describe_producers::describe_producers(call, asked))
        }
        ApiKey::DescribeTransactions => {
            later(request, |asked| describe_transactions::describe_transactions(call, asked))
        }
        ApiKey::ListTransactions => later(request, |asked| list_transactions::list_transactions(call, asked)),
        // Kafka has many more; `Request::read` has turned away what is not served.
        other => Err(Close::UnknownKey(other.number())),
    }
}

fn decode<Asked: Decode>(request: Request) -> Result<(RequestHeader, Asked), Close> {
    let body = request.body.freeze();
    let asked = Asked::decode(&mut Reader::new(&body), request.header.version)?;
    Ok((request.header, asked))
}

/// An API that is answered on the spot.
fn now<Asked, Answer>(request: Request, serve: impl FnOnce(Asked) -> Answer) -> Result<Turn, Close>
where
    Asked: Decode,
    Answer: Message,
{
    let (header, asked) = decode(request)?;
    Ok(Turn::Answered(Response::of(&header, &serve(asked))?))
}

/// An API that waits for an actor.
fn later<Asked, Answer, Wait>(request: Request, serve: impl FnOnce(Asked) -> Wait) -> Result<Turn, Close>
where
    Asked: Decode,
    Answer: Message,
    Wait: Future<Output = Answer> + 'static,
{
    wait(request, serve, false)
}

/// An API that waits for what other clients do, perhaps for minutes: a node that leaves does not wait for it.
fn poll<Asked, Answer, Wait>(request: Request, serve: impl FnOnce(Asked) -> Wait) -> Result<Turn, Close>
where
    Asked: Decode,
    Answer: Message,
    Wait: Future<Output = Answer> + 'static,
{
    wait(request, serve, true)
}

fn wait<Asked, Answer, Wait>(
    request: Request,
    serve: impl FnOnce(Asked) -> Wait,
    droppable: bool,
) -> Result<Turn, Close>
where
    Asked: Decode,
    Answer: Message,
    Wait: Future<Output = Answer> + 'static,
{
    let (header, asked) = decode(request)?;
    let answer = serve(asked);
    let answer = Box::pin(async move { Response::of(&header, &answer.await) });
    Ok(Turn::Wait { answer, droppable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_keeps_nothing_else() {
        let buffer = Bytes::from(vec![7; 128 * 1024]);
        let asked = [("range".to_owned(), buffer.slice(9..12)), ("none".to_owned(), buffer.slice(20..20))];

        let kept = kept(asked.into_iter());

        assert!(buffer.is_unique(), "what the connection has read can be used again");
        let same = [("range".to_owned(), Bytes::from_static(&[7; 3])), ("none".to_owned(), Bytes::new())];
        assert_eq!(kept, same);
    }
}
