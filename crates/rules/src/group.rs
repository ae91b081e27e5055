//! One group of consumers, as its coordinator sees it.
//!
//! ```text
//!   ask --> checks, members, timers --> Write records --(in the log, safe)--> written --> the answer
//!                                   \-> Answer at once (refusals, reads, heartbeats while nothing is on its way)
//! ```
//!
//! A [`Group`] holds what the group committed ([`offsets::Offsets`]) and who is in it ([`classic`], [`consumer`]). What is to outlive
//! the node is a record first: the machine hands records out, parks the answer beside them, and gives it once
//! the records are safe. Taking over is feeding the same records to [`Group::replay`] and then calling [`Group::loaded`].
//!
//! Offsets of a transaction wait beside the committed ones until a marker has ended it ([`Group::ended`]).

pub mod ask;
pub mod classic;
mod commit;
pub mod consumer;
#[cfg(test)]
mod consumer_model;
#[cfg(test)]
mod consumer_tests;
pub mod crowd;
mod expiry;
#[cfg(test)]
mod expiry_tests;
mod late;
#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod member_tests;
mod members;
mod migration;
#[cfg(test)]
mod migration_model;
#[cfg(test)]
mod migration_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod offset_tests;
pub mod offsets;
pub mod open;
mod pending;
#[cfg(test)]
mod pending_model;
#[cfg(test)]
mod pending_tests;
mod silence;
#[cfg(test)]
mod silence_tests;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    cluster::Image,
    ids::{Offset, ProducerId},
    planted::{Bug, is},
    records::GroupRecord,
    settings::{BrokerSettings, check::items},
    time::{Deadline, Now},
    transaction::TransactionError,
};

pub use ask::{Answer, Ask, CONSUMER_KIND, GroupError, InTransaction, Outcome, Summary};
use commit::Commit;
use members::Members;
use offsets::Offsets;
use pending::Pending;
use silence::Silence;

/// What a group wants done. Effects are carried out in the order in which they are given.
#[derive(Debug, PartialEq)]
pub enum Effect<R> {
    /// Append these records to the group's partition of `__consumer_offsets`, all or none of them. Those without a
    /// transaction stand behind those of earlier tickets without one. Those of a transaction should not overtake what was handed out
    /// before without one, which may be a deletion; they may be overtaken.
    /// Reported by [`Group::written`], in the order in which they stand in the log.
    Write {
        /// What the report names.
        ticket: u64,
        /// The records.
        records: Vec<GroupRecord>,
        /// The transaction that they are part of.
        transaction: Option<InTransaction>,
    },
    /// Answer somebody.
    Answer {
        /// Whom.
        to: R,
        /// With what.
        with: Outcome,
    },
}

/// Why records are not known to be safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// Not now: too few replicas, or too slow.
    NotAvailable,
    /// Not here: the partition is led elsewhere, or its disk is gone.
    NotHere,
    /// They do not fit into a batch.
    TooLarge,
    /// The coordinator of their transaction says no, or a newer session of the producer has written.
    Refused(TransactionError),
    /// Their transaction has ended before them.
    TransactionOver,
}

/// The settings that groups follow. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// The shortest session timeout a member may ask for (`group.min.session.timeout.ms`).
    pub session_ms_min: i32,
    /// The longest (`group.max.session.timeout.ms`).
    pub session_ms_max: i32,
    /// How long a new group waits for further members (`group.initial.rebalance.delay.ms`).
    pub initial_delay_ms: u64,
    /// How many members a group may have (`group.max.size`). A further one is refused with GROUP_MAX_SIZE_REACHED.
    pub members_max: usize,
    /// How much text may go with an offset, in bytes (`offset.metadata.max.bytes`). More is refused for that partition.
    pub metadata_bytes_max: usize,
    /// After how long a silence a member of the consumer protocol is expelled (`group.consumer.session.timeout.ms`).
    pub consumer_session_ms: u64,
    /// How often such a member says that it lives (`group.consumer.heartbeat.interval.ms`).
    pub consumer_heartbeat_ms: i32,
    /// How many such members a group may have (`group.consumer.max.size`). A further one is refused with GROUP_MAX_SIZE_REACHED.
    pub consumer_members_max: usize,
    /// Whether a classic group with members becomes a consumer group when somebody joins by that protocol
    /// (`group.consumer.migration.policy`).
    pub upgrades: bool,
    /// Whether a consumer group becomes a classic one when all members that are left speak that protocol.
    pub downgrades: bool,
    /// The broker's assignors that may be used, the default first (`group.consumer.assignors`).
    pub assignors: Vec<String>,
    /// How long offsets are kept that nobody uses (`offsets.retention.minutes`).
    pub retention_ms: i64,
}

