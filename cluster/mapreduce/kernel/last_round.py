"""Asks the function of an iteration whether a round was the last one; it is the job's code, as map is.

I/O only through the FileSystem passed in.  Rule J24: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ringmill.cluster.mapreduce.api.chains.round_result import RoundResult
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, classify, shown
from ringmill.cluster.mapreduce.kernel.typed_output import records_in
from ringmill.cluster.ports import FileSystem

__all__ = ["is_last_round"]


def is_last_round(
    step: JobDefinition, stage: JobSpec, number: int, counters: Mapping[str, int], files: FileSystem
) -> bool:
    """The word of the function about a round, whose output is that of `stage`.  Raises TaskFailed."""
    until, types = step.until, step.types
    if until is None or types is None:
        raise TaskFailed(Cause.BAD_BUNDLE, f"{stage.title} says nothing about the end of its rounds")

    def records() -> Iterator[tuple[Any, Any]]:
        return records_in(types, stage.output, files)

    try:
        answer = until(RoundResult(number, counters, dict(stage.params), records))
    except (Exception, SystemExit) as error:
        raise classify(error, step.user_files) from error
    if not isinstance(answer, bool):
        raise TaskFailed(
            Cause.USER_ERROR, f"until of round {number} must say True or False, not {shown(answer, 100)}"
        )
    return answer
