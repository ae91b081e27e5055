//! A member's heartbeat: joining, staying, leaving.

use std::mem;

use super::{AWAY, Consumer, Desk, Member, Partitions, assign::ASSIGNORS, by_topic, flat, subscription};
use crate::{
    group::{
        Answer, GroupConfig, GroupError, Outcome,
        ask::{Beat, ConsumerHeartbeat, Leaver},
    },
    planted::{Bug, is},
    records::{ConsumerMemberValue, GroupRecord, MemberState, TopicPartitions},
};

/// The epoch with which a member joins.
const JOINING: i32 = 0;
/// The epoch with which a member leaves.
const LEAVING: i32 = -1;

/// What is wrong with a heartbeat before any group is looked at; Kafka's sentences, in its order.
///
/// # Errors
/// [`GroupError::InvalidRequest`], [`GroupError::UnsupportedAssignor`] or [`GroupError::InvalidRegex`].
pub(in crate::group) fn check(beat: &ConsumerHeartbeat, config: &GroupConfig) -> Result<(), GroupError> {
    let refuse = |why: &str| Err(GroupError::InvalidRequest(why.to_owned()));
    if beat.instance_id.as_deref() == Some("") {
        return refuse("InstanceId can't be empty.");
    }
    if beat.rack_id.as_deref() == Some("") {
        return refuse("RackId can't be empty.");
    }
    match beat.member_epoch {
        _ if beat.member_id.is_empty() && (beat.member_epoch != JOINING || beat.makes_its_id) => {
            return refuse("MemberId can't be empty.");
        }
        JOINING if beat.rebalance_timeout_ms.is_none() => {
            return refuse("RebalanceTimeoutMs must be provided in first request.");
        }
        JOINING if beat.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return refuse("TopicPartitions must be empty when (re-)joining.");
        }
        JOINING if beat.topic_names.is_none() && beat.topic_regex.is_none() => {
            return refuse(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            );
        }
        AWAY if beat.instance_id.is_none() => return refuse("InstanceId can't be null."),
        epoch if epoch < AWAY => return refuse("MemberEpoch is invalid."),
        _ => (),
    }
    match &beat.server_assignor {
        Some(name)
            if !config.assignors.iter().any(|known| known == name) || !ASSIGNORS.contains(&name.as_str()) =>
        {
            return Err(GroupError::UnsupportedAssignor(config.assignors.join(", ")));
        }
        _ => (),
    }
    beat.topic_regex.as_deref().map_or(Ok(()), subscription::check)
}

impl Consumer {
    pub(in crate::group) fn heartbeat(&mut self, beat: ConsumerHeartbeat, desk: &mut Desk<'_>) -> Outcome {
        match self.at_rest(&beat, desk) {
            true => Ok(beat_of(beat.member_id, beat.member_epoch, None, desk.config)),
            false => self.hear(beat, desk),
        }
    }

    /// Nearly every heartbeat says nothing, to a group that has nothing to say: the session begins anew, with one look at the
    /// member and no copy of what it is. Whether it was such a one; all others are left to [`Consumer::hear`], which would
    /// come to the same.
    pub(in crate::group) fn at_rest(&mut self, beat: &ConsumerHeartbeat, desk: &Desk<'_>) -> bool {
        let ConsumerHeartbeat {
            rack_id: None,
            rebalance_timeout_ms: None,
            topic_names: None,
            topic_regex: None,
            server_assignor: None,
            owned: None,
            ..
        } = beat
        else {
            return false;
        };
        if self.epoch > self.assignment_epoch || !self.subscribed.is_of(desk.image) {
            return false;
        }
        let Some(member) = self.members.get_mut(&beat.member_id) else { return false };
        let is_settled = member.state == MemberState::Stable && member.epoch == self.assignment_epoch;
        let said = &member.described;
        let is_known = said.classic.is_none()
            && (beat.instance_id.is_none() || beat.instance_id == said.instance_id)
            && (&beat.client_id, &beat.client_host) == (&said.client_id, &said.client_host);
        // Who joins, or leaves, is in none of these epochs.
        if !is_settled || !is_known || beat.member_epoch != member.epoch || beat.member_epoch <= JOINING {
            return false;
        }
        member.heard(desk.config, desk.now);
        let next = member.next_deadline();
        self.note_deadline(next);
        true
    }

