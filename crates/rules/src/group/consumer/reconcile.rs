//! One member's step from what it owns to what it should own.

use super::{Consumer, Desk, Member, Partitions};
use crate::{
    ids::TopicId,
    planted::{Bug, is},
    records::MemberState,
};

impl Consumer {
    /// Moves a member as far as it can go now. `owned` is what it says it owns; none when it says that nothing has changed.
    pub(super) fn reconcile(&mut self, id: &str, owned: Option<&Partitions>, desk: &mut Desk<'_>) {
        let Some(member) = self.members.get(id) else { return };
        let keeps = |partitions: &Partitions| owned.is_none_or(|owned| !owned.is_disjoint(partitions));
        let mut next = match member.state {
            MemberState::Stable if member.epoch == self.assignment_epoch => return,
            MemberState::UnrevokedPartitions if keeps(&member.revoking) => return,
            // It has let go of what it should: on to the next epoch.
            MemberState::UnrevokedPartitions => self.step(id, member, member.epoch + 1, owned),
            MemberState::Stable | MemberState::UnreleasedPartitions => {
                self.step(id, member, member.epoch, owned)
            }
        };
        next.watch_revocation(desk.now);
        self.put(id, next, desk);
    }

    /// `epoch` is the member's as long as it has something to give up; without that it is the target's.
    fn step(&self, id: &str, member: &Member, epoch: i32, owned: Option<&Partitions>) -> Member {
        let nothing = Partitions::new();
        let target = self.target.get(id).unwrap_or(&nothing);
        let kept: Partitions = member.assigned.intersection(target).copied().collect();
        let revoking: Partitions = member.assigned.difference(target).copied().collect();
        let still_owned = owned.is_none_or(|owned| !owned.is_disjoint(&revoking));
        let mut next = Member { revoked_by: None, ..member.clone() };
        if !revoking.is_empty() && still_owned {
            next.set_epoch(epoch);
            next.state = MemberState::UnrevokedPartitions;
            next.assigned = kept;
            next.revoking = revoking;
            return next;
        }
        // What this member had is free as soon as it is put back without it; what others have is not.
        let is_free = |partition: &&(TopicId, i32)| {
            is(Bug::GivenBeforeRevoked)
                || !self.owned.contains(*partition)
                || member.assigned.contains(*partition)
                || member.revoking.contains(*partition)
        };
        let wanted: Partitions = target.difference(&kept).copied().collect();
        let free: Partitions = wanted.iter().filter(is_free).copied().collect();
        next.set_epoch(self.assignment_epoch);
        next.state =
            if free.len() == wanted.len() { MemberState::Stable } else { MemberState::UnreleasedPartitions };
        next.assigned = kept.union(&free).copied().collect();
        next.revoking = Partitions::new();
        next
    }
}

impl Member {
    fn set_epoch(&mut self, epoch: i32) {
        if epoch != self.epoch {
            self.previous_epoch = self.epoch;
            self.epoch = epoch;
        }
    }
}
