//! What DescribeConfigs shows: every setting, its value, and where the value comes from.

use std::collections::BTreeMap;

use super::{
    BrokerSettings, Definition, Kind, Source, broker_definitions, group_definitions, topic_definitions,
};

/// One setting as DescribeConfigs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// The value that counts; `None` for null, and for what must not be shown.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// Whether the Alter APIs refuse it.
    pub read_only: bool,
    /// Whether its value must not be shown.
    pub sensitive: bool,
    /// The type.
    pub kind: Kind,
    /// Every value there is, the one that counts first.
    pub synonyms: Vec<Synonym>,
    /// What it means.
    pub doc: &'static str,
}

/// A value that would count if those before it were removed. Its text is as given, in the unit of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The setting that has the value.
    pub name: &'static str,
    /// The value; `None` for what must not be shown.
    pub value: Option<String>,
    /// Who gave it.
    pub source: Source,
}

/// Every topic setting, for a topic with these values of its own.
///
/// Unlike Kafka, which shows no synonyms for `retention.ms` while only `log.retention.hours` is set (it looks for
/// the first name only), all that count are shown.
#[must_use]
pub fn describe_topic(overrides: &BTreeMap<String, String>, broker: &BrokerSettings) -> Vec<Described> {
    topic_definitions()
        .iter()
        // A setting for tests only: shown to who has set it.
        .filter(|definition| {
            !definition.name.starts_with("internal.") || overrides.contains_key(definition.name)
        })
        .map(|definition| {
            let own = overrides.get(definition.name);
            let mut synonyms: Vec<_> = own
                .map(|value| Synonym {
                    name: definition.name,
                    value: Some(value.clone()),
                    source: Source::Topic,
                })
                .into_iter()
                .collect();
            synonyms.extend(definition.synonyms.iter().flat_map(|unit| of_broker(unit.name, broker)));
            let value = own.cloned().or_else(|| default_of(definition, broker));
            described(definition, value, synonyms, false)
        })
        .collect()
}

/// Every setting of a group with these values of its own.
#[must_use]
pub fn describe_group(own: &BTreeMap<String, String>, broker: &BrokerSettings) -> Vec<Described> {
    let describe = |definition: &'static Definition| {
        let own = own.get(definition.name);
        let value = |value: &String| Synonym {
            name: definition.name,
            value: Some(value.clone()),
            source: Source::Group,
        };
        let mut synonyms: Vec<_> = own.map(value).into_iter().collect();
        synonyms.extend(definition.synonyms.iter().flat_map(|unit| of_broker(unit.name, broker)));
        if definition.synonyms.is_empty() {
            let default = definition.default.map(str::to_owned);
            synonyms.push(Synonym { name: definition.name, value: default, source: Source::Default });
        }
        let value = own.cloned().or_else(|| default_of(definition, broker));
        described(definition, value, synonyms, definition.read_only)
    };
    group_definitions().iter().map(describe).collect()
}

/// Every setting of a broker.
#[must_use]
pub fn describe_broker(broker: &BrokerSettings) -> Vec<Described> {
    broker_definitions()
        .map(|definition| {
            let names =
                definition.synonyms.iter().map(|unit| unit.name).skip_while(|name| *name != definition.name);
            let mut synonyms: Vec<_> = names.flat_map(|name| of_broker(name, broker)).collect();
            if definition.synonyms.is_empty() {
                synonyms.extend(of_broker(definition.name, broker));
            }
            let stands_in = |synonym: &Synonym| synonym.value.clone();
            let value = match broker.value(definition.name) {
                Some(value) => Some(value.to_owned()),
                // An unset list is what stands in for it; a number may stand there in another unit, and is unset.
                None if definition.kind == Kind::List => synonyms.first().and_then(stands_in),
                None => None,
            };
            described(definition, value, synonyms, definition.read_only)
        })
        .collect()
}

/// What was set for all brokers while they run (resource BROKER, name ""): nothing else is shown there.
#[must_use]
pub fn describe_cluster_default(broker: &BrokerSettings) -> Vec<Described> {
    broker_definitions()
        .filter_map(|definition| {
            let value = broker.cluster_default().get(definition.name)?;
            let source = Source::DynamicDefaultBroker;
            let synonym = Synonym { name: definition.name, value: Some(value.clone()), source };
            Some(described(definition, Some(value.clone()), vec![synonym], definition.read_only))
        })
        .collect()
}

/// What Kafka shows of a subscription to clients' metrics that nobody has made: the defaults. Here nobody can make one.
#[must_use]
pub fn describe_client_metrics() -> Vec<Described> {
    const DEFAULTS: [(&str, Kind, &str, &str); 3] = [
        ("interval.ms", Kind::Int, "300000", "How often clients push their metrics, in milliseconds."),
        ("match", Kind::List, "", "Which clients are asked for metrics; an empty list is all."),
        ("metrics", Kind::List, "", "What the names of the metrics begin with that are asked for."),
    ];
    let described = DEFAULTS.map(|(name, kind, default, doc)| Described {
        name,
        value: Some(default.to_owned()),
        source: Source::Default,
        read_only: false,
        sensitive: false,
        kind,
        synonyms: Vec::new(),
        doc,
    });
    described.into()
}

