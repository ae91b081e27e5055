#!/usr/bin/env python3
"""transactions.py: transactions and producers that are too large, too many, or do not end: one transaction over very many
partitions, very many producer ids, a producer that vanishes, a word of a producer that comes too late.

Each scene prints one line of figures and PASS or FAIL. Needs Python 3.9+ and nothing else.
"""
import pathlib
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import raw_groups
import raw
import scene

INIT_PRODUCER_ID, ADD_PARTITIONS, END_TXN, LIST_TRANSACTIONS = 22, 24, 26, 66
CONCURRENT_TRANSACTIONS = 51
FENCED = {47, 90}
RECORDS = 100


class Producer:
    """One session of a transactional producer, in versions without compact lengths."""

    def __init__(self, port, name, timeout_ms=60_000):
        self.client, self.name = raw.Client(port, patience_s=120), name
        find = raw.request(raw_groups.FIND_COORDINATOR, raw.text(name) + b"\1", version=1)
        scene.eventually(lambda: struct.unpack_from(">h", self.client.ask(find), 8) == (0,))
        self.producer, self.epoch = retried(lambda: self._init(timeout_ms))

    def _init(self, timeout_ms):
        words = raw_groups.Words(self.client.ask(raw.request(INIT_PRODUCER_ID, raw.text(self.name) + struct.pack(">i", timeout_ms), version=0)))
        words.number("i")
        raw_groups.good(words.number("h"))
        return words.number("q"), words.number("h")

    def add(self, topic, partitions):
        body = (raw.text(self.name) + struct.pack(">qh", self.producer, self.epoch)
                + raw.array([raw.text(topic) + raw.array([struct.pack(">i", p) for p in partitions])]))
        retried(lambda: self._added(raw.request(ADD_PARTITIONS, body, version=0)))

    def _added(self, frame):
        words = raw_groups.Words(self.client.ask(frame))
        words.number("i")
        for _ in range(words.number("i")):
            words.text()
            for _ in range(words.number("i")):
                words.number("i")
                raw_groups.good(words.number("h"))

    def produce(self, topic, partitions, values, sequence=0):
        """The same batch into each partition, in one request."""
        batch = raw.batch(values, producer=(self.producer, self.epoch, sequence), transactional=True)
        rows = [struct.pack(">ii", p, len(batch)) + batch for p in partitions]
        body = raw.text(self.name) + struct.pack(">hi", -1, 30_000) + raw.array([raw.text(topic) + raw.array(rows)])
        look_at_produced(self.client.ask(raw.request(raw.PRODUCE, body)))

    def end(self, commit, epoch=None):
        """EndTxn, once."""
        body = raw.text(self.name) + struct.pack(">qhb", self.producer, self.epoch if epoch is None else epoch, commit)
        words = raw_groups.Words(self.client.ask(raw.request(END_TXN, body, version=1)))
        words.number("i")
        raw_groups.good(words.number("h"))

    def end_anew(self, commit, epoch=None):
        """EndTxn, version 5: with it the next epoch begins."""
        body = (raw_groups.compact(self.name) + struct.pack(">qhb", self.producer, self.epoch if epoch is None else epoch, commit) + b"\0")
        words = raw_groups.Words(self.client.ask(raw_groups.flexible(END_TXN, 5, body)), 5)
        words.number("i")
        raw_groups.good(words.number("h"))
        self.producer, self.epoch = words.number("q"), words.number("h")


def look_at_produced(answer):
    words = raw_groups.Words(answer)
    for _ in range(words.number("i")):
        words.text()
        for _ in range(words.number("i")):
            words.number("i")
            raw_groups.good(words.number("h"))
            words.raw(24)


def retried(step, patience_s=60):
    """A step, again as long as the transaction before is being ended, or the coordinator or a leader is not there yet."""
    end = time.monotonic() + patience_s
    while True:
        try:
            return step()
        except raw_groups.Refused as error:
            if error.code not in raw_groups.NOT_NOW | {CONCURRENT_TRANSACTIONS, 3, 6} or time.monotonic() > end:
                raise
            time.sleep(0.01)


