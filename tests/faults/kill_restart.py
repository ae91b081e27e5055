#!/usr/bin/env python3
"""kill_restart.py: verified load while the broker is killed with kill -9 and restarted.

Idempotent librdkafka producers, one per codec, write numbered records to several partitions, a few of them large; a consumer follows;
the broker is killed at random moments and restarted. At the end every acknowledged record must be there once, in
order, and nothing else. Prints one line of figures and PASS or FAIL; exits 1 on FAIL.

Needs: Python 3.9+ with confluent-kafka. With --verifiable-producer CMD (Kafka's own tool; {address} and {topic}
are filled in) that producer writes to a topic of its own at the same time and its acknowledgements are checked too.
"""
import argparse
import json
import pathlib
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers
import ledger


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA, help="how to start the broker: {dir} and {port} are filled in")
    ap.add_argument("--seconds", type=float, default=60)
    ap.add_argument("--kills", type=int, default=12, help="at least this many, however long it takes")
    ap.add_argument("--up-max", type=float, default=5.0, help="longest time between a start and the next kill, seconds")
    ap.add_argument("--partitions", type=int, default=6)
    ap.add_argument("--large-every", type=int, default=200, help="one in so many uncompressed records has 100 KB; 0: none")
    ap.add_argument("--seed", type=int, default=None)
    ap.add_argument("--dir", default=None, help="data directory; a fresh temporary one unless given")
    ap.add_argument("--verifiable-producer", default=None)
    return ap.parse_args()


def create_topic(address, topic, partitions):
    admin = AdminClient({"bootstrap.servers": address, "log_level": 2})
    for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result(30)


def verifiable_problems(output, address, topic):
    """Checks the lines of Kafka's verifiable producer against what is in its topic."""
    acked = []
    for line in output.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("name") == "producer_send_success":
            acked.append((event["partition"], event["offset"], event["value"]))
    there = {(p, offset): value.decode() for p, records in ledger.read_back(address, topic, 1).items() for offset, value in records}
    wrong = [f"verifiable: {a} is not there" for a in acked if there.get((a[0], a[1])) != a[2]]
    values = [value for _, value in sorted(there.items())]
    if len(set(values)) != len(values):
        wrong.append("verifiable: a value is there twice")
    return len(acked), wrong


def kill_and_restart(broker, args, rng):
    """The faults themselves; returns the seconds each restart took until the broker answered."""
    ready, end = [], time.monotonic() + args.seconds
    while time.monotonic() < end or len(ready) < args.kills:
        time.sleep(rng.uniform(0.1, args.up_max))
        broker.kill()
        ready.append(broker.start())
    return ready


def main():
    args = arguments()
    seed = args.seed if args.seed is not None else random.randrange(1 << 30)
    rng = random.Random(seed)
    place = pathlib.Path(args.dir or tempfile.mkdtemp(prefix="ottla-kill-"))
    broker = brokers.Broker(args.command, place / "data", brokers.free_port(), place / "broker.log")
    broker.start()
    create_topic(broker.address, "ledger", args.partitions)
    book = ledger.Ledger(broker.address, "ledger", args.partitions, seed, large_every=args.large_every)
    tail = ledger.Tail(broker.address, "ledger", args.partitions)
    outside = None
    if args.verifiable_producer:
        create_topic(broker.address, "verifiable", 1)
        command = args.verifiable_producer.format(address=broker.address, topic="verifiable")
        # Into a file: a pipe that nobody reads would fill, and stop the producer that is to be watched.
        told = open(place / "verifiable.out", "w+")
        outside = subprocess.Popen(shlex.split(command), stdout=told, text=True)
    book.start()
    ready = kill_and_restart(broker, args, rng)
    book.finish()
    tail.finish()
    wrong, outside_acked = [], 0
    if outside:
        outside.terminate()
        outside.wait(120)
        told.seek(0)
        outside_acked, wrong = verifiable_problems(told.read(), broker.address, "verifiable")
    found = ledger.read_back(broker.address, "ledger", args.partitions)
    wrong += ledger.problems(book.acked, book.sent, found, tail.seen) + ledger.not_there(book.unplaced, found)
    wrong += [f"refused: {r}" for r in book.refused] + [f"acknowledged twice: {d}" for d in book.doubled]
    wrong += [f"two values at {key}" for key in tail.wrong]
    wrong += [f"a producer had to begin anew: {line}" for line in book.begun_anew.said]
    if not book.acked:
        wrong.append("nothing was acknowledged, so nothing was checked")
    code, took = broker.stop()
    if code != 0:
        wrong.append(f"SIGTERM: exit code {code}")
    for line in wrong[:20]:
        print(line)
    print(f"kills={len(ready)} acked={len(book.acked)} verifiable_acked={outside_acked} there={sum(map(len, found.values()))} "
          f"followed={len(tail.seen)} wrong={len(wrong)} ready_p50_ms={statistics.median(ready) * 1000:.0f} "
          f"ready_max_ms={max(ready) * 1000:.0f} stop_s={took:.2f} seed={seed} {'FAIL' if wrong else 'PASS'}")
    if wrong:
        print(f"kept for a look: {place}")
        sys.exit(1)
    if not args.dir:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
