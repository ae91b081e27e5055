//! The coordinator's shell: answers come when what was decided is safe and carried out, and whoever falls is raised.

use ottla_rules::{cluster::CommandError, ids::ProducerId, supervision::Exit, topic::CONSUMER_OFFSETS};
use ottla_store::{FactsError, facts};

use super::*;
use crate::{
    coordinator::{CoordinatorActor, Decided, Kept, Submit, TakeProducerId},
    observe::{CoordinatorSeen, Observe},
};

/// A coordinator of a node that knows nothing but itself, with the broker and the housekeeper that it hires.
fn coordinator(shared: &Arc<Shared>) -> Addr<CoordinatorActor> {
    let mut known = Image::new("cluster");
    let register = Command::RegisterNode { id: shared.node, host: "here".into(), port: 9092, rack: None };
    for change in known.decide(&register, &shared.given).unwrap() {
        known.apply(&change);
    }
    let shards = vec![Shard::local()];
    let coordinator = CoordinatorActor::new(shared.clone(), Shard::local(), shards, known).start();
    shared.directory.set_coordinator(coordinator.clone());
    coordinator
}

fn create(name: &str, id: u8, partitions: i32) -> Command {
    // From the page cache: there is no journal in these stories.
    let configs = [("flush.messages".to_owned(), Some("1000".to_owned()))];
    Command::CreateTopic {
        name: name.into(),
        id: TopicId([id; 16]),
        partitions,
        replication: 1,
        assignments: vec![],
        configs: configs.into_iter().collect(),
    }
}

fn submit(
    to: &Addr<CoordinatorActor>,
    command: Command,
) -> impl Future<Output = Result<Arc<Image>, CommandError>> + use<> {
    let (reply, answer) = Reply::once();
    to.do_send(Submit { command, reply });
    answer
}

#[test]
fn who_asked_is_answered_when_the_facts_have_it_and_the_partitions_are_there() {
    tell(async |shared, _| {
        let coordinator = coordinator(&shared);

        let image = submit(&coordinator, create("payments", 7, 3)).await.unwrap();

        assert_eq!(image.topic_named("payments").unwrap().partitions.len(), 3);
        assert_eq!(shared.directory.image().version(), image.version(), "published");
        let kept = Image::rebuild("cluster", facts::image::load(shared.store.facts()).unwrap());
        assert!(kept.topic_named("payments").is_some(), "and safe");
        let seated = shared.directory.partitions();
        assert_eq!(seated, [0, 1, 2].map(|index| PartitionId { index, ..ID }), "and carried out");
    });
}

#[test]
fn a_refusal_is_answered_at_once_and_changes_nothing() {
    tell(async |shared, _| {
        let coordinator = coordinator(&shared);
        let before = submit(&coordinator, create("payments", 7, 1)).await.unwrap().version();

        let refused = submit(&coordinator, create("payments", 8, 1)).await;

        assert_eq!(refused.unwrap_err(), CommandError::Exists("payments".into()));
        assert_eq!(shared.directory.image().version(), before);
    });
}

#[test]
fn many_commands_at_once_are_each_answered_with_an_image_that_has_them() {
    tell(async |shared, _| {
        let coordinator = coordinator(&shared);
        let names: Vec<_> = (1..40).map(|id| format!("topic-{id}")).collect();
        let answers: Vec<_> =
            (1..).zip(&names).map(|(id, name)| submit(&coordinator, create(name, id, 1))).collect();

        for (name, answer) in names.iter().zip(answers) {
            assert!(answer.await.unwrap().topic_named(name).is_some(), "{name}");
        }

        assert_eq!(shared.directory.partitions().len(), names.len());
    });
}

#[test]
fn no_producer_id_is_given_twice_also_where_one_block_ends_and_the_next_begins() {
    tell(async |shared, _| {
        let coordinator = coordinator(&shared);
        let asks = (0..2_500).map(|_| {
            let (reply, answer) = Reply::once();
            coordinator.do_send(TakeProducerId { reply });
            answer
        });
        let mut given: Vec<ProducerId> = Vec::new();
        for answer in asks.collect::<Vec<_>>() {
            given.push(answer.await.unwrap());
        }

        let all = given.len();
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), all);
    });
}

#[test]
fn who_waits_for_a_producer_id_is_told_that_the_facts_could_not_be_kept() {
    let check = |error: FactsError| {
        tell(async |shared, _| {
            let coordinator = coordinator(&shared);
            let image = submit(&coordinator, create("payments", 7, 1)).await.unwrap();
            let asks = [0, 1].map(|_| {
                let (reply, answer) = Reply::once();
                coordinator.do_send(TakeProducerId { reply });
                answer
            });
            // In the mailbox right behind them: before the pool can say anything.
            let decided = Decided { changes: vec![], image };
            coordinator.do_send(Kept { decided, result: Err(error) });
            for answer in asks {
                let told = answer.await;
                assert!(
                    matches!(told, Err(CommandError::Storage(_))),
                    "no producer ends over that: {told:?}"
                );
            }
        });
    };
    check(FactsError::Full("of a test".into()));
    check(FactsError::Unsynced("of a test".into()));
}

/// Tells the coordinator of a fall, and asks what it has counted then.
async fn fall(to: &Addr<CoordinatorActor>, child: ChildName) -> CoordinatorSeen {
    to.do_send(ChildDown { child, exit: Exit::Panicked("of a test".to_owned()) });
    let (reply, seen) = Reply::once();
    to.do_send(Observe(reply));
    seen.await.unwrap()
}

#[test]
fn whoever_of_the_staff_is_given_up_is_counted() {
    tell(async |shared, _| {
        let coordinator = coordinator(&shared);
        for n in 1..=10 {
            let seen = fall(&coordinator, ChildName::Housekeeper).await;
            assert_eq!(seen, CoordinatorSeen { panics: n, given_up: 0 });
        }
        let seen = fall(&coordinator, ChildName::Housekeeper).await;
        assert_eq!(seen, CoordinatorSeen { panics: 11, given_up: 1 });
    });
}

#[test]
fn who_coordinates_groups_and_is_given_up_is_counted() {
    tell(async |shared, _| {
        let coordinator = coordinator(&shared);
        submit(&coordinator, create(CONSUMER_OFFSETS, 7, 1)).await.unwrap();
        let offsets = shared.directory.offsets().remove(0);
        let mut generation = 0;
        loop {
            // The broker may seat another one meanwhile, whose fall this is not.
            generation += 1;
            shared.directory.seat_offsets(ID, offsets.clone(), generation);
            if fall(&coordinator, ChildName::Offsets(ID, generation)).await.given_up == 1 {
                break;
            }
            assert!(generation < 100, "it is not given up");
        }
    });
}

#[test]
fn a_partition_that_falls_leads_again_in_the_next_epoch() {
    tell(async |shared, _| {
        let coordinator = coordinator(&shared);
        let image = submit(&coordinator, create("payments", 7, 1)).await.unwrap();
        let epoch = image.partition(ID).unwrap().epoch;

        shared.directory.tell(ID, Provoke);

        let appended = loop {
            let (append, answer) = one("v");
            shared.directory.tell(ID, append);
            match answer.await {
                // It falls, is not there, is being read: a producer comes again.
                Err(AppendError::NotHere) => tokio::time::sleep(Duration::from_millis(1)).await,
                other => break other,
            }
        };
        assert_eq!(appended.unwrap().base, Offset(0));
        assert_eq!(shared.directory.image().partition(ID).unwrap().epoch.0, epoch.0 + 1);
    });
}
