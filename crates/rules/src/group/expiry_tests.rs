//! Stories of what is taken back: by time, and with its topic.

use super::{
    offset_tests::committed,
    tests::{World, commit, config},
    *,
};
use crate::{cluster::Change, ids::ProducerId};

fn aged(world: &mut World, partitions: i32) {
    for partition in 0..partitions {
        world.ask("tool", commit("", -1, partition, 5));
    }
    world.answers.clear();
    world.pass(1_000);
}

#[test]
fn many_offsets_go_in_small_batches_and_the_group_with_the_last() {
    let mut world = World::with(GroupConfig { retention_ms: 1_000, ..config() });
    aged(&mut world, 1_050);
    world.slow = true;
    world.step(|group, now, out| group.expire(now, out));
    let lengths: Vec<_> = world.writing.iter().map(|writing| writing.records.len()).collect();
    assert!(lengths.iter().all(|records| *records <= 21), "{lengths:?}");
    world.settle(Ok(()));
    assert!(world.group.is_blank() && world.rebuilt().is_blank());
}

#[test]
fn what_could_not_be_taken_back_with_its_topic_is_taken_back_later() {
    let mut world = World::new();
    world.ask("tool", commit("", -1, 0, 5));
    let mut image = Image::new("cluster");
    image.apply(&Change::ProducerIdsTaken { first: ProducerId(0), count: 1 });
    let image = Arc::new(image);
    world.group.follow(image.clone());
    world.slow = true;
    world.step(|group, _, out| group.forget_topics(&image, out));
    world.settle(Err(WriteError::NotHere));
    assert_eq!(committed(&world.group, 0), Some(5));
    world.slow = false;
    world.pass(5_000);
    assert_eq!((committed(&world.group, 0), committed(&world.rebuilt(), 0)), (None, None));
    // A commit that was on its way when the topic went.
    world.ask("tool", commit("", -1, 0, 6));
    world.step(|group, now, out| group.expire(now, out));
    assert_eq!((committed(&world.group, 0), committed(&world.rebuilt(), 0)), (None, None));
}
