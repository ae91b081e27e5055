//! Members of a group that speak the classic protocol, and the rebalance between them.
//!
//! ```text
//!                 +--------- a member joins, leaves, is lost, or the leader comes again <-----------+
//!                 v                                                                                |
//!   Empty --> Preparing --(all have joined, or time is over)--> Completing --(leader's word safe)--> Stable
//!     ^           |
//!     +-----------+ nobody has joined
//! ```
//!
//! What members say to each other are opaque bytes. Only for protocol type `consumer` the subscriptions are read, to know
//! which topics the group uses. Behaviour and errors are those of Kafka's `GroupMetadataManager` and `ClassicGroup`.

mod handover;
mod join;
pub(super) mod protocols;
mod rebalance;
mod stay;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    group::{
        Answer, Effect, GroupConfig, GroupError, Outcome, Summary,
        ask::{CommitOffsets, Joined},
        offsets::ExpiryClock,
        silence::Terms,
    },
    planted::{Bug, is},
    records::{GroupRecord, GroupValue, MemberValue, protocol::subscribed_topics},
    time::{Deadline, Now},
};

/// The protocol type of Kafka's consumers.
pub(super) const CONSUMER: &str = "consumer";

/// All about a group (DescribeGroups).
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its state, by Kafka's name.
    pub state: &'static str,
    /// What it is for.
    pub protocol_type: String,
    /// The way of assigning.
    pub protocol: String,
    /// The members. Their metadata and assignments only while the group is stable.
    pub members: Vec<MemberValue>,
}

/// Who is in the group and what they are about.
pub(super) struct Classic<R> {
    protocol_type: Option<String>,
    generation: i32,
    protocol: Option<String>,
    leader: Option<String>,
    phase: Phase,
    /// Since when it is in its phase, Unix milliseconds; -1 when nobody knows.
    since_ms: i64,
    members: BTreeMap<String, Member<R>>,
    /// Static names, and whose they are.
    instances: BTreeMap<String, String>,
    /// Ids that were given out and whose members have not come with them yet.
    pending: BTreeMap<String, Deadline>,
    /// A member has left since the others last heard of it.
    somebody_left: bool,
    /// The generation that waits for its assignments is in the log: its members may be told of it.
    is_in_log: bool,
    /// The assignments that the generation waits for take longer than anybody is to wait for them.
    is_late: bool,
    /// No deadline is earlier. A heartbeat only moves one further away: nobody looks at all members for that.
    wakes: Option<Deadline>,
}

struct Member<R> {
    instance_id: Option<String>,
    client_id: String,
    client_host: String,
    rebalance_timeout_ms: i32,
    session_timeout_ms: i32,
    protocols: Vec<(String, Bytes)>,
    assignment: Bytes,
    /// Waits for the rebalance.
    joining: Option<R>,
    /// Waits for its assignment.
    syncing: Option<R>,
    /// Has joined this generation and has not asked for its assignment.
    owes_sync: bool,
    /// Has never been part of a generation: it is expelled even while it waits.
    is_new: bool,
    can_skip: bool,
    session: Option<Deadline>,
    /// It has been heard since the log was read.
    is_heard: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Empty,
    Preparing {
        /// The group was empty before: more members may be about to come.
        initial: Option<Initial>,
        deadline: Deadline,
    },
    Completing {
        /// Until then all must have asked for their assignment.
        deadline: Deadline,
    },
    Stable {
        /// The same, as long as some have not.
        deadline: Option<Deadline>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Initial {
    left_ms: u64,
    somebody_came: bool,
}

/// What follows when a record of the members is safe, or is not.
pub(super) enum Parked<R> {
    /// The assignments of a generation.
    Assigned { generation: i32 },
    /// A static member that was replaced: it is answered.
    Replaced { to: Option<R>, member_id: String, leader_before: String },
    /// A generation without members.
    Emptied,
    /// Somebody has left the generation.
    Departed,
    /// A generation that has no assignments yet: its members are told of it.
    Begun { generation: i32, told: Vec<(R, Joined)> },
}

impl<R> Parked<R> {
    /// Takes whoever waits for it: it goes on without them.
    pub(super) fn take_waiting(&mut self) -> Vec<R> {
        match self {
            Self::Replaced { to, .. } => to.take().into_iter().collect(),
            Self::Begun { told, .. } => told.drain(..).map(|(to, _)| to).collect(),
            Self::Assigned { .. } | Self::Emptied | Self::Departed => Vec::new(),
        }
    }
}

/// What a step has at hand.
pub(super) struct Desk<'a, R> {
    pub(super) group: &'a str,
    pub(super) config: &'a GroupConfig,
    pub(super) now: Now,
    pub(super) out: &'a mut Vec<Effect<R>>,
    pub(super) written: &'a mut Vec<(GroupRecord, Parked<R>)>,
}

impl<R> Desk<'_, R> {
    pub(super) fn answer(&mut self, to: R, with: Outcome) {
        self.out.push(Effect::Answer { to, with });
    }
}

