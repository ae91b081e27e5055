//! From one generation to the next.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Classic, Desk, Initial, Member, Parked, Phase, protocols::voted_for};
use crate::{
    group::{Answer, GroupError, WriteError, ask::Joined},
    time::Now,
};

impl<R> Classic<R> {
    /// Something has changed: a rebalance begins, or goes on.
    pub(super) fn rebalance_or_complete(&mut self, desk: &mut Desk<'_, R>) {
        match self.phase {
            Phase::Empty | Phase::Completing { .. } | Phase::Stable { .. } => self.prepare(desk),
            Phase::Preparing { .. } => self.complete_if_all_here(desk),
        }
    }

    pub(super) fn prepare(&mut self, desk: &mut Desk<'_, R>) {
        self.drop_assignments(GroupError::RebalanceInProgress, desk);
        self.note_departure(desk);
        self.somebody_left = false;
        let rebalance_ms = self.rebalance_ms();
        let was_empty = matches!(self.phase, Phase::Empty);
        self.since_ms = desk.now.wall_ms;
        if !was_empty {
            self.phase = Phase::Preparing { initial: None, deadline: desk.now.after(rebalance_ms) };
            return self.complete_if_all_here(desk);
        }
        let delay_ms = desk.config.initial_delay_ms.min(rebalance_ms);
        let initial = Initial { left_ms: rebalance_ms - delay_ms, somebody_came: false };
        self.phase = Phase::Preparing { initial: Some(initial), deadline: desk.now.after(delay_ms) };
        if delay_ms == 0 {
            self.complete(desk);
        }
    }

    /// That somebody has left, for a coordinator that comes before the next generation is safe: it would else wait for the one
    /// who has left until that session ends, and meanwhile nobody reads what was theirs. Nobody waits for this record. Between two
    /// generations that have a protocol: without one, what its members would be read back as goes with nobody.
    pub(super) fn note_departure(&self, desk: &mut Desk<'_, R>) {
        if self.somebody_left && self.generation > 0 && self.protocol.is_some() && !self.members.is_empty() {
            desk.written.push((self.record_led_by(None, desk.group), Parked::Departed));
        }
    }

    /// How long a rebalance waits: as long as the most patient member.
    pub(super) fn rebalance_ms(&self) -> u64 {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        u64::try_from(longest.unwrap_or(0)).unwrap_or(0)
    }

