"""Several works at once, whose results are wanted together.

`asyncio.gather` loses a cancellation that comes in the same turn of the loop as an error of one of its works:
it raises the error, and a loop that catches it goes on as if nobody had asked it to end.  It also returns at
the first error while the other works go on without an owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, TypeVar

__all__ = ["end_all", "first_error", "first_of", "gather_all"]

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


async def gather_all(works: Iterable[Awaitable[T]]) -> list[T]:
    """The results in the order of the works, once all have ended.

    Raises the error of the first work, in their order, that failed.  Cancelled, it cancels the works, waits
    for their end and raises CancelledError, whatever they raise.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    failed = [error for task in tasks if (error := _error(task)) is not None]
    if failed:
        raise failed[0]
    return [task.result() for task in tasks]


async def first_of(*works: Coroutine[Any, Any, object]) -> int:
    """Which of these ended first; the others are cancelled.  Raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = next(at for at, task in enumerate(tasks) if task in done)
        await tasks[first]
        return first
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def end_all(tasks: Iterable[asyncio.Future[Any]], expected: type[Exception]) -> None:
    """Cancel works in the background, which nobody awaits, and wait for their end.

    An error that was not expected is a bug, and is told to the exception handler of the loop: nobody else
    hears of it.
    """
    tasks = [*tasks]
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception) and not isinstance(ended, expected):
            told = {"message": "a task in the background had ended by a bug", "exception": ended}
            asyncio.get_running_loop().call_exception_handler(told)


def first_error(group: BaseExceptionGroup[E]) -> E:
    """The first error in a group, also in groups inside it, that is not a group itself."""
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error


def _error(ended: asyncio.Future[T]) -> BaseException | None:
    """What it failed with, a CancelledError if somebody else has cancelled it."""
    return asyncio.CancelledError() if ended.cancelled() else ended.exception()
