"""The document with a replaced disk, and the plan that is shown before it."""

from __future__ import annotations

import pytest

from ringmill.cluster.errors import Conflict, InvalidArgument
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.recovery import recovered
from ringmill.cluster.ring.replacement import check_safe, is_newly_seated, plan_replacement, replaced
from ringmill.cluster.ring.succession import check_next
from ringmill.cluster.ring.topology import Member, Owner, Topology, first_topology

N1, OLD, NEW = NodeId("n1"), DiskId("1" * 32), DiskId("a" * 32)


def topology(nodes: int = 5, n: int = 3) -> Topology:
    members = [Member(NodeId(f"n{i}"), DiskId(f"{i}" * 32), f"h:{7100 + i}") for i in range(1, nodes + 1)]
    return first_topology("t", members, partitions=16, n=n, r=n // 2 + 1, w=n // 2 + 1)


def test_the_new_disk_stands_wherever_the_lost_one_stood() -> None:
    before = topology()
    after = replaced(before, N1, OLD, NEW)
    assert after is not None
    check_next(before, after)
    assert after.member(N1).disk == NEW
    assert Owner(N1, NEW) in after.voters and Owner(N1, OLD) not in after.voters
    for former, row in zip(before.rows, after.rows, strict=True):
        assert row.nodes == former.nodes and row.copy_epochs == former.copy_epochs
        assert row.row_epoch == (2 if N1 in row.nodes else 1)
        assert Owner(N1, OLD) not in row.owners
    assert Topology.decode(after.encode()) == after


def test_a_second_word_changes_nothing_and_a_late_one_is_refused() -> None:
    after = replaced(topology(), N1, OLD, NEW)
    assert after is not None and replaced(after, N1, OLD, NEW) is None
    with pytest.raises(Conflict):
        replaced(after, N1, OLD, DiskId("b" * 32))
    with pytest.raises(InvalidArgument):
        replaced(after, NodeId("n9"), OLD, NEW)


def test_only_the_new_disk_begins_without_its_data() -> None:
    before = topology()
    after = replaced(before, N1, OLD, NEW)
    assert after is not None
    assert is_newly_seated(None, after, Owner(N1, NEW))
    assert is_newly_seated(before, after, Owner(N1, NEW))
    assert not is_newly_seated(None, before, Owner(N1, OLD))
    other = next(owner for owner in after.rows[0].owners if owner.node != N1)
    assert not is_newly_seated(before, after, other)


def test_a_disk_that_was_replaced_and_named_again_is_known_by_its_rows() -> None:
    """Its node has skipped the document in which another disk had its place."""
    first = topology()
    second = replaced(first, N1, OLD, NEW)
    assert second is not None
    third = replaced(second, N1, NEW, OLD)
    assert third is not None
    assert is_newly_seated(first, third, Owner(N1, OLD))
    assert is_newly_seated(second, third, Owner(N1, OLD))
    for other in (Owner(each.id, each.disk) for each in first.members if each.id != N1):
        assert not is_newly_seated(first, third, other)


def test_a_node_that_missed_what_became_of_others_has_lost_nothing() -> None:
    """Of three owners each has all rows, so all of them change with each replacement."""
    first = topology(3)
    second = replaced(first, NodeId("n2"), DiskId("2" * 32), NEW)
    assert second is not None
    third = replaced(second, NodeId("n3"), DiskId("3" * 32), DiskId("b" * 32))
    assert third is not None
    assert not is_newly_seated(first, third, Owner(N1, OLD))
    assert not is_newly_seated(first, recovered(first, {NodeId("n2"), NodeId("n3")}), Owner(N1, OLD))


def test_a_plan_names_the_owners_that_are_missing() -> None:
    before = topology(3)
    nodes = {NodeId("n2"), NodeId("n3")}
    sizes = {NodeId("n2"): 1600, NodeId("n3"): 800}
    plan = plan_replacement(before, N1, NEW, whole=nodes, sizes=sizes, counts={N1: 0, NodeId("n2"): 1600})
    assert (plan.partitions, plan.size_bytes, plan.short, plan.is_made) == (16, 1600, (), False)
    check_safe(plan)
    plan = plan_replacement(
        before, N1, NEW, whole={NodeId("n2")}, sizes=sizes, counts={N1: 0, NodeId("n2"): 1600}
    )
    assert len(plan.short) == 16 and plan.missing == (NodeId("n3"),) and plan.short_keys == 1600
    check_safe(plan, accepts_loss=True)
    with pytest.raises(InvalidArgument, match="n3 must be up"):
        check_safe(plan)
    with pytest.raises(InvalidArgument, match="only owner"):
        alone = plan_replacement(topology(3, n=1), N1, NEW, whole=nodes, sizes={}, counts={})
        check_safe(alone, accepts_loss=True)
