//! Clients of both protocols come, go, change their protocol, are slow and are cut off, coordinators fall: never two owners of one
//! partition, and left alone they come to rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    ask::{ConsumerHeartbeat, Heartbeat, Join, Joined, Leaver},
    consumer_tests::{beat, id_of, image, joining},
    migration_tests::{given, join, sync},
    tests::{World, config},
    *,
};
use crate::{
    cluster::Image,
    records::{
        TopicPartitions,
        protocol::{Assignment, Subscription},
    },
};

const WHO: [&str; 4] = ["ann", "ben", "cem", "dia"];
const PARTITIONS: i32 = 5;
const SESSION_MS: u64 = 45_000;

#[derive(Clone, Debug)]
enum Event {
    /// The client does what comes next for it; the answer may be lost.
    Act {
        who: usize,
        heard: bool,
    },
    /// It goes, politely or not, and comes back by the other protocol or by the same.
    Restart {
        who: usize,
        says_so: bool,
        changes: bool,
    },
    Pass(u64),
    Fall,
}

fn event() -> impl Strategy<Value = Event> {
    let who = 0..WHO.len();
    prop_oneof![
        20 => (who.clone(), prop::bool::weighted(0.95)).prop_map(|(who, heard)| Event::Act { who, heard }),
        2 => (who, prop::bool::weighted(0.7), any::<bool>())
            .prop_map(|(who, says_so, changes)| Event::Restart { who, says_so, changes }),
        1 => prop_oneof![Just(5_000), Just(20_000), Just(46_000)].prop_map(Event::Pass),
        1 => Just(Event::Fall),
    ]
}

/// Where a client of the classic protocol stands.
#[derive(Clone, Debug, Default, PartialEq)]
enum Stage {
    /// It is to join, or to join again.
    #[default]
    Out,
    /// It waits for an answer.
    Waits,
    /// It is to ask for its assignment, and to bring those of the others if it leads.
    Joined(Vec<(String, Bytes)>),
    /// It is to stop reading what it was not given again.
    LetsGo,
    Stable,
}

#[derive(Clone, Debug, Default)]
struct Client {
    speaks_classic: bool,
    id: String,
    /// The generation, or the member epoch.
    epoch: i32,
    stage: Stage,
    in_group: bool,
    reads: BTreeSet<i32>,
    told: BTreeSet<i32>,
    heard_ms: u64,
}

struct Run {
    world: World,
    clients: Vec<Client>,
    image: Arc<Image>,
    /// Clients of the classic protocol let go of everything before they join.
    eager: bool,
    chance: u8,
}

fn indexes(assignment: &Assignment) -> BTreeSet<i32> {
    assignment.partitions.iter().flat_map(|(_, indexes)| indexes.iter().copied()).collect()
}

/// What a leader gives to whom: evenly, and to nobody what another still has.
fn assign(joined: &Joined) -> Vec<(String, Bytes)> {
    let most = PARTITIONS as usize / joined.members.len() + 1;
    let mut gets: BTreeMap<&str, Vec<i32>> =
        joined.members.iter().map(|(id, ..)| (id.as_str(), vec![])).collect();
    let has: Vec<(&str, Subscription)> = joined
        .members
        .iter()
        .map(|(id, _, metadata)| (id.as_str(), Subscription::decode(metadata).expect("a subscription")))
        .collect();
    let owner = |index: i32| {
        has.iter()
            .find(|(_, said)| said.owned.iter().any(|(_, list)| list.contains(&index)))
            .map(|(id, _)| *id)
    };
    for index in (0..PARTITIONS).filter(|index| owner(*index).is_some()) {
        let list = gets.get_mut(owner(index).expect("filtered")).expect("a member");
        // One more than its share it does not get again; the next round finds it free.
        if list.len() < most {
            list.push(index);
        }
    }
    for index in (0..PARTITIONS).filter(|index| owner(*index).is_none()) {
        let list = gets.values_mut().min_by_key(|list| list.len()).expect("somebody leads");
        list.push(index);
    }
    gets.into_iter().map(|(id, list)| (id.to_owned(), given(&list))).collect()
}

impl Run {
    fn happen(&mut self, event: Event) {
        match event {
            Event::Act { who, heard } => self.act(who, heard),
            Event::Restart { who, says_so, changes } => self.restart(who, says_so, changes),
            Event::Pass(ms) => {
                self.world.now.mono_ms += ms;
                self.world.now.wall_ms += ms as i64;
                self.world.step(|group, now, out| group.tick(now, out));
            }
            Event::Fall => self.fall(),
        }
        self.hear(None);
        self.look();
    }

