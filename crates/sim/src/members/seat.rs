//! What every member has: a connection, what it owns and until when it may believe so, the offsets it commits, and the ghosts of
//! what it was before.

use std::collections::BTreeMap;
use std::rc::Rc;

use ottla_rules::ids::TopicId;
use ottla_wire::Message;
use ottla_wire::codes::Code;
use ottla_wire::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use ottla_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ottla_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};

use super::name_of;
use super::roster::{Before, Who};
use crate::anomaly::Anomaly;
use crate::client::Client;
use crate::plan::{GroupPlan, Protocol};
use crate::scene::{Scene, TOPIC};

const FIND_COORDINATOR: i16 = 4;
/// In this version a group that is not there is no error.
const DESCRIBE_GROUPS: i16 = 5;
const OFFSET_FETCH: i16 = 9;
/// How long a member waits for an answer that does not take long.
const PATIENCE_MS: u64 = 200;
/// How often a ghost speaks up at most.
const GHOST_WORDS: u32 = 4;

/// Why something did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// No answer.
    Unheard,
    /// This one.
    Refused(Code),
}

/// Whether an answer is a good one.
pub(super) fn good(number: i16) -> Result<(), Failed> {
    match Code::from_number(number) {
        Some(Code::None) => Ok(()),
        code => Err(Failed::Refused(code.unwrap_or(Code::UnknownServerError))),
    }
}

/// How a member shows the coordinator who it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass {
    pub(super) id: String,
    pub(super) instance: Option<String>,
    /// The generation, or the member's epoch.
    pub(super) epoch: i32,
}

impl Pass {
    /// The name under which the group knows the member from one tenure to the next.
    pub(super) fn name(&self) -> &str {
        self.instance.as_ref().unwrap_or(&self.id)
    }
}

/// What a member was before, and does not know that it is over.
#[derive(Clone, Debug)]
pub(super) struct Ghost {
    pub(super) who: Who,
    pub(super) pass: Pass,
    /// What it owned, and the offset that it committed last, if it knows.
    pub(super) owned: BTreeMap<i32, Option<i64>>,
    words: u32,
}

/// One member of one group.
pub(super) struct Seat {
    pub(super) scene: Rc<Scene>,
    pub(super) topic: TopicId,
    pub(super) group: usize,
    pub(super) who: Who,
    pub(super) plan: GroupPlan,
    pub(super) pass: Pass,
    /// What it owns, and where the group stands there, once it knows.
    pub(super) owned: BTreeMap<i32, Option<i64>>,
    /// Until then the broker has promised to wait for it.
    pub(super) until_ms: u64,
    /// When it asked first what has not been answered yet.
    pub(super) asked_since_ms: Option<u64>,
    client: Option<Client>,
    /// The coordinator that it is connected to has read its log.
    is_loaded: bool,
    ghosts: Vec<Ghost>,
}

impl Seat {
    pub(super) fn new(scene: Rc<Scene>, topic: TopicId, group: usize, number: usize) -> Self {
        let plan = scene.plan.groups[group].clone();
        let instance = plan.is_static[number].then(|| format!("static-{number}"));
        Self {
            scene,
            topic,
            group,
            who: Who { member: number, tenure: 1 },
            plan,
            pass: Pass { instance, ..Pass::default() },
            owned: BTreeMap::new(),
            until_ms: 0,
            asked_since_ms: None,
            client: None,
            is_loaded: false,
            ghosts: vec![],
        }
    }

    pub(super) fn group_id(&self) -> String {
        name_of(self.group)
    }

    pub(super) fn note(&self, what: std::fmt::Arguments<'_>) {
        let (group, Who { member, tenure }) = (self.group, self.who);
        self.scene.note(format_args!("member {member}.{tenure} of {group} {what}"));
    }

    /// From now on everybody behaves.
    pub(super) fn is_last_life(&self) -> bool {
        self.scene.life.get() > self.scene.plan.lives.len() as u64
    }

    /// Whether it is time for something that members should not do.
    pub(super) fn is_up_to_mischief(&self) -> bool {
        !self.is_last_life() && self.scene.luck.below(self.plan.mischief_one_in) == 0
    }

