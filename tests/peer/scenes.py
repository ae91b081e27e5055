"""The requests that are put to both brokers: (label, API, version, values), in order, on fresh topics.

A value that starts with "$" is filled in from an earlier answer (ids differ between brokers).
"""
import gzip
import time
import uuid

import scenes_groups
import scenes_transactions
from wire import batch, record

NOW = int(time.time() * 1000)


def produce(topic, records, version=9, acks=-1, partition=0, more=()):
    """A Produce request of one partition (and `more` raw ones)."""
    parts = [{"index": partition, "records": records}, *more]
    return ("Produce", version, {"transactional_id": None, "acks": acks, "timeout_ms": 3000,
                                 "topic_data": [{"name": topic, "partition_data": parts}]})


def fetch(topic, offset, version=11, partition=0, max_bytes=1 << 20, isolation=0, wait=50, epoch=-1):
    return ("Fetch", version, {
        "replica_id": -1, "max_wait_ms": wait, "min_bytes": 1, "max_bytes": 1 << 24, "isolation_level": isolation,
        "session_id": 0, "session_epoch": -1, "forgotten_topics_data": [], "rack_id": "",
        "topics": [{"topic": topic, "partitions": [{
            "partition": partition, "current_leader_epoch": epoch, "fetch_offset": offset, "last_fetched_epoch": -1,
            "log_start_offset": -1, "partition_max_bytes": max_bytes}]}]})


def offsets(topic, timestamp, version=7, partition=0, isolation=0, epoch=-1):
    return ("ListOffsets", version, {
        "replica_id": -1, "isolation_level": isolation, "timeout_ms": 1000,
        "topics": [{"name": topic, "partitions": [
            {"partition_index": partition, "current_leader_epoch": epoch, "timestamp": timestamp}]}]})


def create(*topics, version=7, validate=False):
    return ("CreateTopics", version, {"timeout_ms": 10000, "validate_only": validate, "topics": [
        {"name": name, "num_partitions": n, "replication_factor": rf, "assignments": assigned,
         "configs": [{"name": k, "value": v} for k, v in configs.items()]} for name, n, rf, assigned, configs in topics]})


def incremental(topic, *changes, version=1, validate=False, kind=2):
    return ("IncrementalAlterConfigs", version, {"validate_only": validate, "resources": [
        {"resource_type": kind, "resource_name": topic,
         "configs": [{"name": n, "config_operation": op, "value": v} for n, op, v in changes]}]})


def legacy(topic, configs, version=2, validate=False):
    return ("AlterConfigs", version, {"validate_only": validate, "resources": [
        {"resource_type": 2, "resource_name": topic, "configs": [{"name": k, "value": v} for k, v in configs.items()]}]})


def describe(kind, name, keys=None, version=4):
    return ("DescribeConfigs", version, {"include_synonyms": True, "include_documentation": False, "resources": [
        {"resource_type": kind, "resource_name": name, "configuration_keys": keys}]})


def metadata(*names, version=12, auto=False):
    return ("Metadata", version, {"topics": [{"name": n, "topic_id": None} for n in names] if names != (None,) else None,
                                  "allow_auto_topic_creation": auto, "include_cluster_authorized_operations": False,
                                  "include_topic_authorized_operations": False})


