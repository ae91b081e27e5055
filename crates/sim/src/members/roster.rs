//! What members of groups were told: the judge of who owns what, and of what is committed.
//!
//! An *owner* is a member that was told that a partition is its own, has not let go of it, and is not beyond the time until which
//! the broker had promised to wait for it, by its own clock. Each check has a hand-made bad history among the tests below.

use std::collections::BTreeMap;

use crate::anomaly::Anomaly;
use crate::plan::{GroupPlan, Protocol};

/// A member, and which of its tenures: a new one begins whenever it has lost or left its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    pub(crate) member: usize,
    pub(crate) tenure: u32,
}

/// What is known when something is asked: an answer is judged by that, and not by what others were told meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Before {
    generation: i32,
    tenure: Option<u32>,
    owner: Option<Who>,
}

/// Everything that members were told.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    /// Of each member: one tenure takes over from the one before without waiting, as static members of classic groups do.
    takes_over: Vec<bool>,
    /// The newest generation of the classic protocol in which somebody was told what it owns.
    generation: i32,
    /// The newest tenure that was told what it owns, of each name that the group knows members by.
    tenures: BTreeMap<String, u32>,
    places: Vec<Place>,
    /// The life of the node in which all offsets were last read.
    checked: u64,
}

#[derive(Clone, Debug, Default)]
struct Place {
    /// Who may believe to own it, and until when.
    owners: BTreeMap<Who, u64>,
    /// Who was told last.
    last: Option<Who>,
    /// Acknowledged or read: no reading that begins now may show less.
    least: i64,
    /// The largest that was ever sent.
    sent: i64,
    /// Commits that were acknowledged in a life of the node.
    commits: (u64, u32),
}

impl Roster {
    pub(crate) fn new(groups: &[GroupPlan], partitions: usize) -> Self {
        let group = |plan: &GroupPlan| Group {
            takes_over: plan.is_static.iter().map(|it| *it && plan.protocol != Protocol::Consumer).collect(),
            generation: 0,
            tenures: BTreeMap::new(),
            places: vec![Place::default(); partitions],
            checked: 0,
        };
        Self { groups: groups.iter().map(group).collect() }
    }

