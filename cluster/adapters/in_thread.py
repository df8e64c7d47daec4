"""Work that would hold up the event loop for some ten milliseconds, in a thread if the system gives one.

Not in the executor of the loop: its end takes one more thread, so a process that had to do without would end
with an error after all else was done.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import ParamSpec, TypeVar

__all__ = ["in_thread"]

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What `call` returns or raises.  Cancelling this ends the wait, not the call.

    At the system's limit on threads it runs on the loop: a node goes on there, a little slower.
    """
    work = partial(call, *args, **kwargs)
    outcome: Future[T] = Future()
    thread = threading.Thread(target=_tell, args=(outcome, work), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # can't start new thread
        return work()
    return await asyncio.wrap_future(outcome)


def _tell(outcome: Future[T], work: Callable[[], T]) -> None:
    if outcome.set_running_or_notify_cancel():
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            outcome.set_exception(error)