def topics_are_made():
    yield "create", create(("a", 2, 1, [], {}))
    yield "create again", create(("a", 2, 1, [], {}))
    yield "validate an existing one", create(("a", 2, 1, [], {}), validate=True)
    yield "validate a new one", create(("never", 1, 1, [], {}), validate=True)
    yield "it was not made", metadata("never")
    for version in range(2, 8):
        yield f"create v{version}", create((f"v{version}", 1, 1, [], {"retention.ms": "1000"}), version=version)
    yield "defaults", create(("d", -1, -1, [], {}))
    for label, topic in {"no partitions": ("x", 0, 1, [], {}), "minus two partitions": ("x", -2, 1, [], {}),
                         "too many copies": ("x", 1, 2, [], {}), "no copies": ("x", 1, 0, [], {}),
                         "unknown config": ("x", 1, 1, [], {"no.such": "1"}), "bad config": ("x", 1, 1, [], {"retention.ms": "soon"}),
                         "segment too small": ("x", 1, 1, [], {"segment.bytes": "10"}),
                         "bad policy": ("x", 1, 1, [], {"cleanup.policy": "shred"}), "null config": ("x", 1, 1, [], {"retention.ms": None}),
                         "empty name": ("", 1, 1, [], {}), "dot": (".", 1, 1, [], {}), "dots": ("..", 1, 1, [], {}),
                         "illegal letter": ("a b", 1, 1, [], {}), "slash": ("a/b", 1, 1, [], {}), "too long": ("x" * 250, 1, 1, [], {}),
                         "assigned": ("assigned", -1, -1, [{"partition_index": 0, "broker_ids": [1]}], {}),
                         "assigned and counted": ("x", 1, 1, [{"partition_index": 0, "broker_ids": [1]}], {}),
                         "assigned to nobody": ("x", -1, -1, [{"partition_index": 0, "broker_ids": []}], {}),
                         "assigned to a stranger": ("x", -1, -1, [{"partition_index": 0, "broker_ids": [77]}], {}),
                         "assigned with a gap": ("x", -1, -1, [{"partition_index": 1, "broker_ids": [1]}], {})}.items():
        yield label, create(topic)
    yield "with a dot", create(("with.dot", 1, 1, [], {}))
    yield "collides", create(("with_dot", 1, 1, [], {}))
    yield "twice in one request", create(("twice", 1, 1, [], {}), ("twice", 1, 1, [], {}))
    yield "good beside bad", create(("good", 1, 1, [], {}), ("x", 0, 1, [], {}))
    for validate in (False, True):
        yield f"too many in all, validate {validate}", create(("m1", 5000, 1, [], {}), ("m2", 4998, 1, [], {}), ("m3", -1, 1, [], {}), validate=validate)
    yield "too many in all, some of them wrong", create(("m1", 10001, 1, [], {}), ("a b", 1, 1, [], {}), ("a", 1, 1, [], {}))
    yield "many, but not too many", create(("m1", 5000, 1, [], {}), ("m2", 4000, 1, [], {}), ("m3", -1, 1, [], {}), validate=True)
    yield "none of them was made", metadata("m1", "m2", "m3")
    yield "Kafka's own metadata", create(("__cluster_metadata", 1, 1, [], {}), ("beside-it", 1, 1, [], {}))
    yield "Kafka's own metadata, validate", create(("__cluster_metadata", -5, 1, [], {}), validate=True)


def topics_grow_and_go():
    def grow(name, count, assignments=None, version=3, validate=False):
        return ("CreatePartitions", version, {"timeout_ms": 10000, "validate_only": validate,
                                              "topics": [{"name": name, "count": count, "assignments": assignments}]})
    yield "make", create(("g", 2, 1, [], {}))
    for version in range(4):
        yield f"grow v{version}", grow("g", 3 + version, version=version)
    yield "same", grow("g", 6)
    yield "fewer", grow("g", 1)
    yield "negative", grow("g", -1)
    yield "unknown", grow("nowhere", 3)
    yield "validate", grow("g", 9, validate=True)
    yield "assigned", grow("g", 7, [{"broker_ids": [1]}])
    yield "assigned too few", grow("g", 9, [{"broker_ids": [1]}])
    yield "assigned to a stranger", grow("g", 8, [{"broker_ids": [77]}])
    yield "how many", metadata("g")
    for version in range(1, 6):
        yield f"make v{version}", create((f"del{version}", 1, 1, [], {}))
        yield f"delete v{version}", ("DeleteTopics", version, {"topic_names": [f"del{version}"], "timeout_ms": 10000})
    yield "delete unknown", ("DeleteTopics", 5, {"topic_names": ["nowhere"], "timeout_ms": 1000})
    def delete(*topics):
        return ("DeleteTopics", 6, {"timeout_ms": 10000, "topics": [{"name": name, "topic_id": topic_id} for name, topic_id in topics]})
    nobody = uuid.UUID("00000000-0000-4000-8000-000000000001")
    yield "delete twice v5", ("DeleteTopics", 5, {"topic_names": ["g", "g", "nowhere", "nowhere"], "timeout_ms": 10000})
    yield "delete twice v6", delete(("g", None), ("g", None), ("g", None))
    yield "delete an id twice", delete((None, nobody), (None, nobody), ("nowhere", None))
    yield "delete an unknown id", delete((None, nobody))
    yield "delete by both and by none", delete(("g", nobody), (None, None))
    yield "still there", metadata("g")
    yield "delete v6", ("DeleteTopics", 6, {"topics": [{"name": "g", "topic_id": None}], "timeout_ms": 10000})
    yield "delete unknown v6", ("DeleteTopics", 6, {"topics": [{"name": "nowhere", "topic_id": None}], "timeout_ms": 1000})
    yield "gone", metadata("g")


