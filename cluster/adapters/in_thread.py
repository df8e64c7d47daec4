"""Work that would hold up the event loop for some ten milliseconds, in a thread if the system gives one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["in_thread"]

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What `call` returns or raises; it raises no RuntimeError, and may be called twice.

    At the system's limit on threads it runs on the loop: a node goes on there, a little slower.
    """
    try:
        return await asyncio.to_thread(call, *args, **kwargs)
    except RuntimeError:  # can't start new thread
        return call(*args, **kwargs)
