"""Connections of hostile callers, and what they are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

__all__ = ["Connection", "drained", "first_lines", "opened"]

HEARD_S: Final = 40.0
_SHOWN: Final = 110

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def opened(port: int, count: int, *, reads: bool = True) -> AsyncIterator[list[Connection]]:
    """This number of connections; those that do not read leave what is answered to the kernel."""
    found: list[Connection] = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
            if not reads:
                writer.transport.pause_reading()  # type: ignore[attr-defined]
            found.append((reader, writer))
        yield found
    finally:
        for _, writer in found:
            writer.transport.abort()


async def drained(writer: asyncio.StreamWriter, within_s: float) -> bool:
    """Whether all that was said has gone out by then; False when the door has ended the connection too."""
    try:
        async with asyncio.timeout(within_s):
            await writer.drain()
    except (TimeoutError, ConnectionError):
        return False
    return True


async def first_lines(connections: list[Connection]) -> Counter[str]:
    """What each is told first, and how many of them: a status and a code, or the error of Redis."""
    answers = await asyncio.gather(*(_first(reader) for reader, _ in connections))
    return Counter(answers)


async def _first(reader: asyncio.StreamReader) -> str:
    try:
        async with asyncio.timeout(HEARD_S):
            line = (await reader.readline()).decode("utf-8", "replace").strip()
            if not line.startswith("HTTP/"):
                return line[:_SHOWN] or "closed"
            rest = ""
            with contextlib.suppress(asyncio.IncompleteReadError, ValueError):
                while (more := (await reader.readline()).decode("utf-8", "replace")).strip():
                    pass
                del more
                rest = (await reader.readline()).decode("utf-8", "replace")
            return f"{line.partition(' ')[2]}: {_detail(rest)}"[:_SHOWN]
    except TimeoutError:
        return f"nothing in {HEARD_S:g} s"
    except ConnectionError:
        return "closed"


def _detail(problem: str) -> str:
    _, _, after = problem.partition('"detail": "')
    return after.partition('"')[0] or problem[:60]
