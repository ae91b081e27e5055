//! Groups on one node in a simulated world: committed, power lost, a group struck down.

mod world;

use std::time::Duration;

use ottla_actors::{coordinator::Submit, crew::Crew, offsets::AskGroup, stage::reply::Reply};
use ottla_rules::{
    cluster::Command,
    group::{
        Answer, Ask, GroupError, Outcome,
        ask::{CommitOffset, CommitOffsets, ConsumerHeartbeat},
        offsets::Lookup,
    },
    ids::TopicId,
    topic::CONSUMER_OFFSETS,
};
use world::{World, a_moment, run};

const TOPIC: TopicId = TopicId([1; 16]);

async fn create(crew: &Crew, name: &str, id: TopicId, partitions: i32) {
    create_with(crew, name, id, partitions, vec![]).await;
}

async fn create_with(
    crew: &Crew,
    name: &str,
    id: TopicId,
    partitions: i32,
    configs: Vec<(String, Option<String>)>,
) {
    let (reply, answer) = Reply::once();
    let command = Command::CreateTopic {
        name: name.into(),
        id,
        partitions,
        replication: 1,
        assignments: vec![],
        configs: configs.into_iter().collect(),
    };
    crew.directory().coordinator().unwrap().do_send(Submit { command, reply });
    answer.await.unwrap();
}

async fn with_topics(crew: &Crew) {
    create(crew, "t", TOPIC, 1).await;
    create(crew, CONSUMER_OFFSETS, TopicId([2; 16]), 3).await;
}

async fn ask(crew: &Crew, group: &str, ask: Ask) -> Outcome {
    let (reply, answer) = Reply::once();
    crew.directory().ask_group(AskGroup { group: group.into(), ask, reply });
    answer.await
}

/// Asks again while the coordinator is not there yet, or still reads, as every client does.
async fn ask_at_last(crew: &Crew, group: &str, what: Ask) -> Outcome {
    loop {
        match ask(crew, group, what.clone()).await {
            Err(GroupError::Loading | GroupError::NotCoordinator) => a_moment().await,
            outcome => return outcome,
        }
    }
}

fn commit(offset: i64) -> Ask {
    let one = CommitOffset {
        topic: "t".into(),
        topic_id: TOPIC,
        partition: 0,
        offset,
        leader_epoch: 0,
        metadata: String::new(),
    };
    Ask::Commit(CommitOffsets {
        member_id: String::new(),
        instance_id: None,
        generation: -1,
        knows_group_errors: true,
        retention_ms: -1,
        offsets: vec![one],
        transaction: None,
    })
}

