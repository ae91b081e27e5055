//! A group with members goes over to the other protocol, and back (KIP-848).
//!
//! ```text
//!   classic --(somebody joins by the consumer protocol, the policy allows it, all others are consumers)--> consumer
//!   consumer --(nobody is left who speaks the consumer protocol, the policy allows it)--> classic, which rebalances
//! ```
//!
//! Members stay who they are. All records of a conversion are one batch: the log has the group before it or the group after it.

use std::{iter::zip, mem};

use bytes::Bytes;

use super::{
    Effect, Group, GroupError, Outcome, Parked,
    ask::ConsumerHeartbeat,
    classic::Classic,
    consumer::{self, Consumer, Member, Partitions, by_topic, classic_members},
    members::{Members, once_each},
};
use crate::{
    records::{
        ClassicMemberValue, ConsumerMemberValue, GroupRecord,
        protocol::{Assignment, Subscription},
    },
    time::{Deadline, Now},
};

/// A member of the classic protocol, as both kinds of groups know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Migrant {
    pub(super) id: String,
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// When its session ends, if it has not been heard since the log was read.
    pub(super) silent_until: Option<Deadline>,
    pub(super) protocols: Vec<(String, Bytes)>,
    /// What it said for the way of assigning that counts.
    pub(super) metadata: Bytes,
    /// What it was given.
    pub(super) assignment: Bytes,
}

impl<R> Group<R> {
    /// Somebody joins a classic group by the consumer protocol. Nothing changes unless that succeeds.
    pub(super) fn upgrade(&mut self, beat: ConsumerHeartbeat, to: R, now: Now, out: &mut Vec<Effect<R>>) {
        let mut records = Vec::new();
        let (consumer, with) = match self.upgraded(beat, now, &mut records) {
            Ok(upgraded) => upgraded,
            Err(error) => return out.push(Effect::Answer { to, with: Err(error) }),
        };
        let before = mem::replace(&mut self.members, Members::Consumer(consumer));
        if let Members::Classic(classic) = before {
            // They come again, to a group of the other kind.
            out.extend(
                classic.waiting().map(|to| Effect::Answer { to, with: Err(GroupError::RebalanceInProgress) }),
            );
        }
        self.write(once_each(records), Parked::Said { to: Some(to), with }, out);
    }

    fn upgraded(
        &self,
        beat: ConsumerHeartbeat,
        now: Now,
        records: &mut Vec<GroupRecord>,
    ) -> Result<(Consumer, Outcome), GroupError> {
        let Members::Classic(classic) = &self.members else { return Err(GroupError::Unknown) };
        let refuse = |why: &str| Err(GroupError::CannotUpgrade(why.to_owned()));
        if !self.config.upgrades {
            return refuse("online upgrade is disabled");
        }
        if !classic.is_of_consumers() {
            return refuse("the group does not use the consumer embedded protocol");
        }
        let migrants = classic.migrants();
        if migrants.len() > self.config.consumer_members_max {
            return refuse("the group size exceeds the consumer group maximum size");
        }
        records.push(GroupRecord::Group { group: self.id.clone(), value: None });
        let (config, image) = (&self.config, &self.image);
        let mut desk = consumer::Desk { group: &self.id, config, image, now, records };
        let mut consumer = Consumer::of_migrants(classic.generation(), migrants, &mut desk)?;
        let answer = consumer.heartbeat(beat, &mut desk)?;
        consumer.find_deadline();
        consumer.look_around();
        Ok((consumer, Ok(answer)))
    }

    /// A step of a consumer group is over: what was said is written, and then answered. When nobody is left who speaks the
    /// consumer protocol, the group goes back with it.
    pub(super) fn conclude(
        &mut self,
        mut records: Vec<GroupRecord>,
        parked: Parked<R>,
        now: Now,
        out: &mut Vec<Effect<R>>,
    ) {
        let rebalances = self.downgrade(&mut records, now);
        self.write(once_each(records), parked, out);
        if rebalances {
            self.in_classic(now, out, Classic::begin_rebalance);
        }
    }

    /// Whether the members have to find a new assignment among themselves.
    fn downgrade(&mut self, records: &mut Vec<GroupRecord>, now: Now) -> bool {
        let Members::Consumer(consumer) = &self.members else { return false };
        if !self.config.downgrades || !consumer.is_classic() || consumer.len() > self.config.members_max {
            return false;
        }
        let rebalances = !consumer.is_settled();
        let migrants = consumer.migrants(&self.image);
        let Some(classic) = Classic::of_migrants(consumer.assignment_epoch(), migrants, rebalances, now)
        else {
            return false;
        };
        records.extend(consumer.tombstones(&self.id));
        records.push(classic.record_of(&self.id));
        self.members = Members::Classic(classic);
        rebalances
    }
}

