"""What can wait is put off while requests do, for a while: background work always goes on in the end.

Rule O8: docs/protocol/overload.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

__all__ = ["LOOK_S", "never", "put_off"]

LOOK_S: Final = 0.5


def never() -> bool:
    """For what has no requests beside it."""
    return False


async def put_off(is_busy: Callable[[], bool], most_s: float) -> None:
    """Return once `is_busy` returns False, at once if it does now, and after `most_s` seconds anyway."""
    left_s = most_s
    while left_s > 0 and is_busy():
        left_s -= LOOK_S
        await asyncio.sleep(LOOK_S)
