//! OffsetCommit (key 8), versions 2 to 10.
//!
//! Promises: an offset whose commit was answered is in the log, and safe as a produced record is; commits of one group count in
//! the order in which they were answered.
//! Versions: 2 to 4 say how long to keep the offsets. 6 leader epochs. 7 static members. 8 flexible. 9 an unknown group is
//! GROUP_ID_NOT_FOUND. 10 topic ids.

use std::future::Future;

use ottla_rules::cluster::Image;
use ottla_rules::group::ask::{CommitOffset, CommitOffsets};
use ottla_rules::group::{Answer, Ask};
use ottla_rules::ids::PartitionId;
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use super::Call;

/// The version from which topics are named by id.
const TOPIC_IDS_FROM: i16 = 10;
/// The version from which clients know GROUP_ID_NOT_FOUND.
const GROUP_ERRORS_FROM: i16 = 9;

/// Commits offsets.
pub(crate) fn offset_commit(
    call: &Call,
    version: i16,
    asked: OffsetCommitRequest,
) -> impl Future<Output = OffsetCommitResponse> + use<> {
    let mut desk =
        Desk { call, version, image: &call.server.image(), offsets: Vec::new(), places: Vec::new() };
    let may = call.may(Operation::Read, ResourceKind::Group, &asked.group_id);
    let mut topics: Vec<_> =
        asked.topics.into_iter().enumerate().map(|(at, topic)| desk.topic(at, topic, may)).collect();
    let Desk { offsets, places, .. } = desk;
    let answer = (!offsets.is_empty()).then(|| {
        let commit = CommitOffsets {
            member_id: asked.member_id,
            instance_id: asked.group_instance_id,
            generation: asked.generation_id_or_member_epoch,
            knows_group_errors: version >= GROUP_ERRORS_FROM,
            retention_ms: asked.retention_time_ms,
            offsets,
            transaction: None,
        };
        call.server.ask_group(&asked.group_id, Ask::Commit(commit))
    });
    async move {
        if let Some(answer) = answer {
            let codes: Vec<Code> = match answer.await {
                Ok(Answer::Committed(committed)) => {
                    committed.iter().map(|error| error.as_ref().map_or(Code::None, Code::from)).collect()
                }
                Ok(_) => vec![Code::UnknownServerError; places.len()],
                Err(error) => vec![Code::from(&error); places.len()],
            };
            for ((topic, partition), code) in places.into_iter().zip(codes) {
                topics[topic].partitions[partition].error_code = code.into();
            }
        }
        OffsetCommitResponse { topics, ..Default::default() }
    }
}

/// Where one request is sorted: what the group is asked, and where its answers go.
struct Desk<'a> {
    call: &'a Call,
    version: i16,
    image: &'a Image,
    offsets: Vec<CommitOffset>,
    places: Vec<(usize, usize)>,
}

impl Desk<'_> {
    fn topic(&mut self, at: usize, asked: OffsetCommitRequestTopic, may: bool) -> OffsetCommitResponseTopic {
        let (known, unknown) = if self.version >= TOPIC_IDS_FROM {
            (self.image.topic(asked.topic_id), Code::UnknownTopicId)
        } else {
            (self.image.topic_named(&asked.name), Code::UnknownTopicOrPartition)
        };
        let name = known.map_or(asked.name.as_str(), |topic| &topic.name).to_owned();
        let may_read = self.call.may(Operation::Read, ResourceKind::Topic, &name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in asked.partitions {
            let index = partition.partition_index;
            let id = known.map(|topic| PartitionId { topic: topic.id, index });
            let code = match id {
                _ if !may => Code::GroupAuthorizationFailed,
                None => unknown,
                Some(_) if !may_read => Code::TopicAuthorizationFailed,
                Some(id) if self.image.partition(id).is_none() => Code::UnknownTopicOrPartition,
                Some(id) => {
                    self.places.push((at, partitions.len()));
                    self.offsets.push(commit(&name, id, partition));
                    Code::None
                }
            };
            partitions
                .push(OffsetCommitResponsePartition { partition_index: index, error_code: code.into() });
        }
        OffsetCommitResponseTopic { name: asked.name, topic_id: asked.topic_id, partitions }
    }
}

fn commit(topic: &str, id: PartitionId, asked: OffsetCommitRequestPartition) -> CommitOffset {
    CommitOffset {
        topic: topic.to_owned(),
        topic_id: id.topic,
        partition: id.index,
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: asked.committed_metadata.unwrap_or_default(),
    }
}
