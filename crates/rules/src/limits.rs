//! Every bound and what happens at its edge.
//!
//! A queue that can grow has a name here, and whoever owns the queue says no at the edge: it stops reading, refuses
//! one request, or forgets what is oldest. None of them ends the process. [`Limits::of`] fills them from the settings
//! of the broker; the setting is named with each.

use crate::settings::BrokerSettings;

/// The bounds of one node. Bytes are bytes, times are milliseconds, everything else is a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One request on the wire (`socket.request.max.bytes`). A larger one, or one of negative size, closes its
    /// connection, as in Kafka.
    pub request_bytes_max: usize,
    /// Requests read but not yet answered, and answers not yet written, of one connection (`connection.bytes.max`).
    /// Beyond it the connection is not read until it has been answered; a single larger request is let in alone.
    pub connection_bytes_max: usize,
    /// The same for all connections together (`queued.max.request.bytes`; -1 stands for this bound's default).
    /// Beyond it no connection is read until answers have left.
    pub queued_bytes_max: usize,
    /// Connections of this node (`max.connections`). A further one is closed as soon as it is accepted.
    /// Never more than the open files that the process may have leave room for ([`Limits::within_open_files`]).
    pub connections_max: usize,
    /// Connections from one address (`max.connections.per.ip`). A further one is closed as soon as it is accepted.
    pub connections_per_ip_max: usize,
    /// How long a connection may be silent (`connections.max.idle.ms`). Then it is closed. `u64::MAX` is for ever.
    pub idle_ms_max: u64,
    /// Fetches that wait for one partition (`watchers.max`). A further one looks again when its `max_wait_ms` is over.
    pub watchers_max: usize,
    /// Appends of one partition that wait for a sync or for replicas (`parked.max`). A further one is refused, and
    /// the producer tries again.
    pub parked_max: usize,
    /// What one compressed batch may unpack to (`records.unpacked.bytes.max`). A larger one is refused as too large, and
    /// the producer splits it.
    pub records_unpacked_bytes_max: usize,
    /// Record bytes in one fetch answer (`fetch.max.bytes`). The rest is left for the next fetch; the first batch is
    /// sent whatever its size, so that a consumer gets on.
    pub fetch_bytes_max: usize,
    /// Fetch sessions of this node (`max.incremental.fetch.session.cache.slots`). A further one takes the place of a stale or
    /// smaller one; where there is none its client fetches without a session.
    pub fetch_sessions_max: usize,
    /// Idempotent producers that one partition remembers (`producers.max`). The one that was silent longest is
    /// forgotten; its next batch is accepted as that of a new producer.
    pub producers_max: usize,
    /// How long a silent producer is remembered (`producer.id.expiration.ms`).
    pub producer_idle_ms_max: u64,
    /// Free space of a data directory that is never given to records (`disk.free.bytes.min`). Below it appends are
    /// refused until space returns, so that the journal and the facts never meet a full disk. Of a small disk at most an eighth.
    pub disk_free_bytes_min: u64,
    /// Bytes of the journal of one data directory (`journal.bytes.max`). Beyond it segments are synced to recycle
    /// journal space before the next append is staged.
    pub journal_bytes_max: u64,
    /// Segment files held open (`segment.files.open.max`). The one used longest ago is closed and opened again on
    /// its next use.
    pub segment_files_open_max: usize,
    /// Files and sockets that this process may have open; `usize::MAX` where nobody has asked the kernel.
    pub open_files_max: usize,
}

/// Partitions that one request may ask for, in all its entries together. Beyond it nothing of the request is carried out
/// (POLICY_VIOLATION), as in Kafka's `ReplicationControlManager`: some kilobytes could else ask for millions of them.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// What all fetch sessions of a node may remember together, in bytes, about. Beyond it a new one is not opened, and one that
/// grows is dropped: its client is told so and asks for everything again.
pub const FETCH_SESSIONS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// When a fetch session may go for another one: unused, or there, for so long (Kafka's
/// `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
pub const FETCH_SESSION_EVICTION_MS: u64 = 120_000;

/// Producer ids that a broker takes from the cluster at a time (Kafka's `ProducerIdsBlock`).
pub const PRODUCER_IDS_PER_BLOCK: i64 = 1000;

/// Answers of one connection that its client has not taken. Beyond it the connection's next request is neither begun nor
/// read: a client that sends and never reads costs this, one answer and one chunk of requests.
pub const UNTAKEN_BYTES_MAX: usize = 64 * 1024;

/// What every connection may hold however much the node holds: when others have taken all of `queued_bytes_max`, small
/// requests are served still. A larger one takes the room of its whole length before it is read. So the true bound of a node
/// is `queued_bytes_max`, one request beyond it, and this for each connection.
pub const CONNECTION_BYTES_ALWAYS: usize = 16 * 1024;

/// How long a large request may take to arrive, from its turn on, while others wait for the room that it has taken,
/// milliseconds. Then its connection is closed: half a request that never ends must not stop others for ever. While nobody
/// waits, nobody is hurried.
pub const REQUEST_ARRIVES_MS_MAX: u64 = 5_000;

/// How long answers in memory may wait for their client while others wait for the room that they take, milliseconds: in so long it has to
/// take [`UNTAKEN_BYTES_MAX`], or its connection is closed. While nobody waits, nobody is hurried.
pub const ANSWER_TAKEN_MS_MAX: u64 = 5_000;

