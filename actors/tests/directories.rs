//! Whose a partition's directory is, when its topic is deleted and made anew while somebody is busy in it.

use std::time::Duration;

use ottla_actors::{
    observe,
    partition::{Checkpoint, Provoke},
};
use ottla_host::{Fault, Host};
use ottla_rules::{
    batch::build::BatchBuilder,
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

#[test]
fn settings_that_change_while_a_topic_made_anew_waits_for_its_directory_are_its_settings() {
    let mut home = Home::new(1);
    home.journal_bytes_max = 1 << 20;
    home.live(async |node| {
        node.create(TOPIC, 1, &[]).await;
        node.append_for_sure(partition(0), "of the first").await;
        // Has no room in the journal: its segment is synced, slowly, before it leaves.
        home.world.set_pool_delay_ms(1_000..1_001);
        let large = "x".repeat(600_000);
        (0..3).for_each(|_| drop(node.append(partition(0), &large)));
        tokio::time::sleep(Duration::from_millis(100)).await; // Of simulated time.
        home.world.set_pool_delay_ms(0..20);
        node.submit(Command::DeleteTopic { id: TOPIC }).await.unwrap();
        node.create(ANEW.topic, 1, &[]).await;
        let configs = vec![("message.timestamp.type".into(), Some("LogAppendTime".into()))];
        node.submit(Command::SetTopicConfigs { id: ANEW.topic, configs }).await.unwrap();
        assert!(node.crew().directory().shard_of(ANEW).is_none(), "it waits");

        node.append_for_sure(ANEW, "of the second").await;

        assert!(node.append(ANEW, "goes on").await.unwrap().append_time >= 0);
    });
}

#[test]
fn what_the_journal_knew_of_a_partition_is_forgotten_with_it() {
    let home = Home::new(1);
    home.live(async |node| {
        node.create(TOPIC, 1, &[]).await;
        node.append_for_sure(partition(0), "of the first").await;
    });
    home.world.disk().break_below("/data/payments-0/00000000000000000000.log", Fault::FailReads);
    home.live(async |node| {
        is_offline(node).await;
        node.submit(Command::DeleteTopic { id: TOPIC }).await.unwrap();
        while Host::simulated(&home.world).disk.exists("/data/payments-0") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        home.world.disk().heal();
        tokio::time::sleep(Duration::from_secs(1)).await; // Everybody has heard of it.

        // No topic has an id for the second time; here it shows what a recovery would be told.
        node.create(TOPIC, 1, &[]).await;
        node.crew().directory().tell(partition(0), Provoke);

        assert_eq!(node.append_for_sure(partition(0), "of the second").await, Offset(0));
    });
}

#[test]
fn a_partition_whose_recovery_panics_is_recovered_again() {
    let home = Home::new(1);
    home.live(async |node| {
        node.create(TOPIC, 1, &[]).await;
        node.append_for_sure(partition(0), "before").await;
    });
    home.world.disk().break_below("/data/payments-0/00000000000000000000.log", Fault::PanicInReads);
    home.live(async |node| {
        tokio::time::sleep(Duration::from_millis(500)).await; // It has panicked by now.
        home.world.disk().heal();
        assert!(observe::look(node.crew().shared()).await.coordinator.is_some_and(|seen| seen.panics > 0));

        let after =
            tokio::time::timeout(Duration::from_secs(20), node.append_for_sure(partition(0), "after"));
        assert_eq!(after.await, Ok(Offset(1)));
        assert!(node.stop().await, "everyone left in order");
    });
}

#[test]
fn a_partition_whose_compaction_panics_serves_on_and_can_leave() {
    let home = Home::new(1);
    home.live(async |node| {
        let compacted =
            [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0"), ("segment.ms", "1")];
        node.create(TOPIC, 1, &compacted).await;
        node.append_for_sure(partition(0), "before").await;
        for timestamp in [1, 2] {
            let later = BatchBuilder::new().record("key", "later", 1_750_000_000_000 + 1_000 * timestamp);
            node.append_batch(partition(0), later.parsed()).await.unwrap();
        }
        home.world.disk().break_below("/data/payments-0", Fault::PanicInReads);
        tokio::time::sleep(Duration::from_secs(300)).await; // After a checkpoint, a round has panicked.
        home.world.disk().heal();
        assert_eq!(observe::look(node.crew().shared()).await.compaction.failed, 1);

        assert_eq!(node.append(partition(0), "goes on").await.map(|appended| appended.base), Ok(Offset(3)));
        assert!(node.stop().await, "everyone left in order");
    });
}

/// A record that is in the journal, and a sync of its segment that will fail a while from now.
async fn about_to_fail(home: &Home, node: &Node, large: &str) {
    node.create(TOPIC, 1, &[]).await;
    node.append_for_sure(partition(0), large).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // Nobody is on the pool.
    home.world.set_pool_delay_ms(400..401);
    home.world.disk().break_below("/data/payments-0/00000000000000000000.log", Fault::FailNextSync);
    node.crew().directory().tell(partition(0), Checkpoint { settle: None });
}

/// The process starts again, the machine has not, and all of it can still be read; then the power goes.
fn assert_nothing_is_lost(home: &Home, large: &str, seed: u64) {
    home.world.disk().heal();
    home.world.set_pool_delay_ms(0..20);
    home.live(async |node| {
        node.append_for_sure(partition(0), "second").await;
        assert!(node.stop().await, "seed {seed}");
    });
    home.lose_power(seed);
    home.live(async |node| {
        assert_eq!(node.append_for_sure(partition(0), "third").await, Offset(2), "seed {seed}");
        let (bytes, _) = node.read(partition(0)).await.unwrap();
        assert!(holds(&bytes, large) && holds(&bytes, "second"), "seed {seed}");
    });
}

#[test]
fn a_sync_that_fails_when_its_partition_has_fallen_ends_the_directory() {
    let large = format!("{}safe in the journal", "x".repeat(10_000));
    for seed in 0..20 {
        let home = Home::new(seed);
        home.live(async |node| {
            about_to_fail(&home, node, &large).await;
            node.crew().directory().tell(partition(0), Provoke);
            let refused = tokio::time::timeout(Duration::from_secs(60), is_offline(node)).await;
            assert!(refused.is_ok(), "seed {seed}: its successor takes pages for safe that are not");
            assert!(!node.stop().await);
        });
        assert_nothing_is_lost(&home, &large, seed);
    }
}

#[test]
fn a_sync_that_fails_when_its_process_has_left_is_known_to_the_next() {
    let large = format!("{}safe in the journal", "x".repeat(10_000));
    for seed in 0..20 {
        let home = Home::new(seed);
        home.live(async |node| {
            about_to_fail(&home, node, &large).await;
            assert!(!node.stop_within(100).await, "it waits for the disk");
            assert!(Host::simulated(&home.world).disk.exists("/data/.ottla/suspect"), "it may end here");
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(home.world.disk().failed_syncs(), 1, "and nobody was there");
        });
        assert_nothing_is_lost(&home, &large, seed);
    }
}

#[test]
fn where_no_new_segment_can_be_made_retention_takes_the_old_ones() {
    let home = Home::new(1);
    home.live(async |node| {
        node.create(TOPIC, 1, &[("segment.ms", "1"), ("retention.ms", "1")]).await;
        node.append_for_sure(partition(0), "first").await;
        for second in [1, 2] {
            let later = BatchBuilder::new().value("later", 1_750_000_000_000 + 1_000 * second);
            node.append_batch(partition(0), later.parsed()).await.unwrap();
        }
        home.world.disk().break_below("/data/payments-0", Fault::NoSpaceAfter(0));
        tokio::time::sleep(Duration::from_secs(900)).await; // Retention has looked.
        assert!(
            node.read_from(partition(0), Offset(1)).await.is_err(),
            "there may be room for a new one then"
        );
        assert!(node.read_from(partition(0), Offset(2)).await.is_ok(), "the last one stays");
        home.world.disk().heal();
        tokio::time::sleep(Duration::from_secs(900)).await;
        assert!(node.read_from(partition(0), Offset(2)).await.is_err());
        assert!(node.stop().await);
    });
}
