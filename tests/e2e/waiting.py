"""Waiting for what real processes come to by themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENT_S = 120.0  # a bound for what hangs; nothing is learnt from how long it takes


def until(condition: Callable[[], bool]) -> None:
    """Fails when it never becomes true."""
    ends = time.monotonic() + PATIENT_S
    while not condition():
        assert time.monotonic() < ends, "that never came about"
        time.sleep(0.2)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """As `until`, for a condition that is awaited."""
    async with asyncio.timeout(PATIENT_S):
        while not await condition():  # noqa: ASYNC110 - nobody tells of what another process comes to
            await asyncio.sleep(0.1)
