#!/usr/bin/env python3
"""migration.py: the members of a group change their protocol one by one while records are produced, and change back.

Three consumers read one topic. Each in turn is closed and comes back by the other protocol (classic to consumer, KIP-848), until all
have changed; then all change back; with --kills the broker is killed with kill -9 in the middle of each round. No partition may ever
have two owners, as the clients themselves are told, and every record that was acknowledged must be read. Prints one line of
figures and PASS or FAIL; exits 1 on FAIL.

Needs: Python 3.9+ with confluent-kafka.
"""
import argparse
import pathlib
import sys
import tempfile
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers

TOPIC, GROUP, PARTITIONS = "migrating", "movers", 6
QUIET = {"log_level": 2, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20}


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA, help="how to start the broker: {dir} and {port} are filled in")
    ap.add_argument("--strategy", choices=("range", "cooperative-sticky"), default="range",
                    help="how members of the classic protocol assign; Kafka and Ottla refuse the change (GROUP_ID_NOT_FOUND) once "
                         "librdkafka's cooperative-sticky has added bytes of its own to an assignment")
    ap.add_argument("--kills", action="store_true", help="kill the broker in the middle of each round")
    ap.add_argument("--rounds", type=int, default=2, help="how often all change to the other protocol")
    ap.add_argument("--patience", type=float, default=90, help="how long a round may take to come to rest, seconds")
    ap.add_argument("--dir", default=None, help="data directory; a fresh temporary one unless given")
    return ap.parse_args()


class Owners:
    """Who owns which partition, as the members are told."""

    def __init__(self):
        self.lock, self.of, self.wrong, self.moves = threading.Lock(), {}, [], 0

    def assigned(self, who, partitions):
        with self.lock:
            for partition in partitions:
                before = self.of.get(partition.partition)
                if before not in (None, who):
                    self.wrong.append(f"partition {partition.partition} is {before}'s and {who}'s")
                self.of[partition.partition] = who
                self.moves += 1

    def revoked(self, who, partitions):
        with self.lock:
            for partition in partitions:
                if self.of.get(partition.partition) == who:
                    del self.of[partition.partition]

    def all_owned_by(self, names):
        with self.lock:
            return len(self.of) == PARTITIONS and set(self.of.values()) == set(names)


class Member(threading.Thread):
    """One consumer, from its start to its close."""

    def __init__(self, name, address, protocol, strategy, owners, seen):
        super().__init__(daemon=True)
        self.label, self.owners, self.seen, self.over, self.read = name, owners, seen, False, 0
        settings = {"bootstrap.servers": address, "group.id": GROUP, "client.id": name, "enable.auto.commit": False,
                    "auto.offset.reset": "earliest", "group.protocol": protocol, **QUIET}
        if protocol == "classic":
            settings |= {"session.timeout.ms": 10000, "heartbeat.interval.ms": 500, "partition.assignment.strategy": strategy}
        self.consumer = Consumer(settings)

    def commit(self):
        try:
            self.consumer.commit(asynchronous=False)
        except KafkaException:
            pass

    def revoke(self, _, partitions):
        self.commit()
        self.owners.revoked(self.label, partitions)

    def run(self):
        self.consumer.subscribe([TOPIC], on_assign=lambda _, some: self.owners.assigned(self.label, some),
                                on_revoke=self.revoke, on_lost=lambda _, some: self.owners.revoked(self.label, some))
        while not self.over:
            message = self.consumer.poll(0.1)
            if message is not None and not message.error():
                self.seen.setdefault(message.partition(), {}).setdefault(message.offset(), []).append(self.label)
                self.read += 1
                if self.read % 200 == 0:
                    self.commit()
        self.commit()
        self.consumer.close()
        with self.owners.lock:
            self.owners.of = {partition: who for partition, who in self.owners.of.items() if who != self.label}

    def stop(self):
        self.over = True
        self.join(60)


class Writer(threading.Thread):
    """Produces all the time; `acknowledged` are partitions and offsets."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.acknowledged, self.over = [], False
        self.producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 5, **QUIET})

    def done(self, error, message):
        if error is None:
            self.acknowledged.append((message.partition(), message.offset()))

    def run(self):
        number = 0
        while not self.over:
            self.producer.produce(TOPIC, str(number), partition=number % PARTITIONS, on_delivery=self.done)
            self.producer.poll(0)
            number += 1
            time.sleep(0.002)
        self.producer.flush(60)


def eventually(what, holds, patience_s):
    deadline = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > deadline:
            return [f"not within {patience_s} s: {what}"]
        time.sleep(0.05)
    return []


def kind_of(admin):
    """The type of the group, as the broker lists it."""
    for group in admin.list_consumer_groups(request_timeout=10).result().valid:
        if group.group_id == GROUP:
            return str(group.type).rsplit(".", 1)[-1].lower()
    return None


def rounds(args, broker, admin, owners, seen, figures):
    """Yields what is wrong."""
    protocols = ("classic", "consumer")
    start = lambda name, protocol: Member(name, broker.address, protocol, args.strategy, owners, seen)
    members = [start(f"0-{n}", protocols[0]) for n in range(3)]
    for member in members:
        member.start()
    yield from eventually("three classic members", lambda: owners.all_owned_by(m.label for m in members), args.patience)
    for turn in range(1, args.rounds + 1):
        protocol = protocols[turn % 2]
        for at in range(3):
            members[at].stop()
            members[at] = start(f"{turn}-{at}", protocol)
            members[at].start()
            if args.kills and at == 1:
                time.sleep(0.7)
                broker.kill()
                figures["starts"].append(broker.start())
            began = time.monotonic()
            what = f"round {turn}, member {at}: all three own something"
            yield from eventually(what, lambda: owners.all_owned_by(m.label for m in members), args.patience)
            figures["rests"].append(time.monotonic() - began)
        kind = kind_of(admin)
        if kind != protocol:
            yield f"after round {turn} the group is {kind}, all members speak {protocol}"
    figures["members"] = members


def main():
    args = arguments()
    around = pathlib.Path(args.dir or tempfile.mkdtemp(prefix="migration-"))
    around.mkdir(parents=True, exist_ok=True)
    broker = brokers.Broker(args.command, around / "data", brokers.free_port(), around / "broker.log")
    broker.start()
    admin = AdminClient({"bootstrap.servers": broker.address, "log_level": 2})
    for future in admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)]).values():
        future.result(30)
    owners, seen, figures = Owners(), {}, {"starts": [], "rests": [], "members": []}
    writer = Writer(broker.address)
    writer.start()
    wrong = list(rounds(args, broker, admin, owners, seen, figures))
    writer.over = True
    writer.join(90)
    missing = lambda: [(p, o) for p, o in writer.acknowledged if o not in seen.get(p, {})]
    wrong += [f"{note}, {len(missing())} records" for note in eventually("everything is read", lambda: not missing(), 60)]
    for member in figures["members"]:
        member.stop()
    again = sum(len(who) - 1 for offsets in seen.values() for who in offsets.values())
    broker.kill()
    wrong += owners.wrong
    print(f"{args.strategy}: {args.rounds} rounds of 3 members, {len(figures['starts'])} kills, {len(writer.acknowledged)} records, "
          f"{again} read again, {owners.moves} moves, at rest after {max(figures['rests'], default=0):.1f} s at most; "
          f"{len(owners.wrong)} times two owners", *wrong[:10], sep="\n  ")
    print("FAIL" if wrong else "PASS")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
