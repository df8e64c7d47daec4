"""Starts and stops nodes as processes of a local cluster, and remembers which ones it has started.

`HOME/NAME/launched.json` has their ids, so that a later run knows which nodes it may remove.  An id is
written there before its process starts, and taken out after the process has ended.  No later node gets the
id of one whose data folder is there (client/local/newcomers.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from typing import Final

from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalNode
from ringmill.client.local.newcomers import next_node, start_newcomer, stop_and_forget
from ringmill.cluster.adapters.files.private_files import distrust, open_private, replace_private
from ringmill.cluster.errors import Conflict, CorruptData, PermissionDenied, RingmillError, Unavailable

__all__ = ["LocalLauncher"]

_FORMAT: Final = 1


class LocalLauncher:
    """A Launcher (client/scaling/launcher.py) for the local cluster of `folder`."""

    def __init__(self, folder: str, start_timeout_s: float) -> None:
        self._folder = folder
        self._path = os.path.join(folder, "launched.json")
        self._start_timeout_s = start_timeout_s

    def launched(self) -> Sequence[str]:
        """The nodes started and not stopped since, oldest first.

        Raises CorruptData; PermissionDenied for a file that others may have written.
        """
        try:
            why = distrust(self._path)
            with os.fdopen(open_private(self._path, os.O_RDONLY), encoding="utf-8") as file:
                written = json.load(file)
            nodes = written["nodes"] if written["format"] == _FORMAT else None
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise self._unreadable(str(error)) from error
        if why:
            raise PermissionDenied(f"{self._path} is not trusted: {why}")
        if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
            raise self._unreadable("it is not a list of nodes of this release")
        return nodes

    async def start(self) -> LocalNode:
        """Start a node on this machine.  Raises PortTaken, Unavailable."""
        return await asyncio.to_thread(self._start)

    async def stop(self, node: str) -> None:
        """Stop a node that it has started; its folder stays."""
        await asyncio.to_thread(self._stop, node)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Raise Conflict while another command scales this cluster."""
        path = os.path.join(self._folder, ".scaling-lock")
        with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT), "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict(
                    f"another `cluster autoscale` scales cluster {os.path.basename(self._folder)}",
                    hint="end that one first; --dry-run may run beside it",
                ) from error
            yield

    def _start(self) -> LocalNode:
        fresh = next_node(local_cluster.required_cluster(self._folder))
        try:
            self._write([*self.launched(), fresh.id])
            start_newcomer(self._folder, fresh, self._start_timeout_s)
        except RingmillError:
            self._stop(fresh.id)
            raise
        except OSError as error:  # a disk may be full, also for the note that it was not started
            with contextlib.suppress(OSError):
                self._stop(fresh.id)
            raise Unavailable(f"{fresh.id} was not started: {error}") from error
        return fresh

    def _stop(self, node: str) -> None:
        if node in self.launched():
            stop_and_forget(self._folder, node)
            self._write([each for each in self.launched() if each != node])

    def _write(self, nodes: Sequence[str]) -> None:
        replace_private(self._path, json.dumps({"format": _FORMAT, "nodes": list(nodes)}).encode())

    def _unreadable(self, why: str) -> CorruptData:
        return CorruptData(
            f"{self._path} cannot be read: {why}", hint="remove it, and nodes started before are left alone"
        )
