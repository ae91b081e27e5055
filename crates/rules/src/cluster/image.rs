//! All facts at one moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    cluster::{Change, Node, Partition},
    ids::{LeaderEpoch, NodeId, PartitionId, ProducerId, TopicId},
    settings::BrokerSettings,
    topic::collision_key,
    topic_config::TopicConfig,
};

/// What the cluster knows. A clone costs a few reference counts, and a change copies only what it touches: one topic,
/// and the lists of topics, which are reference counts too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    cluster_id: Arc<str>,
    version: u64,
    nodes: Arc<BTreeMap<NodeId, Node>>,
    topics: Arc<BTreeMap<TopicId, Arc<Topic>>>,
    /// Topic ids by name.
    names: Arc<BTreeMap<Arc<str>, TopicId>>,
    /// Names by what they must not share.
    unified: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    cluster_configs: Arc<BTreeMap<String, String>>,
    node_configs: Arc<BTreeMap<NodeId, Arc<BTreeMap<String, String>>>>,
    group_configs: Arc<BTreeMap<String, Arc<BTreeMap<String, String>>>>,
    next_producer_id: i64,
    /// Levels of features that were asked for, and the epoch of each.
    features: Arc<BTreeMap<String, (i16, i64)>>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: Arc<str>,
    /// Its partitions, from 0.
    pub partitions: Vec<Partition>,
    /// Its settings of its own.
    pub configs: BTreeMap<String, String>,
}

impl Image {
    /// A cluster that knows only its name.
    #[must_use]
    pub fn new(cluster_id: &str) -> Self {
        Self { cluster_id: cluster_id.into(), ..Self::default() }
    }

    /// The image that these persisted changes make, in any order. What was said of a topic that is not there is
    /// left out: a crash came between the removals of one deletion.
    #[must_use]
    pub fn rebuild(cluster_id: &str, changes: impl IntoIterator<Item = Change>) -> Self {
        let mut changes: Vec<_> = changes.into_iter().map(|change| (change.fact(), change)).collect();
        changes.sort_by(|(a, _), (b, _)| a.key().cmp(b.key()));
        let mut image = Self::new(cluster_id);
        for (_, change) in &changes {
            image.apply(change);
        }
        image
    }

    /// Takes in one change.
    pub fn apply(&mut self, change: &Change) {
        self.version += 1;
        match change {
            Change::NodeRegistered(node) => {
                Arc::make_mut(&mut self.nodes).insert(node.id, node.clone());
            }
            Change::TopicCreated { id, name, partitions, configs } => {
                let name: Arc<str> = name.as_str().into();
                let topic = Topic {
                    id: *id,
                    name: name.clone(),
                    partitions: partitions.clone(),
                    configs: configs.clone(),
                };
                Arc::make_mut(&mut self.unified).insert(collision_key(&name).into(), name.clone());
                Arc::make_mut(&mut self.names).insert(name, *id);
                Arc::make_mut(&mut self.topics).insert(*id, Arc::new(topic));
            }
            Change::TopicDeleted { id } => self.forget(*id),
            Change::PartitionsAdded { id, from, partitions } => self.change_topic(*id, |topic| {
                // A fact about partitions that come after missing ones says nothing.
                if usize::try_from(*from).is_ok_and(|from| from == topic.partitions.len()) {
                    topic.partitions.extend_from_slice(partitions);
                }
            }),
            Change::PartitionChanged { partition, to } => self.change_topic(partition.topic, |topic| {
                let place =
                    usize::try_from(partition.index).ok().and_then(|index| topic.partitions.get_mut(index));
                if let Some(place) = place {
                    *place = to.clone();
                }
            }),
            Change::TopicConfigured { id, configs } => {
                self.change_topic(*id, |topic| topic.configs = configs.clone());
            }
            Change::BrokerConfigured { node: None, configs } => {
                self.cluster_configs = Arc::new(configs.clone());
            }
            Change::BrokerConfigured { node: Some(node), configs } => {
                Arc::make_mut(&mut self.node_configs).insert(*node, Arc::new(configs.clone()));
            }
            Change::GroupConfigured { group, configs } if configs.is_empty() => {
                Arc::make_mut(&mut self.group_configs).remove(group);
            }
            Change::GroupConfigured { group, configs } => {
                Arc::make_mut(&mut self.group_configs).insert(group.clone(), Arc::new(configs.clone()));
            }
            Change::ProducerIdsTaken { first, count } => {
                self.next_producer_id = first.0.saturating_add(*count);
            }
            Change::FeatureSet { name, level, epoch } => {
                Arc::make_mut(&mut self.features).insert(name.clone(), (*level, *epoch));
            }
        }
    }

    /// The cluster's id: 22 characters, as a topic's.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// How many changes made this image. It begins anew with the process: it tells two images of one process apart.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Every node, by number.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The node of this number.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// How many topics there are.
    #[must_use]
    pub fn n_topics(&self) -> usize {
        self.topics.len()
    }

    /// Every topic, by id.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// Every topic, by name.
    pub fn topics_by_name(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.names.values().filter_map(|id| self.topics.get(id))
    }

