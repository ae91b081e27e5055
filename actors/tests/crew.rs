//! Everyone on one node, on one task set in a simulated world: appended, read, restarted, struck down.

mod world;

use ottla_actors::{
    coordinator::Submit,
    crew::Crew,
    partition::{Append, PlanRead},
    stage::reply::Reply,
};
use ottla_rules::{
    batch::build::BatchBuilder,
    cluster::Command,
    floods::Manner,
    ids::{Offset, PartitionId, TopicId},
    partition::{Acks, AppendError, Appended, ReadAsk},
};
use world::{World, a_moment, run};

const TOPIC: TopicId = TopicId([1; 16]);

fn partition(index: i32) -> PartitionId {
    PartitionId { topic: TOPIC, index }
}

async fn create(crew: &Crew, partitions: i32) {
    // The coordinator starts soon, not at once.
    let (reply, answer) = Reply::once();
    let command = Command::CreateTopic {
        name: "t".into(),
        id: TOPIC,
        partitions,
        replication: 1,
        assignments: vec![],
        configs: vec![],
    };
    crew.directory().coordinator().unwrap().do_send(Submit { command, reply });
    answer.await.unwrap();
}

async fn append(crew: &Crew, to: PartitionId, text: &'static str) -> Result<Appended, AppendError> {
    let batch = BatchBuilder::new().value(text, 1_750_000_000_000).parsed();
    let (reply, answer) = Reply::once();
    crew.directory().tell(
        to,
        Append {
            batch,
            acks: Acks::All,
            patience_ms: 30_000,
            transaction: None,
            manner: Manner::Other,
            reply,
        },
    );
    answer.await
}

/// Tries again while the partition recovers or is restarted, as every client does.
async fn append_at_last(crew: &Crew, to: PartitionId, text: &'static str) -> Appended {
    loop {
        match append(crew, to, text).await {
            Ok(appended) => return appended,
            Err(AppendError::NotHere) => a_moment().await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn read(crew: &Crew, from: PartitionId) -> Vec<u8> {
    loop {
        let ask =
            ReadAsk { from: Offset(0), current_epoch: None, last_fetched_epoch: None, committed_only: false };
        let (reply, answer) = Reply::once();
        crew.directory().tell(from, PlanRead { ask, bytes_max: 1 << 20, bell: None, is_alone: true, reply });
        if let Ok(plan) = answer.await {
            return plan.slice.map_or(vec![], |slice| slice.read(true).unwrap().read().unwrap());
        }
        a_moment().await;
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn what_is_appended_is_read_and_is_there_after_a_clean_stop() {
    run(async {
        let world = World::new(1);
        let crew = world.start();
        create(&crew, 3).await;
        for index in 0..3 {
            assert_eq!(append_at_last(&crew, partition(index), "hello").await.base, Offset(0));
        }
        assert_eq!(append_at_last(&crew, partition(1), "again").await.base, Offset(1));
        assert!(holds(&read(&crew, partition(1)).await, "again"));
        assert!(crew.stop(60_000).await);

        let crew = world.start();
        assert_eq!(append_at_last(&crew, partition(1), "third").await.base, Offset(2));
        let bytes = read(&crew, partition(1)).await;
        assert!(["hello", "again", "third"].iter().all(|text| holds(&bytes, text)));
    });
}

#[test]
fn what_is_acknowledged_is_there_after_a_power_cut() {
    for seed in 0..50 {
        let world = World::new(seed);
        run(async {
            let crew = world.start();
            create(&crew, 2).await;
            for _ in 0..5 {
                append_at_last(&crew, partition(0), "safe").await;
            }
        });
        world.lose_power(seed);
        run(async {
            let crew = world.start();
            assert_eq!(append_at_last(&crew, partition(0), "next").await.base, Offset(5), "seed {seed}");
        });
    }
}

#[test]
fn ten_thousand_bytes_pass_through_a_journal_of_one_lap_many_times() {
    run(async {
        let world = World::new(3);
        let crew = world.start();
        create(&crew, 2).await;
        let long: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
        for n in 0..60 {
            assert_eq!(append_at_last(&crew, partition(n % 2), long).await.base, Offset(i64::from(n / 2)));
        }
    });
}

#[cfg(feature = "provoke")]
#[test]
fn a_partition_that_panics_is_rebuilt_and_its_neighbours_go_on() {
    run(async {
        let world = World::new(4);
        let crew = world.start();
        create(&crew, 2).await;
        append_at_last(&crew, partition(0), "before").await;
        append_at_last(&crew, partition(1), "neighbour").await;
        crew.directory().tell(partition(0), ottla_actors::partition::Provoke);
        assert_eq!(append(&crew, partition(1), "goes on").await.unwrap().base, Offset(1));
        assert_eq!(append_at_last(&crew, partition(0), "after").await.base, Offset(1));
        assert!(holds(&read(&crew, partition(0)).await, "before"));
    });
}
