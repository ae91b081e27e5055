"""What was sent, what was acknowledged, what is there: the checks that decide whether anything was lost.

Every value names its producer, its partition and its number there, so that each record read back can be held
against what was sent. The checks are those of a log verifier: nothing acknowledged is missing, nothing is there
twice, nothing is out of order, nothing is there that was not sent, and an offset never holds two values.
"""
import collections
import logging
import threading

import confluent_kafka as ck

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
LARGE_BYTES = 100_000


class BegunAnew(logging.Handler):
    """Hears a client say that it begins a new producer epoch, and why.

    librdkafka does that when a batch is refused as out of order while one before it is still unanswered, and numbers
    all that is not acknowledged anew: what the broker has already, without having been able to say so, is then there
    twice. A broker that refuses a batch and takes in the next one is what brings it about.
    """

    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        line = record.getMessage()
        if "skipped sequence numbers" in line or "epoch bump" in line:
            self.said.append(line)


class Ledger:
    """Sends numbered values through one idempotent producer per codec and remembers every answer."""

    def __init__(self, address, topic, partitions, seed, pause_s=0.004, large_every=0):
        """`pause_s` after every 50 records: the default is a pace that two cores can share with the broker. With `large_every`
        one in so many of the records that nobody compresses is large: its batch is written in pieces, and small ones pass it by."""
        self.large_every = large_every
        self.topic, self.partitions, self.address, self.pause_s = topic, partitions, address, pause_s
        self.acked = {}  # (partition, offset) -> value
        self.sent = collections.Counter()  # (codec, partition) -> how many
        self.unplaced = []  # acknowledged without an offset: the broker knew the batch already, and no longer where it is
        self.refused = []
        self.doubled = []
        self.begun_anew = BegunAnew()
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._produce, args=(codec, seed + at), daemon=True)
                        for at, codec in enumerate(CODECS)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def finish(self, patience_s=120):
        """Stops sending and waits until every record has its answer."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(patience_s)
            if thread.is_alive():
                raise SystemExit(f"FAIL: a producer still waits for answers after {patience_s} s")

    def _produce(self, codec, seed):
        told = logging.Logger(f"ledger-{codec}")
        told.addHandler(self.begun_anew)
        producer = ck.Producer({
            "bootstrap.servers": self.address, "enable.idempotence": True, "compression.codec": codec,
            "linger.ms": 2, "message.timeout.ms": 0, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 100,
            "retry.backoff.ms": 10, "batch.num.messages": 200, "debug": "eos", "client.id": f"ledger-{codec}"}, logger=told)
        padding = (f"{codec} {seed} " * 20)[:120]
        at = 0
        while not self.stopping.is_set():
            partition = at % self.partitions
            number = self.sent[codec, partition]
            value = f"{codec}:{partition}:{number}:{padding}".encode()
            if codec == "none" and self.large_every and number % self.large_every == self.large_every - 1:
                value = value.ljust(LARGE_BYTES, b".")
            try:
                producer.produce(self.topic, value, partition=partition, on_delivery=self._delivered)
            except BufferError:
                producer.poll(0.01)
                continue
            self.sent[codec, partition] = number + 1
            at += 1
            producer.poll(0)
            if at % 50 == 0:
                producer.poll(0)
                self.stopping.wait(self.pause_s)
        producer.flush(120)

    def _delivered(self, error, message):
        with self.lock:
            if error is not None:
                self.refused.append((message.value()[:40], str(error)))
                return
            if message.offset() is None or message.offset() < 0:
                self.unplaced.append(message.value())
                return
            key = (message.partition(), message.offset())
            if key in self.acked:
                self.doubled.append((key, self.acked[key][:40], message.value()[:40]))
            self.acked[key] = message.value()


class Tail:
    """A consumer that follows all partitions all the time: what it saw once must be there in the end."""

    def __init__(self, address, topic, partitions):
        self.seen, self.wrong = {}, []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._follow, args=(address, topic, partitions), daemon=True)
        self.thread.start()

    def _follow(self, address, topic, partitions):
        consumer = _consumer(address, topic, partitions)
        while not self.stopping.is_set():
            for message in consumer.consume(500, 0.2):
                if message.error():
                    continue
                key = (message.partition(), message.offset())
                if self.seen.setdefault(key, message.value()) != message.value():
                    self.wrong.append(key)
        consumer.close()

    def finish(self):
        self.stopping.set()
        self.thread.join(30)


def _consumer(address, topic, partitions):
    consumer = ck.Consumer({
        "bootstrap.servers": address, "group.id": "ledger", "enable.auto.commit": False, "check.crcs": True,
        "auto.offset.reset": "error", "enable.partition.eof": True, "reconnect.backoff.ms": 10,
        "reconnect.backoff.max.ms": 100, "log_level": 2})
    consumer.assign([ck.TopicPartition(topic, p, 0) for p in range(partitions)])
    return consumer


def read_back(address, topic, partitions, patience_s=120):
    """Every record of the topic: partition -> [(offset, value)], read to the end of each partition."""
    consumer, found, open_ends = _consumer(address, topic, partitions), collections.defaultdict(list), set(range(partitions))
    waited = 0.0
    while open_ends:
        batch = consumer.consume(2000, 0.5)
        waited = 0.0 if batch else waited + 0.5
        if waited > patience_s:
            raise SystemExit(f"FAIL: partitions {sorted(open_ends)} were not read to their end in {patience_s} s")
        for message in batch:
            if message.error() is None:
                found[message.partition()].append((message.offset(), message.value()))
            elif message.error().code() == ck.KafkaError._PARTITION_EOF:
                open_ends.discard(message.partition())
            else:
                raise SystemExit(f"FAIL: reading back: {message.error()}")
    consumer.close()
    return found


def not_there(unplaced, found):
    """What was acknowledged without an offset and is at none."""
    there = {value for records in found.values() for _, value in records} if unplaced else set()
    return [f"lost: {value[:40]} was acknowledged, without an offset" for value in unplaced if value not in there]


def problems(acked, sent, found, seen):
    """All that is wrong, a line each; empty when every check holds."""
    wrong = []
    there = {(p, offset): value for p, records in found.items() for offset, value in records}
    for key, value in acked.items():
        if there.get(key) != value:
            wrong.append(f"lost: {key} was acknowledged as {value[:40]}, there is {str(there.get(key))[:40]}")
    for key, value in seen.items():
        if there.get(key) != value:
            wrong.append(f"changed: {key} was read as {value[:40]}, there is {str(there.get(key))[:40]}")
    for partition, records in found.items():
        offsets = [offset for offset, _ in records]
        if offsets != list(range(len(offsets))):
            wrong.append(f"offsets of partition {partition} are not 0..{len(offsets)}")
        next_number = collections.Counter()
        for offset, value in records:
            codec, home, number, _ = value.decode().split(":", 3)
            if int(home) != partition:
                wrong.append(f"foreign: {value[:40]} in partition {partition}")
            if int(number) != next_number[codec]:
                wrong.append(f"order: partition {partition} offset {offset} holds {codec} {number}, due was {next_number[codec]}")
            next_number[codec] = int(number) + 1
            if int(number) >= sent[codec, partition]:
                wrong.append(f"invented: {value[:40]} was never sent")
    return wrong