/// What a topic or group without a value of its own has, in the setting's own unit.
fn default_of(definition: &Definition, broker: &BrokerSettings) -> Option<String> {
    if definition.synonyms.is_empty() {
        return definition.default.map(str::to_owned);
    }
    broker.effective(definition, |text, factor| {
        if factor == 1 {
            return Some(text.to_owned());
        }
        let number = text.trim().parse::<i64>().ok()?;
        Some(if number < 0 { number } else { number.saturating_mul(factor) }.to_string())
    })
}

fn of_broker(name: &'static str, broker: &BrokerSettings) -> impl Iterator<Item = Synonym> {
    broker.values(name).map(move |(value, source)| Synonym { name, value: Some(value.into()), source })
}

fn described(
    definition: &'static Definition,
    value: Option<String>,
    mut synonyms: Vec<Synonym>,
    read_only: bool,
) -> Described {
    let sensitive = definition.kind == Kind::Password;
    if sensitive {
        synonyms.iter_mut().for_each(|synonym| synonym.value = None);
    }
    Described {
        name: definition.name,
        value: value.filter(|_| !sensitive),
        source: synonyms.first().map_or(Source::Default, |first| first.source),
        read_only,
        sensitive,
        kind: definition.kind,
        synonyms,
        doc: definition.doc,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(all: &'a [Described], name: &str) -> &'a Described {
        all.iter().find(|described| described.name == name).unwrap()
    }

    fn sources(described: &Described) -> Vec<(&str, &str, Source)> {
        described.synonyms.iter().map(|s| (s.name, s.value.as_deref().unwrap_or("-"), s.source)).collect()
    }

    #[test]
    fn a_topic_shows_where_each_value_comes_from() {
        let broker = BrokerSettings::new([("log.retention.hours", "1")]).unwrap();
        let overrides = BTreeMap::from([("max.message.bytes".to_owned(), "500".to_owned())]);
        let all = describe_topic(&overrides, &broker);

        let own = of(&all, "max.message.bytes");
        assert_eq!((own.value.as_deref(), own.source), (Some("500"), Source::Topic));
        assert_eq!(
            sources(own),
            [("max.message.bytes", "500", Source::Topic), ("message.max.bytes", "1048588", Source::Default)]
        );

        let given = of(&all, "retention.ms");
        assert_eq!((given.value.as_deref(), given.source), (Some("3600000"), Source::StaticBroker));
        assert_eq!(
            sources(given),
            [
                ("log.retention.hours", "1", Source::StaticBroker),
                ("log.retention.hours", "168", Source::Default)
            ]
        );

        let default = of(&all, "remote.storage.enable");
        assert_eq!((default.value.as_deref(), default.source), (Some("false"), Source::Default));
        assert!(all.iter().all(|described| !described.read_only && !described.doc.is_empty()));
    }

    #[test]
    fn the_setting_for_tests_shows_itself_to_tests_only() {
        let shown = |overrides: &BTreeMap<String, String>| {
            describe_topic(overrides, &BrokerSettings::default())
                .iter()
                .any(|described| described.name == "internal.segment.bytes")
        };
        assert!(!shown(&BTreeMap::new()));
        assert!(shown(&BTreeMap::from([("internal.segment.bytes".into(), "100".into())])));
    }

    #[test]
    fn a_broker_shows_all_it_knows() {
        let broker = BrokerSettings::new([("log.retention.minutes", "5")]).unwrap();
        let all = describe_broker(&broker);
        assert_eq!(of(&all, "log.retention.ms").value, None);
        assert_eq!(of(&all, "log.retention.ms").source, Source::StaticBroker);
        assert_eq!(of(&all, "log.retention.hours").value.as_deref(), Some("168"));
        assert_eq!(of(&all, "default.replication.factor").value.as_deref(), Some("1"));
        assert!(of(&all, "node.id").read_only);
        assert!(!of(&all, "message.max.bytes").read_only);
    }

    #[test]
    fn what_is_advertised_is_the_listener_unless_somebody_says_otherwise() {
        let shown = |given: &[(&str, &str)]| {
            let all = describe_broker(&BrokerSettings::new(given.iter().copied()).unwrap());
            let advertised = of(&all, "advertised.listeners");
            (advertised.value.clone().unwrap(), advertised.source)
        };
        assert_eq!(shown(&[]), ("PLAINTEXT://127.0.0.1:9092".into(), Source::Default));
        assert_eq!(shown(&[("listeners", "A://h:1")]), ("A://h:1".into(), Source::StaticBroker));
        let both = [("listeners", "A://h:1"), ("advertised.listeners", "A://i:2")];
        assert_eq!(shown(&both), ("A://i:2".into(), Source::StaticBroker));
    }

    #[test]
    fn the_cluster_default_shows_only_what_was_set() {
        let set = BTreeMap::from([("message.max.bytes".to_owned(), "9".to_owned())]);
        let broker = BrokerSettings::default().with_dynamic(set.into(), BTreeMap::new().into());
        let all = describe_cluster_default(&broker);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].source, Source::DynamicDefaultBroker);
    }
}
