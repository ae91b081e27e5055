#!/usr/bin/env python3
"""answers.py OURS PEER [--scene NAME] [--all]: puts the same requests to two brokers and compares the answers.

Both brokers must be fresh (no topics) and alike in their settings: node id 1, num.partitions=4. Differences that
allowed.txt names with a reason are counted, any other is printed and makes the exit code 1. What cannot be equal
(ids, ports, clocks) is taken out before. Needs kafka-python 3 and crc32c.
"""
import argparse
import fnmatch
import json
import pathlib
import re
import sys
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import scenes
import scenes_transactions
import wire

HERE = pathlib.Path(__file__).resolve().parent
# Names whose values belong to one broker and one moment.
OWN = {"topic_id", "cluster_id", "port", "correlation_id", "throttle_time_ms", "log_append_time_ms", "producer_id", "documentation",
       "leader_epoch", "current_leader_epoch", "finalized_features_epoch", "session_id", "log_dir", "total_bytes",
       "usable_bytes", "member_id", "leader"}
# Lists whose order says nothing.
UNORDERED = ("configs", "synonyms", "topics", "results", "responses", "api_keys", "config_resources", "groups", "partitions")
# What a broker says of a topic just made until it knows of it: UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE,
# NOT_LEADER_OR_FOLLOWER, and COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE and NOT_COORDINATOR of coordinators. And of what a
# transaction that is just ending leaves open: CONCURRENT_TRANSACTIONS, UNSTABLE_OFFSET_COMMIT.
NOT_YET = (3, 5, 6, 14, 15, 16, 51, 88)
ASKED_MAX, ASK_AGAIN_AFTER_S = 40, 0.05


def plain(value, name=""):
    """The answer without what cannot be equal, lists of named things in the order of their names."""
    if isinstance(value, dict):
        return {k: plain(v, k) for k, v in sorted(value.items()) if k not in OWN}
    if isinstance(value, list):
        items = [plain(v) for v in value]
        return sorted(items, key=_order) if name in UNORDERED else items
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _records(bytes(value))
    if name == "transaction_start_time_ms" and value > 0:
        return "some time"
    return str(value) if isinstance(value, uuid.UUID) else value


def _order(item):
    """The place of one item in an unordered list: by its name where it has one."""
    name = item.get("name") if isinstance(item, dict) else None
    return str(name), json.dumps(item, sort_keys=True, default=str)


def _records(data):
    """Record bytes with the leader epoch (which may differ, and is outside the CRC) taken out of each batch."""
    out, at = bytearray(data), 0
    while at + 61 <= len(out):
        out[at + 12:at + 16] = b"\0\0\0\0"
        at += 12 + int.from_bytes(out[at + 8:at + 12], "big")
    return out.hex()


