#!/usr/bin/env python3
"""panic_partition.py: verified load while one partition's actor panics again and again.

The broker must be built with panics on demand (`just panic`). SIGUSR2 makes the actor of
partition 0 of the topic `ledger` panic. That partition must take records again within a second, the others must never
stop, and every acknowledged record must be there once, in order. Prints one line of figures and PASS or FAIL; exits 1
on FAIL.

RUST_BACKTRACE is turned off: with it the runtime writes out the stack of a panic on the thread that the neighbours share.

Needs: Python 3.9+ with confluent-kafka.
"""
import argparse
import collections
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers
import ledger

VICTIM = 0


class TimedLedger(ledger.Ledger):
    """Remembers when each partition acknowledged."""

    def __init__(self, *args):
        self.times = collections.defaultdict(list)
        super().__init__(*args)

    def _delivered(self, error, message):
        super()._delivered(error, message)
        if error is None:
            with self.lock:
                self.times[message.partition()].append(time.monotonic())


def longest_gap(times, since, until):
    """The longest time between two acknowledgements; the edges of the window count as one."""
    inside = [since] + sorted(t for t in times if since < t < until) + [until]
    return max(after - before for before, after in zip(inside, inside[1:]))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA, help="how to start the broker: {dir} and {port} are filled in")
    # A partition that panics more often than the coordinator allows is given up, as it should be.
    ap.add_argument("--panics", type=int, default=3)
    ap.add_argument("--pause", type=float, default=3.0, help="seconds between panics")
    ap.add_argument("--partitions", type=int, default=6)
    ap.add_argument("--port", type=int, default=None)
    args = ap.parse_args()
    os.environ["RUST_BACKTRACE"] = "0"
    place = pathlib.Path(tempfile.mkdtemp(prefix="ottla-panic-"))
    broker = brokers.Broker(args.command, place / "data", args.port or brokers.free_port(), place / "broker.log")
    broker.start()
    admin = AdminClient({"bootstrap.servers": broker.address, "log_level": 2})
    for future in admin.create_topics([NewTopic("ledger", args.partitions, 1)]).values():
        future.result(30)
    book = TimedLedger(broker.address, "ledger", args.partitions, 1)
    tail = ledger.Tail(broker.address, "ledger", args.partitions)
    book.start()
    while len(book.times) < args.partitions:
        time.sleep(0.05)
    # As long without a panic as with them: what the machine and the client themselves make of it.
    calm = time.monotonic()
    time.sleep(args.panics * args.pause)
    began, windows = time.monotonic(), []
    for _ in range(args.panics):
        at = time.monotonic()
        os.kill(broker.process.pid, signal.SIGUSR2)
        time.sleep(args.pause)
        windows.append((at, time.monotonic()))
    ended = time.monotonic()
    book.finish()
    tail.finish()
    again = [longest_gap(book.times[VICTIM], *window) for window in windows]
    neighbours = [p for p in range(args.partitions) if p != VICTIM]
    others = max(longest_gap(book.times[p], began, ended) for p in neighbours)
    before = max(longest_gap(book.times[p], calm, began) for p in neighbours)
    found = ledger.read_back(broker.address, "ledger", args.partitions)
    wrong = ledger.problems(book.acked, book.sent, found, tail.seen)
    wrong += [f"refused: {r}" for r in book.refused] + [f"acknowledged twice: {d}" for d in book.doubled]
    wrong += [f"two values at {key}" for key in tail.wrong]
    panics = (place / "broker.log").read_bytes().count(b"provoked")
    if panics < args.panics:
        wrong.append(f"{args.panics} panics were asked for, the log tells of {panics}")
    if max(again) > 1:
        wrong.append(f"the partition took {max(again):.2f} s to answer again")
    if others > 1:
        wrong.append(f"another partition stood still for {others:.2f} s")
    code, took = broker.stop()
    if code != 0:
        wrong.append(f"SIGTERM: exit code {code}")
    for line in wrong[:20]:
        print(line)
    print(f"panics={args.panics} acked={len(book.acked)} there={sum(map(len, found.values()))} followed={len(tail.seen)} "
          f"wrong={len(wrong)} again_max_ms={max(again) * 1000:.0f} others_gap_max_ms={others * 1000:.0f} "
          f"others_gap_before_ms={before * 1000:.0f} "
          f"stop_s={took:.2f} {'FAIL' if wrong else 'PASS'}")
    if wrong:
        print(f"kept for a look: {place}")
        sys.exit(1)
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