impl<R> Member<R> {
    /// Nobody yet, who waits for nothing.
    fn nobody() -> Self {
        Self {
            instance_id: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout_ms: 0,
            session_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            owes_sync: false,
            is_new: false,
            can_skip: false,
            session: None,
            is_heard: true,
        }
    }

    fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let named = self.protocols.iter().find(|(name, _)| Some(name.as_str()) == protocol);
        named.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// It waits for us, so it is not silent.
    fn is_waiting(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    fn heard(&mut self, now: Now) {
        self.session = Some(now.after(self.terms().session_ms));
        self.is_heard = true;
    }

    fn terms(&self) -> Terms {
        Terms::of_classic(self.session_timeout_ms)
    }

    fn value(&self, id: &str, protocol: Option<&str>) -> MemberValue {
        MemberValue {
            member_id: id.to_owned(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }
}

impl<R> Classic<R> {
    pub(super) fn new() -> Self {
        Self {
            protocol_type: None,
            generation: 0,
            protocol: None,
            leader: None,
            phase: Phase::Empty,
            since_ms: -1,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            somebody_left: false,
            is_in_log: false,
            is_late: false,
            wakes: None,
        }
    }

    pub(super) fn replay(&mut self, value: Option<GroupValue>) {
        *self = Self::new();
        let Some(value) = value else { return };
        self.protocol_type = Some(value.protocol_type).filter(|kind| !kind.is_empty());
        self.generation = value.generation;
        self.since_ms = value.state_timestamp;
        if value.members.is_empty() {
            return;
        }
        let protocol = value.protocol.unwrap_or_default();
        for member in value.members {
            if let Some(instance) = &member.instance_id {
                self.instances.insert(instance.clone(), member.member_id.clone());
            }
            let loaded = Member {
                instance_id: member.instance_id,
                client_id: member.client_id,
                client_host: member.client_host,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                protocols: vec![(protocol.clone(), member.subscription)],
                assignment: member.assignment,
                ..Member::nobody()
            };
            self.members.insert(member.member_id, loaded);
        }
        self.leader = value.leader;
        self.protocol = Some(protocol);
        self.phase = Phase::Stable { deadline: None };
    }

    /// The group was deleted.
    pub(super) fn forget(&mut self) {
        // Who has come since the deletion was decided stays.
        if self.is_vacant() {
            self.protocol_type = None;
            self.generation = 0;
            self.since_ms = -1;
        }
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            state: self.state(),
            kind: "classic",
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
        }
    }

    pub(super) fn describe(&self) -> Description {
        let stable = matches!(self.phase, Phase::Stable { .. });
        let members = self.members.iter().map(|(id, member)| {
            let value = member.value(id, self.protocol.as_deref());
            if stable {
                value
            } else {
                MemberValue { subscription: Bytes::new(), assignment: Bytes::new(), ..value }
            }
        });
        Description {
            state: self.state(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: if stable { self.protocol.clone().unwrap_or_default() } else { String::new() },
            members: members.collect(),
        }
    }

    fn state(&self) -> &'static str {
        match self.phase {
            Phase::Empty => "Empty",
            Phase::Preparing { .. } => "PreparingRebalance",
            Phase::Completing { .. } => "CompletingRebalance",
            Phase::Stable { .. } => "Stable",
        }
    }

    /// Whether there are no members, and none on their way.
    pub(super) fn is_vacant(&self) -> bool {
        self.members.is_empty() && matches!(self.phase, Phase::Empty)
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_blank(&self) -> bool {
        self.is_vacant() && self.pending.is_empty() && self.generation == 0
    }

    /// From when on its offsets are unused; none while no offset can be.
    pub(super) fn expiry_clock(&self) -> Option<ExpiryClock> {
        if self.protocol_type.is_none() {
            return Some(ExpiryClock::Committed);
        }
        match self.phase {
            Phase::Empty if self.since_ms >= 0 => Some(ExpiryClock::Empty(self.since_ms)),
            Phase::Empty => Some(ExpiryClock::Committed),
            Phase::Stable { .. } => self.subscribed().map(ExpiryClock::Unsubscribed),
            Phase::Preparing { .. } | Phase::Completing { .. } => None,
        }
    }

    /// The topics that the members read; none when that cannot be known.
    fn subscribed(&self) -> Option<Vec<String>> {
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return None;
        }
        let mut topics = Vec::new();
        for member in self.members.values() {
            topics.extend(subscribed_topics(&member.metadata(self.protocol.as_deref()))?);
        }
        topics.sort_unstable();
        topics.dedup();
        Some(topics)
    }

    /// Whether offsets may be forgotten: which topics may not; none is all of them.
    pub(super) fn check_delete_offsets(&self, is_blank: bool) -> Result<Option<Vec<String>>, GroupError> {
        match self.phase {
            Phase::Empty if is_blank => Err(GroupError::NotFound),
            Phase::Empty => Ok(Some(Vec::new())),
            _ if self.protocol_type.as_deref() != Some(CONSUMER) => Err(GroupError::NonEmpty),
            // As Kafka's `isSubscribedToTopic`: whoever cannot be understood, or has no generation yet, may read any of them.
            _ => Ok(self.subscribed()),
        }
    }

    /// Whether a member, or somebody who is none, may commit.
    pub(super) fn check_commit(&mut self, asked: &CommitOffsets, now: Now) -> Result<(), GroupError> {
        let CommitOffsets { member_id, instance_id, generation, .. } = asked;
        if *generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        let is_nobody = *generation < 0 && member_id.is_empty() && instance_id.is_none();
        // Before version 3 of TxnOffsetCommit a producer could not say for which member it commits.
        if is_nobody && asked.transaction.is_some() {
            return Ok(());
        }
        if is_nobody {
            return Err(GroupError::UnknownMember);
        }
        self.check_member(member_id, instance_id.as_deref())?;
        if *generation != self.generation && !is(Bug::StaleCommitTaken) {
            return Err(GroupError::IllegalGeneration);
        }
        // A producer is not a sign of life, and the state of the group does not concern it: as in Kafka.
        if asked.transaction.is_some() {
            return Ok(());
        }
        match self.phase {
            Phase::Completing { .. } => return Err(GroupError::RebalanceInProgress),
            Phase::Empty | Phase::Preparing { .. } | Phase::Stable { .. } => (),
        }
        self.heard(member_id, now);
        Ok(())
    }

    /// Whether such a member is in the group, under its own static name if it has one.
    fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        match instance_id {
            Some(instance) => match self.instances.get(instance) {
                None => Err(GroupError::UnknownMember),
                Some(current) if current != member_id => Err(GroupError::FencedInstance),
                Some(_) => Ok(()),
            },
            None if self.members.contains_key(member_id) => Ok(()),
            None => Err(GroupError::UnknownMember),
        }
    }

    /// Whether such a member is there, and has been heard since the log was read.
    pub(super) fn was_heard(&self, id: &str) -> Option<bool> {
        self.members.get(id).map(|member| member.is_heard)
    }

    /// The members that were not heard since the log was read.
    pub(super) fn unheard(&self) -> Vec<(&str, Terms)> {
        let unheard = self.members.iter().filter(|(_, member)| !member.is_heard);
        unheard.map(|(id, member)| (id.as_str(), member.terms())).collect()
    }

    /// A member lives: its session begins anew.
    fn heard(&mut self, member_id: &str, now: Now) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.heard(now);
        self.wakes = self.wakes.into_iter().chain(member.session).min();
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.wakes
    }

