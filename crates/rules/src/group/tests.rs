//! Stories of groups.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    ask::{CommitOffset, CommitOffsets, Heartbeat, Join, Joined, Leaver, Sync},
    *,
};
use crate::ids::TopicId;

/// A group with a log that it can be rebuilt from.
pub(super) struct World {
    pub(super) group: Group<&'static str>,
    pub(super) now: Now,
    pub(super) log: Vec<Entry>,
    pub(super) writing: Vec<Writing>,
    pub(super) answers: Vec<(&'static str, Outcome)>,
    /// Records stay on their way until [`World::settle`].
    pub(super) slow: bool,
}

/// One place in the log.
pub(super) enum Entry {
    /// In whose transaction.
    Record(Box<GroupRecord>, Option<ProducerId>),
    /// A marker: whose, and whether it commits.
    Marker(ProducerId, bool),
}

/// Records on their way into the log.
pub(super) struct Writing {
    pub(super) ticket: u64,
    pub(super) records: Vec<GroupRecord>,
    pub(super) producer: Option<ProducerId>,
}

pub(super) fn config() -> GroupConfig {
    GroupConfig { initial_delay_ms: 0, ..GroupConfig::default() }
}

impl World {
    pub(super) fn with(config: GroupConfig) -> Self {
        Self {
            group: Group::new("g", Arc::new(config)),
            now: Now { mono_ms: 1_000_000, wall_ms: 1_000_000 },
            log: vec![],
            writing: vec![],
            answers: vec![],
            slow: false,
        }
    }

    pub(super) fn new() -> Self {
        Self::with(config())
    }

    pub(super) fn step(
        &mut self,
        step: impl FnOnce(&mut Group<&'static str>, Now, &mut Vec<Effect<&'static str>>),
    ) {
        let mut out = vec![];
        step(&mut self.group, self.now, &mut out);
        if let Members::Classic(classic) = &self.group.members {
            assert!(classic.wakes_in_time());
        }
        for effect in out {
            match effect {
                Effect::Write { ticket, records, transaction } => {
                    let producer = transaction.map(|transaction| transaction.session.producer);
                    self.writing.push(Writing { ticket, records, producer });
                }
                Effect::Answer { to, with } => self.answers.push((to, with)),
            }
        }
        if !self.slow {
            self.settle(Ok(()));
        }
    }

    pub(super) fn settle(&mut self, result: Result<(), WriteError>) {
        while !self.writing.is_empty() {
            self.settle_one(0, result);
        }
    }

    /// Those of one ticket arrive, or do not.
    pub(super) fn settle_one(&mut self, at: usize, result: Result<(), WriteError>) {
        let Writing { ticket, records, producer } = self.writing.remove(at);
        let first = Offset(self.log.len() as i64);
        if result.is_ok() {
            let entry = |record| Entry::Record(Box::new(record), producer);
            self.log.extend(records.into_iter().map(entry));
        }
        let slow = std::mem::replace(&mut self.slow, true);
        self.step(|group, now, out| group.written(ticket, result.map(|()| first), now, out));
        self.slow = slow;
    }

    /// A marker is written, and safe.
    pub(super) fn mark(&mut self, producer: ProducerId, commit: bool) {
        self.log.push(Entry::Marker(producer, commit));
        self.group.ended(producer, commit);
    }

    pub(super) fn ask(&mut self, who: &'static str, ask: Ask) {
        self.step(|group, now, out| match Group::<&str>::absent(&ask) {
            Some(with) if group.is_blank() => out.push(Effect::Answer { to: who, with }),
            _ => group.ask(ask, who, now, out),
        });
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = Now { mono_ms: self.now.mono_ms + ms, wall_ms: self.now.wall_ms + ms as i64 };
        self.step(|group, now, out| group.tick(now, out));
    }

