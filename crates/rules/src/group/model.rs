//! Any order of events: everybody is answered once, and a new coordinator knows what the old one had said.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    ask::{Join, Leaver},
    tests::{World, commit, config, heartbeat, leave, plain_join, sync},
    *,
};

/// Four who may be members, and one who never is.
const WHO: [&str; 5] = ["ann", "ben", "cem", "dia", "tool"];
const TOOL: usize = 4;

#[derive(Clone, Debug)]
enum Event {
    Join { who: usize, named: bool, changed: bool },
    Sync(usize),
    Heartbeat(usize),
    Leave(usize),
    Commit(usize, i64),
    Simple(i64),
    Pass(u64),
    Settle(bool),
    Expire,
}

fn event() -> impl Strategy<Value = Event> {
    let who = 0..TOOL;
    prop_oneof![
        4 => (who.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(who, named, changed)| Event::Join { who, named, changed }),
        4 => who.clone().prop_map(Event::Sync),
        1 => who.clone().prop_map(Event::Heartbeat),
        1 => who.clone().prop_map(Event::Leave),
        3 => (who, 0..100i64).prop_map(|(who, offset)| Event::Commit(who, offset)),
        1 => (0..100i64).prop_map(Event::Simple),
        2 => prop_oneof![Just(1), Just(5_000), Just(11_000), Just(61_000)].prop_map(Event::Pass),
        4 => prop::bool::weighted(0.9).prop_map(Event::Settle),
        1 => Just(Event::Expire),
    ]
}

/// What each member believes.
#[derive(Default)]
struct Belief {
    id: String,
    /// Every id that it ever had: an answer may come for one that it has given up meanwhile.
    ids: Vec<String>,
    generation: i32,
    leads: Vec<String>,
    asked: usize,
    answered: usize,
}

struct Run {
    world: World,
    beliefs: Vec<Belief>,
    last_offset: Option<i64>,
    generation: i32,
}

impl Run {
    fn ask(&mut self, who: usize, ask: Ask) {
        self.beliefs[who].asked += 1;
        self.world.ask(WHO[who], ask);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Join { who, named, changed } => {
                let instance_id = named.then(|| "name".to_owned());
                let mut join = Join { instance_id, ..plain_join(WHO[who]) };
                // A name is taken over without an id; without a name the id is kept.
                join.member_id = if named { String::new() } else { self.beliefs[who].id.clone() };
                // No two draws are the same.
                join.chance[12..].copy_from_slice(&(self.beliefs[who].asked as u32).to_be_bytes());
                if changed {
                    join.protocols[0].1 = Bytes::from_static(b"changed");
                }
                self.ask(who, Ask::Join(join));
            }
            Event::Sync(who) => {
                let belief = &self.beliefs[who];
                let assignments =
                    belief.leads.iter().map(|id| (id.clone(), Bytes::from(id.clone()))).collect();
                let ask = sync(&belief.id, belief.generation, assignments);
                self.ask(who, ask);
            }
            Event::Heartbeat(who) => {
                self.ask(who, heartbeat(&self.beliefs[who].id, self.beliefs[who].generation));
            }
            Event::Leave(who) => self.ask(who, leave(&self.beliefs[who].id)),
            Event::Commit(who, offset) => {
                self.ask(who, commit(&self.beliefs[who].id, self.beliefs[who].generation, 0, offset));
            }
            Event::Simple(offset) => self.ask(TOOL, commit("", -1, 0, offset)),
            Event::Pass(ms) => {
                self.world.now.mono_ms += ms;
                self.world.now.wall_ms += ms as i64;
                self.world.step(|group, now, out| group.tick(now, out));
            }
            Event::Settle(good) => {
                self.world.settle(if good { Ok(()) } else { Err(WriteError::NotAvailable) });
            }
            Event::Expire => self.world.step(|group, now, out| group.expire(now, out)),
        }
        self.listen();
    }

    fn listen(&mut self) {
        for (who, with) in std::mem::take(&mut self.world.answers) {
            let belief = &mut self.beliefs[WHO.iter().position(|name| *name == who).unwrap()];
            belief.answered += 1;
            assert!(belief.answered <= belief.asked, "{who} is answered twice");
            match with {
                Ok(Answer::Joined(joined)) => {
                    assert!(joined.generation >= self.generation, "a generation goes back");
                    self.generation = joined.generation;
                    belief.ids.push(joined.member_id.clone());
                    belief.id = joined.member_id;
                    belief.generation = joined.generation;
                    belief.leads = joined.members.into_iter().map(|(id, _, _)| id).collect();
                }
                Ok(Answer::Synced { assignment, .. }) => {
                    // Who takes a name over has what was given to that name.
                    let named = |id: &[u8]| id.starts_with(b"name-");
                    let had = |test: &dyn Fn(&[u8]) -> bool| belief.ids.iter().any(|id| test(id.as_bytes()));
                    let own = assignment.is_empty()
                        || had(&|id| assignment == id)
                        || named(&assignment) && had(&named);
                    assert!(own, "{who} got somebody else's assignment: {assignment:?}");
                }
                Err(GroupError::UnknownMember | GroupError::FencedInstance) => belief.id.clear(),
                _ => (),
            }
        }
        if self.world.group.classic_generation() == 0 {
            self.generation = 0; // A group of that name that comes later is another one.
        }
        self.last_offset = self.world.group.offsets.get("t", 0).map(|committed| committed.offset);
    }
}

