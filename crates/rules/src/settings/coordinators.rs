//! The settings of a broker that concern producers, groups and transactions.

use super::{
    Check, Definition, Kind, PARTITIONS_MAX,
    Standing::{Honoured, Known},
    fixed, live,
};

const INT_MAX: &str = "2147483647";
/// That of `segment.bytes`, which these become.
const SEGMENT_BYTES_MIN: i64 = 1_048_576;

#[rustfmt::skip]
pub(super) const TABLE: &[Definition] = &[
    // Producers.
    live("producer.id.expiration.ms", Kind::Int, "86400000", Check::AtLeast(1), Honoured,
        "How long a partition remembers a silent idempotent producer, in milliseconds."),
    fixed("producer.id.expiration.check.interval.ms", Kind::Int, "600000", Check::AtLeast(1), Known,
        "How often the broker looks for silent producers, in milliseconds."),
    // Offsets.
    fixed("offsets.topic.num.partitions", Kind::Int, "50", Check::Between(1, PARTITIONS_MAX), Honoured,
        "How many partitions `__consumer_offsets` gets."),
    fixed("offsets.topic.replication.factor", Kind::Short, "3", Check::AtLeast(1), Honoured,
        "How many replicas `__consumer_offsets` gets."),
    fixed("offsets.topic.segment.bytes", Kind::Int, "104857600", Check::AtLeast(SEGMENT_BYTES_MIN), Honoured,
        "The segment size of `__consumer_offsets`, in bytes."),
    fixed("offsets.topic.compression.codec", Kind::Int, "0", Check::Between(0, 4), Known,
        "The codec of the offsets topic, by its number; 0 is none."),
    fixed("offsets.load.buffer.size", Kind::Int, "5242880", Check::AtLeast(1), Known,
        "How many bytes are read at a time when offsets are loaded."),
    fixed("offset.metadata.max.bytes", Kind::Int, "4096", Check::AtLeast(0), Honoured,
        "How much text may go with a committed offset, in bytes."),
    fixed("offsets.retention.minutes", Kind::Int, "10080", Check::AtLeast(1), Honoured,
        "How long the offsets of a group that is gone are kept, in minutes."),
    fixed("offsets.retention.check.interval.ms", Kind::Long, "600000", Check::AtLeast(1), Honoured,
        "How often the broker looks for old offsets, in milliseconds."),
    fixed("offsets.commit.timeout.ms", Kind::Int, "5000", Check::AtLeast(1), Honoured,
        "How long a commit may wait for replicas, in milliseconds."),
    // Groups of the classic protocol.
    fixed("group.min.session.timeout.ms", Kind::Int, "6000", Check::AtLeast(0), Honoured,
        "The shortest session timeout a member may ask for, in milliseconds."),
    fixed("group.max.session.timeout.ms", Kind::Int, "1800000", Check::AtLeast(0), Honoured,
        "The longest session timeout a member may ask for, in milliseconds."),
    fixed("group.initial.rebalance.delay.ms", Kind::Int, "3000", Check::AtLeast(0), Honoured,
        "How long a new group waits for further members, in milliseconds."),
    fixed("group.max.size", Kind::Int, INT_MAX, Check::AtLeast(1), Honoured,
        "How many members a group may have."),
    fixed("group.coordinator.threads", Kind::Int, "4", Check::AtLeast(1), Known,
        "Kafka's threads for groups. Here each group is an actor."),
    fixed("group.coordinator.append.linger.ms", Kind::Int, "-1", Check::AtLeast(-1), Known,
        "How long writes of groups are gathered, in milliseconds; -1 adapts to the load."),
    fixed("group.coordinator.rebalance.protocols", Kind::List, "classic,consumer,streams",
        Check::ListOf(&["classic", "consumer", "share", "streams"]), Known,
        "The group protocols that are served."),
    // Groups of the consumer protocol.
    fixed("group.consumer.session.timeout.ms", Kind::Int, "45000", Check::AtLeast(1), Honoured,
        "How long a member may be silent before it is expelled, in milliseconds."),
    fixed("group.consumer.min.session.timeout.ms", Kind::Int, "45000", Check::AtLeast(1), Honoured,
        "The shortest session timeout a group may be given, in milliseconds."),
    fixed("group.consumer.max.session.timeout.ms", Kind::Int, "60000", Check::AtLeast(1), Honoured,
        "The longest session timeout a group may be given, in milliseconds."),
    fixed("group.consumer.heartbeat.interval.ms", Kind::Int, "5000", Check::AtLeast(1), Honoured,
        "How often members say that they live, in milliseconds."),
    fixed("group.consumer.min.heartbeat.interval.ms", Kind::Int, "5000", Check::AtLeast(1), Honoured,
        "The shortest heartbeat interval a group may be given, in milliseconds."),
    fixed("group.consumer.max.heartbeat.interval.ms", Kind::Int, "15000", Check::AtLeast(1), Honoured,
        "The longest heartbeat interval a group may be given, in milliseconds."),
    fixed("group.consumer.max.size", Kind::Int, INT_MAX, Check::AtLeast(1), Honoured,
        "How many members a consumer group may have."),
    fixed("group.consumer.assignors", Kind::List, "uniform,range", Check::Any, Honoured,
        "The assignors of the broker; the first is the default."),
    fixed("group.consumer.migration.policy", Kind::String, "bidirectional",
        Check::OneOf(&["bidirectional", "upgrade", "downgrade", "disabled"]), Honoured,
        "Whether a group may change between the classic and the consumer protocol."),
    fixed("group.consumer.regex.refresh.interval.ms", Kind::Int, "600000", Check::AtLeast(10_000), Known,
        "How often subscriptions by pattern are looked up again, in milliseconds."),
    live("group.consumer.assignment.interval.ms", Kind::Int, "1000", Check::AtLeast(0), Known,
        "The shortest time between two assignments of a group, in milliseconds."),
    fixed("group.consumer.min.assignment.interval.ms", Kind::Int, "0", Check::AtLeast(0), Honoured,
        "The shortest time between two assignments that a group may be given, in milliseconds."),
    fixed("group.consumer.max.assignment.interval.ms", Kind::Int, "15000", Check::AtLeast(0), Honoured,
        "The longest time between two assignments that a group may be given, in milliseconds."),
    // Share and streams groups.
    fixed("group.share.max.size", Kind::Int, "200", Check::Between(1, 1000), Known,
        "How many members a share group may have."),
    fixed("group.share.assignors", Kind::List, "simple", Check::Any, Known,
        "The assignors of share groups; the first is the default."),
    fixed("group.share.max.share.sessions", Kind::Int, "2000", Check::AtLeast(1), Known,
        "How many share sessions the broker keeps."),
    live("group.share.assignment.interval.ms", Kind::Int, "1000", Check::AtLeast(0), Known,
        "The shortest time between two assignments of a share group, in milliseconds."),
    fixed("group.share.min.assignment.interval.ms", Kind::Int, "0", Check::AtLeast(0), Honoured,
        "The shortest time between two assignments that a share group may be given, in milliseconds."),
    fixed("group.share.max.assignment.interval.ms", Kind::Int, "15000", Check::AtLeast(0), Honoured,
        "The longest time between two assignments that a share group may be given, in milliseconds."),
    fixed("group.share.session.timeout.ms", Kind::Int, "45000", Check::AtLeast(1), Known,
        "How long a member of a share group may be silent before it is expelled, in milliseconds."),
    fixed("group.share.min.session.timeout.ms", Kind::Int, "45000", Check::AtLeast(1), Honoured,
        "The shortest session timeout a share group may be given, in milliseconds."),
    fixed("group.share.max.session.timeout.ms", Kind::Int, "60000", Check::AtLeast(1), Honoured,
        "The longest session timeout a share group may be given, in milliseconds."),
    fixed("group.share.heartbeat.interval.ms", Kind::Int, "5000", Check::AtLeast(1), Known,
        "How often members of a share group say that they live, in milliseconds."),
    fixed("group.share.min.heartbeat.interval.ms", Kind::Int, "5000", Check::AtLeast(1), Honoured,
        "The shortest heartbeat interval a share group may be given, in milliseconds."),
    fixed("group.share.max.heartbeat.interval.ms", Kind::Int, "15000", Check::AtLeast(1), Honoured,
        "The longest heartbeat interval a share group may be given, in milliseconds."),
    fixed("group.share.delivery.count.limit", Kind::Int, "5", Check::Between(2, 10), Known,
        "How often a record is delivered at most."),
    fixed("group.share.min.delivery.count.limit", Kind::Int, "2", Check::Between(2, 10), Honoured,
        "The smallest number of deliveries a group may be given."),
    fixed("group.share.max.delivery.count.limit", Kind::Int, "10", Check::Between(2, 25), Honoured,
        "The largest number of deliveries a group may be given."),
    fixed("group.share.record.lock.duration.ms", Kind::Int, "30000", Check::Between(1000, 3_600_000), Known,
        "How long a record is lent to a member, in milliseconds."),
    fixed("group.share.min.record.lock.duration.ms", Kind::Int, "15000", Check::Between(1000, 30_000), Honoured,
        "The shortest time for which a group may be allowed to lend records, in milliseconds."),
    fixed("group.share.max.record.lock.duration.ms", Kind::Int, "60000", Check::Between(30_000, 3_600_000), Honoured,
        "The longest time for which a group may be allowed to lend records, in milliseconds."),
    fixed("group.share.partition.max.record.locks", Kind::Int, "2000", Check::Between(100, 10_000), Known,
        "How many records of a partition are lent at a time."),
    fixed("group.share.min.partition.max.record.locks", Kind::Int, "100", Check::AtLeast(100), Honoured,
        "The smallest number of lent records a group may be given."),
    fixed("group.share.max.partition.max.record.locks", Kind::Int, "4000", Check::AtLeast(100), Honoured,
        "The largest number of lent records a group may be given."),
    fixed("share.coordinator.state.topic.num.partitions", Kind::Int, "50", Check::AtLeast(1), Known,
        "How many partitions `__share_group_state` gets."),
    fixed("share.coordinator.state.topic.replication.factor", Kind::Short, "3", Check::AtLeast(1), Known,
        "How many replicas `__share_group_state` gets."),
    fixed("share.coordinator.state.topic.min.isr", Kind::Short, "2", Check::AtLeast(1), Known,
        "How many of them must be in sync."),
    fixed("group.streams.max.size", Kind::Int, INT_MAX, Check::AtLeast(1), Known,
        "How many members a streams group may have."),
    fixed("group.streams.session.timeout.ms", Kind::Int, "45000", Check::AtLeast(1), Known,
        "How long a member of a streams group may be silent, in milliseconds."),
    fixed("group.streams.min.session.timeout.ms", Kind::Int, "45000", Check::AtLeast(1), Honoured,
        "The shortest session timeout a streams group may be given, in milliseconds."),
    fixed("group.streams.max.session.timeout.ms", Kind::Int, "60000", Check::AtLeast(1), Honoured,
        "The longest session timeout a streams group may be given, in milliseconds."),
    fixed("group.streams.heartbeat.interval.ms", Kind::Int, "5000", Check::AtLeast(1), Known,
        "How often members of a streams group say that they live, in milliseconds."),
    fixed("group.streams.min.heartbeat.interval.ms", Kind::Int, "5000", Check::AtLeast(1), Honoured,
        "The shortest heartbeat interval a streams group may be given, in milliseconds."),
    fixed("group.streams.max.heartbeat.interval.ms", Kind::Int, "15000", Check::AtLeast(1), Honoured,
        "The longest heartbeat interval a streams group may be given, in milliseconds."),
    live("group.streams.assignment.interval.ms", Kind::Int, "1000", Check::AtLeast(0), Known,
        "The shortest time between two assignments of a streams group, in milliseconds."),
    fixed("group.streams.min.assignment.interval.ms", Kind::Int, "0", Check::AtLeast(0), Honoured,
        "The shortest time between two assignments that a streams group may be given, in milliseconds."),
    fixed("group.streams.max.assignment.interval.ms", Kind::Int, "15000", Check::AtLeast(0), Honoured,
        "The longest time between two assignments that a streams group may be given, in milliseconds."),
    fixed("group.streams.initial.rebalance.delay.ms", Kind::Int, "3000", Check::AtLeast(0), Known,
        "How long a new streams group waits for further members, in milliseconds."),
    fixed("group.streams.num.standby.replicas", Kind::Int, "0", Check::AtLeast(0), Known,
        "How many members of a streams group keep a copy of a state at the ready."),
    fixed("group.streams.max.standby.replicas", Kind::Int, "2", Check::AtLeast(0), Honoured,
        "The largest number of such copies a group may be given."),
    // Transactions.
    fixed("transaction.state.log.num.partitions", Kind::Int, "50", Check::Between(1, PARTITIONS_MAX), Honoured,
        "How many partitions `__transaction_state` gets."),
    fixed("transaction.state.log.replication.factor", Kind::Short, "3", Check::AtLeast(1), Honoured,
        "How many replicas `__transaction_state` gets."),
    fixed("transaction.state.log.min.isr", Kind::Int, "2", Check::AtLeast(1), Known,
        "How many of them must be in sync."),
    fixed("transaction.state.log.segment.bytes", Kind::Int, "104857600", Check::AtLeast(SEGMENT_BYTES_MIN), Honoured,
        "The segment size of `__transaction_state`, in bytes."),
    fixed("transaction.max.timeout.ms", Kind::Int, "900000", Check::AtLeast(1), Honoured,
        "The longest transaction a producer may ask for, in milliseconds."),
    fixed("transactional.id.expiration.ms", Kind::Int, "604800000", Check::AtLeast(1), Honoured,
        "How long a silent transactional id is remembered, in milliseconds."),
    fixed("transaction.abort.timed.out.transaction.cleanup.interval.ms", Kind::Int, "10000", Check::AtLeast(1), Known,
        "How often the broker looks for transactions that took too long, in milliseconds."),
    fixed("transaction.remove.expired.transaction.cleanup.interval.ms", Kind::Int, "3600000", Check::AtLeast(1), Known,
        "How often the broker looks for silent transactional ids, in milliseconds."),
    live("transaction.partition.verification.enable", Kind::Boolean, "true", Check::Any, Known,
        "Whether a partition asks the coordinator before it accepts a transactional batch."),
    fixed("transaction.two.phase.commit.enable", Kind::Boolean, "false", Check::Any, Known,
        "Whether a transaction may be prepared and wait without a time limit."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{BrokerSettings, broker_definition, broker_definitions};
    use crate::{
        cluster::{Command, Image},
        ids::{NodeId, TopicId},
    };

    #[test]
    fn each_broker_setting_stands_once_and_its_default_passes_its_own_check() {
        let mut names = BTreeSet::new();
        for definition in broker_definitions() {
            assert!(names.insert(definition.name), "{} stands twice", definition.name);
            assert!(definition.doc.ends_with('.'), "{}", definition.name);
            if let Some(default) = definition.default {
                definition.check(default).unwrap();
            }
        }
    }

    fn can_be_created(partitions: i32, segment_bytes: i64) -> bool {
        let mut image = Image::new("cluster");
        let here = Command::RegisterNode { id: NodeId(1), host: "here".into(), port: 1, rack: None };
        let create = Command::CreateTopic {
            name: "t".into(),
            id: TopicId([1; 16]),
            partitions,
            replication: 1,
            assignments: vec![],
            configs: vec![("segment.bytes".into(), Some(segment_bytes.to_string()))],
        };
        for change in image.decide(&here, &BrokerSettings::default()).unwrap() {
            image.apply(&change);
        }
        image.decide(&create, &BrokerSettings::default()).is_ok()
    }

    #[test]
    fn what_the_topics_of_coordinators_may_be_given_they_can_be_created_with() {
        let allows =
            |name: &str, value: i64| broker_definition(name).unwrap().check(&value.to_string()).is_ok();
        for name in ["num.partitions", "offsets.topic.num.partitions", "transaction.state.log.num.partitions"]
        {
            for n in [1, 10_000, 10_001, 2_000_000] {
                assert_eq!(allows(name, n.into()), can_be_created(n, 1 << 30), "{name}={n}");
            }
        }
        for name in ["offsets.topic.segment.bytes", "transaction.state.log.segment.bytes"] {
            for bytes in [1, 1_000_000, 1_048_575, 1_048_576, 1 << 30] {
                assert_eq!(allows(name, bytes), can_be_created(1, bytes), "{name}={bytes}");
            }
        }
    }
}