async fn committed(crew: &Crew, group: &str) -> Option<i64> {
    let topics = Some(vec![("t".to_owned(), vec![0])]);
    match ask_at_last(crew, group, Ask::FetchOffsets { topics, reader: None, stable: false }).await {
        Ok(Answer::Offsets(fetched)) => match &fetched[0].partitions[0].1 {
            Lookup::Offset(committed) => Some(committed.offset),
            Lookup::Nothing | Lookup::Unstable => None,
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_offset_that_was_answered_is_there_after_a_power_cut() {
    for seed in 0..30 {
        let world = World::new(seed);
        run(async {
            let crew = world.start();
            with_topics(&crew).await;
            for offset in 1..=9 {
                for group in ["a", "b", "c"] {
                    let answer = ask_at_last(&crew, group, commit(offset)).await;
                    assert_eq!(answer, Ok(Answer::Committed(vec![None])), "seed {seed}");
                }
            }
        });
        world.lose_power(seed);
        run(async {
            let crew = world.start();
            for group in ["a", "b", "c"] {
                assert_eq!(committed(&crew, group).await, Some(9), "seed {seed}");
            }
        });
    }
}

#[test]
fn offsets_that_nobody_uses_go_after_a_week_and_do_not_come_back() {
    const DAY_MS: i64 = 86_400_000;
    /// `offsets.retention.check.interval.ms`, and some.
    const A_LOOK: Duration = Duration::from_secs(601);
    let world = World::new(3);
    run(async {
        let crew = world.start();
        with_topics(&crew).await;
        for (days, group) in [(0, "old"), (3, "young")] {
            world.wind_ms(days * DAY_MS);
            assert_eq!(ask_at_last(&crew, group, commit(5)).await, Ok(Answer::Committed(vec![None])));
        }
        world.wind_ms(6 * DAY_MS);
        tokio::time::sleep(A_LOOK).await;
        assert_eq!(committed(&crew, "old").await, Some(5));
        world.wind_ms(7 * DAY_MS);
        tokio::time::sleep(A_LOOK).await;
        assert_eq!((committed(&crew, "old").await, committed(&crew, "young").await), (None, Some(5)));
    });
    world.lose_power(3);
    run(async {
        let crew = world.start();
        assert_eq!((committed(&crew, "old").await, committed(&crew, "young").await), (None, Some(5)));
        // The next coordinator counts on from the commit.
        world.wind_ms(9 * DAY_MS);
        tokio::time::sleep(A_LOOK).await;
        assert_eq!(committed(&crew, "young").await, Some(5));
        world.wind_ms(10 * DAY_MS + 601_000);
        tokio::time::sleep(A_LOOK).await;
        assert_eq!(committed(&crew, "young").await, None);
    });
}

#[test]
fn commits_that_come_together_are_one_batch() {
    run(async {
        let world = World::new(1);
        let crew = world.start();
        with_topics(&crew).await;
        let names: Vec<String> = (0..100).map(|n| format!("group-{n}")).collect();
        let all = names.iter().map(|name| ask(&crew, name, commit(7)));
        let answers = futures_util::future::join_all(all).await;
        assert!(answers.iter().all(|answer| *answer == Ok(Answer::Committed(vec![None]))));
        for name in &names {
            assert_eq!(committed(&crew, name).await, Some(7));
        }
    });
}

/// Longer than `offsets.commit.timeout.ms`.
const A_SLOW_SYNC_MS: u64 = 6_000;

/// A node where group `a` has committed 4, and whose disk is slow from now on.
async fn slow_after_a_commit(world: &World) -> Crew {
    let crew = world.start();
    with_topics(&crew).await;
    assert!(ask_at_last(&crew, "a", commit(4)).await.is_ok());
    world.sync_takes_ms(A_SLOW_SYNC_MS);
    crew
}

#[test]
fn a_commit_that_takes_long_is_answered_in_time_and_counts_when_it_is_safe() {
    let world = World::new(1);
    run(async {
        let crew = slow_after_a_commit(&world).await;
        let began = tokio::time::Instant::now();
        assert_eq!(ask(&crew, "a", commit(5)).await, Err(GroupError::NotAvailable));
        let ms = began.elapsed().as_millis();
        assert!((5_000..5_100).contains(&ms), "after {ms} ms");
        assert_eq!(committed(&crew, "a").await, Some(4));
        // What would only be staged behind it is refused at once, and never was.
        let began = tokio::time::Instant::now();
        for offset in 6..100 {
            assert_eq!(ask(&crew, "a", commit(offset)).await, Err(GroupError::NotAvailable));
        }
        assert_eq!(began.elapsed().as_millis(), 0);
        world.sync_takes_ms(1);
        tokio::time::sleep(Duration::from_millis(A_SLOW_SYNC_MS - 4_500)).await;
        assert_eq!(committed(&crew, "a").await, Some(5));
        assert!(ask(&crew, "b", commit(6)).await.is_ok(), "commits are taken again");
    });
    world.lose_power(1);
    run(async {
        let crew = world.start();
        assert_eq!((committed(&crew, "a").await, committed(&crew, "b").await), (Some(5), Some(6)));
    });
}

#[test]
fn what_is_staged_when_a_write_takes_long_is_refused_and_never_was() {
    let world = World::new(1);
    run(async {
        let crew = slow_after_a_commit(&world).await;
        let first = ask(&crew, "a", commit(5));
        let behind = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ask(&crew, "a", commit(6)).await
        };
        let late = Err(GroupError::NotAvailable);
        assert_eq!(futures_util::future::join(first, behind).await, (late.clone(), late));
        tokio::time::sleep(Duration::from_millis(2 * A_SLOW_SYNC_MS)).await;
        assert_eq!(committed(&crew, "a").await, Some(5));
    });
}

fn joins(crew: &Crew) -> Ask {
    Ask::ConsumerHeartbeat(ConsumerHeartbeat {
        member_id: "alice".into(),
        makes_its_id: true,
        member_epoch: 0,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: Some(60_000),
        topic_names: Some(vec!["t".into()]),
        topic_regex: None,
        server_assignor: None,
        owned: Some(vec![]),
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        image: crew.directory().image(),
        chance: [7; 16],
    })
}

#[test]
fn a_member_whose_joining_takes_long_is_in_before_and_after_a_restart() {
    let world = World::new(1);
    let mut before = None;
    run(async {
        let crew = slow_after_a_commit(&world).await;
        assert_eq!(ask(&crew, "c", joins(&crew)).await, Err(GroupError::NotAvailable));
        tokio::time::sleep(Duration::from_millis(A_SLOW_SYNC_MS)).await;
        before = Some(ask_at_last(&crew, "c", Ask::ConsumerDescribe).await);
    });
    world.lose_power(1);
    world.sync_takes_ms(1);
    run(async {
        let crew = world.start();
        let after = ask_at_last(&crew, "c", Ask::ConsumerDescribe).await;
        assert!(after.is_ok());
        assert_eq!(Some(after), before);
    });
}

#[test]
fn a_group_with_many_offsets_goes_in_batches_of_any_size() {
    run(async {
        let world = World::new(1);
        let crew = world.start();
        create_with(&crew, "t", TOPIC, 50, vec![]).await;
        let small = vec![("max.message.bytes".to_owned(), Some("2000".to_owned()))];
        create_with(&crew, CONSUMER_OFFSETS, TopicId([2; 16]), 1, small).await;
        for partition in 0..50 {
            let Ask::Commit(mut one) = commit(5) else { panic!() };
            one.offsets[0].partition = partition;
            assert!(ask_at_last(&crew, "a", Ask::Commit(one)).await.is_ok());
        }
        world.wind_ms(8 * 86_400_000);
        tokio::time::sleep(Duration::from_secs(601)).await;
        assert_eq!(ask_at_last(&crew, "a", Ask::Describe).await, Err(GroupError::NotFound));
    });
}

thread_local! {
    /// How often this test was told that groups were read from a log.
    static LOADS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

struct CountsLoads;

impl log::Log for CountsLoads {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.args().to_string() == "groups loaded" {
            LOADS.set(LOADS.get() + 1);
        }
    }

    fn flush(&self) {}
}

#[test]
fn groups_that_are_refused_together_are_read_again_together() {
    log::set_logger(&CountsLoads).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    run(async {
        let world = World::new(1);
        let crew = world.start();
        create(&crew, "t", TOPIC, 1).await;
        create(&crew, CONSUMER_OFFSETS, TopicId([2; 16]), 1).await;
        for group in ["a", "b", "c"] {
            assert!(ask_at_last(&crew, group, joins(&crew)).await.is_ok());
        }
        // Nobody is told before the housekeeper has looked.
        world.free_bytes(1);
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        assert_eq!(LOADS.get(), 0);
        let leave = || {
            let Ask::ConsumerHeartbeat(mut beat) = joins(&crew) else { panic!() };
            beat.member_epoch = -1;
            Ask::ConsumerHeartbeat(beat)
        };
        let all = ["a", "b", "c"].map(|group| ask(&crew, group, leave()));
        for answer in futures_util::future::join_all(all).await {
            assert_eq!(answer, Err(GroupError::NotCoordinator));
        }
        world.free_bytes(1 << 40);
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        assert_eq!(LOADS.get(), 1);
        for group in ["a", "b", "c"] {
            assert!(ask_at_last(&crew, group, Ask::ConsumerDescribe).await.is_ok());
            assert!(ask_at_last(&crew, group, leave()).await.is_ok());
        }
    });
}

#[cfg(feature = "provoke")]
mod provoked {
    use ottla_actors::{
        observe::{CoordinatorSeen, look},
        offsets::{ProvokeGroupOf, ProvokeOffsets},
    };

    use super::*;

    async fn seen(crew: &Crew) -> CoordinatorSeen {
        look(crew.shared()).await.coordinator.unwrap()
    }

    #[test]
    fn a_group_that_panics_again_and_again_is_given_up_and_counted() {
        run(async {
            let world = World::new(3);
            let crew = world.start();
            with_topics(&crew).await;
            for falls in 1..=11 {
                assert!(ask_at_last(&crew, "a", commit(5)).await.is_ok());
                for offsets in crew.directory().offsets() {
                    offsets.do_send(ProvokeGroupOf("a".into()));
                }
                while seen(&crew).await.panics < falls {
                    a_moment().await;
                }
            }
            assert_eq!(seen(&crew).await, CoordinatorSeen { panics: 11, given_up: 1 });
        });
    }

    #[test]
    fn who_takes_over_reads_what_is_still_being_made_safe() {
        run(async {
            let world = World::new(2);
            let crew = world.start();
            with_topics(&crew).await;
            assert!(ask_at_last(&crew, "a", commit(4)).await.is_ok());
            world.sync_takes_ms(3_000);
            let under_way = ask(&crew, "a", commit(5));
            let strike = async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                for offsets in crew.directory().offsets() {
                    offsets.do_send(ProvokeOffsets);
                }
            };
            let (answer, ()) = futures_util::future::join(under_way, strike).await;
            assert_eq!(answer, Err(GroupError::NotCoordinator));
            assert_eq!(committed(&crew, "a").await, Some(5));
        });
    }

    #[test]
    fn a_group_that_panics_is_read_again_and_its_neighbours_go_on() {
        run(async {
            let world = World::new(2);
            let crew = world.start();
            with_topics(&crew).await;
            for group in ["a", "b"] {
                assert!(ask_at_last(&crew, group, commit(5)).await.is_ok());
            }
            for offsets in crew.directory().offsets() {
                offsets.do_send(ProvokeGroupOf("a".into()));
            }
            assert_eq!(committed(&crew, "b").await, Some(5));
            assert_eq!(committed(&crew, "a").await, Some(5), "what it knew is in the log");
            assert_eq!(ask_at_last(&crew, "a", commit(6)).await, Ok(Answer::Committed(vec![None])));
            assert_eq!(committed(&crew, "a").await, Some(6));
        });
    }
}
