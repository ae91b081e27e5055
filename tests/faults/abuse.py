#!/usr/bin/env python3
"""abuse.py: bytes that no client should send: lengths and counts that lie, keys and versions that nobody has, batches that
unpack to a thousand times their size. The broker closes or refuses, serves the others, and grows by next to nothing.

Each scene prints one line of figures and PASS or FAIL. Needs Python 3.9+ and nothing else. Wrong batches (CRC, offsets, counts,
formats) are compared with a peer, answer by answer, by tests/peer/answers.py.
"""
import pathlib
import random
import struct
import sys
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import raw
import scene


def outcome(port, data, patience_s=5):
    """Sends bytes; "closed", "answered" or "silent", and the milliseconds until then."""
    began = time.perf_counter()
    try:
        client = raw.Client(port, patience_s=patience_s)
        client.socket.sendall(data)
        got = client.socket.recv(65536)
        what = "answered" if got else "closed"
    except ConnectionError:
        what = "closed"
    except TimeoutError:
        what = "silent"
    client.close()
    return what, (time.perf_counter() - began) * 1000


def is_served(stage, topic):
    client = stage.client(patience_s=10)
    code = client.produced(raw.produce(topic, 0, raw.batch([b"x"])), topic)
    client.close()
    return [] if code == 0 else [f"a well-behaved producer got error {code}"]


def lengths(stage):
    """Frames of 2^31-1, negative, no and one byte."""
    vitals = stage.start()
    topic = stage.topic()
    before, n, problems = vitals.rss_kib(), 20 if stage.args.quick else 500, []
    for length in (0x7FFFFFFF, -1, -(1 << 31), 0, 104_857_601):
        for _ in range(n):
            what, _ = outcome(stage.port, struct.pack(">i", length) + b"\0\0\0\0")
            if what != "closed":
                problems.append(f"a frame of {length} bytes: {what}")
    what, _ = outcome(stage.port, struct.pack(">i", 1) + b"\0")
    if what != "closed":
        problems.append(f"a frame of one byte: {what}")
    grown = vitals.rss_kib() - before
    if grown > 4096:
        problems.append(f"memory grew by {grown} KiB")
    return f"frames={5 * n + 1} rss_kib={grown}", problems + is_served(stage, topic)


