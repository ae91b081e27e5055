#!/usr/bin/env python3
"""readers.py: records go (DeleteRecords, retention, compaction) while readers are in the middle of them.

Every record says at which offset it has to be. Whoever reads gets whole batches with good CRCs, offsets that only grow, and at each
offset the record that was written there; or OFFSET_OUT_OF_RANGE when that offset is below where the log begins. Nothing below a
log start that was told before is read after. Each scene prints one line of figures and PASS or FAIL. Needs Python 3.9+ and nothing else.
"""
import pathlib
import random
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import raw_groups
import raw
import scene
import transactions

DELETE_RECORDS = 21
OUT_OF_RANGE = 1
KEYS = 50


class World:
    """What is known of one partition, whoever tells it."""

    def __init__(self, port, topic, keyed):
        self.port, self.topic, self.keyed, self.over = port, topic, keyed, False
        self.lock, self.start, self.end, self.problems = threading.Lock(), 0, 0, []
        self.counts = {"reads": 0, "records": 0, "out_of_range": 0, "deletions": 0, "gaps": 0}

    def complain(self, what):
        with self.lock:
            self.problems.append(what)

    def count(self, what, n=1):
        with self.lock:
            self.counts[what] += n


def guarded(behave, world, seed):
    """Runs until the world is over; what goes wrong is a problem, not the end of a thread."""
    try:
        client, chance = raw.Client(world.port), random.Random(seed)
        while not world.over:
            behave(world, client, chance)
    except (OSError, EOFError, raw_groups.Refused, struct.error, AssertionError) as error:
        if not world.over:
            world.complain(f"{behave.__name__}: {error!r}")


def write(world, client, chance):
    """One batch; its records say where they are."""
    n = chance.randint(1, 20)
    values = [struct.pack(">q", world.end + at) + b"x" * chance.randint(0, 2_000) for at in range(n)]
    key = str(chance.randrange(KEYS)).encode() if world.keyed else None
    code = client.produced(raw.produce(world.topic, 0, raw.batch(values, key=key)), world.topic)
    if code:
        raise raw_groups.Refused(code)
    world.end += n
    time.sleep(0.002)


def delete(world, client, chance):
    """Deletes records up to somewhere in the middle."""
    time.sleep(chance.uniform(0.05, 0.5))
    before = world.start + (world.end - world.start) // chance.randint(2, 10)
    row = struct.pack(">iq", 0, before)
    words = raw_groups.Words(client.ask(raw.request(DELETE_RECORDS, raw.array([raw.text(world.topic) + raw.array([row])]) + struct.pack(">i", 30_000), version=0)))
    words.number("i"), words.number("i"), words.text(), words.number("i"), words.number("i")
    low = words.number("q")
    raw_groups.good(words.number("h"))
    if low < before:
        world.complain(f"deleted up to {before}, and the log begins at {low}")
    with world.lock:
        world.start = max(world.start, low)
    world.count("deletions")


def look(world, client, chance):
    """Where the log begins only grows."""
    before = world.start
    start = beginning(client, world.topic)
    with world.lock:
        if start < before:
            world.problems.append(f"the log begins at {start}, {before} was told before")
        world.start = max(world.start, start)
    time.sleep(chance.uniform(0.01, 0.05))


def beginning(client, topic):
    rows = raw.array([struct.pack(">iiq", 0, -1, -2)])
    words = raw_groups.Words(client.ask(raw.request(raw.LIST_OFFSETS, struct.pack(">ib", -1, 0) + raw.array([raw.text(topic) + rows]))))
    words.number("i"), words.number("i"), words.text(), words.number("i"), words.number("i")
    raw_groups.good(words.number("h"))
    words.number("q")
    return words.number("q")


def read(world, client, chance):
    """Reads on from somewhere, some answers long, slowly or not."""
    at, end = chance.randint(0, max(0, world.end)), world.end
    for _ in range(chance.randint(1, 12)):
        if world.over or at >= end:
            return
        start, answered = world.start, client.ask(raw.fetch(world.topic, [0], at, wait_ms=50, partition_bytes=chance.choice([1, 5_000, 60_000])))
        code, log_start, batches = parts(answered)
        world.count("reads")
        if code == OUT_OF_RANGE:
            world.count("out_of_range")
            if beginning(client, world.topic) <= at:
                world.complain(f"{at} is out of range, and the log begins before it")
            return
        raw_groups.good(code)
        if at < start:
            world.complain(f"{at} is read, {start} was told as the beginning before")
        # Kafka tells where the log begins as it is when it answers.
        at = check(world, at, batches)
        if log_start > world.end:
            world.complain(f"the log begins at {log_start}, behind its end")
        time.sleep(chance.choice([0, 0, 0.05]))


