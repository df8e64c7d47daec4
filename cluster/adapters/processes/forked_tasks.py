"""Runs tasks in processes forked from this one, so that a job uses all cores of this machine.

A forked process has the job's functions as they are here, so nothing is imported again and functions of a
notebook work, too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from typing import Any, Final, TypeVar

from ringmill.cluster.adapters.processes.confinement import die_with_parent
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.failures import Cause, shown
from ringmill.cluster.mapreduce.local.carried import Outcome, ProcessEnded, outcome_of, result_of

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

        Raises TaskFailed of the first task in that order that failed; what runs then is waited for.  Raises
        ProcessEnded when a process ends by itself or is killed: the others are stopped, too.
        """
        context = multiprocessing.get_context("fork")
        under_way = context.RawArray("b", max(1, len(tasks)))  # shared: a process that is gone tells nothing
        pool = ProcessPoolExecutor(
            min(self._processes, max(1, len(tasks))),
            context,
            initializer=_begin,
            initargs=(run, under_way, os.getpid()),
        )
        try:
            for result in pool.map(_call, count(), tasks):
                yield result_of(result)
        except BrokenProcessPool as error:
            text = (
                "a process that ran a task is gone: its code crashed or called os._exit, or it was ended "
                "from outside, as the kernel does for want of memory"
            )
            ran = tuple(number for number, runs in enumerate(under_way) if runs)
            raise ProcessEnded(Cause.KILLED, text, tasks=ran) from error
        finally:
            pool.shutdown(cancel_futures=True)


_run: Callable[[Any], Any]
_under_way: MutableSequence[int]


def _begin(run: Callable[[Any], Any], under_way: MutableSequence[int], parent: int) -> None:
    global _run, _under_way  # of this process alone, which runs nothing else
    _run, _under_way = run, under_way
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word
    die_with_parent(parent)


def _call(number: int, task: Any) -> Outcome[Any]:
    _under_way[number] = 1
    try:
        return outcome_of(_run, task)
    finally:
        _under_way[number] = 0
