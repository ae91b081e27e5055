//! The metadata image: one value per change that still counts, under the change's own key.
//!
//! Encoded by serde (the types are the cluster machine's own), with a version byte first like every value here.

use ottla_rules::cluster::{Change, Fact};

use super::{Facts, FactsError, key};

const PREFIX: &[u8] = b"m/";
const VERSION: u8 = 1;

/// Every change that is kept, in the order of their keys: what `Image::rebuild` wants.
///
/// # Errors
/// The facts cannot be read, or one of them is damaged. An image is never guessed at.
pub fn load(facts: &Facts) -> Result<Vec<Change>, FactsError> {
    facts.scan_prefix(PREFIX)?.into_iter().map(|(key, value)| decode(&key, &value)).collect()
}

/// Keeps changes, in this order; they are safe when this returns.
///
/// # Errors
/// The facts cannot be written: nobody knows how many of the changes they have.
pub fn keep(facts: &Facts, changes: &[Change]) -> Result<(), FactsError> {
    let mut puts: Vec<super::Change> = Vec::with_capacity(changes.len());
    for change in changes {
        match change.fact() {
            Fact::Put(key) => puts.push(([PREFIX, &key].concat(), Some(encode(change)))),
            Fact::RemoveAll(prefix) => {
                let prefix = [PREFIX, &prefix].concat();
                // What this very call puts goes as well.
                puts.retain(|(key, _)| !key.starts_with(&prefix));
                puts.extend(facts.scan_prefix(&prefix)?.into_iter().map(|(key, _)| (key, None)));
            }
        }
    }
    facts.commit(&puts)
}

fn encode(change: &Change) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    // Plain data into a Vec: there is nothing in it that bincode cannot write.
    bincode::serde::encode_into_std_write(change, &mut bytes, bincode::config::standard())
        .expect("a plain change is always encoded");
    bytes
}

fn decode(name: &[u8], bytes: &[u8]) -> Result<Change, FactsError> {
    let damaged = |why: String| FactsError::Damaged { key: key::display(name), why };
    let body = match bytes.split_first() {
        Some((&VERSION, body)) => body,
        Some((version, _)) => return Err(damaged(format!("it has version {version}, known is {VERSION}"))),
        None => return Err(damaged("it is empty".to_owned())),
    };
    let limit = bincode::config::standard().with_limit::<{ 64 << 20 }>();
    match bincode::serde::decode_from_slice(body, limit) {
        Ok((change, used)) if used == body.len() => Ok(change),
        Ok((_, used)) => Err(damaged(format!("{} bytes follow its end", body.len() - used))),
        Err(error) => Err(damaged(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ottla_host::Disk;
    use ottla_rules::{cluster::Image, ids::TopicId};

    use super::*;
    use crate::{FactsKind, MemoryFacts};

    #[test]
    fn a_topic_that_was_deleted_leaves_nothing_behind() {
        let facts =
            Facts::open(FactsKind::Memory(MemoryFacts::new()), &Disk::machine(), "unused".as_ref()).unwrap();
        let id = TopicId([7; 16]);
        let made =
            Change::TopicCreated { id, name: "t".into(), partitions: vec![], configs: BTreeMap::new() };
        let set =
            Change::TopicConfigured { id, configs: BTreeMap::from([("retention.ms".into(), "1".into())]) };

        keep(&facts, &[made.clone(), set.clone()]).unwrap();
        assert_eq!(load(&facts).unwrap(), [made, set]);
        assert!(Image::rebuild("c", load(&facts).unwrap()).topic_named("t").is_some());

        keep(&facts, &[Change::TopicDeleted { id }]).unwrap();
        assert_eq!(load(&facts).unwrap(), []);
    }

    #[test]
    fn a_damaged_change_is_named_and_not_guessed_at() {
        let facts =
            Facts::open(FactsKind::Memory(MemoryFacts::new()), &Disk::machine(), "unused".as_ref()).unwrap();
        facts.put(b"m/n", &[VERSION, 0xff, 0xff, 0xff]).unwrap();
        assert!(matches!(load(&facts), Err(FactsError::Damaged { .. })));
    }
}
