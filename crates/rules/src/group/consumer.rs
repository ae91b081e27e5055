//! Members of a group that speak the consumer protocol (KIP-848): the broker assigns, and members move there one by one.
//!
//! ```text
//!   a member, a subscription or the topics change  ->  group epoch + 1  ->  target assignment of that epoch
//!   each member, at its own heartbeat:
//!     Stable -> UnrevokedPartitions (gives up what it should not own) -> UnreleasedPartitions (waits for what others
//!     still own) -> Stable, in the epoch of the target
//! ```
//!
//! A partition is given to a member only when nobody owns it any more: its last owner has said, by a heartbeat, that it has let
//! go, or has been expelled. Behaviour and errors are those of Kafka's `GroupMetadataManager` and `ConsumerGroup`.

mod assign;
pub(super) mod classic_members;
mod heartbeat;
mod reconcile;
mod subscription;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cluster::Image,
    group::{
        CONSUMER_KIND, GroupConfig, GroupError, Summary,
        ask::CommitOffsets,
        offsets::ExpiryClock,
        silence::{Silence, Terms},
    },
    ids::TopicId,
    planted::{Bug, is},
    records::{ConsumerMemberValue, CurrentAssignment, GroupRecord, Held, MemberState, TopicPartitions},
    time::{Deadline, Now},
};

pub(super) use heartbeat::check;
use subscription::Subscribed;

/// Partitions, by topic and number.
pub(super) type Partitions = BTreeSet<(TopicId, i32)>;

/// The epoch of a static member that will be back.
pub(super) const AWAY: i32 = -2;

/// All about a consumer group (ConsumerGroupDescribe).
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerDescription {
    /// Its state, by Kafka's name.
    pub state: &'static str,
    /// The group epoch.
    pub epoch: i32,
    /// The epoch of the target assignment.
    pub assignment_epoch: i32,
    /// The assignor.
    pub assignor: String,
    /// The members.
    pub members: Vec<ConsumerMemberDescription>,
}

/// All about a member of a consumer group.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerMemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its epoch.
    pub epoch: i32,
    /// What it said about itself.
    pub described: ConsumerMemberValue,
    /// What it owns.
    pub assigned: Vec<TopicPartitions>,
    /// What it should own.
    pub target: Vec<TopicPartitions>,
}

/// Who is in the group and who owns what.
#[derive(Default)]
#[cfg_attr(test, derive(Clone, Debug, PartialEq))]
pub(super) struct Consumer {
    epoch: i32,
    assignment_epoch: i32,
    members: BTreeMap<String, Member>,
    /// Static names, and whose they are.
    instances: BTreeMap<String, String>,
    target: BTreeMap<String, Partitions>,
    /// Every partition that some member owns or is giving up.
    owned: Partitions,
    /// The topics that the members read, as they were when the target was last looked at.
    subscribed: Subscribed,
    /// No deadline of a member is earlier. Most heartbeats only move one further away: nobody looks at all members for that.
    wakes: Option<Deadline>,
    /// What [`Consumer::look_around`] found last.
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) described: ConsumerMemberValue,
    epoch: i32,
    previous_epoch: i32,
    state: MemberState,
    pub(super) assigned: Partitions,
    /// What it is still giving up.
    pub(super) revoking: Partitions,
    /// In which epoch each of both was assigned.
    since: BTreeMap<(TopicId, i32), i32>,
    pub(super) session: Option<Deadline>,
    /// It has been heard since the log was read, and has not left for a while since then.
    pub(super) is_heard: bool,
    /// Until then it must have given up what it should.
    revoked_by: Option<Deadline>,
    /// Of a member of the classic protocol: until then it must have joined again.
    join_by: Option<Deadline>,
    /// And until then it must have asked for its assignment.
    sync_by: Option<Deadline>,
}

/// What a step has at hand.
pub(super) struct Desk<'a> {
    pub(super) group: &'a str,
    pub(super) config: &'a GroupConfig,
    /// The topics that there are.
    pub(super) image: &'a Image,
    pub(super) now: Now,
    pub(super) records: &'a mut Vec<GroupRecord>,
}

