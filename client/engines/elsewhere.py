"""Runs the tasks of a job on the workers of another engine; the output is that of a cluster, byte for byte.

Planning and the commit stay in this process (client/jobs/run_local.py).  Inputs, output and the staging
folder beside it have to be on a file system that this process and all workers see at the same paths.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeVar

from ringmill.client.engines.shipping import Pickler, Shipped, shippable
from ringmill.client.jobs.job_modules import own_sources
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.local.carried import result_of
from ringmill.cluster.mapreduce.local.in_process import Each
from ringmill.cluster.ports import FileSystem

__all__ = ["elsewhere"]

T = TypeVar("T")
R = TypeVar("R")


def elsewhere(
    job: JobDefinition,
    carry: Callable[[Callable[[Any], Shipped[Any]], Sequence[Any]], Generator[Shipped[Any], None, None]],
    pickler: Pickler,
) -> Callable[[FileSystem], Each]:
    """What runs the tasks of a job by `carry`, which runs a function on each of some tasks and gives the
    outcomes in their order.

    Raises InvalidArgument for a pipeline; while it runs, for a job with a partition function on workers of
    which some hash texts otherwise than others: one key could go to two parts, and be reduced in each.
    """
    if not isinstance(job, JobDefinition):
        raise InvalidArgument(
            "a pipeline runs on a cluster of Ringmill or by run_local",
            hint="run its jobs one after the other, with output=FileOutput('records') between them",
        )

    def each_with(files: FileSystem) -> Each:
        sources = frozenset().union(*(own_sources(path, files) for path in job.user_files))
        hashes: set[int] = set()

        def each(run: Callable[[T], R], tasks: Sequence[T], /) -> Iterator[R]:
            with closing(carry(shippable(run, sources, pickler), tasks)) as done:
                for shipped in done:
                    hashes.add(shipped.hashed)
                    if len(hashes) > 1 and job.partition is not None:
                        raise InvalidArgument(
                            "the workers have different hash seeds, and the job has a partition function, "
                            "which could send one key to two parts",
                            hint="start every worker with PYTHONHASHSEED=0 in its environment",
                        )
                    yield result_of(shipped.outcome)

        return each

    return each_with