impl GroupConfig {
    /// The settings of a broker.
    #[must_use]
    pub fn of(settings: &BrokerSettings) -> Self {
        let int = |name| i32::try_from(settings.int(name)).unwrap_or(i32::MAX);
        let policy = settings.text("group.consumer.migration.policy");
        let allows = |way| policy == "bidirectional" || policy == way;
        let size = |name| usize::try_from(settings.int(name)).unwrap_or(usize::MAX);
        Self {
            session_ms_min: int("group.min.session.timeout.ms"),
            session_ms_max: int("group.max.session.timeout.ms"),
            initial_delay_ms: u64::try_from(settings.int("group.initial.rebalance.delay.ms")).unwrap_or(0),
            members_max: size("group.max.size"),
            metadata_bytes_max: size("offset.metadata.max.bytes"),
            consumer_session_ms: u64::try_from(settings.int("group.consumer.session.timeout.ms"))
                .unwrap_or(0),
            consumer_heartbeat_ms: int("group.consumer.heartbeat.interval.ms"),
            consumer_members_max: size("group.consumer.max.size"),
            upgrades: allows("upgrade"),
            downgrades: allows("downgrade"),
            assignors: items(settings.text("group.consumer.assignors")).map(str::to_owned).collect(),
            retention_ms: settings.int("offsets.retention.minutes").saturating_mul(60_000),
        }
    }

    /// The same under what was set for one group.
    #[must_use]
    fn under(&self, own: &BTreeMap<String, String>) -> Self {
        let own = |name: &str| own.get(name).and_then(|value| value.trim().parse::<i32>().ok());
        let session_ms = own("consumer.session.timeout.ms").and_then(|ms| u64::try_from(ms).ok());
        Self {
            consumer_session_ms: session_ms.unwrap_or(self.consumer_session_ms),
            consumer_heartbeat_ms: own("consumer.heartbeat.interval.ms")
                .unwrap_or(self.consumer_heartbeat_ms),
            ..self.clone()
        }
    }
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self::of(&BrokerSettings::default())
    }
}

/// The partition of `__consumer_offsets` that a group lives in, of `partitions` that there are: Kafka's
/// `abs(group.hashCode()) % partitions`, where Java's hash runs over UTF-16.
#[must_use]
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash =
        group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's `Utils.abs`: the one number without a positive twin counts as 0.
    let hash = if hash == i32::MIN { 0 } else { hash.abs() };
    hash % partitions.max(1)
}

/// One group. `R` is whom to answer.
pub struct Group<R> {
    id: String,
    /// What the broker was started with.
    given: Arc<GroupConfig>,
    /// What counts: that, under what was set for the group.
    config: Arc<GroupConfig>,
    own: Arc<BTreeMap<String, String>>,
    /// What the cluster knew when the group last did something.
    image: Arc<Image>,
    offsets: Offsets,
    /// Offsets of transactions that have not ended.
    pending: Pending,
    /// Something was committed, and the group has not ended since. Without offsets it stays until the next look for old
    /// ones, as in Kafka.
    was_used: bool,
    members: Members<R>,
    silence: Silence,
    /// Written and not yet known to be safe, in the order of tickets.
    parked: VecDeque<(u64, Parked<R>)>,
    next_ticket: u64,
    /// Of what is parked, what was said last about members.
    last_said: Option<u64>,
    /// Of what is parked, what nobody waits for any longer.
    late: Vec<u64>,
    /// When offsets are looked at again that could not be taken back.
    expire_at: Option<Deadline>,
    /// Answers that need no record, and the ticket behind which they are given: they may tell of what it says.
    behind: Vec<(u64, R, Outcome)>,
}

