#!/usr/bin/env python3
"""verifiable.py: Apache Kafka's own verifiable producer and consumers, by either group protocol, while the broker is killed with `kill -9`.

Two verifiable consumers of one group read what a verifiable producer writes. What was acknowledged must have been read by one of them,
at the offset of the acknowledgement, and with the same value; what was read must have been sent; and in the end the group's committed
offsets stand at the end of every partition. What is read twice is counted: after a kill that may be, without one it may not.

`--tool` is a command that runs one of Kafka's tools by its name (verifiable-producer, verifiable-consumer). Needs confluent-kafka.
"""
import argparse
import json
import pathlib
import random
import shlex
import subprocess
import sys
import tempfile
import time

import confluent_kafka as ck

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "faults"))
import broker as brokers
import kill_restart

TOPIC, GROUP, PARTITIONS = "verified", "verifiers", 4


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA, help="how to start the broker: {dir} and {port} are filled in")
    ap.add_argument("--tool", required=True)
    ap.add_argument("--protocol", choices=("classic", "consumer"), default="classic")
    ap.add_argument("--records", type=int, default=15_000)
    ap.add_argument("--rate", type=int, default=500)
    ap.add_argument("--kills", type=int, default=3)
    return ap.parse_args()


def said(path, name):
    """The events of one name that a tool has printed so far."""
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("{"):
            try:
                event = json.loads(line)
            except ValueError:
                continue  # The line that it is writing.
            if event.get("name") == name:
                yield event


def reached(condition, seconds):
    """Whether it comes true within so long."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


class Work:
    """The producer and the consumers, and what they say."""

    def __init__(self, args, place, address):
        self.place, self.apps = place, []
        at = ["--bootstrap-server", address, "--topic", TOPIC]
        for number in (1, 2):
            self.run(args, f"consumer-{number}", ["verifiable-consumer", *at, "--group-id", GROUP, "--group-protocol", args.protocol, "--verbose"])
        self.producer = self.run(args, "producer", ["verifiable-producer", *at, "--max-messages", args.records, "--throughput", args.rate, "--acks", -1])

    def run(self, args, name, words):
        argv = [*shlex.split(args.tool), *map(str, words)]
        app = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=open(self.place / f"{name}.json", "wb"), stderr=open(self.place / f"{name}.err", "wb"))
        self.apps.append(app)
        return app

    def acked(self):
        return {(e["partition"], e["offset"]): e["value"] for e in said(self.place / "producer.json", "producer_send_success")}

    def read(self):
        """Every record that a consumer says it has read, as (partition, offset), value."""
        files = [self.place / f"consumer-{number}.json" for number in (1, 2)]
        return [((e["partition"], e["offset"]), e["value"]) for path in files for e in said(path, "record_data")]

    def end(self):
        for app in self.apps:
            if app.poll() is None:
                app.terminate()
                app.wait(30)


def committed(address):
    """Per partition, the group's committed offset, 0 where there is none, and the end of the log."""
    consumer = ck.Consumer({"bootstrap.servers": address, "group.id": GROUP})
    parts = [ck.TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
    found = [(max(part.offset, 0), consumer.get_watermark_offsets(part, timeout=10)[1]) for part in consumer.committed(parts, timeout=10)]
    consumer.close()
    return found


def judge(work, args, address):
    acked, read = work.acked(), work.read()
    by_place = dict(read)
    wrong = [f"acknowledged and not read, or read as another: {place}" for place, value in acked.items() if by_place.get(place) != value]
    wrong += [f"read and never sent: {value}" for value in set(by_place.values()) - {str(number) for number in range(args.records)}]
    wrong += [f"committed {at} of {end} in a partition" for at, end in committed(address) if at != end]
    twice = len(read) - len(by_place)
    if not args.kills and twice:
        wrong.append(f"{twice} records read twice, without any kill")
    if not acked:
        wrong.append("nothing was acknowledged, so nothing was checked")
    return len(acked), len(by_place), twice, wrong


def main():
    args, chance = arguments(), random.Random(7)
    place = pathlib.Path(tempfile.mkdtemp(prefix="ottla-verifiable-"))
    broker = brokers.Broker(args.command, place / "data", brokers.free_port(), place / "broker.log")
    broker.start()
    kill_restart.create_topic(broker.address, TOPIC, PARTITIONS)
    work = Work(args, place, broker.address)
    problems = []
    try:
        if not reached(lambda: len(work.acked()) > 500 and work.read(), 90):
            raise SystemExit(f"FAIL: nothing is written, or nothing read; what the tools say: {place}")
        for _ in range(args.kills):
            time.sleep(chance.uniform(2, 6))
            broker.kill()
            broker.start()
        if not reached(lambda: work.producer.poll() is not None, 120 + 2 * args.records / args.rate):
            problems.append("the producer has not ended")
        if not reached(lambda: set(work.acked()) <= {place for place, _ in work.read()}, 120):
            problems.append("not all that was acknowledged has been read")
        reached(lambda: all(at == end for at, end in committed(broker.address)), 30)
        acked, read, twice, wrong = judge(work, args, broker.address)
        problems += wrong
    finally:
        work.end()
        broker.kill()
    print(f"protocol={args.protocol} kills={args.kills} acked={acked} read={read} read_twice={twice} wrong={len(problems)} "
          + ("FAIL " + "; ".join(problems[:5]) + f"; {place}" if problems else "PASS"))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
