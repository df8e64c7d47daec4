"""What differs between two documents."""

from __future__ import annotations

from dataclasses import replace

from ringmill.client.cli.ring.ring_diff import difference_document, difference_story
from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ring.keyspaces.keyspace_changes import (
    KeyspaceChanges,
    NewKeyspace,
    altered,
    created,
    dropped,
)
from ringmill.cluster.ring.plans.topology_difference import difference
from ringmill.cluster.ring.replacement import replaced
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.cluster.ring.topology_entries import Member

N1 = NodeId("n1")


def first() -> Topology:
    members = [Member(NodeId(f"n{i}"), DiskId(f"{i}" * 32), f"h:{7100 + i}") for i in range(1, 5)]
    return first_topology("t", members, partitions=16)


def changed(after: Topology | None) -> Topology:
    assert after is not None
    return after


def test_keyspaces_that_were_made_changed_and_dropped_are_reported() -> None:
    two = changed(created(first(), NewKeyspace("books")))
    three = changed(altered(two, "books", KeyspaceChanges(ttl_ms=60_000)))
    four = changed(dropped(three, "books", may_be_done=False))
    assert difference_story(difference(first(), two)) == [
        "epoch 1 to epoch 2", "  + keyspace books (objects) was made"
    ]  # fmt: skip
    assert difference_story(difference(two, three))[1:] == ["  ~ keyspace books: ttl_ms 0 -> 60000"]
    assert difference_story(difference(three, four))[1:] == ["  - keyspace books was dropped"]
    assert difference_story(difference(first(), four)) == ["epoch 1 to epoch 4: nothing changed"]


def test_a_new_disk_and_the_rows_that_it_is_seated_in_are_reported() -> None:
    after = changed(replaced(first(), N1, DiskId("1" * 32), DiskId("a" * 32)))
    found = difference(first(), after)
    assert [row.partition for row in found.rows] == [
        at for at, row in enumerate(first().rows) if N1 in row.nodes
    ]
    story = difference_story(found)
    assert story[1] == f"  ~ n1: disk {'1' * 32} -> {'a' * 32}"
    assert "n1 on another disk (12)" in story[-1]
    assert found.has_other_voters and not found.is_another_cluster


def test_owners_that_come_and_go_are_reported_by_partition() -> None:
    older = first()
    spare = [next(each for each in older.members if each.id not in row.nodes) for row in older.rows[:2]]
    rows = [
        replace(row, owners=(*row.owners[1:], new.seat), row_epoch=Epoch(2))
        for row, new in zip(older.rows, spare, strict=False)
    ]
    member = Member(NodeId("n9"), DiskId("9" * 32), "h:7109", "east")
    newer = replace(older, epoch=Epoch(2), members=(*older.members, member), rows=(*rows, *older.rows[2:]))
    found = difference(older, newer)
    assert [(row.joined, row.left) for row in found.rows] == [
        ((new.id,), (row.owners[0].node,)) for new, row in zip(spare, older.rows, strict=False)
    ]
    assert difference_story(found)[1] == "  + n9 joined at h:7109, zone east"
    document = difference_document(found)
    assert document["joined"] == ["n9"] and [row["partition"] for row in document["rows"]] == [0, 1]
    assert difference(newer, older).left == (member,)
