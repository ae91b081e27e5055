//! Members of a consumer group that speak the classic protocol: each goes at its own pace, as the others do, and is told by
//! REBALANCE_IN_PROGRESS when there is a step to take.
//!
//! ```text
//!   Heartbeat (the group's epoch is ahead, or there is something to give up or to get)  ->  join again, within the rebalance timeout
//!   JoinGroup, with what it still owns  ->  one step towards its target, as by a heartbeat of the consumer protocol
//!   SyncGroup, within the rebalance timeout  ->  what it owns now, as Kafka's `ConsumerProtocol` writes it
//! ```
//!
//! The generation of such a member is its member epoch. Nobody leads.

use super::{AWAY, Consumer, Desk, Partitions, heartbeat::new_id};
use crate::{
    cluster::Image,
    group::{
        Answer, GroupError, Outcome,
        ask::{Heartbeat, Join, Joined, Sync},
        classic::{CONSUMER, protocols::supported_by_all},
    },
    records::{
        ClassicMemberValue, ConsumerMemberValue, MemberState,
        protocol::{Assignment, Subscription},
    },
};

impl Consumer {
    /// Whether all who are there speak the classic protocol.
    pub(in crate::group) fn is_classic(&self) -> bool {
        !self.members.is_empty() && self.members.values().all(|member| member.described.classic.is_some())
    }

    /// A member of the classic protocol joins, or joins again.
    pub(in crate::group) fn join(&mut self, join: Join, desk: &mut Desk<'_>) -> Outcome {
        let allowed = desk.config.session_ms_min..=desk.config.session_ms_max;
        if !allowed.contains(&join.session_timeout_ms) {
            return Err(GroupError::SessionTimeout);
        }
        let is_migrating = desk.config.upgrades || desk.config.downgrades;
        if !is_migrating || !self.goes_with(&join) {
            return Err(GroupError::InconsistentProtocol);
        }
        if self.members.len() >= desk.config.consumer_members_max
            && !self.members.contains_key(&join.member_id)
        {
            return Err(GroupError::MaxSizeReached);
        }
        if join.member_id.is_empty() && join.instance_id.is_none() && join.id_first {
            return Err(GroupError::MemberIdRequired(new_id(join.chance)));
        }
        let (protocol, metadata) = join.protocols.first().ok_or(GroupError::InconsistentProtocol)?;
        let said = Subscription::decode(metadata).ok_or(GroupError::InconsistentProtocol)?;
        let protocol = protocol.clone();
        let id = self.place_of_classic(&join, desk)?;
        let owned = by_id(&said.owned, desk.image);
        let patience_ms = u64::try_from(join.rebalance_timeout_ms).unwrap_or(0);
        let before = self.members.get(&id).map(|member| member.described.clone());
        let described = described(join, said, before.unwrap_or_default());
        self.advance(&id, described, Some(&owned), desk);
        let Some(member) = self.members.get_mut(&id) else { return Err(GroupError::UnknownMember) };
        member.join_by = None;
        member.sync_by = Some(desk.now.after(patience_ms));
        member.heard(desk.config, desk.now);
        let generation = member.epoch;
        self.note_deadlines(&id);
        Ok(Answer::Joined(Joined {
            member_id: id,
            generation,
            protocol_type: Some(CONSUMER.to_owned()),
            protocol: Some(protocol),
            leader: String::new(),
            skip_assignment: false,
            members: Vec::new(),
        }))
    }

    /// Whether a member has a way of assigning that all others of its kind support. It will not be used: it is what they would
    /// go back to.
    fn goes_with(&self, join: &Join) -> bool {
        let others = self.members.values().filter_map(|member| member.described.classic.as_ref());
        let lists = others.map(|other| other.protocols.as_slice()).chain([join.protocols.as_slice()]);
        join.protocol_type == CONSUMER && !supported_by_all(lists).is_empty()
    }

    /// Finds the member, or makes room for it. Ids are not remembered before members come with them.
    fn place_of_classic(&mut self, join: &Join, desk: &mut Desk<'_>) -> Result<String, GroupError> {
        let is_new = join.member_id.is_empty();
        let id = if is_new { new_id(join.chance) } else { join.member_id.clone() };
        let Some(instance) = &join.instance_id else { return Ok(id) };
        match self.instances.get(instance).cloned() {
            None if is_new => Ok(id),
            None => Err(GroupError::UnknownMember),
            Some(known) if is_new => {
                self.hand_over(&known, &id, desk);
                Ok(id)
            }
            Some(known) if known == id => Ok(id),
            Some(_) => Err(GroupError::FencedInstance),
        }
    }

