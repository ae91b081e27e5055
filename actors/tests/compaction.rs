//! Compaction beside everything else that wants the disk.

use std::time::Duration;

use ottla_actors::observe;
use ottla_host::Fault;
use ottla_rules::{batch::build::BatchBuilder, ids::Offset};

use self::home::{Home, Node, TOPIC, partition};

mod home;

const MIB: u64 = 1 << 20;

async fn records_gone(node: &Node) -> u64 {
    observe::look(node.crew().shared()).await.compaction.records
}

/// Of nine records, each in a segment of its own, compaction leaves the last.
async fn with_nine_of_one_key(node: &Node) {
    let compacted = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0"), ("segment.ms", "1")];
    node.create(TOPIC, 1, &compacted).await;
    for timestamp in 1..10 {
        let later = BatchBuilder::new().record("key", "later", 1_750_000_000_000 + 1_000 * timestamp);
        node.append_batch(partition(0), later.parsed()).await.unwrap();
    }
}

#[test]
fn what_is_left_for_appends_is_not_taken_by_compaction() {
    let home = Home::new(1);
    home.live(async |node| {
        with_nine_of_one_key(node).await;

        // Above `disk.free.bytes.min`, 64 MiB, and below twice of it.
        home.world.disk().set_free_bytes(100 * MIB);
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(records_gone(node).await, 0);
        assert_eq!(node.append(partition(0), "taken").await.map(|appended| appended.base), Ok(Offset(9)));

        home.world.disk().set_free_bytes(1_000 * MIB);
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert!(records_gone(node).await > 5);
    });
}

#[test]
fn a_failed_sync_of_what_compaction_writes_costs_that_round_and_nothing_else() {
    let home = Home::new(1);
    home.live(async |node| {
        with_nine_of_one_key(node).await;
        let cleaned = "/data/payments-0/00000000000000000000.log.cleaned";
        home.world.disk().break_below(cleaned, Fault::FailNextSync);
        let failed = async {
            while home.world.disk().failed_syncs() == 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(600), failed).await.is_ok(), "no round has synced");
        tokio::time::sleep(Duration::from_secs(1)).await; // Everybody has heard of it.
        assert_eq!(records_gone(node).await, 0);
        assert_eq!(node.append(partition(0), "taken").await.map(|appended| appended.base), Ok(Offset(9)));

        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(records_gone(node).await > 5, "another round");
        assert!(node.stop().await, "everyone left in order");
    });
}
