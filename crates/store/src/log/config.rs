//! What of a topic's configuration concerns its files.

use ottla_rules::{limits::Limits, topic::is_internal, topic_config::TopicConfig};

/// The part of a topic's configuration that its segment files depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment grows no larger.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment spans no more time, by its records' timestamps.
    pub segment_ms: u64,
    /// `segment.jitter.ms`: a segment spans up to this much less, drawn when it begins.
    pub segment_jitter_ms: u64,
    /// `segment.index.bytes`: an index grows no larger.
    pub segment_index_bytes: u64,
    /// `index.interval.bytes`: at most one index entry per so many bytes of batches.
    pub index_interval_bytes: u64,
    /// `preallocate`: a segment takes its blocks when it begins.
    pub preallocate: bool,
    /// How many idempotent producers are remembered ([`Limits::producers_max`]).
    pub producers_max: usize,
    /// What does not read back costs no more than itself, and the log goes on behind it: the topics of coordinators.
    /// Elsewhere the partition stays offline until a person has looked.
    pub passes_damage: bool,
}

impl LogConfig {
    /// Takes what concerns files out of the configuration of the topic with this name.
    #[must_use]
    pub fn of(topic: &str, config: &TopicConfig, limits: &Limits) -> Self {
        Self {
            segment_bytes: config.segment_bytes,
            segment_ms: config.segment_ms,
            segment_jitter_ms: config.segment_jitter_ms,
            segment_index_bytes: config.segment_index_bytes,
            index_interval_bytes: config.index_interval_bytes,
            preallocate: config.preallocate,
            producers_max: limits.producers_max,
            passes_damage: is_internal(topic),
        }
    }
}

#[cfg(test)]
impl LogConfig {
    /// Of segments of so many bytes, with dense indexes.
    pub(crate) fn small(segment_bytes: u64) -> Self {
        Self {
            segment_bytes,
            segment_ms: u64::MAX,
            segment_jitter_ms: 0,
            segment_index_bytes: 10_000,
            index_interval_bytes: 150,
            preallocate: false,
            producers_max: 100,
            passes_damage: false,
        }
    }
}
