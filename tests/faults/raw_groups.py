"""Members of consumer groups as bytes, over plain sockets: the classic protocol and the one of KIP-848. Beside `raw`, whose
encodings without compact lengths do for all but the heartbeat and the commits of the newer protocol.
"""
import struct
import time
import uuid

import raw

OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR, JOIN, HEARTBEAT, LEAVE, SYNC, CONSUMER_HEARTBEAT = 8, 9, 10, 11, 12, 13, 14, 68
REBALANCE_IN_PROGRESS, MEMBER_ID_REQUIRED = 27, 79
OUT = {22, 25, 82, 110}
NOT_NOW = {14, 15, 16, 27, 7, 113}
NULL = struct.pack(">h", -1)


class Refused(Exception):
    """An error code."""

    def __init__(self, code):
        super().__init__(f"error {code}")
        self.code = code


def good(code):
    if code:
        raise Refused(code)


def data(value):
    return struct.pack(">i", len(value)) + value


class Words:
    """Reads an answer from front to back."""

    def __init__(self, answer, at=4):
        self.answer, self.at = answer, at

    def number(self, form):
        (value,) = struct.unpack_from(">" + form, self.answer, self.at)
        self.at += struct.calcsize(">" + form)
        return value

    def raw(self, length):
        value = self.answer[self.at:self.at + max(length, 0)]
        self.at += max(length, 0)
        return value

    def text(self):
        return self.raw(self.number("h")).decode()

    def data(self):
        return self.raw(self.number("i"))

    def varint(self):
        value, shift = 0, 0
        while True:
            byte = self.number("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def compact(self):
        return self.raw(self.varint() - 1).decode()


def unsigned(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def compact(value):
    return b"\0" if value is None else unsigned(len(value.encode()) + 1) + value.encode()


def compact_array(items):
    return b"\0" if items is None else unsigned(len(items) + 1) + b"".join(items)


def flexible(key, version, body):
    """A framed request whose header has tags."""
    head = struct.pack(">hhi", key, version, 1) + raw.text("faults") + b"\0"
    return struct.pack(">i", len(head) + len(body)) + head + body


def partitions_in(words):
    """Of a subscription's or assignment's list: all partitions, whatever the topic."""
    found = []
    for _ in range(words.number("i")):
        words.text()
        found += [words.number("i") for _ in range(words.number("i"))]
    return found


class Member:
    """What members of both protocols have."""

    def __init__(self, port, group, topic, topic_id=None, partitions=0, times_ms=(6_000, 10_000)):
        self.client = raw.Client(port, patience_s=60)
        self.group, self.topic, self.topic_id, self.partitions, self.times_ms = group, topic, topic_id, partitions, times_ms
        self.id, self.epoch, self.owned = "", 0, set()

    def ask(self, key, version, body):
        return Words(self.client.ask(raw.request(key, body, version=version)))

    def find(self):
        """Asks for the coordinator until there is one: some brokers make the topic of the offsets only now."""
        end = time.monotonic() + 60
        while True:
            words = self.ask(FIND_COORDINATOR, 1, raw.text(self.group) + b"\0")
            words.number("i")
            code = words.number("h")
            if code not in NOT_NOW or time.monotonic() > end:
                return good(code)
            time.sleep(0.05)

    def committed(self, partition):
        words = self.ask(OFFSET_FETCH, 1, raw.text(self.group) + raw.array([raw.text(self.topic) + raw.array([struct.pack(">i", partition)])]))
        words.number("i"), words.text(), words.number("i"), words.number("i")
        offset = words.number("q")
        words.text()
        good(words.number("h"))
        return offset

    def vanish(self):
        self.client.close()


class Classic(Member):
    """A member of the classic protocol that gives everything up before each rebalance. Its leader deals the partitions out."""

    def join(self):
        """One rebalance: afterwards it knows what it owns."""
        self.owned = set()
        subscription = struct.pack(">h", 0) + raw.array([raw.text(self.topic)]) + struct.pack(">i", -1)
        while True:
            body = (raw.text(self.group) + struct.pack(">ii", *self.times_ms) + raw.text(self.id) + NULL + raw.text("consumer")
                    + raw.array([raw.text("range") + data(subscription)]))
            words = self.ask(JOIN, 5, body)
            words.number("i")
            code, generation, _ = words.number("h"), words.number("i"), words.text()
            leader, self.id = words.text(), words.text()
            if code == MEMBER_ID_REQUIRED:
                continue
            good(code)
            self.epoch = generation
            break
        ids = []
        for _ in range(words.number("i")):
            ids.append(words.text())
            words.raw(words.number("h"))
            words.data()
        self.sync(self.deal(sorted(ids)) if leader == self.id else [])

    def deal(self, ids):
        shares = {member: [] for member in ids}
        for partition in range(self.partitions):
            shares[ids[partition % len(ids)]].append(partition)
        return [raw.text(member) + data(struct.pack(">h", 0) + raw.array([raw.text(self.topic) + raw.array([struct.pack(">i", p) for p in share])])
                                        + struct.pack(">i", -1)) for member, share in shares.items()]

    def sync(self, assignments):
        words = self.ask(SYNC, 3, raw.text(self.group) + struct.pack(">i", self.epoch) + raw.text(self.id) + NULL + raw.array(assignments))
        words.number("i")
        good(words.number("h"))
        assignment = words.data()
        self.owned = set(partitions_in(Words(assignment, 2))) if assignment else set()

    def beat(self):
        """Says that it lives; joins again if it has to. Whether it did."""
        words = self.ask(HEARTBEAT, 3, raw.text(self.group) + struct.pack(">i", self.epoch) + raw.text(self.id) + NULL)
        words.number("i")
        code = words.number("h")
        if code == REBALANCE_IN_PROGRESS:
            self.join()
            return True
        good(code)
        return False

    def commit(self, partition, offset):
        one = struct.pack(">iqi", partition, offset, -1) + NULL
        words = self.ask(OFFSET_COMMIT, 7, raw.text(self.group) + struct.pack(">i", self.epoch) + raw.text(self.id) + NULL
                         + raw.array([raw.text(self.topic) + raw.array([one])]))
        words.number("i"), words.number("i"), words.text(), words.number("i"), words.number("i")
        good(words.number("h"))

    def leave(self):
        self.owned = set()
        self.ask(LEAVE, 3, raw.text(self.group) + raw.array([raw.text(self.id) + NULL]))
        self.client.close()


class Consumer(Member):
    """A member of the consumer protocol: the broker assigns."""

    def join(self):
        self.owned, self.epoch, self.id = set(), 0, self.id or str(uuid.uuid4())
        self.beat(says_all=True)

    def beat(self, epoch=None, says_all=False):
        """Says that it lives and what it owns. Whether that has changed."""
        says_all = says_all or self.epoch == 0
        owned = [self.topic_id + compact_array([struct.pack(">i", p) for p in sorted(self.owned)]) + b"\0"] if self.owned else []
        body = (compact(self.group) + compact(self.id) + struct.pack(">i", self.epoch if epoch is None else epoch) + compact(None) + compact(None)
                + struct.pack(">i", self.times_ms[1] if says_all else -1)
                + compact_array([compact(self.topic)] if says_all else None) + compact(None)
                + compact_array(owned) + b"\0")
        words = Words(self.client.ask(flexible(CONSUMER_HEARTBEAT, 0, body)), 5)
        words.number("i")
        code = words.number("h")
        words.compact(), words.compact()
        member_epoch, _ = words.number("i"), words.number("i")
        good(code)
        self.epoch = member_epoch
        if words.number("b") < 0:
            return False
        should = set()
        for _ in range(words.varint() - 1):
            words.raw(16)
            should |= {words.number("i") for _ in range(words.varint() - 1)}
            words.varint()
        has_changed, self.owned = should != self.owned, should
        return has_changed

    def commit(self, partition, offset):
        one = struct.pack(">iqi", partition, offset, -1) + compact(None) + b"\0"
        body = (compact(self.group) + struct.pack(">i", self.epoch) + compact(self.id) + compact(None)
                + compact_array([compact(self.topic) + compact_array([one]) + b"\0"]) + b"\0")
        words = Words(self.client.ask(flexible(OFFSET_COMMIT, 9, body)), 5)
        words.number("i"), words.varint(), words.compact(), words.varint(), words.number("i")
        good(words.number("h"))

    def leave(self):
        self.owned = set()
        self.beat(epoch=-1)
        self.client.close()


def topic_id(client, topic):
    """The id of a topic, 16 bytes (Metadata, version 10)."""
    body = compact_array([bytes(16) + compact(topic) + b"\0"]) + b"\0\0\0\0"
    words = Words(client.ask(flexible(raw.METADATA, 10, body)), 5)
    words.number("i")
    for _ in range(words.varint() - 1):
        words.number("i"), words.compact(), words.number("i"), words.compact(), words.varint()
    words.compact(), words.number("i"), words.varint()
    good(words.number("h"))
    words.compact()
    return words.raw(16)
