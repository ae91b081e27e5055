//! What can be asked of the cluster, and what is decided.
//!
//! The checks, their order and their sentences are those of Kafka's `ReplicationControlManager`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    cluster::{Change, Image, Node, Partition, Topic, features::FeatureUpdate},
    ids::{LeaderEpoch, NodeId, PartitionId, TopicId},
    limits::PARTITIONS_PER_REQUEST_MAX,
    settings::{Alter, BrokerSettings, Scope, SettingError, alter, check_all, check_broker, replace},
    topic::{CLUSTER_METADATA, NameError, check_name},
};

/// A partition's replicas as a person chose them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaAssignment {
    /// The partition's number.
    pub index: i32,
    /// Its replicas, the preferred leader first.
    pub replicas: Vec<NodeId>,
}

/// One thing that is asked. Whoever asks brings the chance: topic ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A node has started and can be reached there.
    RegisterNode {
        /// Its number.
        id: NodeId,
        /// Where clients reach it.
        host: String,
        /// The port there.
        port: u16,
        /// The zone it stands in.
        rack: Option<String>,
    },
    /// A new topic.
    CreateTopic {
        /// Its name.
        name: String,
        /// Its id, random.
        id: TopicId,
        /// How many partitions; -1 is `num.partitions`. With assignments it must be -1.
        partitions: i32,
        /// How many replicas each; -1 is `default.replication.factor`. With assignments it must be -1.
        replication: i16,
        /// Where each partition goes; empty leaves that to us.
        assignments: Vec<ReplicaAssignment>,
        /// Its settings of its own.
        configs: Vec<(String, Option<String>)>,
    },
    /// The end of a topic.
    DeleteTopic {
        /// Its id.
        id: TopicId,
    },
    /// More partitions.
    AddPartitions {
        /// The topic.
        id: TopicId,
        /// How many it shall have.
        total: i32,
        /// Where each new partition goes, in order; none leaves that to us.
        assignments: Option<Vec<Vec<NodeId>>>,
    },
    /// Changes single settings of a topic (IncrementalAlterConfigs).
    AlterTopicConfigs {
        /// The topic.
        id: TopicId,
        /// The changes.
        alters: Vec<Alter>,
    },
    /// Gives a topic these settings and resets all others (AlterConfigs).
    SetTopicConfigs {
        /// The topic.
        id: TopicId,
        /// The settings.
        configs: Vec<(String, Option<String>)>,
    },
    /// Changes single settings of a running broker, or of all.
    AlterBrokerConfigs {
        /// Which; none is all.
        node: Option<NodeId>,
        /// The changes.
        alters: Vec<Alter>,
    },
    /// Gives a running broker, or all, these settings and resets all others.
    SetBrokerConfigs {
        /// Which; none is all.
        node: Option<NodeId>,
        /// The settings.
        configs: Vec<(String, Option<String>)>,
    },
    /// Changes single settings of a group, which need not exist.
    AlterGroupConfigs {
        /// The group.
        group: String,
        /// The changes.
        alters: Vec<Alter>,
    },
    /// Gives a group these settings and resets all others.
    SetGroupConfigs {
        /// The group.
        group: String,
        /// The settings.
        configs: Vec<(String, Option<String>)>,
    },
    /// The actor that leads a partition was lost: the same node leads again, in a new epoch.
    LeadAgain {
        /// Which.
        partition: PartitionId,
    },
    /// Producer ids for one node to hand out.
    TakeProducerIds {
        /// How many.
        count: i64,
    },
    /// Other levels of features, all or none of them.
    UpdateFeatures {
        /// The changes.
        updates: Vec<FeatureUpdate>,
        /// The node that decides.
        node: NodeId,
    },
}