/// What follows when records are safe, or are not. Nobody waits when that has taken too long.
enum Parked<R> {
    Commit {
        to: Option<R>,
        commits: Vec<Commit>,
        answer: Vec<Option<GroupError>>,
        /// Whose transaction they are part of.
        producer: Option<ProducerId>,
    },
    DeleteOffsets {
        to: Option<R>,
        doomed: Vec<(String, i32)>,
        answer: Vec<Option<GroupError>>,
    },
    /// The group itself goes, with these offsets. Nobody waits when time has ended it.
    Delete {
        to: Option<R>,
        doomed: Vec<(String, i32)>,
    },
    Expire {
        doomed: Vec<(String, i32)>,
    },
    /// A step of the consumer protocol: the answer is ready.
    Said {
        to: Option<R>,
        with: Outcome,
    },
    /// Nobody waits, and what it says has happened already.
    Quiet,
    /// Notes about silent members alone.
    Noted,
    Classic(classic::Parked<R>),
}

impl<R> Group<R> {
    /// A group that nobody has heard of.
    #[must_use]
    pub fn new(id: &str, config: Arc<GroupConfig>) -> Self {
        Self {
            id: id.to_owned(),
            given: Arc::clone(&config),
            config,
            own: Arc::default(),
            image: Arc::default(),
            offsets: Offsets::default(),
            pending: Pending::default(),
            was_used: false,
            members: Members::new(),
            silence: Silence::default(),
            parked: VecDeque::new(),
            next_ticket: 0,
            last_said: None,
            late: Vec::new(),
            expire_at: None,
            behind: Vec::new(),
        }
    }

    /// Takes in a record of this group, in the order of the log: where it stands, and whose transaction it is part of. The
    /// markers between the records go to [`Group::ended`].
    pub fn replay(&mut self, record: GroupRecord, at: Offset, producer: Option<ProducerId>) {
        match record {
            GroupRecord::Offset { value: Some(_), .. }
                if producer.is_some() && is(Bug::PendingOffsetsForgotten) => {}
            GroupRecord::Offset { partition: 0, value: Some(_), .. } if is(Bug::OffsetForgotten) => {}
            GroupRecord::Offset { topic, partition, value: Some(value), .. } => {
                self.put(producer, &topic, partition, value, at);
            }
            GroupRecord::Offset { topic, partition, value: None, .. } => {
                self.forget(&[(topic, partition)]);
            }
            GroupRecord::Silence { member, since_ms, .. } => self.silence.replay(member, since_ms),
            record => {
                let is_end = matches!(
                    record,
                    GroupRecord::Group { value: None, .. } | GroupRecord::ConsumerGroup { epoch: None, .. }
                );
                self.was_used = if is_end { !self.has_no_offsets() } else { self.was_used };
                self.members.replay(record);
            }
        }
    }

    /// A marker has ended the transaction of a producer: what it committed here counts from now on, or never.
    pub fn ended(&mut self, producer: ProducerId, commit: bool) {
        let Some(ended) = self.pending.end(producer) else { return };
        if commit {
            self.offsets.take_newer(ended);
        }
    }

    /// Follows what the cluster knows: the topics, and what was set for the group. An older image than the last changes nothing.
    pub fn follow(&mut self, image: Arc<Image>) {
        if image.version() < self.image.version() || Arc::ptr_eq(&image, &self.image) {
            return;
        }
        let own = image.group_configs(&self.id);
        self.image = image;
        if own == self.own {
            return;
        }
        self.config = Arc::new(self.given.under(&own));
        self.own = own;
    }

