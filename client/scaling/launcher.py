"""The door through which nodes are started and stopped, whatever runs them.

client/local/local_launcher.py opens it for processes of a local cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["LaunchedNode", "Launcher"]


class LaunchedNode(Protocol):
    """A node that runs at `address` ("host:port") on an empty data folder."""

    @property
    def id(self) -> str: ...

    @property
    def address(self) -> str: ...


class Launcher(Protocol):
    """Starts nodes that no cluster knows yet, and stops those that have left.  It changes no cluster."""

    def launched(self) -> Sequence[str]:
        """The nodes that it has started and not stopped since, also in earlier runs, oldest first."""

    async def start(self) -> LaunchedNode:
        """Start a node and wait until it listens.

        Raises RingmillError when it does not; then nothing of it is left running.
        """

    async def stop(self, node: str) -> None:
        """Stop a node that it has started and that is not a member; one that has ended is not an error.

        Raises RingmillError when it does not end.
        """
