"""Which document may follow which (rules T1 and T2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import ClusterId, DiskId, Epoch, KeyspaceId, NodeId
from ringmill.cluster.ring.succession import check_follows, check_next, with_keyspaces
from ringmill.cluster.ring.topology import KeyspaceEntry, Member, Topology, first_topology

FIRST = first_topology(
    "demo",
    [Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"127.0.0.1:{7100 + i}") for i in range(1, 6)],
    partitions=16,
)
DEFAULT, REGISTERS = FIRST.keyspaces


def later(epoch: int, **changes: Any) -> Topology:
    return replace(FIRST, epoch=Epoch(epoch), **changes)


def test_what_may_follow() -> None:
    new = KeyspaceEntry(KeyspaceId(2, 0), "new")
    second = with_keyspaces(FIRST, (*FIRST.keyspaces, new))
    check_next(FIRST, second)
    check_follows(FIRST, later(5, keyspaces=(REGISTERS,)))
    check_follows(
        FIRST, later(5, keyspaces=(replace(DEFAULT, ttl_ms=9), KeyspaceEntry(KeyspaceId(4, 0), "x")))
    )
    rows = (replace(FIRST.rows[0], row_epoch=Epoch(2)), *FIRST.rows[1:])
    check_next(FIRST, later(2, rows=rows))


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (later(1), "does not follow"),
        (later(2, cluster=ClusterId("0" * 32)), "another one"),
        (later(2, name="other"), "cannot be changed"),
        (later(2, n=2), "cannot be changed"),
        (later(2, keyspaces=(replace(DEFAULT, kind="registers"), REGISTERS)), "kind and policy"),
        (later(2, keyspaces=(replace(DEFAULT, policy="lww"), REGISTERS)), "kind and policy"),
        (later(2, keyspaces=(DEFAULT, KeyspaceEntry(KeyspaceId(1, 7), "old id"))), "was not there"),
        (
            later(2, rows=(replace(FIRST.rows[0], owners=FIRST.rows[0].owners[::-1]), *FIRST.rows[1:])),
            "row epoch",
        ),
    ],
)
def test_what_may_not_follow(document: Topology, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        check_follows(FIRST, document)


def test_only_the_next_epoch_can_be_decided_on() -> None:
    with pytest.raises(InvalidArgument, match="does not come next"):
        check_next(FIRST, later(3))
