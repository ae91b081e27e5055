#!/usr/bin/env python3
"""connect.py: Kafka Connect, standalone, copies a file through a topic into another file, while the broker is killed and restarted.

Every line of the first file must be in the second one, once, in order.

Needs a JDK, Python with confluent-kafka, and --class-path with connect-runtime, connect-json and connect-file and their dependencies.
"""
import sys
import time

import rig


def properties(path, **values):
    path.write_text("".join(f"{name.replace('_', '.')}={value}\n" for name, value in values.items()))
    return path


def main():
    args = rig.arguments(__doc__, 20_000).parse_args()
    with rig.Rig(args, "connect") as stage:
        source, sink = stage.place / "source.txt", stage.place / "sink.txt"
        source.touch()
        # One partition: the lines of a file have an order.
        stage.topic("lines", 1)
        plain = "org.apache.kafka.connect.storage.StringConverter"
        worker = properties(stage.place / "worker.properties", bootstrap_servers=stage.address, key_converter=plain, value_converter=plain,
                            offset_storage_file_filename=stage.place / "offsets", offset_flush_interval_ms=1000, plugin_path=stage.place,
                            plugin_discovery="hybrid_warn", listeners="http://127.0.0.1:0")
        common = {"tasks_max": 1}
        reads = properties(stage.place / "source.properties", name="reads", file=source, topic="lines", **common,
                           **{"connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector"})
        writes = properties(stage.place / "sink.properties", name="writes", file=sink, topics="lines", **common,
                            **{"connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector"})
        stage.run("connect", ["java", "-Xmx384m", "-cp", args.class_path, "org.apache.kafka.connect.cli.ConnectStandalone", worker, reads, writes])
        with open(source, "a", buffering=1) as lines:
            for number in range(args.records):
                stage.pace(number)
                lines.write(f"line {number}\n")
        found, moved = 0, time.monotonic()
        while found < args.records and time.monotonic() - moved < 90:
            now = sink.read_text().count("\n") if sink.exists() else 0
            moved = time.monotonic() if now > found else moved
            found = now
            time.sleep(0.2)
        copied = sink.read_text().splitlines() if sink.exists() else []
        due = source.read_text().splitlines()
        at = next((at for at, (a, b) in enumerate(zip(copied, due)) if a != b), min(len(copied), len(due)))
        wrong = [] if copied == due else [f"{len(copied)} lines were copied of {len(due)}; the first wrong one is {at}: {copied[at:at + 2]}"]
        return stage.verdict(f"lines={len(due)} copied={len(copied)}", wrong)


if __name__ == "__main__":
    sys.exit(main())
