"""What a backup that was made without some members is said to hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringmill.client.backups.backup_coverage import held_level, missing_members
from ringmill.client.backups.backup_manifest import BackedNode
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.topology import Member, Topology, first_topology


def with_idle_members(quorum: str) -> Topology:
    """n1 to n3 own all partitions; n4 and n5 have come and own nothing yet."""
    members = [Member(NodeId(f"n{at}"), DiskId(f"{at:032x}"), f"127.0.0.1:{7000 + at}") for at in range(1, 6)]
    formed = first_topology("some", members[:3], partitions=16)
    keyspaces = tuple(
        replace(each, quorum=quorum) if each.name == "default" else each for each in formed.keyspaces
    )
    return replace(formed, members=tuple(members), keyspaces=keyspaces)


def read(topology: Topology, *names: str) -> list[BackedNode]:
    members = [topology.member(NodeId(name)) for name in names]
    return [BackedNode(each.id, each.disk, 1, "b", 1, b"", ()) for each in members]


def test_a_member_that_owns_nothing_may_keep_a_former_copy_with_what_no_majority_has() -> None:
    """What a majority has acknowledged was brought before it left, so it prevents no backup (rule M6)."""
    strict, owners = with_idle_members("strict"), ("n1", "n2", "n3")
    assert missing_members(strict, read(strict, *owners, "n5")) == ["n4"]
    assert held_level(strict, read(strict, *owners, "n5")) == 2
    assert held_level(strict, read(strict, *owners)) == 2
    assert held_level(strict, read(strict, *owners, "n4", "n5")) == 1


def test_a_node_that_does_not_tell_whether_it_keeps_a_former_copy_counts_as_one_that_does() -> None:
    strict = with_idle_members("strict")
    nodes = read(strict, "n1", "n2", "n3", "n4", "n5")
    assert held_level(strict, nodes, untold=("n4",)) == 2
    assert held_level(strict, nodes, untold=("n1", "n2", "n3", "n4", "n5")) == 2, "a majority was brought"


def test_a_member_that_owns_nothing_may_keep_hints_of_a_sloppy_keyspace_that_count() -> None:
    sloppy = with_idle_members("sloppy")
    owners = ("n1", "n2", "n3")
    assert missing_members(sloppy, read(sloppy, *owners, "n5")) == ["n4"]
    assert held_level(sloppy, read(sloppy, *owners, "n5")) == 2
    assert held_level(sloppy, read(sloppy, *owners, "n4", "n5")) == 1
    with pytest.raises(Unavailable, match=r"2 members are missing .* missing: n4 \(silent\), n5"):
        held_level(sloppy, read(sloppy, *owners), {"n4": "silent"})
