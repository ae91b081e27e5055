#!/usr/bin/env python3
"""process_faults.py: what happens to the process, and to the machine under it.

Scenes: `sigterm` (told to leave under load, again and again), `crash-loop` (killed 100 ms after each of 50 starts), `memory` (a memory
limit of 192 MiB and more load than fits), `clock` (the wall clock jumps while groups and producers work), `timestamps` (records from the far future
and from before 1970), `taken-away` (the data directory is made read-only, and then deleted, under a running broker). After each: everything
acknowledged is there once, in order, and nothing else.

Needs Python with confluent-kafka; `memory` needs root and the memory cgroup, `clock` libfaketime, `taken-away` root. SKIP where that is missing.
"""
import contextlib
import os
import pathlib
import shutil
import struct
import sys
import time

import confluent_kafka as ck

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers
import kill_restart
import ledger
import raw
import scene

PARTITIONS = 4
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
NOBODY = 65534


def verdict(book, address, partitions=PARTITIONS, topic="ledger"):
    """Ends the load; what is wrong with what is there."""
    book.finish()
    found = ledger.read_back(address, topic, partitions)
    wrong = ledger.problems(book.acked, book.sent, found, {}) + ledger.not_there(book.unplaced, found)
    wrong += [f"refused: {refused}" for refused in book.refused] + [f"acknowledged twice: {key}" for key in book.doubled]
    return wrong + ([] if book.acked else ["nothing was acknowledged, so nothing was checked"])


def loaded(stage, *settings, seed=1):
    """A broker with a topic and idempotent producers of all codecs at work."""
    stage.start(*settings)
    kill_restart.create_topic(stage.broker.address, "ledger", PARTITIONS)
    book = ledger.Ledger(stage.broker.address, "ledger", PARTITIONS, seed)
    book.start()
    if scene.eventually(lambda: len(book.acked) > 1000) is None:
        raise SystemExit("FAIL: nothing is acknowledged")
    return book


def sigterm(stage):
    rounds = 3 if stage.args.quick else 10
    book, problems, stops, starts = loaded(stage), [], [], []
    for _ in range(rounds):
        acked = len(book.acked)
        code, took = stage.broker.stop()
        stops.append(took)
        if code != 0 or took >= 5:
            problems.append(f"SIGTERM: exit code {code} after {took:.1f} s")
        starts.append(stage.broker.start(env={"RUST_LOG": "info"}))
        if scene.eventually(lambda: len(book.acked) > acked + 1000) is None:
            problems.append("nothing is acknowledged after the restart")
    scans = (stage.place / "broker.log").read_text(errors="replace").count("did not stop cleanly")
    if scans:
        problems.append(f"{scans} starts recovered logs after a clean stop")
    # The same line is there where it must be.
    stage.broker.kill()
    stage.broker.start(env={"RUST_LOG": "info"})
    if "did not stop cleanly" not in (stage.place / "broker.log").read_text(errors="replace"):
        problems.append("a start after kill -9 does not say that logs are recovered")
    problems += verdict(book, stage.broker.address)
    return (f"stops={rounds} acked={len(book.acked)} stop_max_s={max(stops):.2f} start_max_ms={max(starts) * 1000:.0f} "
            f"scans={scans} errors_seen={len(book.refused)}"), problems


def size_of(place):
    files = [path for path in place.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_blocks * 512 for path in files)


def crash_loop(stage):
    rounds = 10 if stage.args.quick else 50
    book = loaded(stage)
    book.finish()
    stage.broker.kill()
    data, problems = stage.place / "data", []
    stage.broker.start()
    stage.broker.kill()
    files, size = size_of(data)
    for _ in range(rounds):
        with contextlib.suppress(SystemExit):
            stage.broker.start(patience_s=0.1)
        stage.broker.kill()
    files_after, size_after = size_of(data)
    if files_after > files or size_after > size + (1 << 20):
        problems.append(f"{files_after - files} files and {size_after - size} bytes more after {rounds} starts")
    stage.broker.start()
    problems += verdict(book, stage.broker.address)
    return f"starts={rounds} acked={len(book.acked)} files={files}->{files_after} bytes_more={size_after - size}", problems


class MemoryLimit:
    """A memory cgroup of its own; what is in it may use so much, page cache included."""

    def __init__(self, megabytes):
        self.at = pathlib.Path("/sys/fs/cgroup/memory") / f"ottla-{os.getpid()}"
        try:
            self.at.mkdir()
            (self.at / "memory.limit_in_bytes").write_text(str(megabytes << 20))
        except OSError as why:
            raise scene.Skip(f"no memory cgroup: {why}") from why

    def take(self, pid):
        (self.at / "cgroup.procs").write_text(str(pid))

    def killed(self):
        return int((self.at / "memory.oom_control").read_text().split("oom_kill ")[-1].split()[0])

    def end(self):
        with contextlib.suppress(OSError):
            self.at.rmdir()


