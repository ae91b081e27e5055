//! Members of consumer groups: they share the partitions of the topic by the protocol of their group, commit how far they are,
//! and do what members do: stall, vanish, leave, come again, and speak up after they were given up.
//!
//! ```text
//!   seat     what every member has: a connection, what it owns and until when it may believe so, its offsets, its ghosts
//!   classic  JoinGroup, SyncGroup, Heartbeat, LeaveGroup; the leader assigns
//!   modern   ConsumerGroupHeartbeat; the broker assigns
//!   roster   the judge: no partition has two owners, nobody acts who is out, no committed offset goes back
//! ```
//!
//! Nothing is read or written: what a member would have read last is the offset that it commits, one more each time.

mod classic;
mod modern;
mod roster;
mod seat;
mod words;

use std::rc::Rc;

use ottla_wire::codes::Code;
use ottla_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use tokio::task::spawn_local;

use crate::client::Client;
use crate::plan::Protocol;
use crate::scene::{Scene, TOPIC};
pub(crate) use roster::Roster;
use seat::Seat;

const OFFSET_FETCH: i16 = 8;

/// Runs every other member of every group: those on this host.
pub(crate) async fn live_all(scene: Rc<Scene>, host: usize) -> turmoil::Result {
    let topic = scene.wait_for_topic(0).await;
    for (group, plan) in scene.plan.groups.clone().into_iter().enumerate() {
        for number in (0..plan.is_static.len()).filter(|number| number % 2 == host) {
            let seat = Seat::new(scene.clone(), topic, group, number);
            match plan.protocol {
                Protocol::Eager | Protocol::Cooperative => spawn_local(classic::live(seat)),
                Protocol::Consumer => spawn_local(modern::live(seat)),
            };
        }
    }
    std::future::pending().await
}

/// Reads what is committed, again and again, without being a member.
pub(crate) async fn watch_all(scene: Rc<Scene>) -> turmoil::Result {
    for group in 0..scene.plan.groups.len() {
        spawn_local(watch(scene.clone(), group));
    }
    live_all(scene, 1).await
}

async fn watch(scene: Rc<Scene>, group: usize) {
    loop {
        let life = scene.life.get();
        if let Ok(mut client) = Client::connect(&scene).await
            && look(&scene, &mut client, group).await
            && scene.life.get() == life
        {
            scene.roster.borrow_mut().checked(group, life);
        }
        scene.rest(50).await;
    }
}

async fn look(scene: &Scene, client: &mut Client, group: usize) -> bool {
    let partitions = i32::try_from(scene.plan.partitions).unwrap_or(i32::MAX);
    let least: Vec<i64> = (0..partitions).map(|index| scene.roster.borrow().least(group, index)).collect();
    let topics = vec![OffsetFetchRequestTopics {
        name: TOPIC.into(),
        partition_indexes: (0..partitions).collect(),
        ..Default::default()
    }];
    let asked =
        OffsetFetchRequestGroup { group_id: name_of(group), topics: Some(topics), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![asked], ..Default::default() };
    let Ok(answer) = client.ask::<_, OffsetFetchResponse>(OFFSET_FETCH, &request).await else { return false };
    if answer.groups[0].error_code != Code::None.number() {
        return false;
    }
    for (told, least) in answer.groups[0].topics[0].partitions.iter().zip(least) {
        let right = scene.roster.borrow_mut().read(group, told.partition_index, told.committed_offset, least);
        scene.report(right);
    }
    true
}

fn name_of(group: usize) -> String {
    format!("group-{group}")
}