/// Why a command is refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The topic's name cannot be (INVALID_TOPIC_EXCEPTION).
    #[error(transparent)]
    Name(#[from] NameError),
    /// The topic's name is too much like another's (INVALID_TOPIC_EXCEPTION).
    #[error("Topic '{name}' collides with existing topic: {existing}")]
    Collision {
        /// The name that was asked for.
        name: String,
        /// The name that is there.
        existing: String,
    },
    /// The name is taken (TOPIC_ALREADY_EXISTS).
    #[error("Topic '{0}' already exists.")]
    Exists(String),
    /// The id is taken, or means "none": whoever asked was out of luck and asks again (UNKNOWN_SERVER_ERROR).
    #[error("the id {0} is taken, another one must be drawn")]
    IdTaken(TopicId),
    /// There is no such topic (UNKNOWN_TOPIC_ID).
    #[error("This server does not host this topic ID.")]
    UnknownTopic(TopicId),
    /// There is no such partition (UNKNOWN_TOPIC_OR_PARTITION).
    #[error("This server does not host this topic-partition.")]
    UnknownPartition(PartitionId),
    /// The number of partitions cannot be (INVALID_PARTITIONS).
    #[error("{0}")]
    Partitions(String),
    /// The number of replicas cannot be (INVALID_REPLICATION_FACTOR).
    #[error("{0}")]
    Replication(String),
    /// The replicas that were chosen cannot be (INVALID_REPLICA_ASSIGNMENT).
    #[error("{0}")]
    Assignment(String),
    /// A setting cannot be (INVALID_CONFIG).
    #[error("{0}")]
    Config(String),
    /// The request contradicts itself (INVALID_REQUEST).
    #[error("{0}")]
    Request(String),
    /// More than one request may ask for (POLICY_VIOLATION).
    #[error("Excessively large number of partitions per request.")]
    TooManyPartitions,
    /// A feature's level cannot be (INVALID_UPDATE_VERSION).
    #[error("{0}")]
    Feature(String),
    /// No node of this number has registered (BROKER_ID_NOT_REGISTERED).
    #[error("Broker {0} is not registered.")]
    UnknownNode(NodeId),
    /// All numbers are used up (UNKNOWN_SERVER_ERROR).
    #[error("there are no {0} left")]
    Exhausted(&'static str),
    /// Whoever decides is leaving, or gone (NOT_CONTROLLER): every client tries that again.
    #[error("This is not the correct controller for this cluster.")]
    NotHere,
    /// Whoever asked has waited for as long as it wanted to (REQUEST_TIMED_OUT): the command may still come about, unless no
    /// time was given at all.
    #[error("The request timed out.")]
    TimedOut,
    /// The disk does not take it now (KAFKA_STORAGE_ERROR): ask again when space has returned. What was decided before the
    /// disk refused may still come about.
    #[error("The metadata cannot be written: {0}.")]
    Storage(String),
}

impl Command {
    /// Whether more is on the disk afterwards: not while the disk is full. What frees space, or costs next to none, goes on.
    #[must_use]
    pub fn takes_space(&self) -> bool {
        match self {
            Self::CreateTopic { .. } | Self::AddPartitions { .. } => true,
            Self::RegisterNode { .. }
            | Self::DeleteTopic { .. }
            | Self::AlterTopicConfigs { .. }
            | Self::SetTopicConfigs { .. }
            | Self::AlterBrokerConfigs { .. }
            | Self::SetBrokerConfigs { .. }
            | Self::AlterGroupConfigs { .. }
            | Self::SetGroupConfigs { .. }
            | Self::UpdateFeatures { .. }
            | Self::LeadAgain { .. }
            | Self::TakeProducerIds { .. } => false,
        }
    }
}

impl From<SettingError> for CommandError {
    fn from(error: SettingError) -> Self {
        match error {
            SettingError::Invalid(text) => Self::Config(text),
            SettingError::Request(text) => Self::Request(text),
        }
    }
}

impl Image {
    /// What a command changes. Applying the answer carries it out; deciding alone is what `validate_only` wants.
    /// `settings` are the deciding broker's.
    ///
    /// # Errors
    /// Why it cannot be; see [`CommandError`].
    pub fn decide(&self, command: &Command, settings: &BrokerSettings) -> Result<Vec<Change>, CommandError> {
        let change = match command {
            Command::RegisterNode { id, host, port, rack } => {
                self.register(*id, host, *port, rack.clone())?
            }
            Command::CreateTopic { .. } => self.create(command, settings)?,
            Command::DeleteTopic { id } => Change::TopicDeleted { id: self.known(*id)?.id },
            Command::AddPartitions { id, total, assignments } => {
                self.add_partitions(*id, *total, assignments.as_deref())?
            }
            Command::AlterTopicConfigs { id, alters } => {
                let configs = alter(Scope::Topic, &self.known(*id)?.configs, alters, settings)?;
                Change::TopicConfigured { id: *id, configs }
            }
            Command::SetTopicConfigs { id, configs } => {
                self.known(*id)?;
                Change::TopicConfigured { id: *id, configs: replace(Scope::Topic, configs, settings)? }
            }
            Command::AlterBrokerConfigs { node, alters } => {
                self.known_node(*node)?;
                let configs = alter(Scope::Broker, &self.broker_configs(*node), alters, settings)?;
                broker_configured(*node, configs, settings)?
            }
            Command::SetBrokerConfigs { node, configs } => {
                self.known_node(*node)?;
                broker_configured(*node, replace(Scope::Broker, configs, settings)?, settings)?
            }
            Command::AlterGroupConfigs { group, alters } => {
                let configs = alter(Scope::Group, &self.group_configs(group), alters, settings)?;
                Change::GroupConfigured { group: group.clone(), configs }
            }
            Command::SetGroupConfigs { group, configs } => {
                let configs = replace(Scope::Group, configs, settings)?;
                Change::GroupConfigured { group: group.clone(), configs }
            }
            Command::LeadAgain { partition } => self.lead_again(*partition)?,
            Command::TakeProducerIds { count } => self.take_producer_ids(*count)?,
            Command::UpdateFeatures { updates, node } => return self.update_features(updates, *node),
        };
        Ok(vec![change])
    }

    fn register(
        &self,
        id: NodeId,
        host: &str,
        port: u16,
        rack: Option<String>,
    ) -> Result<Change, CommandError> {
        let before = self.node(id).map_or(0, |node| node.incarnation);
        let incarnation = before.checked_add(1).ok_or(CommandError::Exhausted("incarnations"))?;
        Ok(Change::NodeRegistered(Node { id, host: host.into(), port, rack, incarnation }))
    }

    fn create(&self, command: &Command, settings: &BrokerSettings) -> Result<Change, CommandError> {
        let Command::CreateTopic { name, id, partitions, replication, assignments, configs } = command else {
            unreachable!("the caller has looked")
        };
        if name == CLUSTER_METADATA {
            let why = format!("Creation of internal topic {CLUSTER_METADATA} is prohibited.");
            return Err(CommandError::Request(why));
        }
        check_name(name)?;
        if self.topic_named(name).is_some() {
            return Err(CommandError::Exists(name.clone()));
        }
        if let Some(existing) = self.colliding(name) {
            return Err(CommandError::Collision { name: name.clone(), existing: existing.into() });
        }
        if *id == TopicId::ZERO || self.topic(*id).is_some() {
            return Err(CommandError::IdTaken(*id));
        }
        let configs = checked_configs(configs, settings)?;
        let partitions = if assignments.is_empty() {
            self.place(*partitions, *replication, settings)?
        } else {
            self.place_as_told(*partitions, *replication, assignments)?
        };
        Ok(Change::TopicCreated { id: *id, name: name.clone(), partitions, configs })
    }

    fn place(
        &self,
        partitions: i32,
        replication: i16,
        settings: &BrokerSettings,
    ) -> Result<Vec<Partition>, CommandError> {
        if replication < -1 || replication == 0 {
            return Err(CommandError::Replication(
                "Replication factor must be larger than 0, or -1 to use the default value.".into(),
            ));
        }
        if partitions < -1 || partitions == 0 {
            return Err(CommandError::Partitions(
                "Number of partitions was set to an invalid non-positive value.".into(),
            ));
        }
        let ask = |own: i64, name| if own == -1 { settings.int(name) } else { own };
        let partitions = ask(partitions.into(), "num.partitions");
        let replication = ask(replication.into(), "default.replication.factor");
        let partitions = usize::try_from(partitions).unwrap_or(usize::MAX);
        if partitions > PARTITIONS_PER_REQUEST_MAX {
            return Err(CommandError::TooManyPartitions);
        }
        (0..partitions).map(|index| self.placed(index, replication)).collect()
    }

    /// The replicas of a partition, chosen by us: from node to node around the ring.
    fn placed(&self, index: usize, replication: i64) -> Result<Partition, CommandError> {
        let nodes: Vec<NodeId> = self.nodes().map(|node| node.id).collect();
        let n_replicas = usize::try_from(replication).unwrap_or(0);
        if n_replicas > nodes.len() || nodes.is_empty() {
            return Err(CommandError::Replication(format!(
                "Unable to replicate the partition {replication} time(s): The target replication factor of \
                 {replication} cannot be reached because only {} broker(s) are registered or some brokers have all \
                 their log directories cordoned.",
                nodes.len()
            )));
        }
        let ring = nodes.iter().cycle().skip(index % nodes.len());
        self.partition_on(ring.take(n_replicas).copied().collect())
    }

    fn place_as_told(
        &self,
        partitions: i32,
        replication: i16,
        assignments: &[ReplicaAssignment],
    ) -> Result<Vec<Partition>, CommandError> {
        if replication != -1 {
            return Err(CommandError::Request(
                "A manual partition assignment was specified, but replication factor was not set to -1."
                    .into(),
            ));
        }
        if partitions != -1 {
            return Err(CommandError::Request(
                "A manual partition assignment was specified, but numPartitions was not set to -1.".into(),
            ));
        }
        if assignments.len() > PARTITIONS_PER_REQUEST_MAX {
            return Err(CommandError::TooManyPartitions);
        }
        let mut by_index = BTreeMap::new();
        for assignment in assignments {
            if by_index.contains_key(&assignment.index) {
                return Err(CommandError::Assignment(format!(
                    "Found multiple manual partition assignments for partition {}",
                    assignment.index
                )));
            }
            self.check_assignment(&assignment.replicas, assignments[0].replicas.len())?;
            by_index.insert(assignment.index, self.partition_on(assignment.replicas.clone())?);
        }
        if by_index.keys().zip(0..).any(|(index, expected)| *index != expected) {
            return Err(CommandError::Assignment(
                "partitions should be a consecutive 0-based integer sequence".into(),
            ));
        }
        Ok(by_index.into_values().collect())
    }

    fn check_assignment(&self, replicas: &[NodeId], replication: usize) -> Result<(), CommandError> {
        let refuse = |why: String| Err(CommandError::Assignment(why));
        if replicas.is_empty() {
            return refuse("The manual partition assignment includes an empty replica list.".into());
        }
        let mut seen = BTreeSet::new();
        for node in replicas {
            if self.node(*node).is_none() {
                return refuse(format!(
                    "The manual partition assignment includes broker {node}, but no such broker is registered."
                ));
            }
            if !seen.insert(node) {
                return refuse(format!(
                    "The manual partition assignment includes the broker {node} more than once."
                ));
            }
        }
        if replicas.len() != replication {
            return refuse(format!(
                "The manual partition assignment includes a partition with {} replica(s), but this is not \
                 consistent with previous partitions, which have {replication} replica(s).",
                replicas.len()
            ));
        }
        Ok(())
    }

    /// A new partition on these nodes, the first of which leads.
    fn partition_on(&self, replicas: Vec<NodeId>) -> Result<Partition, CommandError> {
        let leader = *replicas.first().ok_or_else(|| {
            CommandError::Assignment("The manual partition assignment includes an empty replica list.".into())
        })?;
        let incarnation = self.node(leader).ok_or(CommandError::UnknownNode(leader))?.incarnation;
        Ok(Partition { leader, epoch: LeaderEpoch(0), incarnation, isr: replicas.clone(), replicas })
    }

    fn add_partitions(
        &self,
        id: TopicId,
        total: i32,
        assignments: Option<&[Vec<NodeId>]>,
    ) -> Result<Change, CommandError> {
        let topic = self.known(id)?;
        let have = topic.partitions.len();
        // What fits into memory as partitions fits into an i32: a command adds at most some thousands.
        let from = i32::try_from(have).map_err(|_| CommandError::Exhausted("partition numbers"))?;
        if total == from {
            return Err(CommandError::Partitions(format!("Topic already has {have} partition(s).")));
        }
        if total < from {
            return Err(CommandError::Partitions(format!(
                "The topic {} currently has {have} partition(s); {total} would not be an increase.",
                topic.name
            )));
        }
        let n_new = usize::try_from(total - from).unwrap_or(usize::MAX);
        if n_new > PARTITIONS_PER_REQUEST_MAX {
            return Err(CommandError::TooManyPartitions);
        }
        let replication = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
        let partitions = match assignments {
            None => (have..have + n_new)
                .map(|index| self.placed(index, replication as i64))
                .collect::<Result<_, _>>()?,
            Some(told) if told.len() != n_new => {
                return Err(CommandError::Assignment(format!(
                    "Attempted to add {n_new} additional partition(s), but only {} assignment(s) were specified.",
                    told.len()
                )));
            }
            Some(told) => told
                .iter()
                .map(|replicas| {
                    self.check_assignment(replicas, replication)?;
                    self.partition_on(replicas.clone())
                })
                .collect::<Result<_, _>>()?,
        };
        Ok(Change::PartitionsAdded { id, from, partitions })
    }

    fn lead_again(&self, id: PartitionId) -> Result<Change, CommandError> {
        let partition = self.partition(id).ok_or(CommandError::UnknownPartition(id))?;
        let epoch = self.leader_epoch(partition);
        if epoch.0 == i32::MAX {
            return Err(CommandError::Exhausted("leader epochs"));
        }
        let node = self.node(partition.leader).ok_or(CommandError::UnknownNode(partition.leader))?;
        let to = Partition { epoch: epoch.next(), incarnation: node.incarnation, ..partition.clone() };
        Ok(Change::PartitionChanged { partition: id, to })
    }

    fn take_producer_ids(&self, count: i64) -> Result<Change, CommandError> {
        let first = self.next_producer_id();
        if count <= 0 {
            return Err(CommandError::Request(format!("{count} producer ids cannot be taken")));
        }
        first.0.checked_add(count).ok_or(CommandError::Exhausted("producer ids"))?;
        Ok(Change::ProducerIdsTaken { first, count })
    }

    fn known(&self, id: TopicId) -> Result<&Topic, CommandError> {
        self.topic(id).map(|topic| &**topic).ok_or(CommandError::UnknownTopic(id))
    }

    fn known_node(&self, node: Option<NodeId>) -> Result<(), CommandError> {
        match node {
            Some(id) if self.node(id).is_none() => Err(CommandError::UnknownNode(id)),
            _ => Ok(()),
        }
    }
}

/// What was set for a broker, or for all, where it goes together with everything else that is set for the one that decides.
fn broker_configured(
    node: Option<NodeId>,
    configs: BTreeMap<String, String>,
    settings: &BrokerSettings,
) -> Result<Change, CommandError> {
    let together = check_broker(&settings.with_set(node.is_none(), Arc::new(configs.clone())));
    // What does not go together already keeps nobody from changing something else.
    if together.is_err() && check_broker(settings).is_ok() {
        together?;
    }
    Ok(Change::BrokerConfigured { node, configs })
}

fn checked_configs(
    configs: &[(String, Option<String>)],
    settings: &BrokerSettings,
) -> Result<BTreeMap<String, String>, CommandError> {
    let nulls: Vec<_> =
        configs.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect();
    if !nulls.is_empty() {
        return Err(CommandError::Config(format!(
            "Null value not supported for topic configs: {}",
            nulls.join(",")
        )));
    }
    let configs = configs.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    check_all(Scope::Topic, &configs, settings)?;
    Ok(configs)
}
