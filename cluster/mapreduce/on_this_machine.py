"""The one place in this room that opens the real FileSystem door: `wordcount.run_local(...)`.

A composition root, so it alone may import cluster.adapters; it is imported when a local run is asked for.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from contextlib import closing

from cluster.adapters.os_entropy import OsEntropy
from cluster.adapters.os_files import OsFileSystem
from cluster.mapreduce.definition import JobDefinition
from cluster.mapreduce.local import LOCAL_JOB, LocalResult, run_local

__all__ = ["run_on_this_machine"]


def run_on_this_machine(
    definition: JobDefinition,
    inputs: Sequence[str],
    output: str,
    *,
    reducers: int | None,
    params: Mapping[str, str],
    overwrite: bool,
) -> LocalResult:
    """`run_local` over this machine's files; relative paths are taken from the current folder.

    Its id is its own, so that runs at the same time never meet in one staging folder.
    """
    job = f"{LOCAL_JOB}-{OsEntropy().random_bytes('run_local', 3).hex()}"
    with closing(OsFileSystem()) as files:
        return run_local(
            definition,
            [os.path.abspath(path) for path in inputs],
            os.path.abspath(output),
            files=files,
            reducers=reducers,
            params=params,
            overwrite=overwrite,
            job=job,
        )
