#!/usr/bin/env python3
"""compacted.py OURS PEER [--ours-pid PID --peer-pid PID]: the same records to two brokers, compacted by each, and what is left compared.

Both are fed the same records over the same keys, with tombstones and with transactions, some of them aborted, in segments of 1 MiB, while compaction is held
back. Then it is let go, and each broker is watched until the partition shrinks no more. Read committed, every key must have its last value, on both; below where
both have compacted to, what is left must be the same, record by record. Prints one line for each broker and PASS or FAIL; exits 1 on FAIL.

The speed is what the partition had on the disk per second until it shrank no more, and per second of the broker's CPU when its process is named. The pauses
between rounds (log.cleaner.backoff.ms) are set to a tenth of a second on both, and stay so.

Needs Python 3.9+ with confluent-kafka, kafka-python 3 and crc32c.
"""
import argparse
import pathlib
import random
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import wire

CONFIG = {"cleanup.policy": "compact", "min.compaction.lag.ms": "86400000", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "86400000",
          "file.delete.delay.ms": "100", "max.message.bytes": "1048576"}
QUIET = {"log_level": 2}
TRANSACTION, BATCH_BYTES = 500, 16_384


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("ours")
    ap.add_argument("peer")
    ap.add_argument("--ours-pid", type=int)
    ap.add_argument("--peer-pid", type=int)
    ap.add_argument("--records", type=int, default=200_000)
    ap.add_argument("--keys", type=int, default=20_000)
    ap.add_argument("--value-bytes", type=int, default=200)
    ap.add_argument("--topic", default="compacted")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--patience", type=float, default=120, help="seconds that a broker may take to compact")
    return ap.parse_args()


