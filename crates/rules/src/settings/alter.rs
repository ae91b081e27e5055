//! IncrementalAlterConfigs and AlterConfigs: from the values a resource has to those it will have.
//!
//! The order of the checks and their sentences are those of Kafka's `ConfigAdminManager` and
//! `ConfigurationControlManager`. Nothing changes unless everything is right.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    BrokerSettings, Definition, Kind, SettingError, broker_definition, check::items, group, group_definition,
    running, topic, topic_definition,
};

/// Whose settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A topic's.
    Topic,
    /// A broker's, or those of all brokers.
    Broker,
    /// A group's.
    Group,
}

/// What an incremental alteration does with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Replaces it.
    Set,
    /// Removes it; the default shows again.
    Delete,
    /// Adds items to a list.
    Append,
    /// Takes items out of a list.
    Subtract,
}

/// One incremental alteration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alter {
    /// The setting.
    pub name: String,
    /// What to do.
    pub op: Op,
    /// With what; only [`Op::Delete`] needs nothing.
    pub value: Option<String>,
}

impl Op {
    /// The operation of this number on the wire.
    #[must_use]
    pub fn of(number: i8) -> Option<Self> {
        match number {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// The values after `alters`, where the resource had `current`.
///
/// # Errors
/// A name twice, no value where one is needed; a list operation on something else; a name, a value or a combination
/// that is not allowed.
pub fn alter(
    scope: Scope,
    current: &BTreeMap<String, String>,
    alters: &[Alter],
    broker: &BrokerSettings,
) -> Result<BTreeMap<String, String>, SettingError> {
    refuse_duplicates(alters.iter().map(|alter| alter.name.as_str()))?;
    refuse_nulls(
        alters
            .iter()
            .filter(|alter| alter.op != Op::Delete && alter.value.is_none())
            .map(|alter| alter.name.as_str()),
    )?;
    let mut altered = current.clone();
    for alter in alters {
        let value = alter.value.as_deref().unwrap_or_default();
        let new = match alter.op {
            Op::Set => Some(value.to_owned()),
            Op::Delete => None,
            Op::Append | Op::Subtract => Some(alter_list(scope, current, alter, value)?),
        };
        match new {
            Some(value) => altered.insert(alter.name.clone(), value),
            None => altered.remove(&alter.name),
        };
    }
    if scope == Scope::Broker {
        // Removing what cannot have been set does no harm.
        let changed = alters.iter().filter(|alter| alter.op != Op::Delete);
        refuse_read_only(changed.map(|alter| alter.name.as_str()))?;
        // Of what an older version has kept, and would not be taken now, nobody has to hear who changes something else.
        let new = altered.iter().filter(|(name, value)| current.get(*name) != Some(*value));
        check_all(scope, &new.map(|(name, value)| (name.clone(), value.clone())).collect(), broker)?;
    } else {
        check_all(scope, &altered, broker)?;
    }
    Ok(altered)
}

/// The values of a resource that shall have these and no others: what is not named is reset (AlterConfigs).
///
/// # Errors
/// As [`alter`].
pub fn replace(
    scope: Scope,
    configs: &[(String, Option<String>)],
    broker: &BrokerSettings,
) -> Result<BTreeMap<String, String>, SettingError> {
    refuse_duplicates(configs.iter().map(|(name, _)| name.as_str()))?;
    refuse_nulls(configs.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()))?;
    if scope == Scope::Broker {
        refuse_read_only(configs.iter().map(|(name, _)| name.as_str()))?;
    }
    let replaced = configs.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
    check_all(scope, &replaced, broker)?;
    Ok(replaced)
}

/// Whether a resource may have these values: each name, each value, and the combinations.
///
/// # Errors
/// The first thing that is wrong, in the order of names.
pub fn check_all(
    scope: Scope,
    configs: &BTreeMap<String, String>,
    broker: &BrokerSettings,
) -> Result<(), SettingError> {
    let kind = match scope {
        Scope::Topic => "topic",
        Scope::Broker => "broker",
        Scope::Group => "group",
    };
    for (name, value) in configs {
        let definition = definition(scope, name)
            .ok_or_else(|| SettingError::Invalid(format!("Unknown {kind} config name: {name}")))?;
        match (scope, definition.check(value)) {
            (_, Ok(())) => (),
            // Kafka lets the broker itself look at its settings, and calls what it finds a bad request.
            (Scope::Broker, Err(SettingError::Invalid(why))) => return Err(SettingError::Request(why)),
            (_, Err(error)) => return Err(error),
        }
    }
    match scope {
        Scope::Topic => topic::check_together(configs, broker),
        Scope::Broker => running::check_set(configs),
        Scope::Group => group::check_together(configs, broker),
    }
}

fn definition(scope: Scope, name: &str) -> Option<&'static Definition> {
    match scope {
        Scope::Topic => topic_definition(name),
        Scope::Broker => broker_definition(name),
        Scope::Group => group_definition(name),
    }
}

fn alter_list(
    scope: Scope,
    current: &BTreeMap<String, String>,
    alter: &Alter,
    value: &str,
) -> Result<String, SettingError> {
    let verb = if alter.op == Op::Append { "APPEND" } else { "SUBTRACT" };
    let name = &alter.name;
    let Some(definition) = definition(scope, name).filter(|definition| definition.kind == Kind::List) else {
        return Err(SettingError::Invalid(format!(
            "Can't {verb} to key {name} because its type is not LIST."
        )));
    };
    // An unset list starts from the default of the setting, whatever the broker was given (Kafka's `KafkaConfigSchema.getDefault`):
    // appending `compact` to a topic makes it delete and compact.
    let before = current.get(name).map_or(definition.default.unwrap_or_default(), String::as_str);
    let mut list: Vec<&str> = items(before).collect();
    for item in items(value) {
        if alter.op == Op::Subtract {
            list.retain(|kept| *kept != item);
        } else if !list.contains(&item) {
            list.push(item);
        }
    }
    Ok(list.join(","))
}

fn refuse_duplicates<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), SettingError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(SettingError::Request("Error due to duplicate config keys".into()));
        }
    }
    Ok(())
}