impl Default for Member {
    fn default() -> Self {
        Self {
            described: ConsumerMemberValue { rebalance_timeout_ms: -1, ..Default::default() },
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Partitions::new(),
            revoking: Partitions::new(),
            since: BTreeMap::new(),
            session: None,
            is_heard: true,
            revoked_by: None,
            join_by: None,
            sync_by: None,
        }
    }
}

/// Partitions as records and answers have them.
pub(super) fn by_topic(partitions: &Partitions) -> Vec<TopicPartitions> {
    let mut list: Vec<TopicPartitions> = Vec::new();
    for (topic_id, index) in partitions {
        match list.last_mut() {
            Some(last) if last.topic_id == *topic_id => last.partitions.push(*index),
            _ => list.push(TopicPartitions { topic_id: *topic_id, partitions: vec![*index] }),
        }
    }
    list
}

fn flat(list: &[TopicPartitions]) -> Partitions {
    list.iter().flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index))).collect()
}

fn held(list: &[Held]) -> impl Iterator<Item = ((TopicId, i32), i32)> {
    let each = |topic: &Held| {
        let id = topic.topic_id;
        topic.partitions.clone().into_iter().map(move |(index, epoch)| ((id, index), epoch))
    };
    list.iter().flat_map(each)
}

impl Consumer {
    pub(super) fn replay(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::ConsumerGroup { epoch, .. } => self.epoch = epoch.unwrap_or(0),
            GroupRecord::TargetEpoch { epoch, .. } => self.assignment_epoch = epoch.unwrap_or(0),
            GroupRecord::ConsumerMember { member, value: Some(value), .. } => {
                if let Some(instance) = &value.instance_id {
                    self.instances.insert(instance.clone(), member.clone());
                }
                self.members.entry(member).or_default().described = value;
            }
            GroupRecord::ConsumerMember { member, value: None, .. } => {
                self.members.remove(&member);
                self.instances.retain(|_, of| *of != member);
            }
            GroupRecord::TargetMember { member, partitions: Some(partitions), .. } => {
                self.target.insert(member, flat(&partitions));
            }
            GroupRecord::TargetMember { member, partitions: None, .. } => {
                self.target.remove(&member);
            }
            GroupRecord::CurrentMember { member, value, .. } => {
                let Some(value) = value else {
                    if let Some(known) = self.members.get_mut(&member) {
                        *known = Member { described: known.described.clone(), ..Member::default() };
                    }
                    return;
                };
                // Compaction may have left it before what the member said about itself.
                let known = self.members.entry(member).or_default();
                known.epoch = value.member_epoch;
                known.previous_epoch = value.previous_epoch;
                known.state = value.state;
                known.since = held(&value.assigned).chain(held(&value.pending_revocation)).collect();
                known.assigned = held(&value.assigned).map(|(partition, _)| partition).collect();
                known.revoking = held(&value.pending_revocation).map(|(partition, _)| partition).collect();
            }
            // Patterns are looked up again; the rest is not about members of this protocol.
            GroupRecord::Regex { .. }
            | GroupRecord::Offset { .. }
            | GroupRecord::Group { .. }
            | GroupRecord::Silence { .. } => (),
        }
    }

    pub(super) fn loaded(&mut self, config: &GroupConfig, silence: &Silence, now: Now) {
        self.owned = Partitions::new();
        for (id, member) in &mut self.members {
            self.owned.extend(member.assigned.iter().chain(&member.revoking));
            member.session = Some(silence.session(id, member.terms(config)));
            member.is_heard = false;
            member.watch_revocation(now);
        }
        self.find_deadline();
        self.look_around();
    }

    pub(super) fn is_vacant(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn summary(&self) -> Summary {
        Summary { state: self.state(), kind: CONSUMER_KIND, protocol_type: "consumer".to_owned() }
    }

    fn state(&self) -> &'static str {
        if self.members.is_empty() { "Empty" } else { self.state }
    }

    /// Something was said about the members: how they stand together.
    pub(super) fn look_around(&mut self) {
        let settled =
            |member: &Member| member.state == MemberState::Stable && member.epoch == self.assignment_epoch;
        self.state = if self.epoch > self.assignment_epoch {
            "Assigning"
        } else if self.members.values().all(|member| settled(member) || member.epoch == AWAY) {
            "Stable"
        } else {
            "Reconciling"
        };
    }

    /// A member has other deadlines.
    fn note_deadlines(&mut self, id: &str) {
        let next = self.members.get(id).and_then(Member::next_deadline);
        self.note_deadline(next);
    }

    /// The same, where its next one is known.
    fn note_deadline(&mut self, next: Option<Deadline>) {
        self.wakes = self.wakes.into_iter().chain(next).min();
    }

    /// Looks at all members for the next deadline.
    pub(super) fn find_deadline(&mut self) {
        self.wakes = self.members.values().filter_map(Member::next_deadline).min();
    }

    pub(super) fn describe(&self, config: &GroupConfig) -> ConsumerDescription {
        let members = self.members.iter().map(|(id, member)| ConsumerMemberDescription {
            member_id: id.clone(),
            epoch: member.epoch,
            described: member.described.clone(),
            assigned: by_topic(&member.assigned),
            target: self.target.get(id).map(by_topic).unwrap_or_default(),
        });
        ConsumerDescription {
            state: self.state(),
            epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor: self.assignor(config).to_owned(),
            members: members.collect(),
        }
    }

    /// From when on offsets are unused; none while it is not known what the members read.
    pub(super) fn expiry_clock(&self) -> Option<ExpiryClock> {
        self.subscribed_names().map(ExpiryClock::Unsubscribed)
    }

    /// The topics that the members read; none before patterns have been looked up.
    pub(super) fn subscribed_names(&self) -> Option<Vec<String>> {
        let names = self.read_names()?;
        Some(names.into_iter().map(str::to_owned).collect())
    }

    /// Whether a member, or somebody who is none, may commit.
    pub(super) fn check_commit(&mut self, asked: &CommitOffsets) -> Result<(), GroupError> {
        let (member_id, epoch) = (&asked.member_id, asked.generation);
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let is_nobody = epoch < 0 && member_id.is_empty() && asked.instance_id.is_none();
        // Before version 3 of TxnOffsetCommit a producer could not say for which member it commits.
        if is_nobody && asked.transaction.is_some() {
            return Ok(());
        }
        let speaks_classic = self.members.get(member_id).is_some_and(|it| it.described.classic.is_some());
        // The version in which clients learned what a stale epoch is.
        let knows = asked.knows_group_errors || asked.transaction.is_some() || speaks_classic;
        if !knows && self.members.contains_key(member_id) {
            return Err(GroupError::UnsupportedVersion);
        }
        match self.check_epoch(member_id, epoch).or_else(|error| self.check_since(asked, error)) {
            Err(GroupError::StaleMemberEpoch) if speaks_classic => Err(GroupError::IllegalGeneration),
            // No version of TxnOffsetCommit up to 5 knows what a stale epoch is.
            Err(GroupError::StaleMemberEpoch) if asked.transaction.is_some() => {
                Err(GroupError::IllegalGeneration)
            }
            checked => checked,
        }
    }

    /// A member may be behind in its epoch (KIP-1251): what it has had since then it may still commit.
    fn check_since(&self, asked: &CommitOffsets, error: GroupError) -> Result<(), GroupError> {
        let Some(member) = self.members.get(&asked.member_id) else { return Err(error) };
        let had = |topic: TopicId, index: i32| {
            member.since.get(&(topic, index)).is_some_and(|since| *since <= asked.generation)
        };
        let is_behind = asked.generation < member.epoch;
        let had_all = asked.offsets.iter().all(|offset| had(offset.topic_id, offset.partition));
        if is_behind && had_all { Ok(()) } else { Err(error) }
    }

    /// Whether a member knows what it should know when it reads offsets.
    pub(super) fn check_epoch(&self, member_id: &str, epoch: i32) -> Result<(), GroupError> {
        let member = self.members.get(member_id).ok_or(GroupError::UnknownMember)?;
        let is_it = member.epoch == epoch || epoch < member.epoch && is(Bug::StaleCommitTaken);
        if is_it { Ok(()) } else { Err(GroupError::StaleMemberEpoch) }
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.wakes
    }

    /// Members that are silent, or do not give up what they should, are expelled.
    pub(super) fn tick(&mut self, desk: &mut Desk<'_>) {
        let now = desk.now;
        let is_due = |member: &Member| member.next_deadline().is_some_and(|deadline| deadline.is_due(now));
        let late = self.members.iter().filter(|(_, member)| is_due(member));
        let late: Vec<_> = late.map(|(id, _)| id.clone()).collect();
        late.iter().for_each(|id| self.remove(id, desk));
        self.find_deadline();
        if !late.is_empty() {
            self.after_departures(desk);
        }
    }

    /// Everything that was said, taken back.
    pub(super) fn tombstones(&self, group: &str) -> Vec<GroupRecord> {
        let (epoch, group) = (None, || group.to_owned());
        let current = |member: &String| GroupRecord::CurrentMember {
            group: group(),
            member: member.clone(),
            value: None,
        };
        let target = |member: &String| GroupRecord::TargetMember {
            group: group(),
            member: member.clone(),
            partitions: None,
        };
        let described = |member: &String| GroupRecord::ConsumerMember {
            group: group(),
            member: member.clone(),
            value: None,
        };
        let records = self.members.keys().map(current).chain(self.members.keys().map(target));
        let records = records.chain([GroupRecord::TargetEpoch { group: group(), epoch }]);
        let records = records.chain(self.members.keys().map(described));
        records.chain([GroupRecord::ConsumerGroup { group: group(), epoch }]).collect()
    }

    /// Nobody yet, in this epoch.
    pub(super) fn at(epoch: i32) -> Self {
        Self { epoch, assignment_epoch: epoch, ..Self::default() }
    }

    /// A member is there with what it owns, which is what it should own.
    pub(super) fn settle(&mut self, id: String, member: Member) {
        if let Some(instance) = &member.described.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.owned.extend(&member.assigned);
        self.target.insert(id.clone(), member.assigned.clone());
        self.members.insert(id, member);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.members.iter()
    }

    /// Whether such a member is there, and has been heard since the log was read.
    pub(super) fn was_heard(&self, id: &str) -> Option<bool> {
        self.members.get(id).map(|member| member.is_heard)
    }

    /// The members that were not heard since the log was read.
    pub(super) fn unheard(&self, config: &GroupConfig) -> Vec<(&str, Terms)> {
        let unheard = self.members.iter().filter(|(_, member)| !member.is_heard);
        unheard.map(|(id, member)| (id.as_str(), member.terms(config))).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The epoch of the target: no member is in a later one.
    pub(super) fn assignment_epoch(&self) -> i32 {
        self.assignment_epoch
    }

    /// Whether everybody owns what it should, and nothing has changed since that was decided.
    pub(super) fn is_settled(&self) -> bool {
        let settled = |member: &Member| member.state == MemberState::Stable && member.epoch == self.epoch;
        self.epoch == self.assignment_epoch && self.members.values().all(settled)
    }

    fn bump(&mut self, desk: &mut Desk<'_>) {
        self.epoch += 1;
        desk.records
            .push(GroupRecord::ConsumerGroup { group: desk.group.to_owned(), epoch: Some(self.epoch) });
    }

    /// Somebody has gone for good: a new epoch, in which what nobody else reads is read no more.
    fn after_departures(&mut self, desk: &mut Desk<'_>) {
        self.forget_unread();
        self.bump(desk);
    }

    /// A member goes, and lets go of everything.
    fn remove(&mut self, id: &str, desk: &mut Desk<'_>) {
        let Some(member) = self.members.remove(id) else { return };
        for partition in member.assigned.iter().chain(&member.revoking) {
            self.owned.remove(partition);
        }
        self.target.remove(id);
        self.instances.retain(|_, of| of != id);
        let (group, member) = (desk.group.to_owned(), id.to_owned());
        desk.records.extend([
            GroupRecord::CurrentMember { group: group.clone(), member: member.clone(), value: None },
            GroupRecord::TargetMember { group: group.clone(), member: member.clone(), partitions: None },
            GroupRecord::ConsumerMember { group, member, value: None },
        ]);
    }

    /// Puts a member in the place of what it was, and says so where it differs.
    fn put(&mut self, id: &str, mut member: Member, desk: &mut Desk<'_>) {
        member.date();
        let before = self.members.get(id);
        if let Some(before) = before {
            for partition in before.assigned.iter().chain(&before.revoking) {
                self.owned.remove(partition);
            }
        }
        let said = |member: &Member| member.current();
        if before.is_none_or(|before| said(before) != said(&member)) {
            desk.records.push(GroupRecord::CurrentMember {
                group: desk.group.to_owned(),
                member: id.to_owned(),
                value: Some(said(&member)),
            });
        }
        for partition in member.assigned.iter().chain(&member.revoking) {
            let free = self.owned.insert(*partition);
            let free = free || is(Bug::GivenBeforeRevoked);
            assert!(free, "partition {} of {} would have two owners", partition.1, partition.0);
        }
        self.members.insert(id.to_owned(), member);
    }
}

