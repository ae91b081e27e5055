//! Which values are allowed: the type first, then the range, with Kafka's sentences (`ConfigDef`).

use super::{Definition, Kind, SettingError};

/// The longest value that is kept. Kafka has no bound of its own here; lists of throttled replicas get long.
const VALUE_BYTES_MAX: usize = 256 * 1024;

/// What a value must satisfy beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    /// Nothing.
    Any,
    /// Not empty.
    NotEmpty,
    /// A number not below this.
    AtLeast(i64),
    /// A number between these, both included.
    Between(i64, i64),
    /// A decimal number from 0 to 1.
    Ratio,
    /// A compression level of gzip: -1 or 1 to 9.
    GzipLevel,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list of these texts, each at most once; may be empty.
    ListOf(&'static [&'static str]),
    /// `*`, or a list of `partition:broker`.
    ThrottledReplicas,
    /// `earliest`, `latest`, or `by_duration:` and an ISO 8601 duration.
    OffsetReset,
}

/// The items of a list value; none when it is empty.
pub(crate) fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// A boolean as Kafka reads it: any case.
pub(crate) fn boolean(value: &str) -> Option<bool> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    value.eq_ignore_ascii_case("false").then_some(false)
}

pub(super) fn check(definition: &Definition, value: &str) -> Result<(), SettingError> {
    let refuse = |why: &str| {
        let shown: String = value.chars().take(200).collect();
        Err(SettingError::Invalid(format!(
            "Invalid value {shown} for configuration {}: {why}",
            definition.name
        )))
    };
    if value.len() > VALUE_BYTES_MAX {
        return refuse(&format!("Value must be no longer than {VALUE_BYTES_MAX} bytes"));
    }
    if let Err(why) = check_kind(definition.kind, value) {
        return refuse(&why);
    }
    match check_range(definition.check, definition.name, value) {
        Ok(()) => Ok(()),
        Err(why) => refuse(&why),
    }
}

fn check_kind(kind: Kind, value: &str) -> Result<(), String> {
    let value = value.trim();
    let (fits, name) = match kind {
        Kind::Boolean if boolean(value).is_none() => {
            return Err("Expected value to be either true or false".into());
        }
        Kind::Boolean | Kind::String | Kind::List | Kind::Class | Kind::Password => return Ok(()),
        Kind::Int => (value.parse::<i32>().is_ok(), "INT"),
        Kind::Short => (value.parse::<i16>().is_ok(), "SHORT"),
        Kind::Long => (value.parse::<i64>().is_ok(), "LONG"),
        Kind::Double => (value.parse::<f64>().is_ok_and(f64::is_finite), "DOUBLE"),
    };
    if fits { Ok(()) } else { Err(format!("Not a number of type {name}")) }
}

