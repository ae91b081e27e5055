//! Stories of members that are silent while their broker is killed again and again.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    ask::ConsumerHeartbeat,
    consumer_tests::{beat, id_of, image, joining},
    migration_tests::{heartbeat, join, kind, says, two_classic},
    tests::{self, Entry, World, config},
    *,
};
use crate::records::TopicPartitions;

/// What the broker's defaults are: sessions of 45 s, heartbeats every 5 s.
const LIFE_MS: u64 = 9_000;

impl World {
    /// The broker was killed, and is back after so long.
    fn restart(&mut self, down_ms: u64) {
        self.now.mono_ms += down_ms;
        self.now.wall_ms += down_ms as i64;
        let image = self.group.image.clone();
        self.group = self.rebuilt();
        self.group.follow(image);
    }

    /// A life of the broker, in which somebody says something every three seconds, from half a second on.
    fn live(&mut self, ms: u64, mut speak: impl FnMut(&mut World)) {
        let mut left_ms = ms;
        self.pass(500.min(left_ms));
        left_ms = left_ms.saturating_sub(500);
        while left_ms > 0 {
            speak(self);
            self.pass(left_ms.min(3_000));
            left_ms = left_ms.saturating_sub(3_000);
        }
    }

    /// What the log says about who is silent, in its order.
    fn notes(&self) -> Vec<(&str, Option<i64>)> {
        let records = self.log.iter().filter_map(|entry| match entry {
            Entry::Record(record, _) => Some(&**record),
            Entry::Marker(..) => None,
        });
        let notes = records.filter_map(|record| match record {
            GroupRecord::Silence { member, since_ms, .. } => Some((member.as_str(), *since_ms)),
            _ => None,
        });
        notes.collect()
    }

    /// Who is in the group.
    fn members(&self) -> Vec<String> {
        match &self.group.members {
            Members::Classic(classic) => {
                classic.describe().members.into_iter().map(|it| it.member_id).collect()
            }
            Members::Consumer(consumer) => consumer.iter().map(|(id, _)| id.clone()).collect(),
        }
    }
}

/// A group of the consumer protocol, `a` and `b` in epoch 2 with two partitions each.
fn two_modern() -> (World, Arc<Image>) {
    let (mut world, topics) = (World::with(config()), image(&[4]));
    world.beats(joining("a", &["t1"], &topics));
    world.beats(joining("b", &["t1"], &topics));
    let kept = vec![TopicPartitions { topic_id: id_of(1), partitions: vec![0, 1] }];
    world.beats(beat("a", 1, &topics));
    world.beats(ConsumerHeartbeat { owned: Some(kept), ..beat("a", 1, &topics) });
    world.beats(beat("b", 2, &topics));
    assert_eq!(kind(&world), ("consumer", "Stable"));
    (world, topics)
}

/// How long `b`, which is dead, is there while the broker is killed after each life, in ms. `speak` is a heartbeat of `a`.
fn dead_for(world: &mut World, b: &str, life_ms: u64, mut speak: impl FnMut(&mut World)) -> u64 {
    let since_ms = world.now.mono_ms;
    while world.members().iter().any(|id| id == b) {
        assert!(world.now.mono_ms < since_ms + 600_000, "it is there for ever");
        world.restart(1_000);
        world.live(life_ms, &mut speak);
    }
    world.now.mono_ms - since_ms
}

#[test]
fn a_dead_member_of_a_classic_group_is_given_up_however_often_the_broker_restarts() {
    let (mut world, a, b) = two_classic(config(), &image(&[4]));
    let gone_ms = dead_for(&mut world, &b, LIFE_MS, |world| {
        world.ask("a", heartbeat(&a, 2));
        world.answers.clear();
    });
    assert!((30_000..=50_000).contains(&gone_ms), "its session is 30 s: {gone_ms}");
    assert_eq!(world.state(), "PreparingRebalance");
    world.ask("a", Ask::Join(join(&a, &[])));
    assert_eq!(world.joined("a").members.len(), 1, "a goes on alone");
    assert_eq!(world.notes().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [&b, &b]);
    assert_eq!(world.notes()[1].1, None, "what was noted went with it");
}

#[test]
fn a_dead_member_of_a_consumer_group_is_given_up_however_often_the_broker_restarts() {
    let (mut world, topics) = two_modern();
    let gone_ms = dead_for(&mut world, "b", LIFE_MS, |world| drop(world.beats(beat("a", 2, &topics))));
    assert!((45_000..=65_000).contains(&gone_ms), "its session is 45 s: {gone_ms}");
    let a = world.beats(ConsumerHeartbeat { owned: None, ..beat("a", 3, &topics) });
    assert_eq!(a.member_epoch, 3);
    assert_eq!(world.notes().last(), Some(&("b", None)));
}

