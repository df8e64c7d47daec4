"""Callbacks whose bugs are not the caller's: what one waiter makes of an answer ends nobody else's wait.

The log, a link and the wheel of deadlines each tell many waiters in a row.  An exception of one of them is
reported to the event loop, which logs it (a simulated run ends red by it), and the next one is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec

__all__ = ["call_guarded", "report_failed"]

P = ParamSpec("P")


def call_guarded(callback: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call it; whatever it raises is reported and goes no further."""
    try:
        callback(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - reported to the loop, whose handler logs it
        report_failed(callback, error)


def report_failed(callback: Callable[..., object], error: Exception) -> None:
    """For who calls many in a row and catches what each raises: tell the event loop."""
    text = f"a callback failed: {callback!r:.200}"
    asyncio.get_running_loop().call_exception_handler({"message": text, "exception": error})
