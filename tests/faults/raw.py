"""Requests as bytes, over plain sockets: what thousands of strange clients need and no client library allows.

Only encodings without compact lengths, in versions that every broker of today serves. Nothing but the standard library.
"""
import socket
import struct
import time

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS, CREATE_TOPICS = 0, 1, 2, 3, 18, 19
_VERSIONS = {PRODUCE: 7, FETCH: 11, LIST_OFFSETS: 5, METADATA: 5, API_VERSIONS: 0, CREATE_TOPICS: 4}


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def request(key, body=b"", correlation_id=1, version=None):
    """A framed request."""
    version = _VERSIONS[key] if version is None else version
    head = struct.pack(">hhi", key, version, correlation_id) + text("faults")
    return struct.pack(">i", len(head) + len(body)) + head + body


def _crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


_TABLE = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def varint(n):
    z, out = (n << 1) ^ (n >> 63), bytearray()
    while z >= 0x80:
        out.append(z & 0x7F | 0x80)
        z >>= 7
    return bytes(out + bytes([z]))


def record(delta, key, value):
    body = b"\0" + varint(0) + varint(delta)
    for part in (key, value):
        body += varint(-1) if part is None else varint(len(part)) + part
    body += varint(0)
    return varint(len(body)) + body


def batch(values, key=None, codec=0, packed=None, producer=(-1, -1, -1), transactional=False):
    """One batch; with `packed` its records are those bytes, as they are. `producer` is its id, epoch and first sequence."""
    now = int(time.time() * 1000)
    records = b"".join(record(at, key, value) for at, value in enumerate(values)) if packed is None else packed
    attributes = codec | (0x10 if transactional else 0)
    tail = struct.pack(">hiqqqhii", attributes, len(values) - 1, now, now, *producer, len(values)) + records
    body = struct.pack(">ibI", -1, 2, crc32c(tail)) + tail
    return struct.pack(">qi", 0, len(body)) + body


def produce(topic, partition, records, acks=-1, correlation_id=1):
    data = struct.pack(">i", partition) + struct.pack(">i", len(records)) + records
    body = struct.pack(">hhi", -1, acks, 30_000) + array([text(topic) + array([data])])
    return request(PRODUCE, body, correlation_id)


def fetch(topic, partitions, offset=0, wait_ms=0, min_bytes=1, max_bytes=50 << 20, partition_bytes=50 << 20, correlation_id=1):
    wanted = [struct.pack(">iiqqi", partition, -1, offset, -1, partition_bytes) for partition in partitions]
    body = struct.pack(">iiiibii", -1, wait_ms, min_bytes, max_bytes, 0, 0, -1)
    return request(FETCH, body + array([text(topic) + array(wanted)]) + array([]) + text(""), correlation_id)


def metadata(topics, correlation_id=1):
    """Metadata of some topics (none: of all); creates nothing."""
    names = struct.pack(">i", -1) if topics is None else array([text(topic) for topic in topics])
    return request(METADATA, names + b"\0", correlation_id)


def create_topics(names, partitions=1, configs=()):
    pairs = array([text(name) + text(value) for name, value in configs])
    topics = [text(name) + struct.pack(">ih", partitions, 1) + array([]) + pairs for name in names]
    return request(CREATE_TOPICS, array(topics) + struct.pack(">ib", 60_000, 0))


class Client:
    """One connection, one request at a time."""

    def __init__(self, port, patience_s=60, source=None, receive_bytes=None):
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(patience_s)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, frame):
        """The answer without its length."""
        self.socket.sendall(frame)
        return self.receive()

    def receive(self):
        return self._exactly(int.from_bytes(self._exactly(4), "big"))

    def _exactly(self, n):
        got = bytearray()
        while len(got) < n:
            more = self.socket.recv(min(n - len(got), 1 << 20))
            if not more:
                raise EOFError
            got += more
        return bytes(got)

    def close(self):
        self.socket.close()

    def create(self, name, partitions=1, configs=(), patience_s=60):
        """Creates a topic, and returns when each of its partitions can be produced to."""
        self.ask(create_topics([name], partitions, configs))
        self.await_leader(name, range(partitions), patience_s)

    def await_leader(self, name, partitions=(0,), patience_s=60):
        end = time.monotonic() + patience_s
        ask = request(LIST_OFFSETS, struct.pack(">ib", -1, 0) + array([text(name) + array([struct.pack(">iiq", partition, -1, -1) for partition in partitions])]))
        while True:
            # correlation id, throttle time, one topic with its name; of each partition index, code, timestamp, offset, epoch
            rows = struct.iter_unpack(">ihqqi", self.ask(ask)[4 + 4 + 4 + 2 + len(name) + 4:])
            refused = {index: code for index, code, *_ in rows if code}
            if not refused:
                return
            if time.monotonic() > end:
                raise SystemExit(f"FAIL: {name} has partitions without a leader after {patience_s} s, with these errors: {refused}")
            time.sleep(0.005)

    def produced(self, frame, topic):
        """The error code of a Produce to one partition."""
        answer = self.ask(frame)
        return struct.unpack_from(">h", answer, 4 + 4 + 2 + len(topic) + 4 + 4)[0]
