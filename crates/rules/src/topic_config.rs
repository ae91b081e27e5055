//! The settings of one topic, resolved: typed, and complete.

use std::collections::BTreeMap;

use crate::{
    batch::{BatchRules, Codec, Packing, TimestampType},
    limits::Limits,
    settings::{
        BrokerSettings, Scope, SettingError,
        check::{boolean, items},
        check_all,
        topic::{effective, effective_int},
    },
};

/// What counts for one topic: its own values over those of its broker over the defaults.
///
/// Times are milliseconds. `u64::MAX` is "never" for times and "no bound" for sizes; where Kafka says -1 for that
/// (retention), so do we.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy`.
    pub cleanup: Cleanup,
    /// `compression.type`, with the level of that codec; none is `producer`.
    pub packing: Option<Packing>,
    /// `delete.retention.ms`.
    pub delete_retention_ms: u64,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: u64,
    /// `flush.messages`: 1 is durable, see [`TopicConfig::is_durable`].
    pub flush_messages: u64,
    /// `flush.ms`.
    pub flush_ms: u64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u64,
    /// `max.compaction.lag.ms`.
    pub compaction_lag_ms_max: u64,
    /// `min.compaction.lag.ms`.
    pub compaction_lag_ms_min: u64,
    /// `max.message.bytes`: the largest batch.
    pub max_message_bytes: usize,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `preallocate`.
    pub preallocate: bool,
    /// `retention.bytes`; negative is no bound.
    pub retention_bytes: i64,
    /// `retention.ms`; negative is for ever.
    pub retention_ms: i64,
    /// `segment.bytes`, or `internal.segment.bytes` where a test set it.
    pub segment_bytes: u64,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u64,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: u64,
    /// `segment.ms`; a compacted topic's is never longer than its `max.compaction.lag.ms`, as in Kafka.
    pub segment_ms: u64,
    /// `unclean.leader.election.enable`.
    pub unclean_leader_election: bool,
}

/// `cleanup.policy`. Neither keeps everything for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleanup {
    /// Old segments are dropped.
    pub delete: bool,
    /// The latest record of every key is kept; every record needs a key.
    pub compact: bool,
}

impl TopicConfig {
    /// The settings of a topic with these values of its own, each of which is checked.
    ///
    /// # Errors
    /// The first name or value that is not allowed, or a combination that is not.
    pub fn resolve(
        overrides: &BTreeMap<String, String>,
        broker: &BrokerSettings,
    ) -> Result<Self, SettingError> {
        check_all(Scope::Topic, overrides, broker)?;
        Ok(Self::read(overrides, broker))
    }

