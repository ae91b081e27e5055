//! A member of the classic protocol: it joins, the leader says who gets what, heartbeats say whether that still holds.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_wire::codes::Code;
use ottla_wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ottla_wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ottla_wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use ottla_wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

use super::seat::{Failed, Ghost, Pass, Seat, good};
use super::words::{assigned_in, assignment, owned_in, subscription};
use crate::plan::{BEAT_MS, Protocol};

const JOIN: i16 = 9;
const SYNC: i16 = 5;
const HEARTBEAT: i16 = 4;
const LEAVE: i16 = 5;
/// More than a rebalance of the plan and the delay of the first one take.
const JOIN_MS_MAX: u64 = 700;

struct Classic {
    seat: Seat,
    /// It has to join, again or for the first time.
    is_apart: bool,
}

pub(super) async fn live(seat: Seat) {
    let mut member = Classic { seat, is_apart: true };
    loop {
        if let Err(failed) = member.step().await {
            member.seat.note(format_args!("fails: {failed:?}"));
            member.fail(failed);
        }
        member.haunt().await;
        if member.seat.is_up_to_mischief() {
            member.mischief().await;
        }
        member.seat.scene.rest(BEAT_MS).await;
    }
}

impl Classic {
    async fn step(&mut self) -> Result<(), Failed> {
        while self.is_apart {
            let assignments = self.join().await?;
            self.sync(assignments).await?;
        }
        if self.seat.scene.luck.below(4) == 0 {
            self.seat.commit_some().await?;
        }
        self.beat().await?;
        self.seat.commit_some().await
    }

    fn fail(&mut self, failed: Failed) {
        match failed {
            // It goes on with what it has; whether it may, the next heartbeat says.
            Failed::Unheard => (),
            Failed::Refused(Code::RebalanceInProgress) => self.is_apart = true,
            Failed::Refused(Code::MemberIdRequired) => (),
            Failed::Refused(Code::UnknownMemberId | Code::FencedInstanceId) => {
                self.seat.lose();
                self.forget_id();
            }
            Failed::Refused(Code::IllegalGeneration) => {
                self.seat.lose();
                self.is_apart = true;
            }
            failed @ Failed::Refused(_) => self.seat.judge(failed),
        }
    }

    fn forget_id(&mut self) {
        self.seat.pass = Pass { id: String::new(), epoch: 0, instance: self.seat.pass.instance.clone() };
        self.is_apart = true;
    }

    fn is_eager(&self) -> bool {
        self.seat.plan.protocol == Protocol::Eager
    }

