//! The metadata image: one value per change that still counts, under the change's own key.
//!
//! Encoded by serde (the types are the cluster machine's own), with a version byte first like every value here. A large one (a topic
//! of thousands of partitions, a list of throttled replicas) is kept in parts, beside a value that names them and has their sum: no
//! fact may make a page of sled's large, see [`super::producers`]. The parts are on the disk before the value is.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use crc_fast::{CrcAlgorithm, checksum};
use ottla_rules::cluster::{Change, Fact};

use super::{Facts, FactsError, key, value, value::Value};

const PREFIX: &[u8] = b"m/";
/// Of the parts: the change's key and a number behind it. Before that of the changes: facts that are put again come in the order of
/// their keys.
const PARTS: &[u8] = b"l/";
/// Of a change that is its value.
const VERSION: u8 = 1;
/// Bytes in one value.
const PART_BYTES_MAX: usize = 4096;
/// Parts are numbered from 0 or from here, in turn: those that a value names are never written over.
const OTHER_TURN: u32 = 0x8000_0000;

/// Stands for a change that is in parts.
#[derive(Clone, Copy, Encode, Decode)]
struct Parts {
    from: u32,
    count: u32,
    /// CRC-64/NVME of all of them, one behind the other.
    sum: u64,
}

impl Value for Parts {
    const VERSION: u8 = 2;
}

/// Every change that is kept, in the order of their keys: what `Image::rebuild` wants.
///
/// # Errors
/// The facts cannot be read, or one of them is damaged. An image is never guessed at.
pub fn load(facts: &Facts) -> Result<Vec<Change>, FactsError> {
    let kept = facts.scan_prefix(PREFIX)?;
    kept.into_iter().map(|(key, value)| decode(&key, &whole(facts, &key, value)?)).collect()
}

/// Keeps in parts what is large and from before there were any; safe when this returns.
///
/// # Errors
/// As [`load`] and [`keep`].
pub fn divide(facts: &Facts) -> Result<(), FactsError> {
    let is_large = |value: &[u8]| value.first() == Some(&VERSION) && value.len() > PART_BYTES_MAX;
    let large = facts.scan_prefix(PREFIX)?.into_iter().filter(|(_, value)| is_large(value));
    let large: Vec<_> = large.map(|(key, value)| decode(&key, &value)).collect::<Result<_, _>>()?;
    if large.is_empty() { Ok(()) } else { keep(facts, &large) }
}

/// Keeps changes, in this order; they are safe when this returns.
///
/// # Errors
/// The facts cannot be written: nobody knows how many of the changes they have.
pub fn keep(facts: &Facts, changes: &[Change]) -> Result<(), FactsError> {
    let mut puts: Vec<super::Change> = Vec::with_capacity(changes.len());
    // Parts that nobody names once this is done.
    let mut over = BTreeSet::new();
    // Of each key the parts that this call has put last: no value names them yet.
    let mut fresh: BTreeMap<Vec<u8>, Parts> = BTreeMap::new();
    for change in changes {
        match change.fact() {
            Fact::Put(name) => {
                let key = [PREFIX, &name].concat();
                let before = parts_of(facts, &key)?;
                let (value, parts) = put_parts(facts, &name, encode(change), before)?;
                let fresh_before = fresh.remove(&key);
                over.extend(before.into_iter().chain(fresh_before).flat_map(|parts| parts.keys(&name)));
                if let Some(parts) = parts {
                    fresh.insert(key.clone(), parts);
                    for part in parts.keys(&name) {
                        over.remove(&part);
                    }
                    // Put twice in this call: the parts are those of the last one now.
                    puts.retain(|(other, _)| *other != key);
                } else if fresh_before.is_some() {
                    puts.retain(|(other, _)| *other != key);
                }
                puts.push((key, Some(value)));
            }
            Fact::RemoveAll(name) => {
                let prefix = [PREFIX, &name].concat();
                // What this very call puts goes as well.
                puts.retain(|(key, _)| !key.starts_with(&prefix));
                puts.extend(facts.scan_prefix(&prefix)?.into_iter().map(|(key, _)| (key, None)));
                over.extend(facts.scan_prefix(&[PARTS, &name].concat())?.into_iter().map(|(key, _)| key));
            }
        }
    }
    facts.commit(&puts)?;
    // The changes are kept, whatever becomes of these: nobody reads them, and who comes next writes over them.
    if let Err(error) = over.iter().try_for_each(|key| facts.remove(key)) {
        log::debug!(error:% = error; "old parts of the metadata stay for now");
    }
    Ok(())
}

/// Puts what is too large for one value in parts, beside those that are there: the value, and the parts that it stands for.
fn put_parts(
    facts: &Facts,
    name: &[u8],
    bytes: Vec<u8>,
    before: Option<Parts>,
) -> Result<(Vec<u8>, Option<Parts>), FactsError> {
    if bytes.len() <= PART_BYTES_MAX {
        return Ok((bytes, None));
    }
    let parts = Parts {
        from: before.map_or(0, |before| before.from ^ OTHER_TURN),
        count: u32::try_from(bytes.len().div_ceil(PART_BYTES_MAX)).unwrap_or(u32::MAX),
        sum: checksum(CrcAlgorithm::Crc64Nvme, &bytes),
    };
    for (key, part) in parts.keys(name).zip(bytes.chunks(PART_BYTES_MAX)) {
        facts.put(&key, part)?;
    }
    Ok((value::encode(&parts), Some(parts)))
}

