//! Transactional ids on one node in a simulated world whose disk is slow.

mod world;

use std::time::Duration;

use ottla_actors::{
    coordinator::Submit,
    crew::Crew,
    stage::reply::Reply,
    transactions::{BeginSession, DescribeTransaction, EndTransaction, JoinTransaction, SessionReply},
};
use ottla_rules::{
    cluster::Command,
    ids::TopicId,
    topic::TRANSACTION_STATE,
    transaction::{
        Facts, Protocol, Session, Status, TopicPartition, TransactionError,
        coordinator::{Begin, End},
        join::Join,
    },
};
use world::{World, a_moment, run};

const ID: &str = "etl";
/// Longer than a client waits for an answer.
const A_SLOW_SYNC_MS: u64 = 40_000;

async fn with_topics(crew: &Crew) {
    for (name, id) in [("t", TopicId([1; 16])), (TRANSACTION_STATE, TopicId([3; 16]))] {
        let (reply, answer) = Reply::once();
        let command = Command::CreateTopic {
            name: name.into(),
            id,
            partitions: 1,
            replication: 1,
            assignments: vec![],
            configs: vec![],
        };
        crew.directory().coordinator().unwrap().do_send(Submit { command, reply });
        answer.await.unwrap();
    }
}

/// Asks again while the coordinator is not there yet, as every client does.
async fn ask(make: impl Fn(SessionReply)) -> Result<Session, TransactionError> {
    loop {
        let (reply, answer) = Reply::once();
        make(reply);
        match answer.await {
            Err(TransactionError::Loading | TransactionError::NotHere) => a_moment().await,
            outcome => return outcome,
        }
    }
}

async fn begin(crew: &Crew, id: &str) -> Result<Session, TransactionError> {
    let begin = Begin { timeout_ms: 600_000, had: None };
    ask(|reply| crew.directory().ask_transaction(id, BeginSession { id: id.into(), begin, reply })).await
}

async fn join(crew: &Crew, session: Session) -> Result<Session, TransactionError> {
    let partitions = vec![TopicPartition { topic: "t".into(), index: 0 }];
    let join = Join { session, partitions, protocol: Protocol::V1 };
    ask(|reply| {
        crew.directory().ask_transaction(ID, JoinTransaction { id: ID.into(), join: join.clone(), reply });
    })
    .await
}

async fn end(crew: &Crew, session: Session) -> Result<Session, TransactionError> {
    let end = End { session, commit: true, protocol: Protocol::V1 };
    ask(|reply| crew.directory().ask_transaction(ID, EndTransaction { id: ID.into(), end, reply })).await
}

async fn facts(crew: &Crew, id: &str) -> Option<Facts> {
    loop {
        let (reply, answer) = Reply::once();
        crew.directory().ask_transaction(id, DescribeTransaction { id: id.into(), reply });
        match answer.await {
            Err(TransactionError::Loading | TransactionError::NotHere) => a_moment().await,
            facts => return facts.unwrap(),
        }
    }
}

async fn status(crew: &Crew) -> Option<Status> {
    facts(crew, ID).await.map(|facts| facts.status)
}

/// Every step of a transaction on a disk that is slow: it is answered in time, and counts once it is safe.
#[test]
fn what_takes_long_is_answered_in_time_and_counts_when_it_is_safe() {
    let world = World::new(1);
    let mut known = None;
    run(async {
        let crew = world.start();
        with_topics(&crew).await;
        begin(&crew, "warm").await.unwrap();
        world.sync_takes_ms(A_SLOW_SYNC_MS);
        let the_rest = || tokio::time::sleep(Duration::from_millis(A_SLOW_SYNC_MS));

        let began = tokio::time::Instant::now();
        assert_eq!(begin(&crew, ID).await, Err(TransactionError::NotAvailable));
        let ms = began.elapsed().as_millis();
        assert!((30_000..30_100).contains(&ms), "after {ms} ms");
        assert_eq!(begin(&crew, ID).await, Err(TransactionError::Concurrent));
        the_rest().await;
        let first = facts(&crew, ID).await.expect("its record is in the log");
        let session = Session { producer: first.producer, epoch: first.epoch };

        assert_eq!(join(&crew, session).await, Err(TransactionError::NotAvailable));
        assert_eq!(status(&crew).await, Some(Status::Empty));
        the_rest().await;
        assert_eq!(status(&crew).await, Some(Status::Ongoing));
        assert_eq!(join(&crew, session).await, Ok(session));

        assert_eq!(end(&crew, session).await, Err(TransactionError::NotAvailable));
        assert_eq!(end(&crew, session).await, Err(TransactionError::Concurrent));
        the_rest().await;
        assert_eq!(status(&crew).await, Some(Status::PrepareCommit), "markers are on their way");
        the_rest().await;
        the_rest().await;
        assert_eq!(status(&crew).await, Some(Status::CompleteCommit));
        assert_eq!(end(&crew, session).await, Ok(session));
        known = facts(&crew, ID).await;
    });
    world.lose_power(1);
    world.sync_takes_ms(1);
    run(async {
        let crew = world.start();
        assert_eq!(facts(&crew, ID).await, known);
    });
}

/// Of one id that waits behind another's record nobody waits for longer either.
#[test]
fn who_waits_behind_what_takes_long_is_answered_in_time_too() {
    let world = World::new(1);
    run(async {
        let crew = world.start();
        with_topics(&crew).await;
        begin(&crew, "warm").await.unwrap();
        world.sync_takes_ms(A_SLOW_SYNC_MS);
        let behind = async {
            tokio::time::sleep(Duration::from_millis(5_000)).await;
            let began = tokio::time::Instant::now();
            (begin(&crew, "behind").await, began.elapsed().as_secs())
        };
        let (first, behind) = futures_util::future::join(begin(&crew, ID), behind).await;
        let late = Err(TransactionError::NotAvailable);
        assert_eq!((first, behind), (late, (late, 30)));
        tokio::time::sleep(Duration::from_millis(2 * A_SLOW_SYNC_MS)).await;
        assert!(facts(&crew, ID).await.is_some());
        assert!(facts(&crew, "behind").await.is_some());
    });
}