    /// The one answer that `who` has got since the last time.
    #[track_caller]
    pub(super) fn heard(&mut self, who: &str) -> Outcome {
        let at = self.answers.iter().position(|(to, _)| *to == who).unwrap_or_else(|| panic!("{who} waits"));
        self.answers.remove(at).1
    }

    pub(super) fn waits(&self, who: &str) -> bool {
        self.answers.iter().all(|(to, _)| *to != who)
    }

    #[track_caller]
    pub(super) fn joined(&mut self, who: &str) -> Joined {
        match self.heard(who) {
            Ok(Answer::Joined(joined)) => joined,
            other => panic!("{who} heard {other:?}"),
        }
    }

    #[track_caller]
    fn synced(&mut self, who: &str) -> Bytes {
        match self.heard(who) {
            Ok(Answer::Synced { assignment, .. }) => assignment,
            other => panic!("{who} heard {other:?}"),
        }
    }

    /// What a new coordinator knows.
    pub(super) fn rebuilt(&self) -> Group<&'static str> {
        let mut group = Group::new("g", self.group.given.clone());
        for (at, entry) in self.log.iter().enumerate() {
            match entry {
                Entry::Record(record, producer) => {
                    let (key, value) = record.encode();
                    let record = GroupRecord::decode(&key, value.as_deref()).unwrap().unwrap();
                    group.replay(record, Offset(at as i64), *producer);
                }
                Entry::Marker(producer, commit) => group.ended(*producer, *commit),
            }
        }
        group.loaded(self.now);
        group
    }

    pub(super) fn state(&self) -> &'static str {
        self.group.summary().map_or("Dead", |summary| summary.state)
    }

    /// A stable group of these members, the first of which leads. Answers their ids.
    pub(super) fn stable(&mut self, names: &[&'static str]) -> Vec<String> {
        let mut ids: Vec<String> = vec![];
        for name in names {
            self.ask(name, join(name));
            if ids.is_empty() {
                ids.push(self.joined(name).member_id);
                continue;
            }
            for (known, id) in names.iter().zip(ids.clone()) {
                self.ask(known, join_as(known, &id));
            }
            let rest = &names[..ids.len()];
            rest.iter().for_each(|known| drop(self.joined(known)));
            ids.push(self.joined(name).member_id);
        }
        let generation = self.group.classic_generation();
        let assignments: Vec<_> =
            ids.iter().map(|id| (id.clone(), Bytes::from(format!("for {id}")))).collect();
        for (at, (name, id)) in names.iter().zip(&ids).enumerate().rev() {
            let assignments = if at == 0 { assignments.clone() } else { vec![] };
            self.ask(name, sync(id, generation, assignments));
        }
        names.iter().for_each(|name| drop(self.synced(name)));
        assert_eq!(self.state(), "Stable");
        ids
    }
}

impl<R> Group<R> {
    pub(super) fn classic_generation(&self) -> i32 {
        match &self.members {
            members::Members::Classic(classic) => classic.generation(),
            members::Members::Consumer(_) => 0,
        }
    }
}