def script(args):
    """What is written: (key, value, transaction), where a transaction is a number, or none; and those that are aborted."""
    chance = random.Random(args.seed)
    records, aborted = [], set()
    for number in range(args.records):
        transaction = number // TRANSACTION
        # Every fourth run of records is a transaction, and every third of those is aborted.
        in_transaction = transaction if transaction % 4 == 3 else None
        if in_transaction is not None and transaction % 12 == 3:
            aborted.add(transaction)
        value = None if chance.random() < 0.05 else b"%d " % number + chance.randbytes(args.value_bytes // 2).hex().encode()
        records.append((b"key-%06d" % chance.randrange(args.keys), value, in_transaction))
    # Behind them something that is read by nobody and fills the segment that is still written to: it is never compacted.
    records += [(b"end-%06d" % number, bytes(1000), None) for number in range(2_500)]
    return records, aborted


class Side:
    """One broker."""

    def __init__(self, name, address, pid, args):
        self.name, self.address, self.pid, self.args = name, address, pid, args
        self.admin = AdminClient({"bootstrap.servers": address, **QUIET})
        self.connection = wire.Connection(address)
        for node in self.admin.list_topics(timeout=30).brokers:
            self.alter(ResourceType.BROKER, str(node), "log.cleaner.backoff.ms", "100")
        self.admin.create_topics([NewTopic(args.topic, 1, 1, config=CONFIG)])[args.topic].result(30)

    def alter(self, kind, name, key, value):
        entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        for done in self.admin.incremental_alter_configs([ConfigResource(kind, name, incremental_configs=[entry])]).values():
            done.result(30)

    def size(self):
        """Bytes of the partition on the disk."""
        answer = self.connection.ask("DescribeLogDirs", 1, {"topics": [{"topic": self.args.topic, "partitions": [0]}]})
        return sum(row["partition_size"] for place in answer["results"] for topic in place["topics"] for row in topic["partitions"])

    def feed(self, records, aborted):
        plain = Producer({"bootstrap.servers": self.address, "enable.idempotence": True, "linger.ms": 5, "batch.size": BATCH_BYTES, **QUIET})
        tied = Producer({"bootstrap.servers": self.address, "transactional.id": f"{self.args.topic}-t", "linger.ms": 5, "batch.size": BATCH_BYTES, **QUIET})
        tied.init_transactions(30)
        now = None
        for key, value, transaction in records:
            if transaction != now:
                self.turn(plain, tied, now, aborted)
                now = transaction
                if now is not None:
                    tied.begin_transaction()
            while True:
                try:
                    (plain if now is None else tied).produce(self.args.topic, value, key, partition=0)
                    break
                except BufferError:
                    (plain if now is None else tied).poll(0.1)
        self.turn(plain, tied, now, aborted)

    @staticmethod
    def turn(plain, tied, ended, aborted):
        """One producer stops before the other begins: the log has the order of the script."""
        if ended is None:
            plain.flush(60)
        elif ended in aborted:
            tied.flush(60)
            tied.abort_transaction(60)
        else:
            tied.commit_transaction(60)

    def cpu(self):
        if not self.pid:
            return None
        fields = open(f"/proc/{self.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def read(self):
        """Offset, key and value of all that is left and committed."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "compacted", "isolation.level": "read_committed", "enable.partition.eof": True,
                             "enable.auto.commit": False, **QUIET})
        consumer.assign([TopicPartition(self.args.topic, 0, 0)])
        found, ended = [], False
        while not ended:
            for message in consumer.consume(5_000, 5):
                if message.error():
                    ended = True
                else:
                    found.append((message.offset(), message.key(), message.value()))
        consumer.close()
        return found

    def compact(self):
        """Lets compaction go and waits until nothing shrinks any more; how long that took, seconds."""
        self.alter(ResourceType.TOPIC, self.args.topic, "min.compaction.lag.ms", "0")
        began = since = time.monotonic()
        first = last = self.size()
        while last == first or time.monotonic() - since < 5:
            time.sleep(0.05)
            size = self.size()
            if size != last:
                last, since = size, time.monotonic()
            if time.monotonic() - began > self.args.patience:
                raise SystemExit(f"{self.name}: not done after {self.args.patience} s")
        return since - began


def judge(name, found, due):
    """Every key has its last value; a key whose last record is a tombstone may be gone."""
    got = {key: value for _, key, value in found}
    wrong = [key for key, value in due.items() if got.get(key) != value]
    return [f"{name}: {len(wrong)} of {len(due)} keys are wrong, {wrong[0]} among them"] if wrong else []


def main():
    args = arguments()
    records, aborted = script(args)
    due = {key: value for key, value, transaction in records if transaction not in aborted}
    wrong, left = [], {}
    for name, address, pid in (("ours", args.ours, args.ours_pid), ("peer", args.peer, args.peer_pid)):
        side = Side(name, address, pid, args)
        side.feed(records, aborted)
        cpu, before = side.cpu(), side.size()
        took = side.compact()
        used = None if cpu is None else side.cpu() - cpu
        found = side.read()
        per_cpu = "" if used is None else f", {before / 1e6 / max(used, 0.01):.0f} MB per second of its CPU ({used:.2f} s)"
        print(f"{name}: {len(records)} records, {before / 1e6:.1f} MB, became {len(found)}, {side.size() / 1e6:.1f} MB, in {took:.2f} s: "
              f"{before / 1e6 / took:.0f} MB/s{per_cpu}", flush=True)
        wrong += judge(name, found, due)
        left[name] = found
    # What has been compacted ends where the first key stands twice.
    ends = {name: compacted_to(found) for name, found in left.items()}
    end = min(ends.values())
    ours, peer = ({(key, value) for offset, key, value in left[name] if offset < end} for name in ("ours", "peer"))
    print(f"compacted to {ends}; of {len(ours | peer)} records below {end} the same on both: {len(ours & peer)}")
    if ours != peer:
        wrong.append(f"{len(ours - peer)} records are left on ours only, {len(peer - ours)} on the peer only")
    print("\n".join([*wrong, "FAIL"] if wrong else ["PASS"]))
    return 1 if wrong else 0


def compacted_to(found):
    """The offset of the first record whose key comes again later: the end of what has been compacted."""
    last = {key: offset for offset, key, _ in found}
    return min((offset for offset, key, _ in found if last[key] != offset), default=found[-1][0] + 1)


if __name__ == "__main__":
    sys.exit(main())