def metadata_is_asked():
    yield "make", create(("m", 3, 1, [], {}))
    for version in range(0, 13):
        yield f"one v{version}", metadata("m", version=version, auto=version < 4)
    yield "unknown", metadata("nowhere")
    yield "illegal name", metadata("a b", auto=True)
    yield "empty", metadata()
    yield "auto", metadata("auto-made", auto=True)
    yield "auto v4", metadata("auto-four", version=4, auto=True)
    yield "Kafka's own metadata", metadata("__cluster_metadata", auto=True)
    yield "topics of the coordinators settled", metadata("__consumer_offsets", "__transaction_state", auto=True)
    for name in ("__consumer_offsets", "__transaction_state"):
        yield f"settings of {name}", describe(2, name, ["cleanup.policy", "compression.type", "segment.bytes"])
    yield "cluster", ("DescribeCluster", 2, {"include_cluster_authorized_operations": False, "endpoint_type": 1, "include_fenced_brokers": False})
    yield "cluster v0", ("DescribeCluster", 0, {"include_cluster_authorized_operations": False})
    yield "controllers", ("DescribeCluster", 1, {"include_cluster_authorized_operations": False, "endpoint_type": 2})
    yield "another endpoint", ("DescribeCluster", 1, {"include_cluster_authorized_operations": False, "endpoint_type": 9})


def records_are_produced():
    yield "make", create(("p", 2, 1, [], {}), ("c", 1, 1, [], {"cleanup.policy": "compact"}),
                         ("l", 1, 1, [], {"message.timestamp.type": "LogAppendTime"}),
                         ("s", 1, 1, [], {"max.message.bytes": "200"}), ("i", 1, 1, [], {"min.insync.replicas": "2"}),
                         # For what only one of the two may append, so that the offsets of `p` stay equal.
                         ("w", 1, 1, [], {}))
    good = batch([b"one", b"two"], timestamp=NOW)
    for version in range(3, 13):
        yield f"v{version}", produce("p", good, version)
    yield "acks 1", produce("p", good, acks=1)
    yield "acks 5", produce("p", good, acks=5)
    yield "acks -2", produce("p", good, acks=-2)
    yield "unknown topic", produce("nowhere", good)
    yield "unknown partition", produce("p", good, partition=9)
    yield "negative partition", produce("p", good, partition=-1)
    yield "no records", produce("p", None)
    yield "empty records", produce("p", b"")
    yield "garbage", produce("p", b"\x01\x02\x03")
    yield "more garbage", produce("p", bytes(range(200)))
    yield "CRC wrong", produce("p", batch([b"x"], timestamp=NOW, crc=1))
    yield "magic 0", produce("p", batch([b"x"], timestamp=NOW, magic=0))
    yield "magic 1", produce("p", batch([b"x"], timestamp=NOW, magic=1))
    yield "magic 3", produce("p", batch([b"x"], timestamp=NOW, magic=3))
    yield "count too large", produce("p", batch([b"x"], timestamp=NOW, count=5))
    yield "count zero", produce("p", batch([b"x"], timestamp=NOW, count=0))
    yield "count negative", produce("p", batch([b"x"], timestamp=NOW, count=-1))
    yield "last delta wrong", produce("p", batch([b"x"], timestamp=NOW, last_delta=4))
    yield "deltas wrong", produce("w", batch([b"x", b"y"], timestamp=NOW, payload=record(0, None, b"x") + record(5, None, b"y")))
    yield "length too large", produce("p", batch([b"x"], timestamp=NOW, length=4000))
    yield "length too small", produce("p", batch([b"x"], timestamp=NOW, length=20))
    yield "length negative", produce("p", batch([b"x"], timestamp=NOW, length=-5))
    yield "base offset not 0", produce("p", batch([b"x"], timestamp=NOW, base_offset=7))
    yield "two batches", produce("p", good + good)
    yield "control batch", produce("p", batch([b"x"], timestamp=NOW, attributes=0x20))
    yield "log append time from a client", produce("w", batch([b"x"], timestamp=NOW, attributes=0x08))
    yield "codec 5", produce("p", batch([b"x"], timestamp=NOW, attributes=5))
    yield "codec 7", produce("p", batch([b"x"], timestamp=NOW, attributes=7))
    yield "gzip", produce("p", batch([b"x"], timestamp=NOW, attributes=1, payload=gzip.compress(record(0, None, b"x"))))
    yield "zstd below v7", produce("p", batch([b"x"], timestamp=NOW, attributes=4, payload=b"whatever"), version=6)
    yield "too large", produce("s", batch([b"x" * 300], timestamp=NOW))
    yield "null key, compacted", produce("c", batch([b"x"], timestamp=NOW))
    yield "key, compacted", produce("c", batch([b"x"], key=b"k", timestamp=NOW))
    yield "far future", produce("p", batch([b"x"], timestamp=NOW + 86_400_000 * 365))
    yield "negative timestamp", produce("p", batch([b"x"], timestamp=-1))
    yield "log append time", produce("l", good)
    yield "not enough replicas", produce("i", good)
    yield "not enough replicas, acks 1", produce("i", good, acks=1)
    yield "same partition twice", produce("p", good, more=({"index": 0, "records": good},))
    yield "two partitions, one bad", produce("p", good, more=({"index": 7, "records": good},))