    /// Looks at everything for the next deadline.
    pub(super) fn find_deadline(&mut self) {
        self.wakes = self.earliest();
    }

    /// Whether it wakes up in time for everything.
    #[cfg(test)]
    pub(super) fn wakes_in_time(&self) -> bool {
        self.earliest().is_none_or(|deadline| self.wakes.is_some_and(|wakes| wakes <= deadline))
    }

    fn earliest(&self) -> Option<Deadline> {
        let phase = match self.phase {
            Phase::Empty => None,
            Phase::Preparing { deadline, .. } | Phase::Completing { deadline } => Some(deadline),
            Phase::Stable { deadline } => deadline,
        };
        let sessions = self.members.values().filter_map(|member| member.session);
        phase.into_iter().chain(sessions).chain(self.pending.values().copied()).min()
    }

    pub(super) fn written(
        &mut self,
        parked: Parked<R>,
        result: Result<(), crate::group::WriteError>,
        desk: &mut Desk<'_, R>,
    ) {
        match parked {
            Parked::Assigned { generation } => self.assigned(generation, result, desk),
            Parked::Replaced { to, member_id, leader_before } => {
                let with = result.map_err(GroupError::of_metadata).and_then(|()| {
                    self.joined_again(&member_id, leader_before).ok_or(GroupError::UnknownMember)
                });
                if let Some(to) = to {
                    desk.answer(to, with.map(Answer::Joined));
                }
            }
            Parked::Begun { generation, told } => self.begun(generation, told, result, desk),
            Parked::Emptied | Parked::Departed => (),
        }
    }
}