    /// A heartbeat that may change something.
    pub(in crate::group) fn hear(&mut self, beat: ConsumerHeartbeat, desk: &mut Desk<'_>) -> Outcome {
        if beat.member_epoch < JOINING {
            return self.leave(&beat, desk);
        }
        let owned = beat.owned.as_deref().map(flat);
        let id = self.place_of(&beat, owned.as_ref(), desk)?;
        let before = self.members.get(&id).map(|member| member.assigned.clone()).unwrap_or_default();
        // Said in full: by names, or by a pattern.
        let subscribes = beat.topic_names.is_some() || beat.topic_regex.is_some();
        let is_full = beat.member_epoch == JOINING
            || beat.rebalance_timeout_ms.is_some() && subscribes && beat.owned.is_some();
        let known = self.members.get(&id).map(|member| member.described.clone());
        self.advance(&id, described(beat, known.unwrap_or_default()), owned.as_ref(), desk);
        let Some(member) = self.members.get_mut(&id) else { return Err(GroupError::UnknownMember) };
        (member.join_by, member.sync_by) = (None, None);
        member.heard(desk.config, desk.now);
        let assignment = (is_full || member.assigned != before).then(|| by_topic(&member.assigned));
        let (epoch, next) = (member.epoch, member.next_deadline());
        self.note_deadline(next);
        Ok(beat_of(id, epoch, assignment, desk.config))
    }

    /// A member is heard of: what it says about itself, and what it owns; none when that has not changed. It takes a step towards
    /// what it should own.
    pub(super) fn advance(
        &mut self,
        id: &str,
        described: ConsumerMemberValue,
        owned: Option<&Partitions>,
        desk: &mut Desk<'_>,
    ) {
        let changed = self.describe_member(id, described, desk);
        // Not `||`: the topics are looked at in any case.
        if self.look_up(desk.image, changed) | changed {
            self.bump(desk);
        }
        if self.epoch > self.assignment_epoch {
            self.assign(desk);
        }
        self.reconcile(id, owned, desk);
    }

    /// Finds the member, or makes room for it.
    fn place_of(
        &mut self,
        beat: &ConsumerHeartbeat,
        owned: Option<&Partitions>,
        desk: &mut Desk<'_>,
    ) -> Result<String, GroupError> {
        let joins = beat.member_epoch == JOINING;
        if let Some(instance) = &beat.instance_id {
            match self.instances.get(instance).cloned() {
                Some(known) if known == beat.member_id => (),
                Some(known) if joins => return self.take_over(&known, beat, desk),
                Some(_) => return Err(GroupError::FencedInstance),
                None if joins => (),
                None => return Err(GroupError::UnknownMember),
            }
        }
        match self.members.get(&beat.member_id) {
            None if !joins => Err(GroupError::UnknownMember),
            None if self.members.len() >= desk.config.consumer_members_max => Err(GroupError::MaxSizeReached),
            None if beat.member_id.is_empty() => Ok(new_id(beat.chance)),
            None => Ok(beat.member_id.clone()),
            // A static member that is back keeps what it had.
            Some(member) if joins && member.epoch == AWAY => {
                let back = Member { epoch: JOINING, previous_epoch: JOINING, ..member.clone() };
                self.put(&beat.member_id, back, desk);
                Ok(beat.member_id.clone())
            }
            // It has given everything up and begins again.
            Some(member) if joins && member.epoch != JOINING => {
                let fresh = Member { described: member.described.clone(), ..Member::default() };
                self.put(&beat.member_id, fresh, desk);
                Ok(beat.member_id.clone())
            }
            Some(member) => {
                check_epoch(member, beat.member_epoch, owned)?;
                Ok(beat.member_id.clone())
            }
        }
    }

    /// A static member has started anew: it takes over from the one before, if that has left for a while or spoke the classic
    /// protocol, which knows no such leaving.
    fn take_over(
        &mut self,
        known: &str,
        beat: &ConsumerHeartbeat,
        desk: &mut Desk<'_>,
    ) -> Result<String, GroupError> {
        let Some(before) = self.members.get(known) else { return Err(GroupError::UnknownMember) };
        if before.epoch != AWAY && before.described.classic.is_none() {
            return Err(GroupError::UnreleasedInstance);
        }
        let id = if beat.member_id.is_empty() { new_id(beat.chance) } else { beat.member_id.clone() };
        self.hand_over(known, &id, desk);
        Ok(id)
    }

    /// What one member is and has another is and has from now on.
    pub(super) fn hand_over(&mut self, known: &str, id: &str, desk: &mut Desk<'_>) {
        let Some(before) = self.members.get(known).cloned() else { return };
        let target = self.target.get(known).cloned();
        self.remove(known, desk);
        if let Some(target) = target {
            desk.records.push(GroupRecord::TargetMember {
                group: desk.group.to_owned(),
                member: id.to_owned(),
                partitions: Some(by_topic(&target)),
            });
            self.target.insert(id.to_owned(), target);
        }
        let group = desk.group.to_owned();
        let value = Some(before.described.clone());
        desk.records.push(GroupRecord::ConsumerMember { group, member: id.to_owned(), value });
        if let Some(instance) = &before.described.instance_id {
            self.instances.insert(instance.clone(), id.to_owned());
        }
        let anew = Member { epoch: JOINING, previous_epoch: JOINING, join_by: None, sync_by: None, ..before };
        self.put(id, anew, desk);
    }