def ends(client, topic, partitions, isolation):
    """Where readers of an isolation level find the end of each partition."""
    rows = raw.array([struct.pack(">iiq", p, -1, -1) for p in partitions])
    words = raw_groups.Words(client.ask(raw.request(raw.LIST_OFFSETS, struct.pack(">ib", -1, isolation) + raw.array([raw.text(topic) + rows]))))
    words.number("i"), words.number("i"), words.text()
    found = {}
    for _ in range(words.number("i")):
        partition, code = words.number("i"), words.number("h")
        raw_groups.good(code)
        words.number("q")
        found[partition] = words.number("q")
        words.number("i")
    return found


def chunks(n, size):
    return [range(at, min(at + size, n)) for at in range(0, n, size)]


def one_of(stage, vitals, n):
    """One transaction over `n` partitions: seconds to add and write, until EndTxn is answered, until every marker is there."""
    topic, client = stage.topic(partitions=n), stage.client(patience_s=120)
    producer = Producer(stage.port, f"huge-{n}", 600_000)
    vitals.reset_peak()
    before, began = vitals.rss_kib(), time.monotonic()
    for chunk in chunks(n, 500):
        producer.add(topic, chunk)
    added_s, began = time.monotonic() - began, time.monotonic()
    for chunk in chunks(n, 200):
        producer.produce(topic, chunk, [b"x" * 100] * RECORDS)
    wrote_s, began = time.monotonic() - began, time.monotonic()
    stands = ends(client, topic, range(n), 1)
    problems = [f"{topic}-{p} shows {end} records before the commit" for p, end in stands.items() if end]
    producer.end(True)
    answered_s = time.monotonic() - began
    done = scene.eventually(lambda: all(end == RECORDS + 1 for end in ends(client, topic, range(n), 1).values()), 120)
    committed_s = time.monotonic() - began
    if done is None:
        left = [p for p, end in ends(client, topic, range(n), 1).items() if end != RECORDS + 1]
        problems.append(f"{len(left)} partitions have no marker after 120 s: {left[:5]}")
    peak = (vitals.peak_kib() - before) / 1024
    return (added_s, wrote_s, answered_s, committed_s, peak), problems


def huge(stage):
    """One transaction of a million records over ten thousand partitions, and one a tenth of that."""
    vitals = stage.start()
    sizes, problems, rows = (200, 2_000) if stage.args.quick else (1_000, 10_000), [], []
    for n in sizes:
        row, wrong = one_of(stage, vitals, n)
        rows.append(row)
        problems += wrong
    times = max(rows[1][3], 0.05) / max(rows[0][3], 0.05)
    if times > 30:
        problems.append(f"ten times the partitions take {times:.0f} times as long to commit")
    if rows[1][4] > 256:
        problems.append(f"the transaction takes {rows[1][4]:.0f} MiB")
    said = (f"{n}_partitions[records={n * RECORDS} add_s={row[0]:.2f} write_s={row[1]:.2f} end_answered_s={row[2]:.3f} "
            f"committed_everywhere_s={row[3]:.2f} peak_mib={row[4]:.0f}]" for n, row in zip(sizes, rows))
    return " ".join(said), problems


