"""However few acks or answers a joint row counts as enough, each set of owners has its level among them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pytest

from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ring.topology_entries import JOINT_1, JOINT_2, NORMAL, Owner, Row

SEATS = [Owner(NodeId(f"n{i}"), DiskId(f"{i}" * 32)) for i in range(1, 7)]


def rows(phase: str) -> Iterator[Row]:
    """Of 1 to 5 owners: one that joins in the place of each of them, or beside them."""
    for n in range(1, 6):
        owners, joiner = tuple(SEATS[:n]), SEATS[n]
        if phase == NORMAL:
            yield Row(owners, NORMAL, Epoch(1), (Epoch(1),) * n)
            continue
        for leaver in (None, *owners):
            yield Row(owners, phase, Epoch(2), (*(Epoch(1),) * n, Epoch(2)), joiner=joiner, leaver=leaver)


def has_level(
    asked: tuple[NodeId, ...], number: int, sets: tuple[tuple[NodeId, ...], ...], level: int
) -> bool:
    return all(len({*chosen} & {*each}) >= level for chosen in combinations(asked, number) for each in sets)


@pytest.mark.parametrize("phase", [NORMAL, JOINT_1, JOINT_2])
def test_enough_writers_are_enough_of_each_set(phase: str) -> None:
    for row in rows(phase):
        for level in range(1, row.size + 1):
            number = row.writers_for(level)
            assert number <= len(row.nodes)
            assert has_level(row.nodes, number, row.sets, level), row
        assert has_level(row.nodes, row.majority, row.sets, row.size // 2 + 1), row


def test_reads_ask_the_old_owners_until_the_joiner_is_filled_and_then_both_sets() -> None:
    for row in rows(JOINT_1):
        assert row.readers == row.whole
        for level in range(1, row.size + 1):
            assert has_level(row.readers, row.readers_for(level), (row.whole,), level), row
    for row in rows(JOINT_2):
        assert row.readers == row.nodes
        for level in range(1, row.size + 1):
            assert has_level(row.readers, row.readers_for(level), row.sets, level), row
