#!/usr/bin/env python3
"""storm.py: groups under pressure: members that come, leave and vanish at random, by both protocols; very many groups that commit.

Each scene prints one line of figures and PASS or FAIL. Needs Python 3.9+ and nothing else.
"""
import collections
import pathlib
import random
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import raw_groups
import raw
import scene


class Ledger:
    """What was committed: no offset is lost, none is committed twice."""

    def __init__(self, partitions):
        self.lock, self.acknowledged, self.sent = threading.Lock(), [0] * partitions, [0] * partitions
        self.commits, self.lost, self.twice, self.problems = 0, 0, 0, []

    def least(self, partition):
        with self.lock:
            return self.acknowledged[partition]

    def sends(self, partition, offset):
        with self.lock:
            self.sent[partition] = max(self.sent[partition], offset)

    def committed(self, partition, offset, least):
        """A commit was acknowledged; `least` was acknowledged before it was sent."""
        with self.lock:
            self.commits += 1
            if offset <= least:
                self.twice += 1
                self.problems.append(f"{offset} of {partition} was committed, after {least}")
            self.acknowledged[partition] = max(self.acknowledged[partition], offset)

    def read(self, partition, offset, least):
        with self.lock:
            if not least <= offset <= self.sent[partition]:
                self.lost += 1
                self.problems.append(f"{partition} stands at {offset}, {least} was acknowledged, {self.sent[partition]} sent")


class Life(threading.Thread):
    """One place in the group, taken by one member after the other while the storm lasts."""

    def __init__(self, make, ledger, seed, stay_s):
        super().__init__(daemon=True)
        self.make, self.ledger, self.chance, self.stay_s = make, ledger, random.Random(seed), stay_s
        self.storm, self.over, self.lives, self.member, self.quiet_since = True, False, 0, None, None
        self.ended_by = collections.Counter()

    def run(self):
        while not self.over:
            try:
                self.live()
            except (raw_groups.Refused, OSError, EOFError) as error:
                self.ended_by[str(error) or repr(error)] += 1
                self.quiet_since = None
                time.sleep(self.chance.uniform(0.05, 0.3))

    def live(self):
        self.lives += 1
        member = self.make()
        try:
            member.find()
            member.join()
            self.member, leaves_at = member, time.monotonic() + self.chance.expovariate(1 / self.stay_s)
            stands = {}
            while not self.over and not (self.storm and time.monotonic() > leaves_at):
                time.sleep(self.chance.uniform(0.2, 0.6))
                try:
                    changed = member.beat()
                except raw_groups.Refused as error:
                    if error.code not in raw_groups.NOT_NOW:
                        raise
                    continue
                if changed:
                    stands, self.quiet_since = {}, None
                elif self.quiet_since is None:
                    self.quiet_since = time.monotonic()
                self.commit(member, stands)
            if not self.over and self.chance.random() < 0.6:
                member.leave()
        finally:
            self.member, self.quiet_since = None, None
            member.vanish()

    def commit(self, member, stands):
        for partition in self.chance.sample(sorted(member.owned), min(2, len(member.owned))):
            if partition not in stands:
                least = self.ledger.least(partition)
                offset = max(member.committed(partition), 0)
                self.ledger.read(partition, offset, least)
                stands[partition] = offset
            offset, least = stands.pop(partition) + 1, self.ledger.least(partition)
            self.ledger.sends(partition, offset)
            try:
                member.commit(partition, offset)
            except raw_groups.Refused as error:
                # Behind its group, which it hears of at its next heartbeat; whatever else it is told ends this life.
                if error.code not in raw_groups.NOT_NOW:
                    raise
                continue
            self.ledger.committed(partition, offset, least)
            stands[partition] = offset


def is_stable(lives, partitions):
    """Every partition has one owner, and everybody agrees."""
    members_now = [life.member for life in lives]
    if any(member is None or life.quiet_since is None for member, life in zip(members_now, lives)):
        return False
    owned = sorted(partition for member in members_now for partition in member.owned)
    return owned == list(range(partitions)) and len({member.epoch for member in members_now}) == 1


def rebalance(stage, kind, *settings):
    """Members that come, leave and vanish."""
    vitals = stage.start(*settings)
    n, storm_s = (40, 10) if stage.args.quick else (200, 30)
    topic, client = stage.topic(partitions=n), stage.client()
    about = {"topic_id": raw_groups.topic_id(client, topic)} if kind is raw_groups.Consumer else {"partitions": n}
    ledger, before = Ledger(n), vitals.rss_kib()
    lives = [Life(lambda: kind(stage.port, "storm-" + topic, topic, **about), ledger, seed, storm_s / 3) for seed in range(n)]
    for life in lives:
        life.start()
    time.sleep(storm_s)
    cpu, began = vitals.cpu_s(), time.monotonic()
    in_storm = ledger.commits
    for life in lives:
        life.storm = False
    stable_s = scene.eventually(lambda: is_stable(lives, n), 120)
    taken = ledger.commits
    goes_on = scene.eventually(lambda: ledger.commits > taken + n, 30)
    peak = vitals.peak_kib() - before
    for life in lives:
        life.over = True
    for life in lives:
        life.join(30)
    problems = list(ledger.problems)
    if stable_s is None:
        owned = [len(life.member.owned) if life.member else None for life in lives]
        ended_by = sum((life.ended_by for life in lives), collections.Counter())
        problems.append(f"the group is not stable after 120 s: {collections.Counter(owned)}, lives were ended by {dict(ended_by)}")
    if goes_on is None:
        problems.append("commits are not taken once it is quiet")
    lives_lived = sum(life.lives for life in lives)
    return (f"members={n} lives={lives_lived} storm_s={storm_s} stable_after_s={stable_s and round(stable_s, 1)} commits={ledger.commits} "
            f"of_them_in_the_storm={in_storm} lost={ledger.lost} twice={ledger.twice} peak_mib={peak / 1024:.1f} cpu_s={cpu:.1f}"), problems