#[test]
fn a_dead_classic_member_of_a_consumer_group_is_given_up_too() {
    let topics = image(&[4]);
    let (mut world, a, b) = two_classic(config(), &topics);
    // It is silent already when the group goes over to the other protocol.
    world.restart(1_000);
    world.live(LIFE_MS, |world| {
        world.ask("a", heartbeat(&a, 2));
        world.answers.clear();
    });
    assert_eq!(world.notes().len(), 1);
    world.beats(joining("c", &["t1"], &topics));
    assert_eq!(kind(&world).0, "consumer");
    let gone_ms = dead_for(&mut world, &b, LIFE_MS, |world| {
        world.ask("a", heartbeat(&a, 2));
        world.beats(beat("c", 3, &topics));
        world.answers.clear();
    });
    assert!((20_000..=40_000).contains(&gone_ms), "10 of its 30 s are over: {gone_ms}");
}

#[test]
fn nothing_is_written_while_everybody_is_heard() {
    let (mut world, topics) = two_modern();
    for _ in 0..8 {
        let before = world.log.len();
        world.restart(1_000);
        world.live(20_000, |world| {
            world.beats(beat("a", 2, &topics));
            world.beats(beat("b", 2, &topics));
        });
        assert_eq!(world.log.len(), before);
        assert!(world.group.silence.next_deadline().is_none(), "and nothing is looked at any more");
    }
}

#[test]
fn who_is_slow_to_come_back_is_noted_and_heard_again() {
    let (mut world, topics) = two_modern();
    world.restart(1_000);
    let loaded_ms = world.now.wall_ms;
    world.pass(5_999);
    assert_eq!(world.notes(), []);
    world.pass(1);
    let noted = [("a", Some(loaded_ms)), ("b", Some(loaded_ms))];
    assert_eq!(world.notes(), noted, "since the log was read, which is what the broker knows");

    world.pass(30_000);
    world.beats(beat("a", 2, &topics));
    assert_eq!(world.notes()[2..], [("a", None)]);
    world.beats(beat("a", 2, &topics));
    assert_eq!(world.notes().len(), 3, "once");

    // The next coordinator has a whole session for it, and for b what is left.
    world.restart(1_000);
    world.pass(7_999);
    assert_eq!(world.members(), ["a", "b"]);
    world.pass(1);
    assert_eq!(world.members(), ["a"]);
    world.pass(36_999);
    assert_eq!(world.members(), ["a"]);
    world.pass(1);
    assert_eq!(world.members(), [""; 0]);
}

#[test]
fn after_an_outage_of_any_length_everybody_can_be_back() {
    let (mut world, topics) = two_modern();
    world.restart(1_000);
    world.live(LIFE_MS, |world| drop(world.beats(beat("a", 2, &topics))));
    world.restart(3_600_000);
    world.pass(4_999);
    assert_eq!(world.beats(beat("b", 2, &topics)).member_epoch, 2, "noted, and in time");
    world.pass(30_000);
    assert_eq!(world.beats(beat("a", 2, &topics)).member_epoch, 2, "never noted: a whole session");

    world.restart(3_600_000);
    world.pass(6_000);
    world.restart(3_600_000);
    world.pass(4_999);
    assert_eq!(world.members().len(), 2);
    world.pass(1);
    assert_eq!(world.members().len(), 0, "both were noted, and nobody has come within a heartbeat's time");
}

#[test]
fn a_static_member_that_is_away_through_a_rebalance_is_silent_all_the_same() {
    let named =
        |client: &str| Ask::Join(ask::Join { instance_id: Some("i".into()), ..tests::plain_join(client) });
    let mut world = World::new();
    world.ask("away", named("away"));
    let away = world.joined("away").member_id;
    world.ask("a", tests::join("a"));
    world.ask("away", tests::join_as("away", &away));
    world.answers.clear();
    world.restart(1_000);
    let session_ends = world.now.mono_ms + 10_000;
    // The others come together without it meanwhile, and it stays a member: that is no word of it.
    world.pass(1_000);
    let a = world.members().into_iter().find(|id| *id != away).unwrap();
    world.ask("a", tests::join_as("a", &a));
    world.ask("b", tests::join("b"));
    world.pass(2_500);
    assert_eq!(world.notes().iter().filter(|(id, since)| *id == away && since.is_some()).count(), 1);
    world.pass(session_ends - world.now.mono_ms);
    assert!(!world.members().contains(&away), "{:?}", world.members());
}

