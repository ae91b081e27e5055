//! FindCoordinator (key 10), versions 0 to 6.
//!
//! Promises: a group's coordinator is the leader of the group's partition of `__consumer_offsets`, that of a transactional id the
//! leader of its partition of `__transaction_state`; whoever asks first has that topic created, and is answered when it is there.
//! Versions: 1 kinds of keys. 3 flexible. 4 many keys at a time. 6 share groups (not served).

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla_rules::cluster::{Command, CommandError, Image};
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_rules::settings::BrokerSettings;
use ottla_rules::topic::{CONSUMER_OFFSETS, TRANSACTION_STATE};
use ottla_wire::codes::Code;
use ottla_wire::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

use super::Call;
use crate::server::Server;

/// The kind of key that names a group.
const GROUP: i8 = 0;
/// The kind of key that is a transactional id.
const TRANSACTION: i8 = 1;
/// The version from which many keys may be asked for.
const BATCH_FROM: i16 = 4;
/// How often it is said that a topic of the coordinators cannot be created.
const TELL_EVERY_MS: u64 = 60_000;

/// Finds coordinators.
pub(crate) fn find_coordinator(
    call: &Call,
    version: i16,
    asked: FindCoordinatorRequest,
) -> impl Future<Output = FindCoordinatorResponse> + use<> {
    let keys = if version >= BATCH_FROM { asked.coordinator_keys } else { vec![asked.key] };
    let (call, key_type) = (call.clone(), asked.key_type);
    let wanted = topic_of(key_type).filter(|_| !keys.is_empty());
    let creation = wanted.and_then(|topic| create_missing(&call, topic));
    async move {
        if let Some(creation) = creation {
            creation.await;
        }
        let image = call.server.image();
        let mut found = keys.into_iter().map(|key| find(&call, &image, key_type, key));
        if version >= BATCH_FROM {
            return FindCoordinatorResponse { coordinators: found.collect(), ..Default::default() };
        }
        let Coordinator { node_id, host, port, error_code, error_message, .. } =
            found.next().unwrap_or_default();
        // Where one key was asked for Kafka writes a word, also when all is well.
        let said = if error_code == 0 { Some(Code::None.message().to_owned()) } else { error_message };
        FindCoordinatorResponse { error_code, error_message: said, node_id, host, port, ..Default::default() }
    }
}

/// The topic that coordinators of this kind lead.
fn topic_of(key_type: i8) -> Option<&'static str> {
    match key_type {
        GROUP => Some(CONSUMER_OFFSETS),
        TRANSACTION => Some(TRANSACTION_STATE),
        _ => None,
    }
}

/// Has a coordinators' topic created when it is not there. Sent when this returns; the future only waits.
pub(crate) fn create_missing(call: &Call, topic: &str) -> Option<impl Future<Output = ()> + use<>> {
    let creation = call.server.image().topic_named(topic).is_none().then(|| create(call, topic))?;
    let (server, topic) = (call.server.clone(), topic.to_owned());
    Some(async move {
        match creation.await {
            // When somebody else was faster it is there as well.
            Ok(()) | Err(CommandError::Exists(_)) => (),
            Err(error) => tell(server.host.clock.now().mono_ms, &topic, &error),
        }
    })
}

/// Says why, once a minute: whoever is told to try again does so several times a second.
fn tell(now_ms: u64, topic: &str, error: &CommandError) {
    static NOT_BEFORE_MS: AtomicU64 = AtomicU64::new(0);
    let due = |not_before| (now_ms >= not_before).then_some(now_ms + TELL_EVERY_MS);
    if NOT_BEFORE_MS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok() {
        log::warn!(topic, error:% = error; "a coordinator's topic cannot be created: its clients are told to try again");
    }
}

/// Has a coordinators' topic created.
fn create(call: &Call, topic: &str) -> impl Future<Output = Result<(), CommandError>> + use<> {
    let server = &call.server;
    let image = server.image();
    let answer = server.submit(creation_of(server, &image, &server.settings(&image), topic));
    async move { answer.await.map(|_| ()) }
}

/// How a topic is made that somebody asks for without saying how: one of the coordinators as they need it, whoever asks for it
/// first, any other as the settings say.
pub(crate) fn creation_of(server: &Server, image: &Image, settings: &BrokerSettings, topic: &str) -> Command {
    let (prefix, compression) = match topic {
        CONSUMER_OFFSETS => ("offsets.topic", "producer"),
        TRANSACTION_STATE => ("transaction.state.log", "uncompressed"),
        other => {
            return Command::CreateTopic {
                name: other.to_owned(),
                id: server.draw_topic_id(),
                partitions: -1,
                replication: -1,
                assignments: Vec::new(),
                configs: Vec::new(),
            };
        }
    };
    let setting = |name: &str| settings.int(&format!("{prefix}.{name}"));
    let replicas = setting("replication.factor").min(image.nodes().count() as i64);
    let configs = [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", compression.to_owned()),
        ("segment.bytes", setting("segment.bytes").to_string()),
    ];
    Command::CreateTopic {
        name: topic.to_owned(),
        id: server.draw_topic_id(),
        partitions: i32::try_from(setting("num.partitions")).unwrap_or(i32::MAX),
        replication: i16::try_from(replicas).unwrap_or(1),
        assignments: Vec::new(),
        configs: configs.map(|(name, value)| (name.to_owned(), Some(value))).into(),
    }
}

fn find(call: &Call, image: &Image, key_type: i8, key: String) -> Coordinator {
    let (kind, refusal) = match key_type {
        GROUP => (ResourceKind::Group, Code::GroupAuthorizationFailed),
        TRANSACTION => (ResourceKind::TransactionalId, Code::TransactionalIdAuthorizationFailed),
        _ => {
            let message = "This broker coordinates groups and transactions; share groups are not served yet.";
            return refused(key, Code::InvalidRequest, message);
        }
    };
    if key_type == TRANSACTION && key.is_empty() {
        return refused(key, Code::InvalidRequest, "A transactional id is not empty.");
    }
    if !call.may(Operation::Describe, kind, &key) {
        return refused(key, refusal, refusal.message());
    }
    let not_there =
        |key| refused(key, Code::CoordinatorNotAvailable, Code::CoordinatorNotAvailable.message());
    let place = topic_of(key_type).and_then(|topic| call.server.directory.partition_of(topic, &key));
    let Some(partition) = place.and_then(|place| image.partition(place)) else {
        return not_there(key);
    };
    let mut brokers = call.server.brokers(image, call.reached).into_iter();
    match brokers.find(|broker| broker.node == partition.leader) {
        Some(broker) => Coordinator {
            key,
            node_id: broker.node.0,
            host: broker.host,
            port: broker.port,
            error_code: Code::None.into(),
            error_message: Some(String::new()),
        },
        None => not_there(key),
    }
}

fn refused(key: String, code: Code, message: &str) -> Coordinator {
    Coordinator {
        key,
        node_id: -1,
        host: String::new(),
        port: -1,
        error_code: code.into(),
        error_message: Some(message.to_owned()),
    }
}
