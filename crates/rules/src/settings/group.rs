//! The settings of a group (Kafka 4.3's `GroupConfig`): what is not set is as the broker says.

use std::collections::BTreeMap;

use super::{
    BrokerSettings, Check, Definition, Kind, SettingError,
    Standing::{Honoured, Known},
    Unit, group_definition,
    topic::row,
};

macro_rules! broker {
    ($name:literal) => {
        &[Unit { name: $name, factor: 1 }]
    };
}

/// Every group setting, sorted by name.
#[rustfmt::skip]
pub(super) const TABLE: &[Definition] = &[
    row("consumer.assignment.interval.ms", Kind::Int, "1000", broker!("group.consumer.assignment.interval.ms"),
        Check::AtLeast(0), Known,
        "The shortest time between two assignments of a consumer group, in milliseconds."),
    row("consumer.heartbeat.interval.ms", Kind::Int, "5000", broker!("group.consumer.heartbeat.interval.ms"),
        Check::AtLeast(1), Honoured,
        "How often members of a consumer group say that they live, in milliseconds."),
    row("consumer.session.timeout.ms", Kind::Int, "45000", broker!("group.consumer.session.timeout.ms"),
        Check::AtLeast(1), Honoured,
        "How long a member of a consumer group may be silent before it is expelled, in milliseconds."),
    row("share.assignment.interval.ms", Kind::Int, "1000", broker!("group.share.assignment.interval.ms"),
        Check::AtLeast(0), Known,
        "The shortest time between two assignments of a share group, in milliseconds."),
    row("share.auto.offset.reset", Kind::String, "latest", &[],
        Check::OffsetReset, Known,
        "Where a share group begins that has no offset: `earliest`, `latest`, or `by_duration:` and an ISO 8601 duration."),
    row("share.delivery.count.limit", Kind::Int, "5", broker!("group.share.delivery.count.limit"),
        Check::AtLeast(2), Known,
        "How often a share group delivers a record at most."),
    row("share.heartbeat.interval.ms", Kind::Int, "5000", broker!("group.share.heartbeat.interval.ms"),
        Check::AtLeast(1), Known,
        "How often members of a share group say that they live, in milliseconds."),
    row("share.isolation.level", Kind::String, "read_uncommitted", &[],
        Check::OneOf(&["read_committed", "read_uncommitted"]), Known,
        "Whether a share group delivers records of transactions that have not been committed."),
    row("share.partition.max.record.locks", Kind::Int, "2000", broker!("group.share.partition.max.record.locks"),
        Check::AtLeast(100), Known,
        "How many records of a partition a share group lends at a time."),
    row("share.record.lock.duration.ms", Kind::Int, "30000", broker!("group.share.record.lock.duration.ms"),
        Check::AtLeast(1000), Known,
        "How long a share group lends a record to a member, in milliseconds."),
    row("share.renew.acknowledge.enable", Kind::Boolean, "true", &[],
        Check::Any, Known,
        "Whether members of a share group may keep a record for longer."),
    row("share.session.timeout.ms", Kind::Int, "45000", broker!("group.share.session.timeout.ms"),
        Check::AtLeast(1), Known,
        "How long a member of a share group may be silent before it is expelled, in milliseconds."),
    row("streams.assignment.interval.ms", Kind::Int, "1000", broker!("group.streams.assignment.interval.ms"),
        Check::AtLeast(0), Known,
        "The shortest time between two assignments of a streams group, in milliseconds."),
    row("streams.heartbeat.interval.ms", Kind::Int, "5000", broker!("group.streams.heartbeat.interval.ms"),
        Check::AtLeast(1), Known,
        "How often members of a streams group say that they live, in milliseconds."),
    row("streams.initial.rebalance.delay.ms", Kind::Int, "3000", broker!("group.streams.initial.rebalance.delay.ms"),
        Check::AtLeast(0), Known,
        "How long a new streams group waits for further members, in milliseconds."),
    row("streams.num.standby.replicas", Kind::Int, "0", broker!("group.streams.num.standby.replicas"),
        Check::AtLeast(0), Known,
        "How many members of a streams group keep a copy of a state at the ready."),
    row("streams.session.timeout.ms", Kind::Int, "45000", broker!("group.streams.session.timeout.ms"),
        Check::AtLeast(1), Known,
        "How long a member of a streams group may be silent before it is expelled, in milliseconds."),
];