def classic(stage):
    """The classic protocol, eager: every change makes everybody join again."""
    return rebalance(stage, raw_groups.Classic)


def consumer(stage):
    """The consumer protocol: the broker moves partitions one by one."""
    return rebalance(stage, raw_groups.Consumer, "group.consumer.session.timeout.ms=6000", "group.consumer.min.session.timeout.ms=6000",
                     "group.consumer.heartbeat.interval.ms=1000", "group.consumer.min.heartbeat.interval.ms=1000")


def commit_of(group, topic, partitions, offset):
    rows = raw.array([struct.pack(">iqi", partition, offset, -1) + raw_groups.NULL for partition in range(partitions)])
    body = raw.text(group) + struct.pack(">i", -1) + raw.text("") + raw_groups.NULL + raw.array([raw.text(topic) + rows])
    return raw.request(raw_groups.OFFSET_COMMIT, body, version=7)


def commit_all(client, topic, groups, partitions, offset, window=200):
    """Commits of all groups, many in flight at a time; how many were refused."""
    refused, waiting = 0, []

    def look():
        words = raw_groups.Words(client.receive())
        words.number("i"), words.number("i"), words.text()
        codes = [(words.number("i"), words.number("h"))[1] for _ in range(words.number("i"))]
        return any(codes)

    for at in range(groups):
        client.socket.sendall(commit_of(f"flood-{at}", topic, partitions, offset))
        waiting.append(at)
        if len(waiting) > window:
            waiting.pop(0)
            refused += look()
    return refused + sum(look() for _ in waiting)


def stands_at(port, topic, group, partition):
    member = raw_groups.Member(port, group, topic)
    try:
        return member.committed(partition)
    except raw_groups.Refused:
        return None
    finally:
        member.vanish()


def log_mib(stage):
    if stage.broker is None:
        return 0
    files = (stage.place / "data").rglob("*.log")
    return sum(file.stat().st_size for file in files if "__consumer_offsets" in str(file)) / 2**20


def commits(stage):
    """Very many groups commit, the broker is killed and started again."""
    vitals = stage.start()
    groups, partitions = (5_000, 10) if stage.args.quick else (50_000, 10)
    topic = stage.topic(partitions=partitions)
    member = raw_groups.Member(stage.port, "flood-0", topic)
    member.find()
    scene.eventually(lambda: not commit_all(stage.client(), topic, 50, 1, 1))
    before, problems, rounds = vitals.rss_kib(), [], []
    for offset in (1, 2):
        began = time.monotonic()
        refused = commit_all(stage.client(), topic, groups, partitions, offset)
        rounds.append(time.monotonic() - began)
        if refused:
            problems.append(f"{refused} commits were refused")
    grown, size = vitals.rss_kib() - before, log_mib(stage)
    figures = (f"groups={groups} offsets={groups * partitions} offsets_per_s={groups * partitions / rounds[0]:.0f} "
               f"bytes_per_offset={grown * 1024 / (groups * partitions):.0f} rss_mib={vitals.rss_kib() / 1024:.0f} log_mib={size:.0f}")
    if stage.broker is None:
        return figures, problems
    stage.broker.kill()
    began = time.monotonic()
    stage.broker.start()
    up_s = time.monotonic() - began
    # One group of each of many partitions of the log: each of those has been read to its end when they have their answers.
    asked = [f"flood-{at}" for at in range(groups - 500, groups)]
    loaded = scene.eventually(lambda: all(stands_at(stage.port, topic, group, partitions - 1) is not None for group in asked), 120)
    loaded_s = time.monotonic() - began
    wrong = [group for group in asked if stands_at(stage.port, topic, group, partitions - 1) != 2]
    if loaded is None or wrong:
        problems.append(f"after the restart {len(wrong)} groups do not stand at 2: {wrong[:3]}")
    after = scene.Vitals(stage.broker.process.pid)
    return f"{figures} up_s={up_s:.1f} loaded_s={loaded_s:.1f} rss_after_mib={after.rss_kib() / 1024:.0f}", problems


SCENES = {"classic": classic, "consumer": consumer, "commits": commits}

if __name__ == "__main__":
    scene.play(__doc__, SCENES)
