"""Runs a job with the workers of another engine, and gives the output that a cluster gives, byte for byte.

Planning and the commit run here, tasks run there.  Inputs, output and the staging folder beside it have to be
on a file system that this process and all workers see at the same paths.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeVar

from ringmill.client.engines.shipping import Pickler, shippable
from ringmill.client.jobs.job_modules import own_sources
from ringmill.client.jobs.run_local import run_from_here
from ringmill.cluster.mapreduce.api.definition import JobDefinition
from ringmill.cluster.mapreduce.local.carried import Outcome, result_of
from ringmill.cluster.mapreduce.local.in_process import Each, LocalResult
from ringmill.cluster.ports import FileSystem

__all__ = ["run_elsewhere"]

T = TypeVar("T")
R = TypeVar("R")


def run_elsewhere(
    job: JobDefinition,
    input: str | Iterable[str],
    output: str,
    carry: Callable[[Callable[[Any], Outcome[Any]], Sequence[Any]], Generator[Outcome[Any], None, None]],
    pickler: Pickler,
    *,
    reducers: int | None,
    params: Mapping[str, str] | None,
    overwrite: bool,
    split_mib: int | None,
) -> LocalResult:
    """`carry` runs a function on each of some tasks and gives the outcomes in their order.

    Raises InvalidArgument, JobFailed, OSError, and what the engine raises.
    """

    def each_with(files: FileSystem) -> Each:
        sources = frozenset().union(*(own_sources(path, files) for path in job.user_files))

        def each(run: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
            with closing(carry(shippable(run, sources, pickler), tasks)) as outcomes:
                yield from map(result_of, outcomes)

        return each

    return run_from_here(
        job, input, output, each_with,
        reducers=reducers, params=params, overwrite=overwrite, split_mib=split_mib,
    )  # fmt: skip
