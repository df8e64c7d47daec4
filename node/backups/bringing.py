"""Takes back what a backup holds of a partition, into this node's copy.

What is brought goes to every owner, so the watermark does not judge it: it may be older than what is proven
here, of a time when this cluster had not heard of the key.  Versions are merged as ever, and those that name
writes of the present start are refused (rule V8).  Rules B4 and B5: docs/protocol/backups.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from ringmill.cluster.errors import (
    Conflict,
    CorruptData,
    InvalidArgument,
    ProtocolMismatch,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.ids import Epoch, PartitionId
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.object_codec import decode_object
from ringmill.cluster.versions.objects import StoredObject, merge
from ringmill.node.replica.object_batch import ObjectBatch, Present
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.purging.watermarks import Watermarks
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.replica.stepping import change
from ringmill.node.storage.engine import Engine

__all__ = ["Bringing"]

_TURN: Final = 64  # objects in one turn of the loop, about a millisecond


class Bringing:
    def __init__(
        self,
        *,
        routes: Routes,
        engine: Engine,
        objects: ObjectStore,
        watermarks: Watermarks,
        clock: HybridClock,
    ) -> None:
        self._routes = routes
        self._engine = engine
        self._objects = objects
        self._watermarks = watermarks
        self._clock = clock

    async def bring(
        self, keyspace: str, partition: PartitionId, epoch: Epoch, items: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Merge objects in; durable on return.

        Raises WrongEpoch when this node does not own the partition, or it moves; Unavailable while a
        watermark is being settled; Conflict for what names a write of this start (rule V8); InvalidArgument
        for what is not an object, or of another partition; and what the engine raises.
        """
        for number, (key, encoded) in enumerate(items, 1):
            route = await self._routes.by_name(keyspace, key, epoch, within_s=1.0)
            self._check(route, partition)
            await self._merge(route, _object(encoded))
            if number % _TURN == 0:
                await asyncio.sleep(0)
        await self._objects.wait_synced(is_urgent=False)

    def _check(self, route: Route, partition: PartitionId) -> None:
        if route.partition != partition:
            raise InvalidArgument(f"a key of partition {route.partition} among those of {partition}")
        if self._routes.node not in route.row.whole or route.row.is_joint:
            raise WrongEpoch(
                f"{self._routes.node} does not own partition {partition}, or it moves",
                hint="wait until `ringmill cluster moves` shows none",
            )
        watermark = self._watermarks.of(partition)
        if watermark.kept.attempt:
            raise Unavailable(f"a watermark of partition {partition} is being settled", hint="try again")
        watermark.void("")

    async def _merge(self, route: Route, brought: StoredObject) -> None:
        place, objects = route.place, self._objects
        try:
            objects.check_made(place, brought)
        except ProtocolMismatch as error:
            raise Conflict(
                f"{self._routes.node} has not been restarted since the backup was made: {error.message}",
                hint="restart it, and run the restore again with --resume",
            ) from error
        self._clock.observe(brought.newest)
        for sibling in brought.siblings:
            if sibling.expires_at_ms:
                objects.dead.dead_from(place.stored_key, sibling.expires_at_ms)

        def step(encoded: bytes | None) -> None:
            self._routes.check_same(route)
            present = Present(encoded)
            merged = merge(present.stored, brought)
            if merged != present.stored:
                batch = ObjectBatch()
                batch.store(place.stored_key, present, merged)
                objects.commit(batch)

        await change(self._engine, place.stored_key, step)


def _object(encoded: bytes) -> StoredObject:
    try:
        return decode_object(encoded)
    except CorruptData as error:
        raise InvalidArgument(f"not an object: {error.message}") from error
