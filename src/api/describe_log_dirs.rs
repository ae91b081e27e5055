//! DescribeLogDirs (key 35), versions 1 to 5 (KIP-113).
//!
//! Promises: the bytes of each partition's segments, as its owner counts them at this moment; the size of the volume and
//! what is free of it. The journal and the facts are not counted.
//! Versions: 2 flexible. 3 an error at the top. 4 the size of the volume (KIP-827). 5 cordoned directories (KIP-1066):
//! there are none here.
//! Clients: every console shows topic sizes by it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path;

use futures_util::future::join_all;
use ottla_actors::partition::Weigh;
use ottla_actors::stage::reply::Reply;
use ottla_rules::cluster::Image;
use ottla_rules::ids::{PartitionId, TopicId};
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

use super::{CLUSTER, Call};

/// The data directory of this node. Every partition is asked when this returns.
pub(crate) fn describe_log_dirs(
    call: &Call,
    asked: &DescribeLogDirsRequest,
) -> impl Future<Output = DescribeLogDirsResponse> + use<> {
    let may = call.may(Operation::Describe, ResourceKind::Cluster, CLUSTER);
    let shared = call.server.shared.clone();
    let image = call.server.image();
    let weighed: Vec<_> = wanted(&image, asked)
        .into_iter()
        .filter(|_| may && !shared.is_lost())
        .map(|partition| {
            let (reply, answer) = Reply::once();
            shared.directory.tell(partition, Weigh { reply });
            async move { (partition, answer.await) }
        })
        .collect();
    async move {
        if !may {
            let error_code = Code::ClusterAuthorizationFailed.into();
            return DescribeLogDirsResponse { error_code, ..Default::default() };
        }
        let mut topics: BTreeMap<TopicId, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        for (partition, size) in join_all(weighed).await {
            // Who is recovering does not know yet, and who is offline has no files to speak of.
            let Ok(size) = size else { continue };
            topics.entry(partition.topic).or_default().push(DescribeLogDirsPartition {
                partition_index: partition.index,
                partition_size: bytes(Some(size)),
                ..Default::default()
            });
        }
        let topics = topics.into_iter().filter_map(|(id, partitions)| {
            Some(DescribeLogDirsTopic { name: image.topic(id)?.name.to_string(), partitions })
        });
        let space = shared.space();
        let dir = path::absolute(shared.store.path()).unwrap_or_else(|_| shared.store.path().to_owned());
        let code = if shared.is_lost() { Code::KafkaStorageError } else { Code::None };
        let result = DescribeLogDirsResult {
            error_code: code.into(),
            log_dir: dir.display().to_string(),
            topics: topics.collect(),
            total_bytes: bytes(space.map(|space| space.total_bytes)),
            usable_bytes: bytes(space.map(|space| space.free_bytes)),
            is_cordoned: false,
        };
        DescribeLogDirsResponse { results: vec![result], ..Default::default() }
    }
}

/// The partitions that are meant and are there.
fn wanted(image: &Image, asked: &DescribeLogDirsRequest) -> BTreeSet<PartitionId> {
    let Some(topics) = &asked.topics else {
        let all = image.topics().flat_map(|topic| {
            (0..).zip(&topic.partitions).map(|(index, _)| PartitionId { topic: topic.id, index })
        });
        return all.collect();
    };
    let found =
        topics.iter().filter_map(|asked| Some((image.topic_named(&asked.topic)?.id, &asked.partitions)));
    let named =
        found.flat_map(|(topic, indexes)| indexes.iter().map(move |&index| PartitionId { topic, index }));
    named.filter(|partition| image.partition(*partition).is_some()).collect()
}

fn bytes(known: Option<u64>) -> i64 {
    known.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}
