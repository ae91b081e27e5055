#!/usr/bin/env python3
"""log_damage.py: bits flip, tails tear, indexes vanish, metadata rots.

*flips*: while the broker runs, one bit in a closed segment is flipped, the records around it are read by a consumer that checks CRCs (error 2 is CORRUPT_MESSAGE), and the
bit is flipped back. A record that comes must be the one that was written, an offset may only be missing when an error said so, and no batch but
the damaged one may be missing. *indexes*: the index files of a stopped broker are deleted, emptied, zeroed, filled with garbage, cut: everything is
read and found by time as before. *tails*: after kill -9 the last segment is cut or gets garbage behind its end. *journal*, *metadata*: one bit, anywhere in
what is written there, after kill -9: everything acknowledged is there, or the broker refuses to start with a sentence; never less without a word.

Needs Python with confluent-kafka.
"""
import argparse
import pathlib
import random
import shutil
import struct
import sys
import tempfile
import time

import confluent_kafka as ck

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers
import kill_restart
import raw_fetch

TOPIC, RECORDS, FIRST_MS = "damaged", 30_000, 1_750_000_000_000


class Written:
    """A broker's directory with one partition of several segments, and what was acknowledged."""

    def __init__(self, args, rng):
        self.args, self.rng = args, rng
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="ottla-damage-"))
        self.data = self.place / "data"
        self.broker = brokers.Broker(args.command, self.data, args.port or brokers.free_port(), self.place / "broker.log")
        self.broker.start()
        kill_restart.create_topic(self.broker.address, TOPIC, 1)
        self.values = {}
        self.produce(RECORDS)

    def produce(self, count):
        """More records, each acknowledged when this returns."""
        producer = ck.Producer({"bootstrap.servers": self.broker.address, "enable.idempotence": True,
                                "batch.num.messages": 20, "linger.ms": 1, "log_level": 2})
        first = len(self.values)
        for number in range(first, first + count):
            producer.produce(TOPIC, f"{number}:{'x' * 100}".encode(), timestamp=FIRST_MS + number, on_delivery=self._acked)
            if number % 1000 == 999:
                producer.flush(30)
        producer.flush(30)

    def _acked(self, error, message):
        if error is None:
            self.values[message.offset()] = message.value()

    def segments(self):
        return sorted((self.data / f"{TOPIC}-0").glob("*.log"))

    def read(self, first, end):
        """Reads [first, end): what came, and what was said where something else came."""
        consumer = raw_fetch.Consumer(self.broker.port, TOPIC)
        read = consumer.read(first, end)
        consumer.close()
        return read

    def read_all(self, patience_s=20):
        """How many errors there were, and how many records are missing or wrong. A partition that recovers is waited for."""
        deadline = time.monotonic() + patience_s
        while raw_fetch.Consumer(self.broker.port, TOPIC).fetch(0)[0] in (3, 6) and time.monotonic() < deadline:
            time.sleep(0.05)
        try:
            found, errors = kill_restart.ledger.read_back(self.broker.address, TOPIC, 1, patience_s=10)[0], []
            found = dict(found)
        except SystemExit:
            found, errors = self.read(0, RECORDS)
        return len(errors), sum(found.get(offset) != value for offset, value in self.values.items())

    def times(self):
        """Where a few times are found."""
        consumer = ck.Consumer({"bootstrap.servers": self.broker.address, "group.id": "damage", "log_level": 0})
        asked = [ck.TopicPartition(TOPIC, 0, FIRST_MS + n) for n in range(0, RECORDS, RECORDS // 20)]
        found = [consumer.offsets_for_times([one], timeout=20)[0].offset for one in asked]
        consumer.close()
        return found

    def said(self):
        text = pathlib.Path(self.broker.log.name).read_text(errors="replace").strip()
        return text.splitlines()[-1] if text else ""

    def start(self):
        """Whether it starts; else it must have said why and ended with an exit code of its own."""
        try:
            self.broker.start(patience_s=60)
            return True
        except SystemExit:
            return False

    def end(self):
        if self.broker.process.poll() is None:
            self.broker.kill()


def batches(path):
    """(position, end position, first offset, end offset) of each batch in a segment file."""
    data, at, found = path.read_bytes(), 0, []
    while at + 61 <= len(data):
        base, length = struct.unpack_from(">qi", data, at)
        delta, = struct.unpack_from(">i", data, at + 23)
        found.append((at, at + 12 + length, base, base + delta + 1))
        at += 12 + length
    return found


def flip(path, at, bit):
    with open(path, "r+b", buffering=0) as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << bit]))


def flips(written, count):
    closed = written.segments()[:-1]
    known = {path: batches(path) for path in closed}
    silent, beyond, told, lost, wrong = 0, 0, {}, 0, []
    for number in range(count):
        path = written.rng.choice(closed)
        # Every third one in a header: the rest of it is outside the batch's CRC.
        start, end, first, after = written.rng.choice(known[path])
        at = written.rng.randrange(start, start + 21 if number % 3 == 0 else end)
        bit = written.rng.randrange(8)
        flip(path, at, bit)
        low, high = max(0, first - 25), min(RECORDS, after + 60)
        found, errors = written.read(low, high)
        flip(path, at, bit)
        bad = [o for o, v in found.items() if written.values.get(o) != v]
        missing = [o for o in range(low, high) if o not in found]
        for name in {name.split(":")[0] for _, name in errors}:
            told[name] = told.get(name, 0) + 1
        outside = [o for o in missing if not first <= o < after]
        lost += len(missing)
        if bad or (missing and not errors):
            silent += 1
            wrong.append(f"bit {bit} of byte {at - start} of a batch: {len(bad)} wrong values, {len(missing)} missing, errors {errors[:2]}")
        elif outside:
            beyond += 1
            wrong.append(f"bit {bit} of byte {at - start} of a batch: {len(outside)} records of other batches cannot be read")
    return (f"flips={count} silent_wrong={silent} beyond_the_batch={beyond} records_lost_per_flip={lost / count:.1f} "
            f"told={told}"), wrong


