"""A child process started without a fork of the node.

`subprocess` starts it by vfork and exec: nothing of ours runs between the two.  The event loop's own way
forks, and in a process with gRPC's threads the fork handlers have been seen to crash the child before its
exec.  The end of a child is waited for by a pidfd on the loop, where the system has such, else by a thread.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

__all__ = ["ChildProcess"]


class ChildProcess:
    """A started child.  `returncode` is None while it runs, minus the signal's number when killed."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
        folder: str | None = None,
        new_session: bool = False,
    ) -> None:
        """Start it, from the thread whose end may end it (parent-death signals).  Raises OSError."""
        self._popen = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=stdin,
            stdout=stdout,
            pass_fds=pass_fds,
            cwd=folder,
            start_new_session=new_session,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    def kill(self) -> None:
        """SIGKILL; harmless when it has ended."""
        self._popen.kill()

    def _pidfd(self) -> int | None:
        """None where the system has none, or gives none: an old kernel, a filter of system calls."""
        try:
            return os.pidfd_open(self._popen.pid) if hasattr(os, "pidfd_open") else None
        except OSError:
            return None

    async def wait(self) -> int:
        """Its exit code, or minus the signal's number."""
        if (code := self._popen.poll()) is not None:
            return code
        loop = asyncio.get_running_loop()
        descriptor = self._pidfd()
        if descriptor is None:
            return await loop.run_in_executor(None, self._popen.wait)
        ended = asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return self._popen.wait()
