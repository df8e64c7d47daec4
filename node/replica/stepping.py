"""One key of the engine, read and changed as one step with no await inside.

The engine has one user, this node's event loop, so a step that does not await cannot be interleaved and
writers of one key need no lock.  When the present value is not in memory it is fetched first; the step goes
on with it if nothing has changed meanwhile, and begins again if something has (rule V9).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from ringmill.cluster.errors import Overloaded, Unavailable
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.storage_errors import NotCached

__all__ = ["change", "fetch"]

MAX_FETCHES: Final = 16
T = TypeVar("T")


async def change(engine: Engine, key: bytes, step: Callable[[bytes | None], T]) -> T:
    """Run `step` on the present value; it applies its own batch.

    Waits while the engine holds writers back.  Raises what `step` raises, as `fetch` does, and Overloaded
    when the value changes again and again before it can be used.
    """
    await engine.wait_writable()
    for _ in range(MAX_FETCHES):
        try:
            present, is_present = await _present(engine, key)
        except OSError as error:
            raise _unreadable(error) from error
        if is_present:
            return step(present)
    raise Overloaded(f"a key or its tables changed {MAX_FETCHES} times while its block was read")


async def _present(engine: Engine, key: bytes) -> tuple[bytes | None, bool]:
    try:
        return engine.get_nowait(key), True
    except NotCached:
        return await engine.get_for_change(key)


async def fetch(engine: Engine, key: bytes) -> bytes | None:
    """The present value.  Raises CorruptData, and Unavailable when the disk cannot be read."""
    try:
        return await engine.get(key)
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> Unavailable:
    return Unavailable(f"this node's disk cannot be read: {error}", hint="see the node's log")
