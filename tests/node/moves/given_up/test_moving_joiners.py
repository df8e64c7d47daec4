"""A joiner whose tries are cut off goes on behind what it has finished, so it is seen to move (rule M7)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.cluster.errors import QuorumNotReached
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.node.moves.fill_steps import FillSteps
from ringmill.node.moves.filled_so_far import MoveProgress
from ringmill.node.moves.filling import Filling
from ringmill.node.replica.stored_key import Copy, Place, copy_prefix
from tests.node.forgetful_engine import ForgetfulEngine
from tests.node.moves.given_up.test_giving_up import joining
from tests.node.moves.test_merged_pages import filling_on

COPY = Copy(PartitionId(1), Epoch(2))
PULLED = ("pulled", NodeId("n1"))


def steps_of(steps: FillSteps, *cursors: bytes) -> int:
    """How many one walk makes."""
    before, came_to = steps.count, steps.walked(COPY, PULLED)
    for cursor in cursors:
        came_to(cursor)
    return steps.count - before


def test_what_a_walk_reads_behind_the_end_is_a_step() -> None:
    steps = FillSteps()
    assert steps_of(steps, b"c", b"m") == 2
    assert steps_of(steps, b"", b"a", b"b") == 3, "it goes on where the first was cut off"
    assert steps_of(steps, b"b", b"c") == 1, "what was read in this lap already is none"
    assert steps_of(steps, b"m", b"", b"a") == 3


def test_a_walk_that_is_begun_again_makes_no_step() -> None:
    steps = FillSteps()
    assert steps_of(steps, b"c", b"m", b"") == 3
    assert steps_of(steps, b"c", b"m", b"") == 0
    assert steps_of(steps, b"c", b"m") == 0


async def test_a_round_that_failed_does_not_begin_the_registers_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topology = joining()
    at = next(at for at, row in enumerate(topology.rows) if row.is_joint)
    row, copy = topology.rows[at], Copy(PartitionId(at), topology.rows[at].row_epoch)
    keyspace = next(each.id for each in topology.keyspaces if each.name == "registers")
    places = [Place(copy, keyspace, b"r%d" % number) for number in range(6)]
    keys = [place.stored_key[len(copy_prefix(copy)) :] for place in places]
    rounds: list[bytes] = []

    async def registers_of(_: Filling, node: NodeId, *__: Any) -> list[bytes]:
        return keys[3:] if node == "n1" else keys[:4]

    async def finish(_: str, key: bytes) -> None:
        rounds.append(key)
        if len(rounds) in {2, 5}:
            raise QuorumNotReached("1 of 2")

    filling, _ = filling_on(ForgetfulEngine())
    progress = MoveProgress(cast("Any", SimpleNamespace(get=lambda _: None)))
    filling._progress, filling._steps, filling._finish_register = progress, FillSteps(), finish
    monkeypatch.setattr(Filling, "_registers_of", registers_of)
    for steps in (1, 3):
        with pytest.raises(QuorumNotReached):
            await filling._bring_registers(topology, row, copy)
        assert filling._steps.count == steps
    await filling._bring_registers(topology, row, copy)
    assert rounds == [b"r0", b"r1", b"r1", b"r2", b"r3", b"r3", b"r4", b"r5"]
    assert filling._steps.count == 6
    await filling._bring_registers(topology, row, copy)
    assert len(rounds) == 8
    assert progress.registers_to(copy, Epoch(row.row_epoch + 1)) == b"", "another row has other rounds"
