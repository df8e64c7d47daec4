"""Which actor writes dots for each copy, and how far it has counted.

A vector entry covers a range of dots, so an actor that may have forgotten some of its dots must never be
used again: its next write would carry a dot that others take for one they have seen, and be lost.  So a
copy takes a new actor when it is made, and at its first write after a start that is not provably clean.
After a clean stop the counts saved at it go on.  Layout of what is saved: docs/formats/identity.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgpack

from cluster.errors import CorruptData, Unavailable
from cluster.ids import Epoch, NodeId, PartitionId
from cluster.versions.dots import Dot, actor_of
from node.replica.stored_key import Copy

__all__ = ["META_NAME", "ActorNumbers", "CopyActors", "decode_counts", "encode_counts"]

META_NAME: Final = "actors"
FORMAT_VERSION: Final = 1

Counts = dict[Copy, tuple[int, int]]
"""Of each copy: its actor's number, and the count of its latest dot."""


class ActorNumbers(Protocol):
    async def take_actor_number(self) -> int:
        """A number that no copy of this node was ever given.  Raises Unavailable when there is none."""
        ...


class CopyActors:
    """Dots for the writes this node coordinates."""

    def __init__(self, node: NodeId, numbers: ActorNumbers, saved: Mapping[Copy, tuple[int, int]]) -> None:
        self._node = node
        self._numbers = numbers
        self._counts: Counts = dict(saved)
        self._is_sealed = False

    def next_dot(self, copy: Copy) -> Dot | None:
        """The next dot of a copy, never given before; None until `assign` has been awaited for the copy.

        Raises Unavailable (nothing happened) once the counts are sealed.
        """
        if self._is_sealed:
            raise Unavailable(f"{self._node} is stopping: it coordinates no more writes")
        found = self._counts.get(copy)
        if found is None:
            return None
        number, count = found
        self._counts[copy] = (number, count + 1)
        return Dot(actor_of(self._node, number), count + 1)

    async def assign(self, copy: Copy) -> None:
        """Give a copy an actor if it has none."""
        if copy not in self._counts:
            number = await self._numbers.take_actor_number()
            self._counts.setdefault(copy, (number, 0))

    def seal(self) -> Counts:
        """The counts for a clean stop to save.  No dot is given after it, as the next start counts on."""
        self._is_sealed = True
        return dict(self._counts)


def encode_counts(start_number: int, counts: Mapping[Copy, tuple[int, int]]) -> bytes:
    """The counts at the clean stop of start `start_number`."""
    rows = [[*copy, *counted] for copy, counted in sorted(counts.items())]
    packed: bytes = msgpack.packb([FORMAT_VERSION, start_number, rows])
    return packed


def decode_counts(data: bytes | None, start_number: int) -> Counts:
    """What the clean stop of start `start_number` saved; nothing when the record is of another start.

    Raises CorruptData.
    """
    if data is None:
        return {}
    try:
        fields: Any = msgpack.unpackb(data)
        version, saved_by, rows = fields
        counts = {
            Copy(PartitionId(partition), Epoch(copy_epoch)): (int(number), int(count))
            for partition, copy_epoch, number, count in rows
        }
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptData(f"the saved actor counts ({len(data)} bytes) do not decode: {error}") from error
    return counts if (version, saved_by) == (FORMAT_VERSION, start_number) else {}
