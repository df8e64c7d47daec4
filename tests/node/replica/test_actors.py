"""Dots of a node's copies, over clean and unclean starts."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cluster.errors import CorruptData, Unavailable
from cluster.ids import Epoch, NodeId, PartitionId
from node.replica.actors import CopyActors, decode_counts, encode_counts
from node.replica.stored_key import Copy

N1 = NodeId("n1")
ONE, TWO = Copy(PartitionId(1), Epoch(1)), Copy(PartitionId(2), Epoch(1))


@dataclass
class Numbers:
    given: int = 0

    async def take_actor_number(self) -> int:
        self.given += 1
        return self.given


async def test_each_copy_counts_under_an_actor_of_its_own() -> None:
    actors = CopyActors(N1, Numbers(), {})
    assert actors.next_dot(ONE) is None
    for copy in (ONE, TWO, ONE):
        await actors.assign(copy)
    assert [str(actors.next_dot(copy)) for copy in (ONE, TWO, ONE)] == ["n1#1:1", "n1#2:1", "n1#1:2"]


async def test_counts_saved_by_a_clean_stop_go_on_and_others_do_not() -> None:
    actors = CopyActors(N1, Numbers(), {})
    await actors.assign(ONE)
    actors.next_dot(ONE)
    saved = encode_counts(4, actors.seal())
    with pytest.raises(Unavailable, match="stopping"):
        actors.next_dot(ONE)
    resumed = CopyActors(N1, Numbers(9), decode_counts(saved, 4))
    assert str(resumed.next_dot(ONE)) == "n1#1:2"
    assert decode_counts(saved, 5) == {}
    assert decode_counts(None, 4) == {}


def test_a_damaged_record_of_counts_is_an_error() -> None:
    with pytest.raises(CorruptData, match="actor counts"):
        decode_counts(b"\xc1", 4)
