"""Asks many members the same, and gives their answers as they come: no silent one delays those of others.

It knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

from ringmill.client.routing.directory import STAGGER_S, Directory
from ringmill.cluster.errors import DeadlineExceeded, RingmillError

__all__ = ["SILENT_S", "outcomes"]

Answer = TypeVar("Answer")
SILENT_S: Final = 0.8


async def outcomes(
    directory: Directory,
    ask: Callable[[str], Awaitable[Answer | RingmillError]],
    groups: Sequence[Sequence[str]],
    *,
    head_start_s: float = STAGGER_S,
    silent_s: Callable[[], float] = lambda: SILENT_S,
) -> AsyncGenerator[tuple[str, Answer | RingmillError], None]:
    """Yield the answer of each of these members as it arrives.  A group is asked when the one before has
    been silent for `head_start_s`, or has answered.

    Members that are still silent `silent_s()` seconds after the last answer come last, as DeadlineExceeded.
    """
    directory.lifetime.check()
    asked: dict[asyncio.Future[Answer | RingmillError], str] = {}
    try:
        for place, group in enumerate(groups, start=1):
            for address in group:
                asked[asyncio.ensure_future(ask(address))] = address
            is_last = place == len(groups)
            patience_s = None if is_last else head_start_s
            while asked:
                done, _ = await asyncio.wait(asked, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
                directory.lifetime.check()
                for task in [each for each in asked if each in done]:
                    yield asked.pop(task), task.result()
                if not done:
                    break
                patience_s = silent_s() if is_last else head_start_s
        for address in asked.values():
            yield address, DeadlineExceeded(f"{address} does not answer", outcome="failed")
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
