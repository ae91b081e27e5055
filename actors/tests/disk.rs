//! What a partition does while its disk takes nothing: it says so, rests between two tries, and goes on.

use std::time::Duration;

use ottla_host::Fault;
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
