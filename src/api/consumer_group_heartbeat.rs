//! ConsumerGroupHeartbeat (key 68), versions 0 and 1 (KIP-848).
//!
//! Promises: a partition is given to a member only once its last owner has let go of it; what a member is told is safe before it is
//! told.
//! Versions: 1 subscription by pattern; the client makes its own member id (KIP-1082).

use std::future::Future;

use ottla_rules::cluster::Image;
use ottla_rules::cluster::features::GROUP_VERSION;
use ottla_rules::group::ask::{Beat, ConsumerHeartbeat};
use ottla_rules::group::{Answer, Ask, GroupError};
use ottla_rules::records::TopicPartitions;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::consumer_group_heartbeat::{
    AssignedTopicPartitions, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, MemberAssignment,
};

use super::Call;

/// The version from which clients make their own member ids.
const OWN_IDS_FROM: i16 = 1;

/// A member says that it lives, and hears what it is to do.
pub(crate) fn consumer_group_heartbeat(
    call: &Call,
    version: i16,
    client_id: Option<String>,
    asked: ConsumerGroupHeartbeatRequest,
) -> impl Future<Output = ConsumerGroupHeartbeatResponse> + use<> {
    let image = call.server.image();
    let answer = allowed(call, &image, &asked).map(|()| {
        // The kernel is asked for randomness where it is used: for a member that has no id yet.
        let mut chance = [0; 16];
        if asked.member_id.is_empty() {
            call.server.host.chance.fill(&mut chance);
        }
        let owned = asked.topic_partitions.map(|topics| {
            let topics = topics.into_iter();
            topics.map(|it| TopicPartitions { topic_id: it.topic_id, partitions: it.partitions }).collect()
        });
        let beat = ConsumerHeartbeat {
            member_id: asked.member_id,
            makes_its_id: version >= OWN_IDS_FROM,
            member_epoch: asked.member_epoch,
            instance_id: asked.instance_id,
            rack_id: asked.rack_id,
            rebalance_timeout_ms: (asked.rebalance_timeout_ms != -1).then_some(asked.rebalance_timeout_ms),
            topic_names: asked.subscribed_topic_names,
            topic_regex: asked.subscribed_topic_regex,
            server_assignor: asked.server_assignor,
            owned,
            client_id: client_id.unwrap_or_default(),
            client_host: String::from(&*call.client_host),
            image,
            chance,
        };
        call.server.ask_group(&asked.group_id, Ask::ConsumerHeartbeat(beat))
    });
    async move {
        let outcome = match answer {
            Ok(answer) => answer.await,
            Err((code, message)) => return refused(code, message),
        };
        match outcome {
            Ok(Answer::Beat(beat)) => of_beat(beat),
            Ok(_) => refused(Code::UnknownServerError, String::new()),
            Err(error) => refused(Code::from(&error), sentence(&asked.group_id, &error)),
        }
    }
}

fn allowed(call: &Call, image: &Image, asked: &ConsumerGroupHeartbeatRequest) -> Result<(), (Code, String)> {
    if image.feature_level(GROUP_VERSION) == 0 {
        return Err((Code::UnsupportedVersion, Code::UnsupportedVersion.message().to_owned()));
    }
    if !call.may(Operation::Read, ResourceKind::Group, &asked.group_id) {
        return Err((Code::GroupAuthorizationFailed, Code::GroupAuthorizationFailed.message().to_owned()));
    }
    let mut names = asked.subscribed_topic_names.iter().flatten();
    if !names.all(|name| call.may(Operation::Describe, ResourceKind::Topic, name)) {
        return Err((Code::TopicAuthorizationFailed, Code::TopicAuthorizationFailed.message().to_owned()));
    }
    if asked.group_id.is_empty() {
        return Err((Code::InvalidRequest, "GroupId can't be empty.".to_owned()));
    }
    Ok(())
}

/// What a person reads: Kafka's sentences where it has one about the group.
pub(super) fn sentence(group: &str, error: &GroupError) -> String {
    match error {
        GroupError::NotFound => format!("Group {group} not found."),
        GroupError::WrongType(kind) => format!("Group {group} is not a {kind} group."),
        GroupError::CannotUpgrade(why) => {
            format!("Cannot upgrade classic group {group} to consumer group because {why}.")
        }
        error => error.to_string(),
    }
}

fn of_beat(beat: Beat) -> ConsumerGroupHeartbeatResponse {
    let assignment = beat.assignment.map(|topics| MemberAssignment {
        topic_partitions: topics
            .into_iter()
            .map(|it| AssignedTopicPartitions { topic_id: it.topic_id, partitions: it.partitions })
            .collect(),
    });
    ConsumerGroupHeartbeatResponse {
        member_id: Some(beat.member_id),
        member_epoch: beat.member_epoch,
        heartbeat_interval_ms: beat.interval_ms,
        assignment,
        ..Default::default()
    }
}

fn refused(code: Code, message: String) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code: code.into(),
        error_message: Some(message),
        ..Default::default()
    }
}