    /// Whoever waits for an assignment of the generation that is over hears of it.
    fn drop_assignments(&mut self, error: GroupError, desk: &mut Desk<'_, R>) {
        if !matches!(self.phase, Phase::Completing { .. }) {
            return;
        }
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(to) = member.syncing.take() {
                member.heard(desk.now);
                desk.answer(to, Err(error.clone()));
            }
        }
    }

    pub(super) fn complete_if_all_here(&mut self, desk: &mut Desk<'_, R>) {
        let Phase::Preparing { initial: None, .. } = self.phase else { return };
        if self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some()) {
            self.complete(desk);
        }
    }

    /// The delay of a new group is over: it waits on if somebody came meanwhile, within what is left.
    fn look_for_more(&mut self, initial: Initial, now: Now, delay_ms: u64) -> bool {
        if !initial.somebody_came || initial.left_ms == 0 {
            return false;
        }
        let delay_ms = delay_ms.min(initial.left_ms);
        let initial = Initial { left_ms: initial.left_ms - delay_ms, somebody_came: false };
        self.phase = Phase::Preparing { initial: Some(initial), deadline: now.after(delay_ms) };
        true
    }

    /// The join phase is over: who has come is the next generation.
    fn complete(&mut self, desk: &mut Desk<'_, R>) {
        let gone =
            |_: &String, member: &mut Member<R>| member.joining.is_none() && member.instance_id.is_none();
        let gone: Vec<_> = self.members.extract_if(.., gone).map(|(id, _)| id).collect();
        if self.leader.as_ref().is_some_and(|leader| gone.contains(leader)) {
            self.leader = None;
        }
        if !self.elect() && !self.members.is_empty() {
            // Static members that are all away: they may be back.
            let deadline = desk.now.after(self.rebalance_ms().max(1));
            self.phase = Phase::Preparing { initial: None, deadline };
            return;
        }
        self.generation = self.generation.wrapping_add(1).max(1);
        self.since_ms = desk.now.wall_ms;
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.phase = Phase::Empty;
            let record = self.record_of(desk.group);
            return desk.written.push((record, Parked::Emptied));
        }
        self.protocol = self.select_protocol();
        self.phase = Phase::Completing { deadline: desk.now.after(self.rebalance_ms()) };
        (self.is_in_log, self.is_late) = (false, false);
        let told = self.begin(desk.now);
        self.write_begun(told, desk);
    }

    /// Everybody is part of the generation; what those who wait are told of it. They are told once it is in the log: to a new
    /// coordinator that knows only the one before, all of them would be of a generation that never was, and would lose what
    /// they have read and not yet committed.
    fn begin(&mut self, now: Now) -> Vec<(R, Joined)> {
        let mut told = Vec::new();
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_new = false;
            // A static member that stays although it has not come may be silent: this is no word of it.
            if member.is_heard {
                member.heard(now);
            }
            member.owes_sync = true;
            told.extend(member.joining.take().zip(joined));
        }
        told
    }

    /// These are told of the generation once it is in the log.
    pub(super) fn write_begun(&self, told: Vec<(R, Joined)>, desk: &mut Desk<'_, R>) {
        let generation = self.generation;
        desk.written.push((self.record_led_by(None, desk.group), Parked::Begun { generation, told }));
    }

    /// Whether the generation is in the log is known. One that is not is nobody's: its members come together once more.
    pub(super) fn begun(
        &mut self,
        generation: i32,
        told: Vec<(R, Joined)>,
        result: Result<(), WriteError>,
        desk: &mut Desk<'_, R>,
    ) {
        for (to, joined) in told {
            desk.answer(to, result.map_err(GroupError::of_metadata).map(|()| Answer::Joined(joined)));
        }
        let is_on = generation == self.generation && matches!(self.phase, Phase::Completing { .. });
        match result {
            Ok(()) if is_on => self.is_in_log = true,
            Err(_) if is_on && !self.is_in_log => self.prepare(desk),
            Ok(()) | Err(_) => (),
        }
    }

    /// The leader stays if it has come, else one that has; false when nobody has.
    fn elect(&mut self) -> bool {
        let here = |member: &Member<R>| member.joining.is_some();
        let stays = self.leader.as_ref().and_then(|leader| self.members.get(leader)).is_some_and(here);
        if stays {
            return true;
        }
        let next = self.members.iter().find(|(_, member)| here(member)).map(|(id, _)| id.clone());
        if next.is_some() {
            self.leader = next;
            return true;
        }
        false
    }

    pub(super) fn select_protocol(&self) -> Option<String> {
        voted_for(self.protocols()).map(str::to_owned)
    }

    /// What each member supports.
    pub(super) fn protocols(&self) -> impl Iterator<Item = &[(String, Bytes)]> + Clone {
        self.members.values().map(|member| member.protocols.as_slice())
    }

    /// The leader has said who gets what: safe first, then given out.
    pub(super) fn assign(&mut self, assignments: Vec<(String, Bytes)>, desk: &mut Desk<'_, R>) {
        let mut assignments: BTreeMap<_, _> = assignments.into_iter().collect();
        for (id, member) in &mut self.members {
            // Whom the leader has forgotten gets nothing, which is a value of no bytes.
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        let record = self.record_of(desk.group);
        desk.written.push((record, Parked::Assigned { generation: self.generation }));
    }

    pub(super) fn assigned(
        &mut self,
        generation: i32,
        result: Result<(), WriteError>,
        desk: &mut Desk<'_, R>,
    ) {
        let Phase::Completing { deadline } = self.phase else { return };
        if generation != self.generation {
            return;
        }
        if let Err(error) = result {
            self.drop_assignments(GroupError::of_metadata(error), desk);
            return self.prepare(desk);
        }
        let owes = self.members.values().any(|member| member.owes_sync);
        self.phase = Phase::Stable { deadline: owes.then_some(deadline) };
        self.since_ms = desk.now.wall_ms;
        let (protocol_type, protocol) = (self.protocol_type.clone(), self.protocol.clone());
        for member in self.members.values_mut() {
            if let Some(to) = member.syncing.take() {
                member.heard(desk.now);
                let (protocol_type, protocol) = (protocol_type.clone(), protocol.clone());
                let assignment = member.assignment.clone();
                desk.answer(to, Ok(Answer::Synced { protocol_type, protocol, assignment }));
            }
        }
    }

    /// The assignments take longer than anybody is to wait for them: whoever does is told to come again, and so is who asks for them
    /// before they are safe. That may be never.
    pub(in crate::group) fn assigned_late(&mut self, generation: i32, desk: &mut Desk<'_, R>) {
        if generation != self.generation || !matches!(self.phase, Phase::Completing { .. }) {
            return;
        }
        self.is_late = true;
        for member in self.members.values_mut() {
            if let Some(to) = member.syncing.take() {
                member.heard(desk.now);
                desk.answer(to, Err(GroupError::NotAvailable));
            }
        }
    }

    /// What is overdue: sessions, ids nobody came with, the phase.
    pub(in crate::group) fn tick(&mut self, desk: &mut Desk<'_, R>) {
        let now = desk.now;
        self.pending.retain(|_, deadline| !deadline.is_due(now));
        let lost = |member: &&mut Member<R>| member.session.is_some_and(|deadline| deadline.is_due(now));
        let mut silent = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, member)| lost(member)) {
            if member.is_waiting() {
                member.session = None;
            } else {
                silent.push(id.clone());
            }
        }
        for id in &silent {
            self.remove(id, GroupError::UnknownMember, desk);
        }
        if silent.is_empty() {
            self.complete_if_all_here(desk);
        } else {
            self.after_departures(desk);
        }
        self.tick_phase(desk);
    }

    fn tick_phase(&mut self, desk: &mut Desk<'_, R>) {
        let now = desk.now;
        match self.phase {
            Phase::Preparing { initial, deadline } if deadline.is_due(now) => {
                let delay_ms = desk.config.initial_delay_ms;
                if !initial.is_some_and(|initial| self.look_for_more(initial, now, delay_ms)) {
                    self.complete(desk);
                }
            }
            Phase::Completing { deadline } | Phase::Stable { deadline: Some(deadline) }
                if deadline.is_due(now) =>
            {
                let late: Vec<_> = self
                    .members
                    .iter()
                    .filter(|(_, member)| member.owes_sync)
                    .map(|(id, _)| id.clone())
                    .collect();
                late.iter().for_each(|id| self.remove(id, GroupError::UnknownMember, desk));
                self.settle_sync(now, late.is_empty(), desk);
            }
            Phase::Empty | Phase::Preparing { .. } | Phase::Completing { .. } | Phase::Stable { .. } => (),
        }
    }

    fn settle_sync(&mut self, now: Now, all_here: bool, desk: &mut Desk<'_, R>) {
        match (&mut self.phase, all_here) {
            // All have asked and the leader's word is on its way into the log.
            (Phase::Completing { deadline }, true) => *deadline = now.after(60_000),
            (Phase::Stable { deadline }, true) => *deadline = None,
            _ => self.prepare(desk),
        }
    }
}
