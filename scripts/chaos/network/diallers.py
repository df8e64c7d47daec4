"""Which process dialled: from the kernel's tables of connections and the open files of the nodes (Linux).

gRPC dials 127.0.0.1 by a socket of IPv6 where there is IPv6, so its connections are in the second table.  A
look costs some ten milliseconds, so one serves everybody who came meanwhile, and it is done in a thread: a
proxy that stands still would be a fault that nobody counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["Diallers"]

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
Ends = tuple[int, int]
"""Source port, port dialled."""


class Diallers:
    """`pids` tells which nodes run now; a socket that is none of theirs belongs to `stranger`."""

    def __init__(self, pids: Callable[[], Mapping[str, int]], stranger: str) -> None:
        self._pids = pids
        self._stranger = stranger
        self._seen: dict[Ends, str] = {}
        self._looking = asyncio.Lock()
        self._looks = 0  # that have begun

    async def who(self, source: int, dialled: int) -> str:
        """Who holds the socket that goes from port `source` to port `dialled`."""
        came = self._looks
        async with self._looking:
            if self._looks == came:  # else one has begun since: who is not in it has gone, and needs no other
                self._looks += 1
                inodes, owners = await asyncio.to_thread(_look, dict(self._pids()))
                self._seen = {ends: owners.get(inode, self._stranger) for ends, inode in inodes.items()}
            return self._seen.get((source, dialled), self._stranger)


def _look(pids: Mapping[str, int]) -> tuple[dict[Ends, str], dict[str, str]]:
    """Inodes by ends of their connection, and nodes by the inodes of their sockets."""
    inodes: dict[Ends, str] = {}
    for table in TABLES:
        with contextlib.suppress(FileNotFoundError):  # there is no IPv6
            for line in table.read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                inodes[_port(fields[1]), _port(fields[2])] = fields[9]
    owners = {inode: node for node, pid in pids.items() for inode in _sockets(pid)}
    return inodes, owners


def _sockets(pid: int) -> list[str]:
    """Inodes of a process's sockets; none when it has ended."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        for handle in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = str(Path(handle.path).readlink())
                if target.startswith("socket:["):
                    found.append(target[len("socket:[") : -1])
    return found


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
