//! Joining: new members, members that come again, static members that take over their name.

use super::{Classic, Desk, Member, Parked, Phase, protocols::supported_by_all};
use crate::group::{
    Answer, GroupError,
    ask::{Join, Joined},
};

/// How long a new member may wait for its first generation before it counts as lost, in milliseconds (Kafka's
/// `group.new.member.join.timeout`, not a setting of brokers).
const NEW_MEMBER_MS: u64 = 300_000;

impl<R> Classic<R> {
    pub(in crate::group) fn join(&mut self, join: Join, to: R, desk: &mut Desk<'_, R>) {
        let allowed = desk.config.session_ms_min..=desk.config.session_ms_max;
        if !allowed.contains(&join.session_timeout_ms) {
            return desk.answer(to, Err(GroupError::SessionTimeout));
        }
        if !self.has_room_for(&join.member_id, desk.config.members_max) {
            self.remove(&join.member_id, GroupError::MaxSizeReached, desk);
            return desk.answer(to, Err(GroupError::MaxSizeReached));
        }
        if !self.goes_with(&join) {
            return desk.answer(to, Err(GroupError::InconsistentProtocol));
        }
        if join.member_id.is_empty() {
            return self.join_new(join, to, desk);
        }
        if self.pending.contains_key(&join.member_id) {
            let id = join.member_id.clone();
            return self.add(id, join, to, desk);
        }
        match self.check_member(&join.member_id, join.instance_id.as_deref()) {
            Ok(()) => self.join_known(join, to, desk),
            Err(error) => desk.answer(to, Err(error)),
        }
    }

    fn has_room_for(&self, member_id: &str, max: usize) -> bool {
        let known = self.members.get(member_id);
        match self.phase {
            Phase::Empty => true,
            Phase::Preparing { .. } => {
                let waiting = self.members.values().filter(|member| member.joining.is_some()).count();
                known.is_some_and(|member| member.joining.is_some()) || waiting < max
            }
            Phase::Completing { .. } | Phase::Stable { .. } => known.is_some() || self.members.len() < max,
        }
    }

    /// Whether the group is for what the member takes it for, and there is a way of assigning that all support.
    fn goes_with(&self, join: &Join) -> bool {
        if self.members.is_empty() {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(&join.protocol_type)
            && !supported_by_all(self.protocols().chain([join.protocols.as_slice()])).is_empty()
    }

    fn join_new(&mut self, join: Join, to: R, desk: &mut Desk<'_, R>) {
        let id = new_id(&join);
        if let Some(instance) = &join.instance_id {
            return match self.instances.get(instance).cloned() {
                Some(before) => self.replace(&before, id, join, to, desk),
                None => self.add(id, join, to, desk),
            };
        }
        if !join.id_first {
            return self.add(id, join, to, desk);
        }
        let patience_ms = u64::try_from(join.session_timeout_ms).unwrap_or(0);
        self.pending.insert(id.clone(), desk.now.after(patience_ms));
        desk.answer(to, Err(GroupError::MemberIdRequired(id)));
    }

    fn add(&mut self, id: String, join: Join, to: R, desk: &mut Desk<'_, R>) {
        self.pending.remove(&id);
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type);
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        if let Phase::Preparing { initial: Some(initial), .. } = &mut self.phase {
            initial.somebody_came = true;
        }
        let member = Member {
            instance_id: join.instance_id,
            client_id: join.client_id,
            client_host: join.client_host,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
            joining: Some(to),
            is_new: true,
            can_skip: join.can_skip,
            session: Some(desk.now.after(NEW_MEMBER_MS)),
            ..Member::nobody()
        };
        self.members.insert(id, member);
        self.rebalance_or_complete(desk);
    }

