"""Registers whose owners are always there, for nodes that are cut off now and then."""

import asyncio
from collections.abc import Callable

from ringmill.cluster.errors import Conflict, Unavailable


class Registers:
    """A RegisterAccess.  `before_write` is called with each key that is to be changed."""

    def __init__(
        self,
        held: dict[bytes, tuple[int, bytes | None]] | None = None,
        is_cut: Callable[[], bool] = lambda: False,
    ) -> None:
        self.former_term = 0
        self.held = {} if held is None else held
        self.is_cut = is_cut
        self.before_write: Callable[[bytes], None] = lambda key: None

    async def read_cell(self, key: bytes, timeout_s: float) -> tuple[int, bytes | None]:
        await self._reach()
        return self.held.get(key, (0, None))

    async def set_cell(self, key: bytes, value: bytes | None, version: int, timeout_s: float) -> int:
        await self._reach()
        self.before_write(key)
        present, current = self.held.get(key, (0, None))
        if version != present:
            raise Conflict("it has changed", detail={"version": present, "current": current})
        self.held[key] = version + 1, value
        return version + 1

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self.is_cut():
            raise Unavailable("no owner answers", outcome="failed")