    /// The settings of a topic that exists: its values were checked when they were set. One that is not understood
    /// (a newer version wrote it) gives way to the next in line.
    #[must_use]
    pub fn read(overrides: &BTreeMap<String, String>, broker: &BrokerSettings) -> Self {
        let int = |name| effective_int(name, overrides, broker);
        // Negative where that is not allowed cannot be: it was checked. 0 is then the harmless side.
        let wide = |name| u64::try_from(int(name)).unwrap_or(0);
        let text = |name| effective(name, overrides, broker, |text, _| Some(text.trim().to_owned()));
        let on = |name| effective(name, overrides, broker, |text, _| boolean(text)).unwrap_or(false);
        let cleanup = Cleanup::read(&text("cleanup.policy").unwrap_or_default());
        let compaction_lag_ms_max = wide("max.compaction.lag.ms");
        let segment_ms = wide("segment.ms");
        let tiny = overrides.contains_key("internal.segment.bytes");
        Self {
            cleanup,
            packing: packing(&text("compression.type").unwrap_or_default(), |name| {
                i32::try_from(int(name)).unwrap_or(0)
            }),
            delete_retention_ms: wide("delete.retention.ms"),
            file_delete_delay_ms: wide("file.delete.delay.ms"),
            flush_messages: wide("flush.messages").max(1),
            flush_ms: wide("flush.ms"),
            index_interval_bytes: wide("index.interval.bytes"),
            compaction_lag_ms_max,
            compaction_lag_ms_min: wide("min.compaction.lag.ms"),
            max_message_bytes: usize::try_from(int("max.message.bytes")).unwrap_or(0),
            timestamp_after_max_ms: int("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: int("message.timestamp.before.max.ms"),
            timestamp_type: match text("message.timestamp.type").as_deref() {
                Some("LogAppendTime") => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: effective(
                "min.cleanable.dirty.ratio",
                overrides,
                broker,
                |text, _| text.trim().parse().ok(),
            )
            .unwrap_or(0.5),
            min_insync_replicas: u32::try_from(int("min.insync.replicas")).unwrap_or(1),
            preallocate: on("preallocate"),
            retention_bytes: int("retention.bytes"),
            retention_ms: int("retention.ms"),
            segment_bytes: wide(if tiny { "internal.segment.bytes" } else { "segment.bytes" }).max(1),
            segment_index_bytes: wide("segment.index.bytes"),
            segment_jitter_ms: wide("segment.jitter.ms"),
            segment_ms: if cleanup.compact { segment_ms.min(compaction_lag_ms_max) } else { segment_ms },
            unclean_leader_election: on("unclean.leader.election.enable"),
        }
    }

    /// Whether an acknowledgement waits for the disk.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.flush_messages == 1
    }

    /// What a batch must satisfy to be appended.
    #[must_use]
    pub fn batch_rules(&self, limits: &Limits) -> BatchRules {
        BatchRules {
            bytes_max: self.max_message_bytes,
            segment_bytes_max: usize::try_from(self.segment_bytes).unwrap_or(usize::MAX),
            compacted: self.cleanup.compact,
            timestamp_type: self.timestamp_type,
            before_max_ms: self.timestamp_before_max_ms,
            after_max_ms: self.timestamp_after_max_ms,
            unpacked_bytes_max: limits.records_unpacked_bytes_max,
            packing: self.packing,
        }
    }
}

impl Default for TopicConfig {
    /// A topic without values of its own on a broker without settings: durable.
    fn default() -> Self {
        Self::read(&BTreeMap::new(), &BrokerSettings::default())
    }
}

/// What `compression.type` asks for.
fn packing(kind: &str, level: impl Fn(&'static str) -> i32) -> Option<Packing> {
    Some(match kind {
        "uncompressed" => Packing::of(Codec::None),
        "gzip" => Packing { codec: Codec::Gzip, level: level("compression.gzip.level") },
        "snappy" => Packing::of(Codec::Snappy),
        "lz4" => Packing { codec: Codec::Lz4, level: level("compression.lz4.level") },
        "zstd" => Packing { codec: Codec::Zstd, level: level("compression.zstd.level") },
        _ => return None,
    })
}

impl Cleanup {
    fn read(policy: &str) -> Self {
        let has = |word| items(policy).any(|item| item == word);
        Self { delete: has("delete"), compact: has("compact") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn resolved(pairs: &[(&str, &str)]) -> TopicConfig {
        TopicConfig::resolve(&map(pairs), &BrokerSettings::default()).unwrap()
    }

    #[test]
    fn a_topic_nobody_configured_is_durable_and_otherwise_kafkas() {
        let config = TopicConfig::default();
        assert!(config.is_durable());
        assert_eq!(config.flush_ms, i64::MAX as u64);
        assert_eq!(config.retention_ms, 604_800_000);
        assert_eq!(config.segment_bytes, 1 << 30);
        assert_eq!(config.max_message_bytes, 1_048_588);
        assert_eq!(config.timestamp_after_max_ms, 3_600_000);
        assert_eq!(config.cleanup, Cleanup { delete: true, compact: false });
    }

    #[test]
    fn the_broker_stands_in_and_the_topic_wins() {
        let broker =
            BrokerSettings::new([("log.flush.interval.messages", "1000"), ("log.retention.hours", "1")])
                .unwrap();
        let config = TopicConfig::resolve(&map(&[]), &broker).unwrap();
        assert!(!config.is_durable());
        assert_eq!(config.retention_ms, 3_600_000);
        let config =
            TopicConfig::resolve(&map(&[("flush.messages", "1"), ("retention.ms", "-1")]), &broker).unwrap();
        assert!(config.is_durable());
        assert_eq!(config.retention_ms, -1);
    }

    #[test]
    fn only_a_test_gets_tiny_segments() {
        assert!(
            TopicConfig::resolve(&map(&[("segment.bytes", "1000")]), &BrokerSettings::default()).is_err()
        );
        assert_eq!(resolved(&[("internal.segment.bytes", "1000")]).segment_bytes, 1000);
        assert_eq!(
            resolved(&[("internal.segment.bytes", "1000"), ("segment.bytes", "2000000")]).segment_bytes,
            1000
        );
    }

    #[test]
    fn a_compacted_topic_closes_segments_in_time_for_compaction() {
        let config = resolved(&[("cleanup.policy", "compact"), ("max.compaction.lag.ms", "5000")]);
        assert_eq!(config.segment_ms, 5000);
        assert!(config.batch_rules(&Limits::default()).compacted);
        assert_eq!(resolved(&[("max.compaction.lag.ms", "5000")]).segment_ms, 604_800_000);
    }

    #[test]
    fn a_value_from_the_future_gives_way() {
        let config = TopicConfig::read(
            &map(&[("retention.ms", "a fortnight"), ("vintage", "2030")]),
            &BrokerSettings::default(),
        );
        assert_eq!(config, TopicConfig::default());
    }
}
