//! Who is in a group, by which protocol; and how an empty group goes over to the other one.

use std::collections::BTreeSet;

use crate::{
    group::{
        Answer, Ask, Effect, Group, GroupConfig, GroupError, Outcome, Parked, Summary,
        ask::{CommitOffsets, ConsumerHeartbeat},
        classic::{self, Classic},
        consumer::{self, Consumer},
        offsets::ExpiryClock,
        silence::{Silence, Terms},
    },
    records::GroupRecord,
    time::{Deadline, Now},
};

/// Members of one protocol. A group that nobody has joined is a classic one, as in Kafka.
pub(super) enum Members<R> {
    Classic(Classic<R>),
    Consumer(Consumer),
}

impl<R> Members<R> {
    pub(super) fn new() -> Self {
        Self::Classic(Classic::new())
    }

    pub(super) fn replay(&mut self, record: GroupRecord) {
        match (&mut *self, record) {
            (Self::Classic(classic), GroupRecord::Group { value, .. }) => classic.replay(value),
            (Self::Consumer(_), GroupRecord::Group { value: None, .. }) => (),
            (Self::Consumer(_), GroupRecord::Group { value, .. }) => {
                let mut classic = Classic::new();
                classic.replay(value);
                *self = Self::Classic(classic);
            }
            (Self::Consumer(_), GroupRecord::ConsumerGroup { epoch: None, .. }) => *self = Self::new(),
            (Self::Consumer(consumer), record) => consumer.replay(record),
            (Self::Classic(_), GroupRecord::ConsumerGroup { epoch: Some(epoch), group }) => {
                let mut consumer = Consumer::default();
                consumer.replay(GroupRecord::ConsumerGroup { epoch: Some(epoch), group });
                *self = Self::Consumer(consumer);
            }
            // A member's records stand before the first one of its group's epoch.
            (
                Self::Classic(_),
                record @ (GroupRecord::ConsumerMember { value: Some(_), .. }
                | GroupRecord::CurrentMember { value: Some(_), .. }
                | GroupRecord::TargetMember { partitions: Some(_), .. }
                | GroupRecord::TargetEpoch { epoch: Some(_), .. }),
            ) => {
                let mut consumer = Consumer::default();
                consumer.replay(record);
                *self = Self::Consumer(consumer);
            }
            (Self::Classic(_), _) => (),
        }
    }

    pub(super) fn loaded(&mut self, config: &GroupConfig, silence: &Silence, now: Now) {
        match self {
            Self::Classic(classic) => classic.loaded(silence, now),
            Self::Consumer(consumer) => consumer.loaded(config, silence, now),
        }
    }

    /// The members that were not heard since the log was read, and their times.
    pub(super) fn unheard(&self, config: &GroupConfig) -> Vec<(&str, Terms)> {
        match self {
            Self::Classic(classic) => classic.unheard(),
            Self::Consumer(consumer) => consumer.unheard(config),
        }
    }

    /// Whether a member was heard since then; none for somebody who is no member.
    pub(super) fn was_heard(&self, id: &str) -> Option<bool> {
        match self {
            Self::Classic(classic) => classic.was_heard(id),
            Self::Consumer(consumer) => consumer.was_heard(id),
        }
    }

