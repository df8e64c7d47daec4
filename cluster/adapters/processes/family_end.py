"""Ends a family of processes that may go on making children while it is being ended.

SIGKILL to a list of pids misses whoever was born after the list was made, and a fork bomb is born faster
than a list is made.  So everyone is stopped first, each before his children are looked for, until a look
finds nobody who runs: a stopped process makes no children.  Only then is everyone killed.  All of this is
done again while anybody is left, as the kernel wakes stopped processes of a group that has lost its last
parent (SIGHUP, SIGCONT), and as members may wake each other.

Pure but for the door to the process table.  See: docs/architecture.md, "Task processes".
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Iterable
from typing import Final, Protocol

__all__ = ["LiveProcesses", "end_family", "members_of"]

_PASSES: Final = 20
_LOOKS: Final = 20
_ROUNDS: Final = 200
_MOST: Final = 50_000


class LiveProcesses(Protocol):
    """The processes of this machine, as they are now (ringmill.cluster.adapters.processes.process_table)."""

    def children(self, pid: int) -> Iterable[int]:
        """Direct children of all threads; none when it is gone."""
        ...

    def can_run(self, pid: int) -> bool:
        """Whether it is neither stopped, nor dead, nor gone."""
        ...

    def send(self, pid: int, number: int) -> None:
        """A signal, to its process group as well where that is of the family; harmless when it is gone."""
        ...

    def pause(self) -> None:
        """Let others run for a moment: a stop takes effect when its process runs next."""
        ...


def members_of(roots: Iterable[int], table: LiveProcesses, *, most: int) -> list[int]:
    """The roots and all their descendants, as one look shows them; it ends at more than `most`.

    A bomb grows while it is counted, and takes the processors from who counts.
    """
    met: dict[int, None] = {}
    waiting = list(roots)
    while waiting and len(met) <= most:
        pid = waiting.pop()
        if pid not in met:
            met[pid] = None
            waiting += table.children(pid)
    return list(met)


def end_family(roots: Callable[[], Collection[int]], table: LiveProcesses) -> bool:
    """Kill the processes that `roots` gives, asked anew for each look, and all their descendants.

    Nobody who was sent SIGKILL is waited for: he makes no children any more, and a large one takes seconds
    to be gone.  False when some were still found after many passes: call it again.  Dead children of the
    caller are the caller's to reap.
    """
    killed: set[int] = set()
    for _ in range(_PASSES):
        found = [pid for pid in _stop(roots, table, killed) if pid not in killed]
        if not found:
            return True
        for pid in reversed(found):  # children first: no orphan is made, which might be woken
            table.send(pid, signal.SIGKILL)
            killed.add(pid)
        table.pause()
    return False


def _stop(roots: Callable[[], Collection[int]], table: LiveProcesses, killed: Collection[int]) -> list[int]:
    """Stop all of them; who was met until a look found nobody who runs, parents before their children."""
    everyone: dict[int, None] = {}
    for _ in range(_LOOKS):
        if not _look(roots(), table, everyone, killed):
            break
    return list(everyone)


def _look(
    roots: Iterable[int], table: LiveProcesses, everyone: dict[int, None], killed: Collection[int]
) -> bool:
    """Go down the tree, stop who runs and come back to him until he stands; whether anybody ran.

    The children of one who stands are all there are, so he is not looked at again: what this costs follows
    the number of the newly born, and not of all.
    """
    standing: set[int] = set()
    has_met_runners = False
    waiting, rounds = list(roots), 0
    while waiting and rounds < _ROUNDS:
        runners: dict[int, None] = {}
        while waiting and len(everyone) < _MOST:
            pid = waiting.pop()
            if pid in standing or pid in runners:
                continue
            everyone[pid] = None
            if pid not in killed and table.can_run(pid):
                table.send(pid, signal.SIGSTOP)
                runners[pid] = None
            else:
                standing.add(pid)
            waiting += [child for child in table.children(pid) if child not in standing]
        if runners:
            has_met_runners = True
            table.pause()
        waiting, rounds = list(runners), rounds + 1
    return has_met_runners