impl Consumer {
    /// The members of a classic group: each owns what it was given, and what it says that it still has.
    fn of_migrants(
        generation: i32,
        migrants: Vec<Migrant>,
        desk: &mut consumer::Desk<'_>,
    ) -> Result<Self, GroupError> {
        let mut said = Vec::with_capacity(migrants.len());
        // What two members claim is the first one's. An assignment counts more than what members say, which may be older: but
        // what members have not let go of yet nobody else may have.
        let mut claimed = Partitions::new();
        for migrant in &migrants {
            let malformed =
                || GroupError::CannotUpgrade("the embedded consumer protocol is malformed".to_owned());
            let subscription = Subscription::decode(&migrant.metadata).ok_or_else(malformed)?;
            let assignment = Assignment::decode(&migrant.assignment).ok_or_else(malformed)?;
            if assignment.has_user_data {
                let why = "an unsupported custom assignor is in use";
                return Err(GroupError::CannotUpgrade(why.to_owned()));
            }
            let mut assigned = classic_members::by_id(&assignment.partitions, desk.image);
            assigned.retain(|partition| claimed.insert(*partition));
            said.push((subscription, assigned));
        }
        let mut consumer = Self::at(generation);
        for (migrant, (subscription, mut assigned)) in zip(migrants, said) {
            let kept = classic_members::by_id(&subscription.owned, desk.image);
            assigned.extend(kept.into_iter().filter(|partition| claimed.insert(*partition)));
            let mut topic_names = subscription.topics;
            topic_names.sort_unstable();
            topic_names.dedup();
            let described = ConsumerMemberValue {
                instance_id: migrant.instance_id,
                rack_id: subscription.rack_id,
                client_id: migrant.client_id,
                client_host: migrant.client_host,
                topic_names,
                topic_regex: None,
                rebalance_timeout_ms: migrant.rebalance_timeout_ms,
                server_assignor: None,
                classic: Some(ClassicMemberValue {
                    session_timeout_ms: migrant.session_timeout_ms,
                    protocols: migrant.protocols,
                }),
            };
            let mut member = Member::new(described, generation, assigned);
            member.heard(desk.config, desk.now);
            if migrant.silent_until.is_some() {
                (member.session, member.is_heard) = (migrant.silent_until, false);
            }
            consumer.settle(migrant.id, member);
        }
        consumer.say_all(desk);
        Ok(consumer)
    }

    /// Everybody's record, in Kafka's order.
    fn say_all(&self, desk: &mut consumer::Desk<'_>) {
        let group = || desk.group.to_owned();
        let described = self.iter().map(|(id, member)| GroupRecord::ConsumerMember {
            group: group(),
            member: id.clone(),
            value: Some(member.described.clone()),
        });
        let targets = self.iter().map(|(id, member)| GroupRecord::TargetMember {
            group: group(),
            member: id.clone(),
            partitions: Some(by_topic(&member.assigned)),
        });
        let current = self.iter().map(|(id, member)| GroupRecord::CurrentMember {
            group: group(),
            member: id.clone(),
            value: Some(member.current()),
        });
        let epoch = Some(self.assignment_epoch());
        let records = described
            .chain([GroupRecord::ConsumerGroup { group: group(), epoch }])
            .chain(targets)
            .chain([GroupRecord::TargetEpoch { group: group(), epoch }])
            .chain(current);
        desk.records.extend(records.collect::<Vec<_>>());
    }

    /// The members, all of which speak the classic protocol. What each is giving up it still has.
    fn migrants(&self, image: &crate::cluster::Image) -> Vec<Migrant> {
        let migrants = self.iter().filter_map(|(id, member)| {
            let said = member.described.clone();
            let classic = said.classic?;
            let metadata =
                classic.protocols.first().map(|(_, metadata)| metadata.clone()).unwrap_or_default();
            let version = Subscription::decode(&metadata).map_or(0, |subscription| subscription.version);
            let has = member.assigned.union(&member.revoking).copied().collect();
            Some(Migrant {
                id: id.clone(),
                instance_id: said.instance_id,
                client_id: said.client_id,
                client_host: said.client_host,
                rebalance_timeout_ms: said.rebalance_timeout_ms,
                session_timeout_ms: classic.session_timeout_ms,
                silent_until: member.session.filter(|_| !member.is_heard),
                protocols: classic.protocols,
                metadata,
                assignment: classic_members::by_name(&has, image).encode(version),
            })
        });
        migrants.collect()
    }
}
