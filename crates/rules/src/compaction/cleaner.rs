//! The settings of compaction that are the node's, not a topic's (`log.cleaner.*`).

use crate::settings::BrokerSettings;

/// Fewer bytes for keys, or for reading, would be a round without end.
const MAP_BYTES_MIN: usize = 4 * 1024;
const BUFFER_BYTES_MIN: usize = 4 * 1024;

/// What they say at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cleaner {
    /// How many logs at a time; 0 where nothing is compacted (`log.cleaner.enable`, `log.cleaner.threads`).
    pub rounds_max: usize,
    /// Memory for the keys of each (its share of `log.cleaner.dedupe.buffer.size`).
    pub map_bytes: usize,
    /// How full that may get (`log.cleaner.io.buffer.load.factor`).
    pub load_factor: f64,
    /// Bytes read, and bytes written, at once by each (its share of `log.cleaner.io.buffer.size`).
    pub buffer_bytes: usize,
    /// Bytes read and written in a second by each (its share of `log.cleaner.io.max.bytes.per.second`).
    pub bytes_per_second: f64,
}

impl Cleaner {
    /// Reads them.
    #[must_use]
    pub fn of(settings: &BrokerSettings) -> Self {
        let size = |name| usize::try_from(settings.int(name)).unwrap_or(0);
        let real = |name| settings.text(name).trim().parse::<f64>().unwrap_or(f64::MAX);
        let threads = if settings.bool("log.cleaner.enable") { size("log.cleaner.threads") } else { 0 };
        let share = threads.max(1);
        Self {
            rounds_max: threads,
            map_bytes: (size("log.cleaner.dedupe.buffer.size") / share).max(MAP_BYTES_MIN),
            load_factor: real("log.cleaner.io.buffer.load.factor"),
            buffer_bytes: (size("log.cleaner.io.buffer.size") / share / 2).max(BUFFER_BYTES_MIN),
            bytes_per_second: real("log.cleaner.io.max.bytes.per.second") / share as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_set_is_as_in_kafka_and_cleaners_share() {
        let one = Cleaner::of(&BrokerSettings::default());
        assert_eq!((one.rounds_max, one.map_bytes, one.buffer_bytes), (1, 128 << 20, 256 << 10));
        assert_eq!((one.load_factor, one.bytes_per_second), (0.9, f64::MAX));
        let given = [("log.cleaner.threads", "4"), ("log.cleaner.io.max.bytes.per.second", "1000")];
        let four = Cleaner::of(&BrokerSettings::new(given).unwrap());
        assert_eq!((four.rounds_max, four.map_bytes, four.bytes_per_second), (4, 32 << 20, 250.0));
        let off = BrokerSettings::new([("log.cleaner.enable", "false")]).unwrap();
        assert_eq!(Cleaner::of(&off).rounds_max, 0);
    }
}
