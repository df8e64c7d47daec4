"""Counting partitions by how many of their owners are up."""

from __future__ import annotations

from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.partition_health import PartitionCounts, count_partitions
from ringmill.cluster.ring.topology import Member, Topology, first_topology


def cluster(size: int, n: int = 3, r: int = 2, w: int = 2) -> Topology:
    members = [
        Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"127.0.0.1:{7100 + i}") for i in range(1, size + 1)
    ]
    return first_topology("demo", members, n=n, r=r, w=w)


def counted(topology: Topology, *down: str) -> PartitionCounts:
    return count_partitions(topology, lambda node: node not in down)


def test_all_up_is_all_ok() -> None:
    assert counted(cluster(5)) == PartitionCounts(256, 0, 0)


def test_one_owner_down_is_under_replicated_and_two_leave_no_quorum() -> None:
    assert counted(cluster(3), "n1") == PartitionCounts(0, 256, 0)
    assert counted(cluster(3), "n1", "n2") == PartitionCounts(0, 0, 256)


def test_the_three_add_up_and_follow_what_a_node_owns() -> None:
    topology = cluster(5)
    counts = counted(topology, "n2", "n4")
    assert counts.ok + counts.under_replicated + counts.no_quorum == 256
    both = sum({"n2", "n4"} <= set(row.nodes) for row in topology.rows)
    assert counts.no_quorum == both > 0


def test_a_write_level_of_all_loses_its_quorum_with_one_owner() -> None:
    assert counted(cluster(3, r=1, w=3), "n1") == PartitionCounts(0, 0, 256)


def test_a_cluster_short_of_members_is_under_replicated_and_serves() -> None:
    assert counted(cluster(1)) == PartitionCounts(0, 256, 0)
