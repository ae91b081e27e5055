"""Requests about groups: what is refused, what is committed and fetched, what is said of groups."""


def find(version, *keys, kind=0):
    """FindCoordinator, by one key or by many."""
    return ("FindCoordinator", version, {"key": keys[0] if keys else "", "key_type": kind, "coordinator_keys": list(keys)})


def join(version=9, group="g", member="", instance=None, session=30000, kind="consumer", protocols=("range",)):
    """JoinGroup of a member that subscribes to the topic c."""
    subscription = b"\0\0\0\0\0\x01\0\x01c\xff\xff\xff\xff"
    return ("JoinGroup", version, {"group_id": group, "session_timeout_ms": session, "rebalance_timeout_ms": 30000, "member_id": member,
                                   "group_instance_id": instance, "protocol_type": kind,
                                   "protocols": [{"name": name, "metadata": subscription} for name in protocols], "reason": None})


def sync(version=5, group="g", member="nobody", generation=1):
    return ("SyncGroup", version, {"group_id": group, "generation_id": generation, "member_id": member, "group_instance_id": None,
                                   "protocol_type": "consumer", "protocol_name": "range", "assignments": []})


def heartbeat(version=4, group="g", member="nobody", generation=1):
    return ("Heartbeat", version, {"group_id": group, "generation_id": generation, "member_id": member, "group_instance_id": None})


def leave(version=5, group="g", member="nobody", instance=None):
    members = [{"member_id": member, "group_instance_id": instance, "reason": None}]
    return ("LeaveGroup", version, {"group_id": group, "member_id": member, "members": members if version >= 3 else []})


def commit(version=8, group="g", topic="c", partitions=(0,), offset=5, generation=-1, member="", metadata="m"):
    return ("OffsetCommit", version, {"group_id": group, "generation_id_or_member_epoch": generation, "member_id": member,
                                      "group_instance_id": None, "retention_time_ms": -1, "topics": [
        {"name": topic, "partitions": [{"partition_index": index, "committed_offset": offset, "committed_leader_epoch": 0,
                                        "committed_metadata": metadata} for index in partitions]}]})


def fetched(version, group="g", topic="c", partitions=(0, 1, 7), all_topics=False):
    topics = None if all_topics else [{"name": topic, "partition_indexes": list(partitions)}]
    if version < 8:
        return ("OffsetFetch", version, {"group_id": group, "topics": topics, "require_stable": False, "groups": []})
    asked = {"group_id": group, "member_id": None, "member_epoch": -1, "topics": topics}
    return ("OffsetFetch", version, {"require_stable": False, "groups": [asked]})


def groups_are_joined_and_refused(create):
    """Everything about members of the classic protocol that needs no second member."""
    yield "make", create(("c", 2, 1, [], {}))
    for version in range(7):
        yield f"find v{version}", find(version, "g", *(["h"] if version >= 4 else []))
    yield "find nothing", find(4)
    for version in (0, 1, 3, 4, 5, 9):
        yield f"join by an unknown id v{version}", join(version, member="nobody")
        yield f"join an id of no group v{version}", join(version, group="none", member="nobody")
    yield "join without a name", join(group="")
    yield "join with a short session", join(session=100)
    yield "join with a long session", join(session=9_000_000)
    yield "join without protocols", join(group="p", protocols=())
    yield "join without a kind", join(group="p", kind="")
    yield "join by a name that nobody has", join(group="p", member="nobody", instance="i")
    for version in (0, 3, 5):
        yield f"sync v{version}", sync(version)
        yield f"sync no group v{version}", sync(version, group="none")
    yield "sync without a name", sync(group="")
    for version in (0, 3, 4):
        yield f"heartbeat v{version}", heartbeat(version)
        yield f"heartbeat no group v{version}", heartbeat(version, group="none")
    yield "heartbeat without a name", heartbeat(group="")
    for version in (0, 2, 3, 5):
        yield f"leave v{version}", leave(version)
        yield f"leave no group v{version}", leave(version, group="none")
    yield "leave by a name", leave(member="", instance="i")


def offsets_are_committed_and_fetched(create):
    yield "make", create(("c", 2, 1, [], {}))
    yield "find", find(4, "g")
    for version in range(2, 10):
        yield f"commit v{version}", commit(version, partitions=(0, 7), offset=version)
        yield f"fetch v{version}", fetched(version)
    yield "fetch v1", fetched(1)
    for version in range(2, 10):
        yield f"fetch all v{version}", fetched(version, all_topics=True)
        yield f"fetch of no group v{version}", fetched(version, group="none")
    yield "commit to an unknown topic", commit(topic="nowhere")
    yield "commit null metadata", commit(metadata=None)
    yield "fetch null metadata", fetched(8)
    yield "commit long metadata", commit(metadata="x" * 5000)
    yield "commit a negative offset", commit(offset=-5, partitions=(1,))
    yield "commit in a generation", commit(generation=3, member="nobody")
    for version in (8, 9):
        yield f"commit in a generation of no group v{version}", commit(version, group="none", generation=3, member="nobody")
    yield "commit as somebody outside of a generation", commit(member="nobody")
    for version in range(7):
        yield f"describe v{version}", ("DescribeGroups", version, {"groups": ["g", "none", ""], "include_authorized_operations": True})
    for version in range(6):
        yield f"list v{version}", ("ListGroups", version, {"states_filter": [], "types_filter": []})
    yield "list empty ones", ("ListGroups", 5, {"states_filter": ["empty"], "types_filter": ["CLASSIC"]})
    yield "list others", ("ListGroups", 5, {"states_filter": ["Stable"], "types_filter": []})
    yield "list of an unknown kind", ("ListGroups", 5, {"states_filter": ["odd"], "types_filter": ["odd"]})
    def forget(group, topic, *partitions):
        return ("OffsetDelete", 0, {"group_id": group, "topics": [
            {"name": topic, "partitions": [{"partition_index": index} for index in partitions]}]})
    yield "forget", forget("g", "c", 1, 7)
    yield "forget an unknown topic", forget("g", "nowhere", 0)
    yield "forget of no group", forget("none", "c", 0)
    yield "fetch after", fetched(8)
    for version in range(3):
        yield f"delete v{version}", ("DeleteGroups", version, {"groups_names": ["none", "", *(["g"] if version == 2 else [])]})
    yield "fetch after the end", fetched(8)