def parts(answer):
    """Error, log start and records of an answer about one partition."""
    words = raw_groups.Words(answer)
    words.number("i")
    raw_groups.good(words.number("h"))
    words.number("i"), words.number("i"), words.text(), words.number("i"), words.number("i")
    code = words.number("h")
    words.number("q"), words.number("q")
    log_start = words.number("q")
    for _ in range(words.number("i")):
        words.raw(16)
    words.number("i")
    return code, log_start, words.data()


def check(world, at, batches):
    """Looks at every whole batch; where the next read begins."""
    position, next_offset = 0, at
    while position + 61 <= len(batches):
        base, length = struct.unpack_from(">qi", batches, position)
        whole = batches[position:position + 12 + length]
        if len(whole) < 12 + length:
            break
        (crc,) = struct.unpack_from(">I", whole, 17)
        if crc != raw.crc32c(whole[21:]):
            world.complain(f"the batch at {base} is torn")
        position += len(whole)
        ((first, end, *_),) = transactions.walk(whole)
        for offset, value in offsets_in(whole, first):
            if offset < at:
                continue
            if struct.unpack_from(">q", value) != (offset,):
                world.complain(f"at {offset} stands {value[:8].hex()}")
            if offset < next_offset:
                world.complain(f"{offset} comes after {next_offset - 1}")
            if offset > next_offset:
                world.count("gaps")
                if not world.keyed:
                    world.complain(f"{offset} comes after {next_offset - 1}, and nothing is compacted")
            next_offset = offset + 1
            world.count("records")
        next_offset = max(next_offset, end)
    return next_offset


def offsets_in(batch, base):
    words = raw_groups.Words(batch, 57)
    for _ in range(words.number("i")):
        transactions.signed(words), words.number("b"), transactions.signed(words)
        offset = base + transactions.signed(words)
        words.raw(transactions.signed(words))
        yield offset, words.raw(transactions.signed(words))
        transactions.signed(words)


def play_on(stage, topic_settings, deletes, *settings, keyed=False):
    stage.start(*settings)
    topic = stage.topic(configs=topic_settings)
    world, wanted = World(stage.port, topic, keyed), 3_000 if stage.args.quick else 15_000
    behaviours = [write, look] + [read] * 6 + [delete] * deletes
    threads = [threading.Thread(target=guarded, args=(behave, world, seed), daemon=True) for seed, behave in enumerate(behaviours)]
    for thread in threads:
        thread.start()
    # As long as it takes on this machine, so that enough has happened.
    scene.eventually(lambda: world.end >= wanted and (world.counts["gaps"] or not keyed), 300)
    world.over = True
    for thread in threads:
        thread.join(30)
    if stage.broker is not None:
        # What was there before a kill is what is there after it.
        stage.broker.kill()
        stage.broker.start()
        client = stage.client()
        client.await_leader(topic)
        look(world, client, random.Random(0))
        world.over, at = False, world.start
        while at < world.end:
            _, _, batches = parts(client.ask(raw.fetch(topic, [0], at, wait_ms=50)))
            after = check(world, at, batches)
            if after == at:
                world.complain(f"nothing can be read at {at}, the log ends at {world.end}")
                break
            at = after
    if world.start == 0 and (deletes or not keyed):
        world.complain("nothing was deleted")
    if keyed and world.counts["gaps"] == 0:
        world.complain("nothing was compacted")
    counts = " ".join(f"{name}={n}" for name, n in world.counts.items())
    return f"written={world.end} start={world.start} {counts} wrong={len(world.problems)}", world.problems


def deletion(stage):
    """DeleteRecords, all the time."""
    return play_on(stage, [("internal.segment.bytes", "50000")], 2)


def retention(stage):
    """Segments go because there are too many bytes."""
    return play_on(stage, [("internal.segment.bytes", "50000"), ("retention.bytes", "200000"), ("file.delete.delay.ms", "0")], 0,
                   "log.retention.check.interval.ms=50")


def compaction(stage):
    """Segments are compacted, and records deleted as well."""
    return play_on(stage, [("internal.segment.bytes", "50000"), ("cleanup.policy", "compact,delete"), ("min.cleanable.dirty.ratio", "0.01"),
                           ("file.delete.delay.ms", "0")], 1, "log.cleaner.backoff.ms=50", keyed=True)


SCENES = {"deletion": deletion, "retention": retention, "compaction": compaction}

if __name__ == "__main__":
    scene.play(__doc__, SCENES)