#[test]
fn a_clock_that_was_set_back_keeps_nobody_for_ever() {
    let (mut world, _) = two_modern();
    world.now.wall_ms += 86_400_000;
    world.restart(0);
    world.pass(6_000);
    world.now.wall_ms -= 86_400_000;
    world.restart(1_000);
    let back_ms = world.now.wall_ms;
    world.pass(6_000);
    assert_eq!(world.notes()[2..], [("a", Some(back_ms)), ("b", Some(back_ms))]);
    for _ in 0..4 {
        world.restart(1_000);
        world.pass(LIFE_MS);
    }
    assert_eq!(world.members(), [""; 0]);
}

#[test]
fn what_could_not_be_written_is_written_again() {
    let (mut world, a, b) = two_classic(config(), &image(&[4]));
    world.restart(1_000);
    world.slow = true;
    world.pass(6_000);
    // One is heard before it is known that the note has failed.
    world.ask("a", heartbeat(&a, 2));
    world.settle(Err(WriteError::NotAvailable));
    assert_eq!(world.notes(), []);
    world.slow = false;
    world.pass(5_000);
    let said: BTreeMap<_, _> = world.notes().into_iter().collect();
    assert_eq!(said.get(&*a), Some(&None));
    assert!(said[&*b].is_some());
}

#[test]
fn a_note_of_nobody_is_taken_back() {
    // A broker that does not know such notes has taken the members out, or the whole group.
    let mut world = World::new();
    let note = GroupRecord::Silence { group: "g".into(), member: "gone".into(), since_ms: Some(5) };
    world.log.push(Entry::Record(Box::new(note), None));
    world.restart(0);
    assert!(world.group.is_blank() && world.group.summary().is_none(), "that makes no group");
    assert!(!world.group.is_over(), "but something is to be done");
    world.pass(5_000);
    assert_eq!(world.notes().last(), Some(&("gone", None)));
    assert!(world.group.is_over() && world.rebuilt().is_over());
}

#[test]
fn many_notes_are_many_small_batches() {
    let (mut world, topics) = (World::with(config()), image(&[4]));
    let ids: Vec<String> = (0..250).map(|at| format!("m{at:03}")).collect();
    for id in &ids {
        world.beats(joining(id, &["t1"], &topics));
    }
    world.restart(1_000);
    world.slow = true;
    world.pass(6_000);
    assert_eq!(world.writing.len(), 3);
    world.settle(Ok(()));
    world.slow = false;
    assert_eq!(world.notes().len(), 250);
    world.pass(60_000);
    assert_eq!(world.members().len(), 0);
    assert!(world.rebuilt().silence.is_empty(), "all of them are taken back");
}

proptest! {
    /// However often the broker restarts, and however short its lives are: who speaks as soon as it can stays.
    #[test]
    fn a_member_that_lives_is_never_given_up(
        lives in prop::collection::vec((1_000..20_000u64, 0..4_000u64), 1..60),
    ) {
        let topics = image(&[4]);
        let (mut classic, a, b) = two_classic(config(), &topics);
        let (mut modern, _) = two_modern();
        for (life_ms, down_ms) in lives {
            classic.restart(down_ms);
            classic.live(life_ms, |world| {
                says(world, "a", heartbeat(&a, 2), Ok(Answer::Alive));
                says(world, "b", heartbeat(&b, 2), Ok(Answer::Alive));
            });
            modern.restart(down_ms);
            modern.live(life_ms, |world| {
                world.beats(beat("a", 2, &topics));
                world.beats(beat("b", 2, &topics));
            });
        }
        prop_assert_eq!(classic.notes(), []);
        prop_assert_eq!(modern.notes(), []);
    }

    /// Who is dead is given up after its session and two lives of the broker, and never before its session is over.
    #[test]
    fn a_member_that_is_dead_is_given_up_in_time(life_ms in 6_001..40_000u64) {
        let topics = image(&[4]);
        let (mut classic, a, b) = two_classic(config(), &topics);
        let gone_ms = dead_for(&mut classic, &b, life_ms, |world| {
            world.ask("a", heartbeat(&a, 2));
            world.answers.clear();
        });
        prop_assert!((30_000..=30_000 + 2 * (life_ms + 1_000)).contains(&gone_ms), "{}", gone_ms);
        let (mut modern, _) = two_modern();
        let gone_ms = dead_for(&mut modern, "b", life_ms, |world| {
            world.ask("a", Ask::ConsumerHeartbeat(beat("a", 2, &topics)));
            world.answers.clear();
        });
        prop_assert!((45_000..=45_000 + 2 * (life_ms + 1_000)).contains(&gone_ms), "{}", gone_ms);
    }
}
