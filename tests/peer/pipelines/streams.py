#!/usr/bin/env python3
"""streams.py: Kafka Streams counts words exactly once, while the broker is killed with kill -9 and restarted.

Counts.java reads lines, repartitions their words, keeps counts in a changelog topic and writes every new count, in transactions
(exactly_once_v2). Read committed, each word's counts must be 1, 2, 3, ... to the number of times it was written, none twice, none left out.

Needs a JDK, Python with confluent-kafka, and --class-path with kafka-streams and its dependencies.
"""
import collections
import random
import sys

import rig

WORDS = [f"word{number}" for number in range(200)]


def main():
    args = rig.arguments(__doc__, 20_000).parse_args()
    rng, expected, seen = random.Random(1), collections.Counter(), collections.defaultdict(list)

    def line(_):
        words = rng.choices(WORDS, k=5)
        expected.update(words)
        return " ".join(words)

    with rig.Rig(args, "streams") as stage:
        stage.topic("lines")
        stage.topic("counts")
        stage.run("streams", ["java", "-Xmx384m", "-cp", args.class_path, rig.HERE / "Counts.java", stage.address, stage.place / "state"])
        wrong = stage.write("lines", line)
        for word, count in stage.committed("counts", sum(expected.values())):
            seen[word.decode()].append(int(count))
        for word in sorted(set(expected) | set(seen)):
            due = list(range(1, expected[word] + 1))
            if seen[word] != due:
                first = next((at for at, (a, b) in enumerate(zip(seen[word], due)) if a != b), min(len(seen[word]), len(due)))
                wrong.append(f"{word}: {len(seen[word])} counts for {expected[word]}, first wrong at {first}: {seen[word][max(0, first - 2):first + 3]}")
        return stage.verdict(f"lines={args.records} words={sum(expected.values())} counted={sum(map(len, seen.values()))}", wrong)


if __name__ == "__main__":
    sys.exit(main())