impl Member {
    /// Somebody who has come to rest in an epoch.
    pub(super) fn new(described: ConsumerMemberValue, epoch: i32, assigned: Partitions) -> Self {
        let mut member = Self { described, epoch, previous_epoch: epoch, assigned, ..Self::default() };
        member.date();
        member
    }

    /// It lives: its session begins anew.
    pub(super) fn heard(&mut self, config: &GroupConfig, now: Now) {
        let Terms { session_ms, .. } = self.terms(config);
        let session_ms = if is(Bug::SessionCutShort) { session_ms / 3 } else { session_ms };
        self.session = Some(now.after(session_ms));
        self.is_heard = true;
    }

    fn terms(&self, config: &GroupConfig) -> Terms {
        match &self.described.classic {
            Some(classic) => Terms::of_classic(classic.session_timeout_ms),
            None => Terms::of_consumer(config.consumer_session_ms, config.consumer_heartbeat_ms),
        }
    }

    /// A member of the classic protocol is told to join again, and has so long for it.
    fn is_to_join(&mut self, now: Now) {
        self.join_by = self.join_by.or(Some(now.after(self.patience_ms())));
    }

    fn patience_ms(&self) -> u64 {
        u64::try_from(self.described.rebalance_timeout_ms).unwrap_or(0)
    }