    fn protocol(&self) -> &'static str {
        if self.is_eager() { "range" } else { "cooperative-sticky" }
    }

    /// For so long the broker waits at least for a member that was there: for a word of it, and in a rebalance.
    fn waits_ms(&self) -> u64 {
        self.seat.plan.session_ms.min(self.seat.plan.rebalance_ms)
    }

    /// Joins; the assignments if it is the leader.
    async fn join(&mut self) -> Result<Vec<SyncGroupRequestAssignment>, Failed> {
        if self.is_eager() || self.seat.is_over() {
            self.seat.let_go_of_all();
        }
        if self.seat.pass.id.is_empty() {
            self.seat.scene.roster.borrow_mut().succeeds(self.seat.group, self.seat.who);
        }
        let time = |ms: u64| i32::try_from(ms).unwrap_or(i32::MAX);
        let metadata = subscription(self.seat.pass.epoch, self.seat.owned.keys().copied());
        let request = JoinGroupRequest {
            group_id: self.seat.group_id(),
            session_timeout_ms: time(self.seat.plan.session_ms),
            rebalance_timeout_ms: time(self.seat.plan.rebalance_ms),
            member_id: self.seat.pass.id.clone(),
            group_instance_id: self.seat.pass.instance.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol { name: self.protocol().into(), metadata }],
            reason: None,
        };
        // The same generation may be told twice, and the broker counts from the first time.
        let since_ms = *self.seat.asked_since_ms.get_or_insert(self.seat.scene.now_ms());
        let answer: JoinGroupResponse = self.seat.ask(JOIN, &request, JOIN_MS_MAX).await?;
        if answer.error_code == Code::MemberIdRequired.number() {
            self.seat.pass.id = answer.member_id;
            return Err(Failed::Refused(Code::MemberIdRequired));
        }
        good(answer.error_code)?;
        self.seat.note(format_args!("joins {}", answer.generation_id));
        self.seat.pass.id = answer.member_id;
        self.seat.pass.epoch = answer.generation_id;
        self.seat.heard(since_ms, self.waits_ms());
        let members = answer.members.into_iter().map(|it| (it.member_id, owned_in(it.metadata)));
        if answer.leader != self.seat.pass.id || answer.skip_assignment {
            return Ok(vec![]);
        }
        Ok(self.assign(members.collect()))
    }

    /// Everybody keeps what it has as far as it goes round; what somebody else still has is given to nobody.
    fn assign(&self, members: BTreeMap<String, Vec<i32>>) -> Vec<SyncGroupRequestAssignment> {
        let partitions = i32::try_from(self.seat.scene.plan.partitions).unwrap_or(0);
        let mut free: Vec<i32> = (0..partitions).collect();
        let mut shares: Vec<_> = members.iter().map(|(id, owned)| (id, owned, Vec::<i32>::new())).collect();
        shares.sort_by_key(|(_, owned, _)| std::cmp::Reverse(owned.len()));
        let (most, mut extra) = (free.len() / shares.len().max(1), free.len() % shares.len().max(1));
        for (_, owned, share) in &mut shares {
            let room = most + usize::from(extra > 0);
            share.extend(owned.iter().copied().filter(|index| free.contains(index)).take(room));
            free.retain(|index| !share.contains(index));
            extra -= usize::from(share.len() > most);
        }
        for (_, _, share) in &mut shares {
            let room = most + usize::from(extra > 0);
            let before = share.len();
            let more = free.len().min(room.saturating_sub(before));
            share.extend(free.drain(..more));
            extra -= usize::from(before <= most && share.len() > most);
        }
        let has =
            |id: &str, index: &i32| members.iter().any(|(other, has)| other != id && has.contains(index));
        let given = shares.into_iter().map(|(id, _, share)| SyncGroupRequestAssignment {
            member_id: id.clone(),
            assignment: assignment(share.into_iter().filter(|index| !has(id, index))),
        });
        given.collect()
    }

    async fn sync(&mut self, assignments: Vec<SyncGroupRequestAssignment>) -> Result<(), Failed> {
        let request = SyncGroupRequest {
            group_id: self.seat.group_id(),
            generation_id: self.seat.pass.epoch,
            member_id: self.seat.pass.id.clone(),
            group_instance_id: self.seat.pass.instance.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some(self.protocol().into()),
            assignments,
        };
        let (sent_ms, pass) = (self.seat.scene.now_ms(), self.seat.pass.clone());
        let before = self.seat.before(&pass, None);
        let answer: SyncGroupResponse = self.seat.ask(SYNC, &request, JOIN_MS_MAX).await?;
        good(answer.error_code)?;
        self.seat.accepted(self.seat.who, &pass, before, "a sync");
        self.assigned(answer.assignment, sent_ms);
        Ok(())
    }

    fn assigned(&mut self, assignment: Bytes, sent_ms: u64) {
        let should = assigned_in(assignment);
        self.seat.note(format_args!("should have {should:?} in generation {}", self.seat.pass.epoch));
        let surplus: Vec<_> =
            self.seat.owned.keys().copied().filter(|partition| !should.contains(partition)).collect();
        self.is_apart = !surplus.is_empty();
        surplus.into_iter().for_each(|partition| self.seat.let_go(partition));
        self.seat.heard(sent_ms, self.waits_ms());
        if self.seat.is_over() {
            self.seat.let_go_of_all();
            self.is_apart = true;
            return;
        }
        for partition in should {
            if !self.seat.owned.contains_key(&partition) {
                self.seat.take(partition);
            }
        }
        self.seat.told(self.seat.pass.epoch);
    }

    async fn beat(&mut self) -> Result<(), Failed> {
        let (sent_ms, pass) = (self.seat.scene.now_ms(), self.seat.pass.clone());
        self.seat.asked_since_ms.get_or_insert(sent_ms);
        let (who, waits_ms) = (self.seat.who, self.waits_ms());
        self.beat_as(who, &pass).await?;
        self.seat.heard(sent_ms, waits_ms);
        Ok(())
    }

    async fn beat_as(&mut self, who: super::roster::Who, pass: &Pass) -> Result<(), Failed> {
        let request = HeartbeatRequest {
            group_id: self.seat.group_id(),
            generation_id: pass.epoch,
            member_id: pass.id.clone(),
            group_instance_id: pass.instance.clone(),
        };
        self.seat.wait_for_load().await?;
        let before = self.seat.before(pass, None);
        let answer: HeartbeatResponse = self.seat.ask(HEARTBEAT, &request, 0).await?;
        good(answer.error_code)?;
        self.seat.accepted(who, pass, before, "a heartbeat");
        Ok(())
    }

    /// Something that members should not do, or that happens to them.
    async fn mischief(&mut self) {
        let (luck, session_ms) = (self.seat.scene.luck.clone(), self.seat.plan.session_ms);
        match luck.below(5) {
            0 => {
                self.seat.vanish();
                self.forget_id();
                self.seat.scene.rest(session_ms).await;
            }
            1 => self.leave().await,
            // The leader would have everybody join again; anybody else gets the answer that it has.
            2 => self.is_apart = true,
            _ => {
                self.seat.note(format_args!("stalls"));
                self.seat.scene.rest(session_ms * 2).await;
            }
        }
    }

    async fn leave(&mut self) {
        self.seat.note(format_args!("leaves"));
        self.seat.let_go_of_all();
        let Pass { id, instance, .. } = self.seat.pass.clone();
        if !id.is_empty() {
            let member = MemberIdentity { member_id: id, group_instance_id: instance, reason: None };
            let request = LeaveGroupRequest {
                group_id: self.seat.group_id(),
                members: vec![member],
                ..Default::default()
            };
            let _ = self.seat.ask::<_, LeaveGroupResponse>(LEAVE, &request, 0).await;
        }
        self.seat.hang_up();
        self.seat.begin_anew();
        self.forget_id();
        self.seat.scene.rest(self.seat.plan.session_ms).await;
    }

    /// Somebody who does not know that it is out speaks up.
    async fn haunt(&mut self) {
        let Some(ghost) = self.seat.ghost() else { return };
        let result = match self.seat.scene.luck.below(2) {
            0 => self.seat.commit_of(&ghost).await,
            _ => self.beat_of(&ghost).await,
        };
        self.seat.note(format_args!("was {:?}: {result:?}", ghost.who));
    }

    async fn beat_of(&mut self, ghost: &Ghost) -> Result<(), Failed> {
        self.beat_as(ghost.who, &ghost.pass).await
    }
}
