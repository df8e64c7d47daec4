"""What is noted of a copy that is being filled is there after a restart; damage is told, never an absence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import msgpack
import pytest

from ringmill.cluster.errors import CorruptData, Unavailable
from ringmill.cluster.ids import DiskId, Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ring.topology import Owner, Row, Topology
from ringmill.cluster.ring.topology_entries import JOINT_1, JOINT_2
from ringmill.cluster.versions.dots import VersionVector
from ringmill.cluster.versions.objects import ABSENT, StoredObject
from ringmill.node.moves.fill_steps import FillSteps
from ringmill.node.moves.filled_so_far import NAME, MoveProgress
from ringmill.node.moves.mover import Mover
from ringmill.node.replica.control import ControlStore
from ringmill.node.replica.purging.watermarks import Watermarks
from ringmill.node.replica.stored_key import Copy, Place

N1, N2 = NodeId("n1"), NodeId("n2")
COPY, OTHER = Copy(PartitionId(3), Epoch(7)), Copy(PartitionId(4), Epoch(7))


class Disk:
    """What the control store keeps, without an engine."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        return self.kept.get(name)

    async def put_synced(self, name: str, value: bytes) -> None:
        self.kept[name] = value


class Document:
    """The rows that a mover looks at."""

    def __init__(self, row: Row) -> None:
        self.rows = (row,)


def test_a_start_that_finds_its_copy_filled_takes_hints_for_it() -> None:
    first, joiner = (Owner(NodeId(each), DiskId(each * 16)) for each in ("n1", "n2"))
    joint = Row((first,), JOINT_1, Epoch(2), (Epoch(1), Epoch(2)), joiner=joiner)
    disk, nothing = Disk(), cast("Any", None)
    marks = Watermarks(cast("ControlStore", disk))
    mover = Mover(
        joiner,
        topology=nothing,
        watermarks=marks,
        progress=progress(disk),
        steps=FillSteps(),
        filling=nothing,
        former_copies=nothing,
        transport=nothing,
        change=nothing,
        count_hints=lambda: 0,
    )
    incoming = StoredObject(VersionVector.of([]), ())
    place = Place(Copy(PartitionId(0), Epoch(2)), KeyspaceId(1, 0), b"key")
    mover.take(cast("Topology", Document(joint)))  # as it was held when the node was killed
    with pytest.raises(Unavailable):
        marks.judge(place, ABSENT, incoming, "")
    mover.take(cast("Topology", Document(replace(joint, phase=JOINT_2, row_epoch=Epoch(3)))))
    marks.judge(place, ABSENT, incoming, "")


def progress(disk: Disk) -> MoveProgress:
    return MoveProgress(cast("ControlStore", disk))


async def test_a_restart_goes_on_where_it_was() -> None:
    disk = Disk()
    before = progress(disk)
    assert not before.is_begun(COPY)
    await before.begin([COPY])
    before.note_cursor(COPY, N1, b"key")
    before.note_filled(COPY, N2)
    await before.store()
    await before.begin([OTHER])
    await before.begin([COPY])
    after = progress(disk)
    assert after.is_begun(COPY) and after.is_begun(OTHER)
    assert after.cursor(COPY, N1) == b"key" and not after.is_filled_from(COPY, N1)
    assert after.sources(COPY) == [N2]
    await after.keep_only([OTHER])
    again = progress(disk)
    assert again.is_begun(OTHER) and not again.is_begun(COPY) and again.cursor(COPY, N1) == b""


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xc1",
        msgpack.packb(3),
        msgpack.packb([2, []]),
        msgpack.packb([1]),
        msgpack.packb([1, [[3, 7]]]),
        msgpack.packb([1, [[3, "x", []]]]),
        msgpack.packb([1, [[3, 7, [["n1"]]]]]),
    ],
)
def test_damage_is_reported(damage: bytes) -> None:
    disk = Disk()
    disk.kept[NAME] = damage
    with pytest.raises(CorruptData):
        progress(disk)
