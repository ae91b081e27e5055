//! The settings of a broker: who it is, where it listens, where it stores, what a topic gets by default.

use super::{
    Check, Definition, Kind,
    Standing::{self, Honoured, Known},
    Unit,
};

const HOUR_MS: i64 = 3_600_000;
/// Kafka's "no bound" of an int.
const INT_MAX: &str = "2147483647";
const LONG_MAX: &str = "9223372036854775807";

const ADVERTISED: &[Unit] = &[unit("advertised.listeners", 1), unit("listeners", 1)];
const RETENTION: &[Unit] = &[
    unit("log.retention.ms", 1),
    unit("log.retention.minutes", 60_000),
    unit("log.retention.hours", HOUR_MS),
];
const ROLL: &[Unit] = &[unit("log.roll.ms", 1), unit("log.roll.hours", HOUR_MS)];
const ROLL_JITTER: &[Unit] = &[unit("log.roll.jitter.ms", 1), unit("log.roll.jitter.hours", HOUR_MS)];
const FLUSH_MS: &[Unit] = &[unit("log.flush.interval.ms", 1), unit("log.flush.scheduler.interval.ms", 1)];

const fn unit(name: &'static str, factor: i64) -> Unit {
    Unit { name, factor }
}

/// A setting that waits for the next start.
const fn fixed(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    check: Check,
    standing: Standing,
    doc: &'static str,
) -> Definition {
    Definition { name, kind, default: Some(default), synonyms: &[], check, standing, read_only: true, doc }
}

/// A setting that can change while the broker runs.
const fn live(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    check: Check,
    standing: Standing,
    doc: &'static str,
) -> Definition {
    Definition { read_only: false, ..fixed(name, kind, default, check, standing, doc) }
}

impl Definition {
    const fn null(self) -> Self {
        Self { default: None, ..self }
    }

    const fn with(self, synonyms: &'static [Unit]) -> Self {
        Self { synonyms, ..self }
    }
}

