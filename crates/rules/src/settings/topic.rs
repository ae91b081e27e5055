//! The settings of a topic (Kafka 4.4's `TopicConfig` and `LogConfig`).

use std::collections::BTreeMap;

use super::{
    BrokerSettings, Check, Definition, Kind, SettingError,
    Standing::{self, Honoured, Known},
    Unit, check, topic_definition, unit,
};

const HOUR_MS: i64 = 3_600_000;

/// A setting that the broker's own stand in for, and that counts at once.
pub(super) const fn row(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    synonyms: &'static [Unit],
    check: Check,
    standing: Standing,
    doc: &'static str,
) -> Definition {
    Definition { name, kind, default: Some(default), synonyms, check, standing, read_only: false, doc }
}

/// Every topic setting, sorted by name.
#[rustfmt::skip]
pub(super) const TABLE: &[Definition] = &[
    row("cleanup.policy", Kind::List, "delete", &[unit("log.cleanup.policy", 1)],
        Check::ListOf(&["compact", "delete"]), Honoured,
        "What becomes of old records: `delete` drops whole segments by age and size, `compact` asks for the latest record of every key (each record needs a key). Both may be given. An empty list keeps everything for ever."),
    row("compression.gzip.level", Kind::Int, "-1", &[unit("compression.gzip.level", 1)],
        Check::GzipLevel, Honoured,
        "How hard the broker tries when it compresses with gzip: 1 to 9, or -1 for the library's own default."),
    row("compression.lz4.level", Kind::Int, "9", &[unit("compression.lz4.level", 1)],
        Check::Between(1, 17), Known,
        "How hard the broker tries when it compresses with lz4: 1 to 17."),
    row("compression.type", Kind::String, "producer", &[unit("compression.type", 1)],
        Check::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Honoured,
        "The codec in which batches are stored; one that came in another is packed anew. `producer` stores them as they came."),
    row("compression.zstd.level", Kind::Int, "3", &[unit("compression.zstd.level", 1)],
        Check::Between(-131_072, 22), Honoured,
        "How hard the broker tries when it compresses with zstd: -131072 to 22."),
    row("delete.retention.ms", Kind::Long, "86400000", &[unit("log.cleaner.delete.retention.ms", 1)],
        Check::AtLeast(0), Honoured,
        "How long a compacted topic still shows that a key was deleted, in milliseconds after it was first compacted."),
    row("errors.deadletterqueue.group.enable", Kind::Boolean, "false", &[],
        Check::Any, Known,
        "Whether share groups may put records here that they could not deliver."),
    row("file.delete.delay.ms", Kind::Long, "60000", &[unit("log.segment.delete.delay.ms", 1)],
        Check::AtLeast(0), Honoured,
        "How long the files of a dropped segment stay on the disk, in milliseconds, so that fetches under way can end."),
    row("flush.messages", Kind::Long, "9223372036854775807", &[unit("log.flush.interval.messages", 1)],
        Check::AtLeast(1), Honoured,
        "After how many records a sync is forced. 1 is Ottla's default: a produce request is acknowledged when its records are on the disk, and no acknowledged record is lost by a power cut. Anything larger acknowledges from the page cache, as Kafka does by default."),
    row("flush.ms", Kind::Long, "9223372036854775807",
        &[unit("log.flush.interval.ms", 1), unit("log.flush.scheduler.interval.ms", 1)],
        Check::AtLeast(0), Honoured,
        "After how many milliseconds at most a record is synced. It matters only where `flush.messages` is larger than 1."),
    row("follower.replication.throttled.replicas", Kind::List, "", &[],
        Check::ThrottledReplicas, Known,
        "Which replicas copy no faster than the quota: `partition:broker,...`, or `*` for all."),
    row("index.interval.bytes", Kind::Int, "4096", &[unit("log.index.interval.bytes", 1)],
        Check::AtLeast(0), Honoured,
        "How many bytes of records lie between two entries of the offset index. Fewer find records faster and make larger indexes."),
    row("internal.segment.bytes", Kind::Int, "1073741824", &[],
        Check::AtLeast(1), Honoured,
        "For tests: takes the place of `segment.bytes` and may be tiny."),
    row("leader.replication.throttled.replicas", Kind::List, "", &[],
        Check::ThrottledReplicas, Known,
        "Which replicas are served no faster than the quota: `partition:broker,...`, or `*` for all."),
    row("local.retention.bytes", Kind::Long, "-2", &[unit("log.local.retention.bytes", 1)],
        Check::AtLeast(-2), Known,
        "How many bytes stay on local disks once older segments live in remote storage. -2 means `retention.bytes`."),
    row("local.retention.ms", Kind::Long, "-2", &[unit("log.local.retention.ms", 1)],
        Check::AtLeast(-2), Known,
        "How long segments stay on local disks once they are also in remote storage, in milliseconds. -2 means `retention.ms`."),
    row("max.compaction.lag.ms", Kind::Long, "9223372036854775807", &[unit("log.cleaner.max.compaction.lag.ms", 1)],
        Check::AtLeast(1), Honoured,
        "The longest time a record may wait for compaction, in milliseconds."),
    row("max.message.bytes", Kind::Int, "1048588", &[unit("message.max.bytes", 1)],
        Check::AtLeast(0), Honoured,
        "The largest record batch that is accepted, in bytes, as it is stored (after compression, with its header)."),
    row("message.timestamp.after.max.ms", Kind::Long, "3600000", &[unit("log.message.timestamp.after.max.ms", 1)],
        Check::AtLeast(0), Honoured,
        "How far ahead of the broker's clock the timestamp of a record may be, in milliseconds. It does not count with LogAppendTime."),
    row("message.timestamp.before.max.ms", Kind::Long, "9223372036854775807", &[unit("log.message.timestamp.before.max.ms", 1)],
        Check::AtLeast(0), Honoured,
        "How far behind the broker's clock the timestamp of a record may be, in milliseconds. It does not count with LogAppendTime."),
    row("message.timestamp.type", Kind::String, "CreateTime", &[unit("log.message.timestamp.type", 1)],
        Check::OneOf(&["CreateTime", "LogAppendTime"]), Honoured,
        "Whose clock stamps the records: the producer's (CreateTime) or the broker's on arrival (LogAppendTime)."),
    row("min.cleanable.dirty.ratio", Kind::Double, "0.5", &[unit("log.cleaner.min.cleanable.ratio", 1)],
        Check::Ratio, Honoured,
        "How much of a compacted log must be new since the last round before another one is worth it, from 0 to 1."),
    row("min.compaction.lag.ms", Kind::Long, "0", &[unit("log.cleaner.min.compaction.lag.ms", 1)],
        Check::AtLeast(0), Honoured,
        "How long a record is certain not to be compacted away, in milliseconds."),
    row("min.insync.replicas", Kind::Int, "1", &[unit("min.insync.replicas", 1)],
        Check::AtLeast(1), Honoured,
        "How many replicas must be in sync for a produce request with acks=all to be accepted."),
    row("preallocate", Kind::Boolean, "false", &[unit("log.preallocate", 1)],
        Check::Any, Honoured,
        "Whether a new segment takes the blocks for its full size at once. The length of its file grows with what is written."),
    row("remote.copy.lag.bytes", Kind::Long, "0", &[unit("log.remote.copy.lag.bytes", 1)],
        Check::AtLeast(-2), Known,
        "How many bytes stay out of remote storage at the head of the log."),
    row("remote.copy.lag.ms", Kind::Long, "0", &[unit("log.remote.copy.lag.ms", 1)],
        Check::AtLeast(-2), Known,
        "How long a closed segment stays out of remote storage, in milliseconds."),
    row("remote.log.copy.disable", Kind::Boolean, "false", &[],
        Check::Any, Known,
        "Whether no further segments go to remote storage; those that are there stay readable."),
    row("remote.log.delete.on.disable", Kind::Boolean, "false", &[],
        Check::Any, Known,
        "Whether the remote segments are deleted when remote storage is turned off for the topic."),
    row("remote.storage.enable", Kind::Boolean, "false", &[],
        Check::Any, Known,
        "Whether closed segments move to remote storage. The broker has none, so this cannot be turned on."),
    row("retention.bytes", Kind::Long, "-1", &[unit("log.retention.bytes", 1)],
        Check::Any, Honoured,
        "How large one partition may grow before its oldest segments are dropped, in bytes; -1 is without bound. It counts with cleanup policy `delete`."),
    row("retention.ms", Kind::Long, "604800000",
        &[unit("log.retention.ms", 1), unit("log.retention.minutes", 60_000), unit("log.retention.hours", HOUR_MS)],
        Check::AtLeast(-1), Honoured,
        "How long a segment is kept after its newest record, in milliseconds; -1 is for ever. It counts with cleanup policy `delete`."),
    row("segment.bytes", Kind::Int, "1073741824", &[unit("log.segment.bytes", 1)],
        Check::AtLeast(1_048_576), Honoured,
        "How large one segment file may grow, in bytes. Retention drops whole segments, so smaller ones are dropped more exactly. A batch must fit into one segment."),
    row("segment.index.bytes", Kind::Int, "10485760", &[unit("log.index.size.max.bytes", 1)],
        Check::AtLeast(4), Honoured,
        "How large the index of one segment may grow, in bytes; a full index starts a new segment."),
    row("segment.jitter.ms", Kind::Long, "0",
        &[unit("log.roll.jitter.ms", 1), unit("log.roll.jitter.hours", HOUR_MS)],
        Check::AtLeast(0), Honoured,
        "By how many milliseconds at most, by chance, a segment is closed early, so that not all close at the same time."),
    row("segment.ms", Kind::Long, "604800000",
        &[unit("log.roll.ms", 1), unit("log.roll.hours", HOUR_MS)],
        Check::AtLeast(1), Honoured,
        "After how many milliseconds of its records' time a segment is closed although it is not full."),
    row("unclean.leader.election.enable", Kind::Boolean, "false", &[unit("unclean.leader.election.enable", 1)],
        Check::Any, Known,
        "Whether a replica that was not in sync may lead when no other is left. Records are lost then."),
];