def producer_ids(stage):
    """Very many producers, each of which writes once."""
    vitals = stage.start()
    n, partitions = (50_000, 50) if stage.args.quick else (1_000_000, 100)
    topic, client = stage.topic(partitions=partitions), stage.client()
    # What the partitions need by themselves is not the producers'.
    flood(client, topic, range(partitions), partitions, 0)
    before, began, seen = vitals.rss_kib(), time.monotonic(), []
    for part in range(4):
        flood(client, topic, range(partitions + n * part // 4, partitions + n * (part + 1) // 4), partitions, 0)
        seen.append((vitals.rss_kib() - before) / 1024)
    took_s = time.monotonic() - began
    bytes_each = (vitals.rss_kib() - before) * 1024 / n
    problems = []
    if bytes_each > 1024:
        problems.append(f"each takes {bytes_each:.0f} bytes")
    figures = f"producers={n} partitions={partitions} seconds={took_s:.0f} bytes_each={bytes_each:.0f} grown_mib={[round(mib) for mib in seen]}"
    if stage.broker is None:
        return figures, problems
    stage.broker.kill()
    up_s = stage.broker.start()
    client = stage.client()
    client.await_leader(topic, range(partitions))
    # The last one of each partition is known after the restart: the same batch again is not stored again.
    stands = retried(lambda: ends(client, topic, range(partitions), 0))
    flood(client, topic, range(n, n + partitions), partitions, 0)
    if ends(client, topic, range(partitions), 0) != stands:
        problems.append("a batch that was sent again after a restart is there twice")
    return f"{figures} up_s={up_s:.2f} rss_after_mib={scene.Vitals(stage.broker.process.pid).rss_kib() / 1024:.0f}", problems


def flood(client, topic, ids, partitions, sequence, window=8):
    """One batch of each producer, spread over the partitions; as many in a request as there are partitions."""
    waiting = 0
    for chunk in chunks(len(ids), partitions):
        rows = []
        for at in chunk:
            batch = raw.batch([b"x"], producer=(1_000_000_000 + ids[at], 0, sequence))
            rows.append(struct.pack(">ii", ids[at] % partitions, len(batch)) + batch)
        client.socket.sendall(raw.request(raw.PRODUCE, struct.pack(">hhi", -1, -1, 30_000) + raw.array([raw.text(topic) + raw.array(rows)])))
        waiting += 1
        if waiting == window:
            look_at_produced(client.receive())
            waiting -= 1
    for _ in range(waiting):
        look_at_produced(client.receive())


def listed(client, name):
    """The state of a transactional id (ListTransactions), None when it is not listed."""
    words = raw_groups.Words(client.ask(raw_groups.flexible(LIST_TRANSACTIONS, 0, b"\1\1\0")), 5)
    words.number("i"), words.number("h")
    for _ in range(words.varint() - 1):
        words.compact()
    for _ in range(words.varint() - 1):
        found, _, state = words.compact(), words.number("q"), words.compact()
        words.varint()
        if found == name:
            return state
    return None


def hanging(stage):
    """A producer begins, writes and vanishes: readers of what is committed wait for its timeout, and no longer."""
    stage.start("transaction.abort.timed.out.transaction.cleanup.interval.ms=1000")
    topic, client, timeout_s = stage.topic(), stage.client(), 5
    producer = Producer(stage.port, "vanishes", timeout_s * 1000)
    producer.add(topic, [0])
    producer.produce(topic, [0], [b"lost"] * 3)
    began, problems = time.monotonic(), []
    producer.client.close()
    if listed(client, "vanishes") != "Ongoing":
        problems.append(f"it is listed as {listed(client, 'vanishes')}")
    client.produced(raw.produce(topic, 0, raw.batch([b"waits"])), topic)
    if ends(client, topic, [0], 1)[0] != 0:
        problems.append("what stands behind an open transaction can be read")
    stuck = scene.eventually(lambda: ends(client, topic, [0], 1)[0] == 5, timeout_s + 30)
    stuck_s = time.monotonic() - began
    if stuck is None or stuck_s < timeout_s - 0.5:
        problems.append(f"readers could go on after {stuck_s:.1f} s")
    after = scene.eventually(lambda: listed(client, "vanishes") == "CompleteAbort")
    if after is None:
        problems.append(f"it is listed as {listed(client, 'vanishes')} in the end")
    return f"timeout_s={timeout_s} stuck_s={stuck_s:.1f} listed=Ongoing,CompleteAbort", problems


def refused(step, problems, what):
    try:
        step()
    except raw_groups.Refused as error:
        if error.code in FENCED:
            return error.code
        problems.append(f"{what} is refused with {error.code}")
        return error.code
    problems.append(f"{what} is taken")
    return 0


def too_late(stage):
    """The end of a transaction comes when its producer was replaced, and when its next one has begun."""
    stage.start()
    topic, client, problems, codes = stage.topic(partitions=2), stage.client(), [], []
    rounds = 20 if stage.args.quick else 200
    for number in range(rounds):
        name = f"twice-{number}"
        first = Producer(stage.port, name)
        first.add(topic, [0])
        first.produce(topic, [0], [b"of the first"])
        second = Producer(stage.port, name)
        # The word that the first one had sent arrives now.
        codes.append(refused(lambda: first.end(True), problems, "the end that a replaced producer asked for"))
        codes.append(refused(lambda: first.produce(topic, [0], [b"once more"], 1), problems, "a record of a replaced producer"))
        second.add(topic, [0])
        second.produce(topic, [0], [b"of the second"])
        retried(lambda: second.end(True))
        # One producer, two transactions, and the end of the first comes a second time, turned or not.
        newer = Producer(stage.port, name + "-newer")
        newer.add(topic, [1])
        newer.produce(topic, [1], [b"first"])
        before = newer.epoch, newer.producer
        newer.end_anew(True)
        retried(lambda: newer.add(topic, [1]))
        newer.produce(topic, [1], [b"second"])
        for turned in (True, False):
            codes.append(refused(lambda: newer.end(turned, epoch=before[0]), problems, "an end of the transaction before"))
        newer.end_anew(False)
    for partition, records in ((0, 2 + 2), (1, 2 + 2)):
        want = rounds * records
        if scene.eventually(lambda: ends(client, topic, [partition], 1)[partition] == want, 30) is None:
            problems.append(f"partition {partition} ends at {ends(client, topic, [partition], 1)[partition]}, not at {want}")
    kept = [committed(client, topic, partition) for partition in (0, 1)]
    if kept != [[b"of the second"] * rounds, [b"first"] * rounds]:
        problems.append(f"what is committed is not what was: {[len(values) for values in kept]}")
    return f"rounds={rounds} late_words={len(codes)} refused_with={sorted(set(codes))} anomalies={len(problems)}", problems


def committed(client, topic, partition):
    """The values that a reader of what is committed sees."""
    values, at = [], 0
    while True:
        body = struct.pack(">iiiibii", -1, 0, 1, 50 << 20, 1, 0, -1)
        row = struct.pack(">iiqqi", partition, -1, at, -1, 1 << 20)
        answer = client.ask(raw.request(raw.FETCH, body + raw.array([raw.text(topic) + raw.array([row])]) + raw.array([]) + raw.text("")))
        words = raw_groups.Words(answer)
        words.number("i"), raw_groups.good(words.number("h")), words.number("i"), words.number("i"), words.text(), words.number("i"), words.number("i")
        raw_groups.good(words.number("h"))
        words.raw(24)
        aborted = sorted(((words.number("q"), words.number("q"))[::-1] for _ in range(words.number("i"))))
        words.number("i")
        batches, skipping = words.data(), set()
        if not batches:
            return values
        for base, end, attributes, producer, batch_values in walk(batches):
            while aborted and aborted[0][0] < end:
                skipping.add(aborted.pop(0)[1])
            if attributes & 0x20:
                skipping.discard(producer)
            elif producer not in skipping:
                values += batch_values
            at = end


def walk(batches):
    """The whole batches of an answer: first offset, end, attributes, producer, values (of records that are not packed)."""
    at = 0
    while at + 61 <= len(batches):
        base, length = struct.unpack_from(">qi", batches, at)
        if at + 12 + length > len(batches):
            return
        attributes, last = struct.unpack_from(">hi", batches, at + 21)
        (producer,) = struct.unpack_from(">q", batches, at + 43)
        (count,) = struct.unpack_from(">i", batches, at + 57)
        words, values = raw_groups.Words(batches, at + 61), []
        for _ in range(count):
            signed(words), words.number("b"), signed(words), signed(words)
            words.raw(signed(words))
            values.append(words.raw(signed(words)))
            assert signed(words) == 0
        yield base, base + last + 1, attributes, producer, values
        at += 12 + length


def signed(words):
    value = words.varint()
    return value >> 1 ^ -(value & 1)


SCENES = {"huge": huge, "producer-ids": producer_ids, "hanging": hanging, "too-late": too_late}

if __name__ == "__main__":
    scene.play(__doc__, SCENES)
