"""The watermarks of this node's partitions: what each has proven and kept, on its disk, and what it watches.

Everything that is merged into an object is judged here first: a live version at or below the watermark that
this owner neither holds nor covers was deleted and forgotten, and is refused; one at or below a watermark
that is being proven makes the attempt void, unless the attempt's own exchange brought it.

Rules P2 and P3: docs/protocol/deletes.md.  Layout: docs/formats/control.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import msgpack

from ringmill.cluster.errors import CorruptData, Stale, Unavailable
from ringmill.cluster.ids import Epoch, PartitionId
from ringmill.cluster.ports import Clock
from ringmill.cluster.quorum.watermark import Kept, OwnerWatermark
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.dead import all_dead, is_dead, news, stale
from ringmill.cluster.versions.dots import Dot
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.cluster.versions.objects import StoredObject
from ringmill.node.replica.control import ControlStore
from ringmill.node.replica.stored_key import Place

__all__ = ["Unsettled", "Watermarks", "decode_watermarks", "encode_watermarks"]

NAME: Final = "watermarks"
FORMAT_VERSION: Final = 1

_log = logging.getLogger(__name__)


class Unsettled(Unavailable):
    """An older version is not taken before it is known what came of an attempt that is kept here."""


async def _nobody_asks(partition: PartitionId) -> None:
    return


class Watermarks:
    """`refused` counts versions that were refused as stale since the start; the last one was at `refused_at`,
    by the wall clock in seconds since 1970."""

    def __init__(self, control: ControlStore | None = None, clock: Clock | None = None) -> None:
        self._control = control
        self._clock = clock
        self._by_partition: dict[PartitionId, OwnerWatermark] = {}
        self._storing = asyncio.Lock()
        self._alarmed: dict[PartitionId, None] = {}
        self._filling: set[PartitionId] = set()  # of copies that join here
        self.refused = 0
        self.refused_at: float | None = None
        self.find_out: Callable[[PartitionId], Awaitable[None]] = _nobody_asks
        """Asks the other owners at once what came of the attempt that is kept here; returns when they have
        answered, or will not soon.  Repair sets it (node/repair/kept_attempts.py)."""
        stored = None if control is None else control.get(NAME)
        if stored is not None:
            kept = decode_watermarks(stored)
            self._by_partition = {partition: OwnerWatermark(each) for partition, each in kept.items()}

    def of(self, partition: PartitionId) -> OwnerWatermark:
        """The watermark of a partition, made when there is none yet."""
        watermark = self._by_partition.get(partition)
        if watermark is None:
            watermark = self._by_partition[partition] = OwnerWatermark()
        return watermark

    def known(self) -> dict[PartitionId, OwnerWatermark]:
        """The watermarks of all partitions that have ever been part of an attempt here."""
        return self._by_partition

    def proven(self, partition: PartitionId) -> HybridTime:
        """The proven watermark: at or below it what is dead may be forgotten."""
        watermark = self._by_partition.get(partition)
        return ZERO if watermark is None else watermark.proven

    def watched(self, partition: PartitionId) -> HybridTime:
        """Versions at or below this have to be judged before they are merged in."""
        watermark = self._by_partition.get(partition)
        return ZERO if watermark is None or partition in self._filling else watermark.watched

    def begin_filling(self, partition: PartitionId, *, is_new: bool) -> None:
        """A copy of the partition is filled here: it lacks what is older than the watermark, so only owners
        bring it anything, and that is not judged (rule M3).

        Of one that `is_new` nothing is known yet: what this node has kept as an earlier owner says nothing.
        """
        self._filling.add(partition)
        if is_new:
            self._by_partition.pop(partition, None)

    def end_filling(self, partition: PartitionId) -> None:
        """The copy holds what its owners hold, and judges by the watermark from now on."""
        self._filling.discard(partition)

    async def learn(self, proven: Mapping[PartitionId, HybridTime]) -> None:
        """Take over the watermarks that the owners of these partitions have proven; durable on return.

        Raises what `ControlStore.put_synced` raises.
        """
        for partition, watermark in proven.items():
            known = self.of(partition)
            if watermark > known.proven:
                known.kept = known.kept._replace(proven=watermark)
        await self.store()

    async def store(self) -> None:
        """Make what is kept durable.  Raises what `ControlStore.put_synced` raises."""
        assert self._control is not None, "there is no control state to store it in"
        async with self._storing:
            kept = {partition: watermark.kept for partition, watermark in self._by_partition.items()}
            await self._control.put_synced(NAME, encode_watermarks(kept))

    def judge(
        self,
        place: Place,
        present: StoredObject,
        incoming: StoredObject,
        attempt: str,
        *,
        of_owner: bool = False,
    ) -> None:
        """Look at what is to be merged into the present object; `attempt` is the one whose exchange brings
        it.  `of_owner`: it is what an owner holds under the present row, so no deleted version is in it.

        Raises Stale for what was deleted and forgotten; Unsettled while an attempt is open whose outcome
        decides whether it was; Unavailable for what nobody can judge while the copy is filled.
        """
        if place.copy.partition in self._filling:
            if of_owner:
                return
            sometimes("a copy that is being filled takes no hint")
            raise Unavailable(
                f"the copy of partition {place.copy.partition} is being filled, and takes hints after that"
            )
        watermark = self._by_partition.get(place.copy.partition)
        if watermark is None or not any(sibling.time <= watermark.watched for sibling in incoming.siblings):
            return
        if (one := stale(present, incoming, watermark.proven)) is not None:
            self.refused += 1
            self.refused_at = None if self._clock is None else self._clock.wall()
            self._alarm(place.copy.partition, one.dot)
            raise Stale(f"version {one.dot} is older than the watermark, and was deleted and forgotten here")
        if present.is_absent and all_dead(incoming, watermark.proven):
            return  # it will be forgotten again at once
        if watermark.closed > watermark.proven and _has_news(
            present, incoming, watermark.closed, watermark.proven
        ):
            raise Unsettled("an older version is not taken while a watermark is being settled")
        note = watermark.note
        if note is not None and _has_news(present, incoming, note.watermark, watermark.proven):
            is_void_now = watermark.void(attempt)
            if is_void_now:
                sometimes("an attempt to prove a watermark is void")

    def _alarm(self, partition: PartitionId, dot: Dot) -> None:
        """Once for each partition: a late message is harmless, but nothing else is to bring one."""
        if partition not in self._alarmed:
            self._alarmed[partition] = None
            _log.warning(
                "partition %d: a version that was deleted and forgotten came again, and is refused: %s",
                partition,
                dot,
            )

    def void_all(self, partitions: Iterable[PartitionId]) -> None:
        """Make the attempts of these partitions void: something of them is filled from other owners, and what
        is proven now may not hold."""
        for partition in partitions:
            watermark = self._by_partition.get(partition)
            if watermark is not None:
                watermark.void("")

    def forgets(self, place: Place, stored: StoredObject) -> bool:
        """Whether nothing but what is dead at the watermark is left of an object."""
        watermark = self._by_partition.get(place.copy.partition)
        return watermark is not None and watermark.proven > ZERO and all_dead(stored, watermark.proven)


def _has_news(
    present: StoredObject, incoming: StoredObject, watermark: HybridTime, proven: HybridTime
) -> bool:
    """Whether `incoming` brings a version at or below `watermark` that this owner never held.

    What is dead at the proven watermark it has held and forgotten, so that is no news: another owner may
    still have it, beside a newer value.
    """
    return any(not is_dead(one, proven) for one in news(present, incoming, watermark))


def encode_watermarks(kept: dict[PartitionId, Kept]) -> bytes:
    rows = [[partition, *each] for partition, each in sorted(kept.items()) if each != Kept()]
    packed: bytes = msgpack.packb([FORMAT_VERSION, rows])
    return packed


def decode_watermarks(data: bytes) -> dict[PartitionId, Kept]:
    """Raises CorruptData."""
    try:
        fields: Any = msgpack.unpackb(data)
        version, rows = fields
        if version != FORMAT_VERSION:
            raise ValueError(f"version {version!r:.40}, know {FORMAT_VERSION}")
        return {
            PartitionId(int(partition)): Kept(
                HybridTime(int(proven)),
                str(proof),
                str(attempt),
                HybridTime(int(watermark)),
                Epoch(int(made)),
            )
            for partition, proven, proof, attempt, watermark, made in rows
        }
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CorruptData(f"watermarks of {len(data)} bytes do not decode: {error}") from error