/// The combinations that Kafka's `LogConfig.validate` refuses; each value on its own has been checked.
pub(super) fn check_together(
    overrides: &BTreeMap<String, String>,
    broker: &BrokerSettings,
) -> Result<(), SettingError> {
    let min = effective_int("min.compaction.lag.ms", overrides, broker);
    let max = effective_int("max.compaction.lag.ms", overrides, broker);
    if min > max {
        return Err(SettingError::Invalid(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        )));
    }
    if overrides.get("remote.storage.enable").and_then(|value| check::boolean(value)) == Some(true) {
        return Err(SettingError::Invalid(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log \
             storage."
                .into(),
        ));
    }
    Ok(())
}

/// The text that counts for a topic setting and the factor that brings its number to the setting's unit, as far as
/// `read` understands it: the topic's own, else the broker's, else the default.
pub(crate) fn effective<T>(
    name: &str,
    overrides: &BTreeMap<String, String>,
    broker: &BrokerSettings,
    read: impl Fn(&str, i64) -> Option<T>,
) -> Option<T> {
    let definition = topic_definition(name)?;
    let own = overrides.get(name).and_then(|value| read(value, 1));
    own.or_else(|| (!definition.synonyms.is_empty()).then(|| broker.effective(definition, &read)).flatten())
        .or_else(|| definition.default.and_then(|value| read(value, 1)))
}

