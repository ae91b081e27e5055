#!/usr/bin/env python3
"""slow.py: clients that vanish, read slowly, write slowly, or never read; what they cost, and what others feel of it.

Each scene prints one line of figures and PASS or FAIL. Needs Python 3.9+ and nothing else; the half-open scene needs
root for a network namespace, and says SKIP without.
"""
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import raw
import scene

# Beyond twice its idle value and this many milliseconds, a neighbour is harmed. This is about stalls; fairness.py has the fine scale.
HARM_MS = 100


def harm(idle, busy):
    if busy.at(.99) > 2 * idle.at(.99) + HARM_MS:
        return [f"a neighbour's p99 went from {idle.at(.99):.1f} to {busy.at(.99):.1f} ms"]
    return []


def connect_all(port, n, receive_bytes=None):
    """Many connections, from several addresses: one has 28,000 ports."""
    found = []
    for at in range(n):
        found.append(raw.Client(port, receive_bytes=receive_bytes, source=f"127.0.{1 + at // 4000}.{1 + os.getpid() % 200}"))
    return found


def read_slowly(ready, stop, port, number, n, topic, step_bytes):
    """Each asks for everything and then takes `step_bytes` a second."""
    clients = connect_all(port, n, receive_bytes=4096)
    for client in clients:
        client.socket.sendall(raw.fetch(topic, [0]))
    ready(n)
    taken, closed = 0, set()
    while not stop.wait(1):
        for client in clients:
            if client in closed:
                continue
            try:
                client.socket.settimeout(0)
                got = client.socket.recv(step_bytes)
                taken += len(got)
                if not got:
                    closed.add(client)
            except BlockingIOError:
                pass
            except OSError:
                closed.add(client)
    return taken, len(closed)


def slow_readers(stage):
    """Many ask for 50 MB and read 1 KB a second."""
    vitals = stage.start()
    quick = stage.args.quick
    n, megabytes = (200, 10) if quick else (1000, 50)
    topic, other = stage.topic(), stage.topic()
    client, frame = stage.client(), raw.produce(topic, 0, raw.batch([b"y" * 1000] * 1000))
    for _ in range(megabytes):
        client.produced(frame, topic)
    idle = scene.produce_for(stage.port, other, 1 if quick else 3)
    before = vitals.rss_kib()
    stage.crowd(read_slowly, n, topic, 1024)
    busy = scene.produce_for(stage.port, other, 2 if quick else 8)
    grown = vitals.rss_kib() - before
    [(taken, closed)] = stage.dismiss()
    problems = harm(idle, busy)
    if grown / n > 64:
        problems.append(f"each slow reader costs {grown / n:.0f} KiB")
    return f"readers={n} asked_mb={n * megabytes} rss_per_reader_kib={grown / n:.1f} taken_kib={taken // 1024} closed={closed} idle[{idle}] beside[{busy}]", problems


def write_slowly(ready, stop, port, number, n, claim, first_bytes):
    """Each claims a frame of `claim` bytes, sends the first of them, then one byte a second."""
    clients = connect_all(port, n)
    # A Produce: what comes is believable until it ends.
    start = struct.pack(">i", claim) + raw.produce("t", 0, b"")[4:20]
    padding = b"\0" * max(0, first_bytes - len(start))
    alive = []
    for client in clients:
        try:
            client.socket.sendall(start + b"\0" * 0)
            client.socket.settimeout(0)
            alive.append((client, [padding]))
        except OSError:
            pass
    # The bulk goes out as far as it is taken, without waiting for anyone.
    end = time.monotonic() + 20
    pending = [entry for entry in alive if entry[1][0]]
    while pending and time.monotonic() < end:
        stuck = True
        for client, rest in pending:
            try:
                rest[0] = rest[0][client.socket.send(rest[0][:1 << 18]):]
                stuck = False
            except OSError:
                pass
        pending = [entry for entry in pending if entry[1][0]]
        if stuck:
            time.sleep(0.05)
            if time.monotonic() > end - 15:
                break
    sent = sum(len(padding) - len(rest[0]) for _, rest in alive)
    ready(sent)
    while not stop.wait(1):
        for client, _ in alive:
            try:
                client.socket.send(b"\0")
            except OSError:
                pass
    return sent


def slow_writers(stage):
    """Many claim 100 MB and send one byte a second."""
    vitals = stage.start()
    quick = stage.args.quick
    n = 500 if quick else 5000
    other = stage.topic()
    idle = scene.produce_for(stage.port, other, 1 if quick else 3)
    before = vitals.rss_kib()
    stage.crowd(write_slowly, n, 100_000_000, 0)
    busy = scene.produce_for(stage.port, other, 2 if quick else 8)
    grown = vitals.rss_kib() - before
    stage.dismiss()
    problems = harm(idle, busy)
    if grown / n > 64:
        problems.append(f"each slow writer costs {grown / n:.0f} KiB")
    return f"writers={n} claimed_gb={n // 10} rss_per_writer_kib={grown / n:.1f} idle[{idle}] beside[{busy}]", problems


def stalled_writers(stage):
    """Many send most of a large frame and stop: together more than the node has room for. Others must be served."""
    vitals = stage.start("queued.max.request.bytes=67108864")
    quick = stage.args.quick
    n, first = 40, 4 << 20
    other = stage.topic()
    idle = scene.produce_for(stage.port, other, 1 if quick else 3)
    before = vitals.rss_kib()
    [sent] = stage.crowd(write_slowly, n, 100_000_000, first)
    busy = scene.produce_for(stage.port, other, 2 if quick else 8)
    grown = vitals.rss_kib() - before
    stage.dismiss()
    problems = harm(idle, busy)
    if not stage.args.attach and grown > 2 * 65536 + 65536:
        problems.append(f"the node holds {grown} KiB")
    return f"writers={n} sent_mb={sent >> 20} rss_mb={grown >> 10} idle[{idle}] beside[{busy}]", problems