def flood(ready, stop, port, number, topic):
    """Batches of 1 MB, five in flight, as fast as answers come; what was acknowledged."""
    client, acked = raw.Client(port), 0
    frame = raw.produce(topic, number % PARTITIONS, raw.batch([os.urandom(1000)] * 900))
    ready("ready")
    for _ in range(5):
        client.socket.sendall(frame)
    while not stop.is_set():
        client.receive()
        acked += 1
        client.socket.sendall(frame)
    return acked


def memory(stage):
    megabytes, seconds = 192, 5 if stage.args.quick else 30
    limit = MemoryLimit(megabytes)
    try:
        book = loaded(stage)
        limit.take(stage.broker.process.pid)
        topic = stage.topic(PARTITIONS)
        stage.crowd(flood, topic, processes=8)
        end, peak = time.monotonic() + seconds, 0
        while time.monotonic() < end and stage.broker.process.poll() is None:
            peak = max(peak, stage.vitals.rss_kib())
            time.sleep(0.05)
        if stage.broker.process.poll() is not None:
            return f"limit_mib={megabytes}", [f"the broker ended with {stage.broker.process.poll()}, killed for memory: {limit.killed()}"]
        flooded = sum(stage.dismiss())
        problems = verdict(book, stage.broker.address)
        return f"limit_mib={megabytes} flooded_mb={flooded} in_s={seconds} acked={len(book.acked)} rss_peak_mib={peak >> 10}", problems
    finally:
        stage.end()
        limit.end()