    /// What the member says about itself replaces what it said; whether it reads other topics now.
    fn describe_member(&mut self, id: &str, said: ConsumerMemberValue, desk: &mut Desk<'_>) -> bool {
        let known = self.members.get(id).map(|member| &member.described);
        if known == Some(&said) {
            return false;
        }
        let reads_others = known.is_none_or(|known| {
            said.topic_names != known.topic_names || said.topic_regex != known.topic_regex
        });
        if let Some(instance) = &said.instance_id {
            self.instances.insert(instance.clone(), id.to_owned());
        }
        let (group, member) = (desk.group.to_owned(), id.to_owned());
        desk.records.push(GroupRecord::ConsumerMember { group, member, value: Some(said.clone()) });
        match self.members.get_mut(id) {
            Some(member) => member.described = said,
            None => {
                self.members.insert(id.to_owned(), Member { described: said, ..Member::default() });
            }
        }
        reads_others
    }

    fn leave(&mut self, beat: &ConsumerHeartbeat, desk: &mut Desk<'_>) -> Outcome {
        let id = match &beat.instance_id {
            Some(instance) => {
                let known = self.instances.get(instance).ok_or(GroupError::UnknownMember)?;
                if *known != beat.member_id {
                    return Err(GroupError::FencedInstance);
                }
                known.clone()
            }
            None => beat.member_id.clone(),
        };
        let member = self.members.get(&id).ok_or(GroupError::UnknownMember)?;
        if beat.member_epoch == AWAY {
            // It keeps what it has until its session is over. What it was giving up it has let go of with that.
            let revoking = Partitions::new();
            let away = Member { epoch: AWAY, is_heard: false, revoking, revoked_by: None, ..member.clone() };
            self.put(&id, away, desk);
        } else {
            debug_assert_eq!(beat.member_epoch, LEAVING, "checked before");
            self.remove(&id, desk);
            self.after_departures(desk);
        }
        // Whoever leaves is told nothing else, as in Kafka.
        Ok(Answer::Beat(Beat {
            member_id: id,
            member_epoch: beat.member_epoch,
            interval_ms: 0,
            assignment: None,
        }))
    }

    /// Takes members out, by id or static name.
    pub(in crate::group) fn expel(
        &mut self,
        leavers: &[Leaver],
        desk: &mut Desk<'_>,
    ) -> Vec<Result<(), GroupError>> {
        let mut left = Vec::with_capacity(leavers.len());
        for leaver in leavers {
            let id = match &leaver.instance_id {
                Some(instance) => self.instances.get(instance).cloned(),
                None => self.members.contains_key(&leaver.member_id).then(|| leaver.member_id.clone()),
            };
            left.push(match id {
                Some(id) if !leaver.member_id.is_empty() && leaver.member_id != id => {
                    Err(GroupError::FencedInstance)
                }
                Some(id) => {
                    self.remove(&id, desk);
                    Ok(())
                }
                None => Err(GroupError::UnknownMember),
            });
        }
        if left.iter().any(Result::is_ok) {
            self.after_departures(desk);
        }
        left
    }
}

/// What a member says about itself, on top of what it said before.
fn described(beat: ConsumerHeartbeat, before: ConsumerMemberValue) -> ConsumerMemberValue {
    let names = beat.topic_names.map(|mut names| {
        names.sort_unstable();
        names.dedup();
        names
    });
    ConsumerMemberValue {
        instance_id: beat.instance_id.or(before.instance_id),
        rack_id: beat.rack_id.or(before.rack_id),
        client_id: beat.client_id,
        client_host: beat.client_host,
        topic_names: names.unwrap_or(before.topic_names),
        topic_regex: beat.topic_regex.or(before.topic_regex),
        rebalance_timeout_ms: beat.rebalance_timeout_ms.unwrap_or(before.rebalance_timeout_ms),
        server_assignor: beat.server_assignor.or(before.server_assignor),
        classic: None,
    }
}

/// A member may be one epoch behind: the answer that told it the next one may have been lost. Then it owns no more than it has.
fn check_epoch(member: &Member, epoch: i32, owned: Option<&Partitions>) -> Result<(), GroupError> {
    if epoch == member.epoch {
        return Ok(());
    }
    let no_more = owned.is_some_and(|owned| owned.is_subset(&member.assigned));
    if epoch < member.epoch && (epoch == member.previous_epoch && no_more || is(Bug::ZombieKept)) {
        return Ok(());
    }
    Err(GroupError::FencedMemberEpoch { is: member.epoch, got: epoch })
}

fn beat_of(
    member_id: String,
    member_epoch: i32,
    assignment: Option<Vec<TopicPartitions>>,
    config: &GroupConfig,
) -> Answer {
    let interval_ms = config.consumer_heartbeat_ms;
    Answer::Beat(Beat { member_id, member_epoch, interval_ms, assignment })
}

/// A member id for clients that do not make their own: Kafka's `Uuid`, 22 characters.
pub(super) fn new_id(mut chance: [u8; 16]) -> String {
    chance[6] = chance[6] & 0x0f | 0x40;
    chance[8] = chance[8] & 0x3f | 0x80;
    crate::ids::TopicId(mem::take(&mut chance)).to_string()
}
