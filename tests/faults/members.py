#!/usr/bin/env python3
"""members.py: a group of a thousand members of the consumer protocol (KIP-848) comes to rest, and idles.

All members join, and send heartbeats in turn, saying what they own, until each partition has one owner and nobody has a step left
to take; half of them leave, and the rest comes to rest again. Then all only say that they live, and the broker's CPU time is measured. The members
are rows in this script: their requests are bytes on a few sockets. Prints one line of figures and PASS or FAIL; exits 1 on FAIL.

Needs: Python 3.9+ and Linux (/proc).
"""
import argparse
import os
import pathlib
import struct
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers
import raw

GROUP, TOPIC, HEARTBEAT, FIND, PIPELINE = "crowd", "many", 68, 10, 100


def compact(value):
    return b"\0" if value is None else uvarint(len(value.encode()) + 1) + value.encode()


def uvarint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


class Read:
    """Fields of an answer, one behind the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def uvarint(self):
        n = shift = 0
        while True:
            byte = self.take(1)[0]
            n |= (byte & 0x7F) << shift
            if byte < 0x80:
                return n
            shift += 7

    def text(self):
        length = self.uvarint()
        return self.take(length - 1).decode() if length else None

    def skip_tags(self):
        for _ in range(self.uvarint()):
            self.uvarint()
            self.take(self.uvarint())


class Member:
    """One member: its epoch, what it owns, and whether it has to say so."""

    def __init__(self, number):
        self.id, self.epoch, self.owned, self.news, self.topic = f"member-{number:05}", 0, set(), True, None

    def request(self, correlation_id, leaves=False):
        body = compact(GROUP) + compact(self.id) + struct.pack(">i", -1 if leaves else self.epoch) + b"\0\0"
        joins = self.epoch == 0 and not leaves
        body += struct.pack(">i", 60_000 if joins else -1) + (uvarint(2) + compact(TOPIC) if joins else b"\0") + b"\0\0"
        if joins:
            body += uvarint(1)
        elif self.news and self.topic:
            indexes = sorted(self.owned)
            body += uvarint(2) + self.topic + uvarint(len(indexes) + 1) + b"".join(struct.pack(">i", i) for i in indexes) + b"\0"
        else:
            body += b"\0"
        head = struct.pack(">hhi", HEARTBEAT, 1, correlation_id) + raw.text("members") + b"\0"
        return struct.pack(">i", len(head) + len(body) + 1) + head + body + b"\0"

    def take(self, answer):
        answer.skip_tags()
        answer.number(">i")
        error, why = answer.number(">h"), answer.text()
        if error:
            raise SystemExit(f"{self.id} in epoch {self.epoch}: error {error}, {why}")
        answer.text()
        epoch = answer.number(">i")
        answer.number(">i")
        before, self.news = (self.epoch, self.owned), False
        self.epoch = epoch
        if answer.number(">b") >= 0:
            self.owned = set()
            for _ in range(answer.uvarint() - 1):
                self.topic = answer.take(16)
                self.owned |= {answer.number(">i") for _ in range(answer.uvarint() - 1)}
                answer.skip_tags()
            # What it lost it has let go of when it says so.
            self.news = True
        return before != (self.epoch, self.owned)


class Line:
    """A connection with many requests under way."""

    def __init__(self, port):
        self.socket = raw.socket.create_connection(("127.0.0.1", port), 60)
        self.socket.settimeout(60)
        self.bytes = b""

    def answer(self):
        while len(self.bytes) < 4 or len(self.bytes) < 4 + struct.unpack(">i", self.bytes[:4])[0]:
            more = self.socket.recv(1 << 18)
            if not more:
                raise SystemExit("the broker has closed the connection")
            self.bytes += more
        end = 4 + struct.unpack(">i", self.bytes[:4])[0]
        answer, self.bytes = Read(self.bytes[8:end]), self.bytes[end:]
        return answer

    def beat(self, members, leaves=False):
        """A heartbeat of each; how many have moved."""
        moved = 0
        for at in range(0, len(members), PIPELINE):
            some = members[at:at + PIPELINE]
            self.socket.sendall(b"".join(member.request(n, leaves) for n, member in enumerate(some)))
            answers = [self.answer() for _ in some]
            moved += 0 if leaves else sum(member.take(answer) for member, answer in zip(some, answers))
        return moved


def settle(line, members, partitions):
    """Heartbeats until nobody moves and all is owned: how many rounds."""
    for turn in range(1, 60):
        moved = line.beat(members)
        owned = [index for member in members for index in member.owned]
        if len(owned) != len(set(owned)):
            raise SystemExit("a partition has two owners")
        if not moved and len(set(owned)) == partitions and len({member.epoch for member in members}) == 1:
            return turn
    raise SystemExit(f"not at rest after {turn} rounds: {len(set(owned))} of {partitions} partitions are owned")


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for_coordinator(port):
    line, deadline = Line(port), time.monotonic() + 30
    while time.monotonic() < deadline:
        line.socket.sendall(raw.request(FIND, raw.text(GROUP) + b"\0", version=1))
        answer = line.answer()
        answer.number(">i")
        if answer.number(">h") == 0:
            return
        time.sleep(0.05)
    raise SystemExit("no coordinator within 30 s")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA, help="how to start the broker: {dir} and {port} are filled in")
    ap.add_argument("--members", type=int, default=1000)
    ap.add_argument("--partitions", type=int, default=1000)
    ap.add_argument("--idle-rounds", type=int, default=30, help="heartbeats of each member that are measured")
    ap.add_argument("--cpu-max-us", type=float, default=20, help="CPU time that an idle heartbeat may cost, microseconds; a release build")
    args = ap.parse_args()
    around = pathlib.Path(tempfile.mkdtemp(prefix="members-"))
    broker = brokers.Broker(args.command, around / "data", brokers.free_port(), around / "broker.log")
    broker.start()
    line = Line(broker.port)
    topic = raw.text(TOPIC) + struct.pack(">ih", args.partitions, 1) + raw.array([]) + raw.array([])
    line.socket.sendall(raw.request(raw.CREATE_TOPICS, raw.array([topic]) + struct.pack(">i?", 60_000, False)))
    line.answer()
    wait_for_coordinator(broker.port)
    members = [Member(number) for number in range(args.members)]
    began = time.monotonic()
    line.beat(members)
    joined_s = time.monotonic() - began
    rounds = settle(line, members, args.partitions)
    together_s = time.monotonic() - began
    began, stay = time.monotonic(), members[::2]
    line.beat(members[1::2], leaves=True)
    rounds_after = settle(line, stay, args.partitions)
    after_s = time.monotonic() - began
    began, used = time.monotonic(), cpu_s(broker.process.pid)
    for _ in range(args.idle_rounds):
        line.beat(stay)
    beats = args.idle_rounds * len(stay)
    each_us = (cpu_s(broker.process.pid) - used) / beats * 1e6
    broker.kill()
    wrong = each_us > args.cpu_max_us
    print(f"{args.members} members, {args.partitions} partitions: joined in {joined_s:.1f} s, at rest after {together_s:.1f} s ({rounds} rounds); "
          f"half left, at rest after {after_s:.1f} s ({rounds_after} rounds); {each_us:.1f} us of CPU per idle heartbeat of {len(stay)}")
    print("FAIL" if wrong else "PASS")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