class Member(ck.Consumer):
    """A member of a group that counts how often it lost its partitions."""

    def __init__(self, address, group):
        super().__init__({"bootstrap.servers": address, "group.id": group, "session.timeout.ms": 10_000, "heartbeat.interval.ms": 500,
                          "auto.offset.reset": "earliest", "log_level": 2})
        self.assigned = self.lost = self.seen = 0
        self.subscribe(["ledger"], on_assign=self._assigned, on_revoke=self._lost, on_lost=self._lost)

    def _assigned(self, _, partitions):
        self.assigned += 1

    def _lost(self, _, partitions):
        self.lost += 1

    def follow(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.seen += sum(message.error() is None for message in self.consume(1000, 0.1))


def append_time(stage, topic):
    """The broker's wall clock, as its LogAppendTime tells it, milliseconds."""
    client = stage.client()
    answer = client.ask(raw.produce(topic, 0, raw.batch([b"what time is it"])))
    client.close()
    return struct.unpack_from(">q", answer, 4 + 4 + 2 + len(topic) + 4 + 4 + 2 + 8)[0]


def clock(stage):
    """The wall clock jumps; what the broker waits for must not."""
    if not os.path.exists(FAKETIME):
        raise scene.Skip(f"{FAKETIME} is not there")
    control = stage.place / "clock"
    control.write_text("+0")
    fake = f"env LD_PRELOAD={FAKETIME} FAKETIME_TIMESTAMP_FILE={control} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 "
    stage.args.command = fake + stage.args.command
    book = loaded(stage, "group.initial.rebalance.delay.ms=0", "log.retention.check.interval.ms=500")
    stamps = stage.topic(configs=[("message.timestamp.type", "LogAppendTime")])
    member, problems, figures = Member(stage.broker.address, "watch"), [], []
    member.follow(5)
    if not member.assigned:
        problems.append("the member got no partitions before the first jump")
    for jump, seconds in (("+1h", 3600), ("-1h", -3600), ("+3d", 259_200), ("+0", 0)):
        lost, acked = member.lost, len(book.acked)
        control.write_text(jump)
        member.follow(3 if stage.args.quick else 8)
        figures.append(f"{jump}:{len(book.acked) - acked}")
        if abs(append_time(stage, stamps) / 1000 - time.time() - seconds) > 60:
            problems.append(f"{jump}: the broker's clock did not jump, nothing was tried")
        if member.lost > lost:
            problems.append(f"{jump}: the member lost its partitions")
        if len(book.acked) == acked:
            problems.append(f"{jump}: nothing was acknowledged any more")
    problems += verdict(book, stage.broker.address)
    seen, lost = member.seen, member.lost
    member.close()
    return f"acked_after_jump=[{' '.join(figures)}] acked={len(book.acked)} followed={seen} evicted={lost}", problems


def stamped(create_ms, base=None):
    """A batch of one record with this timestamp."""
    batch = bytearray(raw.batch([b"x"]))
    struct.pack_into(">qq", batch, 27, create_ms if base is None else base, create_ms)
    struct.pack_into(">I", batch, 17, raw.crc32c(bytes(batch[21:])))
    return bytes(batch)


def timestamps(stage):
    """Which times are taken, and that one taken time does not keep the others for ever."""
    stage.start("log.retention.check.interval.ms=500")
    client, problems, now = stage.client(), [], int(time.time() * 1000)
    day, none, invalid = 86_400_000, 0, 32
    default, strict = stage.topic(), stage.topic(configs=[("message.timestamp.before.max.ms", str(day)), ("message.timestamp.after.max.ms", str(day))])
    for topic, what, at, code in (
            (default, "now", now, none), (default, "1970", 0, none), (default, "no time", -1, none), (default, "2 h ahead", now + 7_200_000, invalid),
            (default, "year 292278994", (1 << 63) - 1, invalid), (strict, "2 days ago", now - 2 * day, invalid), (strict, "2 days ahead", now + 2 * day, invalid),
            (strict, "12 h ago", now - day // 2, none), (strict, "12 h ahead", now + day // 2, none)):
        told = client.produced(raw.produce(topic, 0, stamped(at)), topic)
        if told != code:
            problems.append(f"{what}: error {told}, not {code}")
    # Whoever allows the far future keeps records until then; the next segment goes by its own time.
    short = stage.topic(configs=[("retention.ms", "2000"), ("segment.bytes", "1048576"), ("message.timestamp.after.max.ms", str((1 << 63) - 1)), ("file.delete.delay.ms", "0")])
    filler = raw.produce(short, 0, raw.batch([b"x" * 1000] * 500))
    for _ in range(6):
        client.produced(filler, short)

    def start_of(topic):
        asked = raw.array([raw.text(topic) + raw.array([struct.pack(">iiq", 0, -1, -2)])])
        answer = client.ask(raw.request(raw.LIST_OFFSETS, struct.pack(">ib", -1, 0) + asked))
        return struct.unpack_from(">q", answer, 4 + 4 + 4 + 2 + len(topic) + 4 + 4 + 2 + 8)[0]

    took = scene.eventually(lambda: start_of(short) > 0, 30)
    if took is None:
        problems.append("what is too old is not deleted")
    return f"asked=9 retention_s={took or -1:.1f}", problems


def as_nobody(stage):
    """The broker runs as a user whose rights count."""
    place = stage.place / "data"
    place.mkdir()
    shutil.chown(place, NOBODY, NOBODY)
    for parent in (stage.place, *stage.place.parents):
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o055)
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        raise scene.Skip("not root, or no setpriv")
    stage.args.command = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups " + stage.args.command
    return place


def chmod_all(place, mode):
    for path in [place, *place.rglob("*")]:
        if path.is_dir():
            path.chmod(mode)


def taken_away(stage):
    """First nobody may write in the directory any more, then it is not there any more."""
    place = as_nobody(stage)
    stage.start("log.segment.bytes=1048576")
    kill_restart.create_topic(stage.broker.address, "ledger", PARTITIONS)
    book, problems = ledger.Ledger(stage.broker.address, "ledger", PARTITIONS, 1), []
    book.start()
    scene.eventually(lambda: len(book.acked) > 1000)
    chmod_all(place, 0o555)
    stuck = scene.eventually(lambda: still(lambda: len(book.acked), 1.5), 60)
    ended = stage.broker.process.poll()
    refused_at = len(book.acked)
    chmod_all(place, 0o755)
    resumed = scene.eventually(lambda: len(book.acked) > refused_at + 1000, 20) if ended is None else None
    by_itself = resumed is not None
    if not by_itself:
        if stage.broker.process.poll() is None:
            stage.broker.kill()
        stage.broker.start()
    problems += verdict(book, stage.broker.address)
    shutil.rmtree(place, ignore_errors=True)
    client = stage.client(patience_s=20)
    told = []
    for _ in range(20):
        with contextlib.suppress(OSError, EOFError):
            told.append(client.produced(raw.produce("ledger", 0, raw.batch([b"y" * 1000] * 900)), "ledger"))
        if stage.broker.process.poll() is not None:
            break
    with contextlib.suppress(OSError, EOFError):
        raw.Client(stage.port, patience_s=20).ask(raw.create_topics(["another"]))
    code = stage.broker.process.poll()
    if code is None:
        code, took = stage.broker.stop()
        if took >= 5:
            problems.append(f"it takes {took:.0f} s to stop without its directory")
    return (f"read_only[stuck_after_s={stuck} ended={ended} resumed={'by itself' if by_itself else 'after a restart'}] acked={len(book.acked)} "
            f"deleted[told={sorted(set(told))} exit={code}]"), problems


def still(fact, seconds):
    before = fact()
    time.sleep(seconds)
    return fact() == before


SCENES = {"sigterm": sigterm, "crash-loop": crash_loop, "memory": memory, "clock": clock, "timestamps": timestamps, "taken-away": taken_away}

if __name__ == "__main__":
    scene.play(__doc__, SCENES)
