"""The node's own state: topology, starts of the members, and its last stop in order.

Small values by name, apart from users' data and all held in memory.  They are stored twice, in the engine and
in a separate file (node/replica/control_copy.py), so that they survive damage of the engine's files.  A value
is on the disk in both places before `put_synced` returns and `get` shows it (rule T1).  Both are written at
once: requests of a new epoch wait for it.
"""

from __future__ import annotations

import asyncio
import logging

from ringmill.cluster.errors import CorruptData, DiskFull, Unavailable
from ringmill.cluster.gathering import gather_all
from ringmill.node.replica.control_copy import ControlCopy
from ringmill.node.replica.stored_key import Kind, kind_prefix, meta_key, prefix_end
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.engine import Engine

__all__ = ["ControlStore"]

_log = logging.getLogger(__name__)


class ControlStore:
    def __init__(self, engine: Engine, second: ControlCopy, values: dict[str, bytes]) -> None:
        self._engine = engine
        self._second = second
        self._values = values
        self._put_along: dict[str, bytes] = {}
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, engine: Engine, second: ControlCopy) -> ControlStore:
        """Read all control state, from the second copy if the engine's is damaged.

        Raises CorruptData when neither can be read.
        """
        prefix = kind_prefix(Kind.META)
        copied = await second.read()
        try:
            values = {key[1:].decode(): value async for key, value in engine.scan(prefix, prefix_end(prefix))}
        except CorruptData as error:
            if copied is None:
                raise
            _log.warning("control state is taken from its second copy: %s", error)
            values = copied
        if values and not second.holds(values):  # damage must not add up until no part is sound
            try:
                await second.write(values)
            except (DiskFull, Unavailable) as error:  # the next put tries again
                _log.warning("control state has no second copy: %s", error)
        return cls(engine, second, values)

    def get(self, name: str) -> bytes | None:
        """The value last put under `name`."""
        return self._values.get(name)

    async def put_synced(self, name: str, value: bytes) -> None:
        """Store a value durably; it may use the space reserved for control state.

        Raises Unavailable, Overloaded or DiskFull; then the value may or may not be stored.
        """
        async with self._writing:
            changed = {**self._put_along, name: value}
            await gather_all([self._second.write({**self._values, **changed}), self._put(changed)])
            self._values.update(changed)
            self._put_along = {
                each: along for each, along in self._put_along.items() if changed.get(each) is not along
            }

    def put_along(self, name: str, value: bytes) -> None:
        """Store a value with the next one that is put: for what may be lost and need not cost a sync."""
        self._put_along[name] = value

    async def put_back(self) -> None:
        """Write all values again to an engine that has lost some.  Raises what `put_synced` raises."""
        async with self._writing:
            if self._values:
                await self._put(self._values)

    async def _put(self, values: dict[str, bytes]) -> None:
        await self._engine.wait_writable(is_control=True)
        batch = Batch()
        for name, value in values.items():
            batch.put(meta_key(name), value)
        await self._engine.apply(batch, is_control=True).synced(is_urgent=False)