def never_read(ready, stop, port, number, n, kind, topic):
    """Sends requests for as long as they are taken, and reads no answer."""
    frame = {"metadata": raw.metadata([topic]), "fetch": raw.fetch(topic, [0], partition_bytes=1 << 20),
             "produce": raw.produce(topic, 0, raw.batch([b"z" * 1000] * 16))}[kind]
    burst = frame * max(1, (64 << 10) // len(frame))
    clients = connect_all(port, n)
    left = {}
    for client in clients:
        client.socket.settimeout(0)
        left[client.socket] = memoryview(burst)
    sent, told = 0, False
    quiet_since = time.monotonic()
    while not stop.is_set():
        _, writable, _ = select.select([], list(left)[:1000], [], 0.1)
        moved = 0
        for s in writable:
            try:
                count = s.send(left[s])
            except BlockingIOError:
                continue
            except OSError:
                del left[s]
                continue
            moved += count
            left[s] = left[s][count:] if count < len(left[s]) else memoryview(burst)
        sent += moved
        if moved:
            quiet_since = time.monotonic()
        if not told and (time.monotonic() - quiet_since > 0.5 or sent > 4 << 30):
            told = True
            ready(sent // len(frame))
    if not told:
        ready(sent // len(frame))
    return sent // len(frame), n - len(left)


def pipeliners(stage):
    """Clients that send and send, and never read an answer, of three kinds."""
    vitals = stage.start()
    quick = stage.args.quick
    n = 20 if quick else 200
    topic, other = stage.topic(), stage.topic()
    client = stage.client()
    client.produced(raw.produce(topic, 0, raw.batch([b"y" * 1000] * 1000)), topic)
    figures, problems = [], []
    for kind in ("metadata", "fetch", "produce"):
        idle = scene.produce_for(stage.port, other, 1 if quick else 3)
        before = vitals.rss_kib()
        stage.crowd(never_read, n, kind, topic)
        busy = scene.produce_for(stage.port, other, 1 if quick else 5)
        grown = vitals.rss_kib() - before
        [(sent, closed)] = stage.dismiss()
        problems += [f"{kind}: {what}" for what in harm(idle, busy)]
        # Each may have some in flight, all together what queued.max.request.bytes says (512 MiB here), which is held once more on its way to the disk.
        if grown > min(8 * 1024 * n, 1100 << 10):
            problems.append(f"{kind}: each costs {grown / n:.0f} KiB")
        figures.append(f"{kind}[in_flight={sent // n} rss_each_kib={grown / n:.0f} closed={closed} idle {idle}, beside {busy}]")
    return f"clients={n} " + " ".join(figures), problems


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def vanish(ready, stop, port, number, space, address, topic):
    """In a network namespace of its own: three clients (silent, in a long poll, with an answer under way); then the cable is cut."""
    fd = os.open(f"/run/netns/{space}", os.O_RDONLY)
    import ctypes
    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    clients = []
    for _ in range(3):
        s = socket.create_connection((address, port), 10)
        s.sendall(raw.request(raw.API_VERSIONS))
        s.recv(1 << 16)
        clients.append(s)
    clients[1].sendall(raw.fetch(topic, [0], offset=0, wait_ms=2_000))
    for _ in range(60):
        clients[2].sendall(raw.fetch(topic, [0], wait_ms=0, partition_bytes=1 << 20))
    time.sleep(0.3)
    ready(len(clients))
    stop.wait()
    return 0


def half_open(stage):
    """The peers vanish without a word: their descriptors come back after connections.max.idle.ms."""
    space, host_side = f"gone{os.getpid()}", f"v{os.getpid()}"
    if os.geteuid() != 0 or run("ip", "netns", "add", space).returncode != 0:
        raise scene.Skip("no network namespaces here (root and iproute2)")
    try:
        run("ip", "link", "add", host_side, "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "addr", "add", "10.213.7.1/24", "dev", host_side)
        run("ip", "link", "set", host_side, "up")
        run("ip", "-n", space, "addr", "add", "10.213.7.2/24", "dev", "eth0")
        if run("ip", "-n", space, "link", "set", "eth0", "up").returncode != 0:
            raise scene.Skip("no veth pairs here")
        idle_ms = 3000
        stage.args.command = stage.args.command.replace("127.0.0.1:{port}", "0.0.0.0:{port}")
        vitals = stage.start(f"connections.max.idle.ms={idle_ms}")
        topic = stage.topic()
        before = vitals.fds()
        stage.crowd(vanish, space, "10.213.7.1", topic)
        during = vitals.fds()
        run("ip", "-n", space, "link", "set", "eth0", "down")
        took = scene.eventually(lambda: vitals.fds() <= during - 3, 60)
        problems = [] if took is not None else [f"after 60 s {vitals.fds()} descriptors are open, {before} before"]
        return f"clients=3 idle_ms={idle_ms} fds_before={before} with_them={during} freed_after_s={took and round(took, 1)}", problems
    finally:
        run("ip", "netns", "del", space)
        run("ip", "link", "del", host_side)


SCENES = {"half-open": half_open, "slow-readers": slow_readers, "slow-writers": slow_writers, "stalled-writers": stalled_writers,
          "pipeliners": pipeliners}

if __name__ == "__main__":
    scene.play(__doc__, SCENES)
