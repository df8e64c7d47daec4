"""What is noted of a copy that is being filled is there after a restart; damage is told, never an absence."""

from __future__ import annotations

from typing import cast

import msgpack
import pytest

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.node.moves.filled_so_far import NAME, MoveProgress
from ringmill.node.replica.control import ControlStore
from ringmill.node.replica.stored_key import Copy

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


def progress(disk: Disk) -> MoveProgress:
    return MoveProgress(cast("ControlStore", disk))


async def test_a_restart_goes_on_where_it_was() -> None:
    disk = Disk()
    before = progress(disk)
    assert not before.is_begun(COPY)
    await before.begin(COPY)
    before.note_cursor(COPY, N1, b"key")
    before.note_filled(COPY, N2)
    await before.store()
    await before.begin(OTHER)
    await before.begin(COPY)
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
def test_damage_is_told(damage: bytes) -> None:
    disk = Disk()
    disk.kept[NAME] = damage
    with pytest.raises(CorruptData):
        progress(disk)
