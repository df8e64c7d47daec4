"""Every order of answers for up to five owners, against an oracle of two lines."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

import pytest

from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.quorum.tally import ReadTally, WriteTally

ROW = Epoch(4)
ACK, FAIL, OTHER_ROW = "ack", "fail", "other row"


def nodes(count: int) -> tuple[NodeId, ...]:
    return tuple(NodeId(f"n{i + 1}") for i in range(count))


def answers(count: int) -> Iterator[tuple[tuple[NodeId, str], ...]]:
    """Every assignment of answers in every order; five owners take one order of each assignment's shape."""
    for kinds in product((ACK, FAIL, OTHER_ROW) if count < 5 else (ACK, FAIL), repeat=count):
        yield from (tuple(zip(order, kinds, strict=True)) for order in permutations(nodes(count)))


@pytest.mark.parametrize("owners", [1, 2, 3, 4, 5])
def test_a_write_is_met_or_lost_exactly_when_the_oracle_says(owners: int) -> None:
    for story in answers(owners):
        for need in range(1, owners + 1):
            tally = WriteTally(need, nodes(owners), ROW)
            acked = 0
            for told, (node, kind) in enumerate(story, start=1):
                if kind == FAIL:
                    tally.record_failure(node, "down")
                else:
                    tally.record_ack(node, Durability.SYNCED, ROW if kind == ACK else Epoch(5))
                acked += kind == ACK
                assert tally.is_met == (acked >= need)
                assert tally.is_lost == (acked + owners - told < need)
            assert tally.is_over


@pytest.mark.parametrize("owners", [1, 2, 3, 4, 5])
def test_a_read_asks_until_it_is_met_and_is_lost_only_when_too_few_owners_are_left(owners: int) -> None:
    for kinds in product((ACK, FAIL, OTHER_ROW, "silent"), repeat=owners):
        for need in range(1, owners + 1):
            tally = ReadTally(need, nodes(owners), ROW)
            play_read(tally, dict(zip(nodes(owners), kinds, strict=True)))
            assert tally.is_met == (kinds.count(ACK) >= need)
            assert tally.is_lost == (
                kinds.count(FAIL) + kinds.count(OTHER_ROW) > owners - need and not tally.is_met
            )


def play_read(tally: ReadTally, behaviour: dict[NodeId, str]) -> None:
    """Let owners answer as they do, calling a stall when only silent ones are left."""
    asked: list[NodeId] = []
    while not tally.is_met and not tally.is_lost:
        fresh = tally.next_to_ask()
        assert not set(fresh) & set(asked)
        asked += fresh
        talking = [node for node in tally.outstanding if behaviour[node] != "silent"]
        if not talking and not fresh:
            if len(asked) == len(tally.candidates):
                return
            tally.record_stall()
        for node in talking[:1]:
            if behaviour[node] == FAIL:
                tally.record_failure(node, "down")
            else:
                assert tally.record_answer(node, ROW if behaviour[node] == ACK else Epoch(3)) == (
                    behaviour[node] == ACK
                )


def test_a_read_asks_no_more_than_it_needs_while_all_answer() -> None:
    tally = ReadTally(2, nodes(3), ROW)
    assert tally.next_to_ask() == nodes(2)
    assert not tally.next_to_ask()
    tally.record_answer(NodeId("n1"), ROW)
    assert not tally.next_to_ask()


def test_a_stalled_owner_is_replaced_and_still_counts_when_it_answers() -> None:
    tally = ReadTally(2, nodes(3), ROW)
    tally.next_to_ask()
    tally.record_answer(NodeId("n1"), ROW)
    tally.record_stall()
    assert tally.next_to_ask() == (NodeId("n3"),)
    tally.record_answer(NodeId("n2"), ROW)
    assert tally.is_met
    assert not tally.next_to_ask()


def test_an_answer_under_another_row_epoch_is_a_failure_that_says_so() -> None:
    tally = WriteTally(1, nodes(2), ROW)
    tally.record_ack(NodeId("n1"), Durability.SYNCED, Epoch(9))
    assert tally.failures == {"n1": "answered under row epoch 9, the request under 4"}
    assert not tally.is_met


def test_nobody_answers_twice() -> None:
    tally = WriteTally(1, nodes(2), ROW)
    tally.record_failure(NodeId("n1"), "down")
    with pytest.raises(AssertionError, match="twice"):
        tally.record_ack(NodeId("n1"), Durability.SYNCED, ROW)
