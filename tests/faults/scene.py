"""What the scenes of one fault script share: the broker under test, its vital signs, a well-behaved client whose answers
are timed while others misbehave, and those others, who live in processes of their own.

A scene is a function that takes a Stage and returns (figures, problems). `play` runs them, prints one line each, and
exits 1 if any has a problem.
"""
import argparse
import multiprocessing
import os
import pathlib
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers
import raw

TICKS = os.sysconf("SC_CLK_TCK")


class Skip(Exception):
    """Something that this machine does not have."""


class Vitals:
    """Memory, descriptors and CPU of one process."""

    def __init__(self, pid):
        self.pid = pid

    def _status(self, name):
        for line in open(f"/proc/{self.pid}/status"):
            if line.startswith(name):
                return int(line.split()[1])
        return 0

    def rss_kib(self):
        return self._status("VmRSS:")

    def peak_kib(self):
        return self._status("VmHWM:")

    def reset_peak(self):
        open(f"/proc/{self.pid}/clear_refs", "w").write("5")

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_s(self):
        fields = open(f"/proc/{self.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


class Stage:
    """A broker, fresh for each scene unless one was given that runs already."""

    def __init__(self, args):
        self.args = args
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="ottla-fault-"))
        self.broker = None
        self.names = 0
        self.workers = []

    def start(self, *settings, limit_files=None):
        """Starts the broker with settings (`name=value`); one that was given has its own."""
        if self.args.attach:
            self.port, pid = self.args.attach, self.args.pid
        else:
            command = self.args.command + "".join(f" --set {shlex.quote(s)}" for s in settings)
            if limit_files:
                command = f"sh -c {shlex.quote(f'ulimit -n {limit_files}; exec {command}')}"
            self.broker = brokers.Broker(command, self.place / "data", brokers.free_port(), self.place / "broker.log")
            self.ready_s = self.broker.start()
            self.port, pid = self.broker.port, self.broker.process.pid
        self.vitals = Vitals(pid)
        return self.vitals

    def client(self, **how):
        return raw.Client(self.port, **how)

    def topic(self, partitions=1, configs=()):
        self.names += 1
        name = f"scene-{os.getpid()}-{time.time_ns() % 10**9}-{self.names}"
        client = self.client()
        client.create(name, partitions, configs)
        client.close()
        return name

    def crowd(self, behave, *args, processes=1):
        """Processes that run `behave(ready, stop, port, *args)`; returns once each has called `ready(note)`, with the notes."""
        notes = []
        for number in range(processes):
            notes.append(multiprocessing.SimpleQueue())
            stop = multiprocessing.Event()
            worker = multiprocessing.Process(target=_behave, args=(behave, notes[-1], stop, self.port, number, *args), daemon=True)
            worker.start()
            self.workers.append((worker, stop, notes[-1]))
        return [_said(queue, worker) for queue, (worker, _, _) in zip(notes, self.workers[-processes:])]

    def dismiss(self):
        """Ends the crowd; what each worker returned."""
        said = []
        for worker, stop, _ in self.workers:
            stop.set()
        for worker, _, queue in self.workers:
            said.append(_said(queue, worker))
            worker.join()
        self.workers = []
        return said

    def end(self):
        for worker, _, _ in self.workers:
            worker.kill()
            worker.join()
        self.workers = []
        if self.broker and self.broker.process.poll() is None:
            self.broker.kill()
        self.broker = None


def _said(queue, worker):
    """The next word of a worker; the script ends with one that ended without a word."""
    while queue.empty():
        worker.join(0.01)
        if not worker.is_alive() and queue.empty():
            raise SystemExit(f"FAIL: one of the crowd ended with {worker.exitcode}")
    return queue.get()


def _behave(behave, queue, stop, port, number, *args):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    queue.put(behave(queue.put, stop, port, number, *args))


class Latency:
    """Times of one well-behaved client, in milliseconds."""

    def __init__(self, times):
        self.times = sorted(times)

    def at(self, share):
        return self.times[min(len(self.times) - 1, int(share * len(self.times)))]

    def __str__(self):
        return f"p50={self.at(.5):.2f} p99={self.at(.99):.2f} max={self.times[-1]:.1f} ms"


def produce_for(port, topic, seconds, pause_s=0.002, partition=0):
    """One record a request, one request at a time, for so long: the times until each was acknowledged."""
    client, frame, times = raw.Client(port), raw.produce(topic, partition, raw.batch([b"x" * 100])), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        code = client.produced(frame, topic)
        times.append((time.perf_counter() - began) * 1000)
        if code:
            raise SystemExit(f"FAIL: a well-behaved producer was refused with error {code}")
        time.sleep(pause_s)
    client.close()
    return Latency(times)


def eventually(fact, patience_s=30):
    """Waits until `fact()` is true; the seconds it took, or None."""
    began = time.monotonic()
    while not fact():
        if time.monotonic() - began > patience_s:
            return None
        time.sleep(0.02)
    return time.monotonic() - began


def play(doc, scenes, options=()):
    """Runs the scenes that were asked for, each on a stage of its own."""
    ap = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA, help="how to start the broker: {dir} and {port} are filled in")
    ap.add_argument("--attach", type=int, metavar="PORT", help="a broker that runs already (with --pid)")
    ap.add_argument("--pid", type=int)
    ap.add_argument("--quick", action="store_true", help="smaller crowds and shorter times, for every change")
    ap.add_argument("scene", nargs="*", help="which of: " + ", ".join(scenes))
    for name, how in options:
        ap.add_argument(name, **how)
    args = ap.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    failed = False
    for name in args.scene or scenes:
        stage = Stage(args)
        began = time.monotonic()
        try:
            figures, problems = scenes[name](stage)
        except Skip as why:
            figures, problems = f"SKIP: {why}", []
        except (OSError, EOFError) as error:
            figures, problems = "", [f"the broker did not serve: {error!r}"]
        stage.end()
        failed |= bool(problems)
        for problem in problems[:20]:
            print(f"  {problem}; log: {stage.place}/broker.log")
        print(f"{name}: {figures} ({time.monotonic() - began:.0f} s) {'FAIL' if problems else 'PASS'}", flush=True)
        if not problems:
            subprocess.run(["rm", "-rf", stage.place], check=False)
    sys.exit(1 if failed else 0)


def median(values):
    return statistics.median(values)