fn refuse_nulls<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), SettingError> {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(SettingError::Request(format!("Null value not supported for : {}", names.join(", "))))
}

fn refuse_read_only<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), SettingError> {
    let fixed: Vec<_> =
        names.filter(|name| broker_definition(name).is_some_and(|definition| definition.read_only)).collect();
    if fixed.is_empty() {
        return Ok(());
    }
    Err(SettingError::Request(format!("Cannot update these configs dynamically: [{}]", fixed.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn step(name: &str, op: Op, value: Option<&str>) -> Alter {
        Alter { name: name.into(), op, value: value.map(str::to_owned) }
    }

    fn altered(current: &[(&str, &str)], alters: &[Alter]) -> Result<BTreeMap<String, String>, SettingError> {
        alter(Scope::Topic, &map(current), alters, &BrokerSettings::default())
    }

    #[test]
    fn each_operation_touches_its_own_key_only() {
        let after = altered(
            &[("retention.ms", "1"), ("segment.ms", "2"), ("preallocate", "true")],
            &[step("retention.ms", Op::Set, Some("5")), step("segment.ms", Op::Delete, None)],
        );
        assert_eq!(after, Ok(map(&[("retention.ms", "5"), ("preallocate", "true")])));
    }

    #[test]
    fn what_a_broker_has_kept_from_before_keeps_nobody_from_changing_something_else() {
        let kept = map(&[("connections.max.idle.ms", "500")]);
        let change = |name, value| {
            alter(Scope::Broker, &kept, &[step(name, Op::Set, Some(value))], &BrokerSettings::default())
        };
        let both = map(&[("connections.max.idle.ms", "500"), ("max.connections", "9")]);
        assert_eq!(change("max.connections", "9"), Ok(both));
        assert!(change("connections.max.idle.ms", "501").is_err());
        assert!(change("max.connections", "0").is_err());
    }

    #[test]
    fn appending_to_an_unset_list_starts_from_the_default_whatever_the_broker_was_given() {
        let append = [step("cleanup.policy", Op::Append, Some("compact"))];
        let both = Ok(map(&[("cleanup.policy", "delete,compact")]));
        assert_eq!(altered(&[], &append), both);
        let compacts = BrokerSettings::new([("log.cleanup.policy", "compact")]).unwrap();
        assert_eq!(alter(Scope::Topic, &map(&[]), &append, &compacts), both);
        let again = altered(&[("cleanup.policy", "compact")], &append);
        assert_eq!(again, Ok(map(&[("cleanup.policy", "compact")])));
    }

    #[test]
    fn subtracting_takes_items_out_and_may_leave_nothing() {
        let subtract = [step("cleanup.policy", Op::Subtract, Some("delete"))];
        assert_eq!(altered(&[], &subtract), Ok(map(&[("cleanup.policy", "")])));
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_looked_up() {
        let request = |text: &str| Err(SettingError::Request(text.into()));
        let twice = [step("retention.ms", Op::Set, Some("1")), step("retention.ms", Op::Delete, None)];
        assert_eq!(altered(&[], &twice), request("Error due to duplicate config keys"));
        let null = [step("nonsense", Op::Append, None), step("retention.ms", Op::Set, None)];
        assert_eq!(altered(&[], &null), request("Null value not supported for : nonsense, retention.ms"));
    }

    #[test]
    fn wrong_names_values_and_types_are_invalid() {
        let rows = [
            (
                step("retention.ms", Op::Append, Some("1")),
                "Can't APPEND to key retention.ms because its type is not LIST.",
            ),
            (step("reteniton.ms", Op::Set, Some("1")), "Unknown topic config name: reteniton.ms"),
            (
                step("segment.bytes", Op::Set, Some("1")),
                "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576",
            ),
        ];
        for (alter, why) in rows {
            assert_eq!(altered(&[], &[alter]), Err(SettingError::Invalid(why.into())));
        }
    }

    #[test]
    fn the_old_api_resets_what_it_does_not_name() {
        let configs = [("retention.ms".to_owned(), Some("7".to_owned()))];
        let after = replace(Scope::Topic, &configs, &BrokerSettings::default());
        assert_eq!(after, Ok(map(&[("retention.ms", "7")])));
        let null = [("retention.ms".to_owned(), None)];
        assert!(matches!(
            replace(Scope::Topic, &null, &BrokerSettings::default()),
            Err(SettingError::Request(_))
        ));
    }

    #[test]
    fn a_running_broker_keeps_what_only_a_start_can_change() {
        let alter =
            |steps: &[Alter]| alter(Scope::Broker, &BTreeMap::new(), steps, &BrokerSettings::default());
        let steps = [
            step("node.id", Op::Set, Some("5")),
            step("max.connections", Op::Set, Some("5")),
            step("num.partitions", Op::Set, Some("5")),
        ];
        assert_eq!(
            alter(&steps),
            Err(SettingError::Request(
                "Cannot update these configs dynamically: [node.id, num.partitions]".into()
            ))
        );
        assert_eq!(alter(&[step("node.id", Op::Delete, None)]), Ok(BTreeMap::new()));
    }

    #[test]
    fn a_brokers_values_are_checked_and_its_names_too() {
        let alter = |name: &str, value: &str| {
            let steps = [step(name, Op::Set, Some(value))];
            alter(Scope::Broker, &BTreeMap::new(), &steps, &BrokerSettings::default())
        };
        for low in ["-3", "0"] {
            let why =
                format!("Invalid value {low} for configuration max.connections: Value must be at least 1");
            assert_eq!(alter("max.connections", low), Err(SettingError::Request(why)));
        }
        let unknown = Err(SettingError::Invalid("Unknown broker config name: max.connection".into()));
        assert_eq!(alter("max.connection", "3"), unknown);
        assert_eq!(alter("max.connections", "3"), Ok(map(&[("max.connections", "3")])));
    }
}
