"""The exit codes of the command line, and the only place that maps an error to one.

Scripts rely on these numbers; a test refuses an exit code that is written anywhere else.
See: docs/guide.md, "Exit codes".
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from ringmill.cluster.errors import InvalidArgument, RingmillError

__all__ = ["ExitCode", "of", "worst"]


class ExitCode(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONDITION_FALSE = 4
    QUORUM_NOT_REACHED = 5
    UNREACHABLE = 6
    UNHEALTHY = 7
    TIMED_OUT_WAITING = 8
    JOB_KILLED = 9
    INTERRUPTED = 130


def of(error: RingmillError) -> ExitCode:
    """The exit code of an error.  A bad argument is USAGE here, but FAILED when the cluster refused it."""
    if isinstance(error, InvalidArgument) and "address" in error.detail:
        return ExitCode.FAILED
    return ExitCode(error.exit_code)


_BY_WEIGHT: Final = (
    ExitCode.DONE,
    ExitCode.NOT_FOUND,
    ExitCode.CONDITION_FALSE,
    ExitCode.USAGE,
    ExitCode.FAILED,
    ExitCode.UNREACHABLE,
    ExitCode.QUORUM_NOT_REACHED,
)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The exit code of many outcomes: the one that says that least is known or done."""
    return max(codes, key=_BY_WEIGHT.index, default=ExitCode.DONE)