    /// What is read from the log is what there was.
    fn fall(&mut self) {
        let mut rebuilt = self.world.rebuilt();
        rebuilt.follow(self.image.clone());
        let kind = |group: &Group<&'static str>| group.summary().map(|summary| summary.kind);
        if self.world.group.summary().is_some_and(|summary| summary.kind == CONSUMER_KIND) {
            assert_eq!(rebuilt.describe_consumer(), self.world.group.describe_consumer());
        } else {
            assert_ne!(kind(&rebuilt), Some(CONSUMER_KIND));
        }
        self.world.group = rebuilt;
        // Whoever waited has lost its connection and asks again.
        for client in self.clients.iter_mut().filter(|client| client.stage == Stage::Waits) {
            client.stage = Stage::Out;
        }
    }

    fn restart(&mut self, who: usize, says_so: bool, changes: bool) {
        let client = std::mem::take(&mut self.clients[who]);
        self.clients[who].speaks_classic = client.speaks_classic != changes;
        self.clients[who].heard_ms = self.world.now.mono_ms;
        // Whoever does not say so is a new member, and the one before is gone without a word.
        if !says_so || !client.in_group {
            return;
        }
        let ask = if client.speaks_classic {
            Ask::Leave(vec![Leaver { member_id: client.id, instance_id: None }])
        } else {
            Ask::ConsumerHeartbeat(beat(&client.id, -1, &self.image))
        };
        self.world.ask("nobody", ask);
        // A request that was waiting is answered to nobody.
        self.world.answers.retain(|(to, _)| *to != WHO[who] && *to != "nobody");
    }

    fn act(&mut self, who: usize, heard: bool) {
        let now = self.world.now.mono_ms;
        let client = &mut self.clients[who];
        let waits = client.stage == Stage::Waits;
        if !waits && now - client.heard_ms >= SESSION_MS {
            // Its session is over for itself too.
            *client = Client { speaks_classic: client.speaks_classic, heard_ms: now, ..Client::default() };
        }
        let ask = if client.speaks_classic { self.classic(who) } else { Some(self.modern(who)) };
        let Some(ask) = ask else { return };
        self.world.ask(WHO[who], ask);
        self.hear((!heard).then_some(who));
    }

    fn new_chance(&mut self) -> [u8; 16] {
        self.chance = self.chance.wrapping_add(1);
        [self.chance; 16]
    }

    fn modern(&mut self, who: usize) -> Ask {
        let chance = self.new_chance();
        let client = &mut self.clients[who];
        // It reads what it was told to, no more, before it says so.
        client.reads = client.reads.intersection(&client.told).copied().collect();
        if client.in_group {
            let partitions: Vec<i32> = client.reads.iter().copied().collect();
            let owned = vec![TopicPartitions { topic_id: id_of(1), partitions }];
            return Ask::ConsumerHeartbeat(ConsumerHeartbeat {
                owned: Some(owned),
                rebalance_timeout_ms: Some(i32::MAX),
                topic_names: Some(vec!["t1".into()]),
                ..beat(&client.id, client.epoch, &self.image)
            });
        }
        if client.id.is_empty() {
            client.id = format!("{}-{}", WHO[who], chance[0]);
        }
        Ask::ConsumerHeartbeat(ConsumerHeartbeat {
            rebalance_timeout_ms: Some(i32::MAX),
            ..joining(&client.id, &["t1"], &self.image)
        })
    }

    fn classic(&mut self, who: usize) -> Option<Ask> {
        let chance = self.new_chance();
        let (eager, client) = (self.eager, &mut self.clients[who]);
        let ask = match std::mem::replace(&mut client.stage, Stage::Waits) {
            Stage::Waits => return None,
            Stage::Out => {
                if eager {
                    client.reads.clear();
                }
                let owned: Vec<i32> = client.reads.iter().copied().collect();
                Ask::Join(Join {
                    session_timeout_ms: SESSION_MS as i32,
                    rebalance_timeout_ms: i32::MAX,
                    chance,
                    ..join(&client.id, &owned)
                })
            }
            Stage::Joined(assignments) => Ask::Sync(sync(&client.id, client.epoch, assignments)),
            Stage::LetsGo => {
                client.reads = client.told.clone();
                client.stage = Stage::Out;
                return None;
            }
            Stage::Stable => {
                client.stage = Stage::Stable;
                let (member_id, generation) = (client.id.clone(), client.epoch);
                Ask::Heartbeat(Heartbeat { member_id, instance_id: None, generation })
            }
        };
        Some(ask)
    }

