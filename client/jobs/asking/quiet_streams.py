"""Waits for a member that may take long, and leaves it when it does not answer: a stream, or one call.

A stopped process keeps its connections: what it would say next is waited for, until somebody asks whether it
is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from ringmill.cluster.gathering import first_of

__all__ = ["QUIET_S", "until_done", "while_answered"]

Message = TypeVar("Message")
Prove = Callable[[], Coroutine[Any, Any, object]]
QUIET_S = 2.0  # of a stream


async def until_done(call: asyncio.Future[Any], prove: Prove, quiet_s: Callable[[], float]) -> None:
    """Returns once the call has ended.  Each `quiet_s()` seconds that it takes, `prove` has to show that its
    member answers: raises what that raises, unless the call ends first."""
    while not (await asyncio.wait([call], timeout=quiet_s()))[0]:
        await first_of(asyncio.wait([call]), prove())


async def while_answered(
    messages: AsyncIterator[Message],
    prove: Prove,
    quiet_s: Callable[[], float] = lambda: QUIET_S,
) -> AsyncGenerator[Message, None]:
    """Yield the messages.  When none has come for `quiet_s()` seconds, `prove` has to show that the sender
    answers: what it raises ends this."""
    coming: asyncio.Future[Message] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(messages))
            await until_done(coming, prove, quiet_s)
            try:
                message = coming.result()
            except StopAsyncIteration:
                return
            yield message
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