def _all_named(items):
    """Whether this is a list of things with a name, each name once."""
    names = [item.get("name") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return isinstance(items, list) and len(names) == len(items) == len(set(names) - {None})


def _by_name(items):
    return {f"[{item['name']}]": item for item in items}


def differences(ours, peer, path=""):
    """Yields (path, ours, peer) for every leaf that differs."""
    if isinstance(ours, dict) and isinstance(peer, dict):
        for key in sorted(set(ours) | set(peer)):
            step = key if key.startswith("[") else f".{key}"
            yield from differences(ours.get(key, "absent"), peer.get(key, "absent"), path + step)
    elif _all_named(ours) and _all_named(peer):
        yield from differences(_by_name(ours), _by_name(peer), path)
    elif isinstance(ours, list) and isinstance(peer, list) and len(ours) == len(peer):
        for at, (a, b) in enumerate(zip(ours, peer)):
            yield from differences(a, b, f"{path}[{at}]")
    elif ours != peer:
        yield path, ours, peer


def _codes(value):
    """Every error code in an answer that may only mean "not yet"."""
    if isinstance(value, list):
        return sorted(code for item in value for code in _codes(item))
    if not isinstance(value, dict):
        return []
    own = [value["error_code"]] if value.get("error_code") in NOT_YET else []
    return sorted(own + [code for item in value.values() for code in _codes(item)])


def ask_both(addresses, name, version, values, settled):
    """Both answers. A broker that says "not yet" where the other does not, or where a settled answer is wanted, is asked
    again, for two seconds."""
    answers = [_ask(address, name, version, values) for address in addresses]
    for _ in range(ASKED_MAX):
        codes = [_codes(answer) for answer in answers]
        if codes[0] == codes[1] and not (settled and codes[0]):
            break
        time.sleep(ASK_AGAIN_AFTER_S)
        # One of them may not know of a topic yet, or, where nothing is changed by asking, may not have forgotten it.
        slow = [0, 1] if name == "Metadata" or settled else [int(len(codes[1]) >= len(codes[0]))]
        for at in slow:
            answers[at] = _ask(addresses[at], name, version, values)
    return answers


# The producer id that each broker gave last to a transactional id.
_producers = {}


def _ask(address, name, version, values):
    if values.get("producer_id") == scenes_transactions.LAST:
        values = {**values, "producer_id": _producers.get(address, -1)}
    connection = wire.Connection(address)
    try:
        answer = connection.ask(name, version, values)
        if name == "InitProducerId" and values["transactional_id"] and answer.get("error_code") == 0:
            _producers[address] = answer["producer_id"]
        return plain(answer)
    finally:
        connection.close()


def _brief(value):
    """A value's text, without its middle where it is long."""
    text = str(value)
    return text if len(text) <= 400 else f"{text[:200]} ... {text[-200:]}"


def allowed_rules():
    """Lines `SCENE/LABEL PATH # reason` or `SCENE/LABEL PATH=WHAT-THE-PEER-SAYS # reason`, with shell wildcards."""
    rules = []
    for line in (HERE / "allowed.txt").read_text().splitlines():
        body, _, reason = line.partition(" # ")
        if body.strip() and not body.startswith("#"):
            place, _, path = body.strip().rpartition(" ")
            rules.append((place, re.sub(r"([\[\]])", r"[\1]", path if "=" in path else path + "=*"), reason))
    return rules


def compared(args, rules, scene, label, name, version, values):
    """What differs, each with the rules that allow it. What was set counts on a broker a moment after it was answered, so settings that
    differ are asked for again, for two seconds."""
    place = f"{scene.__name__}/{label}"
    for _ in range(5):
        found = []
        for path, ours, peer in differences(*ask_both((args.ours, args.peer), name, version, values, label.endswith("settled"))):
            fitting = [r for r in rules if fnmatch.fnmatch(place, r[0]) and fnmatch.fnmatch(f"{path}={peer}", r[1])]
            found.append((place, path, ours, peer, fitting))
        if name != "DescribeConfigs" or all(fitting for *_, fitting in found):
            break
        time.sleep(0.5)
    return found


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("ours")
    ap.add_argument("peer")
    ap.add_argument("--scene", default=None)
    ap.add_argument("--all", action="store_true", help="print allowed differences too")
    args = ap.parse_args()
    rules, used, asked, allowed, open_ones = allowed_rules(), set(), 0, 0, 0
    for scene in scenes.SCENES:
        if args.scene not in (None, scene.__name__):
            continue
        for label, (name, version, values) in scene():
            asked += 1
            for place, path, ours, peer, fitting in compared(args, rules, scene, label, name, version, values):
                used.update(fitting)
                fits = bool(fitting)
                allowed, open_ones = allowed + fits, open_ones + (not fits)
                if args.all or not fits:
                    print(f"{'allowed ' if fits else ''}{place} ({name} v{version}) {path}\n    ours {_brief(ours)}\n    peer {_brief(peer)}")
    for place, path, reason in rules if args.scene is None else ():
        if (place, path, reason) not in used:
            print(f"the rule `{place} {path}` of allowed.txt fits nothing; take it out")
    print(f"asked={asked} allowed_differences={allowed} differences={open_ones} {'FAIL' if open_ones or not asked else 'PASS'}")
    sys.exit(1 if open_ones or not asked else 0)


if __name__ == "__main__":
    main()
