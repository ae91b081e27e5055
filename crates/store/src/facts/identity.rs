//! Who this data directory is, and whether it was left in order.

use bincode::{Decode, Encode};
use ottla_rules::ids::{NodeId, TopicId};

use super::{Change, Facts, FactsError, value, value::Value};

const KEY: &[u8] = b"i/identity";
const CLEAN: &[u8] = b"i/clean";

/// The names a data directory keeps for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to, as Kafka writes a Uuid: what clients see as cluster id.
    pub cluster: String,
    /// The directory's own id (KIP-858).
    pub directory: TopicId,
    /// The node it belongs to, once a node has claimed it.
    pub node: Option<NodeId>,
}

#[derive(Encode, Decode)]
struct Stored {
    cluster: String,
    directory: [u8; 16],
    node: Option<i32>,
}

impl Value for Stored {
    const VERSION: u8 = 1;
}

/// The identity, when one was given.
pub fn get(facts: &Facts) -> Result<Option<Identity>, FactsError> {
    let stored: Option<Stored> = value::get(facts, KEY)?;
    Ok(stored.map(|s| Identity {
        cluster: s.cluster,
        directory: TopicId(s.directory),
        node: s.node.map(NodeId),
    }))
}

/// The change that puts the identity.
#[must_use]
pub fn put(identity: &Identity) -> Change {
    let Identity { cluster, directory, node } = identity.clone();
    let stored = Stored { cluster, directory: directory.0, node: node.map(|node| node.0) };
    (KEY.to_vec(), Some(value::encode(&stored)))
}

/// Whether the last process left in order.
pub fn is_clean(facts: &Facts) -> Result<bool, FactsError> {
    Ok(facts.get(CLEAN)?.is_some())
}

/// The change that remembers, or forgets, that everything is in order.
#[must_use]
pub fn clean(is_clean: bool) -> Change {
    (CLEAN.to_vec(), is_clean.then(|| vec![1]))
}
