//! What changed: the facts that are persisted.
//!
//! One command becomes one change wherever it can, so that a crash keeps it whole or not at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{LeaderEpoch, NodeId, PartitionId, ProducerId, TopicId};

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Where clients reach it.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// The zone it stands in.
    pub rack: Option<String>,
    /// How often it has registered. With each start, everything that it leads gets a new leader epoch.
    pub incarnation: i32,
}

/// Who has a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Who leads.
    pub leader: NodeId,
    /// The leader epoch when this was written; see [`crate::cluster::Image::leader_epoch`] for the one that counts.
    pub epoch: LeaderEpoch,
    /// The leader's incarnation when this was written.
    pub incarnation: i32,
    /// Who has a copy, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Which of the copies are in sync.
    pub isr: Vec<NodeId>,
}

/// One thing that is different now. Plain data: the store writes it down as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A node is there, for the first time or again.
    NodeRegistered(Node),
    /// A topic is there.
    TopicCreated {
        /// Its id, never used before.
        id: TopicId,
        /// Its name.
        name: String,
        /// Its partitions, from 0.
        partitions: Vec<Partition>,
        /// Its settings of its own.
        configs: BTreeMap<String, String>,
    },
    /// A topic is gone, and everything said of it.
    TopicDeleted {
        /// Its id.
        id: TopicId,
    },
    /// A topic has more partitions.
    PartitionsAdded {
        /// The topic.
        id: TopicId,
        /// How many it had: the number of the first new one.
        from: i32,
        /// The new ones.
        partitions: Vec<Partition>,
    },
    /// A partition has another leader, a new epoch, or other replicas.
    PartitionChanged {
        /// Which.
        partition: PartitionId,
        /// What is so now.
        to: Partition,
    },
    /// A topic has these settings of its own and no others.
    TopicConfigured {
        /// The topic.
        id: TopicId,
        /// All of them.
        configs: BTreeMap<String, String>,
    },
    /// A broker, or all brokers, have these settings while they run and no others.
    BrokerConfigured {
        /// Which; none is all.
        node: Option<NodeId>,
        /// All of them.
        configs: BTreeMap<String, String>,
    },
    /// Producer ids were handed out.
    ProducerIdsTaken {
        /// The first one.
        first: ProducerId,
        /// How many.
        count: i64,
    },
    /// This level of a feature is in force.
    FeatureSet {
        /// The feature's name.
        name: String,
        /// The level.
        level: i16,
        /// How often levels had changed by then, this change included.
        epoch: i64,
    },
    /// A group has these settings of its own and no others.
    GroupConfigured {
        /// The group.
        group: String,
        /// All of them; none takes back what was set.
        configs: BTreeMap<String, String>,
    },
}

/// How a change is persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The change is the value of this key from now on; an earlier value of the key no longer counts.
    Put(Vec<u8>),
    /// Every key that begins like this goes. In the order of keys: the first one is what makes the others count.
    RemoveAll(Vec<u8>),
}

impl Fact {
    /// The key, or what the keys begin with.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put(key) | Self::RemoveAll(key) => key,
        }
    }
}

impl Change {
    /// The key under which this change is kept. Keys in byte order give the changes in an order that
    /// [`crate::cluster::Image::rebuild`] understands.
    #[must_use]
    pub fn fact(&self) -> Fact {
        match self {
            Self::NodeRegistered(node) => Fact::Put(key(b'n', &[&node.id.0.to_be_bytes()])),
            Self::TopicCreated { id, .. } => Fact::Put(of_topic(*id, &[])),
            Self::TopicDeleted { id } => Fact::RemoveAll(of_topic(*id, &[])),
            Self::PartitionsAdded { id, from, .. } => Fact::Put(of_topic(*id, &[b"1", &from.to_be_bytes()])),
            Self::PartitionChanged { partition, .. } => {
                Fact::Put(of_topic(partition.topic, &[b"2", &partition.index.to_be_bytes()]))
            }
            Self::TopicConfigured { id, .. } => Fact::Put(of_topic(*id, &[b"3"])),
            Self::BrokerConfigured { node: None, .. } => Fact::Put(key(b'b', &[])),
            Self::BrokerConfigured { node: Some(node), .. } => Fact::Put(key(b'b', &[&node.0.to_be_bytes()])),
            Self::ProducerIdsTaken { .. } => Fact::Put(key(b'p', &[])),
            Self::FeatureSet { name, .. } => Fact::Put(key(b'f', &[name.as_bytes()])),
            Self::GroupConfigured { group, configs } if configs.is_empty() => {
                Fact::RemoveAll(of_group(group))
            }
            Self::GroupConfigured { group, .. } => Fact::Put(of_group(group)),
        }
    }
}

fn of_topic(id: TopicId, rest: &[&[u8]]) -> Vec<u8> {
    let mut key = key(b't', &[&id.0]);
    rest.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// The length stands before the name: what begins with this key is of no other group.
fn of_group(group: &str) -> Vec<u8> {
    let length = u32::try_from(group.len()).unwrap_or(u32::MAX);
    key(b'g', &[&length.to_be_bytes(), group.as_bytes()])
}

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topics_birth_comes_first_among_its_keys_so_that_its_death_does_too() {
        let id = TopicId([7; 16]);
        let created =
            Change::TopicCreated { id, name: "t".into(), partitions: vec![], configs: BTreeMap::new() };
        let Fact::Put(birth) = created.fact() else { panic!("a birth is put") };
        assert_eq!(Change::TopicDeleted { id }.fact(), Fact::RemoveAll(birth.clone()));
        for later in [
            Change::PartitionsAdded { id, from: 3, partitions: vec![] },
            Change::TopicConfigured { id, configs: BTreeMap::new() },
        ] {
            let Fact::Put(key) = later.fact() else { panic!("put") };
            assert!(key.starts_with(&birth) && key > birth);
        }
    }

    #[test]
    fn what_a_group_takes_back_is_no_other_groups() {
        let configs = BTreeMap::from([("consumer.session.timeout.ms".to_owned(), "50000".to_owned())]);
        let set = |group: &str| Change::GroupConfigured { group: group.into(), configs: configs.clone() };
        let unset = Change::GroupConfigured { group: "a".into(), configs: BTreeMap::new() };
        let Fact::RemoveAll(gone) = unset.fact() else { panic!("removed") };
        assert_eq!(set("a").fact(), Fact::Put(gone.clone()));
        assert!(!set("ab").fact().key().starts_with(&gone));
    }

    #[test]
    fn partitions_are_added_in_the_order_of_their_numbers() {
        let id = TopicId([7; 16]);
        let key = |from| match (Change::PartitionsAdded { id, from, partitions: vec![] }).fact() {
            Fact::Put(key) => key,
            Fact::RemoveAll(_) => panic!("put"),
        };
        assert!(key(9) < key(10) && key(255) < key(256));
    }
}
