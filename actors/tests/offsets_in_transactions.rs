//! Offsets within transactions in a simulated world: power lost, a group struck down, between the commit and the marker.

mod world;

use ottla_actors::{
    coordinator::Submit,
    crew::Crew,
    offsets::AskGroup,
    stage::reply::Reply,
    transactions::{BeginSession, DescribeTransaction, EndTransaction, SessionReply},
};
use ottla_rules::{
    cluster::Command,
    group::{
        Answer, Ask, GroupError, Outcome,
        ask::{CommitOffset, CommitOffsets, InTransaction},
        offsets::Lookup,
    },
    ids::TopicId,
    partition::Joining,
    topic::{CONSUMER_OFFSETS, TRANSACTION_STATE},
    transaction::{
        Protocol, Session, Status, TransactionError,
        coordinator::{Begin, End},
    },
};
use world::{World, a_moment, run};

const TOPIC: TopicId = TopicId([1; 16]);
const ID: &str = "etl";

async fn with_topics(crew: &Crew) {
    for (name, id) in
        [("t", TOPIC), (CONSUMER_OFFSETS, TopicId([2; 16])), (TRANSACTION_STATE, TopicId([3; 16]))]
    {
        let (reply, answer) = Reply::once();
        let command = Command::CreateTopic {
            name: name.into(),
            id,
            partitions: 3,
            replication: 1,
            assignments: vec![],
            configs: vec![],
        };
        crew.directory().coordinator().unwrap().do_send(Submit { command, reply });
        answer.await.unwrap();
    }
}

/// Asks a group again while its coordinator is not there yet, or its transaction's, as every client does.
async fn ask(crew: &Crew, what: Ask) -> Outcome {
    loop {
        let (reply, answer) = Reply::once();
        crew.directory().ask_group(AskGroup { group: "g".into(), ask: what.clone(), reply });
        match answer.await {
            Err(
                GroupError::Loading
                | GroupError::NotCoordinator
                | GroupError::Transaction(
                    TransactionError::Loading | TransactionError::NotHere | TransactionError::Concurrent,
                ),
            ) => a_moment().await,
            outcome => return outcome,
        }
    }
}

