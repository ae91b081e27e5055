#!/usr/bin/env python3
"""image_copy.py: a power cut, as near as one machine without special hardware comes to it.

The data directory lies in a file system of its own inside an image file. Under load the image is copied, which takes
what the file system has given to its device and leaves behind what is only in the page cache. The copy is checked and mounted elsewhere and
a broker started on it: everything acknowledged before the copy began must be there. The broker is stopped (SIGSTOP)
for the moment of the copy, because a copy that takes time would otherwise mix several moments into one, which no power
cut does; the kernel goes on writing. Needs root, loop devices, and Python with confluent-kafka.
"""
import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers
import kill_restart
import ledger

PARTITIONS = 6


def run(*argv, allowed=(0,)):
    done = subprocess.run(list(map(str, argv)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode not in allowed:
        raise SystemExit(f"{' '.join(map(str, argv))}: {done.stdout}")


def one_round(command, place, rng, image_mb):
    """One copy under load; returns (acknowledged before the copy, problems)."""
    place.mkdir()
    image, copy, live, other = place / "image", place / "copy", place / "live", place / "other"
    live.mkdir(), other.mkdir()
    with open(image, "wb") as f:
        f.truncate(image_mb << 20)
    run("mkfs.ext4", "-q", "-F", image)
    run("mount", "-o", "loop", image, live)
    running, copied = None, None
    try:
        running = brokers.Broker(command, live / "data", brokers.free_port(), place / "live.log")
        running.start()
        kill_restart.create_topic(running.address, "ledger", PARTITIONS)
        book = ledger.Ledger(running.address, "ledger", PARTITIONS, rng.randrange(1 << 20))
        book.start()
        # On a busy machine the first answer takes its time; without one there would be nothing to check.
        while not book.acked:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.5, 3))
        with book.lock:
            acked = dict(book.acked)
        os.kill(running.process.pid, signal.SIGSTOP)
        run("cp", "--sparse=always", image, copy)
        os.kill(running.process.pid, signal.SIGCONT)
        book.finish()
        run("e2fsck", "-p", copy, allowed=(0, 1))
        run("mount", "-o", "loop", copy, other)
        copied = brokers.Broker(command, other / "data", brokers.free_port(), place / "other.log")
        copied.start()
        found = ledger.read_back(copied.address, "ledger", PARTITIONS)
        return len(acked), ledger.problems(acked, book.sent, found, {})
    finally:
        for one, mounted in ((running, live), (copied, other)):
            if one and one.process.poll() is None:
                one.kill()
            subprocess.run(["umount", str(mounted)], stderr=subprocess.DEVNULL)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA)
    ap.add_argument("--rounds", type=int, default=20)
    ap.add_argument("--image-mb", type=int, default=256)
    ap.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    args = ap.parse_args()
    rng, top = random.Random(args.seed), pathlib.Path(tempfile.mkdtemp(prefix="ottla-image-"))
    total, bad = 0, 0
    for number in range(args.rounds):
        acked, wrong = one_round(args.command, top / str(number), rng, args.image_mb)
        total, bad = total + acked, bad + bool(wrong or not acked)
        for line in wrong[:5]:
            print(line)
        print(f"round={number} acked_before_copy={acked} wrong={len(wrong)}", flush=True)
        if not wrong:
            shutil.rmtree(top / str(number))
    print(f"rounds={args.rounds} acked_before_copies={total} bad_rounds={bad} seed={args.seed} {'FAIL' if bad else 'PASS'}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