fn check_range(check: Check, name: &str, value: &str) -> Result<(), String> {
    // The type was checked before: what is no number here belongs to a check that wants none.
    let number = value.trim().parse::<i64>().unwrap_or(0);
    match check {
        Check::Any => Ok(()),
        Check::NotEmpty if value.trim().is_empty() => Err("String must be non-empty".into()),
        Check::NotEmpty => Ok(()),
        Check::AtLeast(least) if number < least => Err(format!("Value must be at least {least}")),
        Check::AtLeast(_) => Ok(()),
        Check::Between(least, _) if number < least => Err(format!("Value must be at least {least}")),
        Check::Between(_, most) if number > most => Err(format!("Value must be no more than {most}")),
        Check::Between(..) => Ok(()),
        Check::Ratio => match value.trim().parse::<f64>() {
            Ok(ratio) if ratio < 0.0 => Err("Value must be at least 0".into()),
            Ok(ratio) if ratio > 1.0 => Err("Value must be no more than 1".into()),
            _ => Ok(()),
        },
        Check::GzipLevel if number == -1 || (1..=9).contains(&number) => Ok(()),
        Check::GzipLevel => Err("Value must be between 1 and 9 or equal to -1".into()),
        Check::OneOf(allowed) if allowed.contains(&value) => Ok(()),
        Check::OneOf(allowed) => Err(format!("String must be one of: {}", allowed.join(", "))),
        Check::ListOf(allowed) => check_list(allowed, name, value),
        Check::OffsetReset if is_offset_reset(value) => Ok(()),
        Check::OffsetReset => Err(format!(
            "Invalid value `{}` for configuration {name}. The value must be either 'earliest', 'latest' or of the \
             format 'by_duration:<PnDTnHnMn.nS>'.",
            value.chars().take(200).collect::<String>()
        )),
        Check::ThrottledReplicas if is_throttled_replicas(value) => Ok(()),
        Check::ThrottledReplicas => Err(format!(
            "{name} must be the literal '*' or a list of replicas in the following format: \
             [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        )),
    }
}

fn check_list(allowed: &[&str], name: &str, value: &str) -> Result<(), String> {
    let mut seen = vec![];
    for item in items(value) {
        if !allowed.contains(&item) {
            return Err(format!("String must be one of: {}", allowed.join(", ")));
        }
        if seen.contains(&item) {
            return Err(format!("Configuration '{name}' values must not be duplicated."));
        }
        seen.push(item);
    }
    Ok(())
}

fn is_throttled_replicas(value: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    value.trim() == "*"
        || items(value)
            .all(|item| item.split_once(':').is_some_and(|(index, node)| digits(index) && digits(node)))
}

fn is_offset_reset(value: &str) -> bool {
    matches!(value, "earliest" | "latest") || value.strip_prefix("by_duration:").is_some_and(is_duration)
}

/// Whether it is a duration like `P1DT2H3M4.5S`, as Java reads it: at least one part, each part at most once and in this order.
fn is_duration(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let Some(rest) = upper.strip_prefix('P') else { return false };
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return false,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    !rest.is_empty() && are_parts(days, "D") && are_parts(time, "HMS")
}

/// Numbers with these units behind them, in this order; only seconds may have a fraction.
fn are_parts(mut text: &str, units: &str) -> bool {
    for unit in units.chars() {
        let Some((number, rest)) = text.split_once(unit) else { continue };
        let whole = match number.split_once('.') {
            Some((whole, part)) if unit == 'S' && part.bytes().all(|b| b.is_ascii_digit()) => whole,
            _ => number,
        };
        if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
            return false;
        }
        text = rest;
    }
    text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::{Standing, topic_definition};

    fn verdict(name: &str, value: &str) -> Option<String> {
        topic_definition(name).unwrap().check(value).err().map(|error| error.to_string())
    }

    #[test]
    fn refusals_are_kafkas_sentences() {
        let rows = [
            ("segment.bytes", "1048575", "Value must be at least 1048576"),
            ("segment.bytes", "3000000000", "Not a number of type INT"),
            ("retention.ms", "-2", "Value must be at least -1"),
            ("retention.ms", "soon", "Not a number of type LONG"),
            ("preallocate", "yes", "Expected value to be either true or false"),
            ("cleanup.policy", "delete,shred", "String must be one of: compact, delete"),
            (
                "cleanup.policy",
                "delete,delete",
                "Configuration 'cleanup.policy' values must not be duplicated.",
            ),
            (
                "compression.type",
                "brotli",
                "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
            ),
            ("compression.gzip.level", "0", "Value must be between 1 and 9 or equal to -1"),
            ("compression.lz4.level", "18", "Value must be no more than 17"),
            ("min.cleanable.dirty.ratio", "1.5", "Value must be no more than 1"),
            ("min.cleanable.dirty.ratio", "NaN", "Not a number of type DOUBLE"),
            ("message.timestamp.type", "createtime", "String must be one of: CreateTime, LogAppendTime"),
        ];
        for (name, value, why) in rows {
            assert_eq!(
                verdict(name, value),
                Some(format!("Invalid value {value} for configuration {name}: {why}"))
            );
        }
    }

    #[test]
    fn what_kafka_accepts_is_accepted() {
        let rows = [
            ("cleanup.policy", "compact, delete"),
            ("cleanup.policy", ""),
            ("preallocate", "TRUE"),
            ("retention.ms", " 5 "),
            ("leader.replication.throttled.replicas", "*"),
            ("leader.replication.throttled.replicas", "0:1,1:2"),
            ("compression.gzip.level", "-1"),
        ];
        for (name, value) in rows {
            assert_eq!(verdict(name, value), None, "{name}={value}");
        }
        assert!(verdict("leader.replication.throttled.replicas", "0:,1:2").is_some());
    }

    #[test]
    fn durations_are_those_of_iso_8601() {
        for good in ["PT1S", "P1D", "P1DT2H3M4.5S", "pt0s"] {
            assert!(super::is_offset_reset(&format!("by_duration:{good}")), "{good}");
        }
        for bad in ["", "P", "PT", "1S", "PT1D", "P1S", "PT1M1H", "PT1.5M", "PT-1S", "PTS"] {
            assert!(!super::is_offset_reset(&format!("by_duration:{bad}")), "{bad}");
        }
    }

    #[test]
    fn an_endless_value_is_neither_kept_nor_echoed() {
        let definition = topic_definition("follower.replication.throttled.replicas").unwrap();
        assert_eq!(definition.standing, Standing::Known);
        let error = definition.check(&"0:1,".repeat(100_000)).unwrap_err();
        assert!(error.to_string().len() < 400);
    }
}