    /// Whether there are no members, and none on their way.
    pub(super) fn is_vacant(&self) -> bool {
        match self {
            Self::Classic(classic) => classic.is_vacant(),
            Self::Consumer(consumer) => consumer.is_vacant(),
        }
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_blank(&self) -> bool {
        match self {
            Self::Classic(classic) => classic.is_blank(),
            // Its epoch must not begin anew while its records are there.
            Self::Consumer(_) => false,
        }
    }

    pub(super) fn summary(&self) -> Summary {
        match self {
            Self::Classic(classic) => classic.summary(),
            Self::Consumer(consumer) => consumer.summary(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        match self {
            Self::Classic(classic) => classic.next_deadline(),
            Self::Consumer(consumer) => consumer.next_deadline(),
        }
    }

    pub(super) fn expiry_clock(&self) -> Option<ExpiryClock> {
        match self {
            Self::Classic(classic) => classic.expiry_clock(),
            Self::Consumer(consumer) => consumer.expiry_clock(),
        }
    }

    pub(super) fn check_commit(&mut self, asked: &CommitOffsets, now: Now) -> Result<(), GroupError> {
        match self {
            Self::Classic(classic) => classic.check_commit(asked, now),
            Self::Consumer(consumer) => consumer.check_commit(asked),
        }
    }

    /// Whether offsets of the group, which may be `is_blank` altogether, may be forgotten: which topics may not; none is all of them.
    pub(super) fn check_delete_offsets(&self, is_blank: bool) -> Result<Option<Vec<String>>, GroupError> {
        match self {
            Self::Classic(classic) => classic.check_delete_offsets(is_blank),
            Self::Consumer(consumer) => consumer.subscribed_names().map(Some).ok_or(GroupError::NotAvailable),
        }
    }

    /// What was said about the members, taken back.
    pub(super) fn tombstones(&self, group: &str) -> Vec<GroupRecord> {
        match self {
            Self::Classic(_) => vec![GroupRecord::Group { group: group.to_owned(), value: None }],
            Self::Consumer(consumer) => consumer.tombstones(group),
        }
    }

    /// The group was deleted. Who has come since that was decided stays.
    pub(super) fn forget(&mut self) {
        match self {
            Self::Classic(classic) => classic.forget(),
            Self::Consumer(consumer) if consumer.is_vacant() => *self = Self::new(),
            Self::Consumer(_) => (),
        }
    }
}

impl<R> Group<R> {
    /// A request of the classic protocol.
    pub(super) fn ask_classic(&mut self, ask: Ask, to: R, now: Now, out: &mut Vec<Effect<R>>) {
        if let (Members::Consumer(consumer), Ask::Join(_)) = (&self.members, &ask)
            && consumer.is_vacant()
        {
            // Nobody is left who speaks the other protocol.
            let records = self.members.tombstones(&self.id);
            self.members = Members::new();
            self.write(records, Parked::Quiet, out);
        }
        if let Members::Consumer(_) = &self.members {
            return self.ask_among_others(ask, to, now, out);
        }
        match ask {
            Ask::Join(join) => self.in_classic(now, out, |classic, desk| classic.join(join, to, desk)),
            Ask::Sync(sync) => self.in_classic(now, out, |classic, desk| classic.sync(sync, to, desk)),
            Ask::Heartbeat(beat) => {
                let Members::Classic(classic) = &mut self.members else { return };
                out.push(Effect::Answer { to, with: classic.heartbeat(&beat, now) });
            }
            Ask::Leave(members) => self.in_classic(now, out, |classic, desk| {
                let left = members.iter().map(|member| classic.leave(member, desk)).collect();
                classic.after_departures(desk);
                desk.answer(to, Ok(Answer::Left(left)));
            }),
            _ => {
                let is_there = self.summary().ok_or(GroupError::NotFound);
                self.in_classic(now, out, |classic, desk| {
                    desk.answer(to, is_there.map(|_| Answer::Described(classic.describe())));
                });
            }
        }
    }

    /// A request of the classic protocol to a consumer group.
    fn ask_among_others(&mut self, ask: Ask, to: R, now: Now, out: &mut Vec<Effect<R>>) {
        let mut with = Err(GroupError::Unknown);
        let records = self.in_consumer(now, |consumer, desk| {
            with = match ask {
                Ask::Join(join) => consumer.join(join, desk),
                Ask::Sync(sync) => consumer.sync(&sync, desk),
                Ask::Heartbeat(beat) => consumer.classic_heartbeat(&beat, desk),
                Ask::Leave(leavers) => Ok(Answer::Left(consumer.expel(&leavers, desk))),
                _ => Err(GroupError::WrongType("classic")),
            };
        });
        self.say(records, to, with, now, out);
    }

    /// A heartbeat of the consumer protocol.
    pub(super) fn ask_consumer(
        &mut self,
        beat: ConsumerHeartbeat,
        to: R,
        now: Now,
        out: &mut Vec<Effect<R>>,
    ) {
        self.follow(beat.image.clone());
        if let Err(error) = consumer::check(&beat, &self.config) {
            return out.push(Effect::Answer { to, with: Err(error) });
        }
        if let Members::Classic(classic) = &self.members {
            let joins = beat.member_epoch == 0;
            if joins && !classic.is_vacant() {
                return self.upgrade(beat, to, now, out);
            }
            if !joins {
                let error =
                    if self.is_blank() { GroupError::NotFound } else { GroupError::WrongType("consumer") };
                return out.push(Effect::Answer { to, with: Err(error) });
            }
            if !classic.is_blank() {
                let records = self.members.tombstones(&self.id);
                self.write(records, Parked::Quiet, out);
            }
            self.members = Members::Consumer(Consumer::default());
        }
        let away = (beat.member_epoch == consumer::AWAY).then(|| beat.member_id.clone());
        let mut with = Err(GroupError::Unknown);
        let records = self.in_consumer(now, |consumer, desk| with = consumer.heartbeat(beat, desk));
        if let Some(id) = away.filter(|_| with.is_ok()) {
            // It says itself that it will not be heard for a while.
            self.silence.note(&id, now.wall_ms);
        }
        self.say(records, to, with, now, out);
    }

    /// Answers once what was said about members, now or before, is safe. A refusal waits for nothing, as in Kafka.
    fn say(&mut self, records: Vec<GroupRecord>, to: R, with: Outcome, now: Now, out: &mut Vec<Effect<R>>) {
        if !records.is_empty() {
            return self.conclude(records, Parked::Said { to: Some(to), with }, now, out);
        }
        match self.last_said {
            Some(ticket) if with.is_ok() && self.late.contains(&ticket) => {
                out.push(Effect::Answer { to, with: Err(GroupError::NotAvailable) });
            }
            Some(ticket) if with.is_ok() => self.behind.push((ticket, to, with)),
            Some(_) | None => out.push(Effect::Answer { to, with }),
        }
    }

    pub(super) fn describe_consumer(&self) -> Outcome {
        match &self.members {
            Members::Consumer(consumer) => Ok(Answer::ConsumerDescribed(consumer.describe(&self.config))),
            Members::Classic(_) if self.is_blank() => Err(GroupError::NotFound),
            Members::Classic(_) => Err(GroupError::WrongType("consumer")),
        }
    }

    /// Whether a member that reads offsets knows what it should know.
    pub(super) fn check_reader(&self, reader: Option<&(String, i32)>) -> Result<(), GroupError> {
        match (&self.members, reader) {
            (Members::Consumer(consumer), Some((member, epoch))) => consumer.check_epoch(member, *epoch),
            (Members::Classic(_) | Members::Consumer(_), _) => Ok(()),
        }
    }

    pub(super) fn tick_members(&mut self, now: Now, out: &mut Vec<Effect<R>>) {
        match &self.members {
            Members::Classic(_) => self.in_classic(now, out, Classic::tick),
            Members::Consumer(_) => {
                let records = self.in_consumer(now, Consumer::tick);
                if !records.is_empty() {
                    self.conclude(records, Parked::Quiet, now, out);
                }
            }
        }
    }

    fn in_consumer(
        &mut self,
        now: Now,
        step: impl FnOnce(&mut Consumer, &mut consumer::Desk<'_>),
    ) -> Vec<GroupRecord> {
        let mut records = Vec::new();
        let Members::Consumer(consumer) = &mut self.members else { return records };
        let (config, image) = (&*self.config, &*self.image);
        let mut desk = consumer::Desk { group: &self.id, config, image, now, records: &mut records };
        step(consumer, &mut desk);
        // Whatever moves a member is said.
        if !records.is_empty() {
            consumer.look_around();
        }
        records
    }

    /// Steps members of the classic protocol, and parks what they have written.
    pub(super) fn in_classic(
        &mut self,
        now: Now,
        out: &mut Vec<Effect<R>>,
        step: impl FnOnce(&mut Classic<R>, &mut classic::Desk<'_, R>),
    ) {
        let mut written = Vec::new();
        let Members::Classic(classic) = &mut self.members else { return };
        let mut desk =
            classic::Desk { group: &self.id, config: &self.config, now, out, written: &mut written };
        step(classic, &mut desk);
        classic.find_deadline();
        for (record, parked) in written {
            self.write(vec![record], Parked::Classic(parked), out);
        }
    }
}

/// Of several records with one key in one step only the last says something.
pub(super) fn once_each(records: Vec<GroupRecord>) -> Vec<GroupRecord> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<_> =
        records.into_iter().rev().filter(|record| seen.insert(record.encode().0)).collect();
    kept.reverse();
    kept
}
