//! The settings that Kafka does not have: our bounds and our threads.

use super::{Check, Definition, Kind, Standing::Honoured, fixed};

#[rustfmt::skip]
pub(super) const TABLE: &[Definition] = &[
    fixed("admin.listener", Kind::String, "", Check::Any, Honoured,
        "Where metrics and health are served over HTTP, as host:port (port 0 takes any free one): /metrics, /ready, /live. Empty is nowhere. There is no authentication: choose an address that only your own can reach."),
    fixed("shard.threads", Kind::Int, "0", Check::Between(0, 1024), Honoured,
        "How many threads serve connections and partitions. 0 is one for each core but one, at least one."),
    fixed("connection.bytes.max", Kind::Long, "4194304", Check::AtLeast(1024), Honoured,
        "Bytes of one connection that are read and not yet answered, or answered and not yet sent. Beyond it the connection is not read; a single larger request is let in alone."),
    fixed("watchers.max", Kind::Int, "10000", Check::AtLeast(1), Honoured,
        "Fetches that wait for one partition. A further one is not told of new records before its max_wait_ms is over."),
    fixed("parked.max", Kind::Int, "100000", Check::AtLeast(1), Honoured,
        "Produce requests of one partition that wait for the disk or for replicas. A further one is refused, and the producer tries again."),
    fixed("records.unpacked.bytes.max", Kind::Long, "134217728", Check::AtLeast(1_048_576), Honoured,
        "What one compressed batch may unpack to. A larger one is refused."),
    fixed("producers.max", Kind::Int, "10000", Check::AtLeast(1), Honoured,
        "Idempotent producers that one partition remembers. The one that was silent longest is forgotten first."),
    fixed("disk.free.bytes.min", Kind::Long, "67108864", Check::AtLeast(0), Honoured,
        "Free bytes of a data directory below which nothing is appended. It keeps room for what the broker must still write. Of a small disk an eighth is kept at most."),
    fixed("journal.bytes.max", Kind::Long, "1073741824", Check::AtLeast(1_048_576), Honoured,
        "How large the journal of a data directory may grow. Beyond it segments are synced to make room."),
    fixed("segment.files.open.max", Kind::Int, "4000", Check::AtLeast(16), Honoured,
        "Segment files that are held open. The one used longest ago is closed first, and opened again when it is needed."),
];
