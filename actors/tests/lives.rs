//! The lives of a node, on one task set in a simulated world: who falls gets up, and what was promised holds over kills and power cuts.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ottla_actors::{
    coordinator::TakeProducerId,
    partition::{DeleteBefore, LookUp, PlanRead, Wanted},
    stage::{bell::Bell, reply::Reply},
};
use ottla_host::{Fault, Host};
use ottla_rules::{
    batch::build::BatchBuilder,
    cluster::{Command, Image},
    ids::{Offset, PartitionId, TopicId},
    partition::{AppendError, ReadAsk, ReadError},
};

use self::home::{Home, TOPIC, holds, partition};

mod home;

#[test]
fn what_was_appended_is_read_back() {
    Home::new(1).live(async |node| {
        node.create(TOPIC, 1, &[]).await;

        assert_eq!(node.append_for_sure(partition(0), "ten euros").await, Offset(0));
        assert_eq!(node.append(partition(0), "five euros").await.unwrap().base, Offset(1));

        let (bytes, high_watermark) = node.read(partition(0)).await.unwrap();
        assert_eq!(high_watermark, Offset(2));
        assert!(holds(&bytes, "ten euros") && holds(&bytes, "five euros"));
    });
}

#[test]
fn batches_that_come_before_the_log_is_there_are_taken_in_order() {
    let home = Home::new(1);
    home.live(async |node| {
        node.create(TOPIC, 1, &[]).await;
        node.append_for_sure(partition(0), "first").await;
    });
    home.live(async |node| {
        while node.crew().directory().shard_of(partition(0)).is_none() {
            tokio::task::yield_now().await;
        }
        // Nobody has an answer yet: as producers do that have several requests in flight.
        let answers = [node.append(partition(0), "second"), node.append(partition(0), "third")];
        assert_eq!(node.read(partition(0)).await, Err(ReadError::NotHere), "it is still being recovered");

        for (answer, base) in answers.into_iter().zip(1..) {
            assert_eq!(answer.await.unwrap().base, Offset(base));
        }
    });
}

#[test]
fn a_retry_of_records_that_are_old_is_known_after_a_kill() {
    let home = Home::new(1);
    let old =
        |sequence| BatchBuilder::new().producer(1_000, 0, sequence).record("key", "of 1970", 0).parsed();
    home.live(async |node| {
        node.create(TOPIC, 1, &[]).await;
        node.append_for_sure(partition(0), "first").await;
        assert_eq!(node.append_batch(partition(0), old(0)).await.unwrap().base, Offset(1));
    });
    home.live(async |node| {
        node.append_for_sure(partition(0), "third").await;
        // The answer was lost with the node.
        assert_eq!(node.append_batch(partition(0), old(0)).await.unwrap().base, Offset(1));
        assert_eq!(node.append_batch(partition(0), old(1)).await.unwrap().base, Offset(3));
    });
}

#[test]
fn a_reader_who_waits_hears_the_bell() {
    Home::new(1).live(async |node| {
        node.create(TOPIC, 1, &[]).await;
        node.append_for_sure(partition(0), "first").await;
        let ask =
            ReadAsk { from: Offset(1), current_epoch: None, last_fetched_epoch: None, committed_only: false };
        let (bell, (reply, answer)) = (Bell::new(), Reply::once());
        let plan = PlanRead { ask, bytes_max: 1000, bell: Some(bell.pull()), is_alone: false, reply };
        node.crew().directory().tell(partition(0), plan);
        assert!(answer.await.unwrap().slice.is_none());

        node.append(partition(0), "second").await.unwrap();

        assert!(bell.rung().await.is_none(), "who asks others as well asks again");
    });
}

