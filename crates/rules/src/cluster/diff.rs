//! What one node does about a new image.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    cluster::{Image, Topic},
    ids::{LeaderEpoch, NodeId, PartitionId},
    settings::BrokerSettings,
    topic_config::TopicConfig,
};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Stop leading a partition.
    Retire {
        /// Which.
        partition: PartitionId,
        /// The topic's name: part of the directory's.
        name: Arc<str>,
        /// The topic is gone: so are the files.
        delete: bool,
    },
    /// Begin to lead a partition.
    Start {
        /// Which.
        partition: PartitionId,
        /// The topic's name: part of the directory's.
        name: Arc<str>,
        /// The epoch of this reign.
        epoch: LeaderEpoch,
        /// How many replicas it has, this one included.
        replicas: usize,
        /// The settings.
        config: Arc<TopicConfig>,
    },
    /// Go on leading a partition under other settings.
    Configure {
        /// Which.
        partition: PartitionId,
        /// The settings.
        config: Arc<TopicConfig>,
    },
}

/// What `node` does to get from `old` to `new`: retirements first, then starts, then settings, each in the order of
/// partitions. `given` is what the node was started with.
///
/// A partition that the node leads in a new epoch is retired and started: its actor is a new one. A topic that was
/// deleted and created again under its name is another topic; its directory has the same name, so a start waits
/// for the retirement of whoever had it.
#[must_use]
pub fn diff(old: &Image, new: &Image, node: NodeId, given: &BrokerSettings) -> Vec<Step> {
    let (settings_before, settings) = (old.settings(node, given), new.settings(node, given));
    let same_settings = settings_before == settings;
    let (mut retire, mut start, mut configure) = (vec![], vec![], vec![]);
    let may_differ = match same_settings && old.has_nodes_of(new) {
        true => old.unshared_topics(new),
        false => old.topic_ids_with(new),
    };
    for id in may_differ {
        let (before, after) = (old.topic(id), new.topic(id));
        let reigns_before = before.map_or(BTreeMap::new(), |topic| reigns(old, topic, node));
        let reigns_after = after.map_or(BTreeMap::new(), |topic| reigns(new, topic, node));
        for (partition, (epoch, _)) in &reigns_before {
            let goes_on = reigns_after.get(partition).is_some_and(|(then, _)| then == epoch);
            if let (false, Some(topic)) = (goes_on, before) {
                let (partition, name) = (*partition, topic.name.clone());
                retire.push(Step::Retire { partition, name, delete: after.is_none() });
            }
        }
        let Some(topic) = after else { continue };
        let same_config = same_settings && before.is_some_and(|before| before.configs == topic.configs);
        if same_config && reigns_before == reigns_after {
            continue;
        }
        let config = Arc::new(new.topic_config(topic, &settings));
        let same_config =
            same_config || before.is_some_and(|before| old.topic_config(before, &settings_before) == *config);
        for (partition, (epoch, replicas)) in reigns_after {
            let config = config.clone();
            if reigns_before.get(&partition).is_none_or(|(then, _)| *then != epoch) {
                start.push(Step::Start { partition, name: topic.name.clone(), epoch, replicas, config });
            } else if !same_config {
                configure.push(Step::Configure { partition, config });
            }
        }
    }
    retire.into_iter().chain(start).chain(configure).collect()
}

/// The partitions of a topic that `node` leads, with epoch and number of replicas.
fn reigns(image: &Image, topic: &Topic, node: NodeId) -> BTreeMap<PartitionId, (LeaderEpoch, usize)> {
    (0..)
        .zip(&topic.partitions)
        .filter(|(_, partition)| partition.leader == node)
        .map(|(index, partition)| {
            let id = PartitionId { topic: topic.id, index };
            (id, (image.leader_epoch(partition), partition.replicas.len()))
        })
        .collect()
}