    /// The topic of this id.
    #[must_use]
    pub fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// The topic of this name.
    #[must_use]
    pub fn topic_named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(name)?)
    }

    /// The name that a topic must not be called next to, because it differs only in `.` and `_` (or not at all).
    #[must_use]
    pub fn colliding(&self, name: &str) -> Option<&str> {
        self.unified.get(&*collision_key(name)).map(|name| &**name)
    }

    /// One partition.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.topics.get(&id.topic)?.partitions.get(usize::try_from(id.index).ok()?)
    }

    /// The leader epoch that counts: the one written with the partition, and one more for every start of its leader
    /// since. So a restart costs one fact, however many partitions the node leads.
    #[must_use]
    pub fn leader_epoch(&self, partition: &Partition) -> LeaderEpoch {
        let incarnation = self.nodes.get(&partition.leader).map_or(partition.incarnation, |n| n.incarnation);
        LeaderEpoch(
            partition.epoch.0.saturating_add(incarnation.saturating_sub(partition.incarnation).max(0)),
        )
    }

    /// The first producer id that nobody has.
    #[must_use]
    pub fn next_producer_id(&self) -> ProducerId {
        ProducerId(self.next_producer_id)
    }

    /// The level of a feature that was asked for, and when: its epoch.
    pub(super) fn feature_set(&self, name: &str) -> Option<(i16, i64)> {
        self.features.get(name).copied()
    }

    /// What was set for a broker (or for all of them: no node) while it runs.
    #[must_use]
    pub fn broker_configs(&self, node: Option<NodeId>) -> Arc<BTreeMap<String, String>> {
        match node {
            None => self.cluster_configs.clone(),
            Some(node) => self.node_configs.get(&node).cloned().unwrap_or_default(),
        }
    }

    /// What was set for a group.
    #[must_use]
    pub fn group_configs(&self, group: &str) -> Arc<BTreeMap<String, String>> {
        self.group_configs.get(group).cloned().unwrap_or_default()
    }

    /// The groups that something was set for, by name.
    pub fn configured_groups(&self) -> impl Iterator<Item = &str> {
        self.group_configs.keys().map(String::as_str)
    }

    /// The settings of a broker that was started with `given`, under what was set since.
    #[must_use]
    pub fn settings(&self, node: NodeId, given: &BrokerSettings) -> BrokerSettings {
        given.with_dynamic(self.broker_configs(None), self.broker_configs(Some(node)))
    }

    /// What counts for a topic on a broker; `settings` are those of [`Image::settings`].
    #[must_use]
    pub fn topic_config(&self, topic: &Topic, settings: &BrokerSettings) -> TopicConfig {
        TopicConfig::read(&topic.configs, settings)
    }

    /// Whether both say the same, whatever way they came to it.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        Self { version: 0, ..self.clone() } == Self { version: 0, ..other.clone() }
    }

    /// Whether topics were deleted on the way to `later`.
    #[must_use]
    pub fn has_lost_topics(&self, later: &Self) -> bool {
        self.unshared_topics(later).iter().any(|id| later.topic(*id).is_none())
    }

    /// Every topic either image has, in order of ids.
    pub(super) fn topic_ids_with(&self, other: &Self) -> Vec<TopicId> {
        let both: BTreeSet<_> = self.topics.keys().chain(other.topics.keys()).copied().collect();
        both.into_iter().collect()
    }

    /// Those that the images do not share, in order of ids: of thousands one has changed, and a look at each is not one at its partitions.
    pub(super) fn unshared_topics(&self, other: &Self) -> Vec<TopicId> {
        let mut unshared = Vec::new();
        if Arc::ptr_eq(&self.topics, &other.topics) {
            return unshared;
        }
        let (mut mine, mut others) = (self.topics.iter().peekable(), other.topics.iter().peekable());
        while let Some(id) = mine.peek().into_iter().chain(others.peek()).map(|(id, _)| **id).min() {
            let of_this = |(at, _): &(&TopicId, &Arc<Topic>)| **at == id;
            let is_shared = match (mine.next_if(of_this), others.next_if(of_this)) {
                (Some((_, a)), Some((_, b))) => Arc::ptr_eq(a, b),
                _ => false,
            };
            if !is_shared {
                unshared.push(id);
            }
        }
        unshared
    }

    /// Whether both know the same nodes: then what they share is led in the same epochs.
    pub(super) fn has_nodes_of(&self, other: &Self) -> bool {
        self.nodes == other.nodes
    }

    fn change_topic(&mut self, id: TopicId, change: impl FnOnce(&mut Topic)) {
        if let Some(topic) = Arc::make_mut(&mut self.topics).get_mut(&id) {
            change(Arc::make_mut(topic));
        }
    }

    fn forget(&mut self, id: TopicId) {
        let Some(topic) = Arc::make_mut(&mut self.topics).remove(&id) else { return };
        Arc::make_mut(&mut self.names).remove(&topic.name);
        Arc::make_mut(&mut self.unified).remove(&*collision_key(&topic.name));
    }
}
