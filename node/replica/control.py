"""The node's own state in its engine: topology, actor counts, and what later parts promise to remember.

Small values by name, apart from users' data, all of them held in memory.  A value is on the disk before
`put_synced` returns, and only then seen by `get`.
"""

from __future__ import annotations

from node.replica.stored_key import Kind, kind_prefix, meta_key, prefix_end
from node.storage.batch import Batch
from node.storage.engine import Engine

__all__ = ["ControlStore"]


class ControlStore:
    def __init__(self, engine: Engine, values: dict[str, bytes]) -> None:
        self._engine = engine
        self._values = values

    @classmethod
    async def open(cls, engine: Engine) -> ControlStore:
        """Read all control state.  Raises CorruptData."""
        prefix = kind_prefix(Kind.META)
        return cls(
            engine,
            {key[1:].decode(): value async for key, value in engine.scan(prefix, prefix_end(prefix))},
        )

    def get(self, name: str) -> bytes | None:
        """The value last put under `name`."""
        return self._values.get(name)

    async def put_synced(self, name: str, value: bytes) -> None:
        """Raises Unavailable, Overloaded or DiskFull; then the value is not certain."""
        await self._engine.wait_writable()
        batch = Batch()
        batch.put(meta_key(name), value)
        await self._engine.apply(batch).synced()
        self._values[name] = value
