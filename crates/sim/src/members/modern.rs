//! A member of the consumer protocol (KIP-848): it says by heartbeats what it owns, and is told what it should.

use std::collections::BTreeMap;

use ottla_wire::codes::Code;
use ottla_wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, OwnedTopicPartitions,
};

use super::seat::{Failed, Ghost, Pass, Seat, good};
use crate::plan::BEAT_MS;
use crate::scene::TOPIC;

const HEARTBEAT: i16 = 1;
const LEAVES: i32 = -1;
const WILL_BE_BACK: i32 = -2;

struct Modern {
    seat: Seat,
    /// Says all about itself: the first time, and whenever an answer was lost.
    says_all: bool,
    /// What it owns has changed since it said so last.
    has_changed: bool,
    /// What it is giving up, and when it will have.
    leaving: BTreeMap<i32, u64>,
    /// Since when, at the latest, the broker waits for it to give something up.
    revoking_since_ms: Option<u64>,
}

pub(super) async fn live(seat: Seat) {
    let mut member = Modern {
        seat,
        says_all: true,
        has_changed: false,
        leaving: BTreeMap::new(),
        revoking_since_ms: None,
    };
    member.begin();
    loop {
        member.give_up_what_is_due();
        let step = member.step().await;
        if let Err(failed) = step {
            member.seat.note(format_args!("fails: {failed:?}"));
            member.says_all = true;
        }
        member.haunt().await;
        if member.seat.is_up_to_mischief() {
            member.mischief().await;
        }
        member.seat.scene.rest(BEAT_MS).await;
    }
}

impl Modern {
    /// A tenure begins, under an id that the client makes.
    fn begin(&mut self) {
        let (Seat { scene, group, who, .. }, number) = (&self.seat, self.seat.scene.luck.u64());
        let id = format!("{group}-{}-{number:016x}", who.member);
        scene.note(format_args!("member {who:?} of {group} begins as {id}"));
        self.seat.pass = Pass { id, epoch: 0, instance: self.seat.pass.instance.clone() };
        self.says_all = true;
        self.leaving.clear();
        self.revoking_since_ms = None;
    }

    /// It is out, and joins again under its id.
    fn rejoin(&mut self) {
        self.seat.lose();
        self.seat.pass.epoch = 0;
        self.says_all = true;
        self.leaving.clear();
        self.revoking_since_ms = None;
    }

    async fn step(&mut self) -> Result<(), Failed> {
        // Sometimes the first that it does after a silence is to commit.
        if self.seat.scene.luck.below(4) == 0 {
            self.commit().await?;
        }
        match self.beat().await {
            Ok(()) => self.commit().await,
            Err(Failed::Refused(Code::UnknownMemberId | Code::FencedMemberEpoch))
                if self.seat.pass.epoch > 0 =>
            {
                self.rejoin();
                Ok(())
            }
            Err(Failed::Refused(Code::FencedInstanceId)) => {
                self.seat.lose();
                self.begin();
                Ok(())
            }
            // Whoever has the name is there until its session is over.
            Err(Failed::Refused(Code::UnreleasedInstanceId)) => Ok(()),
            Err(failed) => {
                self.seat.judge(failed);
                Err(failed)
            }
        }
    }

    async fn commit(&mut self) -> Result<(), Failed> {
        match self.seat.commit_some().await {
            // The next heartbeat says what has become of it.
            Err(Failed::Refused(Code::StaleMemberEpoch | Code::UnknownMemberId)) => Ok(()),
            Err(failed) => {
                self.seat.judge(failed);
                Err(failed)
            }
            Ok(()) => Ok(()),
        }
    }

    async fn beat(&mut self) -> Result<(), Failed> {
        let joins = self.seat.pass.epoch == 0;
        let says_all = self.says_all || joins;
        let says_owned = says_all || self.has_changed || self.seat.scene.luck.below(4) == 0;
        let owned: Vec<i32> = self.seat.owned.keys().copied().collect();
        let request = ConsumerGroupHeartbeatRequest {
            rebalance_timeout_ms: if says_all { self.patience_ms() } else { -1 },
            subscribed_topic_names: says_all.then(|| vec![TOPIC.into()]),
            topic_partitions: says_owned.then(|| self.owned_by(&owned)),
            ..self.request(&self.seat.pass)
        };
        let gives_nothing_up = says_owned && self.leaving.is_empty();
        let (sent_ms, pass) = (self.seat.scene.now_ms(), self.seat.pass.clone());
        let since_ms = *self.seat.asked_since_ms.get_or_insert(sent_ms);
        let before = self.seat.before(&pass, None);
        let answer: ConsumerGroupHeartbeatResponse = self.seat.ask(HEARTBEAT, &request, 0).await?;
        good(answer.error_code)?;
        self.seat.accepted(self.seat.who, &pass, before, "a heartbeat");
        (self.says_all, self.has_changed) = (false, self.has_changed && !says_owned);
        if gives_nothing_up {
            self.revoking_since_ms = None;
        }
        self.seat.pass.epoch = answer.member_epoch;
        let should = answer.assignment.map(|assignment| {
            let topics = assignment.topic_partitions.into_iter();
            topics.flat_map(|topic| topic.partitions).collect::<Vec<_>>()
        });
        self.told(should, sent_ms, since_ms);
        Ok(())
    }