def spoil(path, how, rng):
    size = path.stat().st_size
    if how == "deleted":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "zeroed":
        path.write_bytes(bytes(size))
    elif how == "garbage":
        path.write_bytes(rng.randbytes(size))
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:size // 2 + 1])


def indexes(written):
    expected, wrong, slowest, n = written.times(), [], 0.0, 0
    for ending in ("index", "timeindex"):
        for how in ("deleted", "empty", "zeroed", "garbage", "cut"):
            written.broker.stop()
            for path in (written.data / f"{TOPIC}-0").glob(f"*.{ending}"):
                spoil(path, how, written.rng)
            n += 1
            slowest = max(slowest, written.broker.start())
            errors, missing = written.read_all()
            if errors or missing or written.times() != expected:
                wrong.append(f"{ending} {how}: {errors} errors, {missing} records missing, times found as before: {written.times() == expected}")
    return f"indexes={n} start_max_s={slowest:.2f}", wrong


def tails(written, count):
    wrong, lost = [], 0
    for number in range(count):
        # Fresh records, which no checkpoint has covered yet: bytes that were synced do not go by a crash.
        written.produce(500)
        written.broker.kill()
        last = written.segments()[-1]
        tail = batches(last)
        if number % 2 == 0 and tail:
            with open(last, "r+b") as f:
                f.truncate(tail[-1][1] - written.rng.randrange(1, tail[-1][1] - tail[-1][0]))
        else:
            with open(last, "ab") as f:
                f.write(written.rng.randbytes(written.rng.randrange(1, 100_000)))
        if not written.start():
            wrong.append(f"tail {number}: it does not start: {written.said()}")
            break
        errors, missing = written.read_all()
        lost += missing
        if errors or (missing and number % 2):
            wrong.append(f"tail {number}: {errors} errors, {missing} records missing")
        if missing:
            break  # a broker without a journal has lost the cut batch: as it must
    return f"tails={count} lost={lost}", wrong


def rot(written, name, pattern, count):
    """One bit in what is written in the files of a killed broker: all is there, or it refuses."""
    written.broker.kill()
    kept = written.place / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(written.data, kept)
    wrong, refused, whole = [], 0, 0
    files = [path for path in sorted(kept.glob(pattern)) if path.read_bytes().strip(b"\0")]
    for number in range(count if files else 0):
        shutil.rmtree(written.data)
        shutil.copytree(kept, written.data)
        path = written.data / written.rng.choice(files).relative_to(kept)
        bytes_written = len(path.read_bytes().rstrip(b"\0"))
        at, bit = written.rng.randrange(bytes_written), written.rng.randrange(8)
        flip(path, at, bit)
        if not written.start():
            refused += 1
            if written.broker.process.returncode not in (1, 2) or "panicked" in written.said():
                wrong.append(f"{name}: byte {at}: ended with {written.broker.process.returncode}: {written.said()[:200]}")
            continue
        errors, missing = written.read_all()
        whole += not missing
        if missing and not errors:
            wrong.append(f"{name}: bit {bit} of byte {at}: {missing} records are missing without a word")
        written.broker.kill()
    shutil.rmtree(written.data)
    shutil.copytree(kept, written.data)
    written.broker.start()
    return f"{name}_flips={count if files else 0} all_there={whole} refused={refused}", wrong


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA + " --set log.segment.bytes=1048576",
                    help="how to start the broker: {dir} and {port} are filled in; segments of a MiB or so")
    ap.add_argument("--port", type=int, default=None)
    ap.add_argument("--flips", type=int, default=1000)
    ap.add_argument("--tails", type=int, default=20)
    ap.add_argument("--rot", type=int, default=20)
    ap.add_argument("--only", nargs="*", default=("flips", "indexes", "tails", "journal", "metadata"))
    ap.add_argument("--journal", default=".ottla/journal/*", help="files, within the data directory")
    ap.add_argument("--metadata", default=".ottla/facts/db", help="files, within the data directory")
    ap.add_argument("--seed", type=int, default=None)
    args = ap.parse_args()
    seed = args.seed if args.seed is not None else random.randrange(1 << 30)
    written, bad = Written(args, random.Random(seed)), 0
    runs = {"flips": lambda: flips(written, args.flips), "indexes": lambda: indexes(written),
            "tails": lambda: tails(written, args.tails),
            "journal": lambda: rot(written, "journal", args.journal, args.rot),
            "metadata": lambda: rot(written, "metadata", args.metadata, args.rot)}
    try:
        if len(written.values) != RECORDS:
            raise SystemExit(f"FAIL: {len(written.values)} of {RECORDS} records were acknowledged")
        for name in args.only:
            line, wrong = runs[name]()
            for one in wrong[:10]:
                print(one)
            bad += bool(wrong)
            print(f"{line} wrong={len(wrong)} seed={seed} {'FAIL' if wrong else 'PASS'}", flush=True)
    finally:
        written.end()
    if bad:
        print(f"kept for a look: {written.place}")
        sys.exit(1)
    shutil.rmtree(written.place)


if __name__ == "__main__":
    main()
