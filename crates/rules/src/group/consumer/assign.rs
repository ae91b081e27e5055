//! Who should own what: the assignors of the broker.
//!
//! Both are deterministic. `uniform` keeps what members have and levels the counts; `range` gives each member of a topic one
//! stretch of its partitions, in the same order for every topic, so that equal numbers of different topics come together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Consumer, Desk, Partitions, by_topic};
use crate::{group::GroupConfig, ids::TopicId, records::GroupRecord};

/// The assignors of the broker, the default first.
pub(super) const ASSIGNORS: [&str; 2] = ["uniform", "range"];

/// Which topics, with how many partitions, each member reads.
type Readers<'a> = BTreeMap<&'a str, Vec<(TopicId, i32)>>;

impl Consumer {
    /// The assignor that most members want; the broker's first where nobody wants one.
    pub(super) fn assignor<'a>(&'a self, config: &'a GroupConfig) -> &'a str {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for wanted in self.members.values().filter_map(|member| member.described.server_assignor.as_deref()) {
            *votes.entry(wanted).or_default() += 1;
        }
        let most = votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name);
        most.or_else(|| config.assignors.first().map(String::as_str)).unwrap_or(ASSIGNORS[0])
    }

    /// Makes the target assignment of the group's epoch, and says what differs.
    pub(super) fn assign(&mut self, desk: &mut Desk<'_>) {
        let readers: Readers<'_> = self
            .members
            .iter()
            .map(|(id, member)| (id.as_str(), self.topics_of(&member.described).collect()))
            .collect();
        let target = match self.assignor(desk.config) {
            "range" => {
                range(&readers, |id| self.members.get(id).and_then(|it| it.described.instance_id.as_deref()))
            }
            _ => uniform(&readers, &self.target),
        };
        for (member, partitions) in &target {
            if self.target.get(member) != Some(partitions) {
                desk.records.push(GroupRecord::TargetMember {
                    group: desk.group.to_owned(),
                    member: member.clone(),
                    partitions: Some(by_topic(partitions)),
                });
            }
        }
        self.target = target;
        self.assignment_epoch = self.epoch;
        desk.records.push(GroupRecord::TargetEpoch { group: desk.group.to_owned(), epoch: Some(self.epoch) });
    }
}

/// For each topic, one stretch of its partitions per reader.
fn range<'a>(
    readers: &Readers<'a>,
    instance: impl Fn(&str) -> Option<&'a str>,
) -> BTreeMap<String, Partitions> {
    let mut target: BTreeMap<String, Partitions> =
        readers.keys().map(|id| ((*id).to_owned(), Partitions::new())).collect();
    let mut by_topic: BTreeMap<(TopicId, i32), Vec<&str>> = BTreeMap::new();
    for (id, topics) in readers {
        topics.iter().for_each(|topic| by_topic.entry(*topic).or_default().push(id));
    }
    for ((topic, count), mut members) in by_topic {
        // Static members by their names, which outlive their ids.
        members.sort_by_key(|id| (instance(id).is_none(), instance(id).unwrap_or(id)));
        let (each, extra) = (count / members.len() as i32, count % members.len() as i32);
        let mut from = 0;
        for (at, id) in (0..).zip(members) {
            let upto = from + each + i32::from(at < extra);
            target.entry(id.to_owned()).or_default().extend((from..upto).map(|index| (topic, index)));
            from = upto;
        }
    }
    target
}

/// As even as it can be, moving as little as it can.
fn uniform(readers: &Readers<'_>, before: &BTreeMap<String, Partitions>) -> BTreeMap<String, Partitions> {
    let mut field = Field::new(readers);
    for (id, topics) in readers {
        let counts: BTreeMap<_, _> = topics.iter().copied().collect();
        for (topic, index) in before.get(*id).into_iter().flatten() {
            if counts.get(topic).is_some_and(|count| index < count) {
                field.give((*topic, *index), id);
            }
        }
    }
    field.level();
    for partition in field.unowned() {
        field.give_to_least(partition);
    }
    field.level();
    field.into_target()
}

