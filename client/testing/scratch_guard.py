"""Ends the nodes of a scratch cluster when the process that started them has ended.

A test run that is killed runs no code of its own any more.  So a child process waits on a pipe, which the
system closes then, and ends what is left.  It is `python -m ringmill.client.testing.scratch_guard FOLDER`.

Processes that the tests fork, as those of a pool, inherit the pipe and may outlive its owner.  They close it
at once; and a byte tells the child that it is dismissed, whoever else holds the pipe.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from ringmill.client.local import processes
from ringmill.client.local.local_state import LocalNode, load_cluster

__all__ = ["ScratchGuard", "end_nodes"]

PATIENCE_S = 5.0
DISMISSED_S = 30.0  # longer than it takes the child to end what still runs

_pipes: set[IO[bytes]] = set()


def _close_pipes() -> None:
    for pipe in _pipes:
        pipe.close()
    _pipes.clear()


os.register_at_fork(after_in_child=_close_pipes)


class ScratchGuard:
    """The child that waits, for the cluster of one folder."""

    def __init__(self, folder: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, folder],
            stdin=subprocess.PIPE,
            env=processes.our_environment(),
            start_new_session=True,  # Ctrl-C is for the tests, and not for it
        )
        assert self._child.stdin is not None
        self._pipe = self._child.stdin
        _pipes.add(self._pipe)

    def dismiss(self) -> None:
        """End the child; what still runs is ended by it before.  In a process that was forked since it does
        nothing, as the child is not its own."""
        if self._pipe.closed:
            return
        _pipes.discard(self._pipe)
        try:
            self._child.communicate(b".", DISMISSED_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def end_nodes(nodes: Sequence[LocalNode]) -> None:
    """Kill those of the nodes that run, and wait until all are gone."""
    for node in nodes:
        processes.signal_process(node.pid, node.started, signal.SIGKILL)
    for node in nodes:
        processes.wait_gone(node.pid, node.started, PATIENCE_S)


if __name__ == "__main__":
    os.read(0, 1)
    left = load_cluster(sys.argv[1])
    end_nodes(() if left is None else left.nodes)
