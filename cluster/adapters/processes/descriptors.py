"""File descriptors of this process: as many as the system allows, and a word when they run short.

A process without a free descriptor accepts no connection and opens no file, and says nothing about it: from
outside it looks alive and deaf.  So the limit is raised at the start, connections are capped below it, and
what is left is watched.  Files are told from connections: each table of the store keeps one open, and nothing
that a client does gives it back.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
from collections.abc import Callable
from contextlib import suppress
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
MOST_OF_FILES: Final = 0.75  # of all descriptors
LEAST_FREE: Final = 24
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


def files_in_use() -> int | None:
    """Those of them that are files; None where the system does not tell."""
    folder, count = "/proc/self/fd", 0
    try:
        for name in os.listdir(folder):
            with suppress(OSError):  # it was closed meanwhile
                count += os.readlink(f"{folder}/{name}").startswith("/")
    except OSError:
        return None
    return count


class DescriptorWatch:
    """Looks every second how many descriptors are left; `reason` says so while they are few.

    They are when connections have all that they may have, when next to none is left, and when files have most
    of them.  `spare` is asked to give back this number of descriptors then, and returns how many it can.
    """

    def __init__(self, limit: int) -> None:
        self.spare: Callable[[int], int] = lambda _: 0
        self._limit = limit
        self._few = connections_below(limit)
        self._most_used = limit - min(LEAST_FREE, limit // 8)
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
            are_many = used is not None and used >= self._few
            self.look(used, loop.time(), await in_thread(files_in_use) if are_many else None)
            await next_beat(LOOK_S)

    def look(self, used: int | None, now: float, files: int | None = None) -> None:
        """`files` of them are files, if that is known."""
        used = None if used is None else min(used, self._limit)
        if used is None or used < self._few or not (reason := self._shortage(used, files)):
            if self.reason:
                _log.info("file descriptors are there again: %s of %d in use", used, self._limit)
            self.reason = ""
            self._told_at = min(self._told_at, now - REMIND_S)
            return
        self.reason = reason
        if now - self._told_at >= REMIND_S:
            self._told_at = now
            _log.warning(self.reason)
        if now - self._spared_at < SPARE_EVERY_S:
            return  # what was ended last may take a while to close
        wanted = self._wanted(used, files)
        if wanted > 0 and (ended := self.spare(wanted)):
            self._spared_at = now
            _log.info("ended %d sessions on which nothing was asked, as file descriptors are short", ended)

    def _shortage(self, used: int, files: int | None) -> str:
        """A sentence; "" when there is none."""
        if files is None or used - files >= self._few:
            return (
                f"short of file descriptors: {used} of {self._limit} in use, "
                f"so new connections are refused; close idle ones or raise `ulimit -n`"
            )
        if files >= self._limit * MOST_OF_FILES or used > self._most_used:
            return (
                f"short of file descriptors: {used} of {self._limit} in use, {files} of them for files; "
                f"raise `ulimit -n`: without a free one no further table can be opened, and writers wait"
            )
        return ""

    def _wanted(self, used: int, files: int | None) -> int:
        """How many sessions are to go."""
        if files is None:
            return used - self._few + SPARED
        return max(used - files - self._few, used - self._most_used) + SPARED
