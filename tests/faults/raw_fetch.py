"""A consumer of bytes: fetches, checks each batch's CRC as Kafka's own consumer does, and says exactly what came.

Clients hide what a broker sent behind retries and resets; where it counts whether a damaged batch was sent, refused or skipped,
this one shows it. Plain records only (no compression), Fetch version 4.
"""
import socket
import struct

TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Corrupt(Exception):
    """What came is no batch, or not the one that was written."""


class Consumer:
    """One connection, one partition."""

    def __init__(self, port, topic, partition=0):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.topic, self.partition = topic.encode(), partition

    def close(self):
        self.socket.close()

    def fetch(self, offset, bytes_max=8192):
        """(error code, record bytes) at an offset."""
        body = struct.pack(">iiiib i", -1, 50, 1, 1 << 20, 0, 1) + struct.pack(">h", len(self.topic)) + self.topic
        body += struct.pack(">iiqi", 1, self.partition, offset, bytes_max)
        head = struct.pack(">hhih", 1, 4, 1, -1)
        self.socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        answer = self._exactly(struct.unpack(">i", self._exactly(4))[0])
        at = 4 + 4 + 4  # correlation id, throttle time, count of topics
        at += 2 + struct.unpack_from(">h", answer, at)[0] + 4 + 4  # name, count of partitions, index
        error, _, _, aborted = struct.unpack_from(">hqqi", answer, at)
        at += 22 + max(0, aborted) * 16
        length, = struct.unpack_from(">i", answer, at)
        return error, answer[at + 4:at + 4 + max(0, length)]

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                raise ConnectionError("closed by the broker")
            data += more
        return data

    def read(self, first, end):
        """Reads [first, end): offset -> value, and what was said where something else came. Steps over what cannot be read."""
        found, said, at = {}, [], first
        while at < end:
            error, data = self.fetch(at)
            if error:
                said.append((at, f"error {error}"))
                at += 1
                continue
            try:
                records, after = decode(data, at)
            except Corrupt as why:
                said.append((at, str(why)))
                at += 1
                continue
            found.update(records)
            if after <= at:
                said.append((at, "nothing"))
                after = at + 1
            at = after
        return {offset: value for offset, value in found.items() if first <= offset < end}, said


def decode(data, wanted):
    """The records from `wanted` on in whole batches, and where the next one begins. The first damaged batch is an error
    unless good ones came before it: they are delivered first, as Kafka's consumer does."""
    found, at, after = {}, 0, wanted
    while len(data) - at >= 61:
        base, length, _, magic, crc = struct.unpack_from(">qiibI", data, at)
        if length < 49:
            return _or_corrupt(found, after, "crc: no batch length")
        if at + 12 + length > len(data):
            return _or_corrupt(found, after, "crc: the batch does not end") if not found else (found, after)
        body = data[at + 21:at + 12 + length]
        if magic != 2:
            return _or_corrupt(found, after, "crc: another magic")
        if crc32c(body) != crc:
            return _or_corrupt(found, after, "crc")
        delta, = struct.unpack_from(">i", data, at + 23)
        count, = struct.unpack_from(">i", data, at + 57)
        position = at + 61
        for _ in range(count):
            size, position = varint(data, position)
            inner = position + 1
            _, inner = varint(data, inner)
            offset, inner = varint(data, inner)
            key, inner = varint(data, inner)
            inner += max(0, key)
            value, inner = varint(data, inner)
            if base + offset >= wanted:
                found[base + offset] = data[inner:inner + max(0, value)]
            position += size
        after = max(after, base + delta + 1)
        at += 12 + length
    return found, after


def _or_corrupt(found, after, why):
    if not found:
        raise Corrupt(why)
    return found, after


def varint(data, at):
    shift, value = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value >> 1 ^ -(value & 1), at
        shift += 7
