#!/usr/bin/env python3
"""exactly_once.py: records are copied from topic to topic in transactions while the broker is killed with kill -9 and restarted.

Members of one group read, write what they have read, and commit what they have read within the same transaction; now and then one
aborts, or vanishes in the middle and comes again under its transactional id. --copier COMMAND has Kafka's own TransactionalMessageCopier
do the same beside them, from another topic: COMMAND starts it, its arguments are added here. Every record has to be there once
and no aborted one at all, for one who reads all the while as for one who reads at the end; committed offsets must not go back, and end
where the input ends. Prints one line of figures and PASS or FAIL; exits 1 on FAIL.

Needs: Python 3.9+ with confluent-kafka; for --copier, Java.
"""
import argparse
import collections
import pathlib
import random
import shlex
import subprocess
import sys
import tempfile
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers

INPUT, OUTPUT, COPIER_INPUT, COPIER_OUTPUT = "in", "out", "copier-in", "copier-out"
GROUP, COPIER_GROUP = "copiers", "copier"
ABORTED = b"aborted-"
# With the default, rebootstrap, librdkafka 2.16 lets go of its only broker when that goes away, and may later wait for ever for an
# answer by way of the handle that it let go of.
QUIET = {"log_level": 0, "metadata.recovery.strategy": "none", "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20}
# What is undecided is decided, and what was asked for answered, within a minute.
PATIENCE_S = 60


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA, help="how to start the broker: {dir} and {port} are filled in")
    ap.add_argument("--kills", type=int, default=6)
    ap.add_argument("--every", type=float, default=10.0, help="seconds between a start and the next kill")
    ap.add_argument("--members", type=int, default=3)
    ap.add_argument("--partitions", type=int, default=4)
    ap.add_argument("--rate", type=int, default=1000, help="records a second that come in while the broker is killed")
    ap.add_argument("--copier", default=None)
    ap.add_argument("--copier-records", type=int, default=20_000)
    ap.add_argument("--seed", type=int, default=None)
    ap.add_argument("--dir", default=None, help="data directory; a fresh temporary one unless given")
    return ap.parse_args()


def retried(step, *args):
    """A step of a transaction; tried again as long as the client says that this may help."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return step(*args)
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


class Member(threading.Thread):
    """One member of the group, through all its lives."""

    def __init__(self, address, name, seed):
        super().__init__(daemon=True)
        self.address, self.name, self.chance = address, name, random.Random(seed)
        self.over, self.counts = False, collections.Counter()

    def run(self):
        while not self.over:
            self.counts["lives"] += 1
            try:
                self.live()
            except KafkaException:
                self.counts["ended by an error"] += 1
                time.sleep(0.1)

    def live(self):
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": GROUP, "enable.auto.commit": False, "session.timeout.ms": 6000,
                             "auto.offset.reset": "earliest", "isolation.level": "read_committed", **QUIET})
        producer = Producer({"bootstrap.servers": self.address, "transactional.id": self.name, "transaction.timeout.ms": 20_000,
                             "linger.ms": 1, **QUIET})
        try:
            retried(producer.init_transactions)
            consumer.subscribe([INPUT])
            while not self.over:
                messages = [m for m in consumer.consume(100, 0.2) if not m.error()]
                if messages and not self.copy(consumer, producer, messages):
                    return
        finally:
            consumer.close()

    def copy(self, consumer, producer, messages):
        """One transaction; False when this life is over."""
        whim = self.chance.random()
        producer.begin_transaction()
        try:
            for message in messages:
                value = ABORTED + message.value() if whim < 0.1 else message.value()
                producer.produce(OUTPUT, value, partition=message.partition())
            if whim > 0.97:
                self.counts["vanished"] += 1
                producer.flush(1)
                return False
            retried(producer.send_offsets_to_transaction, consumer.position(consumer.assignment()), consumer.consumer_group_metadata())
            if whim < 0.1:
                self.counts["aborted"] += 1
                self.abort(consumer, producer)
            else:
                retried(producer.commit_transaction)
                self.counts["committed"] += 1
            return True
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            self.counts["aborted by an error"] += 1
            self.abort(consumer, producer)
            return True

    def abort(self, consumer, producer):
        """Back to what is committed, as a loop that reads and writes has to."""
        retried(producer.abort_transaction)
        assigned = consumer.assignment()
        for there in retried(consumer.committed, assigned, 10) if assigned else ():
            consumer.seek(TopicPartition(there.topic, there.partition, max(there.offset, 0)))


class Copier(threading.Thread):
    """Kafka's copier, started again whenever it ends, until it has copied one partition."""

    def __init__(self, command, address, partition, log):
        super().__init__(daemon=True)
        self.argv = shlex.split(command) + ["--broker-list", address, "--input-topic", COPIER_INPUT, "--input-partition", str(partition),
                                            "--output-topic", COPIER_OUTPUT, "--consumer-group", COPIER_GROUP, "--use-group-metadata",
                                            "--transactional-id", f"copier-{partition}", "--transaction-size", "100",
                                            "--transaction-timeout", "20000", "--enable-random-aborts"]
        self.log, self.starts, self.over, self.process = open(log, "ab"), 0, False, None

    def run(self):
        while not self.over:
            self.starts += 1
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
            if self.process.wait() == 0:
                return
            time.sleep(0.5)