/// Commits of offsets that one connection has under way. A further one is begun when one of them is answered: commits are small, and what
/// stands for one that waits takes several times its bytes.
pub const COMMITS_UNDER_WAY_MAX: usize = 1_000;

/// A partition writes so many bytes at a time, and before the next ones its shard looks at its sockets: where the kernel has to
/// find memory for it, 1 MB takes some milliseconds, in which nobody else on the shard would be served.
pub const WRITE_BYTES_MAX: usize = 256 * 1024;

/// So many descriptors are left for what must not fail for want of one.
const DESCRIPTORS_LEFT: usize = 32;

/// Open files that are kept from connections, where the process may have twice as many.
pub const FILES_RESERVED_MIN: usize = 96;

/// What `queued.max.request.bytes=-1` stands for here. Kafka has no bound then; we always have one.
const QUEUED_BYTES_DEFAULT: usize = 512 * 1024 * 1024;

impl Limits {
    /// The bounds that these settings ask for.
    #[must_use]
    pub fn of(settings: &BrokerSettings) -> Self {
        let size = |name| usize::try_from(settings.int(name)).unwrap_or(0);
        let wide = |name| u64::try_from(settings.int(name)).unwrap_or(u64::MAX);
        Self {
            request_bytes_max: size("socket.request.max.bytes"),
            connection_bytes_max: size("connection.bytes.max"),
            queued_bytes_max: match settings.int("queued.max.request.bytes") {
                some if some > 0 => usize::try_from(some).unwrap_or(usize::MAX),
                _ => QUEUED_BYTES_DEFAULT,
            },
            connections_max: size("max.connections"),
            connections_per_ip_max: size("max.connections.per.ip"),
            idle_ms_max: wide("connections.max.idle.ms"),
            watchers_max: size("watchers.max"),
            parked_max: size("parked.max"),
            records_unpacked_bytes_max: size("records.unpacked.bytes.max"),
            // A response's length is an i32, and its headers take some as well.
            fetch_bytes_max: size("fetch.max.bytes").min(1 << 30),
            fetch_sessions_max: size("max.incremental.fetch.session.cache.slots"),
            producers_max: size("producers.max"),
            producer_idle_ms_max: wide("producer.id.expiration.ms"),
            disk_free_bytes_min: wide("disk.free.bytes.min"),
            journal_bytes_max: wide("journal.bytes.max"),
            segment_files_open_max: size("segment.files.open.max"),
            open_files_max: usize::MAX,
        }
    }
}

impl Limits {
    /// The same within a process that may have so many files and sockets open: connections do not take those that
    /// segments, the journal and the facts need (a sixteenth, at least [`FILES_RESERVED_MIN`] where there are that
    /// many), else a crowd at the door would stop the disk. Segments keep no more than half of them open for the next time.
    #[must_use]
    pub fn within_open_files(mut self, open_files_max: usize) -> Self {
        let reserved = (open_files_max / 16).max(FILES_RESERVED_MIN.min(open_files_max / 2));
        self.connections_max = self.connections_max.min(open_files_max - reserved);
        self.segment_files_open_max = self.segment_files_open_max.min(open_files_max / 2);
        self.open_files_max = open_files_max;
        self
    }

    /// Descriptors from this number on are not kept by answers, which last until their readers have taken them, nor by what one
    /// can do without: syncs and new segments need some. The kernel gives the lowest that is free.
    #[must_use]
    pub fn descriptors_to_keep(&self) -> usize {
        self.open_files_max.saturating_sub(DESCRIPTORS_LEFT)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(&BrokerSettings::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_bounds_are_kafkas_where_kafka_has_one() {
        let limits = Limits::default();
        assert_eq!(limits.request_bytes_max, 104_857_600);
        assert_eq!(limits.fetch_bytes_max, 57_671_680);
        assert_eq!(limits.idle_ms_max, 600_000);
        assert_eq!(limits.connections_max, i32::MAX as usize);
    }

    #[test]
    fn there_is_a_bound_on_queued_bytes_also_where_kafka_has_none() {
        assert_eq!(Limits::default().queued_bytes_max, QUEUED_BYTES_DEFAULT);
        let given = BrokerSettings::new([("queued.max.request.bytes", "1000")]).unwrap();
        assert_eq!(Limits::of(&given).queued_bytes_max, 1000);
    }

    #[test]
    fn connections_leave_files_for_the_disk() {
        let of = |open_files| Limits::default().within_open_files(open_files).connections_max;
        assert_eq!([of(20_000), of(1024), of(256), of(64), of(0)], [18_750, 928, 160, 32, 0]);
        assert_eq!(of(usize::MAX), i32::MAX as usize);
        let kept = |open_files| Limits::default().within_open_files(open_files).segment_files_open_max;
        assert_eq!(
            [kept(20_000), kept(4096), kept(1024)],
            [4000, 2048, 512],
            "and segments leave them to all others"
        );
    }

    #[test]
    fn a_connection_that_may_idle_for_ever_does() {
        let given = BrokerSettings::new([("connections.max.idle.ms", "-1")]).unwrap();
        assert_eq!(Limits::of(&given).idle_ms_max, u64::MAX);
    }
}
