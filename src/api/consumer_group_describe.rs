//! ConsumerGroupDescribe (key 69), versions 0 and 1 (KIP-848).
//!
//! Versions: 1 which protocol a member speaks.

use std::future::Future;

use futures_util::future::join_all;
use ottla_rules::cluster::Image;
use ottla_rules::cluster::features::GROUP_VERSION;
use ottla_rules::group::consumer::{ConsumerDescription, ConsumerMemberDescription};
use ottla_rules::group::{Answer, Ask};
use ottla_rules::records;
use ottla_rules::rights::{Operation, ResourceKind, authorized_operations};
use ottla_wire::codes::Code;
use ottla_wire::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup, Member,
    TopicPartitions,
};

use super::{Call, consumer_group_heartbeat::sentence, group_right, once};

/// A member that speaks the classic protocol.
const CLASSIC_MEMBER: i8 = 0;
/// A member that speaks the consumer protocol.
const CONSUMER_MEMBER: i8 = 1;

/// Describes groups. Every group is asked when this returns.
pub(crate) fn consumer_group_describe(
    call: &Call,
    asked: ConsumerGroupDescribeRequest,
) -> impl Future<Output = ConsumerGroupDescribeResponse> + use<> {
    let call = call.clone();
    let operations = asked.include_authorized_operations;
    let waiting: Vec<_> = once(asked.group_ids, String::clone)
        .map(|id| {
            let speaks = call.server.image().feature_level(GROUP_VERSION) > 0;
            let answer = (if speaks { Ok(()) } else { Err(Code::UnsupportedVersion) })
                .and_then(|()| group_right(&call, Operation::Describe, &id))
                .map(|()| call.server.ask_group(&id, Ask::ConsumerDescribe));
            (id, answer)
        })
        .collect();
    async move {
        let image = call.server.image();
        let mut groups = Vec::with_capacity(waiting.len());
        let (ids, answers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let answers = answers.into_iter().map(|answer| async {
            match answer {
                Ok(answer) => Ok(answer.await),
                Err(code) => Err(code),
            }
        });
        for (id, answer) in ids.into_iter().zip(join_all(answers).await) {
            let mut group = match answer {
                Ok(Ok(Answer::ConsumerDescribed(description))) => described(id, description, &image),
                Ok(Ok(_)) => refused(id, Code::UnknownServerError, None),
                Ok(Err(error)) => {
                    let message = sentence(&id, &error);
                    refused(id, Code::from(&error), Some(message))
                }
                Err(code) => refused(id, code, None),
            };
            if operations && group.error_code == 0 {
                let name = &group.group_id;
                group.authorized_operations = authorized_operations(&call.caller, ResourceKind::Group, name);
            }
            groups.push(group);
        }
        ConsumerGroupDescribeResponse { groups, ..Default::default() }
    }
}

fn described(group_id: String, description: ConsumerDescription, image: &Image) -> DescribedGroup {
    DescribedGroup {
        group_id,
        group_state: description.state.to_owned(),
        group_epoch: description.epoch,
        assignment_epoch: description.assignment_epoch,
        assignor_name: description.assignor,
        members: description.members.into_iter().map(|member| of_member(member, image)).collect(),
        ..Default::default()
    }
}

fn of_member(member: ConsumerMemberDescription, image: &Image) -> Member {
    let said = member.described;
    Member {
        member_id: member.member_id,
        instance_id: said.instance_id,
        rack_id: said.rack_id,
        member_epoch: member.epoch,
        client_id: said.client_id,
        client_host: said.client_host,
        subscribed_topic_names: said.topic_names,
        subscribed_topic_regex: said.topic_regex,
        assignment: assignment(member.assigned, image),
        target_assignment: assignment(member.target, image),
        member_type: if said.classic.is_some() { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
    }
}

/// Topics that are gone meanwhile are left out, as in Kafka: they have no name any more.
fn assignment(topics: Vec<records::TopicPartitions>, image: &Image) -> Assignment {
    let named = topics.into_iter().filter_map(|topic| {
        let topic_name = image.topic(topic.topic_id)?.name.to_string();
        Some(TopicPartitions { topic_id: topic.topic_id, topic_name, partitions: topic.partitions })
    });
    Assignment { topic_partitions: named.collect() }
}

fn refused(group_id: String, code: Code, error_message: Option<String>) -> DescribedGroup {
    DescribedGroup { error_code: code.into(), error_message, group_id, ..Default::default() }
}
