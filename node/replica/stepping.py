"""Reads and changes one key of the engine as one step, with no await inside; finds the first key of a range.

Only this node's event loop uses the engine, so nothing interleaves with a step that does not await, and
writers of one key need no lock.  A value that is not in memory is fetched first; the step uses it if nothing
has changed meanwhile and there is still room for a write, and begins again otherwise (rules V9 and E8).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Final, TypeVar

from ringmill.cluster.errors import Overloaded, Unavailable
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.storage_errors import NotCached

__all__ = ["change", "fetch", "first_key"]

MAX_FETCHES: Final = 16
T = TypeVar("T")


async def change(
    engine: Engine, key: bytes, step: Callable[[bytes | None], T], *, frees_space: bool = False
) -> T:
    """Run `step` on the present value; the step applies its own batch.

    `frees_space`: that batch deletes, and may use the reserve of free space (rule E11).  Waits while the
    engine holds writers back.  Raises what `step` and `fetch` raise, and Overloaded when the value keeps
    changing before it can be used.
    """
    for fetched in range(MAX_FETCHES):
        await engine.wait_writable(frees_space=frees_space)
        try:
            present, is_present = await _present(engine, key)
        except OSError as error:
            raise _unreadable(error) from error
        if is_present and (engine.has_space or (fetched and engine.has_spare_space)):
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


async def first_key(engine: Engine, start: bytes, end: bytes) -> bytes | None:
    """The first stored key from `start` to before `end`, by one seek.  Raises what reading raises."""
    async with aclosing(engine.scan(start, end)) as scan:
        async for key, _ in scan:
            return key
    return None


def _unreadable(error: OSError) -> Unavailable:
    return Unavailable(f"this node's disk cannot be read: {error}", hint="see the node's log")
