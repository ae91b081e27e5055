//! How much one request may ask for.
//!
//! Each command is decided alone, and knows nothing of those beside it; so whoever has a request of many asks here first.

use crate::{
    cluster::{Command, CommandError, Image},
    limits::PARTITIONS_PER_REQUEST_MAX,
    settings::BrokerSettings,
};

impl Image {
    /// Whether the commands of one request make no more partitions than one may ask for. It is an upper bound, as in Kafka's
    /// `validateTotalNumberOfPartitions`: commands that will be refused count too.
    ///
    /// # Errors
    /// [`CommandError::TooManyPartitions`]: then none of them may be carried out.
    pub fn check_volume<'a>(
        &self,
        commands: impl IntoIterator<Item = &'a Command>,
        settings: &BrokerSettings,
    ) -> Result<(), CommandError> {
        let wanted = commands.into_iter().map(|command| self.n_partitions_wanted(command, settings));
        let total = wanted.fold(0_usize, usize::saturating_add);
        if total > PARTITIONS_PER_REQUEST_MAX { Err(CommandError::TooManyPartitions) } else { Ok(()) }
    }

    /// How many partitions more there would be. Numbers that cannot be count as none: they are refused by themselves.
    fn n_partitions_wanted(&self, command: &Command, settings: &BrokerSettings) -> usize {
        match command {
            Command::CreateTopic { assignments, .. } if !assignments.is_empty() => assignments.len(),
            Command::CreateTopic { partitions: -1, .. } => {
                usize::try_from(settings.int("num.partitions")).unwrap_or(0)
            }
            Command::CreateTopic { partitions, .. } => usize::try_from(*partitions).unwrap_or(0),
            Command::AddPartitions { id, total, .. } => {
                let have = self.topic(*id).map_or(0, |topic| topic.partitions.len());
                usize::try_from(*total).unwrap_or(0).saturating_sub(have)
            }
            Command::RegisterNode { .. }
            | Command::DeleteTopic { .. }
            | Command::AlterTopicConfigs { .. }
            | Command::SetTopicConfigs { .. }
            | Command::AlterBrokerConfigs { .. }
            | Command::SetBrokerConfigs { .. }
            | Command::AlterGroupConfigs { .. }
            | Command::SetGroupConfigs { .. }
            | Command::UpdateFeatures { .. }
            | Command::LeadAgain { .. }
            | Command::TakeProducerIds { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::ReplicaAssignment,
        ids::{NodeId, TopicId},
    };

    const TOPIC: TopicId = TopicId([1; 16]);

    fn create(partitions: i32) -> Command {
        told(partitions, 0)
    }

    fn told(partitions: i32, n_assignments: i32) -> Command {
        let assign = |index| ReplicaAssignment { index, replicas: vec![NodeId(1)] };
        Command::CreateTopic {
            name: "t".into(),
            id: TOPIC,
            partitions,
            replication: -1,
            assignments: (0..n_assignments).map(assign).collect(),
            configs: vec![],
        }
    }

    fn grow(total: i32) -> Command {
        Command::AddPartitions { id: TOPIC, total, assignments: None }
    }

    /// A cluster with a topic of three partitions, and four of them where nobody says how many.
    fn allows(commands: &[Command]) -> bool {
        let settings = BrokerSettings::new([("num.partitions", "4")]).unwrap();
        let mut image = Image::new("cluster");
        let register =
            Command::RegisterNode { id: NodeId(1), host: "localhost".into(), port: 9092, rack: None };
        for command in [register, create(3)] {
            let changes = image.decide(&command, &settings).unwrap();
            changes.iter().for_each(|change| image.apply(change));
        }
        image.check_volume(commands, &settings).is_ok()
    }

    #[test]
    fn all_that_a_request_asks_for_is_counted_together() {
        assert!(allows(&[]));
        assert!(allows(&[create(5000), create(5000)]));
        assert!(!allows(&[create(5000), create(5000), create(1)]));
        assert!(!allows(&[create(i32::MAX), create(i32::MAX), create(i32::MAX)]));
    }

    #[test]
    fn what_is_left_to_the_broker_counts_as_what_it_would_give() {
        assert!(allows(&[create(9996), create(-1)]));
        assert!(!allows(&[create(9997), create(-1)]));
    }

    #[test]
    fn assignments_count_one_by_one_whatever_number_stands_beside_them() {
        assert!(!allows(&[create(9999), told(-1, 2)]));
        assert!(allows(&[create(9998), told(7000, 2)]));
    }

    #[test]
    fn a_topic_that_grows_counts_what_it_grows_by() {
        assert!(allows(&[grow(10_003)]));
        assert!(!allows(&[grow(10_004)]));
        assert!(!allows(&[grow(5003), grow(5004)]));
    }

    #[test]
    fn numbers_that_cannot_be_count_as_none() {
        assert!(allows(&[create(10_000), create(0), create(-2), create(i32::MIN), grow(-1), grow(2)]));
    }
}
