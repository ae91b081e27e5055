"""Requests as plain dictionaries, sent over a plain socket, answers as plain dictionaries.

The schemas are kafka-python's (it ships Kafka's own message definitions), so that neither side of a comparison
is judged by our own codec.
"""
import importlib
import socket

import crc32c

_PLACES = ("metadata", "admin", "consumer", "producer")


def request_class(name):
    """The request class `NAME` + Request, wherever kafka-python keeps it."""
    for place in _PLACES:
        module = importlib.import_module(f"kafka.protocol.{place}")
        if hasattr(module, name + "Request"):
            return getattr(module, name + "Request")
    raise KeyError(name)


def _filled(struct, values, version):
    """Turns nested dictionaries into the data classes that the encoder wants."""
    filled = {}
    for field in struct._fields:
        if field.name not in values:
            continue
        value = values[field.name]
        if field.is_struct_array() and value is not None:
            value = [field.data_class(version=version, **_filled(field.array_of, v, version)) for v in value]
        elif field.is_struct() and value is not None:
            value = field.data_class(version=version, **_filled(field, value, version))
        filled[field.name] = value
    return filled


def encode(name, version, values, correlation_id=1, client_id="answers"):
    """A framed request of `values` at `version`."""
    cls = request_class(name)
    request = cls[version](**_filled(cls._struct, values, version))
    request.with_header(correlation_id=correlation_id, client_id=client_id)
    return bytes(request.encode(header=True, framed=True))


class Connection:
    """One connection to one broker; `ask` gives the answer, or a word for why there is none."""

    def __init__(self, address, patience_s=15):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), patience_s)
        self.socket.settimeout(patience_s)

    def close(self):
        self.socket.close()

    def send(self, frame):
        """Sends bytes as they are and returns the answer's frame, b"" when the broker closed, None when it was silent."""
        try:
            self.socket.sendall(frame)
            return self._exactly(int.from_bytes(self._exactly(4), "big"))
        except socket.timeout:
            return None
        except (ConnectionError, EOFError):
            return b""

    def _exactly(self, n):
        got = b""
        while len(got) < n:
            more = self.socket.recv(n - len(got))
            if not more:
                raise EOFError
            got += more
        return got

    def ask(self, name, version, values):
        """The decoded answer as a dictionary, or {"connection": "closed" | "silent"}."""
        frame = self.send(encode(name, version, values))
        if not frame:
            return {"connection": "closed" if frame == b"" else "silent"}
        cls = request_class(name)
        module = importlib.import_module(cls.__module__)
        response = getattr(module, name + "Response")
        return response.decode(frame, version=version, header=True).to_dict(json=False)


def varint(n):
    z, out = (n << 1) ^ (n >> 63), bytearray()
    while z >= 0x80:
        out.append(z & 0x7F | 0x80)
        z >>= 7
    return bytes(out + bytes([z]))


def record(delta, key, value, timestamp_delta=0):
    body = b"\0" + varint(timestamp_delta) + varint(delta)
    for part in (key, value):
        body += varint(-1) if part is None else varint(len(part)) + part
    body += varint(0)
    return varint(len(body)) + body


def batch(values, *, key=None, timestamp=1_700_000_000_000, attributes=0, producer_id=-1, epoch=-1, sequence=-1, magic=2,
          base_offset=0, count=None, last_delta=None, max_timestamp=None, payload=None, crc=None, length=None):
    """One record batch, format version 2; each part can be made wrong on purpose."""
    records = payload if payload is not None else b"".join(record(i, key, v) for i, v in enumerate(values))
    n = len(values)
    tail = attributes.to_bytes(2, "big", signed=True) + (n - 1 if last_delta is None else last_delta).to_bytes(4, "big", signed=True)
    tail += timestamp.to_bytes(8, "big", signed=True) + (timestamp if max_timestamp is None else max_timestamp).to_bytes(8, "big", signed=True)
    tail += producer_id.to_bytes(8, "big", signed=True) + epoch.to_bytes(2, "big", signed=True)
    tail += sequence.to_bytes(4, "big", signed=True) + (n if count is None else count).to_bytes(4, "big", signed=True) + records
    crc = crc32c.crc32c(tail) if crc is None else crc
    body = (-1).to_bytes(4, "big", signed=True) + bytes([magic]) + crc.to_bytes(4, "big") + tail
    return base_offset.to_bytes(8, "big", signed=True) + (len(body) if length is None else length).to_bytes(4, "big", signed=True) + body