#[rustfmt::skip]
pub(super) const TABLE: &[Definition] = &[
    // Who and where.
    fixed("node.id", Kind::Int, "1", Check::AtLeast(0), Honoured,
        "The number of this node in its cluster. Each node has its own, for good."),
    fixed("broker.id", Kind::Int, "-1", Check::AtLeast(-1), Known,
        "The older name of `node.id`."),
    fixed("process.roles", Kind::List, "broker,controller", Check::ListOf(&["broker", "controller"]), Known,
        "What this process does in the cluster. A node of Ottla is always both."),
    fixed("broker.rack", Kind::String, "", Check::Any, Honoured,
        "The rack or zone this node stands in; clients see it in metadata.").null(),
    fixed("listeners", Kind::List, "PLAINTEXT://127.0.0.1:9092", Check::NotEmpty, Honoured,
        "Where the node listens, as NAME://host:port. No host is every address of the machine; port 0 is any free port."),
    fixed("advertised.listeners", Kind::List, "", Check::Any, Honoured,
        "Where clients are told to connect, as NAME://host:port. Unset, it is what `listeners` says, with the address by which the client came for no host.").null().with(ADVERTISED),
    fixed("listener.security.protocol.map", Kind::String, "PLAINTEXT:PLAINTEXT", Check::Any, Known,
        "The security protocol behind each listener name."),
    fixed("inter.broker.listener.name", Kind::String, "", Check::Any, Known,
        "The listener that brokers use among themselves.").null(),
    fixed("controller.listener.names", Kind::List, "", Check::Any, Known,
        "The listeners that serve controllers only.").null(),
    fixed("controller.quorum.voters", Kind::List, "", Check::Any, Known,
        "The members that vote on the cluster's metadata."),
    // Storage.
    fixed("log.dir", Kind::List, "ottla-data", Check::NotEmpty, Honoured,
        "The data directory. It is created when it is missing."),
    fixed("log.dirs", Kind::List, "", Check::Any, Honoured,
        "The data directory, where this is set instead of `log.dir`. One directory for now.").null(),
    live("num.recovery.threads.per.data.dir", Kind::Int, "2", Check::AtLeast(1), Known,
        "How many threads read a data directory after an unclean stop."),
    live("log.flush.interval.messages", Kind::Long, "1", Check::AtLeast(1), Honoured,
        "After how many records of a partition a sync is forced. 1, the default here, is durable: a produce request is acknowledged when its records are on the disk. Anything larger acknowledges from the page cache, as Kafka does by default."),
    live("log.flush.interval.ms", Kind::Long, "", Check::AtLeast(0), Honoured,
        "After how many milliseconds at most a record is synced. Unset, it is `log.flush.scheduler.interval.ms`.").null().with(FLUSH_MS),
    fixed("log.flush.scheduler.interval.ms", Kind::Long, LONG_MAX, Check::AtLeast(0), Honoured,
        "Stands in for `log.flush.interval.ms` where that is unset.").with(&[]),
    fixed("log.flush.offset.checkpoint.interval.ms", Kind::Int, "60000", Check::AtLeast(0), Known,
        "How often the recovery points are written down, in milliseconds."),
    // What a topic gets by default.
    fixed("num.partitions", Kind::Int, "1", Check::AtLeast(1), Honoured,
        "How many partitions a topic gets when its creator does not say."),
    fixed("default.replication.factor", Kind::Int, "1", Check::AtLeast(1), Honoured,
        "How many replicas a partition gets when its creator does not say."),
    fixed("auto.create.topics.enable", Kind::Boolean, "true", Check::Any, Honoured,
        "Whether a topic is created when a client asks for it by name and allows that."),
    fixed("delete.topic.enable", Kind::Boolean, "true", Check::Any, Honoured,
        "Whether topics can be deleted."),
    live("min.insync.replicas", Kind::Int, "1", Check::AtLeast(1), Honoured,
        "How many replicas must be in sync for a produce request with acks=all to be accepted."),
    live("message.max.bytes", Kind::Int, "1048588", Check::AtLeast(0), Honoured,
        "The largest record batch that is accepted, in bytes, as it is stored."),
    live("compression.type", Kind::String, "producer",
        Check::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Honoured,
        "The codec in which batches are stored; one that came in another is packed anew. `producer` stores them as they came."),
    live("compression.gzip.level", Kind::Int, "-1", Check::GzipLevel, Honoured,
        "How hard the broker tries when it compresses with gzip."),
    live("compression.lz4.level", Kind::Int, "9", Check::Between(1, 17), Known,
        "How hard the broker tries when it compresses with lz4."),
    live("compression.zstd.level", Kind::Int, "3", Check::Between(-131_072, 22), Honoured,
        "How hard the broker tries when it compresses with zstd."),
    live("log.cleanup.policy", Kind::List, "delete", Check::ListOf(&["compact", "delete"]), Honoured,
        "What becomes of old records: `delete`, `compact`, or both."),
    live("log.retention.ms", Kind::Long, "", Check::AtLeast(-1), Honoured,
        "How long a segment is kept after its newest record, in milliseconds; -1 is for ever. Unset, it is `log.retention.minutes`.").null().with(RETENTION),
    fixed("log.retention.minutes", Kind::Int, "", Check::AtLeast(-1), Honoured,
        "The same in minutes. Unset, it is `log.retention.hours`.").null().with(RETENTION),
    fixed("log.retention.hours", Kind::Int, "168", Check::AtLeast(-1), Honoured,
        "The same in hours.").with(RETENTION),
    live("log.retention.bytes", Kind::Long, "-1", Check::AtLeast(-1), Honoured,
        "How large one partition may grow before its oldest segments are dropped, in bytes; -1 is without bound."),
    fixed("log.retention.check.interval.ms", Kind::Long, "300000", Check::AtLeast(1), Honoured,
        "How often the broker looks for segments to drop, in milliseconds."),
    live("log.segment.bytes", Kind::Int, "1073741824", Check::AtLeast(1_048_576), Honoured,
        "How large one segment file may grow, in bytes."),
    live("log.segment.delete.delay.ms", Kind::Long, "60000", Check::AtLeast(0), Honoured,
        "How long the files of a dropped segment stay on the disk, in milliseconds."),
    live("log.roll.ms", Kind::Long, "", Check::AtLeast(1), Honoured,
        "After how many milliseconds of its records' time a segment is closed although it is not full. Unset, it is `log.roll.hours`.").null().with(ROLL),
    fixed("log.roll.hours", Kind::Int, "168", Check::AtLeast(1), Honoured,
        "The same in hours.").with(ROLL),
    live("log.roll.jitter.ms", Kind::Long, "", Check::AtLeast(0), Honoured,
        "By how many milliseconds at most, by chance, a segment is closed early. Unset, it is `log.roll.jitter.hours`.").null().with(ROLL_JITTER),
    fixed("log.roll.jitter.hours", Kind::Int, "0", Check::AtLeast(0), Honoured,
        "The same in hours.").with(ROLL_JITTER),
    live("log.index.interval.bytes", Kind::Int, "4096", Check::AtLeast(0), Honoured,
        "How many bytes of records lie between two entries of the offset index."),
    live("log.index.size.max.bytes", Kind::Int, "10485760", Check::AtLeast(4), Honoured,
        "How large the index of one segment may grow, in bytes."),
    live("log.message.timestamp.type", Kind::String, "CreateTime", Check::OneOf(&["CreateTime", "LogAppendTime"]), Honoured,
        "Whose clock stamps the records: the producer's or the broker's."),
    live("log.message.timestamp.before.max.ms", Kind::Long, LONG_MAX, Check::AtLeast(0), Honoured,
        "How far behind the broker's clock the timestamp of a record may be, in milliseconds."),
    live("log.message.timestamp.after.max.ms", Kind::Long, "3600000", Check::AtLeast(0), Honoured,
        "How far ahead of the broker's clock the timestamp of a record may be, in milliseconds."),
    live("log.preallocate", Kind::Boolean, "false", Check::Any, Honoured,
        "Whether a new segment takes the blocks for its full size at once. The length of its file grows with what is written."),
    live("log.local.retention.bytes", Kind::Long, "-2", Check::AtLeast(-2), Known,
        "How many bytes stay on local disks once older segments live in remote storage. -2 means the same as without."),
    live("log.local.retention.ms", Kind::Long, "-2", Check::AtLeast(-2), Known,
        "How long segments stay on local disks once they are also in remote storage. -2 means the same as without."),
    live("log.remote.copy.lag.bytes", Kind::Long, "0", Check::AtLeast(-2), Known,
        "How many bytes stay out of remote storage at the head of a log."),
    live("log.remote.copy.lag.ms", Kind::Long, "0", Check::AtLeast(-2), Known,
        "How long a closed segment stays out of remote storage, in milliseconds."),
    fixed("remote.log.storage.system.enable", Kind::Boolean, "false", Check::OneOf(&["false"]), Known,
        "Whether closed segments can move to remote storage. There is none, so it stays off."),
    // Compaction.
    fixed("log.cleaner.enable", Kind::Boolean, "true", Check::Any, Honoured,
        "Whether compacted topics are compacted."),
    live("log.cleaner.threads", Kind::Int, "1", Check::AtLeast(0), Honoured,
        "How many logs are compacted at a time."),
    live("log.cleaner.dedupe.buffer.size", Kind::Long, "134217728", Check::Any, Honoured,
        "Memory for the keys of all rounds of compaction that run at a time, in bytes; 24 bytes a key. A log with more keys takes several rounds."),
    live("log.cleaner.io.buffer.size", Kind::Int, "524288", Check::AtLeast(0), Honoured,
        "Memory for reading and writing while compacting, in bytes; a larger batch takes what it needs."),
    live("log.cleaner.io.buffer.load.factor", Kind::Double, "0.9", Check::Any, Honoured,
        "How full the memory for keys may get, from 0 to 1: the fuller, the more often a key is looked for in more than one place."),
    live("log.cleaner.io.max.bytes.per.second", Kind::Double, "1.7976931348623157E308", Check::Any, Honoured,
        "How many bytes compaction reads and writes in a second, on the average."),
    live("log.cleaner.backoff.ms", Kind::Long, "15000", Check::AtLeast(0), Honoured,
        "How long compaction rests when there is nothing to do, in milliseconds."),
    live("log.cleaner.delete.retention.ms", Kind::Long, "86400000", Check::AtLeast(0), Honoured,
        "How long a compacted topic still shows that a key was deleted, in milliseconds."),
    live("log.cleaner.min.cleanable.ratio", Kind::Double, "0.5", Check::Ratio, Honoured,
        "How much of a compacted log must be new before another round is worth it, from 0 to 1."),
    live("log.cleaner.min.compaction.lag.ms", Kind::Long, "0", Check::AtLeast(0), Honoured,
        "How long a record is certain not to be compacted away, in milliseconds."),
    live("log.cleaner.max.compaction.lag.ms", Kind::Long, LONG_MAX, Check::AtLeast(1), Honoured,
        "The longest time a record may wait for compaction, in milliseconds."),
    // The network.
    fixed("socket.request.max.bytes", Kind::Int, "104857600", Check::AtLeast(1), Honoured,
        "The largest request, in bytes. A larger one closes its connection."),
    fixed("queued.max.request.bytes", Kind::Long, "-1", Check::Any, Honoured,
        "Bytes of all connections together that are read and not yet answered, or answered and not yet sent. Beyond it nothing is read. -1, without bound in Kafka, is 512 MiB here."),
    fixed("queued.max.requests", Kind::Int, "500", Check::AtLeast(1), Known,
        "Requests that wait for a thread. Here bytes are counted instead."),
    live("max.connections", Kind::Int, INT_MAX, Check::AtLeast(0), Honoured,
        "Connections of this node. A further one is closed at once."),
    live("max.connections.per.ip", Kind::Int, INT_MAX, Check::AtLeast(0), Honoured,
        "Connections from one address. A further one is closed at once."),
    live("max.connections.per.ip.overrides", Kind::String, "", Check::Any, Known,
        "Other bounds for some addresses: `address:connections,...`."),
    live("max.connection.creation.rate", Kind::Int, INT_MAX, Check::AtLeast(0), Known,
        "New connections in a second."),
    live("connections.max.idle.ms", Kind::Long, "600000", Check::AtLeast(-1), Honoured,
        "How long a connection may be silent, in milliseconds; then it is closed. -1 is for ever. A change counts for connections made after it."),
    fixed("socket.send.buffer.bytes", Kind::Int, "102400", Check::AtLeast(-1), Known,
        "The kernel's send buffer of a connection, in bytes. The kernel chooses."),
    fixed("socket.receive.buffer.bytes", Kind::Int, "102400", Check::AtLeast(-1), Known,
        "The kernel's receive buffer of a connection, in bytes. The kernel chooses."),
    fixed("socket.listen.backlog.size", Kind::Int, "50", Check::AtLeast(1), Known,
        "Connections that wait to be accepted."),
    fixed("request.timeout.ms", Kind::Int, "30000", Check::AtLeast(1), Known,
        "How long a broker waits for an answer of another one, in milliseconds."),
    fixed("fetch.max.bytes", Kind::Int, "57671680", Check::AtLeast(1024), Honoured,
        "Record bytes in one fetch answer; less if the consumer asks for less."),
    fixed("max.incremental.fetch.session.cache.slots", Kind::Int, "1000", Check::AtLeast(0), Honoured,
        "How many fetch sessions are remembered."),
    fixed("max.request.partition.size.limit", Kind::Int, "2000", Check::AtLeast(1), Honoured,
        "Partitions in one answer that describes topics page by page."),
    live("num.network.threads", Kind::Int, "3", Check::AtLeast(1), Known,
        "Kafka's threads for the network. Here `shard.threads` does that work."),
    live("num.io.threads", Kind::Int, "8", Check::AtLeast(1), Known,
        "Kafka's threads for requests. Here `shard.threads` does that work."),
    live("num.replica.fetchers", Kind::Int, "1", Check::AtLeast(1), Known,
        "Kafka's threads for copying from each other broker."),
    live("background.threads", Kind::Int, "10", Check::AtLeast(1), Known,
        "Kafka's threads for work in the background."),
    // Replication.
    fixed("replica.lag.time.max.ms", Kind::Long, "30000", Check::AtLeast(0), Known,
        "How long a follower may lag before it is out of sync, in milliseconds."),
    live("unclean.leader.election.enable", Kind::Boolean, "false", Check::Any, Known,
        "Whether a replica that was not in sync may lead when no other is left."),
    fixed("auto.leader.rebalance.enable", Kind::Boolean, "true", Check::Any, Known,
        "Whether leadership returns to the first replica by itself."),
    fixed("broker.heartbeat.interval.ms", Kind::Int, "2000", Check::AtLeast(1), Known,
        "How often a broker says that it lives, in milliseconds."),
    fixed("broker.session.timeout.ms", Kind::Int, "9000", Check::AtLeast(1), Known,
        "How long a broker may be silent before it counts as gone, in milliseconds."),
    // Who may do what.
    fixed("authorizer.class.name", Kind::String, "", Check::OneOf(&[""]), Known,
        "Who decides what clients may do. Nobody does, so it stays empty."),
    fixed("super.users", Kind::String, "", Check::Any, Known,
        "Who may do everything."),
];
