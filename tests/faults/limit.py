#!/usr/bin/env python3
"""limit.py: the least that any broker does for a produce request, to hold a broker's figures against.

A process for each connection reads a request, writes its batch to a file of its own (--synced: and syncs it) and answers. It keeps
no logs, knows no topics, and forgets everything. Stands where a broker does:

    python3 tests/faults/fairness.py --command "python3 tests/faults/limit.py --dir {dir} --port {port} --synced" beside-64k
"""
import argparse
import os
import pathlib
import signal
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import raw


def exactly(peer, n):
    """So many bytes, or None when the client is gone."""
    got = bytearray(n)
    view = memoryview(got)
    while view:
        came = peer.recv_into(view)
        if not came:
            return None
        view = view[came:]
    return got


def topic_of(body, at):
    """The first topic of an array that begins here, and where it ends."""
    length, = struct.unpack_from(">h", body, at + 4)
    end = at + 4 + 2 + length
    return bytes(body[at + 6:end]).decode(), end


def produced(body, file, synced):
    # no transactional id, acks, timeout, then one topic, one partition and its batch
    topic, at = topic_of(body, 2 + 2 + 4)
    partition, length = struct.unpack_from(">ii", body, at + 4)
    os.write(file, memoryview(body)[at + 12:at + 12 + length])
    if synced:
        os.fdatasync(file)
    row = struct.pack(">ihqqq", partition, 0, 0, -1, 0)
    return raw.array([raw.text(topic) + raw.array([row])]) + struct.pack(">i", 0)


def led(body):
    """ListOffsets: whatever is asked for is led here."""
    topic, at = topic_of(body, 4 + 1)
    count, = struct.unpack_from(">i", body, at)
    asked = [struct.unpack_from(">i", body, at + 4 + 16 * n)[0] for n in range(count)]
    rows = [struct.pack(">ihqqi", partition, 0, -1, 0, 0) for partition in asked]
    return struct.pack(">i", 0) + raw.array([raw.text(topic) + raw.array(rows)])


def serve(peer, path, synced):
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    while size := exactly(peer, 4):
        request = exactly(peer, int.from_bytes(size, "big"))
        if request is None:
            return
        key, _, correlation_id, name = struct.unpack_from(">hhih", request)
        body = memoryview(request)[10 + max(name, 0):]
        if key == raw.PRODUCE:
            answer = produced(body, file, synced)
        else:
            answer = led(body) if key == raw.LIST_OFFSETS else b"\0" * 64
        peer.sendall(struct.pack(">ii", 4 + len(answer), correlation_id) + answer)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--dir", required=True, type=pathlib.Path)
    ap.add_argument("--port", required=True, type=int)
    ap.add_argument("--synced", action="store_true", help="answer only what is synced")
    args = ap.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    door = socket.create_server(("127.0.0.1", args.port))
    number = 0
    while True:
        peer, _ = door.accept()
        number += 1
        if os.fork() == 0:
            door.close()
            serve(peer, args.dir / f"{number}.log", args.synced)
            os._exit(0)
        peer.close()


if __name__ == "__main__":
    main()
