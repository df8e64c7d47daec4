"""Where and how long one client may be used: until it is closed, in one process and in one event loop.

gRPC keeps threads and sockets that a forked child does not have, and its calls belong to the loop that began
them.  Used anywhere else a client would hang or fail in words of its innards, so it is refused here first.
"""

from __future__ import annotations

import asyncio
import os

from ringmill.cluster.errors import ClientClosed

__all__ = ["Lifetime", "closed", "forked"]


class Lifetime:
    """Of one client, from where it was made; the loop is that of its first request."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    @property
    def is_at_home(self) -> bool:
        """Whether this process and this loop are those of the client."""
        return self._process == os.getpid() and self._loop in (None, asyncio.get_running_loop())

    def close(self) -> None:
        self._is_closed = True

    def check_open(self) -> None:
        """Raises ClientClosed when closed, or in a process that was forked since."""
        if self._process != os.getpid():
            raise forked()
        if self._is_closed:
            raise closed()

    def check(self) -> None:
        """`check_open`, and raises ClientClosed in an event loop other than the first.  Only in a loop."""
        self.check_open()
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ClientClosed(
                "this client belongs to another event loop, the one that used it first",
                hint="open one client in each asyncio.run(), or use the blocking ringmill.Client",
            )


def closed(outcome: str = "failed") -> ClientClosed:
    """What a client that was closed says; `outcome` "unknown" of a write that had been sent before."""
    when = "was closed before the answer came" if outcome == "unknown" else "is closed"
    return ClientClosed(f"this client {when}", hint="open another one", outcome=outcome)


def forked() -> ClientClosed:
    return ClientClosed(
        "this client was made in the process from which this one was forked",
        hint="open a client in each process, after the fork",
    )