/// The number that counts for a topic setting; 0 for names without a number.
pub(crate) fn effective_int(
    name: &str,
    overrides: &BTreeMap<String, String>,
    broker: &BrokerSettings,
) -> i64 {
    effective(name, overrides, broker, |text, factor| {
        let number = text.trim().parse::<i64>().ok()?;
        Some(if number < 0 { number } else { number.saturating_mul(factor) })
    })
    .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::broker_definition;
    use super::*;

    #[test]
    fn the_table_is_sorted_and_each_default_passes_its_own_check() {
        assert!(TABLE.windows(2).all(|pair| pair[0].name < pair[1].name));
        for definition in TABLE {
            definition.check(definition.default.unwrap()).unwrap();
        }
    }

    #[test]
    fn every_synonym_is_a_broker_setting_with_the_same_default() {
        for definition in TABLE {
            for unit in definition.synonyms {
                assert!(broker_definition(unit.name).is_some(), "{}", unit.name);
            }
            // Ottla's own choice: durable unless somebody says otherwise.
            if definition.name == "flush.messages" {
                continue;
            }
            let broker = BrokerSettings::default();
            if !definition.synonyms.is_empty() && definition.kind != Kind::Double {
                let of_broker = broker.effective(definition, |text, factor| {
                    Some(text.parse::<i64>().map_or(text.to_owned(), |n| (n * factor).to_string()))
                });
                assert_eq!(of_broker.as_deref(), definition.default, "{}", definition.name);
            }
        }
    }

    #[test]
    fn lags_that_contradict_each_other_are_refused() {
        let lags = BTreeMap::from([
            ("min.compaction.lag.ms".to_owned(), "10".to_owned()),
            ("max.compaction.lag.ms".to_owned(), "5".to_owned()),
        ]);
        assert_eq!(
            check_together(&lags, &BrokerSettings::default()).unwrap_err().to_string(),
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"
        );
    }

    #[test]
    fn remote_storage_cannot_be_turned_on_where_there_is_none() {
        let remote = BTreeMap::from([("remote.storage.enable".to_owned(), "true".to_owned())]);
        assert!(check_together(&remote, &BrokerSettings::default()).is_err());
    }
}