    fn join_known(&mut self, join: Join, to: R, desk: &mut Desk<'_, R>) {
        let id = join.member_id.clone();
        let is_leader = self.leader.as_ref() == Some(&id);
        let same = self.members.get(&id).is_some_and(|member| member.protocols == join.protocols);
        match self.phase {
            Phase::Preparing { .. } => self.rejoin(&id, join, to, desk),
            // It may not have got its answer: it gets it again.
            Phase::Completing { .. } if same => match self.joined(&id) {
                None => desk.answer(to, Err(GroupError::UnknownMember)),
                Some(joined) if self.is_in_log => desk.answer(to, Ok(Answer::Joined(joined))),
                // Nobody has been told yet, so that the assignments stand behind this record as well.
                Some(joined) => self.write_begun(vec![(to, joined)], desk),
            },
            Phase::Completing { .. } => self.rejoin(&id, join, to, desk),
            // A leader comes again because something about the topics has changed.
            Phase::Stable { .. } if is_leader || !same => self.rejoin(&id, join, to, desk),
            Phase::Stable { .. } => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.heard(desk.now);
                }
                let joined = self.joined(&id).map(|joined| Joined { members: Vec::new(), ..joined });
                desk.answer(to, joined.map(Answer::Joined).ok_or(GroupError::UnknownMember));
            }
            Phase::Empty => desk.answer(to, Err(GroupError::UnknownMember)),
        }
    }

    fn rejoin(&mut self, id: &str, join: Join, to: R, desk: &mut Desk<'_, R>) {
        self.update(id, join, to, desk);
        self.rebalance_or_complete(desk);
    }

    /// What a member that comes again says replaces what it said.
    fn update(&mut self, id: &str, join: Join, to: R, desk: &mut Desk<'_, R>) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.protocols = join.protocols;
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        member.session_timeout_ms = join.session_timeout_ms;
        member.can_skip = join.can_skip;
        let promised = member.session.filter(|_| member.is_new);
        member.heard(desk.now);
        // Whoever asks again before its first generation may wait for it as long as it was promised.
        member.session = member.session.max(promised);
        if let Some(before) = member.joining.replace(to) {
            // Of two requests of one member, the client only waits for the second.
            desk.answer(before, Err(GroupError::RebalanceInProgress));
        }
    }

    /// A static member has started anew: it takes over from the one before, which is fenced.
    fn replace(&mut self, before: &str, id: String, join: Join, to: R, desk: &mut Desk<'_, R>) {
        let Some(mut member) = self.members.remove(before) else { return };
        for old in member.joining.take().into_iter().chain(member.syncing.take()) {
            desk.answer(old, Err(GroupError::FencedInstance));
        }
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        let leader_before = self.leader.clone().unwrap_or_default();
        if leader_before == before {
            self.leader = Some(id.clone());
        }
        member.client_id.clone_from(&join.client_id);
        member.client_host.clone_from(&join.client_host);
        self.members.insert(id.clone(), member);
        match self.phase {
            Phase::Stable { .. } => {
                self.take_over_in_peace(&id, leader_before, join, to, desk);
            }
            Phase::Empty | Phase::Completing { .. } | Phase::Preparing { .. } => {
                self.rejoin(&id, join, to, desk);
            }
        }
    }

    /// Nobody else has to notice, unless another way of assigning would be chosen now.
    fn take_over_in_peace(
        &mut self,
        id: &str,
        leader_before: String,
        join: Join,
        to: R,
        desk: &mut Desk<'_, R>,
    ) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.protocols.clone_from(&join.protocols);
        if self.select_protocol() != self.protocol {
            return self.rejoin(id, join, to, desk);
        }
        let Some(member) = self.members.get_mut(id) else { return };
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        member.session_timeout_ms = join.session_timeout_ms;
        member.can_skip = join.can_skip;
        member.heard(desk.now);
        let record = self.record_of(desk.group);
        desk.written
            .push((record, Parked::Replaced { to: Some(to), member_id: id.to_owned(), leader_before }));
    }

    /// What a static member is told that has taken over and caused no rebalance.
    pub(super) fn joined_again(&self, id: &str, leader_before: String) -> Option<Joined> {
        let joined = self.joined(id)?;
        let is_leader = self.leader.as_deref() == Some(id);
        if self.members.get(id)?.can_skip {
            return Some(Joined { skip_assignment: is_leader, ..joined });
        }
        // An older client would assign when it is named as the leader: it is shown the id that it had.
        Some(Joined { leader: leader_before, members: Vec::new(), ..joined })
    }

    /// The group as it is, for one member.
    pub(super) fn joined(&self, id: &str) -> Option<Joined> {
        self.members.get(id)?;
        let protocol = self.protocol.as_deref();
        let members = self.members.iter().filter(|_| self.leader.as_deref() == Some(id));
        Some(Joined {
            member_id: id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members: members
                .map(|(id, member)| (id.clone(), member.instance_id.clone(), member.metadata(protocol)))
                .collect(),
        })
    }
}

/// What Kafka calls a new member: the client's name, or the static one, and a random UUID.
fn new_id(join: &Join) -> String {
    let mut hex = String::with_capacity(36);
    for (at, byte) in join.chance.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            hex.push('-');
        }
        let byte = match at {
            6 => byte & 0x0f | 0x40,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        hex.push_str(&format!("{byte:02x}"));
    }
    format!("{}-{hex}", join.instance_id.as_deref().unwrap_or(&join.client_id))
}
