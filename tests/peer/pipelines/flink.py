#!/usr/bin/env python3
"""flink.py: a Flink job copies a topic exactly once, while the broker is killed and restarted and the job fails again and again.

Copy.java commits a transaction with each checkpoint; after a failure a new task commits what the old one had prepared. Read committed, the copies must be
the numbers that were written, each once. Both ways of naming transactions are tried: INCREMENTING (a new id for each checkpoint) and POOLING (ids are used again,
and open ones are found by ListTransactions).

Needs a JDK, Python with confluent-kafka, and --class-path with flink-streaming-java, flink-clients, flink-connector-kafka and their dependencies.
"""
import sys

import rig


def main():
    ap = rig.arguments(__doc__, 20_000)
    ap.add_argument("--naming", nargs="*", default=("INCREMENTING", "POOLING"))
    args, code = ap.parse_args(), 0
    opens = [word for package in ("java.util", "java.lang", "java.net", "java.time") for word in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")]
    for naming in args.naming:
        with rig.Rig(args, "flink") as stage:
            stage.topic("numbers")
            stage.topic("copies")
            classes = stage.place / "classes"
            compiled = stage.run("javac", ["javac", "-cp", args.class_path, "-d", classes, rig.HERE / "Copy.java"])
            if compiled.wait(120):
                raise SystemExit(f"FAIL: Copy.java does not compile, see {stage.place}/javac.log")
            job = stage.run("flink", ["java", "-Xmx700m", *opens, "-cp", f"{classes}:{args.class_path}", "Copy", stage.address, stage.place / "checkpoints", naming])
            wrong = stage.write("numbers", str)
            found = [int(value) for _, value in stage.committed("copies", args.records, patience_s=120)]
            failures = (stage.place / "flink.log").read_text(errors="replace").count("a failure on purpose")
            if not failures:
                wrong.append("the job never failed: resuming was not tried")
            if job.poll() is not None:
                wrong.append(f"the job ended with {job.poll()}")
            wrong += rig.once_each(found, args.records, "number")
            stage.end(job)
            code |= stage.verdict(f"naming={naming} numbers={args.records} copied={len(found)} failures={failures}", wrong)
    return code


if __name__ == "__main__":
    sys.exit(main())