pub(super) fn plain_join(client: &str) -> Join {
    let mut chance = [0; 16];
    chance[..client.len()].copy_from_slice(client.as_bytes());
    Join {
        member_id: String::new(),
        instance_id: None,
        client_id: client.to_owned(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        // A subscription to the topic `t`.
        protocols: vec![("range".into(), Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"))],
        id_first: false,
        can_skip: true,
        chance,
    }
}

pub(super) fn join(client: &str) -> Ask {
    Ask::Join(plain_join(client))
}

pub(super) fn join_as(client: &str, id: &str) -> Ask {
    Ask::Join(Join { member_id: id.to_owned(), ..plain_join(client) })
}

pub(super) fn static_join(client: &str) -> Ask {
    Ask::Join(Join { instance_id: Some("i".into()), ..plain_join(client) })
}

pub(super) fn sync(id: &str, generation: i32, assignments: Vec<(String, Bytes)>) -> Ask {
    let member_id = id.to_owned();
    Ask::Sync(Sync {
        member_id,
        instance_id: None,
        generation,
        protocol_type: None,
        protocol: None,
        assignments,
    })
}

pub(super) fn heartbeat(id: &str, generation: i32) -> Ask {
    Ask::Heartbeat(Heartbeat { member_id: id.to_owned(), instance_id: None, generation })
}

pub(super) fn leave(id: &str) -> Ask {
    Ask::Leave(vec![Leaver { member_id: id.to_owned(), instance_id: None }])
}

pub(super) fn commit(id: &str, generation: i32, partition: i32, offset: i64) -> Ask {
    let one = CommitOffset {
        topic: "t".into(),
        topic_id: TopicId([1; 16]),
        partition,
        offset,
        leader_epoch: 3,
        metadata: "m".into(),
    };
    Ask::Commit(CommitOffsets {
        member_id: id.to_owned(),
        instance_id: None,
        generation,
        knows_group_errors: false,
        retention_ms: -1,
        offsets: vec![one],
        transaction: None,
    })
}

#[test]
fn a_group_lives_where_kafka_puts_it() {
    // Java's "hello".hashCode() is 99162322; that of "polygenelubricants" is the number without a positive twin.
    for (group, partition) in [("hello", 22), ("", 0), ("polygenelubricants", 0), ("ß", 23), ("a", 47)] {
        assert_eq!(partition_of(group, 50), partition, "{group}");
    }
}

#[test]
fn two_members_come_together_and_the_leader_assigns() {
    let mut world = World::new();
    world.ask("alice", join("alice"));
    let alone = world.joined("alice");
    assert_eq!((alone.generation, alone.leader == alone.member_id, alone.members.len()), (1, true, 1));
    assert!(alone.member_id.starts_with("alice-616c6963-6500-4000-8000-"), "{}", alone.member_id);

    world.ask("bob", join("bob"));
    assert!(world.waits("bob"), "alice has to come again first");
    world.ask("alice", heartbeat_of(&alone));
    assert_eq!(world.heard("alice"), Err(GroupError::RebalanceInProgress));
    world.ask("alice", join_as("alice", &alone.member_id));

    let (alice, bob) = (world.joined("alice"), world.joined("bob"));
    assert_eq!((alice.generation, bob.generation, bob.members.len(), alice.members.len()), (2, 2, 0, 2));
    assert_eq!(bob.leader, alice.member_id);
    world.ask("bob", sync(&bob.member_id, 2, vec![]));
    assert!(world.waits("bob"), "the leader has not said anything yet");
    world.ask("alice", sync(&alice.member_id, 2, vec![(bob.member_id.clone(), Bytes::from_static(b"all"))]));
    assert_eq!(world.synced("bob"), "all");
    assert_eq!(world.synced("alice"), "", "whom the leader forgot has a value of no bytes");
    assert_eq!(world.state(), "Stable");
}

fn heartbeat_of(joined: &Joined) -> Ask {
    heartbeat(&joined.member_id, joined.generation)
}

#[test]
fn an_assignment_is_given_out_once_it_is_safe() {
    let mut world = World::new();
    world.ask("alice", join("alice"));
    let id = world.joined("alice").member_id;
    world.slow = true;
    world.ask("alice", sync(&id, 1, vec![(id.clone(), Bytes::from_static(b"x"))]));
    assert!(world.waits("alice"));
    world.settle(Ok(()));
    assert_eq!(world.synced("alice"), "x");
}

#[test]
fn an_assignment_that_could_not_be_written_begins_a_new_rebalance() {
    let mut world = World::new();
    world.ask("alice", join("alice"));
    let id = world.joined("alice").member_id;
    world.slow = true;
    world.ask("alice", sync(&id, 1, vec![]));
    world.settle(Err(WriteError::NotHere));
    assert_eq!(world.heard("alice"), Err(GroupError::NotCoordinator));
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_new_coordinator_knows_the_generation_and_the_offsets() {
    let mut world = World::new();
    let ids = world.stable(&["alice", "bob"]);
    world.ask("alice", commit(&ids[0], 2, 0, 7));
    assert_eq!(world.heard("alice"), Ok(Answer::Committed(vec![None])));

    world.group = world.rebuilt();

    assert_eq!(offset_tests::committed(&world.group, 0), Some(7));
    world.ask("bob", heartbeat(&ids[1], 2));
    assert_eq!(world.heard("bob"), Ok(Answer::Alive));
    world.ask("bob", sync(&ids[1], 2, vec![]));
    assert_eq!(world.synced("bob"), format!("for {}", ids[1]));
    world.pass(10_001);
    assert_eq!(world.state(), "Empty", "sessions begin when the group is loaded, and end");
}

#[test]
fn a_new_dynamic_member_is_given_its_id_first() {
    let mut world = World::new();
    let first = Join { id_first: true, ..plain_join("alice") };
    world.ask("alice", Ask::Join(first.clone()));
    let Err(GroupError::MemberIdRequired(id)) = world.heard("alice") else { panic!() };
    world.ask("alice", Ask::Join(Join { member_id: id.clone(), ..first.clone() }));
    assert_eq!(world.joined("alice").member_id, id);

    // One that never comes with its id holds a rebalance up for as long as its session.
    world.ask("bob", Ask::Join(Join { id_first: true, ..plain_join("bob") }));
    assert!(matches!(world.heard("bob"), Err(GroupError::MemberIdRequired(_))));
    let changed = vec![("range".into(), Bytes::from_static(b"changed"))];
    let stays =
        Join { member_id: id.clone(), session_timeout_ms: 30_000, protocols: changed, ..first.clone() };
    world.ask("alice", Ask::Join(stays));
    world.pass(9_999);
    assert!(world.waits("alice"));
    world.pass(1);
    assert_eq!(world.joined("alice").generation, 2);
}

#[test]
fn a_new_group_waits_for_more_members_and_not_for_ever() {
    let mut world = World::with(GroupConfig { initial_delay_ms: 3_000, ..config() });
    world.ask("alice", join("alice"));
    world.pass(2_999);
    world.ask("bob", join("bob"));
    world.pass(1);
    assert!(world.waits("alice"), "bob came meanwhile: the delay begins again");
    world.pass(2_999);
    assert!(world.waits("alice"));
    world.pass(1);
    assert_eq!(world.joined("alice").generation, 1);
    assert_eq!(world.joined("bob").generation, 1);
}

#[test]
fn who_does_not_come_again_is_left_behind() {
    let mut world = World::new();
    let ids = world.stable(&["alice", "bob"]);
    world.ask("carol", join("carol"));
    world.ask("alice", join_as("alice", &ids[0]));
    for _ in 0..7 {
        world.pass(9_000);
        // Bob says that he lives, which is not the same as coming again.
        world.ask("bob", heartbeat(&ids[1], 2));
    }
    let (alice, carol) = (world.joined("alice"), world.joined("carol"));
    assert_eq!((alice.generation, alice.members.len(), carol.generation), (3, 2, 3));
    world.answers.clear();
    world.ask("bob", heartbeat(&ids[1], 2));
    assert_eq!(world.heard("bob"), Err(GroupError::UnknownMember));
}

#[test]
fn a_follower_that_comes_again_unchanged_disturbs_nobody() {
    let mut world = World::new();
    let ids = world.stable(&["alice", "bob"]);
    world.ask("bob", join_as("bob", &ids[1]));
    let bob = world.joined("bob");
    assert_eq!((bob.generation, bob.members.len(), world.state()), (2, 0, "Stable"));

    world.ask("alice", join_as("alice", &ids[0]));
    assert_eq!(world.state(), "PreparingRebalance", "a leader comes again because topics have changed");
}

#[test]
fn a_silent_member_is_expelled_and_the_others_rebalance() {
    let mut world = World::new();
    let ids = world.stable(&["alice", "bob"]);
    world.pass(6_000);
    world.ask("alice", heartbeat(&ids[0], 2));
    assert_eq!(world.heard("alice"), Ok(Answer::Alive));
    world.pass(4_000);
    world.ask("alice", heartbeat(&ids[0], 2));
    assert_eq!(world.heard("alice"), Err(GroupError::RebalanceInProgress));
    world.ask("alice", join_as("alice", &ids[0]));
    assert_eq!(world.joined("alice").members.len(), 1);
}

#[test]
fn who_has_left_is_not_waited_for_by_a_new_coordinator() {
    let mut world = World::new();
    let ids = world.stable(&["alice", "bob", "carol"]);
    world.ask("alice", leave(&ids[0]));
    assert_eq!(world.heard("alice"), Ok(Answer::Left(vec![Ok(())])));
    world.ask("bob", join_as("bob", &ids[1]));

    // Carol has not joined again when the coordinator is lost, and with it what bob has said.
    world.group = world.rebuilt();

    world.ask("carol", heartbeat(&ids[2], 3));
    assert_eq!(world.heard("carol"), Err(GroupError::RebalanceInProgress));
    world.ask("carol", commit(&ids[2], 3, 0, 7));
    assert_eq!(world.heard("carol"), Ok(Answer::Committed(vec![None])));
    world.ask("carol", join_as("carol", &ids[2]));
    world.ask("bob", join_as("bob", &ids[1]));
    assert_eq!((world.joined("carol").generation, world.joined("bob").generation), (4, 4));
}

#[test]
fn a_member_that_joined_and_vanished_is_expelled_after_the_rebalance_timeout() {
    let mut world = World::new();
    world.ask("alice", join("alice"));
    let id = world.joined("alice").member_id;
    for _ in 0..7 {
        world.pass(9_000);
        world.ask("alice", heartbeat(&id, 1));
    }
    world.answers.clear();
    assert_eq!(world.state(), "Empty", "it lives, but never asked for its assignment");
}

#[test]
fn a_static_member_that_restarts_disturbs_nobody_and_its_ghost_is_fenced() {
    let mut world = World::new();
    world.ask("alice", static_join("alice"));
    let before = world.joined("alice").member_id;
    assert!(before.starts_with("i-"));
    world.ask("alice", sync(&before, 1, vec![(before.clone(), Bytes::from_static(b"x"))]));
    assert_eq!(world.synced("alice"), "x");

    world.ask("again", static_join("again"));

    let again = world.joined("again");
    assert_eq!((again.generation, again.skip_assignment, world.state()), (1, true, "Stable"));
    assert_eq!(again.leader, again.member_id);
    assert_eq!(again.members.len(), 1);
    let ghost = Heartbeat { member_id: before, instance_id: Some("i".into()), generation: 1 };
    world.ask("ghost", Ask::Heartbeat(ghost));
    assert_eq!(world.heard("ghost"), Err(GroupError::FencedInstance));
    world.ask("again", sync(&again.member_id, 1, vec![]));
    assert_eq!(world.synced("again"), "x", "it has what it had");

    // The change of ids is safe: a new coordinator knows it.
    world.group = world.rebuilt();
    world.ask("again", heartbeat(&again.member_id, 1));
    assert_eq!(world.heard("again"), Ok(Answer::Alive));
}

#[test]
fn an_older_client_that_takes_over_is_not_told_to_assign() {
    let mut world = World::new();
    world.ask("alice", static_join("alice"));
    let before = world.joined("alice").member_id;
    world.ask("alice", sync(&before, 1, vec![]));
    drop(world.synced("alice"));
    let old = Join { can_skip: false, instance_id: Some("i".into()), ..plain_join("old") };
    world.ask("old", Ask::Join(old));
    let joined = world.joined("old");
    assert_eq!((joined.leader, joined.members.len(), joined.skip_assignment), (before, 0, false));
}

#[test]
fn a_static_member_is_taken_out_by_its_name() {
    let mut world = World::new();
    world.ask("alice", static_join("alice"));
    drop(world.joined("alice"));
    let by_name = |name: &str| vec![Leaver { member_id: String::new(), instance_id: Some(name.into()) }];
    world.ask("admin", Ask::Leave(by_name("nobody")));
    assert_eq!(world.heard("admin"), Ok(Answer::Left(vec![Err(GroupError::UnknownMember)])));
    world.ask("admin", Ask::Leave(by_name("i")));
    assert_eq!(world.heard("admin"), Ok(Answer::Left(vec![Ok(())])));
    assert_eq!(world.state(), "Empty");
}

#[test]
fn groups_are_for_one_purpose_and_share_a_way_of_assigning() {
    let mut world = World::new();
    let connect = Join {
        protocol_type: "connect".into(),
        protocols: vec![("sessioned".into(), Bytes::from_static(b"opaque"))],
        ..plain_join("worker")
    };
    world.ask("worker", Ask::Join(connect.clone()));
    let worker = world.joined("worker");
    assert_eq!(worker.protocol_type.as_deref(), Some("connect"));
    assert_eq!(worker.members[0].2, "opaque");
    world.ask("alice", join("alice"));
    assert_eq!(world.heard("alice"), Err(GroupError::InconsistentProtocol));
    let other = Join { protocols: vec![("eager".into(), Bytes::new())], ..connect.clone() };
    world.ask("other", Ask::Join(other));
    assert_eq!(world.heard("other"), Err(GroupError::InconsistentProtocol));
    let nothing = Join { protocols: vec![], ..connect };
    world.ask("nothing", Ask::Join(nothing));
    assert_eq!(world.heard("nothing"), Err(GroupError::InconsistentProtocol));
}

#[test]
fn a_full_group_takes_nobody_in() {
    let mut world = World::with(GroupConfig { members_max: 1, ..config() });
    let ids = world.stable(&["alice"]);
    world.ask("bob", join("bob"));
    assert_eq!(world.heard("bob"), Err(GroupError::MaxSizeReached));
    world.ask("alice", heartbeat(&ids[0], 1));
    assert_eq!(world.heard("alice"), Ok(Answer::Alive));
}

#[test]
fn what_is_not_allowed_is_refused_by_its_name() {
    let mut world = World::new();
    let short = Join { session_timeout_ms: 5_999, ..plain_join("short") };
    world.ask("short", Ask::Join(short));
    assert_eq!(world.heard("short"), Err(GroupError::SessionTimeout));
    let ids = world.stable(&["alice"]);
    let id = ids[0].as_str();
    for (ask, error) in [
        (join_as("x", "nobody"), GroupError::UnknownMember),
        (heartbeat("nobody", 1), GroupError::UnknownMember),
        (heartbeat(id, 2), GroupError::IllegalGeneration),
        (sync("nobody", 1, vec![]), GroupError::UnknownMember),
        (sync(id, 0, vec![]), GroupError::IllegalGeneration),
        (
            Ask::Sync(Sync {
                member_id: id.into(),
                instance_id: None,
                generation: 1,
                protocol_type: Some("connect".into()),
                protocol: None,
                assignments: vec![],
            }),
            GroupError::InconsistentProtocol,
        ),
        (commit("nobody", 1, 0, 1), GroupError::UnknownMember),
        (commit("", -1, 0, 1), GroupError::UnknownMember),
        (commit(id, 7, 0, 1), GroupError::IllegalGeneration),
        (Ask::Delete, GroupError::NonEmpty),
    ] {
        let text = format!("{ask:?}");
        world.ask("x", ask);
        assert_eq!(world.heard("x"), Err(error), "{text}");
    }
}
