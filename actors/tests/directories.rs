//! Whose a partition's directory is, when its topic is deleted and made anew while somebody is busy in it.

use std::time::Duration;

use ottla_host::Fault;
use ottla_rules::{
    cluster::Command,
    ids::{Offset, PartitionId, TopicId},
    partition::AppendError,
};

use self::home::{Home, Node, TOPIC, holds, partition};

mod home;

const ANEW: PartitionId = PartitionId { topic: TopicId([8; 16]), index: 0 };
const NEIGHBOUR: PartitionId = PartitionId { topic: TopicId([9; 16]), index: 0 };

/// A segment is gone with the page cache, the journal has it, and there is no room to replay it.
fn without_room() -> Home {
    let home = Home::new(1);
    home.live(async |node| {
        node.create(TOPIC, 1, &[]).await;
        node.create_named("orders", NEIGHBOUR.topic, 1, &[]).await;
        node.append_for_sure(partition(0), "of the first").await;
        node.append_for_sure(NEIGHBOUR, "before").await;
    });
    home.world.disk().crash();
    home.world.disk().break_below("/data/payments-0", Fault::NoSpaceAfter(0));
    home
}

async fn is_offline(node: &Node) {
    while node.append(partition(0), "refused").await != Err(AppendError::Storage) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_topic_that_is_deleted_while_it_is_recovered_again_leaves_when_that_is_over() {
    let home = without_room();
    home.live(async |node| {
        is_offline(node).await;
        home.world.disk().heal();
        home.world.set_pool_delay_ms(400..401);
        tokio::time::sleep(Duration::from_millis(1_100)).await; // Tried again, and on the pool for a while.
        home.world.set_pool_delay_ms(0..20);

        node.submit(Command::DeleteTopic { id: TOPIC }).await.unwrap();
        node.create(ANEW.topic, 1, &[]).await;

        assert_eq!(node.append_for_sure(ANEW, "of the second").await, Offset(0));
        tokio::time::sleep(Duration::from_secs(1)).await; // Whoever was at work is done.
        assert_eq!(node.append(ANEW, "goes on").await.map(|appended| appended.base), Ok(Offset(1)));
        assert_eq!(node.append_for_sure(NEIGHBOUR, "after").await, Offset(1), "nothing is lost");
        assert!(node.stop().await, "everyone left in order");
    });
    home.live(async |node| {
        assert_eq!(node.append_for_sure(ANEW, "after").await, Offset(2));
        let (bytes, _) = node.read(ANEW).await.unwrap();
        assert!(holds(&bytes, "of the second") && holds(&bytes, "goes on"));
    });
}
