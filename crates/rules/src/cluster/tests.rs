//! Commands, what they change, and what a node does about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;

use super::*;
use crate::{
    ids::{LeaderEpoch, NodeId, PartitionId, ProducerId, TopicId},
    settings::{Alter, BrokerSettings, Op},
    topic_config::TopicConfig,
};

const ME: NodeId = NodeId(1);

fn id(n: u8) -> TopicId {
    TopicId([n; 16])
}

fn register(node: i32) -> Command {
    Command::RegisterNode { id: NodeId(node), host: "localhost".into(), port: 9092, rack: None }
}

fn create(name: &str, n: u8, partitions: i32) -> Command {
    Command::CreateTopic {
        name: name.into(),
        id: id(n),
        partitions,
        replication: -1,
        assignments: vec![],
        configs: vec![],
    }
}

fn told(assignments: &[(i32, &[i32])]) -> Command {
    let assignments = assignments
        .iter()
        .map(|(index, nodes)| ReplicaAssignment {
            index: *index,
            replicas: nodes.iter().copied().map(NodeId).collect(),
        })
        .collect();
    Command::CreateTopic {
        name: "told".into(),
        id: id(9),
        partitions: -1,
        replication: -1,
        assignments,
        configs: vec![],
    }
}

fn set(n: u8, name: &str, value: &str) -> Command {
    let alter = Alter { name: name.into(), op: Op::Set, value: Some(value.into()) };
    Command::AlterTopicConfigs { id: id(n), alters: vec![alter] }
}

fn run(image: &mut Image, command: &Command) -> Result<Vec<Change>, CommandError> {
    let changes = image.decide(command, &BrokerSettings::default())?;
    changes.iter().for_each(|change| image.apply(change));
    Ok(changes)
}

fn cluster() -> Image {
    let mut image = Image::new("cluster");
    run(&mut image, &register(1)).unwrap();
    run(&mut image, &create("payments.eu", 1, 3)).unwrap();
    image
}

fn refusal(command: &Command) -> String {
    cluster().decide(command, &BrokerSettings::default()).unwrap_err().to_string()
}

#[test]
fn a_topic_is_found_by_name_and_by_id_and_is_led_at_once() {
    let image = cluster();
    let topic = image.topic_named("payments.eu").unwrap();
    assert_eq!(topic.id, id(1));
    assert_eq!(topic.partitions.len(), 3);
    let partition = image.partition(PartitionId { topic: id(1), index: 2 }).unwrap();
    assert_eq!((partition.leader, &*partition.isr), (ME, &[ME][..]));
    assert_eq!(image.leader_epoch(partition), LeaderEpoch(0));
}

#[test]
fn defaults_come_from_the_broker() {
    let mut image = Image::new("cluster");
    run(&mut image, &register(1)).unwrap();
    let settings = BrokerSettings::new([("num.partitions", "7")]).unwrap();
    let changes = image.decide(&create("t", 1, -1), &settings).unwrap();
    assert!(matches!(&changes[..], [Change::TopicCreated { partitions, .. }] if partitions.len() == 7));
}

#[test]
fn refusals_are_kafkas_sentences() {
    let wide = Command::CreateTopic {
        name: "t".into(),
        id: id(2),
        partitions: 1,
        replication: 3,
        assignments: vec![],
        configs: vec![],
    };
    let rows = [
        (create("payments.eu", 2, 1), "Topic 'payments.eu' already exists."),
        (create("payments_eu", 2, 1), "Topic 'payments_eu' collides with existing topic: payments.eu"),
        (create("..", 2, 1), "Topic name is invalid: '..' is not allowed"),
        (create("t", 2, 0), "Number of partitions was set to an invalid non-positive value."),
        (create("__cluster_metadata", 2, 1), "Creation of internal topic __cluster_metadata is prohibited."),
        (create("t", 2, 10_001), "Excessively large number of partitions per request."),
        (
            wide,
            "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached \
             because only 1 broker(s) are registered or some brokers have all their log directories cordoned.",
        ),
        (told(&[(0, &[1]), (2, &[1])]), "partitions should be a consecutive 0-based integer sequence"),
        (told(&[(0, &[1]), (0, &[1])]), "Found multiple manual partition assignments for partition 0"),
        (told(&[(0, &[])]), "The manual partition assignment includes an empty replica list."),
        (
            told(&[(0, &[2])]),
            "The manual partition assignment includes broker 2, but no such broker is registered.",
        ),
        (Command::DeleteTopic { id: id(8) }, "This server does not host this topic ID."),
        (
            Command::AddPartitions { id: id(1), total: 3, assignments: None },
            "Topic already has 3 partition(s).",
        ),
        (
            Command::AddPartitions { id: id(1), total: 2, assignments: None },
            "The topic payments.eu currently has 3 partition(s); 2 would not be an increase.",
        ),
        (
            Command::AddPartitions { id: id(1), total: 5, assignments: Some(vec![vec![ME]]) },
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
        ),
        (set(1, "speed", "high"), "Unknown topic config name: speed"),
    ];
    for (command, why) in rows {
        assert_eq!(refusal(&command), why);
    }
    assert!(matches!(
        cluster().decide(&create("t", 1, 1), &BrokerSettings::default()),
        Err(CommandError::IdTaken(_))
    ));
}

