#!/usr/bin/env python3
"""killed_beside.py: any command, such as another client's own tests, while its broker is killed with `kill -9` and started again.

    killed_beside.py --every 10 -- some-clients-tests --bootstrap {address}

PASS where the command ends with 0 within its time, the broker was killed at least once before that, and each start answered again. The
first kill comes a whole interval after the start. What the command prints goes to the file named by `--output`, or to the terminal.
"""
import argparse
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", default=brokers.OTTLA, help="how the broker is started; {dir} and {port} are filled in")
    parser.add_argument("--every", type=float, default=10, help="seconds between one kill and the next")
    parser.add_argument("--within", type=float, default=1800, help="seconds the command may take")
    parser.add_argument("--output", help="a file for what the command prints")
    parser.add_argument("beside", nargs="+", help="the command; {address} is filled in")
    return parser.parse_args()


def ended(process, seconds):
    """Whether the process ends within so long."""
    try:
        process.wait(seconds)
        return True
    except subprocess.TimeoutExpired:
        return False


def main():
    args = arguments()
    place = pathlib.Path(tempfile.mkdtemp(prefix="ottla-killed-"))
    broker = brokers.Broker(args.command, place / "data", brokers.free_port(), place / "broker.log")
    ready = [broker.start()]
    beside = [word.replace("{address}", broker.address) for word in args.beside]
    output = open(args.output, "wb") if args.output else None
    began = time.monotonic()
    process = subprocess.Popen(beside, stdin=subprocess.DEVNULL, stdout=output, stderr=output and subprocess.STDOUT)
    problems = []
    try:
        while not ended(process, args.every):
            if time.monotonic() - began > args.within:
                problems.append(f"the command has not ended within {args.within:.0f} s")
                break
            broker.kill()
            ready.append(broker.start())
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        broker.kill()
    if process.returncode:
        problems.append(f"{shlex.join(beside[:1])} ended with {process.returncode}")
    if len(ready) == 1:
        problems.append("the command ended before the first kill")
    print(f"kills={len(ready) - 1} ended_with={process.returncode} took_s={time.monotonic() - began:.0f} "
          f"ready_max_ms={max(ready) * 1000:.0f} " + ("FAIL " + "; ".join(problems) + f"; broker's log: {place / 'broker.log'}" if problems else "PASS"))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
