#!/usr/bin/env python3
"""counts.py: Kafka Streams counts words exactly once, while the broker is killed with kill -9 and restarted.

Counts.java reads lines, repartitions their words, keeps counts in a changelog topic and writes every new count, in transactions
(exactly_once_v2). Read committed, each word's counts must be 1, 2, 3, ... to the number of times it was written, none twice, none left out.

Needs a JDK, Python with confluent-kafka, and --class-path with kafka-streams and its dependencies (from Maven).
"""
import argparse
import collections
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import confluent_kafka as ck

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "faults"))
import broker as brokers
import kill_restart

PARTITIONS = 4
WORDS = [f"word{number}" for number in range(200)]


def counts_read(address, patience_s, expected):
    """Every committed count of every word, in order, until each has come to its last one or nothing moves any more."""
    consumer = ck.Consumer({"bootstrap.servers": address, "group.id": "check", "isolation.level": "read_committed", "enable.auto.commit": False,
                            "auto.offset.reset": "earliest", "log_level": 2})
    consumer.assign([ck.TopicPartition("counts", partition, 0) for partition in range(PARTITIONS)])
    seen, total, moved = collections.defaultdict(list), 0, time.monotonic()
    while total < sum(expected.values()) and time.monotonic() - moved < patience_s:
        for message in consumer.consume(1000, 0.2):
            if message.error() is None:
                seen[message.key().decode()].append(int(message.value()))
                total += 1
                moved = time.monotonic()
    # What comes behind the last count would be one too many.
    for message in consumer.consume(1000, 3):
        if message.error() is None:
            seen[message.key().decode()].append(int(message.value()))
    consumer.close()
    return seen


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA + " --set num.partitions=4", help="how to start the broker: {dir} and {port} are filled in")
    ap.add_argument("--class-path", required=True, help="jars of kafka-streams")
    ap.add_argument("--kills", type=int, default=5)
    ap.add_argument("--lines", type=int, default=20_000)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    rng, place, wrong = random.Random(args.seed), pathlib.Path(tempfile.mkdtemp(prefix="ottla-streams-")), []
    broker = brokers.Broker(args.command, place / "data", brokers.free_port(), place / "broker.log")
    broker.start()
    for topic in ("lines", "counts"):
        kill_restart.create_topic(broker.address, topic, PARTITIONS)
    log = open(place / "streams.log", "w")
    app = subprocess.Popen(["java", "-Xmx384m", "-cp", args.class_path, str(HERE / "Counts.java"), broker.address, str(place / "state")],
                           stdout=log, stderr=log)
    producer = ck.Producer({"bootstrap.servers": broker.address, "enable.idempotence": True, "message.timeout.ms": 0, "log_level": 2})
    expected, told = collections.Counter(), collections.Counter()
    kill_every = max(1, args.lines // (args.kills + 1))
    try:
        for number in range(args.lines):
            line = rng.choices(WORDS, k=5)
            expected.update(line)
            producer.produce("lines", " ".join(line), partition=number % PARTITIONS, on_delivery=lambda error, _: told.update([error is None]))
            producer.poll(0)
            if number % 100 == 0:
                time.sleep(args.kills * 8 / (args.lines / 100))
            if number and number % kill_every == 0:
                broker.kill()
                broker.start()
        producer.flush(120)
        if told[True] != args.lines:
            wrong.append(f"{told[True]} of {args.lines} lines were acknowledged")
        began = time.monotonic()
        seen = counts_read(broker.address, 90, expected)
        took = time.monotonic() - began
    finally:
        app.terminate()
        app.wait(60)
    for word in sorted(expected):
        if seen[word] != list(range(1, expected[word] + 1)):
            first = next((at for at, (a, b) in enumerate(zip(seen[word], range(1, expected[word] + 1))) if a != b), len(seen[word]))
            wrong.append(f"{word}: {len(seen[word])} counts for {expected[word]}, first wrong one at {first}: {seen[word][max(0, first - 2):first + 3]}")
    wrong += [f"{word} was never written" for word in seen if word not in expected]
    broker.stop()
    for line in wrong[:20]:
        print(line)
    print(f"lines={args.lines} words={sum(expected.values())} counted={sum(map(len, seen.values()))} kills={args.kills} "
          f"caught_up_s={took:.1f} wrong={len(wrong)} {'FAIL' if wrong else 'PASS'}")
    if wrong:
        print(f"kept for a look: {place}")
        sys.exit(1)
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