def packed_records_are_produced():
    """With gzip, which Python has; the answers for the other codecs are the same (docs/compatibility.md)."""
    yield "make", create(("z", 1, 1, [], {}), ("zk", 1, 1, [], {"cleanup.policy": "compact"}))
    two = record(0, None, b"one") + record(1, None, b"two")
    many = b"".join(record(n, None, bytes(n * m * 7919 % 251 for m in range(100))) for n in range(500))

    def packed(payload, n=2, topic="z"):
        return produce(topic, batch([b""] * n, timestamp=NOW, attributes=1, payload=payload))
    yield "good", packed(gzip.compress(two))
    yield "garbage", packed(b"this is not gzip")
    yield "nothing", packed(b"")
    yield "cut in the middle", packed(gzip.compress(many)[:10_000], 500)
    yield "cut at the last byte", packed(gzip.compress(two)[:-1])
    yield "its own checksum wrong", packed(gzip.compress(two)[:-6] + b"\0\0" + gzip.compress(two)[-4:])
    yield "garbage behind the end", packed(gzip.compress(two) + b"garbage")
    yield "two members", packed(gzip.compress(two[:len(two) // 2]) + gzip.compress(two[len(two) // 2:]))
    yield "packed bytes behind the last record", packed(gzip.compress(two + b"\0\0"))
    yield "more than counted", packed(gzip.compress(two), 1)
    yield "fewer than counted", packed(gzip.compress(two), 3)
    yield "a record cut", packed(gzip.compress(two[:-2]))
    yield "a negative length", packed(gzip.compress(b"\x01" + two))
    yield "deltas wrong", packed(gzip.compress(record(0, None, b"x") + record(5, None, b"y")))
    yield "null key, compacted", packed(gzip.compress(two), topic="zk")
    yield "fifty megabytes of nothing", packed(gzip.compress(record(0, None, bytes(50 << 20))), 1)
    yield "what was taken", offsets("z", -1)


def producers_are_idempotent():
    yield "make", create(("q", 1, 1, [], {}))
    def send(sequence, n=1, epoch=0, pid=4242):
        return produce("q", batch([b"x"] * n, timestamp=NOW, producer_id=pid, epoch=epoch, sequence=sequence))
    yield "first", send(0)
    yield "first again", send(0)
    for n in range(1, 7):
        yield f"sequence {n}", send(n)
    yield "an old one within the window", send(3)
    yield "an old one beyond the window", send(0)
    yield "a gap", send(20)
    yield "overlap", send(6, 3)
    yield "new epoch not at 0", send(5, epoch=1)
    yield "new epoch", send(0, epoch=1)
    yield "old epoch", send(7, epoch=0)
    yield "unknown producer in the middle", send(77, pid=99)
    yield "and on", send(78, pid=99)
    yield "to the end of the numbers", send(2**31 - 1, pid=77)
    yield "wraps to 0", send(0, pid=77)
    yield "negative sequence", send(-1)
    yield "negative epoch", send(0, epoch=-1, pid=55)


def records_are_fetched():
    yield "make", create(("f", 2, 1, [], {}))
    for n in range(3):
        yield f"fill {n}", produce("f", batch([b"%d-%d" % (n, i) for i in range(4)], timestamp=NOW + 10 * n))
    for version in range(4, 13):
        yield f"v{version}", fetch("f", 0, version)
    yield "inside a batch", fetch("f", 6)
    yield "small maximum", fetch("f", 0, max_bytes=1)
    yield "at the end", fetch("f", 12)
    yield "beyond the end", fetch("f", 13)
    yield "negative", fetch("f", -1)
    yield "unknown topic", fetch("nowhere", 0)
    yield "unknown partition", fetch("f", 0, partition=9)
    yield "committed", fetch("f", 0, isolation=1)
    yield "newer epoch", fetch("f", 0, epoch=1000)
    yield "empty partition", fetch("f", 0, partition=1)


def offsets_are_listed():
    yield "make", create(("o", 2, 1, [], {}))
    for n in range(3):
        yield f"fill {n}", produce("o", batch([b"a", b"b"], timestamp=NOW + 1000 * n))
    for version in range(1, 12):
        yield f"latest v{version}", offsets("o", -1, version)
    for name, at in {"earliest": -2, "max timestamp": -3, "earliest local": -4, "latest tiered": -5, "earliest not tiered": -6,
                     "unknown special": -9, "zero": 0, "the first": NOW, "between": NOW + 500, "the last": NOW + 2000,
                     "beyond": NOW + 99999}.items():
        for version in (8, 9, 10, 11):
            yield f"{name} v{version}", offsets("o", at, version)
    yield "empty: latest", offsets("o", -1, partition=1)
    yield "empty: by time", offsets("o", NOW, partition=1)
    yield "empty: max timestamp", offsets("o", -3, partition=1)
    yield "max timestamp below v7", offsets("o", -3, 6)
    yield "unknown topic", offsets("nowhere", -1)
    yield "unknown partition", offsets("o", -1, partition=9)
    yield "newer epoch", offsets("o", -1, epoch=1000)
    for name, at in {"latest tiered": -5, "earliest not tiered": -6}.items():
        yield f"{name}, unknown topic", offsets("nowhere", at, 11)
        yield f"{name}, unknown partition", offsets("o", at, 11, partition=9)
        yield f"{name}, newer epoch", offsets("o", at, 11, epoch=1000)
    for version in range(2, 5):
        yield f"epoch end v{version}", ("OffsetForLeaderEpoch", version, {"replica_id": -1, "topics": [
            {"topic": "o", "partitions": [{"partition": 0, "current_leader_epoch": -1, "leader_epoch": 0}]},
            {"topic": "nowhere", "partitions": [{"partition": 0, "current_leader_epoch": -1, "leader_epoch": 0}]}]})
    yield "epoch end, epoch unknown", ("OffsetForLeaderEpoch", 4, {"replica_id": -1, "topics": [
        {"topic": "o", "partitions": [{"partition": 0, "current_leader_epoch": -1, "leader_epoch": 50}]}]})


def records_are_deleted():
    yield "make", create(("r", 1, 1, [], {}), ("rc", 1, 1, [], {"cleanup.policy": "compact"}))
    yield "fill", produce("r", batch([b"a", b"b", b"c", b"d"], timestamp=NOW))
    def delete(topic, offset, version=2, partition=0):
        return ("DeleteRecords", version, {"timeout_ms": 5000, "topics": [
            {"name": topic, "partitions": [{"partition_index": partition, "offset": offset}]}]})
    yield "delete two", delete("r", 2)
    yield "again", delete("r", 1)
    yield "read from 0", fetch("r", 0)
    yield "read from 2", fetch("r", 2)
    yield "earliest", offsets("r", -2)
    yield "beyond", delete("r", 9)
    yield "negative", delete("r", -2)
    yield "all", delete("r", -1, version=0)
    yield "v1", delete("r", -1, version=1)
    yield "compacted", delete("rc", 0)
    yield "unknown topic", delete("nowhere", 0)
    yield "unknown partition", delete("r", 0, partition=4)
    yield "topics of the coordinators settled", metadata("__consumer_offsets", "__transaction_state", auto=True)
    for name in ("__consumer_offsets", "__transaction_state"):
        yield f"those of {name}", delete(name, -1)
        yield f"a partition that {name} has not", delete(name, -1, partition=99)


def configs_are_read_and_changed():
    yield "make", create(("k", 1, 1, [], {"retention.ms": "1000"}))
    for version in range(1, 5):
        yield f"describe v{version}", describe(2, "k", version=version)
    yield "describe one", describe(2, "k", ["retention.ms", "no.such"])
    yield "describe none", describe(2, "k", [])
    yield "describe unknown", describe(2, "nowhere")
    yield "describe illegal", describe(2, "a b")
    yield "describe broker", describe(4, "1", ["log.retention.hours", "num.partitions", "message.max.bytes", "auto.create.topics.enable",
                                               "log.segment.bytes", "default.replication.factor", "node.id", "min.insync.replicas"])
    yield "describe another broker", describe(4, "77")
    yield "describe a broker that is no number", describe(4, "x")
    yield "describe loggers", describe(8, "1", ["root"])
    yield "describe an unknown logger", describe(8, "1", ["no.such"])
    yield "describe client metrics", describe(16, "nobody's")
    for name in ("", "77", "x"):
        yield f"describe loggers of {name!r}", describe(8, name)
    yield "describe client metrics without a name", describe(16, "")
    yield "set", incremental("k", ("retention.ms", 0, "2000"))
    yield "set v0", incremental("k", ("retention.ms", 0, "2500"), version=0)
    yield "delete", incremental("k", ("retention.ms", 1, None))
    yield "append", incremental("k", ("cleanup.policy", 2, "compact"))
    yield "append again", incremental("k", ("cleanup.policy", 2, "compact"))
    yield "after append", describe(2, "k", ["cleanup.policy", "retention.ms"])
    yield "subtract", incremental("k", ("cleanup.policy", 3, "delete"))
    yield "append to no list", incremental("k", ("retention.ms", 2, "1"))
    yield "bad operation", incremental("k", ("retention.ms", 9, "1"))
    yield "unknown name", incremental("k", ("no.such", 0, "1"))
    yield "bad value", incremental("k", ("retention.ms", 0, "soon"))
    yield "null value", incremental("k", ("retention.ms", 0, None))
    yield "same name twice", incremental("k", ("retention.ms", 0, "1"), ("retention.ms", 0, "2"))
    yield "validate", incremental("k", ("retention.ms", 0, "77"), validate=True)
    yield "validated only", describe(2, "k", ["retention.ms"])
    yield "unknown topic", incremental("nowhere", ("retention.ms", 0, "1"))
    yield "unknown kind", incremental("k", ("retention.ms", 0, "1"), kind=3)
    for version in range(3):
        yield f"legacy v{version}", legacy("k", {"segment.bytes": "2000000"}, version=version)
    yield "legacy reset the rest", describe(2, "k", ["cleanup.policy", "segment.bytes", "retention.ms"])
    yield "legacy bad", legacy("k", {"segment.bytes": "x"})
    yield "legacy unknown topic", legacy("nowhere", {"segment.bytes": "2000000"})
    yield "legacy validate", legacy("k", {}, validate=True)
    yield "still there", describe(2, "k", ["segment.bytes"])


def topics_are_described_page_by_page():
    yield "make", create(("pa", 3, 1, [], {}), ("pb", 2, 1, [], {}), ("pc", 1, 1, [], {}))
    def pages(*names, limit=2000, cursor=None):
        at = cursor and {"topic_name": cursor[0], "partition_index": cursor[1]}
        return ("DescribeTopicPartitions", 0, {"topics": [{"name": n} for n in names], "response_partition_limit": limit, "cursor": at})
    yield "all three", pages("pa", "pb", "pc")
    yield "in any order", pages("pc", "pa", "pb", "pa")
    for limit in range(-1, 8):
        yield f"limit {limit}", pages("pa", "pb", "pc", limit=limit)
    for cursor in (("pa", 0), ("pa", 2), ("pa", 3), ("pa", 9), ("pb", 1), ("pc", 0), ("pc", 1), ("pa", -1), ("pz", 0), ("", 0), ("", 5)):
        yield f"cursor {cursor}", pages("pa", "pb", "pc", limit=2, cursor=cursor)
    yield "everything from a cursor", pages(limit=2, cursor=("pb", 1))
    yield "everything from between", pages(limit=1, cursor=("pbb", 5))
    yield "everything from a bad cursor", pages(limit=2, cursor=("pb", -1))
    yield "unknown", pages("nowhere", "pa")
    yield "unknown on a full page", pages("pa", "pz", limit=3)
    yield "illegal", pages("a b", "pa")
    yield "no name", pages("", "pa")


def log_dirs_are_described():
    yield "make", create(("la", 1, 1, [], {}), ("lb", 2, 1, [], {}))
    yield "fill", produce("la", batch([b"x" * 100], timestamp=NOW))
    # Kafka answers a creation before it has made the logs: what is written tells that they are there.
    yield "fill the other", produce("lb", batch([b"x" * 100], timestamp=NOW))
    for version in range(1, 6):
        yield f"v{version}", ("DescribeLogDirs", version, {"topics": [{"topic": "la", "partitions": [0]}, {"topic": "lb", "partitions": [1]}]})
    yield "nothing", ("DescribeLogDirs", 5, {"topics": []})
    yield "one of two partitions", ("DescribeLogDirs", 5, {"topics": [{"topic": "lb", "partitions": [1]}]})
    yield "no partition", ("DescribeLogDirs", 5, {"topics": [{"topic": "la", "partitions": []}]})
    yield "unknown partition", ("DescribeLogDirs", 5, {"topics": [{"topic": "lb", "partitions": [0, 7, -1]}]})
    yield "unknown topic", ("DescribeLogDirs", 5, {"topics": [{"topic": "nowhere", "partitions": [0]}]})


def config_resources_are_listed():
    yield "make", create(("ra", 1, 1, [], {}), ("rb", 1, 1, [], {"retention.ms": "1"}))
    yield "v0", ("ListConfigResources", 0, {})
    for kinds in ([], [2], [4], [8], [16], [32], [4, 4, 2], [0], [3], [-1], [2, 99]):
        yield f"kinds {kinds}", ("ListConfigResources", 1, {"resource_types": kinds})


def groups_are_configured():
    """Settings of single groups, which need not exist."""
    def change(*changes, name="cg", **how):
        return incremental(name, *changes, kind=32, **how)
    one = "consumer.session.timeout.ms"
    yield "nothing set", describe(32, "cg")
    yield "no name", describe(32, "")
    yield "set for no name", change((one, 0, "50000"), name="")
    yield "set", change((one, 0, "50000"), ("share.auto.offset.reset", 0, "by_duration:PT1H"))
    yield "listed", ("ListConfigResources", 1, {"resource_types": [32]})
    yield "described", describe(32, "cg")
    yield "described, one", describe(32, "cg", [one, "no.such"])
    for name, *values in (
            (one, "x", "0", "44999", "60001"), ("consumer.heartbeat.interval.ms", "-1", "4999", "15001"),
            ("consumer.assignment.interval.ms", "-1", "15001"), ("share.auto.offset.reset", "never", "by_duration:x", "Latest"),
            ("share.isolation.level", "none", "READ_COMMITTED"), ("share.record.lock.duration.ms", "100", "14999", "60001"),
            ("share.session.timeout.ms", "1", "60001"), ("share.heartbeat.interval.ms", "1", "15001"),
            ("share.delivery.count.limit", "1", "11"), ("share.partition.max.record.locks", "99", "4001"),
            ("share.assignment.interval.ms", "15001"), ("share.renew.acknowledge.enable", "maybe"),
            ("streams.session.timeout.ms", "1", "60001"), ("streams.heartbeat.interval.ms", "1", "15001"),
            ("streams.num.standby.replicas", "-1", "3"), ("streams.initial.rebalance.delay.ms", "-1"),
            ("streams.assignment.interval.ms", "15001"), ("no.such", "1")):
        for value in values:
            yield f"{name} {value}", change((name, 0, value))
    yield "null", change((one, 0, None))
    yield "append", change((one, 2, "1"))
    yield "twice", change((one, 0, "50000"), (one, 1, None))
    yield "validate", change((one, 0, "46000"), validate=True)
    yield "as it was", describe(32, "cg", [one])
    yield "legacy", ("AlterConfigs", 2, {"validate_only": False, "resources": [
        {"resource_type": 32, "resource_name": "cg", "configs": [{"name": "consumer.heartbeat.interval.ms", "value": "6000"}]}]})
    yield "legacy reset the rest", describe(32, "cg")
    yield "forget the unknown", change(("no.such", 1, None))
    yield "reset", change(("consumer.heartbeat.interval.ms", 1, None))
    yield "listed, none", ("ListConfigResources", 1, {"resource_types": [32]})


def brokers_are_configured():
    def change(*changes, name="1", **how):
        return incremental(name, *changes, kind=4, **how)
    names = ["max.connections", "log.retention.ms", "message.max.bytes"]
    yield "read-only", change(("node.id", 0, "5"))
    yield "read-only among others", change(("node.id", 0, "5"), ("num.partitions", 0, "5"), ("message.max.bytes", 0, "5"))
    yield "read-only for all", change(("node.id", 0, "5"), name="")
    yield "remove what is read-only", change(("node.id", 1, None))
    yield "unknown", change(("no.such", 0, "5"))
    yield "forget the unknown", change(("no.such", 1, None))
    yield "no number", change(("message.max.bytes", 0, "x"))
    yield "too small", change(("max.connections", 0, "-3"))
    yield "another broker", change(("max.connections", 0, "50"), name="77")
    yield "no broker", change(("max.connections", 0, "50"), name="x")
    yield "validate", change(("max.connections", 0, "50"), validate=True)
    yield "for all", change(("max.connections", 0, "5000"), ("log.retention.ms", 0, "700000000"), name="")
    yield "for one", change(("max.connections", 0, "4000"))
    yield "described, all", describe(4, "", names)
    yield "described, one", describe(4, "1", names)
    yield "topics follow", create(("bt", 1, 1, [], {}))
    yield "described, topic", describe(2, "bt", ["retention.ms"])
    yield "reset one", change(("max.connections", 1, None))
    yield "described, one again", describe(4, "1", names)
    yield "reset all", change(("max.connections", 1, None), ("log.retention.ms", 1, None), name="")
    yield "described, none left", describe(4, "", names)


def features_are_changed():
    def update(*updates, version=2, validate=False):
        kind = "allow_downgrade" if version == 0 else "upgrade_type"
        body = {"timeout_ms": 10_000, "feature_updates": [{"feature": feature, "max_version_level": level, kind: how} for feature, level, how in updates]}
        return ("UpdateFeatures", version, body | ({"validate_only": validate} if version else {}))
    for version, up, down in ((0, False, True), (1, 1, 2), (2, 1, 2)):
        yield f"as it is v{version}", update(("group.version", 1, up), version=version)
        yield f"lower by mistake v{version}", update(("group.version", 0, up), version=version)
        yield f"too high v{version}", update(("group.version", 2, up), version=version)
        yield f"unknown v{version}", update(("nope.version", 1, up), version=version)
        yield f"lower v{version}", update(("transaction.version", 1, down), version=version)
        yield f"higher as a downgrade v{version}", update(("transaction.version", 2, down), version=version)
        yield f"higher again v{version}", update(("transaction.version", 2, up), version=version)
    yield "unknown at 0", update(("nope.version", 0, 1))
    yield "negative", update(("group.version", -1, 2))
    for how in (0, 4, -1):
        yield f"kind {how}", update(("group.version", 1, how))
    yield "only a check", update(("group.version", 0, 3), validate=True)
    yield "nothing", update()
    yield "one of two", update(("group.version", 0, 2), ("nope.version", 1, 1))
    yield "twice", update(("group.version", 0, 2), ("group.version", 1, 1))


def producer_ids_are_given():
    for version in range(6):
        yield f"v{version}", ("InitProducerId", version, {"transactional_id": None, "transaction_timeout_ms": 1000, "producer_id": -1, "producer_epoch": -1})
    yield "with an id and no epoch", ("InitProducerId", 4, {"transactional_id": None, "transaction_timeout_ms": 1000, "producer_id": 5, "producer_epoch": -1})
    yield "empty transactional id", ("InitProducerId", 4, {"transactional_id": "", "transaction_timeout_ms": 1000, "producer_id": -1, "producer_epoch": -1})


def groups_are_joined_and_refused():
    yield from scenes_groups.groups_are_joined_and_refused(create)


def offsets_are_committed_and_fetched():
    yield from scenes_groups.offsets_are_committed_and_fetched(create)


def offsets_are_committed_in_transactions():
    yield from scenes_transactions.offsets_are_committed_in_transactions(create)


SCENES = [topics_are_made, topics_grow_and_go, metadata_is_asked, records_are_produced, packed_records_are_produced,
          producers_are_idempotent, records_are_fetched, offsets_are_listed, records_are_deleted, configs_are_read_and_changed,
          brokers_are_configured, groups_are_configured, producer_ids_are_given, topics_are_described_page_by_page, log_dirs_are_described,
          config_resources_are_listed, features_are_changed, groups_are_joined_and_refused,
          offsets_are_committed_and_fetched, offsets_are_committed_in_transactions]
