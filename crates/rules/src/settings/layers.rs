//! The broker's settings in layers: what its file says, and what was set while it ran.

use std::{collections::BTreeMap, sync::Arc};

use super::{Definition, SettingError, Source, Unit, broker_definition, check, running};

/// The settings of one broker. Every name has a value: a default where nobody gave one.
///
/// Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerSettings {
    given: Arc<BTreeMap<String, String>>,
    cluster: Arc<BTreeMap<String, String>>,
    node: Arc<BTreeMap<String, String>>,
}

impl BrokerSettings {
    /// The settings of a broker that was started with these; names and values are checked.
    ///
    /// # Errors
    /// The first name that no broker setting has, or the first value that is not allowed; or values that do not go together.
    pub fn new<N: Into<String>, V: Into<String>>(
        given: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, SettingError> {
        let given: BTreeMap<String, String> =
            given.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        for (name, value) in &given {
            let definition = broker_definition(name)
                .ok_or_else(|| SettingError::Invalid(format!("Unknown broker config name: {name}")))?;
            definition.check(value)?;
        }
        let settings = Self { given: Arc::new(given), ..Self::default() };
        running::check_broker(&settings)?;
        Ok(settings)
    }

    /// The same broker under what was set while brokers run: for all of them, and for this one.
    #[must_use]
    pub fn with_dynamic(
        &self,
        cluster: Arc<BTreeMap<String, String>>,
        node: Arc<BTreeMap<String, String>>,
    ) -> Self {
        Self { given: self.given.clone(), cluster, node }
    }

    /// The same broker when this is set: for all brokers, or for it alone.
    #[must_use]
    pub(crate) fn with_set(&self, for_all: bool, configs: Arc<BTreeMap<String, String>>) -> Self {
        let settings = self.clone();
        if for_all { Self { cluster: configs, ..settings } } else { Self { node: configs, ..settings } }
    }

    /// What the broker was started with.
    #[must_use]
    pub fn given(&self) -> &BTreeMap<String, String> {
        &self.given
    }

    /// What was set for all brokers while they run.
    #[must_use]
    pub fn cluster_default(&self) -> &BTreeMap<String, String> {
        &self.cluster
    }

    /// The value of `name` itself, whatever its synonyms say. `None` for null, and for names of no setting.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next().map(|(value, _)| value)
    }

    /// The number that counts for `name`, in its own unit: of `log.retention.ms` that is what `log.retention.hours`
    /// says when nobody gave a finer one. 0 for names without a number.
    #[must_use]
    pub fn int(&self, name: &str) -> i64 {
        let Some(definition) = broker_definition(name) else { return 0 };
        self.effective(definition, |text, factor| {
            let number = text.trim().parse::<i64>().ok()?;
            // -1 is "for ever" in every unit.
            Some(if number < 0 { number } else { number.saturating_mul(factor) })
        })
        .unwrap_or(0)
    }

    /// Whether `name` is on; false for names without a boolean.
    #[must_use]
    pub fn bool(&self, name: &str) -> bool {
        self.value(name).and_then(check::boolean).unwrap_or(false)
    }

    /// The text of `name`; empty for null.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.value(name).unwrap_or("")
    }

    /// Every value of `name` itself, the one that counts first.
    pub(super) fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, Source)> + use<'a> {
        let default = broker_definition(name).and_then(|definition| definition.default);
        [
            (self.node.get(name).map(String::as_str), Source::DynamicBroker),
            (self.cluster.get(name).map(String::as_str), Source::DynamicDefaultBroker),
            (self.given.get(name).map(String::as_str), Source::StaticBroker),
            (default, Source::Default),
        ]
        .into_iter()
        .filter_map(|(value, source)| Some((value?, source)))
    }

    /// The first value among the synonyms of `definition` that `read` understands.
    pub(crate) fn effective<T>(
        &self,
        definition: &Definition,
        read: impl Fn(&str, i64) -> Option<T>,
    ) -> Option<T> {
        let itself = [Unit { name: definition.name, factor: 1 }];
        let synonyms = if definition.synonyms.is_empty() { &itself[..] } else { definition.synonyms };
        // A synonym in a finer unit that nobody set has no default: the coarse one has it.
        synonyms
            .iter()
            .flat_map(|unit| self.values(unit.name).map(|(value, _)| (value, unit.factor)))
            .find_map(|(value, factor)| read(value, factor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Arc<BTreeMap<String, String>> {
        Arc::new(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn the_finer_unit_wins() {
        let hours = BrokerSettings::new([("log.retention.hours", "2")]).unwrap();
        assert_eq!(hours.int("log.retention.ms"), 7_200_000);
        let minutes =
            BrokerSettings::new([("log.retention.hours", "2"), ("log.retention.minutes", "3")]).unwrap();
        assert_eq!(minutes.int("log.retention.ms"), 180_000);
        let ms = BrokerSettings::new([("log.retention.ms", "5"), ("log.retention.minutes", "3")]).unwrap();
        assert_eq!(ms.int("log.retention.ms"), 5);
        assert_eq!(ms.value("log.retention.hours"), Some("168"));
    }

    #[test]
    fn for_ever_is_for_ever_in_hours_too() {
        let settings = BrokerSettings::new([("log.retention.hours", "-1")]).unwrap();
        assert_eq!(settings.int("log.retention.ms"), -1);
    }

    #[test]
    fn what_was_set_later_and_closer_wins() {
        let settings = BrokerSettings::new([("message.max.bytes", "100")]).unwrap();
        assert_eq!(settings.int("message.max.bytes"), 100);
        let all = settings.with_dynamic(map(&[("message.max.bytes", "200")]), map(&[]));
        assert_eq!(all.int("message.max.bytes"), 200);
        let one =
            settings.with_dynamic(map(&[("message.max.bytes", "200")]), map(&[("message.max.bytes", "300")]));
        assert_eq!(one.int("message.max.bytes"), 300);
    }

    #[test]
    fn a_wrong_name_or_value_is_refused_at_the_start() {
        let unknown = BrokerSettings::new([("log.retention.years", "1")]).unwrap_err();
        assert_eq!(unknown.to_string(), "Unknown broker config name: log.retention.years");
        assert!(BrokerSettings::new([("num.partitions", "0")]).is_err());
        let lags = [("log.cleaner.min.compaction.lag.ms", "10"), ("log.cleaner.max.compaction.lag.ms", "5")];
        assert_eq!(
            BrokerSettings::new(lags).unwrap_err().to_string(),
            "log.cleaner.min.compaction.lag.ms (10) is more than log.cleaner.max.compaction.lag.ms (5)"
        );
    }
}
