"""Runs the tasks of a job on the workers of another engine; the output is that of a cluster, byte for byte.

Planning and the commit stay in this process (client/jobs/run_local.py).  Inputs, output and the staging
folder beside it have to be on a file system that this process and all workers see at the same paths.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeVar

from ringmill.client.engines.shipping import Pickler, shippable
from ringmill.client.jobs.job_modules import own_sources
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.local.carried import Outcome, result_of
from ringmill.cluster.mapreduce.local.in_process import Each
from ringmill.cluster.ports import FileSystem

__all__ = ["elsewhere"]

T = TypeVar("T")
R = TypeVar("R")


def elsewhere(
    job: JobDefinition,
    carry: Callable[[Callable[[Any], Outcome[Any]], Sequence[Any]], Generator[Outcome[Any], None, None]],
    pickler: Pickler,
) -> Callable[[FileSystem], Each]:
    """What runs the tasks of a job by `carry`, which runs a function on each of some tasks and gives the
    outcomes in their order.

    Raises InvalidArgument for a pipeline.
    """
    if not isinstance(job, JobDefinition):
        raise InvalidArgument(
            "a pipeline runs on a cluster of Ringmill or by run_local",
            hint="run its jobs one after the other, with output=FileOutput('records') between them",
        )

    def each_with(files: FileSystem) -> Each:
        sources = frozenset().union(*(own_sources(path, files) for path in job.user_files))

        def each(run: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
            with closing(carry(shippable(run, sources, pickler), tasks)) as outcomes:
                yield from map(result_of, outcomes)

        return each

    return each_with
