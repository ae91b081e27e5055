//! Batches that are written in several pieces: others are served in between, and nothing else is seen of it.

use std::time::Duration;

use ottla_actors::partition::Sweep;
use ottla_host::Fault;
use ottla_rules::{ids::Offset, limits::WRITE_BYTES_MAX, partition::AppendError};

use self::home::{Home, TOPIC, holds, partition};

mod home;

/// Values that take so many writes, each of another letter.
fn large(count: u8) -> impl Iterator<Item = String> {
    (0..count).map(|n| char::from(b'a' + n).to_string().repeat(9 * WRITE_BYTES_MAX / 2))
}

#[test]
fn while_a_large_batch_is_written_others_are_served() {
    Home::new(1).live(async |node| {
        // From the page cache: what counts is who is written first.
        let page_cache = [("flush.messages", "9223372036854775807")];
        node.create(TOPIC, 2, &page_cache).await;
        node.append_for_sure(partition(0), "first").await;
        node.append_for_sure(partition(1), "first").await;

        let mut order = Vec::new();
        let [first, second] = [0, 1].map(|_| large(1).next().unwrap());
        let (large, behind) = (node.append(partition(0), &first), node.append(partition(0), &second));
        let mut small = std::pin::pin!(node.append(partition(1), "small"));
        let mut large = std::pin::pin!(async { (large.await.unwrap().base, behind.await.unwrap().base) });
        while order.len() < 2 {
            tokio::select! {
                biased;
                bases = &mut large, if !order.contains(&"large") => {
                    assert_eq!(bases, (Offset(1), Offset(2)));
                    order.push("large");
                }
                base = &mut small, if !order.contains(&"small") => {
                    assert_eq!(base.unwrap().base, Offset(1));
                    order.push("small");
                }
            }
        }
        assert_eq!(order, ["small", "large"]);
        for (offset, value) in [(1, &first), (2, &second)] {
            let (bytes, end) = node.read_from(partition(0), Offset(offset)).await.unwrap();
            assert!(end == Offset(3) && holds(&bytes, value), "offset {offset} of {end}");
        }
    });
}

#[test]
fn large_batches_that_were_acknowledged_survive_kills_and_power_cuts_at_any_moment() {
    for seed in 0..40 {
        let home = Home::new(seed);
        let acknowledged = home.live(async |node| {
            node.create(TOPIC, 1, &[]).await;
            node.append_for_sure(partition(0), "first").await;
            let answers: Vec<_> = large(8).map(|value| node.append(partition(0), &value)).collect();
            let mut acknowledged = 1;
            for answer in answers.into_iter().take(seed as usize % 8) {
                acknowledged = answer.await.unwrap().base.0 + 1;
            }
            acknowledged
        });
        if seed % 2 == 0 {
            home.lose_power(seed);
        }
        home.live(async |node| {
            let next = node.append_for_sure(partition(0), "next").await;
            assert!(next.0 >= acknowledged, "seed {seed}: {next} of {acknowledged}");
            for (offset, value) in (1..next.0).zip(large(8)) {
                let (bytes, _) = node.read_from(partition(0), Offset(offset)).await.unwrap();
                assert!(holds(&bytes, &value), "seed {seed}: offset {offset}");
            }
        });
    }
}

#[test]
fn a_disk_that_fills_up_while_a_large_batch_is_written_refuses_it_whole() {
    let (mut refused, pieces) = (0, 9 * WRITE_BYTES_MAX as u64 / 2);
    for room in (0..pieces).step_by(WRITE_BYTES_MAX / 2) {
        let home = Home::new(room);
        home.live(async |node| {
            node.create(TOPIC, 1, &[]).await;
            node.append_for_sure(partition(0), "first").await;
            home.world.disk().break_below("/data/payments-0", Fault::NoSpaceAfter(room));
            let values: Vec<_> = large(2).collect();
            let answers: Vec<_> = values.iter().map(|value| node.append(partition(0), value)).collect();
            for answer in answers {
                refused += usize::from(answer.await == Err(AppendError::Storage));
            }
            home.world.disk().heal();
            while node.append(partition(0), "after").await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let (bytes, end) = node.read(partition(0)).await.unwrap();
            assert!(
                end == Offset(2) && holds(&bytes, "after") && !holds(&bytes, "aaaa"),
                "room {room}: {end}"
            );
        });
    }
    assert_eq!(refused, 18);
}

#[test]
fn a_failed_sync_of_what_a_refused_batch_left_behind_is_not_tried_again() {
    let home = Home::new(1);
    home.live(async |node| {
        node.create(TOPIC, 1, &[("retention.ms", "1")]).await;
        node.append_for_sure(partition(0), "first").await;
        home.world.disk().break_below("/data/payments-0", Fault::NoSpaceAfter(WRITE_BYTES_MAX as u64));
        let value = large(1).next().unwrap();
        assert_eq!(node.append(partition(0), &value).await, Err(AppendError::Storage));
        home.world.disk().heal();

        // Retention closes the segment, and the sync of what was cut from it fails.
        home.world.disk().break_below("/data/payments-0", Fault::FailNextSync);
        node.crew().directory().tell(partition(0), Sweep);
        assert_eq!(node.append(partition(0), "after").await, Err(AppendError::Storage));
        home.world.disk().heal();
        assert_eq!(node.append(partition(0), "later").await, Err(AppendError::Storage));
    });
}
