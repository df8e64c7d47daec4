"""File descriptors of this process: as many as the system allows, and a word when they run short.

A process without a free descriptor accepts no connection and opens no file, and says nothing about it: from
outside it looks alive and deaf.  So the limit is raised at the start, connections are capped below it, and
what is left is watched.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
from collections.abc import Callable
from typing import Final

from ringmill.cluster.adapters.in_thread import in_thread
from ringmill.cluster.beats import next_beat

__all__ = ["DescriptorWatch", "connections_below", "raise_limit"]

MOST: Final = 65_536  # a limit above it gains nothing here, and some systems allow a billion
KEPT_FOR_FILES: Final = 256  # tables, logs, pipes to children
LOOK_S: Final = 1.0
BRIEF: Final = 512  # listed in 0.2 ms
REMIND_S: Final = 60.0
SPARE_EVERY_S: Final = 10.0
SPARED: Final = 16  # descriptors that are to be free below the bound
_log = logging.getLogger(__name__)


def raise_limit() -> int:
    """Raise the soft limit on open files to the hard one, up to MOST; the limit now in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            return soft
        return wanted
    return MOST if soft == resource.RLIM_INFINITY else soft


def connections_below(limit: int) -> int:
    """How many connections may be open at once, so that files can still be opened."""
    return limit - min(KEPT_FOR_FILES, limit // 2)


def in_use() -> int | None:
    """Descriptors this process has open; None where the system does not tell."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder)) - 1  # one is that of the listing
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                return MOST
    return None


class DescriptorWatch:
    """Looks every second how many descriptors are left; `reason` says so while they are few.

    `spare` is asked to give back this number of descriptors then, and returns how many it can.
    """

    def __init__(self, limit: int) -> None:
        self.spare: Callable[[int], int] = lambda _: 0
        self._limit = limit
        self._few = connections_below(limit)
        self._told_at = -REMIND_S
        self._spared_at = -SPARE_EVERY_S
        self.reason = ""

    async def run(self) -> None:
        """Look until cancelled.  Shortage is logged when it begins, and once a minute while it lasts."""
        loop, is_brief = asyncio.get_running_loop(), False
        while True:
            # Listing thousands would block the loop; listing few costs less than waking a thread.
            used = in_use() if is_brief else await in_thread(in_use)
            is_brief = used is not None and used < BRIEF
            self.look(used, loop.time())
            await next_beat(LOOK_S)

    def look(self, used: int | None, now: float) -> None:
        if used is None or used < self._few:
            if self.reason:
                _log.info("file descriptors are there again: %s of %d in use", used, self._limit)
            self.reason = ""
            self._told_at = min(self._told_at, now - REMIND_S)
            return
        self.reason = (
            f"short of file descriptors: {min(used, self._limit)} of {self._limit} in use, "
            f"so new connections are refused; close idle ones or raise `ulimit -n`"
        )
        if now - self._told_at >= REMIND_S:
            self._told_at = now
            _log.warning(self.reason)
        if now - self._spared_at < SPARE_EVERY_S:
            return  # what was ended last may take a while to close
        if ended := self.spare(min(used, self._limit) - self._few + SPARED):
            self._spared_at = now
            _log.info("ended %d sessions on which nothing was asked, as file descriptors are short", ended)
