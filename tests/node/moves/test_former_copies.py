"""A former owner drops what it has no seat for, and does not stop its requests for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any, cast

from ringmill.cluster.ids import DiskId, Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ring.topology import Member, Row, Topology, first_topology
from ringmill.node.moves.former_copies import FormerCopies
from ringmill.node.moves.owed_copies import OwedCopies, Owing
from ringmill.node.replica.stored_key import Copy, Place, copy_prefix, parse_copy

NODE = NodeId("n1")
PARTITIONS = 64
NOTHING = cast("Any", None)
OWED = OwedCopies(NODE, Owing(lambda _: False, False, NOTHING), topology=NOTHING, liveness=NOTHING)


class Keys:
    """An engine that never has to wait, and the object store that counts it."""

    def __init__(self, copies: list[Copy], *, is_counted: bool = False) -> None:
        self.keys = [
            Place(copy, KeyspaceId(1, 0), b"%d" % each).stored_key for copy in copies for each in range(3)
        ]
        self.scans = 0
        self.is_counted = is_counted
        self.dropped: list[Copy] = []

    async def wait_writable(self, *, frees_space: bool) -> None:
        pass

    async def drop_prefix(self, *prefixes: bytes) -> None:
        self.keys = [key for key in self.keys if not key.startswith(prefixes)]

    async def scan(self, start: bytes, end: bytes) -> AsyncGenerator[tuple[bytes, bytes], None]:
        self.scans += 1
        for key in sorted(self.keys):
            if start <= key < end:
                yield key, b""

    def copies(self) -> list[Copy]:
        return sorted({parse_copy(key) for key in self.keys})

    def drop_copy(self, copy: Copy) -> None:
        self.dropped.append(copy)


def cluster() -> Topology:
    members = [
        Member(NodeId(f"n{each}"), DiskId(f"{each:032x}"), f"127.0.0.1:{7000 + each}") for each in range(1, 5)
    ]
    return first_topology("demo", members, partitions=PARTITIONS, n=4)


def next_one(topology: Topology, change: Callable[[int, Row], Row] = lambda _, row: row) -> Topology:
    rows = tuple(change(number, row) for number, row in enumerate(topology.rows))
    return replace(topology, epoch=Epoch(topology.epoch + 1), rows=rows)


def without(row: Row, *, moves: bool = False) -> Row:
    owners = tuple(owner for owner in row.owners if owner.node != NODE)
    return Row(
        owners, "normal", row.row_epoch, row.copy_epochs[: len(owners)], wanted=owners[:1] if moves else ()
    )


async def test_documents_that_take_no_seat_cost_no_look_at_the_store() -> None:
    topology = cluster()
    copies = [Copy(PartitionId(each), topology.rows[each].copy_epoch_of(NODE)) for each in range(PARTITIONS)]
    keys = Keys(copies)
    former = FormerCopies(NODE, engine=keys, objects=keys, owed=OWED)  # type: ignore[arg-type]
    await former.sweep(topology)
    looked = keys.scans
    for _ in range(3):
        topology = next_one(topology)
        await former.sweep(topology)
    topology = next_one(topology, lambda number, row: without(row, moves=True) if number == 5 else row)
    await former.sweep(topology)
    assert keys.scans == looked, "what has lost its seat is known"
    assert not [key for key in keys.keys if key.startswith(copy_prefix(copies[5]))]
    assert keys.dropped == [copies[5]]
    late = Place(copies[5], KeyspaceId(1, 0), b"late").stored_key
    keys.keys.append(late)
    await former.sweep(next_one(topology, lambda _, row: replace(row, wanted=())))
    assert late not in keys.keys, "a write that was under way leaves nothing"


async def test_what_is_counted_is_known_without_a_look_at_the_store() -> None:
    topology = cluster()
    copies = [Copy(PartitionId(each), Epoch(9)) for each in range(PARTITIONS)]
    keys = Keys(copies, is_counted=True)
    await FormerCopies(NODE, engine=keys, objects=keys, owed=OWED).sweep(topology)  # type: ignore[arg-type]
    assert not keys.keys and keys.dropped == copies
    assert keys.scans == 1, "of registers, which are not counted"


async def test_requests_have_their_turn_while_the_store_is_looked_through() -> None:
    topology = cluster()
    copies = [Copy(PartitionId(each), Epoch(9)) for each in range(PARTITIONS)]
    keys = Keys(copies)
    turns = 0

    async def request() -> None:
        nonlocal turns
        while keys.keys:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(request())
    await FormerCopies(NODE, engine=keys, objects=keys, owed=OWED).sweep(topology)  # type: ignore[arg-type]
    await other
    assert not keys.keys and turns >= PARTITIONS