    /// A request, and whom to answer.
    pub fn ask(&mut self, ask: Ask, to: R, now: Now, out: &mut Vec<Effect<R>>) {
        self.tick(now, out);
        let speaker = self.speaker(&ask);
        match ask {
            Ask::Join(_) | Ask::Sync(_) | Ask::Heartbeat(_) | Ask::Leave(_) | Ask::Describe => {
                self.ask_classic(ask, to, now, out);
            }
            Ask::ConsumerHeartbeat(beat) => self.ask_consumer(beat, to, now, out),
            Ask::ConsumerDescribe => out.push(Effect::Answer { to, with: self.describe_consumer() }),
            Ask::Commit(commit) => self.commit(commit, to, now, out),
            Ask::FetchOffsets { topics, reader, stable } => {
                let allowed = self.check_reader(reader.as_ref());
                let unstable = if stable { self.unstable() } else { BTreeSet::new() };
                let with = allowed.map(|()| Answer::Offsets(self.offsets.fetch(topics, &unstable)));
                out.push(Effect::Answer { to, with });
            }
            Ask::DeleteOffsets { topics } => self.delete_offsets(topics, to, out),
            Ask::Delete => self.delete(to, out),
        }
        self.listen_to(speaker, out);
    }

    /// What a group that does not exist answers; none when the request is what makes it exist.
    #[must_use]
    pub fn absent(ask: &Ask) -> Option<Outcome> {
        match ask {
            Ask::Join(join) if join.member_id.is_empty() => None,
            Ask::Join(_) | Ask::Sync(_) | Ask::Heartbeat(_) => Some(Err(GroupError::UnknownMember)),
            Ask::Leave(members) => {
                Some(Ok(Answer::Left(members.iter().map(|_| Err(GroupError::UnknownMember)).collect())))
            }
            Ask::Commit(commit) if commit.generation < 0 => None,
            Ask::Commit(commit) if commit.knows_group_errors => Some(Err(GroupError::NotFound)),
            Ask::Commit(_) => Some(Err(GroupError::IllegalGeneration)),
            // What is wrong in itself is said before what is not there.
            Ask::ConsumerHeartbeat(beat) if beat.member_epoch == 0 || beat.member_epoch < -2 => None,
            Ask::ConsumerHeartbeat(_) | Ask::ConsumerDescribe => Some(Err(GroupError::NotFound)),
            Ask::FetchOffsets { topics, .. } => {
                Some(Ok(Answer::Offsets(Offsets::default().fetch(topics.clone(), &BTreeSet::new()))))
            }
            Ask::Describe | Ask::Delete | Ask::DeleteOffsets { .. } => Some(Err(GroupError::NotFound)),
        }
    }

    /// The records of a ticket are safe, the first of them at the offset that is told, or they are not.
    ///
    /// # Panics
    /// For a ticket that nothing was written under, or that was reported before.
    pub fn written(
        &mut self,
        ticket: u64,
        result: Result<Offset, WriteError>,
        now: Now,
        out: &mut Vec<Effect<R>>,
    ) {
        let place = self.parked.iter().position(|(parked, _)| *parked == ticket);
        let (_, parked) = place.and_then(|at| self.parked.remove(at)).expect("a ticket is reported once");
        self.silence.written(ticket, result.is_ok(), now);
        self.late.retain(|late| *late != ticket);
        match parked {
            Parked::Commit { to, commits, answer, producer } => {
                self.committed(to, producer, commits, answer, result, out);
            }
            Parked::DeleteOffsets { to, doomed, answer } => {
                let with = result.map_err(GroupError::of_commit).map(|_| {
                    self.forget(&doomed);
                    Answer::OffsetsDeleted(answer)
                });
                out.extend(to.map(|to| Effect::Answer { to, with }));
            }
            Parked::Delete { to, doomed } => {
                if result.is_ok() {
                    self.forget(&doomed);
                    self.members.forget();
                    self.was_used = !self.has_no_offsets();
                }
                let with = result.map_err(GroupError::of_metadata).map(|_| Answer::Deleted);
                out.extend(to.map(|to| Effect::Answer { to, with }));
            }
            Parked::Expire { doomed } => self.expired(&doomed, result, now),
            Parked::Said { to, with } => {
                let with = result.map_err(GroupError::of_metadata).and(with);
                out.extend(to.map(|to| Effect::Answer { to, with }));
            }
            Parked::Quiet | Parked::Noted => (),
            Parked::Classic(mut parked) if matches!(self.members, Members::Consumer(_)) => {
                // The group has gone over to the other protocol meanwhile.
                let told = |to| Effect::Answer { to, with: Err(GroupError::RebalanceInProgress) };
                out.extend(parked.take_waiting().into_iter().map(told));
            }
            Parked::Classic(parked) => {
                let result = result.map(|_| ());
                self.in_classic(now, out, |classic, desk| classic.written(parked, result, desk));
            }
        }
        self.answer_behind(ticket, result.map(|_| ()), out);
    }