    /// Asks over the connection, which is made when there is none; it is given up when no answer comes in time.
    pub(super) async fn ask<Q: Message, A: Message>(
        &mut self,
        version: i16,
        request: &Q,
        more_ms: u64,
    ) -> Result<A, Failed> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => {
                self.is_loaded = false;
                self.connect().await?
            }
        };
        client.wait_for_ms(PATIENCE_MS + more_ms);
        let answer = client.ask(version, request).await.map_err(|_| Failed::Unheard)?;
        self.client = Some(client);
        Ok(answer)
    }

    async fn connect(&self) -> Result<Client, Failed> {
        let mut client = Client::connect(&self.scene).await.map_err(|_| Failed::Unheard)?;
        client.wait_for_ms(PATIENCE_MS);
        let coordinator_keys = vec![self.group_id()];
        let request = FindCoordinatorRequest { coordinator_keys, ..Default::default() };
        let found: FindCoordinatorResponse =
            client.ask(FIND_COORDINATOR, &request).await.map_err(|_| Failed::Unheard)?;
        good(found.coordinators[0].error_code)?;
        Ok(client)
    }

    /// That the coordinator has read its log. While it does it answers heartbeats of the classic protocol as if all were well, as
    /// Kafka does: that promises nothing.
    pub(super) async fn wait_for_load(&mut self) -> Result<(), Failed> {
        if self.client.is_some() && self.is_loaded {
            return Ok(());
        }
        let request = DescribeGroupsRequest { groups: vec![self.group_id()], ..Default::default() };
        let answer: DescribeGroupsResponse = self.ask(DESCRIBE_GROUPS, &request, 0).await?;
        good(answer.groups[0].error_code)?;
        self.is_loaded = true;
        Ok(())
    }

    pub(super) fn hang_up(&mut self) {
        self.client = None;
    }

    /// What the broker says for now is no reason for anything; what it should never say is.
    pub(super) fn judge(&self, failed: Failed) {
        let Failed::Refused(code) = failed else { return };
        match code {
            Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::KafkaStorageError
            | Code::RequestTimedOut
            | Code::RebalanceInProgress => (),
            code => {
                let text = format!("{:?} of group {} is told {code}", self.pass, self.group);
                self.scene.report(Err(Anomaly::Unavailable(text)));
            }
        }
    }

    /// The broker has said by an answer to what was asked `since_ms` that it is a member still: for so long it will wait.
    pub(super) fn heard(&mut self, since_ms: u64, waits_ms: u64) {
        self.asked_since_ms = None;
        self.until_ms = self.until_ms.max(since_ms + waits_ms);
        if self.is_over() {
            return;
        }
        for partition in self.owned.keys() {
            self.claim(*partition);
        }
    }

    /// Its time is over, as far as it knows.
    pub(super) fn is_over(&self) -> bool {
        self.scene.now_ms() >= self.until_ms
    }

    /// It is told that a partition is its own.
    pub(super) fn take(&mut self, partition: i32) {
        self.claim(partition);
        self.owned.insert(partition, None);
    }

    fn claim(&self, partition: i32) {
        let now_ms = self.scene.now_ms();
        let right =
            self.scene.roster.borrow_mut().owns(self.group, partition, self.who, self.until_ms, now_ms);
        self.scene.report(right);
    }

    /// It was told all that it owns.
    pub(super) fn told(&self, generation: i32) {
        self.scene.roster.borrow_mut().told(self.group, self.pass.name(), self.who, generation);
    }

    pub(super) fn let_go(&mut self, partition: i32) {
        self.owned.remove(&partition);
        self.scene.roster.borrow_mut().lets_go(self.group, partition, self.who);
    }

    pub(super) fn let_go_of_all(&mut self) {
        for (partition, _) in std::mem::take(&mut self.owned) {
            self.scene.roster.borrow_mut().lets_go(self.group, partition, self.who);
        }
    }

    /// It is out. A part of it has not heard of that.
    pub(super) fn lose(&mut self) {
        self.note(format_args!("is out"));
        self.become_ghost();
        self.let_go_of_all();
        self.begin_anew();
    }

    /// It is gone without a word, and believed to be there until its time is over.
    pub(super) fn vanish(&mut self) {
        self.note(format_args!("vanishes"));
        self.become_ghost();
        self.owned.clear();
        self.hang_up();
        self.begin_anew();
    }

    pub(super) fn begin_anew(&mut self) {
        self.who.tenure += 1;
        self.until_ms = 0;
        self.asked_since_ms = None;
    }

    fn become_ghost(&mut self) {
        if self.pass.epoch > 0 {
            let (who, pass, owned) = (self.who, self.pass.clone(), self.owned.clone());
            self.ghosts.push(Ghost { who, pass, owned, words: GHOST_WORDS });
        }
    }

    /// A ghost that speaks up now; none in the last life.
    pub(super) fn ghost(&mut self) -> Option<Ghost> {
        if self.is_last_life() {
            self.ghosts.clear();
        }
        self.ghosts.retain(|ghost| ghost.words > 0);
        if self.ghosts.is_empty() || self.scene.luck.below(4) > 0 {
            return None;
        }
        let one = usize::try_from(self.scene.luck.below(self.ghosts.len() as u64)).unwrap_or(0);
        self.ghosts[one].words -= 1;
        Some(self.ghosts[one].clone())
    }

    /// What is known before somebody asks something.
    pub(super) fn before(&self, pass: &Pass, partition: Option<i32>) -> Before {
        self.scene.roster.borrow().before(self.group, pass.name(), partition)
    }

    /// Something was accepted from somebody.
    pub(super) fn accepted(&self, who: Who, pass: &Pass, before: Before, what: &str) {
        // An epoch of the consumer protocol is the member's alone.
        let generation = if self.plan.protocol == Protocol::Consumer { 0 } else { pass.epoch };
        let right = self.scene.roster.borrow().accepted(self.group, who, generation, before, what);
        self.scene.report(right);
    }

    /// Commits one more for something that it owns; asks first where the group stands there.
    pub(super) async fn commit_some(&mut self) -> Result<(), Failed> {
        let owned: Vec<_> = self.owned.iter().map(|(partition, stands)| (*partition, *stands)).collect();
        for (partition, stands) in owned {
            match stands {
                None => self.fetch_offset(partition).await?,
                Some(_) if self.scene.luck.below(2) == 0 => (),
                Some(stands) => {
                    let (who, pass) = (self.who, self.pass.clone());
                    // What is not answered may be done or not.
                    self.owned.insert(partition, None);
                    let result = self.commit(who, &pass, partition, stands + 1).await;
                    let is_known =
                        result.is_ok() || matches!(result, Err(Failed::Refused(code)) if is_final(code));
                    if is_known && self.owned.contains_key(&partition) {
                        let stands = if result.is_ok() { stands + 1 } else { stands };
                        self.owned.insert(partition, Some(stands));
                    }
                    result?;
                }
            }
        }
        Ok(())
    }

    /// A commit in the name of what a member is, or was.
    pub(super) async fn commit(
        &mut self,
        who: Who,
        pass: &Pass,
        partition: i32,
        offset: i64,
    ) -> Result<(), Failed> {
        let version = match self.plan.protocol {
            Protocol::Consumer => 9 + i16::try_from(self.scene.luck.below(2)).unwrap_or(0),
            Protocol::Eager | Protocol::Cooperative => 8,
        };
        let asked = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            committed_leader_epoch: -1,
            committed_metadata: None,
        };
        let topic =
            OffsetCommitRequestTopic { name: TOPIC.into(), topic_id: self.topic, partitions: vec![asked] };
        let request = OffsetCommitRequest {
            group_id: self.group_id(),
            generation_id_or_member_epoch: pass.epoch,
            member_id: pass.id.clone(),
            group_instance_id: pass.instance.clone(),
            topics: vec![topic],
            ..Default::default()
        };
        let before = self.before(pass, Some(partition));
        self.scene.roster.borrow_mut().commits(self.group, partition, offset);
        let life = self.scene.life.get();
        let answer: OffsetCommitResponse = self.ask(version, &request, 0).await?;
        good(answer.topics[0].partitions[0].error_code)?;
        self.note(format_args!("has committed {offset} for {partition}, as {who:?}"));
        self.accepted(who, pass, before, "a commit");
        self.scene.roster.borrow_mut().committed(self.group, partition, offset, life);
        Ok(())
    }

    async fn fetch_offset(&mut self, partition: i32) -> Result<(), Failed> {
        let modern = self.plan.protocol == Protocol::Consumer;
        let topic = OffsetFetchRequestTopics {
            name: TOPIC.into(),
            partition_indexes: vec![partition],
            ..Default::default()
        };
        let asked = OffsetFetchRequestGroup {
            group_id: self.group_id(),
            member_id: modern.then(|| self.pass.id.clone()),
            member_epoch: if modern { self.pass.epoch } else { -1 },
            topics: Some(vec![topic]),
        };
        let request = OffsetFetchRequest { groups: vec![asked], ..Default::default() };
        let least = self.scene.roster.borrow().least(self.group, partition);
        let answer: OffsetFetchResponse = self.ask(OFFSET_FETCH, &request, 0).await?;
        good(answer.groups[0].error_code)?;
        let told = &answer.groups[0].topics[0].partitions[0];
        good(told.error_code)?;
        let right = self.scene.roster.borrow_mut().read(self.group, partition, told.committed_offset, least);
        self.scene.report(right);
        self.owned.insert(partition, Some(told.committed_offset.max(0)));
        Ok(())
    }

    /// A ghost commits something that it had.
    pub(super) async fn commit_of(&mut self, ghost: &Ghost) -> Result<(), Failed> {
        let known: Vec<_> =
            ghost.owned.iter().filter_map(|(partition, at)| Some((*partition, (*at)?))).collect();
        if known.is_empty() {
            return Ok(());
        }
        let one = usize::try_from(self.scene.luck.below(known.len() as u64)).unwrap_or(0);
        let (partition, stands) = known[one];
        self.commit(ghost.who, &ghost.pass, partition, stands + 1).await?;
        for ghost in &mut self.ghosts {
            // What comes next would else be a commit of the same offset, or an earlier one.
            ghost.owned.insert(partition, None);
        }
        Ok(())
    }
}

/// After such an answer nothing was done.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::RebalanceInProgress
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::StaleMemberEpoch
            | Code::FencedInstanceId
    )
}
