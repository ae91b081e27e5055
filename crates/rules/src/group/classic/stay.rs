//! Staying in a group: assignments and heartbeats. And leaving it.

use super::{Classic, Desk, Phase};
use crate::{
    group::{
        Answer, GroupError, Outcome,
        ask::{Heartbeat, Leaver, Sync},
    },
    planted::{Bug, is},
    time::Now,
};

impl<R> Classic<R> {
    pub(in crate::group) fn sync(&mut self, sync: Sync, to: R, desk: &mut Desk<'_, R>) {
        if let Err(error) = self.check_sync(&sync) {
            return desk.answer(to, Err(error));
        }
        let id = sync.member_id;
        match self.phase {
            Phase::Empty => desk.answer(to, Err(GroupError::UnknownMember)),
            Phase::Preparing { .. } => desk.answer(to, Err(GroupError::RebalanceInProgress)),
            Phase::Completing { .. } => {
                let Some(member) = self.members.get_mut(&id) else { return };
                member.owes_sync = false;
                if self.is_late {
                    // What the leader said is on its way: it need not say it again.
                    member.heard(desk.now);
                    return desk.answer(to, Err(GroupError::NotAvailable));
                }
                if let Some(before) = member.syncing.replace(to) {
                    desk.answer(before, Err(GroupError::RebalanceInProgress));
                }
                if self.leader.as_ref() == Some(&id) {
                    self.assign(sync.assignments, desk);
                }
            }
            Phase::Stable { .. } => {
                let (protocol_type, protocol) = (self.protocol_type.clone(), self.protocol.clone());
                let Some(member) = self.members.get_mut(&id) else { return };
                member.owes_sync = false;
                member.heard(desk.now);
                let assignment = member.assignment.clone();
                desk.answer(to, Ok(Answer::Synced { protocol_type, protocol, assignment }));
                if self.members.values().all(|member| !member.owes_sync) {
                    self.phase = Phase::Stable { deadline: None };
                }
            }
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), GroupError> {
        self.check_member(&sync.member_id, sync.instance_id.as_deref())?;
        if sync.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && said != is;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(GroupError::InconsistentProtocol);
        }
        Ok(())
    }

    pub(in crate::group) fn heartbeat(&mut self, beat: &Heartbeat, now: Now) -> Outcome {
        self.check_member(&beat.member_id, beat.instance_id.as_deref())?;
        if beat.generation != self.generation && !is(Bug::ZombieKept) {
            return Err(GroupError::IllegalGeneration);
        }
        self.heard(&beat.member_id, now);
        match self.phase {
            Phase::Empty => Err(GroupError::UnknownMember),
            Phase::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            Phase::Completing { .. } | Phase::Stable { .. } => Ok(Answer::Alive),
        }
    }

    /// A member goes. What follows for the others follows in [`Classic::after_departures`], once for all that go.
    pub(in crate::group) fn leave(
        &mut self,
        leaver: &Leaver,
        desk: &mut Desk<'_, R>,
    ) -> Result<(), GroupError> {
        let id = match &leaver.instance_id {
            Some(instance) => {
                let current = self.instances.get(instance).ok_or(GroupError::UnknownMember)?;
                if !leaver.member_id.is_empty() && leaver.member_id != *current {
                    return Err(GroupError::FencedInstance);
                }
                current.clone()
            }
            None if self.pending.remove(&leaver.member_id).is_some() => return Ok(()),
            None if self.members.contains_key(&leaver.member_id) => leaver.member_id.clone(),
            None => return Err(GroupError::UnknownMember),
        };
        self.remove(&id, GroupError::UnknownMember, desk);
        Ok(())
    }

    pub(in crate::group) fn after_departures(&mut self, desk: &mut Desk<'_, R>) {
        match self.phase {
            Phase::Empty => (),
            Phase::Preparing { .. } => {
                self.note_departure(desk);
                self.complete_if_all_here(desk);
            }
            // A pending id alone was taken back: nobody else has to notice.
            Phase::Completing { .. } | Phase::Stable { .. } if !self.somebody_left => (),
            Phase::Completing { .. } | Phase::Stable { .. } => self.rebalance_or_complete(desk),
        }
        self.somebody_left = false;
    }

    /// Takes a member out; if it waits, it is told why.
    pub(super) fn remove(&mut self, id: &str, error: GroupError, desk: &mut Desk<'_, R>) {
        self.pending.remove(id);
        let Some(member) = self.members.remove(id) else { return };
        self.somebody_left = true;
        if let Some(instance) = &member.instance_id
            && self.instances.get(instance).is_some_and(|current| current == id)
        {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        for to in member.joining.into_iter().chain(member.syncing) {
            desk.answer(to, Err(error.clone()));
        }
    }
}
