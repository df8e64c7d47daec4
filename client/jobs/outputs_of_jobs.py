"""The output of a job as the input of another: `job:ID` in place of its folder."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from ringmill.client.jobs.job_values import JobState
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.job_keyspaces import is_keyspace_path

__all__ = ["with_outputs"]

_JOB: Final = "job:"


async def with_outputs(input: Any, status: Callable[[str], Awaitable[JobState]]) -> Any:
    """The inputs of a submission, with the folder of each job that is named there.

    Raises InvalidArgument for a job that has no folder of output, NotFound for one that nobody knows.
    """
    if isinstance(input, str):
        return await _path_of(input, status)
    if isinstance(input, Mapping):
        return {name: await with_outputs(given, status) for name, given in input.items()}
    if isinstance(input, Iterable) and not isinstance(input, bytes):
        named = [await _path_of(each, status) if isinstance(each, str) else each for each in input]
        return () if input == () else named  # nothing named: the keyspace that the job declares
    return input


async def _path_of(text: str, status: Callable[[str], Awaitable[JobState]]) -> str:
    """The path for `job:ID` or `NAME=job:ID`, where NAME is a source; any other text as it is."""
    name, equals, path = text.rpartition("=")
    if not path.startswith(_JOB) or "/" in name:
        return text
    state = await status(path.removeprefix(_JOB))
    if state.state != "SUCCEEDED" or is_keyspace_path(state.output):
        what = f"is {state.state}" if state.state != "SUCCEEDED" else f"has put its output in {state.output}"
        raise InvalidArgument(f"input {text}: job {state.job} {what}, and has no folder of output")
    return f"{name}{equals}{state.output}"
