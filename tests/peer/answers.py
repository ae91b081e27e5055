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

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import scenes
import wire

HERE = pathlib.Path(__file__).resolve().parent
# Names whose values belong to one broker and one moment.
OWN = {"topic_id", "cluster_id", "port", "correlation_id", "throttle_time_ms", "log_append_time_ms", "producer_id", "documentation",
       "leader_epoch", "current_leader_epoch", "finalized_features_epoch", "session_id"}


def plain(value, name=""):
    """The answer without what cannot be equal, lists of named things in the order of their names."""
    if isinstance(value, dict):
        return {k: plain(v, k) for k, v in sorted(value.items()) if k not in OWN}
    if isinstance(value, list):
        items = [plain(v) for v in value]
        keyed = name in ("configs", "synonyms", "topics", "results", "responses", "api_keys")
        return sorted(items, key=_order) if keyed else items
    if isinstance(value, (bytes, bytearray)):
        return _records(bytes(value))
    return value


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


def differences(ours, peer, path=""):
    """Yields (path, ours, peer) for every leaf that differs."""
    if isinstance(ours, dict) and isinstance(peer, dict):
        for key in sorted(set(ours) | set(peer)):
            yield from differences(ours.get(key, "absent"), peer.get(key, "absent"), f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(peer, list) and len(ours) == len(peer):
        for at, (a, b) in enumerate(zip(ours, peer)):
            yield from differences(a, b, f"{path}[{a['name'] if isinstance(a, dict) and 'name' in a else at}]")
    elif ours != peer:
        yield path, ours, peer


def allowed_rules():
    """Lines `SCENE/LABEL PATH # reason`, both with shell wildcards."""
    rules = []
    for line in (HERE / "allowed.txt").read_text().splitlines():
        body, _, reason = line.partition(" # ")
        if body.strip() and not body.startswith("#"):
            place, _, path = body.strip().rpartition(" ")
            rules.append((place, re.sub(r"([\[\]])", r"[\1]", path), reason))
    return rules


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("ours")
    ap.add_argument("peer")
    ap.add_argument("--scene", default=None)
    ap.add_argument("--all", action="store_true", help="print allowed differences too")
    args = ap.parse_args()
    rules, asked, allowed, open_ones = allowed_rules(), 0, 0, 0
    for scene in scenes.SCENES:
        if args.scene not in (None, scene.__name__):
            continue
        for label, (name, version, values) in scene():
            asked += 1
            answers = []
            for address in (args.ours, args.peer):
                connection = wire.Connection(address)
                answers.append(plain(connection.ask(name, version, values)))
                connection.close()
            for path, ours, peer in differences(*answers):
                place = f"{scene.__name__}/{label}"
                fits = any(fnmatch.fnmatch(place, p) and fnmatch.fnmatch(path, q) for p, q, _ in rules)
                allowed, open_ones = allowed + fits, open_ones + (not fits)
                if args.all or not fits:
                    print(f"{'allowed ' if fits else ''}{place} ({name} v{version}) {path}\n    ours {str(ours)[:300]}\n    peer {str(peer)[:300]}")
    print(f"asked={asked} allowed_differences={allowed} differences={open_ones} {'FAIL' if open_ones or not asked else 'PASS'}")
    sys.exit(1 if open_ones or not asked else 0)


if __name__ == "__main__":
    main()
