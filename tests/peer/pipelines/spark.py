#!/usr/bin/env python3
"""spark.py: Spark structured streaming reads a topic into parquet files with a checkpoint, while the broker is killed and restarted
and the driver is killed once and started again.

The numbers in the files must be those that were written, each once.

Needs a JDK, Python with confluent-kafka, pyspark and pyarrow, and --class-path with spark-sql-kafka-0-10 and its dependencies.
"""
import sys
import time

import rig


def job(address, place, jars):
    """The driver: reads for ever, in the process that is killed."""
    from pyspark.sql import SparkSession
    spark = (SparkSession.builder.master("local[2]").appName("copy").config("spark.jars", jars.replace(":", ","))
             .config("spark.driver.memory", "600m").config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "2").getOrCreate())
    lines = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", address).option("subscribe", "numbers")
             .option("startingOffsets", "earliest").option("failOnDataLoss", "true").load())
    (lines.selectExpr("cast(cast(value as string) as int) as number").writeStream.format("parquet").option("path", f"{place}/out")
     .option("checkpointLocation", f"{place}/checkpoint").trigger(processingTime="1 second").start().awaitTermination())


def numbers_in(place):
    """Only what the sink's own log of finished files names counts: that is how Spark reads it."""
    import json
    import pyarrow.parquet as parquet
    names = set()
    for entry in (place / "out" / "_spark_metadata").glob("*"):
        if entry.suffix in ("", ".compact") and not entry.name.startswith("."):
            names |= {json.loads(line)["path"].rsplit("/", 1)[-1] for line in entry.read_text().splitlines()[1:]}
    return [number for name in names for number in parquet.read_table(place / "out" / name)["number"].to_pylist()]


def main():
    if sys.argv[1:2] == ["--job"]:
        return job(*sys.argv[2:])
    ap = rig.arguments(__doc__, 20_000)
    args = ap.parse_args()
    with rig.Rig(args, "spark") as stage:
        stage.topic("numbers")
        driver = [stage.run("spark", [sys.executable, __file__, "--job", stage.address, stage.place, args.class_path], start_new_session=True)]

        def kill_driver(number):
            if number == args.records // 2:
                import os
                import signal
                os.killpg(driver[0].pid, signal.SIGKILL)
                driver[0].wait()
                driver[0] = stage.run("spark", [sys.executable, __file__, "--job", stage.address, stage.place, args.class_path], start_new_session=True)

        wrong = stage.write("numbers", str, before=kill_driver)
        found, moved, count = [], time.monotonic(), 0
        while count < args.records and time.monotonic() - moved < 120:
            time.sleep(1)
            found = numbers_in(stage.place)
            moved = time.monotonic() if len(found) > count else moved
            count = len(found)
        stage.end(driver[0])
        wrong += rig.once_each(numbers_in(stage.place), args.records, "number")
        return stage.verdict(f"numbers={args.records} found={len(found)} driver_killed=1", wrong)


if __name__ == "__main__":
    sys.exit(main())