class Source(threading.Thread):
    """Numbers, evenly over the partitions, at a rate."""

    def __init__(self, address, partitions, rate):
        super().__init__(daemon=True)
        self.producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 5,
                                  "delivery.timeout.ms": PATIENCE_S * 1000, **QUIET})
        self.partitions, self.rate, self.sent, self.over = partitions, rate, 0, False

    def run(self):
        while not self.over:
            for _ in range(max(1, self.rate // 20)):
                self.producer.produce(INPUT, str(self.sent), partition=self.sent % self.partitions)
                self.sent += 1
            self.producer.poll(0)
            time.sleep(0.05)
        self.producer.flush(PATIENCE_S)


class Reader(threading.Thread):
    """Reads what is committed while it comes."""

    def __init__(self, address, partitions):
        super().__init__(daemon=True)
        self.consumer = Consumer({"bootstrap.servers": address, "group.id": "reader", "enable.auto.commit": False,
                                  "isolation.level": "read_committed", "auto.offset.reset": "earliest", **QUIET})
        self.consumer.assign([TopicPartition(OUTPUT, index, 0) for index in range(partitions)])
        self.seen, self.over = collections.defaultdict(list), False

    def run(self):
        while not self.over:
            for message in self.consumer.consume(1000, 0.2):
                if not message.error():
                    self.seen[message.partition()].append((message.offset(), message.value()))
        self.consumer.close()


def read(address, topic, partitions, isolation):
    """Everything of a topic: per partition, offsets and values."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "checker", "enable.auto.commit": False, "enable.partition.eof": True,
                         "isolation.level": isolation, "auto.offset.reset": "earliest", **QUIET})
    consumer.assign([TopicPartition(topic, index, 0) for index in range(partitions)])
    found, ended, deadline = collections.defaultdict(list), set(), time.monotonic() + PATIENCE_S
    while len(ended) < partitions:
        if time.monotonic() > deadline:
            raise SystemExit(f"{topic} cannot be read to its end for a minute")
        for message in consumer.consume(5000, 0.5):
            if message.error():
                ended.add(message.partition())
            else:
                found[message.partition()].append((message.offset(), message.value()))
                deadline = time.monotonic() + PATIENCE_S
    consumer.close()
    return found


def committed(address, group, topic, partitions):
    """The committed offsets of a group, as one who wants stable ones sees them."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": group, "enable.auto.commit": False,
                         "isolation.level": "read_committed", **QUIET})
    asked = [TopicPartition(topic, index) for index in range(partitions)]
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            offsets = [max(there.offset, 0) for there in consumer.committed(asked, timeout=10)]
            consumer.close()
            return offsets
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"committed offsets cannot be read for a minute: {error}") from error
            time.sleep(0.05)


def wrong_with(name, wanted, found):
    """What is missing of these values, there twice, or there although it was aborted."""
    values = collections.Counter(value for rows in found.values() for _, value in rows)
    missing = sum(1 for value in wanted if not values[value])
    twice = sum(1 for value, count in values.items() if count > 1)
    aborted = sum(1 for value in values if value.startswith(ABORTED))
    strange = len(values) - (len(wanted) - missing) - aborted
    return [f"{name}: {what} {count}" for what, count in
            (("missing", missing), ("twice", twice), ("aborted ones", aborted), ("strange", strange)) if count]


