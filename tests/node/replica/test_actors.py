"""Dots of a node's copies: no start of any history of a folder gives one that another has given."""

from __future__ import annotations

import pytest

from ringmill.cluster.ids import Epoch, NodeId, PartitionId, Start
from ringmill.node.replica.actors import CopyActors
from ringmill.node.replica.stored_key import Copy

N1 = NodeId("n1")
ONE, TWO = Copy(PartitionId(1), Epoch(1)), Copy(PartitionId(2), Epoch(1))
SEVENTH = Start(7, "9f31c0aa52b7d64e")


def test_each_copy_counts_by_itself_under_the_actor_of_the_start() -> None:
    actors = CopyActors(N1, SEVENTH)
    dots = [str(actors.next_dot(copy)) for copy in (ONE, TWO, ONE)]
    assert dots == ["n1#7.9f31c0aa52:1", "n1#7.9f31c0aa52:1", "n1#7.9f31c0aa52:2"]


def test_a_later_copy_of_a_partition_has_another_actor() -> None:
    actors = CopyActors(N1, SEVENTH)
    former, later = actors.next_dot(ONE), actors.next_dot(Copy(PartitionId(1), Epoch(5)))
    assert (former.actor, later.actor) == ("n1#7.9f31c0aa52", "n1#7.9f31c0aa52.5")


@pytest.mark.parametrize("other", [Start(8, SEVENTH.boot), Start(7, "9f31c0aa53b7d64e")])
def test_another_start_and_another_history_have_other_actors(other: Start) -> None:
    assert CopyActors(N1, SEVENTH).next_dot(ONE).actor != CopyActors(N1, other).next_dot(ONE).actor