    /// Everybody hears what there is to hear; what is lost on its way to one makes it ask again.
    fn hear(&mut self, deaf: Option<usize>) {
        let now = self.world.now.mono_ms;
        for (to, outcome) in std::mem::take(&mut self.world.answers) {
            let Some(who) = WHO.iter().position(|name| *name == to) else { continue };
            let client = &mut self.clients[who];
            if deaf == Some(who) {
                if client.stage == Stage::Waits {
                    client.stage = Stage::Out;
                }
                continue;
            }
            match outcome {
                Ok(answer) => client.take(answer, self.eager, now),
                Err(error) => client.refused(&error, now),
            }
        }
    }

    fn look(&self) {
        let now = self.world.now.mono_ms;
        let mut owners: BTreeSet<i32> = BTreeSet::new();
        for (name, client) in WHO.iter().zip(&self.clients) {
            // One that was silent for a whole session knows that it may have been expelled.
            if client.stage != Stage::Waits && now - client.heard_ms >= SESSION_MS {
                continue;
            }
            for index in &client.reads {
                assert!(
                    owners.insert(*index),
                    "{name} reads what another reads: {index}, {:#?}",
                    self.clients
                );
            }
        }
    }
}

impl Client {
    fn take(&mut self, answer: Answer, eager: bool, now_ms: u64) {
        self.heard_ms = now_ms;
        match answer {
            Answer::Joined(joined) => {
                let leads = joined.leader == joined.member_id && !joined.members.is_empty();
                self.stage = Stage::Joined(if leads { assign(&joined) } else { vec![] });
                self.id = joined.member_id;
                self.epoch = joined.generation;
                self.in_group = true;
            }
            Answer::Synced { assignment, .. } => {
                self.told = indexes(&Assignment::decode(&assignment).expect("an assignment"));
                let keeps_too_much = !self.reads.is_subset(&self.told);
                assert!(!eager || self.reads.is_empty(), "it let go before it joined");
                self.reads.extend(&self.told);
                self.stage = if keeps_too_much { Stage::LetsGo } else { Stage::Stable };
            }
            Answer::Beat(beat) => {
                self.in_group = true;
                self.epoch = beat.member_epoch;
                if let Some(assignment) = beat.assignment {
                    self.told = assignment.iter().flat_map(|topic| topic.partitions.clone()).collect();
                }
                self.reads.extend(&self.told);
            }
            Answer::Alive => (),
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, error: &GroupError, now_ms: u64) {
        match error {
            GroupError::RebalanceInProgress => {
                // A heartbeat prolongs its session whatever it is answered; a refused SyncGroup, as in Kafka, does not.
                if self.stage == Stage::Stable {
                    self.heard_ms = now_ms;
                }
                self.stage = Stage::Out;
            }
            GroupError::IllegalGeneration if self.speaks_classic => {
                self.reads.clear();
                self.stage = Stage::Out;
            }
            // Expelled, and the group may have gone back to the classic protocol since.
            GroupError::UnknownMember
            | GroupError::FencedMemberEpoch { .. }
            | GroupError::NotFound
            | GroupError::WrongType(_) => {
                let speaks_classic = self.speaks_classic;
                *self = Client { speaks_classic, heard_ms: now_ms, ..Client::default() };
            }
            error => panic!("{error}"),
        }
    }
}

proptest! {
    #[test]
    fn no_partition_ever_has_two_owners_whatever_they_speak(
        events in prop::collection::vec(event(), 1..160),
        speak_classic in prop::collection::vec(any::<bool>(), WHO.len()),
        eager in any::<bool>(),
    ) {
        let image = image(&[PARTITIONS]);
        let client = |speaks_classic| Client { speaks_classic, heard_ms: 1_000_000, ..Client::default() };
        let clients = speak_classic.into_iter().map(client).collect();
        let mut world = World::with(config());
        world.group.follow(image.clone());
        let mut run = Run { world, clients, image, eager, chance: 0 };
        for event in events {
            run.happen(event);
        }
        // Left alone, they come to rest: who is gone without a word is expelled, and everything has an owner.
        for _ in 0..60 {
            for who in 0..WHO.len() {
                run.happen(Event::Act { who, heard: true });
            }
            run.happen(Event::Pass(3_000));
        }
        let reads: usize = run.clients.iter().map(|client| client.reads.len()).sum();
        prop_assert_eq!(reads, PARTITIONS as usize, "{:#?}", run.clients);
        prop_assert_eq!(run.world.group.summary().unwrap().state, "Stable");
        let mixed = run.clients.iter().any(|client| !client.speaks_classic);
        prop_assert_eq!(run.world.group.summary().unwrap().kind == CONSUMER_KIND, mixed);
        run.happen(Event::Fall);
        prop_assert_eq!(run.world.group.summary().unwrap().state, "Stable");
    }
}
