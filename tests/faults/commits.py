#!/usr/bin/env python3
"""commits.py: offsets are committed while the broker is killed with kill -9 and restarted.

Some groups commit by themselves as fast as answers come, with growing offsets; one more group subscribes, reads and commits
what it has read, by the protocol that --protocol says. After every restart the committed offset of each group must not be
below the last one that was acknowledged, nor above the last one that was sent. Prints one line of figures and PASS or FAIL;
exits 1 on FAIL.

Needs: Python 3.9+ with confluent-kafka.
"""
import argparse
import pathlib
import random
import sys
import tempfile
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers

TOPIC = "commits"
QUIET = {"log_level": 2, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20}


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA, help="how to start the broker: {dir} and {port} are filled in")
    ap.add_argument("--kills", type=int, default=10)
    ap.add_argument("--groups", type=int, default=8)
    ap.add_argument("--up-max", type=float, default=8.0,
                    help="longest time between a start and the next kill, seconds; a new group of the classic protocol waits 3 s for more members")
    ap.add_argument("--protocol", choices=("classic", "consumer"), default="classic")
    ap.add_argument("--seed", type=int, default=None)
    ap.add_argument("--dir", default=None, help="data directory; a fresh temporary one unless given")
    return ap.parse_args()


class Committer(threading.Thread):
    """One group. `sent` and `acknowledged` are offsets; -1 before the first."""

    def __init__(self, address, group):
        super().__init__(daemon=True)
        self.group, self.sent, self.acknowledged, self.count, self.over = group, -1, -1, 0, False
        self.consumer = Consumer({"bootstrap.servers": address, "group.id": group, "enable.auto.commit": False, **QUIET})

    def run(self):
        while not self.over:
            self.sent += 1
            try:
                self.consumer.commit(offsets=[TopicPartition(TOPIC, 0, self.sent)], asynchronous=False)
                self.acknowledged, self.count = self.sent, self.count + 1
            except KafkaException:
                time.sleep(0.02)
        self.consumer.close()


class Reader(threading.Thread):
    """A group that reads what is there, by the offsets that it commits."""

    def __init__(self, address, protocol):
        super().__init__(daemon=True)
        self.group, self.sent, self.acknowledged, self.count, self.over = "reader", -1, -1, 0, False
        settings = {"bootstrap.servers": address, "group.id": self.group, "enable.auto.commit": False,
                    "auto.offset.reset": "earliest", "group.protocol": protocol, **QUIET}
        if protocol == "classic":
            settings["session.timeout.ms"] = 6000
        self.consumer = Consumer(settings)

    def run(self):
        self.consumer.subscribe([TOPIC])
        while not self.over:
            message = self.consumer.poll(0.2)
            if message is None or message.error():
                continue
            self.sent = max(self.sent, message.offset() + 1)
            try:
                self.consumer.commit(message=message, asynchronous=False)
                self.acknowledged, self.count = max(self.acknowledged, message.offset() + 1), self.count + 1
            except KafkaException:
                pass
        self.consumer.close()


def committed(consumer):
    deadline = time.monotonic() + 60
    while True:
        try:
            return consumer.committed([TopicPartition(TOPIC, 0)], timeout=10)[0].offset
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"committed offsets cannot be read for a minute: {error}") from error
            time.sleep(0.05)


def wrong_with(address, members):
    """What is not as it must be, read by clients of their own."""
    wrong = []
    for member in members:
        # Noted before the question: what is acknowledged later may or may not be in the answer.
        least = member.acknowledged
        asker = Consumer({"bootstrap.servers": address, "group.id": member.group, "enable.auto.commit": False, **QUIET})
        offset = committed(asker)
        asker.close()
        most = member.sent
        offset = -1 if offset < 0 else offset
        if not least <= offset <= most:
            wrong.append(f"{member.group}: committed {offset}, acknowledged {least}, sent {most}")
    return wrong


def main():
    args = arguments()
    chance = random.Random(args.seed)
    around = pathlib.Path(args.dir or tempfile.mkdtemp(prefix="commits-"))
    around.mkdir(parents=True, exist_ok=True)
    port = brokers.free_port()
    broker = brokers.Broker(args.command, around / "data", port, around / "broker.log")
    broker.start()
    admin = AdminClient({"bootstrap.servers": broker.address, "log_level": 2})
    for future in admin.create_topics([NewTopic(TOPIC, 1, 1)]).values():
        future.result(30)
    producer = Producer({"bootstrap.servers": broker.address, "log_level": 2})
    for number in range(20_000):
        producer.produce(TOPIC, str(number))
    producer.flush(30)
    members = [Committer(broker.address, f"group-{n}") for n in range(args.groups)]
    members.append(Reader(broker.address, args.protocol))
    for member in members:
        member.start()
    began, wrong, starts = time.monotonic(), [], []
    for _ in range(args.kills):
        time.sleep(chance.uniform(0.3, args.up_max))
        broker.kill()
        starts.append(broker.start())
        wrong += wrong_with(broker.address, members)
    time.sleep(2)
    for member in members:
        member.over = True
    for member in members:
        member.join(30)
    wrong += wrong_with(broker.address, members)
    broker.stop()
    for line in wrong:
        print(line)
    commits = sum(member.count for member in members)
    print(f"kills={args.kills} protocol={args.protocol} commits_acknowledged={commits} read_and_committed={members[-1].count} "
          f"went_back={len(wrong)} start_s_max={max(starts):.2f} seconds={time.monotonic() - began:.0f}")
    good = not wrong and all(member.count > 0 for member in members)
    print("PASS" if good else "FAIL")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