#[test]
fn who_asked_the_same_and_nobody_else_is_brought_the_same_plan() {
    Home::new(1).live(async |node| {
        node.create(TOPIC, 1, &[]).await;
        node.append_for_sure(partition(0), "first").await;
        let mut bells = Vec::new();
        for bytes_max in [1000, 1000, 2000] {
            let ask = ReadAsk {
                from: Offset(1),
                current_epoch: None,
                last_fetched_epoch: None,
                committed_only: false,
            };
            let (bell, (reply, answer)) = (Bell::new(), Reply::once());
            let plan = PlanRead { ask, bytes_max, bell: Some(bell.pull()), is_alone: true, reply };
            node.crew().directory().tell(partition(0), plan);
            assert!(answer.await.unwrap().slice.is_none());
            bells.push(bell);
        }

        node.append(partition(0), "second").await.unwrap();

        let mut brought = Vec::new();
        for bell in &bells {
            brought.push(bell.rung().await.unwrap());
        }
        let shared = &brought[0].plan;
        assert_eq!((shared.bounds.from, shared.bounds.upto), (Offset(1), Offset(2)));
        let slice = shared.slice.clone().unwrap();
        assert!(holds(&slice.read(true).unwrap().read().unwrap(), "second"));
        assert!(Arc::ptr_eq(&brought[0], &brought[1]));
        assert!(!Arc::ptr_eq(&brought[0], &brought[2]), "another question");
    });
}

#[test]
fn where_nobody_is_the_reply_answers_by_itself() {
    Home::new(1).live(async |node| {
        assert_eq!(node.append(partition(0), "lost").await, Err(AppendError::NotHere));
        assert_eq!(node.read(partition(0)).await.unwrap_err(), ReadError::NotHere);
    });
}

#[test]
fn a_clean_stop_and_a_new_start_keep_everything() {
    let home = Home::new(1);
    home.live(async |node| {
        node.create(TOPIC, 2, &[]).await;
        node.append_for_sure(partition(0), "ten euros").await;
        assert!(node.stop().await, "everyone left in order");
    });
    home.lose_power(1);
    home.live(async |node| {
        assert_eq!(node.append_for_sure(partition(0), "five euros").await, Offset(1));
        assert!(holds(&node.read(partition(0)).await.unwrap().0, "ten euros"));
    });
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    for seed in 0..20 {
        let home = Home::new(seed);
        home.live(async |node| {
            node.create(TOPIC, 3, &[]).await;
            for round in 0..=seed % 5 {
                for index in 0..3 {
                    node.append_for_sure(partition(index), &format!("p{index} r{round}")).await;
                }
            }
        });
        home.lose_power(seed);
        home.live(async |node| {
            for index in 0..3 {
                node.append_for_sure(partition(index), "after").await;
                let (bytes, _) = node.read(partition(index)).await.unwrap();
                for round in 0..=seed % 5 {
                    assert!(
                        holds(&bytes, &format!("p{index} r{round}")),
                        "seed {seed}: p{index} r{round} is lost"
                    );
                }
            }
        });
    }
}

#[test]
fn a_recovery_that_finds_no_room_is_tried_again_until_there_is_some() {
    let home = Home::new(1);
    home.live(async |node| {
        node.create(TOPIC, 1, &[]).await;
        node.append_for_sure(partition(0), "acknowledged").await;
    });
    // The segment is gone with the page cache, the journal has it, and there is no room to replay it.
    home.world.disk().crash();
    home.world.disk().break_below("/data/payments-0", Fault::NoSpaceAfter(0));
    home.live(async |node| {
        let refused = loop {
            match node.append(partition(0), "too early").await {
                Err(AppendError::NotHere) => tokio::time::sleep(Duration::from_millis(1)).await,
                other => break other,
            }
        };
        assert_eq!(refused, Err(AppendError::Storage));

        home.world.disk().heal();
        while node.append(partition(0), "after").await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (bytes, end) = node.read(partition(0)).await.unwrap();
        assert!(holds(&bytes, "acknowledged") && holds(&bytes, "after"));
        assert_eq!(end, Offset(2));
    });
}