/// A distribution on its way to being even.
struct Field<'a> {
    readers: BTreeMap<TopicId, (i32, Vec<&'a str>)>,
    owner: BTreeMap<(TopicId, i32), &'a str>,
    has: BTreeMap<&'a str, Partitions>,
    /// Members by how much they have.
    ranks: BTreeSet<(usize, &'a str)>,
}

impl<'a> Field<'a> {
    fn new(readers: &Readers<'a>) -> Self {
        let mut by_topic: BTreeMap<TopicId, (i32, Vec<&str>)> = BTreeMap::new();
        for (id, topics) in readers {
            for (topic, count) in topics {
                by_topic.entry(*topic).or_insert((*count, Vec::new())).1.push(id);
            }
        }
        let has = readers.keys().map(|id| (*id, Partitions::new())).collect();
        let ranks = readers.keys().map(|id| (0, *id)).collect();
        Self { readers: by_topic, owner: BTreeMap::new(), has, ranks }
    }

    fn change(&mut self, id: &'a str, change: impl FnOnce(&mut Partitions) -> bool) {
        let has = self.has.entry(id).or_default();
        let before = has.len();
        change(has);
        let after = has.len();
        self.ranks.remove(&(before, id));
        self.ranks.insert((after, id));
    }

    fn give(&mut self, partition: (TopicId, i32), to: &'a str) {
        if let Some(from) = self.owner.insert(partition, to) {
            self.change(from, |has| has.remove(&partition));
        }
        self.change(to, |has| has.insert(partition));
    }

    fn unowned(&self) -> Vec<(TopicId, i32)> {
        let all =
            self.readers.iter().flat_map(|(topic, (count, _))| (0..*count).map(|index| (*topic, index)));
        all.filter(|partition| !self.owner.contains_key(partition)).collect()
    }

    /// The reader of a topic that has least.
    fn least(&self, topic: TopicId) -> Option<(usize, &'a str)> {
        let (_, readers) = self.readers.get(&topic)?;
        if readers.len() == self.has.len() {
            return self.ranks.first().copied();
        }
        readers.iter().map(|id| (self.has.get(id).map_or(0, BTreeSet::len), *id)).min()
    }

    fn give_to_least(&mut self, partition: (TopicId, i32)) {
        if let Some((_, to)) = self.least(partition.0) {
            self.give(partition, to);
        }
    }

    /// Moves partitions from those who have most to those who have less, while that makes it more even. Each move makes the
    /// sum of the squares smaller, so it ends.
    fn level(&mut self) {
        let mut from_above = None;
        loop {
            let next = match from_above {
                None => self.ranks.last().copied(),
                Some(above) => self.ranks.range(..above).next_back().copied(),
            };
            let Some((count, id)) = next else { return };
            // Nobody below can take anything from somebody who has one more than the least at most.
            if self.ranks.first().is_none_or(|(least, _)| *least + 1 >= count) {
                return;
            }
            let movable = self.has.get(id).into_iter().flatten().rev().find_map(|partition| {
                let (least, to) = self.least(partition.0)?;
                (least + 1 < count).then_some((*partition, to))
            });
            match movable {
                Some((partition, to)) => {
                    self.give(partition, to);
                    // Whoever has two more than this one had still cannot move anything: nobody else has less now than before.
                    from_above = Some((count + 2, ""));
                }
                None => from_above = Some((count, id)),
            }
        }
    }

    fn into_target(self) -> BTreeMap<String, Partitions> {
        self.has.into_iter().map(|(id, partitions)| (id.to_owned(), partitions)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: TopicId = TopicId([1; 16]);
    const U: TopicId = TopicId([2; 16]);

    fn counts(target: &BTreeMap<String, Partitions>) -> Vec<usize> {
        target.values().map(BTreeSet::len).collect()
    }

    #[test]
    fn range_gives_equal_numbers_of_different_topics_to_one_member() {
        let both = vec![(T, 5), (U, 5)];
        let readers: Readers<'_> = [("a", both.clone()), ("b", both)].into();
        let target = range(&readers, |_| None);
        assert_eq!(target["a"], (0..3).flat_map(|index| [(T, index), (U, index)]).collect());
        assert_eq!(counts(&target), [6, 4]);
        let by_name = range(&readers, |id| if id == "b" { Some("0") } else { None });
        assert_eq!(counts(&by_name), [4, 6], "static members come first, by their names");
    }

    #[test]
    fn uniform_moves_no_more_than_it_must() {
        let one: Readers<'_> = [("a", vec![(T, 4)])].into();
        let before = uniform(&one, &BTreeMap::new());
        let two: Readers<'_> = [("a", vec![(T, 4)]), ("b", vec![(T, 4)])].into();
        let after = uniform(&two, &before);
        assert_eq!(counts(&after), [2, 2]);
        assert!(after["a"].is_subset(&before["a"]));
        assert_eq!(uniform(&two, &after), after, "what is even stays as it is");
    }

    #[test]
    fn who_reads_more_gets_more_only_where_others_cannot() {
        let readers: Readers<'_> = [("a", vec![(T, 2), (U, 6)]), ("b", vec![(T, 2)])].into();
        let target = uniform(&readers, &BTreeMap::new());
        assert_eq!(counts(&target), [6, 2]);
    }

    #[test]
    fn who_has_much_that_nobody_else_reads_holds_nobody_up() {
        let many = 10_000;
        let three: Readers<'_> =
            [("a", vec![(U, many)]), ("b", vec![(T, many)]), ("c", vec![(T, many)])].into();
        let before = uniform(&three, &BTreeMap::new());
        let mut four = three;
        four.insert("d", vec![(T, many)]);
        assert_eq!(counts(&uniform(&four, &before)), [10_000, 3_334, 3_333, 3_333]);
    }

    proptest! {
        /// Every partition of every topic that is read has one owner, who reads it; and whoever could take one from another has
        /// at most one less.
        #[test]
        fn every_partition_has_one_owner_who_reads_it(
            counts in prop::collection::vec(1..8i32, 1..4),
            reads in prop::collection::vec(prop::collection::vec(any::<bool>(), 4), 1..7),
            before in prop::collection::vec((0..7usize, 0..4u8, 0..9i32), 0..20),
        ) {
            let names: Vec<String> = (0..reads.len()).map(|at| format!("m{at}")).collect();
            let topic = |at: usize| (TopicId([at as u8 + 1; 16]), counts[at]);
            let readers: Readers<'_> = names.iter().zip(&reads).map(|(name, reads)| {
                (name.as_str(), (0..counts.len()).filter(|at| reads[*at]).map(topic).collect())
            }).collect();
            let mut had: BTreeMap<String, Partitions> = BTreeMap::new();
            let mut taken = BTreeSet::new();
            for (who, at, index) in before {
                let partition = (TopicId([at + 1; 16]), index);
                if taken.insert(partition) {
                    had.entry(format!("m{who}")).or_default().insert(partition);
                }
            }
            for target in [uniform(&readers, &had), range(&readers, |_| None)] {
                let mut owners: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
                for (id, partitions) in &target {
                    for partition in partitions {
                        prop_assert!(owners.insert(*partition, id).is_none(), "two owners");
                        let reads = readers[id.as_str()].iter().any(|(topic, n)| *topic == partition.0 && partition.1 < *n);
                        prop_assert!(reads, "{id} does not read {partition:?}");
                    }
                }
                for (topic, count) in readers.values().flatten() {
                    prop_assert!((0..*count).all(|index| owners.contains_key(&(*topic, index))), "nobody has it");
                }
            }
            let target = uniform(&readers, &had);
            for (poor, topics) in &readers {
                for (rich, has) in &target {
                    let could = has.iter().any(|partition| topics.iter().any(|(topic, _)| *topic == partition.0));
                    prop_assert!(!could || has.len() <= target[*poor].len() + 1, "{rich} could give to {poor}");
                }
            }
        }
    }
}
