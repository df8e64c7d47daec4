"""Ends a family of processes that may keep forking while it is being ended.

SIGKILL to a list of pids misses processes that were forked after the list was made, and a fork bomb forks
faster than a list can be made.  So all processes are stopped first, each before its children are listed,
until a pass finds none that runs: a stopped process cannot fork.  Only then are all killed.  This is repeated
while any process is left, because the kernel wakes stopped processes of a group that has lost its last parent
(SIGHUP, SIGCONT), and because members may wake each other.

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
    """Kill the processes that `roots` returns, which is called for each pass, and all their descendants.

    It does not wait for processes after SIGKILL: they cannot fork any more, and a large one takes seconds to
    end. False when some were still found after many passes: call it again.  The caller reaps its own dead
    children.
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
    """Stop all processes until a pass finds none that runs.  Returns all that were found, parents first."""
    everyone: dict[int, None] = {}
    for _ in range(_LOOKS):
        if not _look(roots(), table, everyone, killed):
            break
    return list(everyone)


def _look(
    roots: Iterable[int], table: LiveProcesses, everyone: dict[int, None], killed: Collection[int]
) -> bool:
    """Walk down the tree, stop each running process and check it again until it has stopped.

    Whether any ran.

    A stopped process gets no more children, so it is not visited again: the cost depends on the number of new
    processes, not of all.
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