proptest! {
    #[test]
    fn everybody_is_answered_once_and_the_log_knows_everything(events in prop::collection::vec(event(), 1..80)) {
        let mut world = World::with(config());
        world.slow = true;
        let beliefs = WHO.iter().map(|_| Belief::default()).collect();
        let mut run = Run { world, beliefs, last_offset: None, generation: 0 };
        for event in events {
            run.happen(event);
        }
        run.happen(Event::Settle(true));
        let rebuilt = run.world.rebuilt();
        prop_assert_eq!(rebuilt.offsets.get("t", 0).map(|committed| committed.offset), run.last_offset);
        let stable = |group: &Group<_>| group.summary().is_some_and(|summary| summary.state == "Stable");
        if stable(&run.world.group) {
            prop_assert!(stable(&rebuilt), "a stable group is stable for the next coordinator");
            prop_assert_eq!(rebuilt.classic_generation(), run.world.group.classic_generation());
        }
        // Time answers whoever is left, and empties the group.
        for _ in 0..8 {
            run.happen(Event::Pass(400_000));
            run.happen(Event::Settle(true));
        }
        for (who, belief) in WHO.iter().zip(&run.beliefs) {
            prop_assert_eq!(belief.asked, belief.answered, "{} still waits", who);
        }
        prop_assert!(run.world.group.next_deadline().is_none(), "somebody is waited for in an empty group");
        prop_assert!(run.world.group.members.is_vacant());
    }

    /// Whatever is asked of a group, in whatever state, never harms.
    #[test]
    fn strange_requests_never_harm(
        generation: i32,
        id in "[a-z]{0,3}",
        instance in prop::option::of("[a-z]{0,3}"),
        times: (i32, i32),
    ) {
        let mut world = World::with(config());
        let join = Join { session_timeout_ms: times.0, rebalance_timeout_ms: times.1, ..plain_join("x") };
        world.ask("x", Ask::Join(join));
        world.ask("x", Ask::Leave(vec![Leaver { member_id: id.clone(), instance_id: instance }]));
        world.ask("x", sync(&id, generation, vec![(id.clone(), Bytes::new())]));
        world.ask("x", commit(&id, generation, generation, i64::from(generation)));
        world.now.mono_ms = u64::MAX / 2;
        world.step(|group, now, out| group.tick(now, out));
        prop_assert!(world.rebuilt().is_blank() || world.rebuilt().summary().is_some());
    }
}
