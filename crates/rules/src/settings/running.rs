//! What is refused to a broker although each value on its own is allowed: what nobody could take back, and what does not go together.

use std::collections::BTreeMap;

use super::{BrokerSettings, SettingError};

const IDLE: &str = "connections.max.idle.ms";
/// The shortest idle time that is taken while the broker runs. Who comes from far away to set it anew needs a moment to say so; a file may say less,
/// as in Kafka, because whoever wrote it can write it again.
const IDLE_MS_MIN: i64 = 1_000;
const LAG_MIN: &str = "log.cleaner.min.compaction.lag.ms";
const LAG_MAX: &str = "log.cleaner.max.compaction.lag.ms";

/// Whether these may be set while brokers run. It is kept in the data directory and stronger than the command line: with what would close every
/// connection nobody could ever take it back.
///
/// # Errors
/// Which value, and what is allowed.
pub(super) fn check_set(configs: &BTreeMap<String, String>) -> Result<(), SettingError> {
    let idle = configs.get(IDLE).and_then(|value| value.trim().parse::<i64>().ok());
    match idle {
        Some(ms) if (0..IDLE_MS_MIN).contains(&ms) => Err(SettingError::Request(format!(
            "Invalid value {ms} for configuration {IDLE}: Value must be -1 or at least {IDLE_MS_MIN} while the broker runs"
        ))),
        _ => Ok(()),
    }
}

/// Whether the settings of a broker go together. What every topic inherits must not be what `CreateTopics` refuses.
///
/// # Errors
/// Which of them do not.
pub fn check_broker(settings: &BrokerSettings) -> Result<(), SettingError> {
    let (min, max) = (settings.int(LAG_MIN), settings.int(LAG_MAX));
    if min > max {
        return Err(SettingError::Request(format!("{LAG_MIN} ({min}) is more than {LAG_MAX} ({max})")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_could_take_back_is_not_set_while_the_broker_runs() {
        for (ms, taken) in [("-1", true), ("0", false), ("1", false), (" 999", false), ("1000", true)] {
            let configs = BTreeMap::from([(IDLE.to_owned(), ms.to_owned())]);
            assert_eq!(check_set(&configs).is_ok(), taken, "{ms}");
            assert!(BrokerSettings::new([(IDLE, ms)]).is_ok(), "a file may say {ms}");
        }
    }
}
