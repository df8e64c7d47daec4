"""Whose orphans count to a task: its own, and not those of a fork bomb beside it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from ringmill.cluster.adapters.processes import forkserver
from ringmill.cluster.adapters.processes.forkserver import Forkserver, _Task
from ringmill.cluster.adapters.processes.pids_group import PidsGroups

QUIET, BOMB = 1001, 1002
STRAYS = range(2000, 2070)  # each in a session of its own


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Forkserver]:
    """Two tasks and 70 orphans of nobody; ending a family only takes note."""
    ours, theirs = socket.socketpair()
    made = Forkserver(ours, lambda _: None, PidsGroups(None))
    for pid in (QUIET, BOMB):
        made._suspects.add(pid)
        made._tasks[pid] = _Task(pid, 64, 0, None)
    monkeypatch.setattr(forkserver, "children_of", lambda _: [*made._tasks, *STRAYS])
    monkeypatch.setattr(forkserver, "session_of", lambda pid: pid)
    monkeypatch.setattr(made._table, "children", lambda _: [])
    monkeypatch.setattr(made, "_end_family", lambda _: None)
    monkeypatch.setattr(made, "_reap", lambda: None)
    monkeypatch.setattr(forkserver, "end_family", lambda *_: False)
    yield made
    ours.close()
    theirs.close()


def breaches(made: Any) -> list[str]:
    made._sweep()
    made._watch_families()
    return [task.breach for task in made._tasks.values()]


def test_orphans_that_may_be_of_several_tasks_count_to_none(served: Forkserver) -> None:
    assert breaches(served) == ["", ""]
    del served._tasks[BOMB]
    assert breaches(served) == [""], "they may be of the one that has ended"


def test_orphans_in_the_session_of_a_task_are_its_own(
    served: Forkserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkserver, "session_of", lambda pid: pid if pid in served._tasks else BOMB)
    assert breaches(served) == ["", "processes"]


def test_orphans_that_can_be_of_one_task_alone_are_its_own(
    served: Forkserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    del served._tasks[QUIET]
    with monkeypatch.context() as none_left:
        none_left.setattr(forkserver, "children_of", lambda _: list(served._tasks))
        assert breaches(served) == [""]
    assert breaches(served) == ["processes"]


def test_the_watch_looks_once_at_a_task_that_is_alone(
    served: Forkserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, weighed = [], []

    def children(pid: int) -> list[int]:
        looked.append(pid)
        return []

    def memory(pids: list[int], *, above: int) -> int:
        weighed.append(pids)
        return above

    served._tasks[QUIET].memory_limit = 1
    monkeypatch.setattr(forkserver, "children_of", lambda _: list(served._tasks))
    monkeypatch.setattr(forkserver, "memory_of", memory)
    monkeypatch.setattr(served._table, "children", children)
    assert breaches(served) == ["", ""]
    assert (looked, weighed) == ([QUIET, BOMB], [[QUIET]])
