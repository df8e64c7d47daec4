"""What is owed stays so until a comparison that began later; what came from one owner goes to the rest."""

from __future__ import annotations

from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.node.repair.owed import Owed

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
P = PartitionId(7)
OTHERS = (A, B, C)


def test_what_one_owner_had_goes_to_those_compared_before() -> None:
    owed = Owed()
    owed.owe_all(P, OTHERS)
    for node in (A, B, C):
        owed.mark_compared(P, node, OTHERS, owed.stamp)
    assert set(owed.pairs()) == {(P, A), (P, B)}
    for node in (A, B):
        owed.mark_compared(P, node, OTHERS, owed.stamp)
    assert not owed and not owed.pairs()


def test_one_that_is_away_is_waited_for_and_the_others_get_what_it_had() -> None:
    owed = Owed()
    owed.owe_all(P, OTHERS)
    for node in (A, B, A, B):
        owed.mark_compared(P, node, OTHERS, owed.stamp)
    assert owed.pairs() == [(P, C)]
    owed.mark_compared(P, C, OTHERS, owed.stamp)
    assert set(owed.pairs()) == {(P, A), (P, B)}


def test_a_comparison_does_not_settle_what_was_owed_after_it_began() -> None:
    owed = Owed()
    owed.owe(P, A)
    began = owed.stamp
    owed.owe(P, A)
    owed.mark_compared(P, A, OTHERS, began)
    assert owed.to(A) == [P]
    owed.mark_compared(P, A, OTHERS, owed.stamp)
    assert not owed


def test_former_owners_are_forgotten() -> None:
    owed = Owed()
    owed.owe_all(P, OTHERS)
    owed.keep_only(P, (A, B))
    assert set(owed.pairs()) == {(P, A), (P, B)}
    owed.keep_only(P, ())
    assert not owed