/// The parts of the value under `key`, if it has any.
fn parts_of(facts: &Facts, key: &[u8]) -> Result<Option<Parts>, FactsError> {
    let value = facts.get(key)?.filter(|value| value.first() == Some(&Parts::VERSION));
    value.map(|value| value::decode(key, &value)).transpose()
}

impl Parts {
    /// Their keys, where the change has this one.
    fn keys(self, name: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        let numbers = (0..self.count).map(move |part| self.from.wrapping_add(part));
        numbers.map(move |number| [PARTS, name, &number.to_be_bytes()].concat())
    }
}

/// All of a change, whose own value this is.
fn whole(facts: &Facts, key: &[u8], value: Vec<u8>) -> Result<Vec<u8>, FactsError> {
    if value.first() != Some(&Parts::VERSION) {
        return Ok(value);
    }
    let parts: Parts = value::decode(key, &value)?;
    let mut bytes = Vec::new();
    for part in parts.keys(&key[PREFIX.len()..]) {
        // One that is missing is noticed below.
        bytes.extend(facts.get(&part)?.unwrap_or_default());
    }
    if checksum(CrcAlgorithm::Crc64Nvme, &bytes) != parts.sum {
        let why = format!("its {} parts are not those that were put with it", parts.count);
        return Err(FactsError::Damaged { key: key::display(key), why });
    }
    Ok(bytes)
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

    fn facts() -> Facts {
        Facts::open(FactsKind::Memory(MemoryFacts::new()), &Disk::machine(), "unused".as_ref()).unwrap()
    }

    fn set(group: &str, bytes: usize) -> Change {
        let configs = BTreeMap::from([("list".to_owned(), "x".repeat(bytes))]);
        Change::GroupConfigured { group: group.to_owned(), configs }
    }

    #[test]
    fn changes_of_any_size_take_each_others_place_and_no_value_is_large() {
        let facts = facts();
        let count = |prefix| facts.scan_prefix(prefix).unwrap().len();
        for bytes in [1, 4_000, 4_100, 300_000, 9_000, 9_000, 300_000, 4_000, 8_000] {
            let changes = [set("a", bytes), set("ab", 5_000)];
            keep(&facts, &changes).unwrap();
            assert_eq!(load(&facts).unwrap(), changes);
            let parts = encode(&changes[0]).len().div_ceil(PART_BYTES_MAX);
            assert_eq!(count(PARTS), if parts > 1 { parts + 2 } else { 2 }, "no other ones");
            let values = facts.scan_prefix(b"").unwrap();
            assert!(values.iter().all(|(_, value)| value.len() <= PART_BYTES_MAX));
        }
        let unset =
            |group: &str| Change::GroupConfigured { group: group.to_owned(), configs: BTreeMap::new() };
        keep(&facts, &[set("a", 1), set("a", 9_000), unset("a"), set("a", 20_000), set("a", 10_000)])
            .unwrap();
        assert_eq!(load(&facts).unwrap(), [set("a", 10_000), set("ab", 5_000)], "the last one of a call");
        keep(&facts, &[unset("ab"), set("a", 5_000), unset("a")]).unwrap();
        assert_eq!((count(PREFIX), count(PARTS)), (0, 0));
    }

    #[test]
    fn parts_of_a_change_that_is_put_again_in_the_same_call_are_not_left_behind() {
        let facts = facts();
        for [first, second] in [[9_000, 1], [20_000, 10_000], [10_000, 20_000], [1, 9_000]] {
            keep(&facts, &[set("a", first), set("a", second)]).unwrap();
            assert_eq!(load(&facts).unwrap(), [set("a", second)]);
            let parts = encode(&set("a", second)).len().div_ceil(PART_BYTES_MAX);
            let left = facts.scan_prefix(PARTS).unwrap().len();
            assert_eq!(left, if parts > 1 { parts } else { 0 }, "{first}, then {second}");
        }
    }

    #[test]
    fn what_was_large_before_there_were_parts_is_divided() {
        let facts = facts();
        let changes = [set("a", 9_000), set("b", 100)];
        for change in &changes {
            facts.put(&[PREFIX, change.fact().key()].concat(), &encode(change)).unwrap();
        }
        for _ in 0..2 {
            divide(&facts).unwrap();
            assert_eq!(load(&facts).unwrap(), changes);
            assert_eq!(facts.scan_prefix(PARTS).unwrap().len(), 3);
        }
    }

    #[test]
    fn a_change_whose_parts_are_not_its_own_is_damage() {
        let facts = facts();
        keep(&facts, &[set("a", 9_000)]).unwrap();
        let (key, part) = facts.scan_prefix(PARTS).unwrap().remove(1);
        facts.remove(&key).unwrap();
        assert!(matches!(load(&facts), Err(FactsError::Damaged { .. })), "one is missing");
        facts.put(&key, &[&part[1..], b"y"].concat()).unwrap();
        assert!(matches!(load(&facts), Err(FactsError::Damaged { .. })), "one is another");
        facts.put(&key, &part).unwrap();
        assert_eq!(load(&facts).unwrap(), [set("a", 9_000)]);
    }

    #[test]
    fn a_damaged_change_is_named_and_not_guessed_at() {
        let facts =
            Facts::open(FactsKind::Memory(MemoryFacts::new()), &Disk::machine(), "unused".as_ref()).unwrap();
        facts.put(b"m/n", &[VERSION, 0xff, 0xff, 0xff]).unwrap();
        assert!(matches!(load(&facts), Err(FactsError::Damaged { .. })));
    }
}