    /// A member of the classic protocol wants its assignment.
    pub(in crate::group) fn sync(&mut self, sync: &Sync, desk: &Desk<'_>) -> Outcome {
        let id = self.classic_member(&sync.member_id, sync.instance_id.as_deref())?;
        let epoch = self.epoch;
        let Some(member) = self.members.get_mut(&id) else { return Err(GroupError::UnknownMember) };
        let Some(classic) = &member.described.classic else { return Err(GroupError::UnknownMember) };
        if sync.generation != member.epoch {
            return Err(GroupError::IllegalGeneration);
        }
        let protocol = classic.protocols.first();
        let differs = |said: &Option<String>, is: Option<&str>| said.is_some() && said.as_deref() != is;
        if differs(&sync.protocol_type, Some(CONSUMER))
            || differs(&sync.protocol, protocol.map(|(name, _)| name.as_str()))
        {
            return Err(GroupError::InconsistentProtocol);
        }
        // With something to give up it has joined already: that comes first.
        if epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            // Its client takes this answer for a sign that it is a member still, and reads on.
            member.heard(desk.config, desk.now);
            member.is_to_join(desk.now);
            self.note_deadlines(&id);
            return Err(GroupError::RebalanceInProgress);
        }
        let version = protocol.and_then(|(_, metadata)| Subscription::decode(metadata));
        let version = version.map_or(0, |subscription| subscription.version);
        member.sync_by = None;
        member.heard(desk.config, desk.now);
        let assignment = by_name(&member.assigned, desk.image).encode(version);
        self.note_deadlines(&id);
        Ok(Answer::Synced {
            protocol_type: sync.protocol_type.clone(),
            protocol: sync.protocol.clone(),
            assignment,
        })
    }

    /// A member of the classic protocol lives.
    pub(in crate::group) fn classic_heartbeat(&mut self, beat: &Heartbeat, desk: &Desk<'_>) -> Outcome {
        let id = self.classic_member(&beat.member_id, beat.instance_id.as_deref())?;
        let is_ready = self.members.get(&id).is_some_and(|member| match member.state {
            _ if member.epoch < self.epoch => true,
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !self.waits_for_others(&id),
            MemberState::Stable => false,
        });
        let Some(member) = self.members.get_mut(&id) else { return Err(GroupError::UnknownMember) };
        if beat.generation != member.epoch {
            return Err(GroupError::IllegalGeneration);
        }
        member.heard(desk.config, desk.now);
        if is_ready {
            member.is_to_join(desk.now);
        }
        self.note_deadlines(&id);
        if is_ready {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(Answer::Alive)
    }

    /// Whether something that the member should own is still another's.
    fn waits_for_others(&self, id: &str) -> bool {
        let (Some(member), Some(target)) = (self.members.get(id), self.target.get(id)) else { return false };
        target.difference(&member.assigned).any(|partition| self.owned.contains(partition))
    }

    fn classic_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<String, GroupError> {
        if let Some(instance) = instance_id {
            let known = self.instances.get(instance).ok_or(GroupError::UnknownMember)?;
            if known != member_id {
                return Err(GroupError::FencedInstance);
            }
        }
        let member = self.members.get(member_id).ok_or(GroupError::UnknownMember)?;
        if member.described.classic.is_none() || member.epoch == AWAY {
            return Err(GroupError::UnknownMember);
        }
        Ok(member_id.to_owned())
    }
}

/// What a member of the classic protocol says about itself, as one of the consumer protocol would.
fn described(join: Join, said: Subscription, before: ConsumerMemberValue) -> ConsumerMemberValue {
    let mut topic_names = said.topics;
    topic_names.sort_unstable();
    topic_names.dedup();
    ConsumerMemberValue {
        instance_id: join.instance_id.or(before.instance_id),
        rack_id: said.rack_id.or(before.rack_id),
        client_id: join.client_id,
        client_host: join.client_host,
        topic_names,
        // A subscription by name takes the place of one by pattern.
        topic_regex: None,
        rebalance_timeout_ms: join.rebalance_timeout_ms,
        server_assignor: before.server_assignor,
        classic: Some(ClassicMemberValue {
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
        }),
    }
}

/// Partitions as the consumer protocol has them. Topics that are not there are left out.
pub(in crate::group) fn by_id(named: &[(String, Vec<i32>)], image: &Image) -> Partitions {
    let known = named.iter().filter_map(|(name, indexes)| Some((image.topic_named(name)?.id, indexes)));
    known.flat_map(|(id, indexes)| indexes.iter().map(move |index| (id, *index))).collect()
}

/// Partitions as the classic protocol has them. Topics that are gone are left out: they have no name any more.
pub(in crate::group) fn by_name(partitions: &Partitions, image: &Image) -> Assignment {
    let mut named: Vec<(String, Vec<i32>)> = Vec::new();
    for topic in super::by_topic(partitions) {
        if let Some(known) = image.topic(topic.topic_id) {
            named.push((known.name.to_string(), topic.partitions));
        }
    }
    Assignment { partitions: named, has_user_data: false }
}
