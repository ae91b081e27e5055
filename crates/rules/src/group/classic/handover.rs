//! The members on their way to a group of the consumer protocol, and back.

use super::{CONSUMER, Classic, Desk, Member, Phase};
use crate::{
    group::{migration::Migrant, silence::Silence},
    records::{GroupRecord, GroupValue},
    time::Now,
};

impl<R> Classic<R> {
    pub(in crate::group) fn generation(&self) -> i32 {
        self.generation
    }

    /// Whether its members are Kafka's consumers: only those can speak the other protocol.
    pub(in crate::group) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// The members as the other protocol gets them.
    pub(in crate::group) fn migrants(&self) -> Vec<Migrant> {
        let migrants = self.members.iter().map(|(id, member)| {
            // Before the first generation nothing is chosen: all say the same for each way of assigning.
            let first = member.protocols.first().map(|(name, _)| name.as_str());
            Migrant {
                id: id.clone(),
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                silent_until: member.session.filter(|_| !member.is_heard),
                protocols: member.protocols.clone(),
                metadata: member.metadata(self.protocol.as_deref().or(first)),
                assignment: member.assignment.clone(),
            }
        });
        migrants.collect()
    }

    /// Whoever waits.
    pub(in crate::group) fn waiting(self) -> impl Iterator<Item = R> {
        self.members.into_values().flat_map(|member| member.joining.into_iter().chain(member.syncing))
    }

    /// The members of a consumer group, in their last epoch; none when there is no way of assigning that all support. Who is
    /// to rebalance has no leader yet: a new coordinator that finds it so goes on with that.
    pub(in crate::group) fn of_migrants(
        generation: i32,
        migrants: Vec<Migrant>,
        rebalances: bool,
        now: Now,
    ) -> Option<Self> {
        let mut classic = Self::new();
        for migrant in migrants {
            if let Some(instance) = &migrant.instance_id {
                classic.instances.insert(instance.clone(), migrant.id.clone());
            }
            let mut member = Member {
                instance_id: migrant.instance_id,
                client_id: migrant.client_id,
                client_host: migrant.client_host,
                rebalance_timeout_ms: migrant.rebalance_timeout_ms,
                session_timeout_ms: migrant.session_timeout_ms,
                protocols: migrant.protocols,
                assignment: migrant.assignment,
                ..Member::nobody()
            };
            member.heard(now);
            if migrant.silent_until.is_some() {
                (member.session, member.is_heard) = (migrant.silent_until, false);
            }
            classic.members.insert(migrant.id, member);
        }
        classic.protocol_type = Some(CONSUMER.to_owned());
        classic.protocol = Some(classic.select_protocol()?);
        classic.generation = generation;
        classic.since_ms = now.wall_ms;
        classic.phase = Phase::Stable { deadline: None };
        classic.leader = classic.members.keys().next().filter(|_| !rebalances).cloned();
        classic.find_deadline();
        Some(classic)
    }

    /// The members that came from the other protocol find an assignment among themselves.
    pub(in crate::group) fn begin_rebalance(&mut self, desk: &mut Desk<'_, R>) {
        self.prepare(desk);
    }

    /// The group as a record.
    pub(in crate::group) fn record_of(&self, group: &str) -> GroupRecord {
        self.record_led_by(self.leader.clone(), group)
    }

    /// The same; without a leader it says that a rebalance is on.
    pub(super) fn record_led_by(&self, leader: Option<String>, group: &str) -> GroupRecord {
        let protocol = self.protocol.as_deref();
        let value = GroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader,
            state_timestamp: self.since_ms,
            members: self.members.iter().map(|(id, member)| member.value(id, protocol)).collect(),
        };
        GroupRecord::Group { group: group.to_owned(), value: Some(value) }
    }

    /// A new coordinator has read the log: members have their session timeouts from now on, or what is left of them.
    pub(in crate::group) fn loaded(&mut self, silence: &Silence, now: Now) {
        for (id, member) in &mut self.members {
            member.session = Some(silence.session(id, member.terms()));
            member.is_heard = false;
        }
        if !self.members.is_empty() && self.leader.is_none() {
            self.phase = Phase::Preparing { initial: None, deadline: now.after(self.rebalance_ms()) };
        }
        self.find_deadline();
    }
}