    fn next_deadline(&self) -> Option<Deadline> {
        [self.session, self.revoked_by, self.join_by, self.sync_by].into_iter().flatten().min()
    }

    pub(super) fn current(&self) -> CurrentAssignment {
        CurrentAssignment {
            member_epoch: self.epoch,
            previous_epoch: self.previous_epoch,
            state: self.state,
            assigned: self.held(&self.assigned),
            pending_revocation: self.held(&self.revoking),
        }
    }

    /// What is new with it was assigned in its epoch; what it has given up is forgotten.
    fn date(&mut self) {
        let has = self.assigned.iter().chain(&self.revoking);
        let since = has.map(|it| (*it, self.since.get(it).copied().unwrap_or(self.epoch)));
        self.since = since.collect();
    }

    fn held(&self, partitions: &Partitions) -> Vec<Held> {
        let dated = |topic: TopicPartitions| {
            let since = |index: i32| self.since.get(&(topic.topic_id, index)).copied().unwrap_or(self.epoch);
            let partitions = topic.partitions.iter().map(|index| (*index, since(*index))).collect();
            Held { topic_id: topic.topic_id, partitions }
        };
        by_topic(partitions).into_iter().map(dated).collect()
    }

    /// The time to give partitions up runs from when the member is told to.
    fn watch_revocation(&mut self, now: Now) {
        let patience_ms = self.patience_ms();
        self.revoked_by = match self.state {
            // It has its time for joining, and for asking.
            MemberState::UnrevokedPartitions if self.described.classic.is_some() => None,
            MemberState::UnrevokedPartitions => self.revoked_by.or(Some(now.after(patience_ms))),
            MemberState::Stable | MemberState::UnreleasedPartitions => None,
        };
    }
}
