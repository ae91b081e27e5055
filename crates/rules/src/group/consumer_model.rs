//! Members that come, go, are slow and are cut off, topics that grow, coordinators that fall: never two owners of one partition.

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use super::{
    ask::ConsumerHeartbeat,
    consumer_tests::{beat, image, joining},
    tests::{World, config},
    *,
};
use crate::{cluster::Image, ids::TopicId, records::TopicPartitions};

const WHO: [&str; 4] = ["ann", "ben", "cem", "dia"];

#[derive(Clone, Debug)]
enum Event {
    /// A heartbeat; the answer may be lost on its way.
    Beat {
        who: usize,
        heard: bool,
        both: bool,
        /// It says no more than it has to.
        brief: bool,
    },
    /// The member lets go of what it was told to.
    LetGo(usize),
    Leave(usize),
    Pass(u64),
    Grow(usize),
    Fall,
}

fn event() -> impl Strategy<Value = Event> {
    let who = 0..WHO.len();
    prop_oneof![
        12 => (who.clone(), prop::bool::weighted(0.9), any::<bool>(), any::<bool>())
            .prop_map(|(who, heard, both, brief)| Event::Beat { who, heard, both, brief }),
        8 => who.clone().prop_map(Event::LetGo),
        1 => who.prop_map(Event::Leave),
        2 => prop_oneof![Just(5_000), Just(20_000), Just(46_000)].prop_map(Event::Pass),
        1 => (0..2usize).prop_map(Event::Grow),
        1 => Just(Event::Fall),
    ]
}

/// A client as it behaves: it reads from what it was given, and stops reading before it says that it has let go.
#[derive(Clone, Default)]
struct Client {
    epoch: i32,
    joined: bool,
    reads: BTreeSet<(TopicId, i32)>,
    told: BTreeSet<(TopicId, i32)>,
    /// What it has said that it owns, and was answered.
    said: Option<BTreeSet<(TopicId, i32)>>,
    heard_ms: u64,
}

fn parts(list: &[TopicPartitions]) -> BTreeSet<(TopicId, i32)> {
    list.iter().flat_map(|it| it.partitions.iter().map(|index| (it.topic_id, *index))).collect()
}

fn topics(set: &BTreeSet<(TopicId, i32)>) -> Vec<TopicPartitions> {
    set.iter()
        .map(|(topic_id, index)| TopicPartitions { topic_id: *topic_id, partitions: vec![*index] })
        .collect()
}

struct Run {
    world: World,
    clients: Vec<Client>,
    counts: [i32; 2],
    image: Arc<Image>,
}

impl Run {
    fn happen(&mut self, event: Event) {
        match event {
            Event::Beat { who, heard, both, brief } => self.beat(who, heard, both, brief),
            Event::LetGo(who) => {
                let client = &mut self.clients[who];
                client.reads = client.reads.intersection(&client.told).copied().collect();
            }
            Event::Leave(who) if self.clients[who].joined => {
                self.clients[who] = Client::default();
                self.world.ask(WHO[who], Ask::ConsumerHeartbeat(beat(WHO[who], -1, &self.image)));
                self.world.answers.clear();
            }
            Event::Leave(_) => (),
            Event::Pass(ms) => {
                self.world.now.mono_ms += ms;
                self.world.now.wall_ms += ms as i64;
                self.world.step(|group, now, out| group.tick(now, out));
            }
            Event::Grow(topic) => {
                self.counts[topic] += 1;
                self.image = image(&self.counts);
            }
            Event::Fall => {
                self.world.group = self.world.rebuilt();
            }
        }
        self.look();
    }

