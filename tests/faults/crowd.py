#!/usr/bin/env python3
"""crowd.py: many at once: connections that idle, come and go, or wait for one record; no descriptors left; thousands of topics
and partitions; everybody asking for metadata.

Each scene prints one line of figures and PASS or FAIL. Needs Python 3.9+ and nothing else, and a hard limit of 20,000 open files.
"""
import os
import pathlib
import select
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import raw
import scene
import slow


def hold(ready, stop, port, number, n):
    """Connections that ask once and then say nothing."""
    clients, times = [], []
    for at in range(n):
        began = time.perf_counter()
        client = raw.Client(port, source=f"127.0.{1 + number}.{1 + at // 4000}")
        client.ask(raw.request(raw.API_VERSIONS))
        times.append((time.perf_counter() - began) * 1000)
        clients.append(client)
    ready(sorted(times))
    stop.wait()
    return n


def idlers(stage):
    """Connections that do nothing."""
    vitals = stage.start()
    # A sixteenth of the descriptors is left for the disk.
    n, processes = (2_000, 1) if stage.args.quick else (18_000, 2)
    topic = stage.topic()
    idle = scene.produce_for(stage.port, topic, 1)
    before, fds = vitals.rss_kib(), vitals.fds()
    times = sorted(sum(stage.crowd(hold, n // processes, processes=processes), []))
    time.sleep(0.5)
    grown, cpu = vitals.rss_kib() - before, vitals.cpu_s()
    time.sleep(3)
    cpu = (vitals.cpu_s() - cpu) / 3 * 100
    busy = scene.produce_for(stage.port, topic, 2)
    stage.dismiss()
    left = scene.eventually(lambda: vitals.fds() <= fds + 2)
    problems = slow.harm(idle, busy)
    if left is None:
        problems.append(f"{vitals.fds()} descriptors are open, {fds} before")
    if grown / n > 16:
        problems.append(f"each costs {grown / n:.1f} KiB")
    if cpu > 2:
        problems.append(f"doing nothing takes {cpu:.1f} % of a core")
    return (f"connections={n} kib_each={grown / n:.1f} first_answer_p50={times[n // 2]:.2f} p99={times[n * 99 // 100]:.1f} ms "
            f"cpu_idle_percent={cpu:.1f} idle[{idle}] beside[{busy}] all_gone_after_s={left and round(left, 2)}"), problems


def come_and_go(ready, stop, port, number, per_second):
    """So many connections a second, each asks once or not at all and goes."""
    ready(0)
    began, done, failed = time.monotonic(), 0, 0
    ask = raw.request(raw.API_VERSIONS)
    while not stop.is_set():
        if done >= (time.monotonic() - began) * per_second:
            time.sleep(0.0005)
            continue
        try:
            client = raw.Client(port, patience_s=10, source=f"127.0.{1 + number}.{1 + done % 200}")
            if done % 3:
                client.ask(ask)
            client.close()
        except (OSError, EOFError):
            failed += 1
        done += 1
    return done / (time.monotonic() - began), failed


def visitors(stage):
    """A thousand new connections a second, for minutes."""
    vitals = stage.start()
    seconds = 5 if stage.args.quick else 120
    topic = stage.topic()
    idle = scene.produce_for(stage.port, topic, 1)
    fds = vitals.fds()
    rss = vitals.rss_kib()
    stage.crowd(come_and_go, 500, processes=2)
    busy = scene.produce_for(stage.port, topic, seconds)
    said = stage.dismiss()
    rate, failed = sum(s[0] for s in said), sum(s[1] for s in said)
    left = scene.eventually(lambda: vitals.fds() <= fds + 2)
    grown = vitals.rss_kib() - rss
    problems = slow.harm(idle, busy)
    if left is None:
        problems.append(f"{vitals.fds()} descriptors are open, {fds} before")
    if failed:
        problems.append(f"{failed} connections were not served")
    return f"seconds={seconds} connections_s={rate:.0f} failed={failed} fds={vitals.fds()} before={fds} rss_kib={grown} idle[{idle}] beside[{busy}]", problems


def press(ready, stop, port, number, n):
    """More connections than there are descriptors, each kept."""
    clients = []
    for _ in range(n):
        try:
            clients.append(raw.Client(port, patience_s=1))
        except OSError:
            pass
    ready(len(clients))
    stop.wait()
    for client in clients:
        client.close()
    return 0


def no_descriptors(stage):
    """Only 256 descriptors, and more connections than that: records are still taken, and new connections once some have gone."""
    if stage.args.attach:
        raise scene.Skip("a broker that runs already has its limit")
    vitals = stage.start("log.segment.bytes=1048576", limit_files=256)
    topic = stage.topic(4)
    client = stage.client()
    frame = raw.produce(topic, 0, raw.batch([b"s" * 1000] * 500))
    stage.crowd(press, 500)
    cpu, began, refused = vitals.cpu_s(), time.monotonic(), 0
    time.sleep(3)
    cpu = (vitals.cpu_s() - cpu) / (time.monotonic() - began) * 100
    for _ in range(20):
        # Each third one begins a segment: three files.
        refused += client.produced(frame, topic) != 0
    at_worst = vitals.fds()
    stage.dismiss()

    def served():
        try:
            late = stage.client(patience_s=1)
            late.ask(raw.request(raw.API_VERSIONS))
            return True
        except (OSError, EOFError):
            return False
    took = scene.eventually(served)
    problems = []
    if refused:
        problems.append(f"{refused} of 20 produce requests were refused for want of descriptors")
    if took is None:
        problems.append("new connections are not served after the others have gone")
    if cpu > 20:
        problems.append(f"waiting for descriptors takes {cpu:.0f} % of a core")
    return f"limit=256 open={at_worst} cpu_percent={cpu:.1f} produced=20 refused={refused} served_again_after_s={took and round(took, 2)}", problems


def fetched(answer, topic):
    """What a Fetch of version 11 has been told of each partition of its topic: error code, and how many bytes of records."""
    at, told = 4 + 4 + 2 + 4 + 4 + 2 + len(topic), {}
    count, = struct.unpack_from(">i", answer, at)
    at += 4
    for _ in range(count):
        partition, error, _, _, _, aborted = struct.unpack_from(">ihqqqi", answer, at)
        length, = struct.unpack_from(">i", answer, at + 34 + 16 * max(0, aborted) + 4)
        at += 34 + 16 * max(0, aborted) + 8 + max(0, length)
        told[partition] = (error, max(0, length))
    return told


def few_descriptors(stage):
    """Only 256 descriptors, and more partitions than that, each written to, synced in the background, and read with all others."""
    if stage.args.attach:
        raise scene.Skip("a broker that runs already has its limit")
    n, times = 400, 3
    vitals = stage.start("log.flush.offset.checkpoint.interval.ms=200", limit_files=256)
    topic = stage.topic(n)
    client, refused = stage.client(), 0
    client.await_leader(topic, range(n))
    for _ in range(times):
        for partition in range(n):
            refused += client.produced(raw.produce(topic, partition, raw.batch([b"d" * 1000])), topic) != 0
    left, errors, fetches = set(range(n)), 0, 0
    while left and fetches < 20:
        told = fetched(client.ask(raw.fetch(topic, sorted(left))), topic)
        errors += sum(error != 0 for error, _ in told.values())
        left -= {partition for partition, (error, length) in told.items() if error == 0 and length > 0}
        fetches += 1
    problems = []
    if refused:
        problems.append(f"{refused} of {n * times} records were refused for want of descriptors")
    if errors or left:
        problems.append(f"{errors} partitions could not be read for want of descriptors, {len(left)} not at all")
    return f"limit=256 partitions={n} open={vitals.fds()} produced={n * times} refused={refused} fetches={fetches} errors={errors}", problems


def held_descriptors(stage):
    """Only 256 descriptors, and clients that keep all they can: some in long polls behind which unread bytes lie, some that ask for all
    partitions and take nothing. Appends may be refused meanwhile. When they have gone everything goes on by itself, and nothing is lost."""
    if stage.args.attach:
        raise scene.Skip("a broker that runs already has its limit")
    n = 200
    vitals = stage.start("log.flush.offset.checkpoint.interval.ms=200", limit_files=256)
    topic, quiet = stage.topic(n), stage.topic()
    client = stage.client()
    client.await_leader(topic, range(n))
    frames = [raw.produce(topic, partition, raw.batch([b"h" * 100_000])) for partition in range(n)]
    taken = [client.produced(frame, topic) == 0 for frame in frames]
    poll = raw.fetch(quiet, [0], wait_ms=60_000)
    waiting, takers = slow.connect_all(stage.port, 90), slow.connect_all(stage.port, 30, receive_bytes=4096)
    asks = [(one, poll * 2 + raw.metadata([quiet]) * 1_000) for one in waiting]
    for one, ask in asks + [(one, raw.fetch(topic, list(range(n)))) for one in takers]:
        try:
            one.socket.sendall(ask)
        except OSError:
            # Turned away at the door.
            pass
    began, acked, refused = time.monotonic(), sum(taken), 0
    at_worst = 0
    while time.monotonic() - began < 8:
        for frame in frames[::7]:
            good = client.produced(frame, topic) == 0
            acked, refused = acked + good, refused + (not good)
        at_worst = max(at_worst, vitals.fds())
    for one in waiting + takers:
        one.close()
    after = scene.eventually(lambda: all(client.produced(frame, topic) == 0 for frame in frames))
    problems = []
    if after is None:
        problems.append("appends are still refused when the others have gone")
    return f"limit=256 partitions={n} open={at_worst} acked={acked} refused={refused} all_taken_again_after_s={after and round(after, 2)}", problems


def ask_metadata(ready, stop, port, number, n, per_second):
    """So many clients, each asks for all topics so often."""
    clients = slow.connect_all(port, n)
    ask, poll, asked, answers = raw.metadata(None), select.epoll(), 0, 0
    for at, client in enumerate(clients):
        client.socket.setblocking(False)
        poll.register(client.socket, select.EPOLLIN)
    ready(n)
    began, bytes_in = time.monotonic(), 0
    sockets = {client.socket.fileno(): client.socket for client in clients}
    while not stop.is_set():
        due = int((time.monotonic() - began) * n * per_second)
        while asked < due:
            try:
                clients[asked % n].socket.send(ask)
            except BlockingIOError:
                pass
            asked += 1
        for fd, _ in poll.poll(0.005):
            try:
                bytes_in += len(sockets[fd].recv(1 << 20))
            except BlockingIOError:
                pass
    return asked / (time.monotonic() - began), bytes_in / (time.monotonic() - began)


def metadata_storm(stage):
    """500 clients that ask for the metadata of 100 topics ten times a second each."""
    vitals = stage.start()
    n = 100 if stage.args.quick else 500
    client = stage.client()
    client.ask(raw.create_topics([f"topic-{at}" for at in range(100)], 4))
    topic = stage.topic()
    idle = scene.produce_for(stage.port, topic, 1 if stage.args.quick else 4)
    stage.crowd(ask_metadata, n, 10)
    cpu = vitals.cpu_s()
    began = time.monotonic()
    busy = scene.produce_for(stage.port, topic, 2 if stage.args.quick else 8)
    cpu = (vitals.cpu_s() - cpu) / (time.monotonic() - began) * 100
    [(rate, bytes_s)] = stage.dismiss()
    return f"clients={n} asked_s={rate:.0f} answered_mb_s={bytes_s / 1e6:.0f} cpu_percent={cpu:.0f} idle[{idle}] beside[{busy}]", slow.harm(idle, busy)


def wait_for_one(ready, stop, port, number, n, topic, offset):
    """Fetches that wait for the next record; when the last of them was answered."""
    clients, poll = [], select.epoll()
    frame = raw.fetch(topic, [0], offset=offset, wait_ms=60_000)
    for at in range(n):
        client = raw.Client(port, source=f"127.0.{1 + number}.{1 + at // 4000}")
        client.socket.sendall(frame)
        client.socket.setblocking(False)
        poll.register(client.socket, select.EPOLLIN | select.EPOLLONESHOT)
        clients.append(client)
    # The last request has arrived when a question behind it on its shard is answered; two shards, so ask twice.
    for _ in range(4):
        raw.Client(port).ask(raw.request(raw.API_VERSIONS))
    ready(n)
    left, first, end = n, None, time.monotonic() + 60
    while left and not stop.is_set() and time.monotonic() < end:
        came = poll.poll(0.2, 4096)
        if came and first is None:
            first = time.time()
        left -= len(came)
    last = time.time()
    stop.wait()
    return left, first, last


def herd(stage):
    """Ten thousand long polls on one partition, one append."""
    vitals = stage.start()
    n, processes = (1_000, 1) if stage.args.quick else (10_000, 2)
    topic, figures = stage.topic(), []
    client = stage.client()
    before = vitals.rss_kib()
    stage.crowd(wait_for_one, n // processes, topic, 0, processes=processes)
    time.sleep(1)
    each = (vitals.rss_kib() - before) / n
    cpu, began = vitals.cpu_s(), time.time()
    code = client.produced(raw.produce(topic, 0, raw.batch([b"the one"])), topic)
    acked = (time.time() - began) * 1000
    time.sleep(1 if stage.args.quick else 3)
    cpu = (vitals.cpu_s() - cpu) * 1000
    said = stage.dismiss()
    left = sum(s[0] for s in said)
    last = max((s[2] for s in said)) - began
    problems = [f"{left} fetches were not woken"] if left else []
    if code:
        problems.append(f"the append got error {code}")
    return f"waiting={n} kib_each={each:.1f} ack_ms={acked:.1f} last_woken_ms={last * 1000:.0f} cpu_ms={cpu:.0f} woken={n - left}", problems


def partitions(stage):
    """Ten thousand partitions, then topics one after another; metadata of all of them; a fetch of all of them; a restart."""
    vitals = stage.start()
    quick = stage.args.quick
    n, singles = (1_000, 200) if quick else (10_000, 5_000)
    client = stage.client(patience_s=120)
    idle = scene.produce_for(stage.port, stage.topic(), 1)
    before, began = vitals.rss_kib(), time.monotonic()
    client.create("wide", n)
    made = time.monotonic() - began
    each = (vitals.rss_kib() - before) / n
    rates, before = [], vitals.rss_kib()
    for part in range(4):
        began = time.monotonic()
        for at in range(singles // 4):
            client.ask(raw.create_topics([f"single-{part}-{at}"]))
        rates.append(singles / 4 / (time.monotonic() - began))
    each_topic = (vitals.rss_kib() - before) / singles
    answer = len(client.ask(raw.metadata(None)))
    for partition in range(0, n, max(1, n // 100)):
        client.produced(raw.produce("wide", partition, raw.batch([b"w" * 10_000] * 20)), "wide")
    vitals.reset_peak()
    rss, began = vitals.rss_kib(), time.perf_counter()
    fetched = len(client.ask(raw.fetch("wide", range(n), partition_bytes=1 << 20, max_bytes=10 << 20)))
    took, peak = (time.perf_counter() - began) * 1000, vitals.peak_kib() - rss
    problems = []
    if fetched > (10 << 20) + n * 200:
        problems.append(f"a fetch of at most 10 MiB has {fetched} bytes")
    if rates[-1] < rates[0] / 3:
        problems.append(f"topics are made ever more slowly: {rates[0]:.0f}, at the end {rates[-1]:.0f} a second")
    figures = (f"partitions={n} made_s={made:.2f} kib_each={each:.1f} topics={singles} made_per_s={'/'.join(f'{r:.0f}' for r in rates)} kib_each={each_topic:.1f} "
               f"metadata_kib={answer >> 10} fetch_of_all[kib={fetched >> 10} ms={took:.0f} peak_kib={peak}] idle[{idle}]")
    if stage.broker:
        stage.broker.stop()
        began = time.monotonic()
        stage.broker.start()
        client = stage.client()
        client.await_leader("wide", range(n))
        figures += f" restart_to_last_leader_s={time.monotonic() - began:.2f}"
    return figures, problems


SCENES = {"idlers": idlers, "visitors": visitors, "no-descriptors": no_descriptors, "few-descriptors": few_descriptors,
          "held-descriptors": held_descriptors,
          "metadata-storm": metadata_storm, "herd": herd, "partitions": partitions}

if __name__ == "__main__":
    scene.play(__doc__, SCENES)
