"""Limits the use of a client: until it is closed, in one process and in one event loop.

gRPC keeps threads and sockets that a forked child does not have, and its calls belong to the loop that began
them.  Anywhere else a client would hang or fail with an obscure gRPC error, so the use is refused here first.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

from ringmill.cluster.errors import ClientClosed

__all__ = ["Lifetime", "closed", "forked", "pipeline_ended"]


class Lifetime:
    """The process and the event loop (that of its first request) of one client, and whether it is closed."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    @property
    def is_at_home(self) -> bool:
        """Whether the caller is in the client's process and event loop."""
        return self._process == os.getpid() and self._loop in (None, asyncio.get_running_loop())

    def close(self) -> None:
        """Raises ClientClosed, and leaves it open, while the client's own loop runs elsewhere: only there it
        can be closed."""
        is_elsewhere = self._process == os.getpid() and not self.is_at_home
        if is_elsewhere and not self._is_closed and self._loop is not None and self._loop.is_running():
            raise _elsewhere("await aclose() there: asyncio.run_coroutine_threadsafe(db.aclose(), loop)")
        self._is_closed = True

    def call_at_home(self, work: Callable[[], object]) -> None:
        """Have the client's own loop call this soon; nothing where it is closed, has none, or is another
        process's."""
        if self._loop is not None and not self._is_closed and self._process == os.getpid():
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(work)

    def check_open(self) -> None:
        """Raises ClientClosed when the client is closed, or in a process forked from the client's."""
        if self._process != os.getpid():
            raise forked()
        if self._is_closed:
            raise closed()

    def check(self) -> None:
        """Raise ClientClosed once it is closed, or in another event loop.  Call it only inside a loop."""
        if self._is_closed or self._process != os.getpid():
            self.check_open()
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise _elsewhere("open one client in each asyncio.run(), or use the blocking ringmill.Client")


def _elsewhere(hint: str) -> ClientClosed:
    return ClientClosed("this client belongs to another event loop, the one that used it first", hint=hint)


def closed(outcome: str = "failed") -> ClientClosed:
    """The error of a closed client; `outcome` is "unknown" for a write that had been sent."""
    when = "was closed before the answer came" if outcome == "unknown" else "is closed"
    return ClientClosed(f"this client {when}", hint="open another one", outcome=outcome)


def pipeline_ended() -> ClientClosed:
    return ClientClosed("this pipeline has ended", hint="make another one: db.pipeline()")


def forked() -> ClientClosed:
    return ClientClosed(
        "this client was made in the process from which this one was forked",
        hint="open a client in each process, after the fork",
    )