/// A group setting and the broker settings that it must lie between; none where there is no such bound.
type Bound = (&'static str, Option<&'static str>, Option<&'static str>);

/// In Kafka's order.
const BOUNDS: &[Bound] = &[
    within(
        "consumer.heartbeat.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    ),
    within(
        "consumer.session.timeout.ms",
        "group.consumer.min.session.timeout.ms",
        "group.consumer.max.session.timeout.ms",
    ),
    within(
        "consumer.assignment.interval.ms",
        "group.consumer.min.assignment.interval.ms",
        "group.consumer.max.assignment.interval.ms",
    ),
    within(
        "share.heartbeat.interval.ms",
        "group.share.min.heartbeat.interval.ms",
        "group.share.max.heartbeat.interval.ms",
    ),
    within(
        "share.session.timeout.ms",
        "group.share.min.session.timeout.ms",
        "group.share.max.session.timeout.ms",
    ),
    within(
        "share.record.lock.duration.ms",
        "group.share.min.record.lock.duration.ms",
        "group.share.max.record.lock.duration.ms",
    ),
    within(
        "share.delivery.count.limit",
        "group.share.min.delivery.count.limit",
        "group.share.max.delivery.count.limit",
    ),
    within(
        "share.partition.max.record.locks",
        "group.share.min.partition.max.record.locks",
        "group.share.max.partition.max.record.locks",
    ),
    within(
        "share.assignment.interval.ms",
        "group.share.min.assignment.interval.ms",
        "group.share.max.assignment.interval.ms",
    ),
    within(
        "streams.heartbeat.interval.ms",
        "group.streams.min.heartbeat.interval.ms",
        "group.streams.max.heartbeat.interval.ms",
    ),
    within(
        "streams.session.timeout.ms",
        "group.streams.min.session.timeout.ms",
        "group.streams.max.session.timeout.ms",
    ),
    ("streams.num.standby.replicas", None, Some("group.streams.max.standby.replicas")),
    within(
        "streams.assignment.interval.ms",
        "group.streams.min.assignment.interval.ms",
        "group.streams.max.assignment.interval.ms",
    ),
];

/// Of each two the first must be larger.
const LARGER: &[(&str, &str)] = &[
    ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", "streams.heartbeat.interval.ms"),
];

const fn within(name: &'static str, least: &'static str, most: &'static str) -> Bound {
    (name, Some(least), Some(most))
}

/// What the broker allows no group, and what contradicts itself; each value on its own has been checked.
pub(super) fn check_together(
    own: &BTreeMap<String, String>,
    broker: &BrokerSettings,
) -> Result<(), SettingError> {
    let value = |name: &str| effective_int(name, own, broker);
    let refuse = |name: &str, why: &str, than: &str| {
        Err(SettingError::Invalid(format!("{name} must be {why} {than}")))
    };
    // What is not set is the broker's own affair.
    for (name, least, most) in BOUNDS.iter().filter(|(name, ..)| own.contains_key(*name)) {
        match (least, most) {
            (Some(least), _) if value(name) < broker.int(least) => {
                return refuse(name, "greater than or equal to", least);
            }
            (_, Some(most)) if value(name) > broker.int(most) => {
                return refuse(name, "less than or equal to", most);
            }
            _ => (),
        }
    }
    for (larger, smaller) in LARGER {
        let is_set = own.contains_key(*larger) || own.contains_key(*smaller);
        if is_set && value(larger) <= value(smaller) {
            return refuse(larger, "greater than", smaller);
        }
    }
    Ok(())
}

/// The number that counts for a group with these settings of its own; 0 for names without a number.
pub(crate) fn effective_int(name: &str, own: &BTreeMap<String, String>, broker: &BrokerSettings) -> i64 {
    let own = own.get(name).and_then(|value| value.trim().parse().ok());
    let of_broker = || {
        let synonym = group_definition(name)?.synonyms.first()?;
        Some(broker.int(synonym.name))
    };
    own.or_else(of_broker).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::{Alter, Op, Scope, alter, broker_definition};
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Result<BTreeMap<String, String>, SettingError> {
        let step = |(name, value): &(&str, &str)| Alter {
            name: (*name).into(),
            op: Op::Set,
            value: Some((*value).into()),
        };
        let alters: Vec<_> = pairs.iter().map(step).collect();
        alter(Scope::Group, &BTreeMap::new(), &alters, &BrokerSettings::default())
    }

    #[test]
    fn the_table_is_sorted_and_agrees_with_the_broker() {
        assert!(TABLE.windows(2).all(|pair| pair[0].name < pair[1].name));
        for definition in TABLE {
            definition.check(definition.default.unwrap()).unwrap();
            for unit in definition.synonyms {
                let of_broker = broker_definition(unit.name).unwrap_or_else(|| panic!("{}", unit.name));
                assert_eq!(of_broker.default, definition.default, "{}", definition.name);
            }
        }
        for (name, least, most) in BOUNDS {
            assert!(group_definition(name).is_some(), "{name}");
            for bound in least.iter().chain(most) {
                assert!(broker_definition(bound).is_some(), "{bound}");
            }
        }
    }

    #[test]
    fn refusals_are_kafkas_sentences() {
        let rows = [
            (
                "consumer.session.timeout.ms",
                "44999",
                "must be greater than or equal to group.consumer.min.session.timeout.ms",
            ),
            (
                "consumer.session.timeout.ms",
                "60001",
                "must be less than or equal to group.consumer.max.session.timeout.ms",
            ),
            (
                "consumer.heartbeat.interval.ms",
                "4999",
                "must be greater than or equal to group.consumer.min.heartbeat.interval.ms",
            ),
            (
                "consumer.assignment.interval.ms",
                "15001",
                "must be less than or equal to group.consumer.max.assignment.interval.ms",
            ),
            (
                "share.delivery.count.limit",
                "11",
                "must be less than or equal to group.share.max.delivery.count.limit",
            ),
            (
                "streams.num.standby.replicas",
                "3",
                "must be less than or equal to group.streams.max.standby.replicas",
            ),
        ];
        for (name, value, why) in rows {
            assert_eq!(set(&[(name, value)]), Err(SettingError::Invalid(format!("{name} {why}"))));
        }
        let rows = [
            ("nonsense", "1", "Unknown group config name: nonsense"),
            (
                "consumer.session.timeout.ms",
                "0",
                "Invalid value 0 for configuration consumer.session.timeout.ms: Value must be at least 1",
            ),
            (
                "share.auto.offset.reset",
                "never",
                "Invalid value never for configuration share.auto.offset.reset: Invalid value `never` for configuration \
                 share.auto.offset.reset. The value must be either 'earliest', 'latest' or of the format \
                 'by_duration:<PnDTnHnMn.nS>'.",
            ),
        ];
        for (name, value, why) in rows {
            assert_eq!(set(&[(name, value)]), Err(SettingError::Invalid(why.into())));
        }
        assert!(set(&[("share.auto.offset.reset", "by_duration:P1DT2H")]).is_ok());
    }

    #[test]
    fn a_heartbeat_interval_is_shorter_than_the_session() {
        let broker = [("group.consumer.min.session.timeout.ms", "6000")];
        let broker = BrokerSettings::new(broker).unwrap();
        let own = [("consumer.session.timeout.ms", "6000"), ("consumer.heartbeat.interval.ms", "6000")];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let why = "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms";
        assert_eq!(check_together(&own, &broker), Err(SettingError::Invalid(why.into())));
    }
}