def caught_up(address, group, topic, partitions, ends):
    """Waits until a group has committed the end of its input."""
    deadline, last = time.monotonic() + PATIENCE_S, None
    while True:
        now = committed(address, group, topic, partitions)
        if now == ends:
            return []
        if now != last:
            deadline, last = time.monotonic() + PATIENCE_S, now
        if time.monotonic() > deadline:
            return [f"{group} stands at {now}, the input ends at {ends}"]
        time.sleep(0.2)


def prepared(args, address):
    """Topics, and what Kafka's copier copies."""
    admin = AdminClient({"bootstrap.servers": address, "log_level": 2})
    names = (INPUT, OUTPUT, COPIER_INPUT, COPIER_OUTPUT)
    for future in admin.create_topics([NewTopic(name, args.partitions, 1) for name in names]).values():
        future.result(30)
    producer = Producer({"bootstrap.servers": address, **QUIET})
    for number in range(args.copier_records if args.copier else 0):
        producer.produce(COPIER_INPUT, str(number), partition=number % args.partitions)
        producer.poll(0)
    producer.flush(PATIENCE_S)


def ends_of(count, partitions):
    return [count // partitions + (index < count % partitions) for index in range(partitions)]


def main():
    args = arguments()
    chance = random.Random(args.seed)
    around = pathlib.Path(args.dir or tempfile.mkdtemp(prefix="exactly-once-"))
    around.mkdir(parents=True, exist_ok=True)
    port = brokers.free_port()
    broker = brokers.Broker(args.command, around / "data", port, around / "broker.log")
    broker.start()
    address, partitions = broker.address, args.partitions
    prepared(args, address)
    source, reader = Source(address, partitions, args.rate), Reader(address, partitions)
    members = [Member(address, f"member-{n}", chance.random()) for n in range(args.members)]
    copiers = [Copier(args.copier, address, n, around / f"copier-{n}.log") for n in range(partitions if args.copier else 0)]
    for thread in (source, reader, *members, *copiers):
        thread.start()
    began, wrong, before = time.monotonic(), [], [0] * partitions
    for _ in range(args.kills):
        time.sleep(args.every * chance.uniform(0.5, 1.0))
        broker.kill()
        broker.start()
        now = committed(address, GROUP, INPUT, partitions)
        wrong += [f"partition {n}: committed {a}, before {b}" for n, (a, b) in enumerate(zip(now, before)) if a < b]
        before = now
    source.over = True
    source.join(PATIENCE_S)
    wrong += caught_up(address, GROUP, INPUT, partitions, ends_of(source.sent, partitions))
    if copiers:
        wrong += caught_up(address, COPIER_GROUP, COPIER_INPUT, partitions, ends_of(args.copier_records, partitions))
    for thread in (*members, *copiers):
        thread.over = True
    for thread in (*members, *copiers):
        thread.join(PATIENCE_S)
    found, everything = read(address, OUTPUT, partitions, "read_committed"), read(address, OUTPUT, partitions, "read_uncommitted")
    wrong += wrong_with("at the end", {str(n).encode() for n in range(source.sent)}, found)
    deadline = time.monotonic() + PATIENCE_S
    while reader.seen != found and time.monotonic() < deadline:
        time.sleep(0.2)
    reader.over = True
    reader.join(PATIENCE_S)
    wrong += [] if reader.seen == found else ["who read all the while has read something else"]
    if copiers:
        wanted = {str(n).encode() for n in range(args.copier_records)}
        wrong += wrong_with("Kafka's copier", wanted, read(address, COPIER_OUTPUT, partitions, "read_committed"))
    broker.stop()
    for line in wrong:
        print(line)
    counts = sum((member.counts for member in members), collections.Counter())
    told = " ".join(f"{what.replace(' ', '_')}={count}" for what, count in sorted(counts.items()))
    n_all, n_committed = (sum(map(len, rows.values())) for rows in (everything, found))
    print(f"kills={args.kills} records={source.sent} copied={n_committed} written={n_all} {told} "
          f"copier_records={args.copier_records if copiers else 0} copier_starts={sum(copier.starts for copier in copiers)} "
          f"wrong={len(wrong)} seconds={time.monotonic() - began:.0f}")
    good = not wrong and counts["committed"] and counts["aborted"]
    print("PASS" if good else "FAIL")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
