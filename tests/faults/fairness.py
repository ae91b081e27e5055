#!/usr/bin/env python3
"""fairness.py: what one small producer feels while one other connection does all that it can.

The small producer sends one record a request and waits for each acknowledgement. Beside it one connection saturates the node:
produces large batches with some in flight, or fetches, or sends small requests without end. Rounds without and with it take
turns, because what else happens on a machine changes; a round's p99 without is held against that of the round after it with.

Each scene prints one line of figures and PASS or FAIL. Needs Python 3.9+ and nothing else.
"""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import raw
import scene

TIMES_MAX = 3


def saturate(ready, stop, port, number, frame, in_flight):
    """One connection that keeps so many requests in flight for as long as it may."""
    client, done, waiting = raw.Client(port), 0, 0
    ready(0)
    while not stop.is_set():
        client.socket.sendall(frame * (in_flight - waiting))
        waiting = in_flight - 1
        client.receive()
        done += 1
    began = time.monotonic()
    return done


def compared(stage, frame, in_flight, topic):
    quick = stage.args.quick
    rounds, seconds = (3, 1) if quick else (stage.args.rounds, 4)
    scene.produce_for(stage.port, topic, 1)
    idle, busy, ratios, done = [], [], [], 0
    for _ in range(rounds):
        idle.append(scene.produce_for(stage.port, topic, seconds, pause_s=0.001))
        stage.crowd(saturate, frame, in_flight)
        began = time.monotonic()
        busy.append(scene.produce_for(stage.port, topic, seconds, pause_s=0.001))
        took = time.monotonic() - began
        done += stage.dismiss()[0] / took / rounds
        ratios.append(busy[-1].at(.99) / idle[-1].at(.99))
    middle = scene.median(ratios)
    mb = done * len(frame) / 1e6
    figures = (f"other_requests_s={done:.0f} other_mb_s={mb:.0f} "
               f"idle_p50={scene.median(t.at(.5) for t in idle):.2f} idle_p99={scene.median(t.at(.99) for t in idle):.2f} "
               f"beside_p50={scene.median(t.at(.5) for t in busy):.2f} beside_p99={scene.median(t.at(.99) for t in busy):.2f} ms times={middle:.1f}")
    return figures, [] if middle <= TIMES_MAX else [f"the p99 of others is {middle:.1f} times its idle value"]


def beside_a_producer(stage, kib, in_flight, same=False):
    stage.start()
    mine, theirs = stage.topic(), stage.topic()
    frame = raw.produce(mine if same else theirs, 0, raw.batch([b"f" * 1000] * kib))
    return compared(stage, frame, in_flight, mine)


def beside_a_consumer(stage):
    stage.start()
    mine, theirs = stage.topic(), stage.topic()
    client = stage.client()
    for _ in range(64):
        client.produced(raw.produce(theirs, 0, raw.batch([b"f" * 1000] * 1000)), theirs)
    return compared(stage, raw.fetch(theirs, [0], max_bytes=1 << 20, partition_bytes=1 << 20), 5, mine)


def beside_questions(stage):
    stage.start()
    mine = stage.topic()
    return compared(stage, raw.metadata(None), 200, mine)


SCENES = {
    "beside-64k": lambda stage: beside_a_producer(stage, 64, 5),
    "beside-64k-same-partition": lambda stage: beside_a_producer(stage, 64, 5, same=True),
    "beside-1m": lambda stage: beside_a_producer(stage, 1000, 5),
    "beside-small": lambda stage: beside_a_producer(stage, 1, 100),
    "beside-endless": lambda stage: beside_a_producer(stage, 64, 1000),
    "beside-fetch": beside_a_consumer,
    "beside-metadata": beside_questions,
}

if __name__ == "__main__":
    scene.play(__doc__, SCENES, [("--rounds", {"type": int, "default": 5})])