async fn session(make: impl Fn(SessionReply)) -> Session {
    loop {
        let (reply, answer) = Reply::once();
        make(reply);
        match answer.await {
            Ok(session) => return session,
            Err(TransactionError::Loading | TransactionError::NotHere | TransactionError::Concurrent) => {
                a_moment().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn begin(crew: &Crew) -> Session {
    let begin = Begin { timeout_ms: 60_000, had: None };
    let make = |reply| crew.directory().ask_transaction(ID, BeginSession { id: ID.into(), begin, reply });
    session(make).await
}

async fn end(crew: &Crew, session_now: Session, commit: bool) -> Session {
    let end = End { session: session_now, commit, protocol: Protocol::V2 };
    let make = |reply| crew.directory().ask_transaction(ID, EndTransaction { id: ID.into(), end, reply });
    session(make).await
}

fn commit(session: Session, offset: i64) -> Ask {
    commit_of(session, 0, offset)
}

/// The same, of nobody's transaction.
fn plain(session: Session, partition: i32) -> Ask {
    let Ask::Commit(one) = commit_of(session, partition, 5) else { panic!() };
    Ask::Commit(CommitOffsets { transaction: None, ..one })
}

fn commit_of(session: Session, partition: i32, offset: i64) -> Ask {
    let one = CommitOffset {
        topic: "t".into(),
        topic_id: TOPIC,
        partition,
        offset,
        leader_epoch: 0,
        metadata: String::new(),
    };
    let joining = Joining { id: ID.into(), implicit: true };
    Ask::Commit(CommitOffsets {
        member_id: String::new(),
        instance_id: None,
        generation: -1,
        knows_group_errors: false,
        retention_ms: -1,
        offsets: vec![one],
        transaction: Some(InTransaction { joining, session }),
    })
}

async fn look(crew: &Crew) -> Lookup {
    let topics = Some(vec![("t".to_owned(), vec![0])]);
    match ask(crew, Ask::FetchOffsets { topics, reader: None, stable: true }).await {
        Ok(Answer::Offsets(mut fetched)) => fetched.remove(0).partitions.remove(0).1,
        other => panic!("{other:?}"),
    }
}

/// The offset once nothing can change it any more.
async fn settled(crew: &Crew) -> Option<i64> {
    loop {
        match look(crew).await {
            Lookup::Unstable => a_moment().await,
            Lookup::Nothing => return None,
            Lookup::Offset(committed) => return Some(committed.offset),
        }
    }
}

async fn status(crew: &Crew) -> Status {
    loop {
        let (reply, answer) = Reply::once();
        crew.directory().ask_transaction(ID, DescribeTransaction { id: ID.into(), reply });
        match answer.await {
            Ok(Some(facts)) => return facts.status,
            Ok(None) => panic!("the id is forgotten"),
            Err(_) => a_moment().await,
        }
    }
}

#[test]
fn a_power_cut_between_commit_and_marker_loses_nothing() {
    for seed in 0..30 {
        let world = World::new(seed);
        let (mut now, mut wanted) = (None, None);
        for round in 0..4 {
            // In turn: cut before the end, right after it, and when everything is done.
            let (commits, ends, waits) = (seed % 2 == 0, round % 3 > 0, round % 3 > 1);
            run(async {
                let crew = world.start();
                if round == 0 {
                    with_topics(&crew).await;
                    now = Some(begin(&crew).await);
                }
                let session = now.unwrap();
                let answer = ask(&crew, commit(session, round)).await;
                assert_eq!(answer, Ok(Answer::Committed(vec![None])), "seed {seed}");
                assert_eq!(look(&crew).await, Lookup::Unstable, "seed {seed}");
                if ends {
                    now = Some(end(&crew, session, commits).await);
                    wanted = if commits { Some(round) } else { wanted };
                }
                if waits {
                    assert_eq!(settled(&crew).await, wanted, "seed {seed}");
                }
            });
            world.lose_power(seed);
            run(async {
                let crew = world.start();
                if ends {
                    assert_eq!(settled(&crew).await, wanted, "seed {seed} round {round}");
                } else {
                    assert_eq!(look(&crew).await, Lookup::Unstable, "seed {seed} round {round}");
                    assert_eq!(status(&crew).await, Status::Ongoing, "seed {seed} round {round}");
                }
            });
        }
    }
}

#[test]
fn a_new_session_makes_an_end_of_what_the_old_one_left() {
    run(async {
        let world = World::new(3);
        let crew = world.start();
        with_topics(&crew).await;
        let old = begin(&crew).await;
        assert!(ask(&crew, commit(old, 5)).await.is_ok());
        let new = begin(&crew).await;
        assert_eq!(settled(&crew).await, None);
        let fenced = Err(GroupError::Transaction(TransactionError::Fenced));
        assert_eq!(ask(&crew, commit(old, 6)).await, fenced);
        assert!(ask(&crew, commit(new, 7)).await.is_ok());
        end(&crew, new, true).await;
        assert_eq!(settled(&crew).await, Some(7));
    });
}

#[test]
fn an_offset_of_a_transaction_does_not_pass_a_deletion_that_was_asked_for_before() {
    let world = World::new(3);
    run(async {
        let crew = world.start();
        with_topics(&crew).await;
        let producer = begin(&crew).await;
        // The transaction is open in the group's partition, so that nobody is asked about it again.
        assert!(ask(&crew, commit_of(producer, 1, 5)).await.is_ok());
        assert!(ask(&crew, plain(producer, 0)).await.is_ok());
        world.sync_takes_ms(1_000);
        // One batch is under way, the deletion is staged behind it, and the offset comes.
        let under_way = ask(&crew, plain(producer, 2));
        let deletes = async {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            ask(&crew, Ask::DeleteOffsets { topics: vec![("t".into(), 0)] }).await
        };
        let commits = async {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            ask(&crew, commit(producer, 77)).await
        };
        let (first, deleted, committed) = futures_util::future::join3(under_way, deletes, commits).await;
        assert!(first.is_ok() && deleted.is_ok() && committed.is_ok(), "{first:?} {deleted:?} {committed:?}");
        world.sync_takes_ms(1);
        end(&crew, producer, true).await;
        assert_eq!(settled(&crew).await, Some(77));
    });
    world.lose_power(3);
    run(async {
        assert_eq!(settled(&world.start()).await, Some(77));
    });
}

/// What waits behind what its group has staged is refused with that when the write before them takes too long, and was never sent.
#[test]
fn an_offset_of_a_transaction_behind_what_takes_long_is_refused_with_it() {
    let world = World::new(3);
    run(async {
        let crew = world.start();
        with_topics(&crew).await;
        let producer = begin(&crew).await;
        assert!(ask(&crew, commit_of(producer, 1, 5)).await.is_ok());
        assert!(ask(&crew, plain(producer, 0)).await.is_ok());
        // Longer than `offsets.commit.timeout.ms`.
        world.sync_takes_ms(7_000);
        let began = tokio::time::Instant::now();
        let after = async |ms, what| {
            tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
            (ask(&crew, what).await, began.elapsed().as_millis() / 100)
        };
        let (first, deleted, committed) = futures_util::future::join3(
            after(0, plain(producer, 2)),
            after(100, Ask::DeleteOffsets { topics: vec![("t".into(), 0)] }),
            after(200, commit(producer, 77)),
        )
        .await;
        let late = (Err(GroupError::NotAvailable), 50);
        assert_eq!((first, deleted, committed), (late.clone(), late.clone(), late));
        world.sync_takes_ms(1);
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        assert!(matches!(look(&crew).await, Lookup::Offset(committed) if committed.offset == 5));
        end(&crew, producer, true).await;
        assert_eq!(settled(&crew).await, Some(5));
    });
}

#[cfg(feature = "provoke")]
mod provoked {
    use ottla_actors::offsets::ProvokeGroupOf;

    use super::*;

    #[test]
    fn a_group_that_panics_knows_again_what_is_pending() {
        run(async {
            let world = World::new(2);
            let crew = world.start();
            with_topics(&crew).await;
            let mut session = begin(&crew).await;
            let strike = || {
                for offsets in crew.directory().offsets() {
                    offsets.do_send(ProvokeGroupOf("g".into()));
                }
            };
            for round in 0..3 {
                assert!(ask(&crew, commit(session, round)).await.is_ok());
                strike();
                assert_eq!(look(&crew).await, Lookup::Unstable);
                strike();
                // The marker may come while the group is being read.
                session = end(&crew, session, round != 1).await;
                assert_eq!(settled(&crew).await, Some(if round == 1 { 0 } else { round }));
            }
        });
    }
}