    /// The broker has answered: it waits for the member, and the member knows what it should own if that has changed.
    fn told(&mut self, should: Option<Vec<i32>>, sent_ms: u64, since_ms: u64) {
        let Some(should) = should else { return self.heard(sent_ms) };
        self.seat.note(format_args!("should have {should:?} in epoch {}", self.seat.pass.epoch));
        let now_ms = self.seat.scene.now_ms();
        let surplus: Vec<_> =
            self.seat.owned.keys().copied().filter(|partition| !should.contains(partition)).collect();
        for partition in surplus {
            // It may have been told before, by an answer that it did not get.
            self.revoking_since_ms.get_or_insert(since_ms);
            let luck = &self.seat.scene.luck;
            let takes_ms =
                if luck.below(3) == 0 { luck.below(self.seat.plan.rebalance_ms * 3 / 2) } else { 0 };
            self.leaving.entry(partition).or_insert(now_ms + takes_ms);
        }
        self.heard(sent_ms);
        self.give_up_what_is_due();
        if self.seat.is_over() {
            self.says_all = true;
            return;
        }
        for partition in should {
            if !self.seat.owned.contains_key(&partition) {
                self.seat.take(partition);
                self.has_changed = true;
            }
        }
        self.seat.told(0);
    }

    fn heard(&mut self, sent_ms: u64) {
        let GroupTimes { session_ms, rebalance_ms } = self.times();
        let since_ms = (sent_ms + session_ms).min(self.revoking_since_ms.unwrap_or(sent_ms) + rebalance_ms);
        self.seat.heard(since_ms, 0);
    }

    fn give_up_what_is_due(&mut self) {
        let now_ms = self.seat.scene.now_ms();
        let due: Vec<_> = self.leaving.extract_if(.., |_, at_ms| *at_ms <= now_ms).collect();
        for (partition, _) in due {
            self.seat.let_go(partition);
            self.has_changed = true;
        }
    }

    /// Something that members should not do, or that happens to them.
    async fn mischief(&mut self) {
        let (luck, session_ms) = (self.seat.scene.luck.clone(), self.seat.plan.session_ms);
        match luck.below(4) {
            0 => {
                self.seat.vanish();
                self.begin();
                self.seat.scene.rest(session_ms).await;
            }
            1 => self.leave().await,
            _ => {
                self.seat.note(format_args!("stalls"));
                self.seat.scene.rest(session_ms * 2).await;
            }
        }
    }

    async fn leave(&mut self) {
        let stays_known = self.seat.pass.instance.is_some() && self.seat.scene.luck.below(3) > 0;
        self.seat.note(format_args!("leaves"));
        self.seat.let_go_of_all();
        let pass = Pass { epoch: if stays_known { WILL_BE_BACK } else { LEAVES }, ..self.seat.pass.clone() };
        if self.seat.pass.epoch > 0 {
            let request = self.request(&pass);
            let _ = self.seat.ask::<_, ConsumerGroupHeartbeatResponse>(HEARTBEAT, &request, 0).await;
        }
        self.seat.hang_up();
        self.seat.begin_anew();
        self.begin();
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
        let owned: Vec<i32> = ghost.owned.keys().copied().collect();
        let topic_partitions = Some(self.owned_by(&owned));
        let request = ConsumerGroupHeartbeatRequest { topic_partitions, ..self.request(&ghost.pass) };
        let before = self.seat.before(&ghost.pass, owned.first().copied());
        let answer: ConsumerGroupHeartbeatResponse = self.seat.ask(HEARTBEAT, &request, 0).await?;
        good(answer.error_code)?;
        self.seat.accepted(ghost.who, &ghost.pass, before, "a heartbeat");
        Ok(())
    }

    fn request(&self, pass: &Pass) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: self.seat.group_id(),
            member_id: pass.id.clone(),
            member_epoch: pass.epoch,
            instance_id: pass.instance.clone(),
            rebalance_timeout_ms: -1,
            ..Default::default()
        }
    }

    fn owned_by(&self, partitions: &[i32]) -> Vec<OwnedTopicPartitions> {
        if partitions.is_empty() {
            return vec![];
        }
        vec![OwnedTopicPartitions { topic_id: self.seat.topic, partitions: partitions.to_vec() }]
    }

    fn patience_ms(&self) -> i32 {
        i32::try_from(self.seat.plan.rebalance_ms).unwrap_or(i32::MAX)
    }

    fn times(&self) -> GroupTimes {
        GroupTimes { session_ms: self.seat.plan.session_ms, rebalance_ms: self.seat.plan.rebalance_ms }
    }
}

struct GroupTimes {
    session_ms: u64,
    rebalance_ms: u64,
}
