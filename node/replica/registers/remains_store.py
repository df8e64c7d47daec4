"""What is kept on this node's disk of registers that were removed, by partition.

Rule R5: docs/protocol/registers.md.  Layout: docs/formats/control.md.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgpack

from ringmill.cluster.consensus.remains import NO_REMAINS, Remains, combined
from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import PartitionId
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.node.contracts import ControlState

__all__ = ["RemainsStore"]

_NAME: Final = "removed-registers"
_FORMAT_VERSION: Final = 1


class RemainsStore:
    """Raises CorruptData when what is kept does not decode."""

    def __init__(self, control: ControlState) -> None:
        self._control = control
        self._storing = asyncio.Lock()
        self._remains = _decoded(control.get(_NAME))

    def of(self, partition: PartitionId) -> Remains:
        return self._remains.get(partition, NO_REMAINS)

    async def add(self, partition: PartitionId, remains: Remains) -> None:
        """Keep these as well; they never get less.  Durable on return, and told of from then on.

        Raises what `ControlState.put_synced` raises.
        """
        async with self._storing:
            present = self.of(partition)
            following = combined(present, remains)
            if following == present:
                return
            kept = {**self._remains, partition: following}
            rows = [[each, *kept[each]] for each in sorted(kept)]
            await self._control.put_synced(_NAME, msgpack.packb([_FORMAT_VERSION, rows]))
            self._remains = kept


def _decoded(kept: bytes | None) -> dict[PartitionId, Remains]:
    if kept is None:
        return {}
    try:
        fields: Any = msgpack.unpackb(kept)
        version, rows = fields
        if version != _FORMAT_VERSION:
            raise ValueError(f"version {version!r:.40}, know {_FORMAT_VERSION}")
        return {
            PartitionId(int(partition)): Remains(int(highest), HybridTime(int(time)))
            for partition, highest, time in rows
        }
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptData(f"what is kept of removed registers does not decode: {error}") from error
