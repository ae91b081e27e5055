//! The journal's shell: one sync for everyone, and nobody is told that anything is safe before it is.

use ottla_host::Fault;
use ottla_rules::staging::StagingLimits;
use ottla_store::journal::Journal;

use super::*;
use crate::{journal::JournalActor, stage::directory::Seat};

/// What is in flight or done by now, and what is not.
const SOON: Duration = Duration::from_millis(50);
const SYNC_MS: u64 = 500;

/// A journal whose syncs take a while.
fn journal(shared: &Arc<Shared>, world: &SimWorld) {
    let store = &shared.store;
    let limits = StagingLimits::of(64 << 20);
    let (journal, _) = Journal::open(store.disk().clone(), store.journal_dir(), limits, 1).unwrap();
    world.disk().set_sync_delay_ms(SYNC_MS..SYNC_MS + 1);
    let journal = JournalActor::new(shared.clone(), journal, Vec::new()).start();
    shared.directory.set_journal(journal);
}

#[test]
fn one_sync_makes_safe_what_all_partitions_brought_meanwhile() {
    tell(async |shared, world| {
        journal(&shared, &world);
        let partitions: Vec<_> = (0..8).map(|index| partition_at(&shared, index, 1).0).collect();
        let first = append(&partitions[0]);
        tokio::time::sleep(SOON).await;
        let others: Vec<_> = (0..5).flat_map(|_| partitions.iter().map(append)).collect();

        assert!(first.await.is_ok());
        for other in others {
            assert!(other.await.is_ok());
        }

        let seen = shared.journaled.seen(shared.now());
        assert_eq!((seen.syncs, seen.batches), (2, 41), "the first alone, all others together");
    });
}

#[test]
fn a_small_batch_does_not_wait_for_all_that_another_brings() {
    tell(async |shared, world| {
        journal(&shared, &world);
        let partitions: Vec<_> = (0..3).map(|index| partition_at(&shared, index, 1).0).collect();
        let under_way = append(&partitions[0]);
        tokio::time::sleep(SOON).await;
        let large = "v".repeat(100 * 1024);
        let large: Vec<_> = (0..8).map(|_| append_of(&partitions[1], &large)).collect();

        assert!(append(&partitions[2]).await.is_ok());

        assert!(under_way.await.is_ok());
        let seen = shared.journaled.seen(shared.now());
        assert_eq!((seen.syncs, seen.batches), (2, 1 + 1), "the large ones let it go first");
        drop(large);
    });
}

#[test]
fn large_batches_go_behind_a_small_one_and_half_a_megabyte_at_a_time() {
    tell(async |shared, world| {
        journal(&shared, &world);
        world.disk().set_sync_delay_ms(10..11);
        let partitions: Vec<_> = (0..3).map(|index| partition_at(&shared, index, 1).0).collect();
        let under_way = append(&partitions[0]);
        tokio::time::sleep(Duration::from_millis(5)).await;
        let large = "v".repeat(20 * 1024);
        let mut large: Vec<_> = (0..30).map(|_| append_of(&partitions[1], &large)).collect();
        assert!(append(&partitions[2]).await.is_ok());
        assert!(under_way.await.is_ok());

        assert!(large.remove(0).await.is_ok());

        let seen = shared.journaled.seen(shared.now());
        assert_eq!(
            (seen.syncs, seen.batches),
            (3, 1 + 1 + 25),
            "half a megabyte went with the sync behind it"
        );
        drop(large);
    });
}

#[test]
fn nobody_is_answered_before_the_sync_is_over() {
    tell(async |shared, world| {
        journal(&shared, &world);
        let (partition, _ended) = partition(&shared, 1);
        let answer = append(&partition);
        tokio::pin!(answer);

        tokio::time::sleep(Duration::from_millis(SYNC_MS) - SOON).await;
        assert!(futures_util::poll!(&mut answer).is_pending());

        tokio::time::sleep(2 * SOON).await;
        assert!(futures_util::poll!(&mut answer).is_ready());
    });
}

#[test]
fn a_failed_sync_is_nobodys_acknowledgement_and_the_last_one() {
    tell(async |shared, world| {
        journal(&shared, &world);
        let (partition, _ended) = partition(&shared, 1);
        shared.directory.seat(ID, Seat { addr: partition.clone(), shard: 0, generation: 1 });
        assert!(append(&partition).await.is_ok());

        world.disk().break_below(shared.store.journal_dir(), Fault::FailNextSync);
        assert_eq!(append(&partition).await, Err(AppendError::Storage));
        assert!(shared.is_lost());

        world.disk().heal();
        let syncs = shared.journaled.seen(shared.now()).syncs;
        assert_eq!(
            append(&partition).await,
            Err(AppendError::Storage),
            "a disk that looks well proves nothing"
        );
        assert_eq!(shared.journaled.seen(shared.now()).syncs, syncs);
    });
}
