"""What the pipelines share: a broker that is killed while they work, numbered records as input, and what was committed as output."""
import argparse
import collections
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import confluent_kafka as ck

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "faults"))
import broker as brokers
import kill_restart

PARTITIONS = 4


def arguments(doc, records):
    """The options that all have, to which one may add its own."""
    ap = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA + " --set num.partitions=4", help="how to start the broker: {dir} and {port} are filled in")
    ap.add_argument("--class-path", required=True, help="jars, from Maven, joined by colons")
    ap.add_argument("--records", type=int, default=records)
    ap.add_argument("--kills", type=int, default=3, help="how often the broker is killed with kill -9 while records are written")
    ap.add_argument("--seconds", type=float, default=40, help="how long the writing takes")
    return ap


class Rig:
    """A broker, a place for files, and outside processes; `with` ends them all."""

    def __init__(self, args, name):
        self.args, self.place = args, pathlib.Path(tempfile.mkdtemp(prefix=f"ottla-{name}-"))
        self.broker = brokers.Broker(args.command, self.place / "data", brokers.free_port(), self.place / "broker.log")
        self.apps = []

    def __enter__(self):
        self.broker.start()
        self.address = self.broker.address
        return self

    def __exit__(self, *_):
        for app in self.apps:
            self.end(app)
        if self.broker.process.poll() is None:
            self.broker.kill()

    def topic(self, name, partitions=PARTITIONS):
        kill_restart.create_topic(self.address, name, partitions)

    def run(self, name, argv, **how):
        """Starts an outside process; what it says goes to a file of its name."""
        log = open(self.place / f"{name}.log", "ab")
        app = subprocess.Popen([str(word) for word in argv], stdout=log, stderr=log, **how)
        self.apps.append(app)
        return app

    def end(self, app):
        if app.poll() is None:
            app.terminate()
            try:
                app.wait(30)
            except subprocess.TimeoutExpired:
                app.kill()
                app.wait()

    def pace(self, number):
        """Called before each record: takes its time, and kills the broker when it is due."""
        args = self.args
        if number % 100 == 0:
            time.sleep(args.seconds / (args.records / 100))
        if args.kills and number and number % max(1, args.records // (args.kills + 1)) == 0:
            self.broker.kill()
            self.broker.start()

    def write(self, topic, value, before=lambda number: None):
        """Writes `records` values, `value(number)` each, and returns when all are acknowledged; what went wrong."""
        producer, told = ck.Producer({"bootstrap.servers": self.address, "enable.idempotence": True, "message.timeout.ms": 0, "log_level": 2}), collections.Counter()
        for number in range(self.args.records):
            self.pace(number)
            before(number)
            producer.produce(topic, value(number), partition=number % PARTITIONS, on_delivery=lambda error, _: told.update([error is None]))
            producer.poll(0)
        producer.flush(120)
        return [] if told[True] == self.args.records else [f"{told[True]} of {self.args.records} records were acknowledged"]

    def committed(self, topic, count, patience_s=90):
        """The committed records of a topic, (key, value) in the order of their partitions: until there are `count` and nothing comes behind
        them, or nothing has come for so long."""
        consumer = ck.Consumer({"bootstrap.servers": self.address, "group.id": "check", "isolation.level": "read_committed",
                                "enable.auto.commit": False, "auto.offset.reset": "earliest", "log_level": 2})
        consumer.assign([ck.TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        found, moved = [], time.monotonic()
        while time.monotonic() - moved < (patience_s if len(found) < count else 4):
            for message in consumer.consume(1000, 0.2):
                if message.error() is None:
                    found.append((message.key(), message.value()))
                    moved = time.monotonic()
        consumer.close()
        return found

    def verdict(self, figures, wrong):
        """Prints the line of figures; ends the process."""
        code, _ = self.broker.stop()
        wrong += [f"SIGTERM: exit code {code}"] if code else []
        for line in wrong[:20]:
            print(line)
        print(f"{figures} kills={self.args.kills} wrong={len(wrong)} {'FAIL' if wrong else 'PASS'}")
        if wrong:
            print(f"kept for a look: {self.place}")
        else:
            shutil.rmtree(self.place, ignore_errors=True)
        return 1 if wrong else 0


def once_each(found, records, what="value"):
    """Numbers read against those written: each once."""
    times = collections.Counter(found)
    wrong = [f"{what} {number} is not there" for number in range(records) if number not in times]
    wrong += [f"{what} {number} is there {count} times" for number, count in sorted(times.items()) if count > 1]
    return wrong + [f"{what} {number} was never written" for number in times if not 0 <= number < records]
