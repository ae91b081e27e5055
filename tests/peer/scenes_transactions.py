"""Requests about transactions: sessions, partitions, offsets of groups, ends. `LAST` is the producer id that each broker gave last."""
import scenes_groups

LAST = "last"


def session(version=5, name="x", timeout=60000, producer=-1, epoch=-1):
    return ("InitProducerId", version, {"transactional_id": name, "transaction_timeout_ms": timeout, "producer_id": producer, "producer_epoch": epoch})


def add_offsets(version=3, name="x", producer=LAST, epoch=0, group="g"):
    return ("AddOffsetsToTxn", version, {"transactional_id": name, "producer_id": producer, "producer_epoch": epoch, "group_id": group})


def commit(version=5, name="x", producer=LAST, epoch=0, group="g", generation=-1, member="", instance=None, topic="c", partitions=(0,), offset=5,
           metadata="m"):
    return ("TxnOffsetCommit", version, {
        "transactional_id": name, "group_id": group, "producer_id": producer, "producer_epoch": epoch, "generation_id": generation,
        "member_id": member, "group_instance_id": instance, "topics": [
            {"name": topic, "partitions": [{"partition_index": index, "committed_offset": offset, "committed_leader_epoch": 0,
                                            "committed_metadata": metadata} for index in partitions]}]})


def end(version=5, name="x", producer=LAST, epoch=0, committed=True):
    return ("EndTxn", version, {"transactional_id": name, "producer_id": producer, "producer_epoch": epoch, "committed": committed})


def fetched(version, stable, partitions=(0, 1), all_topics=False, group="g"):
    name, version, values = scenes_groups.fetched(version, group, partitions=partitions, all_topics=all_topics)
    return (name, version, {**values, "require_stable": stable})


def settled_looks(when):
    """The same, once the markers are there: a moment after the end of the transaction."""
    yield f"{when}: settled", fetched(8, True)
    yield from looks(when)


def looks(when):
    """Everything that can be seen of the group's offsets."""
    for version in (7, 8):
        for stable in (False, True):
            yield f"{when}: fetch v{version} stable {stable}", fetched(version, stable)
    yield f"{when}: fetch all", fetched(8, True, all_topics=True)
    yield f"{when}: describe", ("DescribeGroups", 5, {"groups": ["g"], "include_authorized_operations": False})
    yield f"{when}: transaction", ("DescribeTransactions", 0, {"transactional_ids": ["x"]})


def offsets_are_committed_in_transactions(create):
    yield "make", create(("c", 2, 1, [], {}))
    yield "find the group", scenes_groups.find(4, "g")
    yield "find the transaction", scenes_groups.find(4, "x", kind=1)
    for version in range(5):
        yield f"add offsets of nobody v{version}", add_offsets(version, name="nobody", producer=77777)
    for version in range(6):
        yield f"commit of nobody v{version}", commit(version, name="nobody", producer=77777)
    yield "session", session()
    yield "add offsets without an id", add_offsets(name="")
    for version in range(5):
        yield f"add offsets of another epoch v{version}", add_offsets(version, epoch=7)
        yield f"add offsets of another producer v{version}", add_offsets(version, producer=77777)
    for version in range(5):
        yield f"commit without adding v{version}", commit(version)
    for version in range(6):
        yield f"commit of another epoch v{version}", commit(version, epoch=7)
        yield f"commit of another producer v{version}", commit(version, producer=77777)
    yield "commit without an id", commit(name="")
    yield from looks("before")
    for version in range(5):
        yield f"add offsets v{version}", add_offsets(version)
    yield "add offsets of a group without a name", add_offsets(group="")
    for version in range(5):
        yield f"commit v{version}", commit(version, offset=version, partitions=(0, 7))
    yield from looks("pending")
    yield "end v4", end(4)
    yield from settled_looks("committed")
    for version in range(5):
        yield f"commit after the end v{version}", commit(version, offset=50)
    yield "end again", end(4)
    yield "end otherwise", end(4, committed=False)
    yield from offsets_join_by_being_committed()


def offsets_join_by_being_committed():
    yield "commit v5", commit(offset=9)
    yield "commit v5 again", commit(offset=8, partitions=(0, 1))
    yield "commit to no group by a member", commit(group="none", generation=3, member="nobody")
    yield "commit by a member", commit(generation=3, member="nobody")
    yield "commit by a member outside of a generation", commit(member="nobody", offset=10)
    yield "commit by a name", commit(instance="i", offset=11)
    yield "commit of a group without a name", commit(group="")
    yield "commit to an unknown topic", commit(topic="nowhere")
    yield "commit long metadata", commit(metadata="x" * 5000)
    yield "commit null metadata", commit(metadata=None, offset=12)
    yield "commit a negative offset", commit(offset=-5, partitions=(1,))
    yield "commit nothing", commit(partitions=())
    yield from looks("joined")
    yield "plain commit beside it", scenes_groups.commit(offset=20)
    yield from looks("beside")
    yield "end v5", end()
    yield from settled_looks("raised")
    yield "commit of the epoch before", commit()
    yield "end of the epoch before", end()
    yield "commit v5 and abort", commit(epoch=1, offset=30, partitions=(0, 1))
    yield "forget", ("OffsetDelete", 0, {"group_id": "g", "topics": [{"name": "c", "partitions": [{"partition_index": 1}]}]})
    yield from looks("forgotten")
    yield "abort", end(epoch=1, committed=False)
    yield from settled_looks("aborted")
    yield "commit v5 and delete", commit(epoch=2, offset=40)
    yield "delete", ("DeleteGroups", 2, {"groups_names": ["g"]})
    yield from looks("deleted")
    yield "end what was deleted", end(epoch=2)
    yield from settled_looks("gone")