    fn answer_behind(&mut self, ticket: u64, result: Result<(), WriteError>, out: &mut Vec<Effect<R>>) {
        self.last_said = self.last_said.filter(|said| *said != ticket);
        for (_, to, with) in self.behind.extract_if(.., |(after, ..)| *after == ticket) {
            out.push(Effect::Answer { to, with: result.map_err(GroupError::of_metadata).and(with) });
        }
    }

    /// What is overdue happens.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Effect<R>>) {
        if self.next_deadline().is_some_and(|deadline| deadline.is_due(now)) {
            self.tick_members(now, out);
            self.look_for_silence(now, out);
            self.expire_again(now, out);
        }
    }

    /// When [`Group::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        [self.members.next_deadline(), self.silence.next_deadline(), self.expire_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// What lists say about it; none for a group that is not there.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        (!self.is_blank()).then(|| self.members.summary())
    }

    /// Whether nothing would be lost by forgetting it: no members, nothing on its way, and no offsets, not even some that were
    /// forgotten since the last look for old ones.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        !self.was_used && self.parked.is_empty() && self.members.is_blank()
    }

    fn tombstone(&self, topic: &str, partition: i32) -> GroupRecord {
        GroupRecord::Offset { group: self.id.clone(), topic: topic.to_owned(), partition, value: None }
    }

    /// A tombstone takes back what stands before it, whoever waits for the end of a transaction included.
    fn forget(&mut self, doomed: &[(String, i32)]) {
        for (topic, partition) in doomed {
            self.offsets.remove(topic, *partition);
            self.pending.remove(topic, *partition);
        }
    }

    fn write(&mut self, records: Vec<GroupRecord>, parked: Parked<R>, out: &mut Vec<Effect<R>>) {
        self.write_in(None, records, parked, out);
    }

    fn write_in(
        &mut self,
        transaction: Option<InTransaction>,
        mut records: Vec<GroupRecord>,
        parked: Parked<R>,
        out: &mut Vec<Effect<R>>,
    ) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if !matches!(parked, Parked::Commit { .. }) {
            self.say_with(ticket, &mut records);
        }
        if matches!(parked, Parked::Said { .. } | Parked::Quiet) {
            self.last_said = Some(ticket);
        }
        self.parked.push_back((ticket, parked));
        out.push(Effect::Write { ticket, records, transaction });
    }

    /// The partitions whose offset a transaction may still change. What is on its way into the log counts: whoever was
    /// let in before a rebalance commits although others own its partitions by now, and they have to wait for that.
    fn unstable(&self) -> BTreeSet<(&str, i32)> {
        let parked = self.parked.iter().filter(|(_, parked)| is_transactional(parked));
        let parked = parked.flat_map(|(_, parked)| commits_of(parked).iter().map(Commit::place));
        self.pending.iter().chain(parked).collect()
    }

    /// The partitions whose offset is on its way into the log.
    fn parked_places(&self) -> impl Iterator<Item = (&str, i32)> {
        self.parked.iter().flat_map(|(_, parked)| commits_of(parked).iter().map(Commit::place))
    }

    fn has_no_offsets(&self) -> bool {
        self.offsets.is_empty() && self.pending.is_empty()
    }
}

fn commits_of<R>(parked: &Parked<R>) -> &[Commit] {
    match parked {
        Parked::Commit { commits, .. } => commits,
        Parked::DeleteOffsets { .. }
        | Parked::Delete { .. }
        | Parked::Expire { .. }
        | Parked::Said { .. }
        | Parked::Quiet
        | Parked::Noted
        | Parked::Classic(_) => &[],
    }
}

fn is_transactional<R>(parked: &Parked<R>) -> bool {
    matches!(parked, Parked::Commit { producer: Some(_), .. })
}