    /// A member is told that a partition is its own, or that it still is.
    pub(crate) fn owns(
        &mut self,
        group: usize,
        partition: i32,
        who: Who,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<(), Anomaly> {
        let place = &mut self.groups[group].places[at(partition)];
        place.owners.retain(|_, until| *until > now_ms);
        if let Some((other, until)) = place.owners.iter().find(|(owner, _)| **owner != who) {
            return Err(Anomaly::TwoOwners(format!(
                "partition {partition} of group {group} is given to {who:?}, {other:?} has it until {until}"
            )));
        }
        place.owners.insert(who, until_ms);
        place.last = Some(who);
        Ok(())
    }

    /// A member comes under the name of one that it declares to be gone, where the protocol allows that.
    pub(crate) fn succeeds(&mut self, group: usize, who: Who) {
        let Group { takes_over, places, .. } = &mut self.groups[group];
        if takes_over[who.member] {
            let others = |owner: &Who| owner == &who || owner.member != who.member;
            places.iter_mut().for_each(|place| place.owners.retain(|owner, _| others(owner)));
        }
    }

    /// A member has let go of a partition.
    pub(crate) fn lets_go(&mut self, group: usize, partition: i32, who: Who) {
        self.groups[group].places[at(partition)].owners.remove(&who);
    }

    /// A member was told what it owns: under which name, and in which generation of the classic protocol.
    pub(crate) fn told(&mut self, group: usize, name: &str, who: Who, generation: i32) {
        let group = &mut self.groups[group];
        group.generation = group.generation.max(generation);
        group.tenures.insert(name.to_owned(), who.tenure);
    }

    /// What is known before a member asks something, of a partition if it is about one.
    pub(crate) fn before(&self, group: usize, name: &str, partition: Option<i32>) -> Before {
        let group = &self.groups[group];
        Before {
            generation: group.generation,
            tenure: group.tenures.get(name).copied(),
            owner: partition.and_then(|partition| group.places[at(partition)].last),
        }
    }

    /// Something was accepted from a member that believes in a generation: it had better still be one.
    pub(crate) fn accepted(
        &self,
        group: usize,
        who: Who,
        generation: i32,
        before: Before,
        what: &str,
    ) -> Result<(), Anomaly> {
        let outlived =
            |why: String| Err(Anomaly::Outlived(format!("{what} of {who:?} in group {group}, {why}")));
        if before.generation > generation {
            return outlived(format!("generation {generation}, others had {}", before.generation));
        }
        if before.tenure.is_some_and(|tenure| tenure > who.tenure) {
            return outlived(format!("which had begun anew: {before:?}"));
        }
        if before.owner.is_some_and(|owner| owner != who) {
            return outlived(format!("and it was {:?} that had the partition", before.owner));
        }
        Ok(())
    }

    /// A member is about to commit an offset.
    pub(crate) fn commits(&mut self, group: usize, partition: i32, offset: i64) {
        let place = &mut self.groups[group].places[at(partition)];
        place.sent = place.sent.max(offset);
    }

    /// A commit was acknowledged.
    pub(crate) fn committed(&mut self, group: usize, partition: i32, offset: i64, life: u64) {
        let place = &mut self.groups[group].places[at(partition)];
        place.least = place.least.max(offset);
        place.commits = if place.commits.0 == life { (life, place.commits.1 + 1) } else { (life, 1) };
    }

    /// What a reading that begins now shows at least.
    pub(crate) fn least(&self, group: usize, partition: i32) -> i64 {
        self.groups[group].places[at(partition)].least
    }

    /// A committed offset was read, -1 for none; `least` is from when it was asked for.
    pub(crate) fn read(
        &mut self,
        group: usize,
        partition: i32,
        offset: i64,
        least: i64,
    ) -> Result<(), Anomaly> {
        let place = &mut self.groups[group].places[at(partition)];
        let offset = offset.max(0);
        if !(least..=place.sent).contains(&offset) {
            let sent = place.sent;
            let text =
                format!("{partition} of group {group} is at {offset}, {least} was acknowledged, {sent} sent");
            return Err(Anomaly::WentBack(text));
        }
        place.least = place.least.max(offset);
        Ok(())
    }

    pub(crate) fn checked(&mut self, group: usize, life: u64) {
        self.groups[group].checked = life;
    }

    /// Every offset was read in this life.
    pub(crate) fn is_checked(&self, life: u64) -> bool {
        self.groups.iter().all(|group| group.checked == life)
    }

    /// Every partition has its owner, every member its share, and commits are taken in this life.
    pub(crate) fn is_settled(&self, now_ms: u64, life: u64) -> bool {
        self.groups.iter().all(|group| {
            let mut shares = vec![0; group.takes_over.len()];
            for place in &group.places {
                let mut owners = place.owners.iter().filter(|(_, until)| **until > now_ms);
                let (Some((who, _)), None) = (owners.next(), owners.next()) else { return false };
                shares[who.member] += 1;
                if place.commits.0 != life || place.commits.1 < 3 {
                    return false;
                }
            }
            let share = group.places.len() / shares.len();
            shares.iter().all(|count| (share..=share + 1).contains(count))
        })
    }
}

fn at(partition: i32) -> usize {
    usize::try_from(partition).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Who = Who { member: 0, tenure: 1 };
    const ALICE_AGAIN: Who = Who { member: 0, tenure: 2 };
    const BOB: Who = Who { member: 1, tenure: 1 };

    fn roster(protocol: Protocol, is_static: bool) -> Roster {
        let plan = GroupPlan {
            protocol,
            is_static: vec![is_static; 2],
            session_ms: 100,
            rebalance_ms: 100,
            mischief_one_in: 1,
        };
        Roster::new(&[plan], 2)
    }

    #[test]
    fn an_owner_stays_one_until_it_lets_go_or_its_time_is_over() {
        let mut roster = roster(Protocol::Eager, false);
        assert_eq!(roster.owns(0, 0, ALICE, 100, 0), Ok(()));
        assert!(matches!(roster.owns(0, 0, BOB, 150, 99), Err(Anomaly::TwoOwners(_))));
        assert!(matches!(roster.owns(0, 0, ALICE_AGAIN, 150, 99), Err(Anomaly::TwoOwners(_))));
        assert_eq!(roster.owns(0, 1, BOB, 150, 99), Ok(()), "another partition");
        assert_eq!(roster.owns(0, 0, BOB, 150, 100), Ok(()), "her time is over");
        roster.lets_go(0, 0, BOB);
        assert_eq!(roster.owns(0, 0, ALICE, 200, 101), Ok(()));
    }

    #[test]
    fn a_static_member_of_a_classic_group_takes_over_from_itself() {
        for (protocol, takes_over) in [(Protocol::Cooperative, true), (Protocol::Consumer, false)] {
            let mut roster = roster(protocol, true);
            roster.owns(0, 0, ALICE, 100, 0).unwrap();
            roster.succeeds(0, ALICE_AGAIN);
            assert_eq!(roster.owns(0, 0, BOB, 150, 50).is_ok(), takes_over);
        }
    }

    #[test]
    fn whoever_is_out_is_not_listened_to() {
        let mut roster = roster(Protocol::Eager, false);
        roster.told(0, "alice", ALICE, 3);
        roster.owns(0, 0, ALICE, 100, 0).unwrap();
        let now = roster.before(0, "alice", Some(0));
        assert_eq!(roster.accepted(0, ALICE, 3, now, "a commit"), Ok(()));
        assert!(roster.accepted(0, ALICE, 2, now, "a commit").is_err(), "an old generation");
        roster.told(0, "bob", BOB, 4);
        roster.owns(0, 0, BOB, 300, 200).unwrap();
        assert_eq!(roster.accepted(0, ALICE, 3, now, "a commit"), Ok(()), "asked before");
        let now = roster.before(0, "alice", Some(0));
        assert!(roster.accepted(0, ALICE, 4, now, "a commit").is_err(), "of what is another's");
        let now = roster.before(0, "alice", None);
        assert!(roster.accepted(0, ALICE, 3, now, "a heartbeat").is_err());
        roster.told(0, "alice", ALICE_AGAIN, 4);
        let now = roster.before(0, "alice", None);
        assert!(roster.accepted(0, ALICE, 4, now, "a heartbeat").is_err(), "of one that begun anew");
    }

    #[test]
    fn offsets_do_not_go_back() {
        let mut roster = roster(Protocol::Consumer, false);
        assert!(roster.read(0, 0, 1, 0).is_err(), "nobody sent it");
        roster.commits(0, 0, 5);
        assert_eq!(roster.read(0, 0, -1, 0), Ok(()), "not acknowledged");
        let asked = roster.least(0, 0);
        roster.committed(0, 0, 5, 1);
        assert_eq!(roster.read(0, 0, -1, asked), Ok(()), "asked before");
        assert!(roster.read(0, 0, 4, roster.least(0, 0)).is_err());
        assert!(roster.read(0, 0, -1, roster.least(0, 0)).is_err());
        assert_eq!(roster.read(0, 0, 5, roster.least(0, 0)), Ok(()));
    }
}