#[test]
fn deciding_alone_changes_nothing() {
    let image = cluster();
    let before = image.clone();
    image.decide(&create("t", 2, 1), &BrokerSettings::default()).unwrap();
    assert_eq!(image, before);
}

#[test]
fn a_restart_of_the_node_is_one_fact_and_a_new_epoch_for_all_it_leads() {
    let mut image = cluster();
    assert_eq!(run(&mut image, &register(1)).unwrap().len(), 1);
    let epochs: Vec<_> =
        image.topic(id(1)).unwrap().partitions.iter().map(|p| image.leader_epoch(p).0).collect();
    assert_eq!(epochs, [1, 1, 1]);

    let partition = PartitionId { topic: id(1), index: 1 };
    run(&mut image, &Command::LeadAgain { partition }).unwrap();
    run(&mut image, &register(1)).unwrap();
    let epochs: Vec<_> =
        image.topic(id(1)).unwrap().partitions.iter().map(|p| image.leader_epoch(p).0).collect();
    assert_eq!(epochs, [2, 3, 2]);
}

#[test]
fn producer_ids_are_handed_out_once() {
    let mut image = cluster();
    let take = Command::TakeProducerIds { count: 1000 };
    assert_eq!(
        run(&mut image, &take).unwrap(),
        [Change::ProducerIdsTaken { first: ProducerId(0), count: 1000 }]
    );
    assert_eq!(
        run(&mut image, &take).unwrap(),
        [Change::ProducerIdsTaken { first: ProducerId(1000), count: 1000 }]
    );
}

#[test]
fn a_topic_that_comes_back_under_its_name_is_another_one() {
    let old = cluster();
    let mut new = old.clone();
    run(&mut new, &Command::DeleteTopic { id: id(1) }).unwrap();
    run(&mut new, &create("payments.eu", 2, 1)).unwrap();
    let steps = diff(&old, &new, ME, &BrokerSettings::default());
    let deleted = |index| Step::Retire {
        partition: PartitionId { topic: id(1), index },
        name: "payments.eu".into(),
        delete: true,
    };
    assert_eq!(steps[..3], [0, 1, 2].map(deleted));
    assert_eq!(
        steps[3..],
        [Step::Start {
            partition: PartitionId { topic: id(2), index: 0 },
            name: "payments.eu".into(),
            epoch: LeaderEpoch(0),
            replicas: 1,
            config: Arc::new(TopicConfig::default()),
        }]
    );
}

#[test]
fn a_default_that_changes_reaches_the_topics_that_use_it() {
    let mut old = cluster();
    run(&mut old, &create("own", 2, 1)).unwrap();
    run(&mut old, &set(2, "max.message.bytes", "77")).unwrap();
    let mut new = old.clone();
    let alter = Alter { name: "message.max.bytes".into(), op: Op::Set, value: Some("500".into()) };
    run(&mut new, &Command::AlterBrokerConfigs { node: None, alters: vec![alter] }).unwrap();
    let steps = diff(&old, &new, ME, &BrokerSettings::default());
    assert_eq!(steps.len(), 3);
    for step in steps {
        let Step::Configure { partition, config } = step else { panic!("{step:?}") };
        assert_eq!((partition.topic, config.max_message_bytes), (id(1), 500));
    }
}

#[test]
fn half_a_deletion_leaves_nothing_that_counts() {
    let configured = Change::TopicConfigured { id: id(5), configs: BTreeMap::new() };
    let image = Image::rebuild("cluster", [configured]);
    assert!(image.agrees_with(&Image::new("cluster")));
}

/// What the store does with changes, in a map.
#[derive(Default)]
struct Kept(BTreeMap<Vec<u8>, Change>);

impl Kept {
    fn keep(&mut self, change: &Change) {
        match change.fact() {
            Fact::Put(key) => drop(self.0.insert(key, change.clone())),
            Fact::RemoveAll(prefix) => self.0.retain(|key, _| !key.starts_with(&prefix)),
        }
    }
}

type Running = BTreeMap<PartitionId, (LeaderEpoch, Arc<TopicConfig>)>;

