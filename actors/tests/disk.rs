//! What a partition does while its disk, or its facts, take nothing: it says so, rests between two tries, and goes on.

use std::time::Duration;

use ottla_actors::{partition::DeleteBefore, stage::reply::Reply};
use ottla_host::{Fault, Host};
use ottla_rules::{ids::Offset, partition::AppendError};

use self::home::{Home, TOPIC, partition};

mod home;

const DIR: &str = "/data/payments-0";

/// Two of them have no room in one segment.
fn large() -> String {
    "x".repeat(700_000)
}

#[test]
fn a_segment_that_cannot_be_read_is_not_read_at_every_append() {
    let home = Home::new(1);
    home.live(async |node| {
        node.create(TOPIC, 1, &[("segment.bytes", "1048576")]).await;
        node.append_for_sure(partition(0), &large()).await;
        // The next segment has no room for a piece of it, and the one before cannot be read to go on in it.
        home.world.disk().break_below(DIR, Fault::NoSpaceAfter(100_000));
        home.world.disk().break_below(DIR, Fault::FailReads);
        assert_eq!(node.append(partition(0), &large()).await, Err(AppendError::Storage));

        home.world.disk().heal();
        assert_eq!(node.append(partition(0), "at once").await, Err(AppendError::Storage), "it rests");
        tokio::time::sleep(Duration::from_millis(150)).await; // Of simulated time.

        let taken = node.append(partition(0), "later").await.map(|appended| appended.base);
        assert_eq!(taken, Ok(Offset(1)));
    });
}

#[test]
fn segments_that_the_facts_had_no_room_to_delete_go_once_they_have() {
    let home = Home::new(1);
    home.live(async |node| {
        node.create(TOPIC, 1, &[("segment.bytes", "1048576"), ("file.delete.delay.ms", "1000")]).await;
        for _ in 0..3 {
            node.append_for_sure(partition(0), &large()).await;
        }
        tokio::time::sleep(Duration::from_secs(150)).await; // A checkpoint has come.
        let disk = Host::simulated(&home.world).disk;
        let first = format!("{DIR}/00000000000000000000.log");
        // The new start is safe, and then there is no more room.
        home.world.set_pool_delay_ms(50..51);
        let (reply, answer) = Reply::once();
        node.crew().directory().tell(partition(0), DeleteBefore { upto: Some(Offset(2)), reply });
        assert_eq!(answer.await, Ok(Offset(2)));
        home.facts.set_full(true);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(disk.exists(&first), "there is no room to say that it goes");
        home.facts.set_full(false);
        tokio::time::sleep(Duration::from_secs(20)).await;

        let left = disk.list(DIR).unwrap();
        let logs: Vec<_> = left.iter().filter(|entry| entry.name.contains(".log")).collect();
        assert_eq!(logs.len(), 1, "{logs:?}");
        assert_eq!(node.append(partition(0), "goes on").await.map(|appended| appended.base), Ok(Offset(3)));
    });
}
