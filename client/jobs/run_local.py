"""Runs a job in this process, or in some, on this machine's files: no cluster, the same output bytes.

A composition root: it opens the real FileSystem door.  It does not load gRPC.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import TypeAlias

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.processes.forked_tasks import ForkedTasks
from ringmill.cluster.mapreduce.api.definition import JobDefinition
from ringmill.cluster.mapreduce.api.sources import named_paths, side_paths
from ringmill.cluster.mapreduce.files.inputs import named_inputs
from ringmill.cluster.mapreduce.local.in_process import LOCAL_JOB, Each, LocalResult, run_in_process
from ringmill.cluster.ports import FileSystem

__all__ = ["Input", "run_from_here", "run_local"]

Input: TypeAlias = str | Iterable[str] | Mapping[str, str | Iterable[str]]
"""Paths, folders and globs; by source where a job has several."""


def run_local(
    job: JobDefinition,
    input: Input,
    output: str,
    *,
    reducers: int | None = None,
    params: Mapping[str, str] | None = None,
    overwrite: bool = False,
    processes: int = 1,
    split_mib: int | None = None,
    side: Mapping[str, str] | None = None,
) -> LocalResult:
    """Run a job in this process on this machine's files; the output is the same, byte for byte, as on a
    cluster.

    `input` is one path, folder or glob, or several; of a job with sources, a mapping of their names to those.
    `output` is a folder that must not exist unless
    `overwrite`. Relative paths start at the current folder.  With `processes` above 1 (256 at most) tasks run
    in that many processes forked from this one, and the output is the same.  Several runs at once do not
    disturb each other: each has its own staging folder.  `split_mib` stands for the job's own setting, as on
    a cluster; `side` are the paths of side data that stand for those of the job, by name.

    Raises InvalidArgument for bad arguments, JobFailed when the job's code fails.
    """
    each = map if processes == 1 else ForkedTasks(processes)
    return run_from_here(
        job, input, output, lambda _: each,
        reducers=reducers, params=params, overwrite=overwrite, split_mib=split_mib, side=side,
    )  # fmt: skip


def run_from_here(
    job: JobDefinition,
    input: Input,
    output: str,
    each: Callable[[FileSystem], Each],
    *,
    reducers: int | None,
    params: Mapping[str, str] | None,
    overwrite: bool,
    split_mib: int | None,
    side: Mapping[str, str] | None,
) -> LocalResult:
    """Plan and commit here, and run the tasks wherever `each` runs them.  Raises as `run_local`."""
    name = f"{LOCAL_JOB}-{OsEntropy().random_bytes('run_local', 3).hex()}"
    with closing(OsFileSystem()) as files:
        return run_in_process(
            job,
            _absolute(job, input),
            os.path.abspath(output),
            files=files,
            reducers=reducers,
            params=params or {},
            overwrite=overwrite,
            job=name,
            each=each(files),
            split_mib=split_mib,
            side={name: os.path.abspath(path) for name, path in side_paths(job.side, side).items()},
        )


def _absolute(job: JobDefinition, input: Input) -> tuple[str, ...] | dict[str, tuple[str, ...]]:
    by_name = named_paths(job.source_names, input)
    if by_name is None:
        assert not isinstance(input, Mapping)  # refused above
        return tuple(map(os.path.abspath, named_inputs(input)))
    return {name: tuple(map(os.path.abspath, named_inputs(paths))) for name, paths in by_name.items()}