fn carry_out(running: &mut Running, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Retire { partition, .. } => assert!(running.remove(&partition).is_some()),
            Step::Start { partition, epoch, config, .. } => {
                assert!(running.insert(partition, (epoch, config)).is_none());
            }
            Step::Configure { partition, config } => running.get_mut(&partition).unwrap().1 = config,
        }
    }
}

fn wanted(image: &Image) -> Running {
    let settings = image.settings(ME, &BrokerSettings::default());
    let mut all = Running::new();
    for topic in image.topics() {
        let config = Arc::new(image.topic_config(topic, &settings));
        for (index, partition) in (0..).zip(&topic.partitions).filter(|(_, p)| p.leader == ME) {
            let id = PartitionId { topic: topic.id, index };
            all.insert(id, (image.leader_epoch(partition), config.clone()));
        }
    }
    all
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (1..3i32).prop_map(register),
        (0..4u8, 1..5u8, 1..4i32).prop_map(|(name, n, total)| create(&format!("t{name}"), n, total)),
        (1..5u8).prop_map(|n| Command::DeleteTopic { id: id(n) }),
        (1..5u8, 1..9i32).prop_map(|(n, total)| Command::AddPartitions {
            id: id(n),
            total,
            assignments: None
        }),
        (1..5u8, 1..4i32).prop_map(|(n, ms)| set(n, "retention.ms", &ms.to_string())),
        (1..5u8, 0..4i32)
            .prop_map(|(n, index)| Command::LeadAgain { partition: PartitionId { topic: id(n), index } }),
        (1..4i64).prop_map(|count| Command::TakeProducerIds { count }),
        (prop::option::of(1..3i32), 1..4i32).prop_map(|(node, bytes)| Command::SetBrokerConfigs {
            node: node.map(NodeId),
            configs: vec![("message.max.bytes".into(), Some(bytes.to_string()))],
        }),
        (1..4usize, prop::option::of(5_000..5_003i32)).prop_map(|(name, ms)| Command::SetGroupConfigs {
            group: "g".repeat(name),
            configs: ms
                .map(|ms| ("consumer.heartbeat.interval.ms".to_owned(), Some(ms.to_string())))
                .into_iter()
                .collect(),
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_kept_makes_the_same_image_and_every_step_is_taken(
        commands in prop::collection::vec(any_command(), 1..60),
        pause in 1..5usize,
    ) {
        let mut image = Image::new("cluster");
        let (mut kept, mut running, mut seen) = (Kept::default(), Running::new(), image.clone());
        let mut epochs: BTreeMap<PartitionId, LeaderEpoch> = BTreeMap::new();
        for (n, command) in commands.iter().enumerate() {
            // A refused command changes nothing: there is nothing to keep.
            for change in run(&mut image, command).unwrap_or_default() {
                if let Change::TopicDeleted { id } = &change {
                    epochs.retain(|partition, _| partition.topic != *id);
                }
                kept.keep(&change);
            }
            for (partition, (epoch, _)) in wanted(&image) {
                let before = epochs.insert(partition, epoch);
                prop_assert!(before <= Some(epoch), "the epoch of {partition} went back");
            }
            // A node does not see every image on its own.
            if n % pause == 0 {
                carry_out(&mut running, diff(&seen, &image, ME, &BrokerSettings::default()));
                seen = image.clone();
                prop_assert_eq!(&running, &wanted(&image));
            }
        }
        let rebuilt = Image::rebuild("cluster", kept.0.into_values());
        prop_assert!(rebuilt.agrees_with(&image));
        let names: BTreeSet<_> = image.topics_by_name().map(|topic| topic.name.clone()).collect();
        prop_assert_eq!(names.len(), image.n_topics());
    }
}

#[test]
fn what_images_share_is_not_looked_at_again() {
    let given = BrokerSettings::default();
    let mut image = Image::new("c");
    let mut go = |command: &Command| {
        let before = image.clone();
        image.decide(command, &given).unwrap().iter().for_each(|change| image.apply(change));
        (before.unshared_topics(&image), before.has_lost_topics(&image))
    };
    assert_eq!(go(&register(1)), (vec![], false));
    assert_eq!(go(&create("b", 2, 3)), (vec![id(2)], false));
    assert_eq!(go(&create("a", 1, 1)), (vec![id(1)], false));
    assert_eq!(go(&create("c", 3, 1)), (vec![id(3)], false));
    let partition = PartitionId { topic: id(2), index: 1 };
    assert_eq!(go(&Command::LeadAgain { partition }), (vec![id(2)], false));
    assert_eq!(go(&Command::TakeProducerIds { count: 1 }), (vec![], false));
    assert_eq!(go(&Command::DeleteTopic { id: id(1) }), (vec![id(1)], true));
    assert_eq!(go(&register(1)), (vec![], false), "but every leader has another epoch");
}
