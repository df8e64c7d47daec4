"""Run a job in this process, over this machine's files: no cluster, the same bytes.

A composition root: it opens the real FileSystem door.  gRPC is not loaded.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping
from contextlib import closing

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.mapreduce.api.definition import JobDefinition
from ringmill.cluster.mapreduce.files.inputs import named_inputs
from ringmill.cluster.mapreduce.local.in_process import LOCAL_JOB, LocalResult, run_in_process

__all__ = ["run_local"]


def run_local(
    job: JobDefinition,
    input: str | Iterable[str],
    output: str,
    *,
    reducers: int | None = None,
    params: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> LocalResult:
    """Run in this process, over this machine's files; the same bytes come out as on a cluster.

    `input` is a path, a folder or a glob, or several; `output` a folder that must not exist yet unless
    `overwrite`.  Relative paths are taken from the current folder.  Runs at the same time do not meet: each
    has a staging folder of its own.

    Raises InvalidArgument for bad arguments, JobFailed when the job's code fails.
    """
    name = f"{LOCAL_JOB}-{OsEntropy().random_bytes('run_local', 3).hex()}"
    with closing(OsFileSystem()) as files:
        return run_in_process(
            job,
            [os.path.abspath(path) for path in named_inputs(input)],
            os.path.abspath(output),
            files=files,
            reducers=reducers,
            params=params or {},
            overwrite=overwrite,
            job=name,
        )
