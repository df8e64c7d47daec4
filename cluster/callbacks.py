"""Callbacks whose bugs are not the caller's, and one that ends the wait for a future.

The log, a link and the wheel of deadlines each call many waiters in a row.  What one of them raises ends
nobody else's wait: it is reported to the event loop, which logs it (a simulated run ends red by it), and the
next one is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["call_guarded", "report_failed", "resolve"]

P = ParamSpec("P")
T = TypeVar("T")


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


def resolve(waiting: asyncio.Future[T], outcome: T | Exception) -> None:
    """Set what a future waits for, a result or an error, unless it was set or cancelled before."""
    if waiting.done():
        return
    if isinstance(outcome, Exception):
        waiting.set_exception(outcome)
    else:
        waiting.set_result(outcome)
