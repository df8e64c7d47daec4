"""Runs tasks in processes forked from this one, so that a job uses all cores of this machine.

A forked process has the job's functions as they are here, so nothing is imported again and functions of a
notebook work, too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, TypeVar

from ringmill.cluster.adapters.processes.confinement import die_with_parent
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, shown
from ringmill.cluster.mapreduce.local.carried import Outcome, outcome_of, result_of

__all__ = ["MOST_PROCESSES", "ForkedTasks"]

MOST_PROCESSES: Final = 256

T = TypeVar("T")
R = TypeVar("R")


class ForkedTasks:
    """Runs at most `processes` tasks at once, 1 to 256.  Raises InvalidArgument."""

    def __init__(self, processes: int) -> None:
        if type(processes) is not int or not 1 <= processes <= MOST_PROCESSES:
            raise InvalidArgument(f"processes is {shown(processes, 40)}; 1 to {MOST_PROCESSES} are allowed")
        self._processes = processes

    def __call__(self, run: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
        """The results in the order of the tasks.

        Raises TaskFailed of the first task in that order that failed; what runs then is waited for.
        """
        pool = ProcessPoolExecutor(
            min(self._processes, max(1, len(tasks))),
            multiprocessing.get_context("fork"),
            initializer=_begin,
            initargs=(run, os.getpid()),
        )
        try:
            for result in pool.map(_call, tasks):
                yield result_of(result)
        except BrokenProcessPool as error:
            raise TaskFailed(Cause.KILLED, "a process that ran a task was ended from outside") from error
        finally:
            pool.shutdown(cancel_futures=True)


_run: Callable[[Any], Any]


def _begin(run: Callable[[Any], Any], parent: int) -> None:
    global _run  # noqa: PLW0603  of this process alone, which runs nothing else
    _run = run
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word
    die_with_parent(parent)


def _call(task: Any) -> Outcome[Any]:
    return outcome_of(_run, task)
