#!/usr/bin/env python3
"""sync_faults.py: one fsync fails, or every fsync takes a second.

A shim of a few lines (sync_shim.c, compiled here, LD_PRELOAD) stands between the broker and the kernel. *fail*: under load the next sync of
a journal file, of a segment, of the metadata fails with EIO, once. From then on nothing may be acknowledged (the kernel may have dropped the
pages and will say nothing the second time); a restart serves again, with everything that was acknowledged. *slow*: each sync
takes a second: group commit has to keep records flowing; and with only the syncs of segments slow, an acknowledgement must not wait for them.

Needs a C compiler and Python with confluent-kafka; says SKIP without a compiler.
"""
import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import confluent_kafka as ck

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import broker as brokers
import kill_restart
import ledger

PARTITIONS = 6
TARGETS = ("journal=.journal", "segment=.log", "metadata=/facts/")


def shim(place):
    """The compiled shim; SKIP where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        print("SKIP: no C compiler, so no shim between the broker and its fsync")
        sys.exit(0)
    library = place / "sync_shim.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, HERE / "sync_shim.c", "-ldl"], check=True)
    return library


class Paced(threading.Thread):
    """One record at a time, each waited for: how long an acknowledgement takes."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.took, self.stopping = address, [], threading.Event()

    def run(self):
        producer = ck.Producer({"bootstrap.servers": self.address, "acks": "all", "linger.ms": 0, "log_level": 2})
        while not self.stopping.is_set():
            began = time.monotonic()
            producer.produce("ledger", b"", partition=PARTITIONS)  # a partition of its own, beside the ledger's
            producer.flush(30)
            self.took.append(time.monotonic() - began)

    def finish(self):
        self.stopping.set()
        self.join(40)
        self.took.sort()
        return self.took


class Case:
    """One broker behind the shim."""

    def __init__(self, args, library, seed):
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="ottla-sync-"))
        self.control = self.place / "fault"
        self.broker = brokers.Broker(args.command, self.place / "data", args.port or brokers.free_port(), self.place / "broker.log")
        self.shimmed = {"LD_PRELOAD": str(library), "SYNC_FAULT": str(self.control)}
        self.broker.start(env=self.shimmed)
        kill_restart.create_topic(self.broker.address, "ledger", PARTITIONS + 1)
        self.book = ledger.Ledger(self.broker.address, "ledger", PARTITIONS, seed)
        self.book.start()

    def arm(self, line):
        beside = self.control.with_suffix(".new")
        beside.write_text(line + "\n")
        beside.rename(self.control)

    def acked(self):
        with self.book.lock:
            return dict(self.book.acked)

    def end(self):
        if self.broker.process.poll() is None:
            self.broker.kill()


def refusal(address):
    """What a producer that does not try again is told."""
    told = []
    producer = ck.Producer({"bootstrap.servers": address, "retries": 0, "message.timeout.ms": 5000, "log_level": 2})
    producer.produce("ledger", b"", partition=PARTITIONS, on_delivery=lambda error, _: told.append(error))
    producer.flush(10)
    return told[0].name() if told and told[0] else "nothing"


def fails_once(args, library, target, seed):
    """Returns the figure line's fields and what is wrong."""
    name, part = target.split("=")
    case, wrong = Case(args, library, seed), []
    try:
        time.sleep(1)
        before = len(case.acked())
        case.arm(f"fail {part}")
        fired = case.control.with_suffix(".fired")
        began = time.monotonic()
        while not fired.exists() and time.monotonic() - began < 30:
            time.sleep(0.001)
        if not fired.exists():
            return f"fail={name} fired=no", [f"{name}: no sync of it in 30 s, nothing was tried"]
        time.sleep(0.5)  # answers that were on their way
        at_failure = case.acked()
        time.sleep(3)
        after = len(case.acked()) - len(at_failure)
        ended = case.broker.process.poll()
        if after:
            wrong.append(f"{name}: {after} records were acknowledged after the sync had failed")
        if not before:
            wrong.append("nothing was acknowledged before")
        code = None if ended is not None else refusal(case.broker.address)
        if ended is None:
            case.broker.kill()
        case.broker.start()
        case.book.finish()
        found = ledger.read_back(case.broker.address, "ledger", PARTITIONS)
        wrong += ledger.problems(case.book.acked, case.book.sent, found, {})
        state = f"ended={ended}" if ended is not None else f"told={code}"
        return f"fail={name} acked={len(case.book.acked)} acked_after_failed_sync={after} {state}", wrong
    finally:
        case.end()


def slow(args, library, part, seconds, seed):
    """Acknowledged records a second and one record's p50 and p99, undisturbed and with slow syncs."""
    case, wrong, figures = Case(args, library, seed), [], []
    try:
        time.sleep(1)
        for line in (None, f"slow 1000 {part}"):
            if line:
                case.arm(line)
                time.sleep(1.5)
            paced, before, began = Paced(case.broker.address), len(case.acked()), time.monotonic()
            paced.start()
            time.sleep(seconds)
            rate = (len(case.acked()) - before) / (time.monotonic() - began)
            took = paced.finish()
            figures.append((rate, took[len(took) // 2] * 1000, took[-1 - len(took) // 100] * 1000))
        case.control.unlink()
        case.book.finish()
        found = ledger.read_back(case.broker.address, "ledger", PARTITIONS)
        wrong += ledger.problems(case.book.acked, case.book.sent, found, {})
        (fast, fast50, fast99), (rate, p50, p99) = figures
        if rate < 100:
            wrong.append(f"slow syncs of {part or 'everything'} leave {rate:.0f} records a second")
        return (f"slow_1s={part or 'every sync'} acks_per_s={fast:.0f}->{rate:.0f} "
                f"one_record_p50_ms={fast50:.1f}->{p50:.0f} p99_ms={fast99:.1f}->{p99:.0f}"), wrong
    finally:
        case.end()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA + " --set log.flush.offset.checkpoint.interval.ms=500",
                    help="how to start the broker: {dir} and {port} are filled in. Segments must be synced every now and then")
    ap.add_argument("--port", type=int, default=None)
    ap.add_argument("--fail", nargs="*", default=TARGETS, metavar="NAME=SUBSTRING", help="whose sync fails: a part of the path")
    ap.add_argument("--slow", nargs="*", default=("", ".log"), metavar="SUBSTRING", help="whose syncs are slow; '' is everybody's")
    ap.add_argument("--seconds", type=float, default=8)
    ap.add_argument("--seed", type=int, default=None)
    args = ap.parse_args()
    seed = args.seed if args.seed is not None else random.randrange(1 << 30)
    top = pathlib.Path(tempfile.mkdtemp(prefix="ottla-shim-"))
    library, bad = shim(top), 0
    runs = [lambda t=t: fails_once(args, library, t, seed) for t in args.fail]
    runs += [lambda p=p: slow(args, library, p, args.seconds, seed) for p in args.slow]
    for run in runs:
        line, wrong = run()
        for one in wrong[:10]:
            print(one)
        bad += bool(wrong)
        print(f"{line} wrong={len(wrong)} seed={seed} {'FAIL' if wrong else 'PASS'}", flush=True)
    shutil.rmtree(top)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
