"""How far the copies that join this node are filled, on its disk: a restart goes on where it was.

Layout: docs/formats/control.md.  Rules M4 and M7: docs/protocol/moves.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgpack

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.node.replica.control import ControlStore
from ringmill.node.replica.stored_key import Copy

__all__ = ["MoveProgress"]

NAME: Final = "moves"
FORMAT_VERSION: Final = 1
_WHOLE: Final = None


class MoveProgress:
    """A copy is known once its watermark is.  For each source: the key to go on from, or that it was read.

    A restart that finds less reads some of it again, so what was read need not be noted each time.
    """

    def __init__(self, control: ControlStore) -> None:
        self._control = control
        stored = control.get(NAME)
        self._copies: dict[Copy, dict[NodeId, bytes | None]] = {} if stored is None else _decoded(stored)
        self._registers: dict[Copy, tuple[Epoch, bytes]] = {}

    def is_begun(self, copy: Copy) -> bool:
        return copy in self._copies

    async def begin(self, copies: Collection[Copy]) -> None:
        """Their watermarks are known, on the disk.  Raises as `ControlStore.put_synced`."""
        for copy in copies:
            self._copies.setdefault(copy, {})
        await self.store()

    def sources(self, copy: Copy) -> list[NodeId]:
        """The old owners that were read whole."""
        return [node for node, cursor in self._copies.get(copy, {}).items() if cursor is _WHOLE]

    def is_filled_from(self, copy: Copy, node: NodeId) -> bool:
        return node in self.sources(copy)

    def cursor(self, copy: Copy, node: NodeId) -> bytes:
        """Where to go on with a source."""
        return self._copies.get(copy, {}).get(node) or b""

    def note_cursor(self, copy: Copy, node: NodeId, cursor: bytes) -> None:
        """In memory; `store` keeps it."""
        self._copies.setdefault(copy, {})[node] = cursor

    def note_filled(self, copy: Copy, node: NodeId) -> None:
        """In memory; `store` keeps it."""
        self._copies.setdefault(copy, {})[node] = _WHOLE

    def registers_to(self, copy: Copy, row_epoch: Epoch) -> bytes:
        """The last key up to which rounds of this row have finished all registers since this start."""
        of_row, key = self._registers.get(copy, (row_epoch, b""))
        return key if of_row == row_epoch else b""

    def note_registers(self, copy: Copy, row_epoch: Epoch, key: bytes) -> None:
        """In memory, and nowhere else."""
        self._registers[copy] = row_epoch, key

    async def keep_only(self, copies: Collection[Copy]) -> None:
        """Forget the others: their moves are over."""
        self._registers = {copy: each for copy, each in self._registers.items() if copy in copies}
        if not self._copies.keys() <= set(copies):
            self._copies = {copy: each for copy, each in self._copies.items() if copy in copies}
            await self.store()

    async def store(self) -> None:
        """Synced on return.  Raises as `ControlStore.put_synced`."""
        rows = [
            [*copy, [[node, cursor] for node, cursor in sorted(each.items())]]
            for copy, each in sorted(self._copies.items())
        ]
        packed: bytes = msgpack.packb([FORMAT_VERSION, rows])
        await self._control.put_synced(NAME, packed)


def _decoded(data: bytes) -> dict[Copy, dict[NodeId, bytes | None]]:
    """Raises CorruptData."""
    try:
        fields: Any = msgpack.unpackb(data)
        version, rows = fields
        if version != FORMAT_VERSION:
            raise ValueError(f"version {version!r:.40}, know {FORMAT_VERSION}")
        return {
            Copy(PartitionId(int(partition)), Epoch(int(epoch))): {
                NodeId(str(node)): None if cursor is None else bytes(cursor) for node, cursor in sources
            }
            for partition, epoch, sources in rows
        }
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptData(f"the progress of moves, {len(data)} bytes, does not decode: {error}") from error
