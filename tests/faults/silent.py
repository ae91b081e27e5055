#!/usr/bin/env python3
"""silent.py: a member dies without a word while its broker is killed every few seconds, and the others get its partitions.

Three members share a topic: of the classic protocol, of the consumer protocol (KIP-848), of both. The broker is killed with kill -9 and
started again in lives that are shorter than a session, first for two sessions while all of them live: none of them may be given up.
Then one vanishes, and the others must own everything after its session and two lives of the broker, give or take a rebalance. Prints
one line for each scene and PASS or FAIL; exits 1 on FAIL.

Needs: Python 3.9+.
"""
import argparse
import pathlib
import shutil
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import broker as brokers
import raw
import raw_groups
import scene

TOPIC, PARTITIONS, SESSION_S, REBALANCE_MS, BEAT_S, UNKNOWN_MEMBER = "watched", 6, 6, 30_000, 0.5, 25
SETTINGS = ["group.min.session.timeout.ms=1000", "group.initial.rebalance.delay.ms=0", f"group.consumer.min.session.timeout.ms={SESSION_S * 1000}",
            f"group.consumer.session.timeout.ms={SESSION_S * 1000}", "group.consumer.min.heartbeat.interval.ms=1000", "group.consumer.heartbeat.interval.ms=1000"]
SCENES = {"classic": [raw_groups.Classic] * 3, "consumer": [raw_groups.Consumer] * 3,
          "both, a classic one dies": [raw_groups.Classic, raw_groups.Classic, raw_groups.Consumer],
          "both, a modern one dies": [raw_groups.Consumer, raw_groups.Classic, raw_groups.Consumer]}


class Life(threading.Thread):
    """A member that lives: it says so, and comes back to the broker as soon as it can."""

    def __init__(self, kind, port, group, topic_id):
        super().__init__(daemon=True)
        self.port, self.over, self.given_up, self.error, self.joined = port, threading.Event(), 0, None, False
        self.member = kind(port, group, TOPIC, topic_id, PARTITIONS, (SESSION_S * 1000, REBALANCE_MS))
        self.member.find()

    def run(self):
        while not self.over.is_set():
            try:
                self.speak()
            except (OSError, EOFError):
                self.member.client.close()
                self.reconnect()
            except raw_groups.Refused as refused:
                self.refused(refused.code)
            self.over.wait(BEAT_S if self.joined else 0.05)
        self.member.vanish()

    def speak(self):
        if not self.joined:
            self.member.join()
            self.joined = True
        # What has changed is said at once.
        while self.member.beat() and not self.over.is_set():
            pass

    def refused(self, code):
        if code in raw_groups.NOT_NOW:
            return
        if code not in raw_groups.OUT:
            self.error = self.error or f"error {code}"
        if code == UNKNOWN_MEMBER:
            self.given_up += 1
            self.member.id = ""
        self.joined = False

    def reconnect(self):
        while not self.over.wait(0.05):
            try:
                self.member.client = raw.Client(self.port, patience_s=60)
                return
            except OSError:
                pass


class Killer(threading.Thread):
    """Kills the broker after each life of so many seconds, and starts it again."""

    def __init__(self, broker, life_s):
        super().__init__(daemon=True)
        self.broker, self.life_s, self.over, self.kills, self.ready_max_s = broker, life_s, threading.Event(), 0, 0

    def run(self):
        while not self.over.wait(self.life_s):
            self.broker.kill()
            self.kills += 1
            self.ready_max_s = max(self.ready_max_s, self.broker.start())


def share_all(lives):
    """Whether each partition is owned by one of them."""
    owned = [partition for life in lives for partition in list(life.member.owned)]
    return sorted(owned) == list(range(PARTITIONS))


def play(name, broker, killer_life_s, slack_s):
    client = raw.Client(broker.port)
    group = name.replace(" ", "-")
    lives = [Life(kind, broker.port, group, raw_groups.topic_id(client, TOPIC)) for kind in SCENES[name]]
    # Those of the classic protocol are there before somebody changes it.
    for life in sorted(lives, key=lambda life: isinstance(life.member, raw_groups.Consumer)):
        life.start()
        scene.eventually(lambda life=life: life.joined, 20)
    problems = ["not at rest at first"] if scene.eventually(lambda: share_all(lives), 30) is None else []
    killer = Killer(broker, killer_life_s)
    killer.start()
    killer.over.wait(2 * SESSION_S)
    calm, dead, rest = sum(life.given_up for life in lives), lives[0], lives[1:]
    dead.over.set()
    dead.join(10)
    bound_s = SESSION_S + 2 * (killer_life_s + killer.ready_max_s) + slack_s
    took_s = scene.eventually(lambda: share_all(rest), bound_s)
    killer.over.set()
    killer.join()
    for life in rest:
        life.over.set()
        life.join(10)
    given_up = sum(life.given_up for life in rest)
    problems += [f"{calm} given up while all lived"] if calm else []
    problems += [f"{given_up} given up that lived"] if given_up > calm else []
    if took_s is None:
        problems.append(f"partitions of the dead stand still after {bound_s:.0f} s")
    elif took_s <= SESSION_S - 2 * BEAT_S:
        problems.append("given up before its session was over")
    problems += [life.error for life in lives if life.error]
    owned = "never" if took_s is None else f"{took_s:.1f} s after the last word"
    print(f"{name}: lives of {killer_life_s:.0f} s, {killer.kills} kills, the others own all {owned} (session {SESSION_S} s) "
          + ("FAIL " + "; ".join(problems) if problems else "PASS"), flush=True)
    return not problems


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--command", default=brokers.OTTLA, help="how to start the broker: {dir} and {port} are filled in")
    ap.add_argument("--life", type=float, default=4, help="seconds that the broker lives")
    ap.add_argument("--slack", type=float, default=5, help="seconds beyond a session and two lives that may pass, for the rebalance")
    ap.add_argument("--scene", choices=SCENES, action="append", help="only this scene; may be repeated")
    args = ap.parse_args()
    around = pathlib.Path(tempfile.mkdtemp(prefix="ottla-fault-"))
    command = args.command + "".join(f" --set {setting}" for setting in SETTINGS)
    broker = brokers.Broker(command, around / "data", brokers.free_port(), around / "broker.log")
    broker.start()
    raw.Client(broker.port).create(TOPIC, PARTITIONS)
    good = [play(name, broker, args.life, args.slack) for name in args.scene or SCENES]
    broker.kill()
    if all(good):
        shutil.rmtree(around)
    print("PASS" if all(good) else f"FAIL; the broker's log: {broker.log.name}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