    fn beat(&mut self, who: usize, heard: bool, both: bool, brief: bool) {
        let (client, name, now) = (&mut self.clients[who], WHO[who], self.world.now.mono_ms);
        // A client whose session is over for itself too reads nothing any more and joins again.
        if now - client.heard_ms >= 45_000 {
            *client = Client::default();
        }
        let says_nothing = brief && client.joined && client.said.as_ref() == Some(&client.reads);
        let asked = if says_nothing {
            beat(name, client.epoch, &self.image)
        } else if client.joined {
            ConsumerHeartbeat {
                owned: Some(topics(&client.reads)),
                rebalance_timeout_ms: Some(i32::MAX),
                topic_names: Some(vec!["t1".into(), "t2".into()]),
                ..beat(name, client.epoch, &self.image)
            }
        } else {
            ConsumerHeartbeat {
                rebalance_timeout_ms: Some(i32::MAX),
                ..joining(name, if both { &["t1", "t2"] } else { &["t1"] }, &self.image)
            }
        };
        if says_nothing {
            self.comes_to_the_same(&asked);
        }
        let client = &mut self.clients[who];
        client.said = (client.joined && heard).then(|| client.reads.clone());
        self.world.ask(name, Ask::ConsumerHeartbeat(asked));
        let (_, outcome) = self.world.answers.pop().expect("every heartbeat is answered");
        let client = &mut self.clients[who];
        match outcome {
            Ok(Answer::Beat(beat)) if heard => {
                client.heard_ms = now;
                client.joined = true;
                client.epoch = beat.member_epoch;
                if let Some(assignment) = beat.assignment {
                    client.told = parts(&assignment);
                }
                // It reads what is new at once; what it lost it reads until it has let go.
                client.reads.extend(&client.told);
            }
            Ok(_) => (),
            Err(GroupError::UnknownMember | GroupError::FencedMemberEpoch { .. } | GroupError::NotFound) => {
                *client = Client::default();
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }

    /// A heartbeat that is taken the short way does what it would have done on the long one.
    fn comes_to_the_same(&self, asked: &ConsumerHeartbeat) {
        let Members::Consumer(before) = &self.world.group.members else { return };
        let (now, config) = (self.world.now, &*self.world.group.config);
        let (mut short, mut long) = (before.clone(), before.clone());
        let (mut none, mut records) = (vec![], vec![]);
        let desk = |records| consumer::Desk { group: "g", config, image: &self.image, now, records };
        if short.at_rest(asked, &desk(&mut none)) {
            let Ok(Answer::Beat(beat)) = long.hear(asked.clone(), &mut desk(&mut records)) else { panic!() };
            assert_eq!((beat.member_epoch, beat.assignment), (asked.member_epoch, None));
            assert_eq!((short, none), (long, records));
        }
    }

    fn look(&mut self) {
        let now = self.world.now.mono_ms;
        let mut owners: BTreeSet<(TopicId, i32)> = BTreeSet::new();
        for (name, client) in WHO.iter().zip(&self.clients) {
            // One that was silent for a whole session knows that it may have been expelled.
            if now - client.heard_ms >= 45_000 {
                continue;
            }
            for partition in &client.reads {
                assert!(owners.insert(*partition), "{name} reads what another reads: {partition:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_partition_ever_has_two_owners(events in prop::collection::vec(event(), 1..120)) {
        let clients = vec![Client::default(); WHO.len()];
        let mut run = Run { world: World::with(config()), clients, counts: [4, 3], image: image(&[4, 3]) };
        for event in events {
            run.happen(event);
        }
        // Left alone, they come to rest: everything has an owner, evenly.
        for _ in 0..12 {
            for who in 0..WHO.len() {
                run.happen(Event::Beat { who, heard: true, both: true, brief: false });
                run.happen(Event::LetGo(who));
            }
        }
        let sizes: Vec<usize> = run.clients.iter().map(|client| client.reads.len()).collect();
        prop_assert_eq!(sizes.iter().sum::<usize>() as i32, run.counts.iter().sum::<i32>());
        prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{:?}", sizes);
        prop_assert_eq!(run.world.group.summary().unwrap().state, "Stable");
    }
}