def spoil(frame, rng):
    data = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(4, len(data))
        kind = rng.randrange(5)
        if kind == 0:
            data[at:at + 4] = rng.choice((b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\xff\x07"))
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
        else:
            data[at] ^= 1 << rng.randrange(8)
        if len(data) < 6:
            break
    data[:4] = struct.pack(">i", len(data) - 4)
    return bytes(data)


def mutants(stage):
    """Valid requests with a few bytes changed: counts and lengths that lie, above all."""
    vitals = stage.start()
    topic = stage.topic()
    rng, n = random.Random(7), 2_000 if stage.args.quick else 50_000
    whole = [raw.metadata([topic]), raw.fetch(topic, [0]), raw.produce(topic, 0, raw.batch([b"x"] * 3)), raw.request(raw.API_VERSIONS),
             raw.create_topics(["made"], 1, [("cleanup.policy", "delete")])]
    before, seen, worst, problems = vitals.rss_kib(), {}, 0, []
    client = None
    for _ in range(n):
        # Waiting for the end of each is left out where the broker has nothing to say (acks=0, a name that became another).
        what, ms = outcome(stage.port, spoil(rng.choice(whole), rng), patience_s=0.5)
        seen[what] = seen.get(what, 0) + 1
        if what != "silent":
            worst = max(worst, ms)
    grown = vitals.rss_kib() - before
    if grown > 64 << 10:
        problems.append(f"memory grew by {grown} KiB")
    counts = " ".join(f"{k}={v}" for k, v in sorted(seen.items()))
    return f"frames={n} {counts} worst_ms={worst:.0f} rss_kib={grown}", problems + is_served(stage, topic)


def keys(stage):
    """Every API key from -1 to 1000 in every version from -1 to 20, with a random body."""
    vitals = stage.start("auto.create.topics.enable=false")
    topic = stage.topic()
    rng, seen, worst, silent = random.Random(3), {}, 0, []
    before = vitals.rss_kib()
    some = list(range(-1, 100)) + [200, 999, 1000, 32767] if stage.args.quick else list(range(-1, 1001))
    for key in some:
        for version in (-1, 0, 1, 7, 12, 20) if stage.args.quick else range(-1, 21):
            body = bytes(rng.randrange(4) if rng.random() < .7 else rng.randrange(256) for _ in range(rng.randrange(80)))
            frame = struct.pack(">hhih", key, version, 1, -1) + rng.choice((b"", b"\0")) + body
            what, ms = outcome(stage.port, struct.pack(">i", len(frame)) + frame, patience_s=2)
            seen[what] = seen.get(what, 0) + 1
            worst = max(worst, ms)
            if what == "silent":
                silent.append((key, version))
    # A Produce with acks=0 is not answered, a fetch or a join may wait: silence is theirs alone.
    problems = [f"key {k} version {v} was neither answered nor closed" for k, v in silent if k not in (0, 1, 11, 14, 78)]
    grown = vitals.rss_kib() - before
    counts = " ".join(f"{k}={v}" for k, v in sorted(seen.items()))
    return f"frames={sum(seen.values())} {counts} worst_ms={worst:.0f} rss_kib={grown}", problems + is_served(stage, topic)


def _zstd_of_zeros(head, n):
    """A zstd frame by hand: `head` as it is, then `n` zeros in blocks of one byte repeated 128 KiB times."""
    out = struct.pack("<IBB", 0xFD2FB528, 0x00, 0x58)  # a window of 2 MiB, no content size
    out += (len(head) << 3).to_bytes(3, "little") + head
    left = n
    while left:
        step = min(left, 128 << 10)
        left -= step
        out += (step << 3 | 1 << 1 | (0 if left else 1)).to_bytes(3, "little") + b"\0"
    return out


def _snappy_of_zeros(head, n):
    """One raw block: head, one zero, then copies of the byte before."""
    def size(value):
        out = bytearray()
        while value >= 0x80:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes(out + bytes([value]))
    out = size(len(head) + 1 + 64 * (n // 64)) + bytes([(len(head)) << 2]) + head + b"\0"
    return out + b"\xfe\x01\x00" * (n // 64)


def bombs(stage):
    """Batches that unpack to 1,000 to 30,000 times their size, to a compacted topic, where every record has to be looked at."""
    vitals = stage.start()
    topic = stage.topic(1, [("cleanup.policy", "compact")])
    other = stage.topic()
    idle = scene.produce_for(stage.port, other, 1)
    figures, problems = [], []
    n = 90 << 20
    record = raw.varint(n) + b"\0" + raw.varint(0) + raw.varint(0) + raw.varint(1) + b"k" + raw.varint(n - 20)
    gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed_gzip = gzip.compress(record + bytes(n)) + gzip.flush()
    # Many small records, each without a key: refused at the first, or walked to the end.
    small = raw.record(0, b"k", b"")
    gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed_many = gzip.compress(small * (20 << 20 >> 3)) + gzip.flush()
    for name, codec, packed in (("gzip", 1, packed_gzip), ("snappy", 2, _snappy_of_zeros(record, n // 3)), ("zstd", 4, _zstd_of_zeros(record, n)),
                                ("gzip-records", 1, packed_many)):
        batch = raw.batch([b""] * 1, codec=codec, packed=packed)
        if len(batch) > 1_000_000 and name != "snappy":
            batch = batch[:0]
            continue
        vitals.reset_peak()
        before, began = vitals.rss_kib(), time.perf_counter()
        client = stage.client()
        code = client.produced(raw.produce(topic, 0, batch), topic) if len(batch) < 1_000_000 else "too large"
        took = (time.perf_counter() - began) * 1000
        peak = vitals.peak_kib() - before
        figures.append(f"{name}[packed_kib={len(batch) >> 10} error={code} ms={took:.0f} peak_mib={peak >> 10}]")
        if code == 0:
            problems.append(f"{name}: the bomb was taken")
        if not stage.args.attach and peak > 160 << 10:
            problems.append(f"{name}: {peak >> 10} MiB were held")
    return " ".join(figures) + f" idle[{idle}]", problems + is_served(stage, other)


SCENES = {"lengths": lengths, "mutants": mutants, "keys": keys, "bombs": bombs}

if __name__ == "__main__":
    scene.play(__doc__, SCENES)