#[test]
fn what_a_reader_saw_after_a_kill_survives_a_power_cut_too() {
    for seed in 0..20 {
        let home = Home::new(seed);
        home.live(async |node| {
            node.create(TOPIC, 1, &[]).await;
            node.append_for_sure(partition(0), "first").await;
            // Killed with this in the page cache, perhaps, and on no platter.
            drop(node.append(partition(0), "second"));
            tokio::time::sleep(Duration::from_millis(seed % 4)).await;
        });
        let seen = home.live(async |node| {
            loop {
                match node.read(partition(0)).await {
                    Ok((bytes, _)) => return holds(&bytes, "second"),
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        });
        home.lose_power(seed);
        home.live(async |node| {
            node.append_for_sure(partition(0), "third").await;
            let (bytes, _) = node.read(partition(0)).await.unwrap();
            assert!(!seen || holds(&bytes, "second"), "seed {seed}: it was read, and is gone");
        });
    }
}

#[test]
fn a_topic_of_the_same_name_begins_empty_however_soon_it_comes() {
    Home::new(1).live(async |node| {
        node.create(TOPIC, 1, &[]).await;
        node.append_for_sure(partition(0), "of the first").await;
        for round in 8..20 {
            let before = node.crew().directory().image().topic_named("payments").unwrap().id;
            node.submit(Command::DeleteTopic { id: before }).await.unwrap();
            node.create(TopicId([round; 16]), 1, &[]).await;
        }

        let last = PartitionId { topic: TopicId([19; 16]), index: 0 };
        assert_eq!(node.append_for_sure(last, "of the last").await, Offset(0));
        let (bytes, _) = node.read(last).await.unwrap();
        assert!(holds(&bytes, "of the last") && !holds(&bytes, "of the first"));
    });
}

#[test]
fn a_directory_has_one_owner_however_often_its_topic_is_made_anew() {
    let large = "x".repeat(600_000);
    for seed in 0..20 {
        let mut home = Home::new(seed);
        home.journal_bytes_max = 1 << 20;
        home.live(async |node| {
            node.create(TOPIC, 1, &[]).await;
            node.append_for_sure(partition(0), "of the first").await;
            // Has no room in the journal, so the segment is synced, which takes long: the first of them leaves when that is over.
            home.world.set_pool_delay_ms(400..1000);
            (0..3).for_each(|_| drop(node.append(partition(0), &large)));
            tokio::time::sleep(Duration::from_millis(100)).await; // Of simulated time.
            home.world.set_pool_delay_ms(0..20);
            let mut last = TOPIC;
            for round in 8..11 {
                let id = TopicId([round; 16]);
                let delete = node.submit(Command::DeleteTopic { id: last });
                let (deleted, _) = tokio::join!(delete, node.create(id, 1, &[]));
                assert!(deleted.is_ok(), "seed {seed}");
                last = id;
            }

            let last = PartitionId { topic: last, index: 0 };
            assert_eq!(node.append_for_sure(last, "of the last").await, Offset(0), "seed {seed}");
            tokio::time::sleep(Duration::from_secs(1)).await; // Whoever leaves has left.
            assert_eq!(
                node.append(last, "goes on").await.map(|appended| appended.base),
                Ok(Offset(1)),
                "seed {seed}"
            );
            let (bytes, _) = node.read(last).await.unwrap();
            assert!(holds(&bytes, "of the last") && holds(&bytes, "goes on"), "seed {seed}");
        });
        home.live(async |node| {
            let last = PartitionId { topic: TopicId([10; 16]), index: 0 };
            assert_eq!(node.append_for_sure(last, "after").await, Offset(2), "seed {seed}");
        });
    }
}

#[test]
fn a_topic_that_is_offline_is_deleted_with_its_files() {
    // The second does not even say whose directory it is.
    for broken in ["/data/payments-0/00000000000000000000.log", "/data/payments-0"] {
        let home = Home::new(1);
        home.live(async |node| {
            node.create(TOPIC, 1, &[]).await;
            node.append_for_sure(partition(0), "lost").await;
            assert!(node.stop().await);
        });
        let disk = Host::simulated(&home.world).disk;
        home.world.disk().break_below(broken, Fault::FailReads);
        home.live(async |node| {
            while node.append(partition(0), "refused").await != Err(AppendError::Storage) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            node.submit(Command::DeleteTopic { id: TOPIC }).await.unwrap();
            while disk.exists("/data/payments-0") {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let left = disk.list("/data").unwrap();
            assert!(!left.iter().any(|entry| entry.name.starts_with("payments")), "{left:?}");
            home.world.disk().heal();
            node.create(TopicId([8; 16]), 1, &[]).await;
            let new = PartitionId { topic: TopicId([8; 16]), index: 0 };
            assert_eq!(node.append_for_sure(new, "of the new one").await, Offset(0));
        });
    }
}

#[test]
fn records_before_an_offset_can_be_deleted_and_stay_deleted() {
    for seed in 0..10 {
        let home = Home::new(seed);
        home.live(async |node| {
            node.create(TOPIC, 1, &[]).await;
            for value in ["a", "b", "c"] {
                node.append_for_sure(partition(0), value).await;
            }
            // Both on their way at once: the later one must be the last word.
            let answers = [1, 2].map(|upto| {
                let (reply, answer) = Reply::once();
                let upto = Some(Offset(upto));
                node.crew().directory().tell(partition(0), DeleteBefore { upto, reply });
                answer
            });
            for (answer, start) in answers.into_iter().zip([1, 2]) {
                assert_eq!(answer.await, Ok(Offset(start)));
            }
        });
        home.lose_power(seed);
        home.live(async |node| {
            node.append_for_sure(partition(0), "d").await;
            let (reply, answer) = Reply::once();
            let wanted = Wanted::Earliest;
            let look = LookUp { wanted, committed_only: false, current_epoch: None, reply };
            node.crew().directory().tell(partition(0), look);
            assert_eq!(answer.await.unwrap().unwrap().offset, Offset(2), "seed {seed}");
        });
    }
}

#[test]
fn what_has_no_room_in_the_journal_is_made_safe_without_it() {
    for seed in 0..5 {
        let mut home = Home::new(seed);
        home.journal_bytes_max = 1 << 20;
        let large = "x".repeat(600_000);
        home.live(async |node| {
            node.create(TOPIC, 2, &[]).await;
            for round in 0..4 {
                // Larger than any file of this journal; and small ones behind it, also of somebody else.
                node.append_for_sure(partition(0), &format!("{large}{round}.")).await;
                let small = format!("small {round}.");
                let (same, other) = (node.append(partition(0), &small), node.append(partition(1), &small));
                same.await.unwrap();
                other.await.unwrap();
            }
        });
        home.lose_power(seed);
        home.live(async |node| {
            for index in 0..2 {
                let expected = if index == 0 { 8 } else { 4 };
                let end = node.append_for_sure(partition(index), "after").await;
                assert_eq!(end, Offset(expected), "seed {seed}: partition {index} lost something");
            }
        });
    }
}

#[test]
fn producer_ids_are_never_given_out_twice() {
    let home = Home::new(1);
    let mut seen = BTreeSet::new();
    for life in 0..3 {
        home.live(async |node| {
            let answers: Vec<_> = (0..1500)
                .map(|_| {
                    let (reply, answer) = Reply::once();
                    node.crew().directory().coordinator().unwrap().do_send(TakeProducerId { reply });
                    answer
                })
                .collect();
            for answer in answers {
                assert!(seen.insert(answer.await.unwrap()), "given out twice, life {life}");
            }
        });
        home.lose_power(life);
    }
}

#[test]
fn ten_thousand_partitions_begin_without_a_file() {
    let home = Home::new(1);
    home.live(async |node| {
        let image = node.create(TOPIC, 10_000, &[]).await;
        assert_eq!(image.topic(TOPIC).unwrap().partitions.len(), 10_000);
        assert_eq!(node.append_for_sure(partition(9_999), "one").await, Offset(0));
    });
    let names = Host::simulated(&home.world).disk.list("/data").unwrap();
    let dirs: Vec<_> = names.iter().filter(|entry| entry.name.starts_with("payments-")).collect();
    assert_eq!(dirs.len(), 1, "{dirs:?}");
}

#[test]
fn one_failed_sync_ends_the_whole_directory_and_no_stop_is_clean_after_it() {
    let home = Home::new(1);
    home.live(async |node| {
        node.create(TOPIC, 2, &[("flush.messages", "1000")]).await;
        for index in 0..2 {
            node.append_for_sure(partition(index), "in the page cache").await;
        }
        // One partition's segments cannot be synced. The journal and the neighbour's could, and must not be believed.
        home.world.disk().break_below("/data/payments-0", Fault::FailNextSync);
        node.submit(Command::SetTopicConfigs { id: TOPIC, configs: vec![] }).await.unwrap();
        let refused = node.append(partition(0), "never safe").await;
        assert_eq!(refused, Err(AppendError::Storage));
        assert_eq!(node.append(partition(1), "never safe").await, Err(AppendError::Storage));

        assert!(!node.stop().await, "what a failed sync left is not clean");
    });
}

#[test]
fn what_a_failed_sync_left_is_written_again_before_anybody_counts_on_it() {
    // On pages of its own: what comes later must not save it by being written beside it.
    let large = format!("{}safe in the journal", "x".repeat(10_000));
    for seed in 0..20 {
        let home = Home::new(seed);
        home.live(async |node| {
            node.create(TOPIC, 1, &[]).await;
            node.append_for_sure(partition(0), &large).await;
            // The segments cannot be synced, and their pages are clean from then on.
            let segment = "/data/payments-0/00000000000000000000.log";
            home.world.disk().break_below(segment, Fault::FailNextSync);
            assert!(!node.stop().await, "what a failed sync left is not clean");
        });
        // The process starts again, the machine has not: all of it can still be read.
        home.live(async |node| {
            node.append_for_sure(partition(0), "second").await;
            assert!(node.stop().await, "seed {seed}");
        });
        home.lose_power(seed);
        home.live(async |node| {
            assert_eq!(node.append_for_sure(partition(0), "third").await, Offset(2), "seed {seed}");
            let (bytes, _) = node.read(partition(0)).await.unwrap();
            assert!(holds(&bytes, &large) && holds(&bytes, "second"), "seed {seed}");
        });
    }
}

#[test]
fn what_a_reader_saw_of_a_failed_sync_of_the_journal_stays() {
    for seed in 0..20 {
        let home = Home::new(seed);
        home.live(async |node| {
            node.create(TOPIC, 1, &[]).await;
            node.append_for_sure(partition(0), "first").await;
            home.world.disk().break_below("/data/.ottla/journal", Fault::FailNextSync);
            assert_eq!(node.append(partition(0), "never promised").await, Err(AppendError::Storage));
        });
        let seen = home.live(async |node| {
            let end = node.append_for_sure(partition(0), "second").await;
            (end, holds(&node.read(partition(0)).await.unwrap().0, "never promised"))
        });
        home.lose_power(seed);
        home.live(async |node| {
            let end = node.append_for_sure(partition(0), "third").await;
            assert_eq!(end.0, seen.0.0 + 1, "seed {seed}");
            let (bytes, _) = node.read(partition(0)).await.unwrap();
            assert!(holds(&bytes, "first") && holds(&bytes, "second"), "seed {seed}");
            assert!(!seen.1 || holds(&bytes, "never promised"), "seed {seed}: it was read, and is gone");
        });
    }
}

const NUMBERS: [&str; 5] = ["zero.", "one.", "two.", "three.", "four."];

#[test]
fn a_power_cut_around_a_move_of_the_log_start_leaves_one_start_or_the_other_and_all_behind_it() {
    for seed in 0..60 {
        let home = Home::new(seed);
        // All that is there is deleted, or the first half; before the cut nothing more comes, or a record.
        let (upto, more) = (if seed % 2 == 0 { 4 } else { 2 }, seed % 4 < 2);
        let answered = home.live(async |node| {
            node.create(TOPIC, 1, &[]).await;
            for value in &NUMBERS[..4] {
                node.append_for_sure(partition(0), value).await;
            }
            let (reply, mut answer) = {
                let (reply, answer) = Reply::once();
                (reply, Box::pin(answer))
            };
            node.crew().directory().tell(partition(0), DeleteBefore { upto: Some(Offset(upto)), reply });
            if more {
                node.append_for_sure(partition(0), NUMBERS[4]).await;
            }
            let cut = tokio::time::sleep(Duration::from_millis(seed % 25));
            tokio::select! {
                told = &mut answer => { assert_eq!(told, Ok(Offset(upto))); true }
                () = cut => false,
            }
        });
        home.lose_power(seed);
        home.live(async |node| {
            let end = node.append_for_sure(partition(0), "last").await;
            assert_eq!(end, Offset(if more { 5 } else { 4 }), "seed {seed}: the end moved");
            let (reply, answer) = Reply::once();
            let look = LookUp { wanted: Wanted::Earliest, committed_only: false, current_epoch: None, reply };
            node.crew().directory().tell(partition(0), look);
            let start = answer.await.unwrap().unwrap().offset.0;
            assert!(start == upto || (start == 0 && !answered), "seed {seed}: it begins at {start}");
            let (bytes, _) = node.read_from(partition(0), Offset(start)).await.unwrap();
            for value in NUMBERS[start as usize..end.0 as usize].iter().chain(&["last"]) {
                assert!(holds(&bytes, value), "seed {seed}: {value} is lost");
            }
        });
    }
}

#[cfg(feature = "provoke")]
mod provoked {
    use ottla_actors::partition::Provoke;

    use super::*;

    #[test]
    fn a_partition_that_panics_is_led_again_and_its_neighbours_never_stop() {
        Home::new(1).live(async |node| {
            node.create(TOPIC, 2, &[]).await;
            node.append_for_sure(partition(0), "before").await;
            node.append_for_sure(partition(1), "before").await;
            let epoch = |image: &Image| image.leader_epoch(image.partition(partition(0)).unwrap());
            let before = epoch(&node.crew().directory().image());

            node.crew().directory().tell(partition(0), Provoke);
            // Queued behind the panic: dropped, and so answered.
            assert_eq!(node.append(partition(0), "too late").await, Err(AppendError::NotHere));
            assert_eq!(node.append(partition(1), "meanwhile").await.unwrap().base, Offset(1));

            assert_eq!(node.append_for_sure(partition(0), "after").await, Offset(1));
            assert!(holds(&node.read(partition(0)).await.unwrap().0, "before"));
            assert!(epoch(&node.crew().directory().image()) > before, "a new reign has a new epoch");
        });
    }

    #[test]
    fn one_that_panics_again_and_again_is_given_up_and_the_node_stays() {
        let home = Home::new(1);
        home.live(async |node| {
            node.create(TOPIC, 2, &[]).await;
            for _ in 0..11 {
                node.append_for_sure(partition(0), "again").await;
                node.crew().directory().tell(partition(0), Provoke);
                assert_eq!(node.append(partition(0), "too late").await, Err(AppendError::NotHere));
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(node.append(partition(0), "nobody").await, Err(AppendError::NotHere));
            node.append_for_sure(partition(1), "the neighbour").await;

            assert!(!node.stop().await, "somebody was missing: the journal is still needed");
        });
        home.lose_power(1);
        home.live(async |node| {
            assert_eq!(node.append_for_sure(partition(0), "a new chance").await, Offset(11));
        });
    }
}
