#!/usr/bin/env python3
"""disk_full.py: the disk fills up under load, stays full for a while, and gets its space back.

The data directory lies in a file system of its own (64 MB: tmpfs, or ext4 in a loop image). Idempotent producers write; a
file of somebody else takes the space away, either little by little until a record is refused, or to the last byte at once, so that neither a segment nor the journal, the metadata or an index can grow. While the disk is full: what a producer
is told is retriable (KAFKA_STORAGE_ERROR), everything acknowledged is read from the beginning, records and topics can be deleted.
Then space returns, and the time is taken until the next record is acknowledged, without a restart. Some rounds kill the broker (kill -9)
while the disk is full and start it there. At the end every acknowledged record must be there once, in order, and nothing else.

Needs root, mount, and Python with confluent-kafka; says SKIP where it cannot mount.
"""
import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers
import ledger

PARTITIONS = 4


class Mount:
    """A small file system of its own; `with` mounts it and takes it away again."""

    def __init__(self, kind, place, megabytes):
        self.kind, self.megabytes = kind, megabytes
        self.image, self.at = place / "image", place / "disk"

    def __enter__(self):
        self.at.mkdir()
        if self.kind == "tmpfs":
            argv = ["mount", "-t", "tmpfs", "-o", f"size={self.megabytes}m", "tmpfs", self.at]
        else:
            with open(self.image, "wb") as f:
                f.truncate(self.megabytes << 20)
            subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", self.image], check=True)
            argv = ["mount", "-o", "loop", self.image, self.at]
        done = subprocess.run(list(map(str, argv)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            print(f"SKIP: this machine does not let us mount a {self.kind}: {done.stdout.strip()}")
            sys.exit(0)
        return self

    def __exit__(self, *_):
        for _ in range(20):
            if subprocess.run(["umount", str(self.at)], stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.2)

    def free(self):
        stat = os.statvfs(self.at)
        return stat.f_bavail * stat.f_frsize

    def fill(self, leave):
        """Somebody else's file takes all but `leave` bytes; 0 really takes the last one."""
        with open(self.at / "ballast", "ab", buffering=0) as f:
            block = bytes(1 << 16)
            while self.free() > leave:
                try:
                    f.write(block[:max(1, min(len(block), self.free() - leave))])
                except OSError:
                    return

    def give_back(self):
        (self.at / "ballast").unlink(missing_ok=True)


def probe(address, topic, timeout_s=10):
    """One record by a producer that does not try again: None when it was acknowledged, else the error's code."""
    told = []
    producer = ck.Producer({"bootstrap.servers": address, "retries": 0, "message.timeout.ms": int(timeout_s * 1000),
                            "acks": "all", "log_level": 2, "linger.ms": 0})
    producer.produce(topic, b"probe" * 20, partition=0, on_delivery=lambda error, _: told.append(error))
    producer.flush(timeout_s + 5)
    return told[0].code() if told and told[0] else (None if told else ck.KafkaError._TIMED_OUT)


def until(fact, patience_s, step_s=0.02):
    """Waits for a fact; the seconds it took, or None."""
    began = time.monotonic()
    while time.monotonic() - began < patience_s:
        if fact():
            return time.monotonic() - began
        time.sleep(step_s)
    return None


class Case:
    """One broker on one small disk, from the first record to the last check."""

    def __init__(self, args, disk, place, seed):
        self.args, self.disk, self.rng = args, disk, random.Random(seed)
        self.broker = brokers.Broker(args.command, disk.at / "data", args.port or brokers.free_port(), place / "broker.log")
        self.wrong, self.recovered, self.codes, self.restarts, self.halted = [], [], {}, 0, 0
        self.deleted, self.topics = 0, 0

        self.admin = AdminClient({"bootstrap.servers": self.broker.address, "log_level": 2})

    def create(self, topic, partitions):
        self.admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)

    def ended(self):
        return self.broker.process.poll() is not None

    def note_if_ended(self):
        """A broker that ends itself when the disk is full has failed, but the rounds go on: it is started again."""
        if self.ended():
            self.halted += 1
            self.wrong.append(f"the broker ended itself on a full disk, exit code {self.broker.process.returncode}")
            return True
        return False

    def run(self, book):
        for number in range(self.args.rounds):
            self.round(book, number, how=("little by little", "last byte", "killed")[number % 3])
        self.disk.give_back()

    def round(self, book, number, how):
        acked = len(book.acked)
        if until(lambda: len(book.acked) > acked + 200, 60) is None:
            self.wrong.append(f"round {number}: nothing is acknowledged before the disk is full")
        self.disk.fill(leave=0 if how != "little by little" else self.disk.free() // 2)
        if until(lambda: self.is_refused(how), 60) is None:
            self.wrong.append(f"round {number}: the disk is full and records are still acknowledged")
        if how == "killed" and not self.ended():
            self.broker.kill()
            self.broker.start()
            self.restarts += 1
        if not self.note_if_ended():
            self.while_full(book, number)
        self.disk.give_back()
        if self.ended():
            self.broker.start()
        with book.lock:
            acked = len(book.acked)
        took = until(lambda: len(book.acked) > acked, 60)
        if took is None:
            self.wrong.append(f"round {number} ({how}): space has returned, and nothing is acknowledged for 60 s")
        self.recovered.append(took if took is not None else 60.0)

    def is_refused(self, how):
        """Whether a record is refused by now; else the space gets a little less."""
        if self.ended() or self.note_code(probe(self.broker.address, "probes")) is not None:
            return True
        self.disk.fill(leave=0 if how != "little by little" else max(0, self.disk.free() - (256 << 10)))
        return False

    def note_code(self, code):
        if code is not None:
            name = ck.KafkaError(code).name()
            self.codes[name] = self.codes.get(name, 0) + 1
        return code

    def delete_records(self, topic, upto, patience_s=20):
        """The log start after it. A client whose broker was killed under it asks again once it has connected again: until then its
        own cache knows of no leader, which is its word (_NOENT), not the broker's."""
        where, deadline = ck.TopicPartition(topic, 0, upto), time.monotonic() + patience_s
        while True:
            try:
                return self.admin.delete_records([where])[where].result(patience_s).low_watermark
            except ck.KafkaException as error:
                if error.args[0].code() != ck.KafkaError._NOENT or time.monotonic() > deadline:
                    raise
                self.admin.list_topics(topic, timeout=patience_s)

    def while_full(self, book, number):
        """Reading and deleting need no space, and a change of metadata is done or refused."""
        with book.lock:
            acked = dict(book.acked)
        try:
            found = ledger.read_back(self.broker.address, "ledger", PARTITIONS, patience_s=20)
        except SystemExit:
            found = {}
        there = {(p, offset): value for p, records in found.items() for offset, value in records}
        missing = sum(there.get(key) != value for key, value in acked.items())
        if missing:
            self.wrong.append(f"round {number}: {missing} of {len(acked)} acknowledged records cannot be read while the disk is full")
        try:
            upto = 10 * (number + 1)
            self.deleted += self.delete_records("victim", upto) == upto
        except Exception as error:
            self.wrong.append(f"round {number}: records cannot be deleted while the disk is full: {error}")
        try:
            self.admin.delete_topics([f"doomed-{number}"])[f"doomed-{number}"].result(20)
            self.topics += 1
        except Exception as error:
            self.wrong.append(f"round {number}: a topic cannot be deleted while the disk is full: {error}")
        name = f"late-{number}"
        try:
            self.create(name, 3)
            made = True
        except Exception:
            made = False
        known = name in self.admin.list_topics(timeout=10).topics
        if made and not known:
            self.wrong.append(f"round {number}: a topic was created, and is not there")


def fill_topics(case):
    """What is there before the disk is full: records to delete, topics to delete."""
    case.create("ledger", PARTITIONS)
    case.create("probes", 1)
    case.create("victim", 1)
    for number in range(case.args.rounds):
        case.create(f"doomed-{number}", 2)
    producer = ck.Producer({"bootstrap.servers": case.broker.address, "log_level": 2})
    for number in range(10 * case.args.rounds + 10):
        producer.produce("victim", b"v" * 100, partition=0)
        if number < case.args.rounds:
            producer.produce(f"doomed-{number}", b"d" * 100_000, partition=0)
    producer.flush(30)


def check(case, book):
    """Everything acknowledged is there, also after a restart."""
    book.finish()
    found = ledger.read_back(case.broker.address, "ledger", PARTITIONS)
    case.wrong += ledger.problems(book.acked, book.sent, found, {})
    case.wrong += [f"refused for good: {refused}" for refused in book.refused]
    code, _ = case.broker.stop()
    case.wrong += [f"SIGTERM: exit code {code}"] if code != 0 and not case.halted else []
    case.broker.start()
    if ledger.read_back(case.broker.address, "ledger", PARTITIONS) != found:
        case.wrong.append("a restart changed what is there")
    case.broker.stop()


def one_case(args, kind, seed):
    place = pathlib.Path(tempfile.mkdtemp(prefix="ottla-full-"))
    with Mount(kind, place, args.mb) as disk:
        case = Case(args, disk, place, seed)
        case.broker.start()
        try:
            fill_topics(case)
            book = ledger.Ledger(case.broker.address, "ledger", PARTITIONS, seed, pause_s=0.05)
            book.start()
            case.run(book)
            check(case, book)
        finally:
            if not case.ended():
                case.broker.kill()
    lost = sum(line.startswith("lost") for line in case.wrong)
    for line in case.wrong[:20]:
        print(line)
    print(f"disk={kind} mb={args.mb} rounds={args.rounds} acked={len(book.acked)} lost={lost} wrong={len(case.wrong)} "
          f"told={case.codes} ended_itself={case.halted} restarted_on_full_disk={case.restarts} "
          f"deletes_while_full={case.deleted}+{case.topics} "
          f"recovered_max_s={max(case.recovered):.2f} seed={seed} {'FAIL' if case.wrong else 'PASS'}", flush=True)
    if case.wrong:
        print(f"kept for a look: {place}")
    else:
        shutil.rmtree(place)
    return not case.wrong


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA, help="how to start the broker: {dir} and {port} are filled in")
    ap.add_argument("--port", type=int, default=None)
    ap.add_argument("--mb", type=int, default=64)
    ap.add_argument("--rounds", type=int, default=6)
    ap.add_argument("--disk", choices=("tmpfs", "ext4", "both"), default="both")
    ap.add_argument("--seed", type=int, default=None)
    args = ap.parse_args()
    seed = args.seed if args.seed is not None else random.randrange(1 << 30)
    if os.geteuid() != 0:
        print("SKIP: mounting a small disk needs root")
        return
    kinds = ("tmpfs", "ext4") if args.disk == "both" else (args.disk,)
    results = [one_case(args, kind, seed) for kind in kinds]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
